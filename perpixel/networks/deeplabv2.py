"""DeepLab v2: Semantic Image Segmentation with Deep Convolutional Nets, Atrous Convolution, and Fully Connected CRFs (Chen
et al., TPAMI 2017, arXiv:1606.00915).

    image at 1, 0.75, 0.5 -> ResNet-101 of output stride 8 -> 3x3 scores with the rates 6, 12, 18, 24, summed --+
                                                                          largest score of the three scales -> bilinear x8

The sum is ASPP-L; with the rates 2, 4, 8, 12 it is ASPP-S. It has neither normalisation nor ReLU. With
`backbone="vgg16_reduced"` each rate has its own branch on VGG-16: fc6 3x3, fc7 1x1 and 1x1 scores. The pools of this VGG-16 are
those of DeepLab v1, without the mean behind pool5 (the prototxt of v2).
The scales share their weights. The loss has a term for each scale and a term for the largest scores. Labels are read at stride 8
of the picture or of its smaller copy, at the nearest pixel. With a single scale the loss is a single term. Batch normalisation
of a ResNet is fixed, scale and shift included. Corners are aligned and pictures padded as in DeepLab v1. A scaled picture has
the nearest sides of 8 k + 1 pixels; for 321 pixels these are exact, 241 and 161.
Differs: the strides of ResNet are in the 3x3, as torchvision's weights expect; `stride_in="1x1"` has them where the authors'
Caffe files have them. A ResNet without weights is calmed (see `calm`), since nothing normalises it. Trunks of other kinds learn
their batch normalisation."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from perpixel.backbones.resnet import KINDS, Bottleneck
from perpixel.backbones.trunks import StagedTrunk, staged_trunk
from perpixel.backbones.vgg import VGG16
from perpixel.errors import UsageError
from perpixel.layers.corners import at_cells, on_pixels, padded, spread
from perpixel.layers.score_map import ScoreMap
from perpixel.losses import PixelLoss
from perpixel.networks.deeplabv1 import DROPOUT, STRIDE, gaussian_scores
from perpixel.sample import Targets

RATES = (6, 12, 18, 24)  # ASPP-L
SCALES = (1.0, 0.75, 0.5)
CALM = 0.25


class DeepLabV2(nn.Module):
    """The paper's best network: ResNet-101, ASPP-L, three scales. It has 44,048,532 parameters with 21 classes, of which the
    105,344 of batch normalisation are fixed and kept as buffers.

    `backbone`: "vgg16_reduced", a ResNet or Xception of ours, or any timm name. `rates` of the pyramid. `scales` at which the
    picture is seen, above 0 and at most 1; (1.0,) is one pass.
    Of a ResNet: `norm` is "frozen" by default, or "batch", which learns; `stride_in` is the convolution of a block that has the
    stride, "3x3" by default, or "1x1".
    `dropout` after fc6 and fc7 of VGG-16, 0.5 by default. `width` scales every layer. `weights`: "imagenet" or none.
    Raises UsageError or UnknownName for arguments that do not go together or do not exist."""

    def __init__(
        self,
        classes: int = 21,
        backbone: str = "resnet101",
        rates: Sequence[int] = RATES,
        scales: Sequence[float] = SCALES,
        norm: str | None = None,
        stride_in: str | None = None,
        dropout: float | None = None,
        width: float = 1.0,
        weights: str | None = None,
    ) -> None:
        super().__init__()
        if not rates or min(rates) < 1:
            raise UsageError(f"rates = {list(rates)}: give dilations of 1 or more, such as 6 12 18 24.")
        if not scales or not 0 < min(scales) <= max(scales) <= 1:
            raise UsageError(f"scales = {list(scales)}: give scales above 0 and at most 1, such as 1 0.75 0.5.")
        for name, value in (("norm", norm), ("stride_in", stride_in)):
            if value is not None and backbone not in KINDS:
                raise UsageError(f"{name} is for {', '.join(KINDS)}, not for {backbone}; leave it out.")
        if dropout is not None and backbone != "vgg16_reduced":
            raise UsageError(f"dropout is for vgg16_reduced, not for {backbone}; leave it out.")
        self.scales = tuple(scales)
        self.trunk: VGG16 | StagedTrunk
        if backbone == "vgg16_reduced":
            dropout = DROPOUT if dropout is None else dropout
            self.trunk = VGG16(width, dropout=dropout, weights=weights, reduced=True, overlapping=True, rates=rates)
            self._features = [name for name in self.trunk.channels if name.startswith("fc7")]
            self.score = nn.ModuleList(gaussian_scores(self.trunk.channels[name], classes) for name in self._features)
        else:
            norm = norm or "frozen"
            more = {"norm": norm, "stride_in": stride_in or "3x3"} if backbone in KINDS else {}
            self.trunk = staged_trunk(backbone, width, weights, STRIDE, (32,), **more)
            deepest = self.trunk.levels[32]
            self._features = [deepest] * len(rates)
            self.score = nn.ModuleList(gaussian_scores(self.trunk.channels[deepest], classes, 3, rate) for rate in rates)
            if backbone in KINDS and norm == "frozen" and weights != "imagenet":
                calm(self.trunk)
        self.loss = PixelLoss()

    def score_map(self, images: Tensor) -> ScoreMap:
        """Class scores on every eighth pixel, the largest of all scales."""
        return on_pixels(self._largest(self._maps(images), images), STRIDE)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """images (B, 3, H, W) in [0, 1] -> {"logits": (B, C, H, W)}."""
        return {"logits": spread(self.score_map(images).scores, STRIDE, (images.shape[-2], images.shape[-1]))}

    def losses(self, images: Tensor, targets: Targets) -> dict[str, Tensor]:
        """The loss of the largest scores and, with several scales, the loss of each scale as `NAME_at_SCALE`, all of weight 1."""
        maps = self._maps(images)
        losses: dict[str, Tensor] = self.loss(*at_cells(self._largest(maps, images), targets, STRIDE))
        if len(maps) > 1:
            for scale, scores in zip(self.scales, maps, strict=True):
                for name, loss in self.loss(*at_cells(scores, targets, STRIDE)).items():
                    losses[f"{name}_at_{scale:g}"] = loss
        return losses

    def _maps(self, images: Tensor) -> list[Tensor]:
        """The scores of each scale, at stride 8 of the picture at that scale."""
        whole = padded(images, STRIDE, self.trunk.mean)
        return [self._summed(self.trunk(whole if scale == 1 else smaller(whole, scale))) for scale in self.scales]

    def _summed(self, features: dict[str, Tensor]) -> Tensor:
        return torch.stack([score(features[name]) for name, score in zip(self._features, self.score, strict=True)]).sum(0)

    def _largest(self, maps: list[Tensor], images: Tensor) -> Tensor:
        """The largest score of the scales, at stride 8 of the picture."""
        size = [(side + STRIDE - 2) // STRIDE + 1 for side in images.shape[-2:]]  # in a graph no negative number is divided
        largest = maps[0]
        for place, scores in enumerate(maps):
            if list(scores.shape[-2:]) != size:
                scores = F.interpolate(scores, size, mode="bilinear", align_corners=True)
            largest = scores if place == 0 else torch.maximum(largest, scores)
        return largest


def smaller(images: Tensor, scale: float) -> Tensor:
    """Images with sides of 8 k + 1 pixels at `scale`, rounded to sides of that kind."""
    size = [STRIDE * int((side - 1) // STRIDE * scale + 0.5) + 1 for side in images.shape[-2:]]
    return F.interpolate(images, size, mode="bilinear", align_corners=True)


def calm(trunk: nn.Module) -> None:
    """Scales the sum that each block of a ResNet adds to its shortcut by a quarter.

    Frozen batch normalisation without statistics scales nothing, so each block would double the variance of the features.
    Weights that are loaded bring their own scale."""
    for module in trunk.modules():
        if isinstance(module, Bottleneck):
            module.bn3.weight.fill_(CALM)
