"""PANet, the Path Aggregation Network (Liu, Qi, Qin, Shi, Jia, CVPR 2018): Mask R-CNN on FPN, with

    a path back up:      N2 = P2;  3x3, stride 2, of Ni  + P(i+1) -> 3x3 -> N(i+1);  N6 is every second cell of N5
    adaptive pooling:    a region is cut out of each of N2 ... N5; the first layer of a head runs on each, then their maximum
    boxes, heavy head:   3x3 of each level, maximum, three 3x3 -> fc 1024 -> classes and boxes; or two fully connected layers
    masks, fused:        3x3 of each level, maximum, 3x3, 3x3 -+-> 3x3 -> deconvolution x2 -> 1x1, for each class -+-> sum
                                                               +-> 3x3 -> 3x3 of half the channels -> fc 784 ------+

The layers are those of the first author's released code: group normalisation and ReLU behind each 3x3 and behind the fully
connected layers of the two-layer head; a ReLU on the fused map, which so can only raise logits; frozen batch normalisation in the
trunk. Proposals are made on N2 ... N6, as in that code.
Differs: what it shares with Mask R-CNN is as in `mask_rcnn`: losses, sampling, the targets of masks."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from perpixel.errors import did_you_mean
from perpixel.layers.pyramid import GROUPS, Pyramid, coarsest
from perpixel.networks.mask_rcnn import (
    BOX_SIDE,
    DEPTH,
    FC,
    MASK_SIDE,
    STRIDES,
    ClassesAndBoxes,
    RegionNetwork,
    detection_trunk,
    he,
    linear,
    sides_of_levels,
)

POOLINGS, BOX_HEADS = ("max", "sum", "level"), ("convolutions", "two_fc")


class PANet(RegionNetwork):
    """PANet on `backbone` (our ResNets or any timm name).

    Ablations: `bottom_up` is the path back up; `pooling` joins the levels by "max" or "sum", or a region has the "level" of its
    size alone, as in FPN; `box_head` is "convolutions", the heavy head, or "two_fc"; `fc_fusion` adds the fully connected branch
    to masks. The other arguments are those of Mask R-CNN; a `width` leaves multiples of 32 channels.
    Raises UsageError and UnknownName as Mask R-CNN does."""

    def __init__(
        self,
        classes: int = 21,
        backbone: str = "resnet50",
        bottom_up: bool = True,
        pooling: str = "max",
        box_head: str = "convolutions",
        fc_fusion: bool = True,
        norm: str | None = None,
        anchors: Sequence[int] = (32, 64, 128, 256, 512),
        min_size: Sequence[int] = (800,),
        max_size: int = 1333,
        detections: int = 100,
        width: float = 1.0,
        weights: str | None = None,
    ) -> None:
        for name, value, known in (("pooling", pooling, POOLINGS), ("box_head", box_head, BOX_HEADS)):
            if value not in known:
                raise did_you_mean(name, value, known)
        trunk = detection_trunk(backbone, width, weights, norm)
        depth, fc = (max(1, round(channels * width / GROUPS)) * GROUPS for channels in (DEPTH, FC))
        every = pooling != "level"
        sides = sides_of_levels(anchors)
        super().__init__(classes, trunk, depth, sides, min_size, max_size, detections, every_level=every)
        self.pyramid = Pyramid([trunk.channels[trunk.levels[stride]] for stride in STRIDES], depth, "group")
        self.path = BottomUp(depth) if bottom_up else None
        head = ConvolutionBoxHead if box_head == "convolutions" else TwoLayerBoxHead
        copies = len(STRIDES) if every else 1
        self.box_head = head(depth, fc, classes, copies, pooling)
        self.mask_head = FusedMaskHead(depth, classes, copies, pooling, fc_fusion)

    def levels(self, images: Tensor) -> list[Tensor]:
        features = self.trunk(images)
        levels: list[Tensor] = self.pyramid([features[self.trunk.levels[stride]] for stride in STRIDES])
        if self.path is not None:
            levels = self.path(levels)
        return [*levels, coarsest(levels[-1])]


class BottomUp(nn.Module):
    """P2 ... P5 (B, depth, h, w) -> N2 ... N5 of the same sizes."""

    def __init__(self, depth: int) -> None:
        super().__init__()
        self.down = nn.ModuleList(normalised(nn.Conv2d(depth, depth, 3, 2, 1)) for _ in STRIDES[1:])
        self.smooth = nn.ModuleList(normalised(nn.Conv2d(depth, depth, 3, 1, 1)) for _ in STRIDES[1:])
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_uniform_(layer.weight, a=1)
                assert layer.bias is not None, "convolutions of the path have biases"
                nn.init.zeros_(layer.bias)

    def forward(self, levels: Sequence[Tensor]) -> list[Tensor]:
        found = [levels[0]]
        for down, smooth, level in zip(self.down, self.smooth, levels[1:], strict=True):
            found.append(smooth(down(found[-1]) + level))
        return found


class ConvolutionBoxHead(nn.Module):
    """Regions (R, depth, 7, 7) of each level -> four 3x3 convolutions, the first of each level -> fc -> classes and boxes."""

    def __init__(self, depth: int, fc: int, classes: int, copies: int, pooling: str) -> None:
        super().__init__()
        self.first, self.pooling = nn.ModuleList(convolution(depth) for _ in range(copies)), pooling
        self.convolutions = nn.Sequential(*(convolution(depth) for _ in range(3)))
        he(self)
        self.fc, self.last = linear(depth * BOX_SIDE**2, fc), ClassesAndBoxes(fc, classes)

    def forward(self, regions: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        x = self.convolutions(joined([layer(x) for layer, x in zip(self.first, regions, strict=True)], self.pooling))
        found: tuple[Tensor, Tensor] = self.last(F.relu(self.fc(x.flatten(1))))
        return found


class TwoLayerBoxHead(nn.Module):
    """Regions (R, depth, 7, 7) of each level -> fc of each level -> fc -> classes and boxes."""

    def __init__(self, depth: int, fc: int, classes: int, copies: int, pooling: str) -> None:
        super().__init__()
        self.first, self.pooling = nn.ModuleList(normalised(linear(depth * BOX_SIDE**2, fc)) for _ in range(copies)), pooling
        self.fc, self.last = normalised(linear(fc, fc)), ClassesAndBoxes(fc, classes)

    def forward(self, regions: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        x = joined([layer(x.flatten(1)) for layer, x in zip(self.first, regions, strict=True)], self.pooling)
        found: tuple[Tensor, Tensor] = self.last(self.fc(x))
        return found


class FusedMaskHead(nn.Module):
    """Regions (R, depth, 14, 14) of each level -> logits of a mask for each class (R, C, 28, 28).

    With `fusion` a map of 28x28, made by a fully connected layer, is added to the logits of every class."""

    def __init__(self, depth: int, classes: int, copies: int, pooling: str, fusion: bool) -> None:
        super().__init__()
        self.first, self.pooling = nn.ModuleList(convolution(depth) for _ in range(copies)), pooling
        self.middle = nn.Sequential(convolution(depth), convolution(depth))
        self.before_up, self.up = convolution(depth), nn.ConvTranspose2d(depth, depth, 2, 2)
        self.score = nn.Conv2d(depth, classes, 1)
        self.before_fc = nn.Sequential(convolution(depth), convolution(depth, depth // 2)) if fusion else None
        self.fc = nn.Linear(depth // 2 * MASK_SIDE**2, (2 * MASK_SIDE) ** 2) if fusion else None
        he(self)
        if self.fc is not None:
            nn.init.normal_(self.fc.weight, std=0.01)
            nn.init.zeros_(self.fc.bias)

    def forward(self, regions: Sequence[Tensor]) -> Tensor:
        x = self.middle(joined([layer(x) for layer, x in zip(self.first, regions, strict=True)], self.pooling))
        logits: Tensor = self.score(F.relu(self.up(self.before_up(x))))
        if self.before_fc is None or self.fc is None:
            return logits
        return logits + F.relu(self.fc(self.before_fc(x).flatten(1))).view(-1, 1, *logits.shape[-2:])


def joined(levels: Sequence[Tensor], pooling: str) -> Tensor:
    """The maximum or the sum of equal tensors."""
    stacked = torch.stack(list(levels))
    return stacked.sum(0) if pooling == "sum" else stacked.amax(0)


def convolution(inputs: int, outputs: int | None = None) -> nn.Sequential:
    """A 3x3 convolution without bias, its group normalisation and ReLU."""
    return normalised(nn.Conv2d(inputs, outputs or inputs, 3, padding=1, bias=False))


def normalised(layer: nn.Conv2d | nn.Linear) -> nn.Sequential:
    """A layer, its group normalisation, and ReLU. There are 32 groups, or as few as leave four channels to each."""
    channels = layer.out_channels if isinstance(layer, nn.Conv2d) else layer.out_features
    return nn.Sequential(layer, nn.GroupNorm(math.gcd(GROUPS, channels // 4), channels), nn.ReLU(inplace=True))
