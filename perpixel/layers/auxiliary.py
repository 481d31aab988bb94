"""The auxiliary head of PSPNet's and EncNet's authors: scores of an earlier stage, used in training alone."""

from __future__ import annotations

from torch import nn

from perpixel.layers.convolution import conv_norm_relu


def auxiliary_head(inputs: int, classes: int, dropout: float) -> nn.Sequential:
    """features (B, inputs, h, w) -> scores (B, classes, h, w): a 3x3 convolution to a quarter of the channels, and a 1x1."""
    hidden = max(1, inputs // 4)
    return nn.Sequential(conv_norm_relu(inputs, hidden, 3), nn.Dropout(dropout), nn.Conv2d(hidden, classes, 1))
