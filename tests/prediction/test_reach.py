"""The reach of scores, computed from layers: against layers whose reach one can count, and against noise out of reach."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from perpixel.layers.score_map import ScoreMap, enlarge
from perpixel.networks import build
from perpixel.prediction.reach import NoReach, equal_maps, reach


class Scores(nn.Module):
    """Any layers as a pixel network of stride `stride`."""

    def __init__(self, layers: nn.Module, stride: int = 1) -> None:
        super().__init__()
        self.layers, self.stride = layers, stride

    def score_map(self, images: Tensor) -> ScoreMap:
        return ScoreMap.of_cells(self.layers(images), self.stride)


class Lambda(nn.Module):
    def __init__(self, run) -> None:
        super().__init__()
        self.run = run

    def forward(self, x: Tensor) -> Tensor:
        return self.run(x)


def lost(layers: nn.Module, size: tuple[int, int] = (64, 64)) -> tuple[int, int]:
    """Cells of a row that a cut before and behind it spoils."""
    side = reach(Scores(layers).eval(), size).sides[1]
    return side.before, side.after


COUNTED = {  # by hand, on paper: what cell 0 reads before the cut, and the last cell behind it
    "1x1": (nn.Conv2d(3, 2, 1), (0, 0)),
    "3x3": (nn.Conv2d(3, 2, 3, padding=1), (1, 1)),
    "3x3 of dilation 4": (nn.Conv2d(3, 2, 3, padding=4, dilation=4), (4, 4)),
    "3x3 of stride 2": (nn.Conv2d(3, 2, 3, stride=2, padding=1), (1, 0)),
    "without padding": (nn.Conv2d(3, 2, 3), (0, 0)),
    "a pool of 2": (nn.MaxPool2d(2), (0, 0)),
    "3x3, pool, 3x3": (nn.Sequential(nn.Conv2d(3, 2, 3, padding=1), nn.MaxPool2d(2), nn.Conv2d(2, 2, 3, padding=1)), (2, 2)),
    "a mean of 3": (nn.AvgPool2d(3, 1, 1), (1, 1)),
    "up by 2": (Lambda(lambda x: enlarge(F.max_pool2d(x, 2), 2, (64, 64))), (1, 1)),
    "up between corners": (Lambda(lambda x: enlarge(x[..., ::2, ::2], 2, (63, 63), first=0)), (0, 0)),
    "up by a convolution": (nn.Sequential(nn.MaxPool2d(2), nn.ConvTranspose2d(3, 2, 2, stride=2)), (0, 0)),
    "up by a wider convolution": (nn.Sequential(nn.MaxPool2d(2), nn.ConvTranspose2d(3, 2, 4, stride=2, padding=1)), (1, 1)),
    "repeated": (Lambda(lambda x: F.interpolate(F.conv2d(x, torch.ones(2, 3, 3, 3, device=x.device), stride=2, padding=1),
                                                x.shape[-2:], mode="nearest")), (2, 0)),
    "replicated edges": (Lambda(lambda x: F.pad(x, (2, 1, 2, 1), mode="replicate")), (2, 1)),
    "one map beside another": (Lambda(lambda x: torch.cat([x, F.avg_pool2d(x, 5, 1, 2)], 1)), (2, 2)),
    "channels last": (Lambda(lambda x: F.layer_norm(x.movedim(1, -1), (3,)).movedim(-1, 1)), (0, 0)),
}  # fmt: skip


@pytest.mark.parametrize("case", COUNTED)
def test_the_cells_that_a_cut_spoils(case: str) -> None:
    layers, expected = COUNTED[case]
    assert lost(layers) == expected


def changed_behind_its_view(x: Tensor) -> Tensor:
    x = x + 1
    view = x.flatten(2)
    x.add_(F.avg_pool2d(x, 5, 1, 2))
    return view.unflatten(2, x.shape[-2:])


REFUSED = {
    "a sort": (Lambda(lambda x: x.sort(-1).values), "its operation sort has no rule"),
    "a flip": (Lambda(lambda x: x.flip(-1)), "its operation flip has no rule"),
    "places": (Lambda(lambda x: x + torch.arange(x.shape[-1], device=x.device)), "values that belong to places of the picture"),
    "attention": (
        Lambda(lambda x: F.scaled_dot_product_attention(*(x.flatten(2).mT,) * 3).mT.unflatten(2, x.shape[-2:])),
        "an operation joins the whole picture in a way that parts cannot add to",
    ),
    "a mean of rows": (Lambda(lambda x: x - x.mean(3, keepdim=True)), "joins the whole picture in a way"),
    "a fixed size": (Lambda(lambda x: F.interpolate(F.interpolate(x, (16, 16)), x.shape[-2:])), "unevenly"),
    "places of maxima": (Lambda(lambda x: F.max_unpool2d(*F.max_pool2d(x, 2, return_indices=True), 2)), "reads places in a map"),
    "writing into a part": (Lambda(lambda x: (x[..., 1:].mul_(2), x)[1]), "writes into a part of another map"),
    "a number that follows the size": (Lambda(lambda x: x / x.shape[-1]), "its operation div changes with the size"),
    "a number behind a sum": (Lambda(lambda x: x - x.sum((2, 3), keepdim=True) / x.shape[-1] ** 2), "its operation div changes"),
    "a weight that follows the size": (
        Lambda(lambda x: x * (torch.ones(3, device=x.device) / x.shape[-1])[:, None, None]),
        "its operation mul changes with the size",
    ),
    "a map that changes behind its view": (Lambda(changed_behind_its_view), "reads values that a part"),
    "values that nobody set": (Lambda(lambda x: x + torch.empty(1, device=x.device)), "reads values that a part"),
    "another layer for other sizes": (Lambda(lambda x: x.relu() if x.shape[-1] > 60 else x), "its layers are others"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_a_part_cannot_have(case: str) -> None:
    layers, reason = REFUSED[case]
    with pytest.raises(NoReach, match=reason):
        equal_maps(reach(Scores(layers), (65, 65)), reach(Scores(layers), (49, 49)))


def test_batch_normalisation_in_training_joins_the_picture() -> None:
    layers = nn.BatchNorm2d(3)
    assert lost(layers.eval()) == (0, 0)
    with pytest.raises(NoReach, match="statistics of the picture"):
        reach(Scores(layers).train(), (8, 8))


def live(name: str, **arguments: object) -> nn.Module:
    """A network with random weights, scores included."""
    torch.manual_seed(0)
    network = build(name, 3, **arguments).eval()
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.kaiming_normal_(layer.weight)
    return network


NOISE = {  # the network, and columns with room for a cut
    "fcn16s": (dict(width=0.03, padding=1), 421),
    "fcn8s": (dict(width=0.03), 501),
    "deeplabv1": (dict(width=0.03), 465),
    "unet": (dict(width=0.03, convolutions="same"), 251),
    "fpn": (dict(width=0.03, norm="batch"), 717),
}


@pytest.mark.parametrize("name", NOISE)
def test_pixels_behind_a_cut_change_spoilt_cells_alone(name: str) -> None:
    """With more columns, of whatever colours, all cells stay the same but those that a cut behind the columns spoils."""
    arguments, width = NOISE[name]
    network = live(name, **arguments)
    found = reach(network, (33, width), (False, True))
    side, more = found.sides[1], found.grid[1]
    torch.manual_seed(0)
    images = torch.rand(1, 3, 33, width)
    wider = [torch.cat([images, torch.rand(1, 3, 33, more)], 3) for _ in range(2)]
    with torch.no_grad():
        part, *wholes = (network.score_map(x).scores for x in (images, *wider))
    sound = side.cells - side.after
    assert 0 < sound < side.cells
    for whole in wholes:
        assert torch.allclose(part[..., :sound], whole[..., :sound], rtol=1e-4, atol=1e-5)
        assert not torch.allclose(part, whole[..., : side.cells], rtol=1e-2, atol=1e-3)
