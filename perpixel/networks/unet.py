"""U-Net (Ronneberger, Fischer, Brox, MICCAI 2015): five levels of two 3x3 convolutions each, 2x2 pools down, 2x2
up-convolutions back, each joined with the middle of the encoder's map of its level; 1x1 convolution -> logits.  Figure 1:

    572 -> 570 -> 568 ------------------------------------------- 392 -> 390 -> 388 -> logits
            284 -> 282 -> 280 ------------------------- 200 -> 198 -> 196
                    140 -> 138 -> 136 --------- 104 -> 102 -> 100
                             68 -> 66 -> 64 - 56 -> 54 -> 52
                                    32 -> 30 -> 28

Valid convolutions take 92 pixels from each side. Here the picture is mirrored by that and a little more (section 2,
overlap-tile), so that any size comes out whole. `valid_score_map` mirrors nothing: its images bring their true surroundings.

`variant="release"` is the network that the authors released in October 2015, `phseg_v5`. It differs from the figure: its last
up-convolution makes 128 channels, not 64; a ReLU follows each up-convolution; the upsampled map comes before the copied one;
dropout acts at the end of the two deepest levels, before the pool and before the copy.

`convolutions="same"` pads instead; `norm="batch"` adds batch normalisation; `skips=False` copies nothing; `backbone` replaces
the encoder. These arguments are for practical work and for study, not the paper's network. `networks.title` names them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from perpixel.backbones import VGG16, Backbone, TimmBackbone
from perpixel.backbones.vgg import scaled
from perpixel.errors import UsageError, did_you_mean
from perpixel.layers.score_map import ScoreMap, enlarge, greater, may_differ_from_0
from perpixel.losses import PixelLoss
from perpixel.sample import Targets

VARIANTS = ("paper", "release")
LEVELS = (64, 128, 256, 512, 1024)
BORDER = 92  # pixels that valid convolutions take from each side


class UNet(nn.Module):
    """The paper's network, 31,030,658 parameters with `channels=1, classes=2`; or the released one, 31,100,354.

    With `channels=1` pictures have one band, or are RGB, of which it takes the mean. `width` scales every layer. `convolutions`:
    "valid" as published or "same". `norm`: none as published or "batch". `dropout` at the end of the contracting path (section
    3.1). Without `skips` the decoder has its up-convolutions alone. `border`: pixels that the network takes from each side, 92,
    or 0 with padded convolutions."""

    def __init__(
        self,
        classes: int = 21,
        variant: str = "paper",
        channels: int = 3,
        width: float = 1.0,
        convolutions: str = "valid",
        norm: str | None = None,
        skips: bool = True,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        if variant not in VARIANTS:
            raise did_you_mean("variant of unet", variant, VARIANTS)
        if convolutions not in ("valid", "same"):
            raise UsageError(f"convolutions={convolutions!r}: U-Net has 'valid' (as published) or 'same'.")
        if channels < 1:
            raise UsageError(f"channels={channels}: pictures have 1 or more.")
        self.released, self.channels, self.skips = variant == "release", channels, skips
        self.padded = convolutions == "same"
        self.border = 0 if self.padded else BORDER
        padding = 1 if self.padded else 0
        widths = [scaled(level, width) for level in LEVELS]
        self.down = nn.ModuleList(
            two_convolutions(before, after, padding, norm) for before, after in zip([channels, *widths], widths, strict=False)
        )
        self.pool = nn.MaxPool2d(2)
        self.dropout = nn.Dropout(dropout)
        self.dropped = (3, 4) if self.released else (4,)  # levels
        self.up, self.join = nn.ModuleList(), nn.ModuleList()
        for level in (3, 2, 1, 0):
            deep, shallow = widths[level + 1], widths[level]
            upsampled = deep if self.released and level == 0 else shallow
            self.up.append(nn.ConvTranspose2d(deep, upsampled, 2, stride=2))
            self.join.append(two_convolutions(upsampled + shallow if skips else upsampled, shallow, padding, norm))
        self.classify = nn.Conv2d(widths[0], classes, 1)
        he_initialisation(self)
        self.loss = PixelLoss()

    def score_map(self, images: Tensor) -> ScoreMap:
        """Logits at the images' own size. The surroundings of the images are mirrored."""
        return self._scores(images, self.border)

    def valid_score_map(self, images: Tensor) -> ScoreMap:
        """Logits of the images without a margin of `border` pixels, their surroundings: 572 x 572 -> 388 x 388.

        Sides of 16 k + 60 (16 k with padded convolutions) are not mirrored. Other sides are lengthened beyond the lower and the
        right edge, by up to 15 pixels and to at least 188. Raises UsageError where nothing would be left of an image."""
        if min(images.shape[-2:]) <= 2 * self.border:
            height, width = images.shape[-2:]
            raise UsageError(f"an image of {height}x{width} has no room for margins of {self.border} pixels; make it larger.")
        return self._scores(images, 0)

    def _scores(self, images: Tensor, mirrored: int) -> ScoreMap:
        """Logits of the images without `border` pixels on each side, after mirroring by `mirrored` pixels on each side."""
        height, width = (side + 2 * (mirrored - self.border) for side in images.shape[-2:])
        x = grey(images) if self.channels == 1 and images.shape[1] == 3 else images
        below, right = (_missing(side + 2 * mirrored, self.padded) for side in images.shape[-2:])
        x = mirror(x, mirrored, mirrored + below, mirrored, mirrored + right)
        levels = []
        for level, convolutions in enumerate(self.down):
            x = convolutions(self.pool(x) if level else x)
            x = self.dropout(x) if level in self.dropped else x
            levels.append(x)
        for up, join, level in zip(self.up, self.join, levels[-2::-1], strict=True):
            x = F.relu_(up(x)) if self.released else up(x)
            if self.skips:
                copied = centre(level, x)
                x = torch.cat([x, copied] if self.released else [copied, x], 1)
            x = join(x)
        return ScoreMap.of_cells(self.classify(x)[..., :height, :width], 1)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """images (B, 3, H, W) in [0, 1] -> {"logits": (B, C, H, W)}."""
        return {"logits": self.score_map(images).scores}

    def losses(self, images: Tensor, targets: Targets) -> dict[str, Tensor]:
        """The loss of the logits. Images that are larger than the targets by `border` on each side bring their surroundings."""
        margins = {side - judged for side, judged in zip(images.shape[-2:], targets.labels.shape[-2:], strict=True)}
        if margins not in ({0}, {2 * self.border}):
            sizes = ["x".join(map(str, one.shape[-2:])) for one in (images, targets.labels)]
            raise UsageError(f"images of {sizes[0]}, targets of {sizes[1]}: make them equal, or {self.border} more on each side.")
        logits = (self.score_map(images) if margins == {0} else self.valid_score_map(images)).scores
        losses: dict[str, Tensor] = self.loss(logits, targets)
        return losses


