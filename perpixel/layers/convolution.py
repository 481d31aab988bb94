"""The block of most networks since 2015: a convolution without bias, batch normalisation, ReLU."""

from __future__ import annotations

from torch import nn


def conv_norm_relu(inputs: int, outputs: int, kernel: int = 1, dilation: int = 1, stride: int = 1) -> nn.Sequential:
    """A convolution, padded so that only its stride changes the size, with batch normalisation and ReLU."""
    layer = nn.Conv2d(inputs, outputs, kernel, stride, dilation * (kernel // 2), dilation, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))
