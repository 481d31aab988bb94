"""FPN: Feature Pyramid Networks (Lin et al., CVPR 2017), with the semantic head of Panoptic FPN (Kirillov et al., CVPR 2019).

    image -> ResNet -> C2 (stride 4), C3 (8), C4 (16), C5 (32) -> laterals, top-down path -> P2, P3, P4, P5 of 256 channels

    P5: (3x3 conv to 128, group norm, ReLU, bilinear x2), three times --+
    P4: the same twice -------------------------------------------------+-> sum at stride 4 -> 1x1 scores -> bilinear x4
    P3: the same once --------------------------------------------------+
    P2: 3x3 conv to 128, group norm, ReLU ------------------------------+

FPN's own paper scores no pixels; its mask proposals are `fpn_proposals`. The pyramid has neither normalisation nor ReLU.
Differs: the authors pad pictures to a multiple of 32. Here each x2 is exact and cut to the size of the finer map, so that a
picture of any size is aligned with its scores.
`norm="batch"` is the head that mmsegmentation trained, whose scores the recipes name."""

from __future__ import annotations

from math import gcd

from torch import Tensor, nn

from perpixel.backbones.trunks import staged_trunk
from perpixel.backbones.vgg import scaled
from perpixel.errors import did_you_mean
from perpixel.layers.pyramid import CHANNELS, GROUPS, Pyramid
from perpixel.layers.score_map import ScoreMap, enlarge
from perpixel.losses import PixelLoss
from perpixel.sample import Targets

STRIDES = (4, 8, 16, 32)  # of C2 to C5
HEAD = 128  # channels of the semantic head
NORMS = ("group", "batch")


class FPN(nn.Module):
    """FPN with a semantic head; 28,478,675 parameters with 19 classes.

    `backbone`: "resnet50", "resnet101", another ResNet of ours or any timm name with features of stride 4 to 32. `width` scales
    every layer but those of timm's trunks. `norm` of the head: "group" as published, or "batch". `dropout` drops whole channels
    of the head's sum. `top_down` and `lateral` are the paper's ablations: without the first a level knows nothing of the coarser
    ones; without the second only the coarsest level reads the trunk. `weights`: "imagenet" or none.
    Raises UnknownName or UsageError for an argument that does not exist or does not go with the others."""

    def __init__(
        self,
        classes: int = 21,
        backbone: str = "resnet50",
        top_down: bool = True,
        lateral: bool = True,
        norm: str = "group",
        dropout: float = 0.0,
        width: float = 1.0,
        weights: str | None = None,
    ) -> None:
        super().__init__()
        if norm not in NORMS:
            raise did_you_mean("norm of fpn", norm, NORMS)
        self.trunk = staged_trunk(backbone, width, weights)
        self.levels = [self.trunk.levels[stride] for stride in STRIDES]
        depth, head = scaled(CHANNELS, width), scaled(HEAD, width)
        self.pyramid = Pyramid([self.trunk.channels[level] for level in self.levels], depth, top_down=top_down, lateral=lateral)
        self.head = nn.ModuleList(
            nn.ModuleList(head_block(head if number else depth, head, norm) for number in range(max(1, doublings)))
            for doublings in range(len(STRIDES))
        )
        self.dropout = nn.Dropout2d(dropout)
        self.score = nn.Conv2d(head, classes, 1)
        self.loss = PixelLoss()

    def score_map(self, images: Tensor) -> ScoreMap:
        """Class scores at stride 4, before the last interpolation."""
        features = self.trunk(images)
        levels = self.pyramid([features[level] for level in self.levels])
        sizes = [(level.shape[-2], level.shape[-1]) for level in levels]
        first, *coarser = (list(blocks.children()) for blocks in self.head)
        total: Tensor = first[0](levels[0])
        for doublings, (x, blocks) in enumerate(zip(levels[1:], coarser, strict=True), start=1):
            for block, size in zip(blocks, reversed(sizes[:doublings]), strict=True):
                x = enlarge(block(x), 2, size)
            total = total + x
        return ScoreMap.of_cells(self.score(self.dropout(total)), STRIDES[0])

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """images (B, 3, H, W) in [0, 1] -> {"logits": (B, C, H, W)}."""
        return {"logits": enlarge(self.score_map(images).scores, STRIDES[0], (images.shape[-2], images.shape[-1]))}

    def losses(self, images: Tensor, targets: Targets) -> dict[str, Tensor]:
        losses: dict[str, Tensor] = self.loss(self(images)["logits"], targets)
        return losses


def head_block(inputs: int, outputs: int, norm: str) -> nn.Sequential:
    """A 3x3 convolution without bias, its normalisation, and ReLU.

    128 channels have 32 groups as published; other widths have a power of 2 of groups of at least 4 channels."""
    groups = gcd(GROUPS, outputs, max(1, outputs // 4))
    layer = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    return nn.Sequential(
        layer, nn.GroupNorm(groups, outputs) if norm == "group" else nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)
    )