class BackboneUNet(nn.Module):
    """U-Net's decoder on another encoder: bilinear x2, joined with the trunk's map of that stride, 3x3 convolutions.

    `decoder` gives the channels of the levels from the deepest to the finest. The trunk allows a level for each stride below its
    deepest. With fewer levels the logits are enlarged from a coarser stride.
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

    def losses(self, images: Tensor, targets: Targets) -> dict[str, Tensor]:
        losses: dict[str, Tensor] = self.loss(self(images)["logits"], targets)
        return losses


def unet(backbone: str | None = None, **arguments: object) -> UNet | BackboneUNet:
    """The paper's network. With `backbone` its decoder stands on that trunk."""
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
    """Gaussian with variance 2 / N, where N is the number of inputs of a neuron (section 3).

    N of an up-convolution is the number of its input channels."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_in", nonlinearity="relu")
        elif isinstance(layer, nn.ConvTranspose2d):
            nn.init.normal_(layer.weight, std=(2 / layer.in_channels) ** 0.5)
        else:
            continue
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)


def grey(images: Tensor) -> Tensor:
    """The mean of red, green and blue (B, 1, H, W); exactly their value where the three are equal."""
    red = images[:, :1]
    return red + (images - red).mean(1, keepdim=True)


def mirror(images: Tensor, top: int, bottom: int, left: int, right: int) -> Tensor:
    """Pads by reflection without repeating the edge, again and again where the border is larger than the picture."""
    if not any(map(may_differ_from_0, (top, bottom, left, right))):
        return images
    for axis, before, after in ((-2, top, bottom), (-1, left, right)):
        side = images.shape[axis]
        period = torch.scalar_tensor(greater(1, 2 * (side - 1)), dtype=torch.int64, device=images.device)
        place = torch.arange(-before, side + after, device=images.device) % period
        images = images.index_select(axis, torch.where(place < side, place, period - place))
    return images


def centre(features: Tensor, like: Tensor) -> Tensor:
    """The middle of `features` at the size of `like`: crops of 4, 16, 40 and 88 per side at 572 x 572."""
    top, left = ((a - b) // 2 for a, b in zip(features.shape[-2:], like.shape[-2:], strict=True))
    return features[..., top : top + like.shape[-2], left : left + like.shape[-1]]


def _missing(side: int, padded: bool) -> int:
    """Pixels until every pool sees an even side: multiples of 16, or 16 k + 60 with valid convolutions, at least 188."""
    return -side % 16 if padded else greater(188 - side, -(side - 60) % 16)
