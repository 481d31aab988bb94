"""DeepLab v3+: Encoder-Decoder with Atrous Separable Convolution (Chen et al., ECCV 2018, arXiv:1802.02611).

    image -> trunk of output stride 16 -> pyramid of DeepLab v3, 256 channels -> bilinear to stride 4 -+
               |                                                                                       joined
               +-> low-level feature of stride 4 -> 1x1, 48 channels ----------------------------------+
    304 channels -> 3x3 256 -> 3x3 256 -> 1x1 scores -> bilinear x4

Every convolution but the last has batch normalisation and ReLU (section 3.1, figure 2). The low-level feature of a ResNet
is res2. That of Xception is the input of the strided convolution of the second entry block, as released. With `separable=True`
the 3x3 convolutions of pyramid and decoder are atrous separable ones (section 3.1). Pictures are padded, corners aligned and
`network.output_stride` set as in DeepLab v3.
Differs: as DeepLab v3. Depthwise kernels are decayed like all other kernels; the authors do not decay them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from perpixel.errors import UsageError
from perpixel.layers.convolution import conv_norm_relu
from perpixel.layers.corners import on_pixels, padded, spread
from perpixel.layers.score_map import ScoreMap
from perpixel.losses import PixelLoss
from perpixel.networks.deeplabv3 import (
    DEPTH,
    DROPOUT,
    NORM_MOMENTUM,
    RATES,
    RATES_STRIDE,
    AtrousNetwork,
    Pyramid,
    dilated_trunk,
    separable_conv,
    set_momentum,
    start,
)
from perpixel.sample import Targets

LOW_LEVEL = 48
DECODER_STRIDE = 4


class DeepLabV3Plus(AtrousNetwork):
    """The paper's network on Xception-65 with separable convolutions; 41,055,413 parameters with 21 classes.

    `backbone`: a ResNet or Xception of ours, or any timm name, whose output stride is fixed. `separable`: in pyramid and decoder.
    `low_level`: channels to which the low-level feature is reduced (the paper's table 1). `rates`, `multi_grid`, `image_pooling`,
    `dropout`, `norm_momentum`, `width` and `weights` are those of DeepLab v3.
    Raises UsageError or UnknownName for arguments that do not go together or do not exist."""

    def __init__(
        self,
        classes: int = 21,
        backbone: str = "xception65",
        output_stride: int = 16,
        separable: bool = True,
        low_level: int = LOW_LEVEL,
        rates: Sequence[int] = RATES,
        multi_grid: Sequence[int] | None = None,
        image_pooling: bool = True,
        dropout: float = DROPOUT,
        norm_momentum: float = NORM_MOMENTUM,
        width: float = 1.0,
        weights: str | None = None,
    ) -> None:
        super().__init__()
        if low_level < 1:
            raise UsageError(f"low_level = {low_level}: the low-level feature needs at least one channel.")
        self.trunk = dilated_trunk(backbone, width, weights, output_stride, multi_grid, (DECODER_STRIDE, 32))
        self._low, self._deepest = self.trunk.levels[DECODER_STRIDE], self.trunk.levels[32]
        depth, low = (max(1, round(channels * width)) for channels in (DEPTH, low_level))
        self.aspp = Pyramid(self.trunk.channels[self._deepest], depth, rates, image_pooling, dropout, separable)
        self.low_level = conv_norm_relu(self.trunk.channels[self._low], low)
        sides = (depth + low, depth), (depth, depth)
        self.decoder = nn.Sequential(
            *(separable_conv(*side) if separable else conv_norm_relu(*side, 3) for side in sides)
        )
        self.score = nn.Conv2d(depth, classes, 1)
        start(nn.ModuleList([self.aspp, self.low_level, self.decoder]), self.score)
        set_momentum(self, norm_momentum)
        self.output_stride = output_stride
        self.loss = PixelLoss()

    def score_map(self, images: Tensor) -> ScoreMap:
        """Class scores on every fourth pixel."""
        features = self.trunk(padded(images, max(RATES_STRIDE, self.output_stride), self.trunk.mean))
        low = self.low_level(features[self._low])
        grid = low.shape[-2], low.shape[-1]
        deep = spread(self.aspp(features[self._deepest]), self.output_stride // DECODER_STRIDE, grid)
        return on_pixels(self.score(self.decoder(torch.cat([deep, low], 1))), DECODER_STRIDE)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """images (B, 3, H, W) in [0, 1] -> {"logits": (B, C, H, W)}."""
        return {"logits": spread(self.score_map(images).scores, DECODER_STRIDE, (images.shape[-2], images.shape[-1]))}

    def losses(self, images: Tensor, targets: Targets) -> dict[str, Tensor]:
        losses: dict[str, Tensor] = self.loss(self(images)["logits"], targets)
        return losses
