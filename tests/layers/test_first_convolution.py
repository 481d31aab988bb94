"""The rule by which filters of RGB become filters of bands, by numbers worked out by hand; and that every network keeps it."""

import copy
from typing import Any

import pytest
import torch
from networks.test_networks import CASES, OF_OBJECTS, built
from torch import nn

from perpixel.layers.first_convolution import take_bands, widened, widened_state
from perpixel.networks import build, mean_colour


def filters(*values: float) -> torch.Tensor:
    """One filter of 1 x 1 for red, green and blue."""
    return torch.tensor(values, dtype=torch.float32).view(1, 3, 1, 1)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("red", "green", "blue"), [1, 2, 6]),
        (("Blue", "GREEN", "red"), [6, 2, 1]),
        (("grey",), [9]),  # the sum of the three
        (("red", "green", "blue", "nir"), [0.75, 1.5, 4.5, 2.25]),  # 3/4 of their own, and of the mean, 3
        (("a", "b", "c", "d", "e", "f"), [1.5] * 6),  # 3/6 of the mean
        # 3/2 of 1 and of 3 are 6; what lacks of 9 is shared, 1.5 each
        (("red", "nir"), [3, 6]),
        # 1, 2 and 3 are 6; what lacks of 9 is shared, 1 each
        (("red", "green", "nir"), [2, 3, 4]),
    ],
)
def test_filters_are_widened_by_the_rule(names: tuple[str, ...], expected: list[float]) -> None:
    wide = widened(filters(1, 2, 6), names)
    assert wide.shape == (1, len(names), 1, 1)
    torch.testing.assert_close(wide.flatten(), torch.tensor(expected, dtype=torch.float32))
    assert wide.sum().item() == pytest.approx(9)


def test_a_state_is_widened_where_shapes_differ() -> None:
    theirs = {"conv.weight": filters(1, 2, 6), "mean": torch.tensor([0.1, 0.2, 0.6]).view(3, 1, 1), "other": torch.ones(3)}
    ours = {"conv.weight": torch.zeros(1, 4, 1, 1), "mean": torch.zeros(4, 1, 1), "other": torch.zeros(3)}
    state = widened_state(theirs, ours, ("red", "green", "blue", "nir"))
    assert state["conv.weight"].flatten().tolist() == [0.75, 1.5, 4.5, 2.25]
    torch.testing.assert_close(state["mean"].flatten(), torch.tensor([0.1, 0.2, 0.6, 0.3]))
    assert state["other"] is theirs["other"]


# One of each trunk, and what sees the picture beside its trunk; the rest is slow.
QUICK = {
    "fcn32s", "fcn32s on alexnet", "fcn32s on googlenet", "unet", "unet on resnet18", "deeplabv1 with msc", "segformer",
    "deconvnet, side 32, bilinear, no batch_norm", "deeplabv3plus", "fpn", "vit_linear", "torchvision",
}  # fmt: skip
EVERY = [pytest.param(case, marks=[pytest.mark.slow] * (case not in QUICK)) for case in CASES]
OWN = {case for case, (name, arguments) in CASES.items() if name == "unet" and "backbone" not in arguments}


@pytest.mark.parametrize("case", [case for case in EVERY if case.values[0] not in OWN])
def test_a_grey_picture_has_the_answer_that_it_had_as_rgb(case: str) -> None:
    """Where red, green and blue are normalised alike. A convolution of the picture that was left out would change it."""
    network = built(case)
    for module in network.modules():
        for colour in (buffer for name, buffer in module.named_buffers(recurse=False) if name in ("mean", "std", "scale")):
            if colour.shape == (3, 1, 1):
                colour.copy_(colour.mean().expand(3, 1, 1))
    grey = torch.rand(1, 1, 66, 64, generator=torch.Generator().manual_seed(1))
    other = copy.deepcopy(network)
    take_bands(other, ("nir", "red", "green", "blue", "swir"), learned=True)
    with torch.no_grad():
        before, after = network(grey.expand(-1, 3, -1, -1))["logits"], other(grey.expand(-1, 5, -1, -1).contiguous())["logits"]
    assert float((before - after).abs().max()) < 1e-3 * float(before.abs().max())


@pytest.mark.parametrize("case", EVERY)
def test_every_network_takes_channels_and_each_of_them_counts(case: str) -> None:
    channels = 4
    if case.startswith("deconvnet"):  # is made lively by pictures of RGB
        network: Any = built(case)
        take_bands(network, ("red", "a", "b", "c"), learned=True)
        with torch.device("meta"):
            assert build(CASES[case][0], 5, **CASES[case][1], channels=channels).trunk.features[0].in_channels == channels
    else:
        network = built(case, channels=channels)
    pictures = torch.rand(1, channels, 66, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        logits = network(pictures)["logits"]
        assert logits.shape == (1, 5, 66, 64)
        assert mean_colour(network).shape[0] in (1, channels)
        for band in range(channels):
            changed = pictures.clone()
            changed[:, band, 16:48, 16:48] = 1 - changed[:, band, 16:48, 16:48]
            assert not torch.equal(network(changed)["logits"], logits), f"band {band} changes nothing"


@pytest.mark.parametrize("name", sorted(OF_OBJECTS))
def test_networks_of_objects_take_channels(name: str) -> None:
    with torch.device("meta"):
        network = build(name, 3, width=0.05, channels=4)
    first = next(module for module in network.modules() if isinstance(module, nn.Conv2d))
    assert (first.in_channels, first.weight.shape[1]) == (4, 4)


def test_filters_that_learned_nothing_are_drawn_anew_at_the_same_response() -> None:
    network = build("unet", 2, backbone="resnet18")
    other = build("unet", 2, backbone="resnet18", channels=12)
    before, after = (next(m for m in one.modules() if isinstance(m, nn.Conv2d)).weight.detach() for one in (network, other))
    assert after.shape == (64, 12, 7, 7)
    assert float(after.std()) == pytest.approx(float(before.std()) / 2, rel=0.05)  # of four times as many inputs
    assert not torch.equal(after[:, 0], after[:, 1])
