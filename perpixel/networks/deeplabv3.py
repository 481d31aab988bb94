"""DeepLab v3: Rethinking Atrous Convolution for Semantic Image Segmentation (Chen et al., arXiv:1706.05587, 2017).

    image -> ResNet of output stride 16, res5 with multi-grid (1, 2, 4)
               +-> 1x1 -------------------------+
               +-> 3x3, rate 6 -----------------+
               +-> 3x3, rate 12 ----------------+-> concatenated -> 1x1 -> dropout -> 1x1 scores -> bilinear x16
               +-> 3x3, rate 18 ----------------+
               +-> mean of the picture -> 1x1 --+

Every convolution but the last has 256 channels, batch normalisation and ReLU (section 3.3). Rates are those of output stride
16, and double at 8. `network.output_stride = 8` may be set at any time, as the paper does to judge. It changes no weight.
Corners are aligned as in the authors' TensorFlow code: a cell lies on every 16th pixel. Pictures are padded with the mean colour
to sides of 16 k + 1 pixels, such as 513, so that any size works. Features of timm's trunks are assumed to lie so too.
Differs: the stem is 7x7, as in the paper's ResNet and torchvision's weights; the released code has three 3x3. The global pool is
the mean of the whole picture, padding included; in the released code its window has the size of the crop. The first weights of
the head are ours; scores start at N(0, 0.01) as released."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from perpixel.backbones.resnet import KINDS
from perpixel.backbones.timm import TimmBackbone
from perpixel.backbones.trunks import OWN, StagedTrunk, staged_trunk
from perpixel.errors import UsageError
from perpixel.layers.batch_norm import PooledBatchNorm
from perpixel.layers.convolution import conv_norm_relu
from perpixel.layers.corners import on_pixels, padded, spread
from perpixel.layers.score_map import ScoreMap
from perpixel.losses import PixelLoss
from perpixel.sample import Targets

DEPTH = 256
RATES = (6, 12, 18)  # at RATES_STRIDE
RATES_STRIDE = 16
MULTI_GRID = (1, 2, 4)
DROPOUT = 0.1
NORM_MOMENTUM = 3e-4
SCORE_SD = 0.01


class AtrousNetwork(nn.Module):
    """A network on a trunk and a pyramid, whose output stride may be set at any time: DeepLab v3 and v3+."""

    trunk: StagedTrunk
    aspp: Pyramid

    @property
    def output_stride(self) -> int:
        """Side of the picture over side of the deepest feature. Setting it changes dilations and rates, and no weight.

        Raises UsageError for a stride that the trunk cannot have; those of timm keep their own."""
        return self.aspp.output_stride

    @output_stride.setter
    def output_stride(self, output_stride: int) -> None:
        if isinstance(self.trunk, TimmBackbone):
            fixed = self.trunk.strides[self.trunk.levels[32]]
            if output_stride != fixed:
                raise UsageError(f"output_stride = {output_stride}: a trunk of timm keeps the {fixed} that it was built with.")
        else:
            self.trunk.output_stride = output_stride
        self.aspp.output_stride = output_stride


class DeepLabV3(AtrousNetwork):
    """The paper's network on ResNet-101; 58,040,661 parameters with 21 classes.

    `backbone`: a ResNet or Xception of ours, or any timm name, whose output stride is fixed. `rates` of the pyramid at output
    stride 16. `multi_grid`: factors of the dilations in the last stage, by default (1, 2, 4) on a ResNet and 1 on Xception;
    timm's trunks take none. `image_pooling=False` leaves the mean of the picture out (the paper's ablation).
    `norm_momentum`: share by which running statistics move in a step. The paper's 0.0003 needs some ten thousand steps. For a
    short training give 0.1, or measure the statistics anew (`statistics_batches`).
    `width` scales every layer. `weights`: "imagenet" or none.
    Raises UsageError or UnknownName for arguments that do not go together or do not exist."""

    def __init__(
        self,
        classes: int = 21,
        backbone: str = "resnet101",
        output_stride: int = 16,
        rates: Sequence[int] = RATES,
        multi_grid: Sequence[int] | None = None,
        image_pooling: bool = True,
        dropout: float = DROPOUT,
        norm_momentum: float = NORM_MOMENTUM,
        width: float = 1.0,
        weights: str | None = None,
    ) -> None:
        super().__init__()
        self.trunk = dilated_trunk(backbone, width, weights, output_stride, multi_grid, (32,))
        self._deepest = self.trunk.levels[32]
        depth = max(1, round(DEPTH * width))
        self.aspp = Pyramid(self.trunk.channels[self._deepest], depth, rates, image_pooling, dropout)
        self.score = nn.Conv2d(depth, classes, 1)
        start(self.aspp, self.score)
        set_momentum(self, norm_momentum)
        self.output_stride = output_stride
        self.loss = PixelLoss()

    def score_map(self, images: Tensor) -> ScoreMap:
        """Class scores at the output stride, on every 16th (or 8th ...) pixel."""
        features = self.trunk(padded(images, max(RATES_STRIDE, self.output_stride), self.trunk.mean))
        return on_pixels(self.score(self.aspp(features[self._deepest])), self.output_stride)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """images (B, 3, H, W) in [0, 1] -> {"logits": (B, C, H, W)}."""
        scores = self.score_map(images).scores
        return {"logits": spread(scores, self.output_stride, (images.shape[-2], images.shape[-1]))}

    def losses(self, images: Tensor, targets: Targets) -> dict[str, Tensor]:
        """The loss of logits at the size of the picture: labels are never shrunk (section 4.1)."""
        losses: dict[str, Tensor] = self.loss(self(images)["logits"], targets)
        return losses


class Pyramid(nn.Module):
    """Atrous spatial pyramid pooling: features (B, `inputs`, h, w) -> (B, `depth`, h, w).

    `rates` are those of output stride 16; `output_stride` is the present stride, and may be set. With `separable` each 3x3 is a
    depthwise and a pointwise convolution, both with batch normalisation and ReLU (DeepLab v3+, section 3.1)."""

    def __init__(
        self,
        inputs: int,
        depth: int,
        rates: Sequence[int],
        image_pooling: bool,
        dropout: float,
        separable: bool = False,
    ) -> None:
        super().__init__()
        if not rates or min(rates) < 1:
            raise UsageError(f"rates = {list(rates)}: give dilations of 1 or more, such as 6 12 18.")
        self.rates = tuple(rates)
        self.point = conv_norm_relu(inputs, depth)
        make = separable_conv if separable else _convolution
        self.atrous = nn.ModuleList(make(inputs, depth) for _ in rates)
        self.pooled = ImagePooling(inputs, depth) if image_pooling else None
        branches = 1 + len(rates) + image_pooling
        self.project = conv_norm_relu(branches * depth, depth)
        self.dropout = nn.Dropout(dropout)
        self.output_stride = RATES_STRIDE

    @property
    def output_stride(self) -> int:
        return self._output_stride

    @output_stride.setter
    def output_stride(self, output_stride: int) -> None:
        self._output_stride = output_stride
        for rate, branch in zip(self.rates, self.atrous, strict=True):
            convolution = next(layer for layer in branch.modules() if isinstance(layer, nn.Conv2d))
            dilation = max(1, rate * RATES_STRIDE // output_stride)
            convolution.dilation = convolution.padding = (dilation, dilation)

    def forward(self, x: Tensor) -> Tensor:
        maps = [self.point(x), *(branch(x) for branch in self.atrous)]
        if self.pooled is not None:
            maps.append(self.pooled(x))
        out: Tensor = self.dropout(self.project(torch.cat(maps, 1)))
        return out


class ImagePooling(nn.Module):
    """The mean of each picture's features, 1x1 convolution, batch normalisation and ReLU, repeated at every cell.

    Here each picture gives batch normalisation a single value of a channel. `PooledBatchNorm` handles a batch of one picture."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 1, bias=False)
        self.norm = PooledBatchNorm(outputs)

    def forward(self, x: Tensor) -> Tensor:
        pooled: Tensor = self.norm(self.conv(x.mean((2, 3), keepdim=True))).relu()
        return pooled.expand(-1, -1, *x.shape[-2:])


