"""The trunk of a network that reads stages of a classification network by their strides: our own ResNet or Xception, or any of
timm."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

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


def freeze(trunk: nn.Module, stages: int) -> bool:
    """Freezes the weights of the stem and of the stages up to res`stages`, which has a stride of 2 to the power of `stages`; 1
    is the stem alone. Of a trunk that is no ResNet it freezes what its features of that stride are computed by; without such
    features, those of the next finer ones. Says whether the trunk has stages."""
    if isinstance(trunk, ResNet):
        trunk.freeze(stages)
    elif isinstance(trunk, Xception | TimmBackbone):
        training = trunk.training
        features = trunk.eval()(torch.zeros(1, 3, 64, 64, device=next(trunk.parameters()).device))
        trunk.train(training)
        level = max((level for level in trunk.levels if level <= 1 << stages), default=None)
        if level is not None:
            learned = [parameter for parameter in trunk.parameters() if parameter.requires_grad]
            used = torch.autograd.grad(features[trunk.levels[level]].sum(), learned, allow_unused=True)
            for parameter, gradient in zip(learned, used, strict=True):
                parameter.requires_grad_(gradient is None)
    return isinstance(trunk, StagedTrunk)
