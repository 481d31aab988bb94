"""UPerNet: Unified Perceptual Parsing for Scene Understanding (Xiao, Liu, Zhou, Jiang, Sun, ECCV 2018): its scene parser.

    image -> trunk -> C2 (stride 4), C3 (8), C4 (16), C5 (32)
    C5 -> PSPNet's pooling: itself and the means of 1, 2 x 2, 3 x 3, 6 x 6 parts, each 1x1 conv to 512 -> 3x3 conv to 512 = M5
    C4 -> 1x1 conv to 512 + M5 x2 = M4, and so on to M2
    M4, M3, M2 -> 3x3 conv to 512 each, and M5 -> all at stride 4 -> 3x3 conv to 512 -> 1x1 scores -> bilinear x4

Each convolution but the scores has batch normalisation and ReLU. Bilinear interpolations do not align corners.
A yardstick, no system of the review: many trunks since 2018 are compared with this decoder. It stands on our ResNets or timm's.
Differs: the heads for objects, parts, materials and textures are left out. So is the auxiliary head of mmsegmentation, from which
the quoted figure comes."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from perpixel.backbones.trunks import staged_trunk
from perpixel.backbones.vgg import scaled
from perpixel.layers.convolution import conv_norm_relu
from perpixel.layers.pooling import average_pool
from perpixel.layers.score_map import ScoreMap
from perpixel.losses import PixelLoss
from perpixel.sample import Targets

STRIDES = (4, 8, 16, 32)  # of C2 to C5
BINS = (1, 2, 3, 6)
HEAD = 512  # channels of every convolution


class UPerNet(nn.Module):
    """UPerNet's scene parser; 64,098,518 parameters on ResNet-50 with 150 classes.

    `backbone`: "resnet50", "resnet101", another ResNet of ours or any timm name with features of stride 4 to 32. `width` scales
    every layer but those of timm's trunks. `dropout` drops whole channels before the scores. `weights`: "imagenet" or none.
    Raises UnknownName or UsageError for an argument that does not exist or does not go with the others."""

    def __init__(
        self,
        classes: int = 21,
        backbone: str = "resnet50",
        dropout: float = 0.1,
        width: float = 1.0,
        weights: str | None = None,
    ) -> None:
        super().__init__()
        self.trunk = staged_trunk(backbone, width, weights)
        self.levels = [self.trunk.levels[stride] for stride in STRIDES]
        *channels, deepest = (self.trunk.channels[level] for level in self.levels)
        depth = scaled(HEAD, width)
        self.pooled = nn.ModuleList(conv_norm_relu(deepest, depth) for _ in BINS)
        self.context = conv_norm_relu(deepest + len(BINS) * depth, depth, 3)
        self.laterals = nn.ModuleList(conv_norm_relu(inputs, depth) for inputs in channels)
        self.smooth = nn.ModuleList(conv_norm_relu(depth, depth, 3) for _ in channels)
        self.fuse = conv_norm_relu(len(STRIDES) * depth, depth, 3)
        self.dropout = nn.Dropout2d(dropout)
        self.score = nn.Conv2d(depth, classes, 1)
        self.loss = PixelLoss()

    def score_map(self, images: Tensor) -> ScoreMap:
        """Class scores at stride 4, stretched over the picture."""
        features = self.trunk(images)
        *finer, deepest = (features[level] for level in self.levels)
        grids = [pooled(grid) for pooled, grid in zip(self.pooled, average_pool(deepest, BINS), strict=True)]
        merged = [self.context(torch.cat([deepest, *(stretched(grid, deepest) for grid in grids)], 1))]
        for lateral, x in zip(reversed(self.laterals), reversed(finer), strict=True):
            merged.insert(0, lateral(x) + stretched(merged[0], x))
        maps = [smooth(x) for smooth, x in zip(self.smooth, merged[:-1], strict=True)]
        x = self.fuse(torch.cat([stretched(x, maps[0]) for x in (*maps, merged[-1])], 1))
        return ScoreMap.stretched(self.score(self.dropout(x)), (images.shape[-2], images.shape[-1]))

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """images (B, 3, H, W) in [0, 1] -> {"logits": (B, C, H, W)}."""
        return {"logits": stretched(self.score_map(images).scores, images)}

    def losses(self, images: Tensor, targets: Targets) -> dict[str, Tensor]:
        losses: dict[str, Tensor] = self.loss(self(images)["logits"], targets)
        return losses


def stretched(x: Tensor, like: Tensor) -> Tensor:
    """`x` at the size of `like`, bilinearly."""
    size = like.shape[-2:]
    return x if x.shape[-2:] == size else F.interpolate(x, size, mode="bilinear", align_corners=False)
