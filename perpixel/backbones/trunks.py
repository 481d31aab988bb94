"""The trunk of a network that reads stages of a classification network by their strides: our own ResNet or Xception, or any of
timm."""

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
    """`backbone` of OWN, or any timm name; `levels` of the trunk names its features by the stride that they have undilated.

    `needed`: the strides that the network reads. `resnet` are the further arguments of `ResNet`, of which Xception takes
    `multi_grid` alone and timm's trunks none. Raises what the trunks raise, and UsageError for a trunk without the features that
    are needed."""
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
