"""Trunks of networks that read stages of a classification network by their strides: our own ResNet and Xception, and timm's."""

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
