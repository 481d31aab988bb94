"""PANet: the counts of its authors' code, the path back up, the pooling of levels and the fused branch, each by hand."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from perpixel.networks import build
from perpixel.networks.panet import BottomUp, ConvolutionBoxHead, FusedMaskHead, PANet, TwoLayerBoxHead


def count(module: nn.Module, fixed: bool = False) -> int:
    """Learned parameters; `fixed` counts the scales and shifts of frozen normalisation too."""
    names = [name for name, _ in module.named_buffers() if fixed and name.endswith(("weight", "bias"))]
    return sum(parameter.numel() for parameter in module.parameters()) + sum(module.get_buffer(name).numel() for name in names)


def on_meta(**arguments: Any) -> PANet:
    with torch.device("meta"):
        network = build("panet", 81, **arguments)
    assert isinstance(network, PANet)
    return network


def regions(side: int, count: int = 4, depth: int = 32) -> list[Tensor]:
    return list(torch.randn(count, 3, depth, side, side, generator=torch.Generator().manual_seed(0)))


@pytest.mark.parametrize(("box_head", "parameters"), [("convolutions", 73_356_357), ("two_fc", 108_822_085)])
def test_it_has_the_number_of_parameters_of_its_authors_code(box_head: str, parameters: int) -> None:
    assert count(on_meta(box_head=box_head), fixed=True) == parameters
    assert count(on_meta(box_head=box_head, norm="batch")) == parameters


def test_its_parts_have_the_numbers_of_parameters_of_its_authors_code() -> None:
    network = on_meta()
    parts = (network.path, network.pyramid, network.rpn, network.box_head, network.mask_head)
    assert [count(part) for part in parts if part] == [3_543_552, 3_346_432, 593_935, 17_393_557, 24_970_849]
    assert count(on_meta(box_head="two_fc").box_head) == 52_859_285
    assert isinstance(network.mask_head.fc, nn.Linear)
    assert count(network.mask_head.fc) == 25_088 * 784 + 784 == 19_669_776


@pytest.mark.parametrize(
    ("arguments", "fewer"),
    [
        ({"bottom_up": False}, 3_543_552),
        ({"pooling": "sum"}, 0),
        ({"pooling": "level"}, 6 * (256 * 256 * 9 + 512)),  # one first convolution instead of four, in both heads
        ({"fc_fusion": False}, 19_669_776 + 256 * 256 * 9 + 512 + 256 * 128 * 9 + 256),
    ],
)
def test_an_ablation_takes_its_part_away(arguments: dict[str, Any], fewer: int) -> None:
    assert count(on_meta(), fixed=True) - count(on_meta(**arguments), fixed=True) == fewer


def test_group_normalisation_has_32_groups() -> None:
    layers = [layer for layer in on_meta().modules() if isinstance(layer, nn.GroupNorm)]
    assert {layer.num_groups for layer in layers} == {32}
    assert {layer.num_channels for layer in layers} == {256, 128}
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in on_meta().modules())


def normalised(x: Tensor, block: nn.Module) -> Tensor:
    layer, norm, _ = block.children()
    weights: Any = layer
    groups: Any = norm
    x = F.conv2d(x, weights.weight, weights.bias, weights.stride, weights.padding)
    return F.relu(F.group_norm(x, groups.num_groups, groups.weight, groups.bias))


@torch.no_grad()
@pytest.mark.parametrize("sides", [(32, 16, 8, 4), (33, 17, 9, 5)])
def test_the_path_back_up_is_that_of_figure_2(sides: tuple[int, ...]) -> None:
    """N2 is P2; a 3x3 with stride 2 of Ni, P(i+1) added, a 3x3; group normalisation and ReLU behind each."""
    torch.manual_seed(0)
    path, levels = BottomUp(32), [torch.randn(2, 32, side, side) for side in sides]
    found = path(levels)
    assert [level.shape[-1] for level in found] == list(sides)
    wanted = levels[0]
    assert torch.equal(found[0], wanted)
    for down, smooth, level, mine in zip(path.down, path.smooth, levels[1:], found[1:], strict=True):
        wanted = normalised(normalised(wanted, down) + level, smooth)
        torch.testing.assert_close(mine, wanted)


@torch.no_grad()
def test_a_fine_level_reaches_the_coarsest_by_fewer_than_ten_layers() -> None:
    path, levels = BottomUp(32), [torch.zeros(1, 32, side, side) for side in (32, 16, 8, 4)]
    before = path(levels)[-1]
    levels[0][..., 16, 16] = 1
    assert not torch.equal(path(levels)[-1], before)
    assert sum(isinstance(layer, nn.Conv2d) for layer in path.modules()) == 6


@torch.no_grad()
@pytest.mark.parametrize(("pooling", "joined"), [("max", torch.amax), ("sum", torch.sum)])
def test_levels_are_joined_behind_a_layer_of_their_own(pooling: str, joined: Any) -> None:
    torch.manual_seed(0)
    given = regions(7)
    heavy = ConvolutionBoxHead(32, 64, 5, 4, pooling)
    x = joined(torch.stack([normalised(level, block) for level, block in zip(given, heavy.first, strict=True)]), 0)
    for block in heavy.convolutions:
        x = normalised(x, block)
    wanted = heavy.last(F.relu(F.linear(x.flatten(1), heavy.fc.weight, heavy.fc.bias)))
    for mine, theirs in zip(heavy(given), wanted, strict=True):
        torch.testing.assert_close(mine, theirs)
    two = TwoLayerBoxHead(32, 64, 5, 4, pooling)
    x = joined(torch.stack([block(level.flatten(1)) for level, block in zip(given, two.first, strict=True)]), 0)
    for mine, theirs in zip(two(given), two.last(two.fc(x)), strict=True):
        torch.testing.assert_close(mine, theirs)
    scores, changes = two(given)
    assert (scores.shape, changes.shape) == ((3, 5), (3, 5, 4))


@torch.no_grad()
def test_the_fused_map_raises_the_logits_of_all_classes_alike() -> None:
    """It is made of the output of the third convolution, the second behind the maximum."""
    torch.manual_seed(0)
    head, given = FusedMaskHead(32, 5, 4, "max", True), regions(14)
    fused, x = head(given), torch.stack([normalised(level, block) for level, block in zip(given, head.first, strict=True)])
    x = x.amax(0)
    for block in head.middle:
        x = normalised(x, block)
    plain = head.score(F.relu(head.up(normalised(x, head.before_up))))
    assert head.before_fc is not None
    assert head.fc is not None
    added = fused - plain
    for block in head.before_fc:
        x = normalised(x, block)
    wanted = F.relu(head.fc(x.flatten(1))).view(3, 28, 28)
    assert fused.shape == (3, 5, 28, 28)
    assert wanted.min() == 0
    assert (wanted > 0).float().mean() > 0.2
    torch.testing.assert_close(added, wanted[:, None].expand_as(added), rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_without_the_fused_branch_masks_are_those_of_the_convolutions() -> None:
    torch.manual_seed(0)
    with_it, without = FusedMaskHead(32, 5, 4, "max", True), FusedMaskHead(32, 5, 4, "max", False)
    without.load_state_dict({name: tensor for name, tensor in with_it.state_dict().items() if name in without.state_dict()})
    assert with_it.fc is not None
    with_it.fc.weight.zero_()
    with_it.fc.bias.fill_(-1)
    assert torch.equal(with_it(regions(14)), without(regions(14)))


@torch.no_grad()
@pytest.mark.parametrize("bottom_up", [True, False])
def test_proposals_and_regions_see_the_path_back_up(bottom_up: bool) -> None:
    torch.manual_seed(0)
    network = build("panet", 3, width=0.05, norm="batch", bottom_up=bottom_up).eval()
    images = torch.rand(1, 3, 64, 96)
    features = network.trunk(images)
    levels = network.pyramid([features[name] for name in network.trunk.levels.values()])
    wanted = network.path(levels) if bottom_up else levels
    found = network.levels(images)
    assert [tuple(level.shape[-2:]) for level in found] == [(16, 24), (8, 12), (4, 6), (2, 3), (1, 2)]
    for mine, theirs in zip(found, [*wanted, wanted[-1][..., ::2, ::2]], strict=True):
        assert torch.equal(mine, theirs)
    assert torch.equal(found[1], levels[1]) != bottom_up
