"""Trunks of networks. `vgg16` is our own, as published; any other name is timm's."""

from __future__ import annotations

from perpixel.backbones.timm import TimmBackbone as TimmBackbone
from perpixel.backbones.vgg import VGG16 as VGG16

Backbone = VGG16 | TimmBackbone
