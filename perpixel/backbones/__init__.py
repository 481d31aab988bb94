"""Trunks of networks. `vgg16`, `alexnet` and `googlenet` are our own, as published; any other name is timm's."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import nn

from perpixel.backbones.alexnet import AlexNet as AlexNet
from perpixel.backbones.googlenet import GoogLeNet as GoogLeNet
from perpixel.backbones.timm import TimmBackbone as TimmBackbone
from perpixel.backbones.vgg import VGG16 as VGG16

Backbone = VGG16 | TimmBackbone  # trunks with a `pyramid`
WITHOUT_IMAGENET = ("alexnet", "googlenet")  # their ImageNet weights exist as a .caffemodel alone
TRUNKS: dict[str, Callable[..., nn.Module]] = {  # our own, by their names in networks; a model file may hold a trunk alone
    "vgg16": VGG16, "vgg16_reduced": partial(VGG16, reduced=True), "alexnet": AlexNet, "googlenet": GoogLeNet,
}  # fmt: skip
