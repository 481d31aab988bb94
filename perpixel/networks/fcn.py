"""FCN: Fully Convolutional Networks (Long, Shelhamer, Darrell, CVPR 2015; Shelhamer et al., PAMI 2017).

    image -> trunk -> pool3 (stride 8), pool4 (16), fc7 (32) -> a 1x1 score layer on each
    32s: score_fr                                      -> bilinear x32
    16s: score_fr x2 + score_pool4                     -> bilinear x16
    8s: (score_fr x2 + score_pool4) x2 + score_pool3   -> bilinear x8

With `backbone="vgg16"` and `padding=100` this is the authors' published network: padding 100, pools that round up, first-pixel
crops (5 and 9 between scores; 19, 27, 31 at the end), frozen bilinear kernels, score layers that start at zero.
Differs: with `padding=1`, or any timm trunk, scores lie on cells that tile the picture and nothing is cropped."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from perpixel.backbones import VGG16, Backbone, TimmBackbone
from perpixel.errors import UsageError
from perpixel.layers.score_map import ScoreMap, enlarge
from perpixel.losses import PixelLoss

PAPER_PADDING = 100
FINAL_CROP = {32: 19, 16: 27, 8: 31}
FUSE_CROP = {16: 5, 8: 9}  # of score_pool4 and score_pool3


class FCN(nn.Module):
    """FCN-32s, 16s or 8s by `stride`, on `backbone` ("vgg16" or any timm name) at `width` (vgg16 only).

    `padding` is that of conv1_1: 100 as published, or 1. `weights`: "imagenet" or none.
    Raises UsageError for a stride, padding or width that does not go with the backbone."""

    def __init__(
        self,
        classes: int = 21,
        backbone: str = "vgg16",
        stride: int = 8,
        width: float = 1.0,
        padding: int = PAPER_PADDING,
        dropout: float = 0.5,
        weights: str | None = None,
    ) -> None:
        super().__init__()
        if stride not in FINAL_CROP:
            raise UsageError(f"FCN has the strides 32, 16 and 8, not {stride}.")
        if padding not in (1, PAPER_PADDING):
            raise UsageError(f"padding {padding}: FCN is published with 100; the other choice is 1.")
        self.stride = stride
        self.trunk: Backbone
        if backbone == "vgg16":
            self.trunk = VGG16(width, padding, dropout=dropout, weights=weights)
            taps = {8: "pool3", 16: "pool4", 32: "fc7"}
        else:
            if width != 1:
                raise UsageError(f"width {width} is for vgg16; timm backbones have fixed widths, so choose a smaller one.")
            self.trunk = TimmBackbone(backbone, weights)
            taps = {8: "stride8", 16: "stride16", 32: "stride32"}
        missing = [tap for tap in taps.values() if tap not in self.trunk.channels]
        if missing:
            raise UsageError(f"{backbone} has no features of {', '.join(missing)}, which FCN needs; choose another backbone.")
        self.as_published = backbone == "vgg16" and padding == PAPER_PADDING
        self.taps = {level: tap for level, tap in taps.items() if level >= stride}
        self.score = nn.ModuleDict({tap: nn.Conv2d(self.trunk.channels[tap], classes, 1) for tap in self.taps.values()})
        for layer in self.score.values():
            assert isinstance(layer, nn.Conv2d)
            assert layer.bias is not None
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        for factor in {2, stride}:
            self.register_buffer(f"bilinear{factor}", bilinear_kernel(2 * factor), persistent=False)
        self.loss = PixelLoss()

    def score_map(self, images: Tensor) -> ScoreMap:
        """Class scores at `stride`, before the last interpolation."""
        features = self.trunk(images)
        scores: Tensor = self.score[self.taps[32]](features[self.taps[32]])
        for level in (16, 8):
            if level < self.stride:
                break
            finer = self.score[self.taps[level]](features[self.taps[level]])
            if self.as_published:
                coarse = self._interpolate(scores, 2)
                scores = coarse + crop(finer, FUSE_CROP[level], coarse.shape[-2:])
            else:
                scores = finer + enlarge(scores, 2, finer.shape[-2:])
        if not self.as_published:
            return ScoreMap.of_cells(scores, self.stride)
        # Pixel i is i + crop of the transposed convolution's output, whose kernel of 2s is centred on s - 1/2.
        shift = (FINAL_CROP[self.stride] - (self.stride - 0.5)) / self.stride
        return ScoreMap(scores, self.stride, shift)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """images (B, 3, H, W) in [0, 1] -> {"logits": (B, C, H, W)}."""
        size = images.shape[-2], images.shape[-1]
        scores = self.score_map(images).scores
        if self.as_published:
            return {"logits": crop(self._interpolate(scores, self.stride), FINAL_CROP[self.stride], size)}
        return {"logits": enlarge(scores, self.stride, size)}

    def losses(self, images: Tensor, targets: Tensor) -> dict[str, Tensor]:
        losses: dict[str, Tensor] = self.loss(self(images)["logits"], targets)
        return losses

    def _interpolate(self, scores: Tensor, factor: int) -> Tensor:
        """The frozen transposed convolution: each channel by itself, kernel 2 * factor, no padding."""
        kernel = self.get_buffer(f"bilinear{factor}").to(scores.dtype)
        channels = scores.shape[1]
        return F.conv_transpose2d(scores, kernel.expand(channels, 1, -1, -1), stride=factor, groups=channels)


def crop(features: Tensor, offset: int, size: torch.Size | tuple[int, int]) -> Tensor:
    """The window of `size` = (height, width) that starts at `offset` on both sides: Caffe's Crop, not a centre crop."""
    return features[..., offset : offset + size[0], offset : offset + size[1]]


def bilinear_kernel(side: int) -> Tensor:
    """(side, side) weights of bilinear interpolation as `surgery.upsample_filt` of the authors' code makes them."""
    factor = (side + 1) // 2
    centre = factor - 1 if side % 2 else factor - 0.5
    line = 1 - (torch.arange(side, dtype=torch.float32) - centre).abs() / factor
    return line[:, None] * line[None, :]
