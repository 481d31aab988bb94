"""GoogLeNet (Szegedy et al., CVPR 2015) in the form of Caffe's BVLC GoogLeNet, made convolutional as in FCN: the last average
pool, the classifier and the two auxiliary classifiers are left out.

    conv1 7/2  pool1  norm1  conv2 1, 3  norm2  pool2  inception_3a-b  pool3  inception_4a-e  pool4  inception_5a-b  dropout

It is not torchvision's, which has batch normalisation and 3x3 in place of 5x5. Parameters have Caffe's names, with a dot for each
slash: `conv1.7x7_s2.weight`, `inception_3a.3x3_reduce.bias`. Pools are 3x3 at stride 2 and round up."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from perpixel.backbones.alexnet import CeilPool, Chain, response_norm
from perpixel.backbones.vgg import scaled

# Channels of 1x1, 3x3_reduce, 3x3, 5x5_reduce, 5x5 and pool_proj (table 1).
INCEPTION = {
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}


class GoogLeNet(Chain):
    """Features inception_3b (stride 8), inception_4e (16) and inception_5b (32, after dropout).

    `width` scales every layer; 1 is the paper's. `last` is the last feature that the network needs."""

    def __init__(self, width: float = 1.0, dropout: float = 0.4, weights: str | None = None, last: str = "inception_5b") -> None:
        first, reduced, second = (scaled(channels, width) for channels in (64, 64, 192))
        layers: dict[str, nn.Module] = {
            "conv1": row({"7x7_s2": nn.Conv2d(3, first, 7, stride=2, padding=3)}), "pool1": CeilPool(), "norm1": response_norm(),
            "conv2": row({"3x3_reduce": nn.Conv2d(first, reduced, 1), "3x3": nn.Conv2d(reduced, second, 3, padding=1)}),
            "norm2": response_norm(), "pool2": CeilPool(),
        }  # fmt: skip
        inputs, outputs = second, {}
        for name, channels in INCEPTION.items():
            if name in ("4a", "5a"):
                layers[f"pool{int(name[0]) - 1}"] = CeilPool()
            block = Inception(inputs, [scaled(c, width) for c in channels])
            layers[f"inception_{name}"] = block
            inputs = outputs[name] = block.channels
        layers["dropout"] = nn.Dropout(dropout)
        features = {
            "inception_3b": ("inception_3b", outputs["3b"], 8),
            "inception_4e": ("inception_4e", outputs["4e"], 16),
            "inception_5b": ("dropout", outputs["5b"], 32),
        }
        super().__init__(layers, features, last, weights)


class Inception(nn.Module):
    """1x1, 1x1 -> 3x3, 1x1 -> 5x5, and a 3x3 pool -> 1x1, side by side; each convolution with ReLU."""

    def __init__(self, inputs: int, channels: list[int]) -> None:
        super().__init__()
        side1, reduce3, side3, reduce5, side5, projected = channels
        self.channels = side1 + side3 + side5 + projected
        layers = {
            "1x1": nn.Conv2d(inputs, side1, 1),
            "3x3_reduce": nn.Conv2d(inputs, reduce3, 1), "3x3": nn.Conv2d(reduce3, side3, 3, padding=1),
            "5x5_reduce": nn.Conv2d(inputs, reduce5, 1), "5x5": nn.Conv2d(reduce5, side5, 5, padding=2),
            "pool": nn.MaxPool2d(3, stride=1, padding=1), "pool_proj": nn.Conv2d(inputs, projected, 1),
        }  # fmt: skip
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, x: Tensor) -> Tensor:
        branches = []
        for branch in (("1x1",), ("3x3_reduce", "3x3"), ("5x5_reduce", "5x5"), ("pool", "pool_proj")):
            y = x
            for name in branch:
                y = self.get_submodule(name)(y)
                y = y if name == "pool" else y.relu()
            branches.append(y)
        return torch.cat(branches, 1)


def row(convolutions: dict[str, nn.Module]) -> nn.Sequential:
    """The convolutions one after another, by their names, with ReLU after each."""
    layers = nn.Sequential()
    for name, convolution in convolutions.items():
        layers.add_module(name, convolution)
        layers.add_module(f"relu_{name}", nn.ReLU(inplace=True))
    return layers
