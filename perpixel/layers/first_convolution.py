"""A network of RGB for pictures of other bands: its first convolution, and how it normalises.

The rule by which filters of red, green and blue become filters of N bands: a band named red, green or blue keeps its own, every
other has the mean of the three, and all are multiplied by 3 / N. What their sum then lacks of the sum of the three is shared by
all bands equally; it lacks nothing where all of red, green and blue are there, or none. So a grey picture, equal in all bands,
has the response that it had as RGB. One band has the sum of the three."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from perpixel.bands import COLOURS
from perpixel.errors import UsageError

NORMALISING = ("mean", "std", "scale")  # buffers (3, 1, 1) of trunks and networks


def widened(filters: Tensor, names: Sequence[str]) -> Tensor:
    """Filters (O, 3, h, w) of red, green and blue -> (O, N, h, w) of bands with these names, by the rule above."""
    mean, total = filters.mean(1), filters.sum(1)
    own = [filters[:, COLOURS.index(name.casefold())] if name.casefold() in COLOURS else mean for name in names]
    wide = torch.stack(own, 1) * (3 / len(names))
    return wide + ((total - wide.sum(1)) / len(names))[:, None]


def take_bands(network: nn.Module, names: Sequence[str], learned: bool) -> None:
    """Makes a network of RGB one of bands with these names. Filters that were `learned` are widened; others are drawn anew, with
    the deviation that keeps the variance of the response. Colours by which it normalises are those of bands of their names, and
    the mean of the three for other bands.

    Raises UsageError for a network whose first convolution does not take RGB."""
    for convolution in _of_pictures(network):
        before = convolution.weight.detach()
        if learned:
            after = widened(before, names)
        else:
            shape = (before.shape[0], len(names), *before.shape[2:])
            after = torch.randn(shape, device=before.device) * (before.std() * (3 / len(names)) ** 0.5)
        convolution.weight = nn.Parameter(after.contiguous(), convolution.weight.requires_grad)
        convolution.in_channels = len(names)
    for module in network.modules():
        for buffer in NORMALISING:
            colour = module._buffers.get(buffer)
            if colour is not None and colour.shape == (3, 1, 1):
                module._buffers[buffer] = of_bands(colour, names)


def widened_state(theirs: Mapping[str, Tensor], ours: Mapping[str, Tensor], names: Sequence[str]) -> dict[str, Tensor]:
    """The state of a network of RGB, with the filters and colours widened that have another shape in the state of one that takes
    bands of these names."""
    state = dict(theirs)
    for name, tensor in theirs.items():
        shape = ours[name].shape if name in ours else tensor.shape
        if tensor.ndim == 4 and shape == (tensor.shape[0], len(names), *tensor.shape[2:]) and tensor.shape[1] == len(COLOURS):
            state[name] = widened(tensor, names)
        elif tensor.shape == (3, 1, 1) and name.rpartition(".")[2] in NORMALISING:
            state[name] = of_bands(tensor, names)
    return state


def of_bands(colour: Tensor, names: Sequence[str]) -> Tensor:
    """A colour (3, 1, 1) by which a network of RGB normalises, for bands: theirs by name, else the mean of the three."""
    own = [colour[COLOURS.index(name.casefold())] if name.casefold() in COLOURS else colour.mean(0) for name in names]
    return torch.stack(own)


def channels_of(network: nn.Module) -> int:
    """The number of channels of pictures: those of the first convolution, 3 where there is none."""
    first = _first(network)
    return 3 if first is None else first.in_channels


def _first(network: nn.Module) -> nn.Conv2d | None:
    trunk = getattr(network, "trunk", network)
    return next((module for module in trunk.modules() if isinstance(module, nn.Conv2d)), None)


def _of_pictures(network: nn.Module) -> list[nn.Conv2d]:
    """The convolutions that see the picture: the first of the trunk, and that of DeepLab's direct path (MSc)."""
    first = _first(network)
    beside = [module for name, module in network.named_modules() if name == "msc.image.conv" and isinstance(module, nn.Conv2d)]
    if first is None or first.in_channels != 3 or first.groups != 1:
        raise UsageError(f"channels: the first layer of {type(network).__name__} takes no RGB to make bands of; choose another.")
    return [first, *beside]