def separable_conv(inputs: int, outputs: int) -> nn.Sequential:
    """A depthwise 3x3 and a pointwise convolution, each with batch normalisation and ReLU, as in the released model.py."""
    depthwise = nn.Conv2d(inputs, inputs, 3, padding=1, groups=inputs, bias=False)
    return nn.Sequential(depthwise, nn.BatchNorm2d(inputs), nn.ReLU(inplace=True), *conv_norm_relu(inputs, outputs))


def _convolution(inputs: int, outputs: int) -> nn.Sequential:
    return conv_norm_relu(inputs, outputs, 3)


def dilated_trunk(
    backbone: str,
    width: float,
    weights: str | None,
    output_stride: int,
    multi_grid: Sequence[int] | None,
    needed: tuple[int, ...],
) -> StagedTrunk:
    """The trunk at an output stride, with the multi-grid of the paper on a ResNet.

    A strided 3x3 has the dilation of the stage before it ("half"). So a smaller output stride computes the same values at more
    places. The first block of res5 has twice that dilation, which is the paper's 2, 4, 8 at output stride 16.
    Raises UsageError for a multi-grid that the trunk does not take."""
    if backbone not in OWN:
        if multi_grid is not None:
            raise UsageError(f"multi_grid is for {', '.join(OWN)}, not for {backbone} of timm; leave it out.")
        return staged_trunk(backbone, width, weights, output_stride, needed)
    if multi_grid is not None and len(multi_grid) != 3:
        raise UsageError(f"multi_grid = {list(multi_grid)}: the last stage has three blocks; give three factors of 1 or more.")
    if backbone not in KINDS:
        return staged_trunk(backbone, width, weights, output_stride, needed, multi_grid=multi_grid or (1, 1, 1))
    first, *others = multi_grid or MULTI_GRID
    grid = (2 * first, *others)
    return staged_trunk(backbone, width, weights, output_stride, needed, first_dilation="half", multi_grid=grid)


def set_momentum(network: nn.Module, momentum: float) -> None:
    """Sets the share by which running statistics of all batch normalisation move in a step. Raises UsageError for no share."""
    if not 0 < momentum <= 1:
        raise UsageError(f"norm_momentum = {momentum}: must be above 0 and at most 1.")
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = momentum


def start(head: nn.Module, score: nn.Conv2d) -> None:
    """Starts the head with He's initialisation, and scores with N(0, 0.01) and bias 0."""
    for module in head.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    nn.init.normal_(score.weight, std=SCORE_SD)
    assert score.bias is not None
    nn.init.zeros_(score.bias)
