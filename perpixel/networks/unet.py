"""U-Net (Ronneberger, Fischer, Brox, MICCAI 2015): five levels of two 3x3 convolutions each, 2x2 pools down, 2x2
up-convolutions back, each joined with the encoder's map of its level; 1x1 convolution -> logits.  Follows figure 1.

`unet` as published has valid convolutions: 572 x 572 in, 388 x 388 out. Here the picture is mirrored by 92 pixels and more
(section 2, overlap-tile), so that any size comes out whole. `convolutions="same"` pads instead; `norm="batch"` adds batch
normalisation; `backbone` replaces the encoder: these are for practical work and are not the paper's network."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from perpixel.backbones import VGG16, Backbone, TimmBackbone
from perpixel.backbones.vgg import scaled
from perpixel.errors import UsageError
from perpixel.layers.score_map import ScoreMap, enlarge
from perpixel.losses import PixelLoss

LEVELS = (64, 128, 256, 512, 1024)
BORDER = 92  # pixels that valid convolutions take from each side


class UNet(nn.Module):
    """The paper's network; 31,030,658 parameters with `channels=1, classes=2`.

    `channels=1` takes the mean of RGB. `width` scales every layer. `convolutions`: "valid" as published or "same".
    `norm`: none as published or "batch". `dropout` at the end of the contracting path (section 3.1)."""

    def __init__(
        self,
        classes: int = 21,
        channels: int = 3,
        width: float = 1.0,
        convolutions: str = "valid",
        norm: str | None = None,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        if convolutions not in ("valid", "same"):
            raise UsageError(f"convolutions={convolutions!r}: U-Net has 'valid' (as published) or 'same'.")
        if channels not in (1, 3):
            raise UsageError(f"channels={channels}: pictures have 3 channels, or 1 as their mean.")
        self.channels, self.padded = channels, convolutions == "same"
        padding = 1 if self.padded else 0
        widths = [scaled(level, width) for level in LEVELS]
        self.down = nn.ModuleList(
            two_convolutions(before, after, padding, norm) for before, after in zip([channels, *widths], widths, strict=False)
        )
        self.pool = nn.MaxPool2d(2)
        self.dropout = nn.Dropout(dropout)
        pairs = list(zip(widths[::-1], widths[-2::-1], strict=False))
        self.up = nn.ModuleList(nn.ConvTranspose2d(deep, shallow, 2, stride=2) for deep, shallow in pairs)
        self.join = nn.ModuleList(two_convolutions(2 * shallow, shallow, padding, norm) for _, shallow in pairs)
        self.classify = nn.Conv2d(widths[0], classes, 1)
        he_initialisation(self)
        self.loss = PixelLoss()

    def score_map(self, images: Tensor) -> ScoreMap:
        """Logits at the images' own size."""
        height, width = images.shape[-2:]
        x = images.mean(1, keepdim=True) if self.channels == 1 else images
        border = 0 if self.padded else BORDER
        down, right = (_missing(side + 2 * border, self.padded) for side in (height, width))
        x = mirror(x, border, border + down, border, border + right)
        skips = []
        for level, convolutions in enumerate(self.down):
            x = convolutions(self.pool(x) if level else x)
            skips.append(x)
        x = self.dropout(skips.pop())
        for up, join in zip(self.up, self.join, strict=True):
            x = up(x)
            x = join(torch.cat([centre(skips.pop(), x), x], 1))
        return ScoreMap.of_cells(self.classify(x)[..., :height, :width], 1)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """images (B, 3, H, W) in [0, 1] -> {"logits": (B, C, H, W)}."""
        return {"logits": self.score_map(images).scores}

    def losses(self, images: Tensor, targets: Tensor, weights: Tensor | None = None) -> dict[str, Tensor]:
        losses: dict[str, Tensor] = self.loss(self(images)["logits"], targets, weights)
        return losses


