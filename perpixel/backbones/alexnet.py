"""AlexNet in the form of Caffe's reference network "CaffeNet": Krizhevsky et al., NIPS 2012, with each pool before its
normalisation. It is made convolutional as in FCN: fc6 and fc7 become 6x6 and 1x1 convolutions.

    conv1 11/4  pool1  norm1  conv2 5, groups 2  pool2  norm2  conv3 3  conv4 3, groups 2  conv5 3, groups 2  pool5  fc6  fc7

Layers are named as in Caffe; pools are 3x3 at stride 2 and round up, as Caffe's do."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from perpixel.backbones.vgg import ILSVRC_MEAN, SCALE, scaled
from perpixel.errors import UsageError, did_you_mean

CHANNELS = (96, 256, 384, 384, 256)
FC = 4096


class Chain(nn.Module):
    """A trunk of `layers` in a row. images (B, 3, H, W) in [0, 1] -> dict of features, by the names in `channels` and `strides`.

    `features` gives each feature's layer, channels and stride; layers behind the feature `last` are left out.
    `mean` and `scale` of pictures belong to the weights and are stored with them. Raises UsageError for ImageNet weights."""

    mean: Tensor
    scale: Tensor

    def __init__(
        self, layers: dict[str, nn.Module], features: dict[str, tuple[str, int, int]], last: str, weights: str | None
    ) -> None:
        super().__init__()
        if weights == "imagenet":
            name = type(self).__name__
            raise UsageError(
                f"{name}'s ImageNet weights are only to be had as a .caffemodel; import it (perpixel import FILE --trunk "
                f"{name.lower()}) and start from that with --starts-from, or use `--weights none`."
            )
        if weights not in (None, "none"):
            raise did_you_mean("weights", weights, ("imagenet", "none"))
        names = list(layers)
        for name in names[: names.index(features[last][0]) + 1]:
            self.add_module(name, layers[name])
        kept = {feature: row for feature, row in features.items() if row[0] in self._modules}
        self._tap = {layer: feature for feature, (layer, _, _) in kept.items()}
        self.channels = {feature: channels for feature, (_, channels, _) in kept.items()}
        self.strides = {feature: stride for feature, (_, _, stride) in kept.items()}
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]
        self.register_buffer("mean", torch.tensor(ILSVRC_MEAN).view(3, 1, 1) / 255)
        self.register_buffer("scale", torch.full((3, 1, 1), SCALE))

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        x = (images - self.mean) * self.scale
        features = {}
        for name, layer in self.named_children():
            x = layer(x)
            if name in self._tap:
                features[self._tap[name]] = x
        return features


class AlexNet(Chain):
    """Features pool1 (stride 8), pool2 (16), pool5 (32) and fc7 (32).

    `width` scales every layer; 1 is the paper's. `padding` 100 is FCN's, on conv1 alone. `padding` 1 stands for half of each
    window: 5 on conv1, 3 before and 2 after on fc6. `last` is the last feature that the network needs."""

    def __init__(
        self, width: float = 1.0, padding: int = 1, dropout: float = 0.5, weights: str | None = None, last: str = "fc7"
    ) -> None:
        c1, c2, c3, c4, c5 = (2 * scaled(channels // 2, width) for channels in CHANNELS)  # even, for two groups
        hidden = scaled(FC, width)
        wide = padding == 100
        layers: dict[str, nn.Module] = {
            "conv1": nn.Conv2d(3, c1, 11, stride=4, padding=100 if wide else 5), "relu1": nn.ReLU(inplace=True),
            "pool1": CeilPool(), "norm1": response_norm(),
            "conv2": nn.Conv2d(c1, c2, 5, padding=2, groups=2), "relu2": nn.ReLU(inplace=True),
            "pool2": CeilPool(), "norm2": response_norm(),
            "conv3": nn.Conv2d(c2, c3, 3, padding=1), "relu3": nn.ReLU(inplace=True),
            "conv4": nn.Conv2d(c3, c4, 3, padding=1, groups=2), "relu4": nn.ReLU(inplace=True),
            "conv5": nn.Conv2d(c4, c5, 3, padding=1, groups=2), "relu5": nn.ReLU(inplace=True),
            "pool5": CeilPool(),
            "pad6": nn.ZeroPad2d(0) if wide else nn.ZeroPad2d((3, 2, 3, 2)),
            "fc6": nn.Conv2d(c5, hidden, 6), "relu6": nn.ReLU(inplace=True), "drop6": nn.Dropout(dropout),
            "fc7": nn.Conv2d(hidden, hidden, 1), "relu7": nn.ReLU(inplace=True), "drop7": nn.Dropout(dropout),
        }  # fmt: skip
        features = {
            "pool1": ("pool1", c1, 8), "pool2": ("pool2", c2, 16), "pool5": ("pool5", c5, 32), "fc7": ("drop7", hidden, 32),
        }  # fmt: skip
        super().__init__(layers, features, last, weights)


class CeilPool(nn.MaxPool2d):
    """Maxima of 3x3 at stride 2 of features of 0 or more; sizes round up as in Caffe. A side of 1 stays 1; Caffe refuses it."""

    def __init__(self) -> None:
        super().__init__(3, stride=2, ceil_mode=True)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        if 1 in (height, width):
            x = F.pad(x, (0, int(width == 1), 0, int(height == 1)))
        pooled: Tensor = super().forward(x)
        return pooled


def response_norm() -> nn.LocalResponseNorm:
    """x / (1 + 1e-4 / 5 * sum of x^2 over 5 neighbouring channels)^0.75; torch divides alpha by the size, as Caffe does."""
    return nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75, k=1.0)
