"""Trunks of networks that read stages of a classification network by their strides: our own ResNet and Xception, and timm's."""

from __future__ import annotations

from typing import Any

from perpixel.backbones.resnet import KINDS, ResNet
from perpixel.backbones.timm import TimmBackbone
from perpixel.backbones.xception import XCEPTIONS, Xception
from perpixel.errors import UsageError

StagedTrunk = ResNet | Xception | TimmBackbone
OWN = (*KINDS, *XCEPTIONS)


def staged_trunk(
    backbone: str,
    width: float = 1.0,
    weights: str | None = None,
    output_stride: int = 32,
    needed: tuple[int, ...] = (4, 8, 16, 32),
    **resnet: Any,
) -> StagedTrunk:
    """The trunk `backbone`, of OWN or any timm name. Its `levels` name its features by their strides without dilation.

    `needed`: the strides that the network reads. `resnet` are further arguments of `ResNet`. Xception takes `multi_grid` of them,
    and timm's trunks none. Raises the errors of the trunks, and UsageError for a trunk without a feature that is needed."""
    trunk: StagedTrunk
    if backbone in KINDS:
        trunk = ResNet(backbone, width, weights, output_stride, **resnet)
    elif backbone in XCEPTIONS:
        trunk = Xception(backbone, width, weights, output_stride, resnet.get("multi_grid", (1, 1, 1)))
    else:
        trunk = TimmBackbone(backbone, weights, width, own=OWN, output_stride=output_stride)
    missing = [f"stride {stride}" for stride in needed if stride not in trunk.levels]
    if missing:
        raise UsageError(f"{backbone} has no features of {', '.join(missing)}; choose another backbone.")
    return trunk
