"""PSPNet: Pyramid Scene Parsing Network (Zhao, Shi, Qi, Wang, Jia, CVPR 2017), figure 3.

    image -> ResNet, stride 8 -> res5 (B, 2048, h, w) --------------------------------------+
                |                 +-> 1x1 bin  -> 1x1 conv (B, 512, 1, 1) -> bilinear ------+
                |                 +-> 2x2 bins -> 1x1 conv (B, 512, 2, 2) -> bilinear ------+ joined (B, 4096, h, w)
                |                 +-> 3x3 bins -> 1x1 conv (B, 512, 3, 3) -> bilinear ------+ -> 3x3 conv to 512, dropout
                |                 +-> 6x6 bins -> 1x1 conv (B, 512, 6, 6) -> bilinear ------+ -> 1x1 score -> bilinear x8
                +-> res4 (B, 1024, h, w) -> 3x3 conv to 256, dropout, 1x1 score: a second loss, in training alone

Every bilinear interpolation aligns corners, so cell j of a map lies on pixel 8 j, and the sides of a picture should be 8 k + 1.
473 gives 60 cells and 713 gives 90; all bins divide both.

Differs: any size works. Other sides are lengthened to the next 8 k + 1: the last row and column are repeated, and the scores of
the added pixels are cut off. Where bins do not divide the cells, they overlap as in torch's adaptive pooling. The stride of a
stage lies in its 3x3 convolution, as in the first author's PyTorch version (hszhao/semseg), not in the first 1x1 of the Caffe
files.
The grid of one bin has a single cell for a picture. `PooledBatchNorm` handles it when a batch has one picture.
With a timm trunk res5 and res4 are the maps of stride 32 and 16 without dilation.

The paper's ablations are arguments (ADE20K val, ResNet-50, single scale, mIoU / pixel accuracy; tables 1 and 2 of the paper):

    bins=()                                                   37.23 / 78.01
    bins=(1,), reduce=False        max 39.94          average 40.07
    reduce=False                   max 40.18          average 41.07
    as published                   max 40.87          average 41.68 / 80.04
    bins=(), auxiliary=0: 35.82 / 77.07; 0.3: 37.01; 0.4: 37.23; 0.6: 37.09; 0.9: 36.99"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from perpixel.backbones.trunks import staged_trunk
from perpixel.backbones.vgg import scaled
from perpixel.errors import UsageError, did_you_mean
from perpixel.layers.auxiliary import auxiliary_head
from perpixel.layers.batch_norm import PooledBatchNorm
from perpixel.layers.convolution import conv_norm_relu
from perpixel.layers.pooling import POOLINGS
from perpixel.layers.score_map import ScoreMap
from perpixel.losses import PixelLoss
from perpixel.sample import Targets

STRIDE, BINS, HEAD = 8, (1, 2, 3, 6), 512
AUXILIARY_WEIGHT, DROPOUT = 0.4, 0.1


class PSPNet(nn.Module):
    """The network of the paper; 65,708,501 parameters with 21 classes, and 2,365,205 of the auxiliary head.

    `backbone`: "resnet101", "resnet50" ... of our own with a deep stem, or any timm name; `width` scales our own and the head.
    `bins`: sides of the grids that the map is pooled to, or none. `pooling`: "average" or "max". With `reduce`, as published, a
    grid is reduced to the map's channels divided by the number of grids; without, grids keep all channels. `auxiliary`: weight of
    the auxiliary loss; 0 leaves its head out. `dropout` is that of both heads. `weights`: "imagenet" or none.
    Raises UnknownName or UsageError for an argument that does not exist or does not fit."""

    def __init__(
        self,
        classes: int = 21,
        backbone: str = "resnet101",
        bins: Sequence[int] = BINS,
        pooling: str = "average",
        reduce: bool = True,
        auxiliary: float = AUXILIARY_WEIGHT,
        dropout: float = DROPOUT,
        width: float = 1.0,
        weights: str | None = None,
    ) -> None:
        super().__init__()
        if bins and min(bins) < 1:
            raise UsageError(f"bins = {list(bins)}: a grid has 1 bin a side or more; give some such as 1, 2, 3, 6, or none.")
        if not 0 <= auxiliary < float("inf"):
            raise UsageError(f"auxiliary = {auxiliary}: is a weight; give 0 (no auxiliary head) or more.")
        self.trunk = staged_trunk(backbone, width, weights, STRIDE, (16, 32) if auxiliary else (32,), stem="deep")
        self.deep, self.middle = self.trunk.levels[32], self.trunk.levels.get(16)
        self.pyramid = PyramidPooling(self.trunk.channels[self.deep], bins, pooling, reduce)
        hidden = scaled(HEAD, width)
        self.head = nn.Sequential(conv_norm_relu(self.pyramid.outputs, hidden, 3), nn.Dropout(dropout))
        self.score = nn.Conv2d(hidden, classes, 1)
        self.auxiliary_weight = auxiliary
        self.auxiliary: nn.Module | None = None
        if auxiliary and self.middle is not None:
            self.auxiliary = auxiliary_head(self.trunk.channels[self.middle], classes, dropout)
        self.loss = PixelLoss()

    def score_map(self, images: Tensor) -> ScoreMap:
        """Class scores at stride 8; cell j lies on pixel 8 j."""
        seen = lengthened(images)
        return ScoreMap.cornered(self._scores(self.trunk(seen)), (seen.shape[-2], seen.shape[-1]))

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """images (B, 3, H, W) in [0, 1] -> {"logits": (B, C, H, W)}; the auxiliary scores are only in `losses`."""
        seen = lengthened(images)
        return {"logits": _enlarged(self._scores(self.trunk(seen)), seen, images)}

    def losses(self, images: Tensor, targets: Targets) -> dict[str, Tensor]:
        """The loss of the logits. In training also the loss of the auxiliary scores, times its weight, as `auxiliary_NAME`."""
        seen = lengthened(images)
        features = self.trunk(seen)
        losses: dict[str, Tensor] = self.loss(_enlarged(self._scores(features), seen, images), targets)
        if self.training and self.auxiliary is not None and self.middle is not None:
            scores = _enlarged(self.auxiliary(features[self.middle]), seen, images)
            for name, loss in self.loss(scores, targets).items():
                losses[f"auxiliary_{name}"] = self.auxiliary_weight * loss
        return losses

    def _scores(self, features: dict[str, Tensor]) -> Tensor:
        scores: Tensor = self.score(self.head(self.pyramid(features[self.deep])))
        return scores


class PyramidPooling(nn.Module):
    """features (B, C, h, w) -> (B, outputs, h, w): the features, and behind them their pooled grids, enlarged bilinearly."""

    def __init__(self, inputs: int, bins: Sequence[int] = BINS, pooling: str = "average", reduce: bool = True) -> None:
        super().__init__()
        if pooling not in POOLINGS:
            raise did_you_mean("pooling", pooling, POOLINGS)
        self.bins, self.pool = tuple(bins), POOLINGS[pooling]
        depth = max(1, inputs // max(1, len(self.bins))) if reduce else inputs
        self.branches = nn.ModuleList(
            nn.Sequential(nn.Conv2d(inputs, depth, 1, bias=False), PooledBatchNorm(depth), nn.ReLU(inplace=True))
            if reduce
            else nn.Identity()
            for _ in self.bins
        )
        self.outputs = inputs + len(self.bins) * depth

    def forward(self, x: Tensor) -> Tensor:
        pooled = self.pool(x, self.bins) if self.bins else []
        grids = [branch(grid) for branch, grid in zip(self.branches, pooled, strict=True)]
        return torch.cat([x, *(F.interpolate(grid, x.shape[-2:], mode="bilinear", align_corners=True) for grid in grids)], 1)


def lengthened(images: Tensor) -> Tensor:
    """The images with sides of 8 k + 1: their last row and column are repeated up to 7 times."""
    bottom, right = ((1 - side) % STRIDE for side in images.shape[-2:])
    return F.pad(images, (0, right, 0, bottom), mode="replicate")


def _enlarged(scores: Tensor, seen: Tensor, images: Tensor) -> Tensor:
    """Scores of the lengthened images `seen` at every pixel of the `images`."""
    height, width = images.shape[-2:]
    return F.interpolate(scores, seen.shape[-2:], mode="bilinear", align_corners=True)[..., :height, :width]