class BackboneUNet(nn.Module):
    """U-Net's decoder on another encoder: bilinear x2, joined with the trunk's map of that stride, 3x3 convolutions.

    `decoder` gives the channels of the levels from the deepest to the finest; there are as many as the trunk has strides
    below its deepest, or fewer, and then the logits are enlarged from a coarser stride.
    Raises UsageError when `decoder` has more levels than the trunk."""

    def __init__(
        self,
        classes: int = 21,
        backbone: str = "vgg16",
        width: float = 1.0,
        decoder: Sequence[int] = (128, 64, 48, 32),
        dropout: float = 0.1,
        weights: str | None = None,
    ) -> None:
        super().__init__()
        self.trunk: Backbone
        if backbone == "vgg16":
            self.trunk = VGG16(width, classifier=False, weights=weights)
        else:
            self.trunk = TimmBackbone(backbone, weights, width)
        levels = self.trunk.pyramid[::-1]
        if not 1 <= len(decoder) < len(levels):
            raise UsageError(f"decoder={list(decoder)}: {backbone} has {len(levels) - 1} levels to join, so give 1 to that many.")
        self.levels = levels[: len(decoder) + 1]
        before = self.trunk.channels[levels[0]]
        joins = []
        for level, after in zip(self.levels[1:], decoder, strict=True):
            joins.append(two_convolutions(before + self.trunk.channels[level], after, 1, "batch"))
            before = after
        self.join = nn.ModuleList(joins)
        self.dropout = nn.Dropout2d(dropout)
        self.classify = nn.Conv2d(before, classes, 1)
        he_initialisation(self.join)
        self.stride = self.trunk.strides[self.levels[-1]]
        self.loss = PixelLoss()

    def score_map(self, images: Tensor) -> ScoreMap:
        """Class scores at the stride of the decoder's last level."""
        features = self.trunk(images)
        x = features[self.levels[0]]
        for coarse, level, join in zip(self.levels, self.levels[1:], self.join, strict=False):
            skip = features[level]
            factor = self.trunk.strides[coarse] // self.trunk.strides[level]
            x = join(torch.cat([enlarge(x, factor, skip.shape[-2:]), skip], 1))
        return ScoreMap.of_cells(self.classify(self.dropout(x)), self.stride)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """images (B, 3, H, W) in [0, 1] -> {"logits": (B, C, H, W)}."""
        return {"logits": enlarge(self.score_map(images).scores, self.stride, (images.shape[-2], images.shape[-1]))}

    def losses(self, images: Tensor, targets: Tensor, weights: Tensor | None = None) -> dict[str, Tensor]:
        losses: dict[str, Tensor] = self.loss(self(images)["logits"], targets, weights)
        return losses


def unet(backbone: str | None = None, **arguments: object) -> UNet | BackboneUNet:
    """The paper's network, or with `backbone` its decoder on that trunk."""
    if backbone is None:
        return UNet(**arguments)  # type: ignore[arg-type]
    return BackboneUNet(backbone=backbone, **arguments)  # type: ignore[arg-type]


def two_convolutions(before: int, after: int, padding: int, norm: str | None) -> nn.Sequential:
    """Conv 3x3, ReLU, conv 3x3, ReLU; with batch normalisation before each ReLU if asked for."""
    if norm not in (None, "batch"):
        raise UsageError(f"norm={norm!r}: U-Net has no normalisation (as published) or 'batch'.")
    layers: list[nn.Module] = []
    for inputs in (before, after):
        layers.append(nn.Conv2d(inputs, after, 3, padding=padding, bias=norm is None))
        if norm == "batch":
            layers.append(nn.BatchNorm2d(after))
        layers.append(nn.ReLU(inplace=True))
    return nn.Sequential(*layers)


def he_initialisation(module: nn.Module) -> None:
    """Gaussian with variance 2 / N, N the incoming nodes of one neuron (section 3); for an up-convolution N = its inputs."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_in", nonlinearity="relu")
        elif isinstance(layer, nn.ConvTranspose2d):
            nn.init.normal_(layer.weight, std=(2 / layer.in_channels) ** 0.5)
        else:
            continue
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)


def mirror(images: Tensor, top: int, bottom: int, left: int, right: int) -> Tensor:
    """Pads by reflection without repeating the edge, again and again where the border is larger than the picture."""
    if not any((top, bottom, left, right)):
        return images
    for axis, before, after in ((-2, top, bottom), (-1, left, right)):
        side = images.shape[axis]
        period = max(1, 2 * (side - 1))
        place = torch.arange(-before, side + after, device=images.device) % period
        images = images.index_select(axis, torch.where(place < side, place, period - place))
    return images


def centre(features: Tensor, like: Tensor) -> Tensor:
    """The middle of `features` at the size of `like`: crops of 4, 16, 40 and 88 per side at 572 x 572."""
    top, left = ((a - b) // 2 for a, b in zip(features.shape[-2:], like.shape[-2:], strict=True))
    return features[..., top : top + like.shape[-2], left : left + like.shape[-1]]


def _missing(side: int, padded: bool) -> int:
    """Pixels until every pool sees an even side: multiples of 16, or 16 k + 60 with valid convolutions, at least 188."""
    return -side % 16 if padded else max(188 - side, -(side - 60) % 16)
