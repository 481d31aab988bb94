"""VGG-16 (Simonyan and Zisserman, ICLR 2015), made convolutional as in FCN: fc6 and fc7 become 7x7 and 1x1 convolutions.

    conv1_1-2  pool1  conv2_1-2  pool2  conv3_1-3  pool3  conv4_1-3  pool4  conv5_1-3  pool5  fc6  fc7

Parameters have the names of torchvision's `vgg16`, so its weights fit. Pools round sizes up, as in Caffe."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from perpixel.backbones.fetch import imagenet_state
from perpixel.errors import UsageError, did_you_mean

BLOCKS = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))  # (channels, convolutions), each followed by a pool
FC = 4096
REDUCED_FC, KEPT_STRIDE = 1024, 8
# Kernel, dilation and channels of fc6 in a reduced network (DeepLab's table of four); 3x3 is LargeFOV.
HEADS = {"large_fov": (3, 12, REDUCED_FC), "7x7": (7, 4, FC), "4x4": (4, 4, FC)}
ILSVRC_MEAN = (122.67892, 116.66877, 104.00699)  # RGB in 0..255, for Caffe's weights
SCALE = 4.4  # gives pictures about unit variance, which He initialisation assumes
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of RGB in 0..1, for torchvision's and timm's weights


class VGG16(nn.Module):
    """images (B, 3, H, W) in [0, 1] -> dict of features, by the names in `channels` and `strides`.

    `width` scales every layer; 1 is the paper's. `padding` of conv1_1 is 1, or FCN's 100, where fc6 has no padding.
    `classifier=False` leaves fc6 and fc7 out. `weights="imagenet"` loads torchvision's.
    `reduced` is the network of output stride 8 of DeepLab-LargeFOV (Chen et al., ICLR 2015) and ParseNet. In it pool4 and pool5
    are 3x3 with stride 1, conv5 has dilation 2, fc6 is 3x3 with dilation 12, and fc6 and fc7 have 1024 channels.
    A reduced network has further arguments. With `overlapping` (DeepLab) pool1 to pool3 are 3x3 too, padded by 1, so that cells
    lie on the pixels 0, 8, 16 ... With `smooth` a 3x3 mean follows pool5. `head` is a name of HEADS. `rates` are the dilations of
    fc6, by default that of the head. With several rates there is a branch fc6, fc7 for each, with the features fc7_0, fc7_1 ...
    (DeepLab v2).
    `mean` and `scale` of pictures belong to the weights and are stored with them.
    Raises UsageError for ImageNet weights at another width and for a rate that does not fit, UnknownName for a head that does not
    exist, ResourceError when weights cannot be fetched."""

    mean: Tensor
    scale: Tensor

    def __init__(
        self,
        width: float = 1.0,
        padding: int = 1,
        classifier: bool = True,
        dropout: float = 0.5,
        weights: str | None = None,
        reduced: bool = False,
        overlapping: bool = False,
        smooth: bool = False,
        head: str = "large_fov",
        rates: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        self.channels: dict[str, int] = {}
        self.strides: dict[str, int] = {}
        self._tap: dict[int, str] = {}
        self._fc_features: tuple[str, ...] = ()
        inputs, stride = 3, 1
        for block, (base, convolutions) in enumerate(BLOCKS, start=1):
            outputs = scaled(base, width)
            dilation = 2 if reduced and block == 5 else 1
            for _ in range(convolutions):
                border = dilation if layers else padding
                layers += [nn.Conv2d(inputs, outputs, 3, padding=border, dilation=dilation), nn.ReLU(inplace=True)]
                inputs = outputs
            self._add_tap(len(layers) - 1, f"conv{block}", outputs, stride)
            if reduced and stride == KEPT_STRIDE:
                layers.append(nn.MaxPool2d(3, stride=1, padding=1))
            else:
                layers.append(nn.MaxPool2d(3, stride=2, padding=1) if overlapping else nn.MaxPool2d(2, ceil_mode=True))
                stride *= 2
            if smooth and block == len(BLOCKS):
                layers.append(nn.AvgPool2d(3, stride=1, padding=1))
            self._add_tap(len(layers) - 1, f"pool{block}", outputs, stride)
        self.features = nn.Sequential(*layers)
        self.fc: nn.Sequential | nn.ModuleList | None = None
        if classifier and reduced:
            branches = [dilated_classifier(inputs, width, dropout, head, rate) for rate in rates or (None,)]
            hidden = scaled(HEADS[head][2], width)
            self.fc = nn.ModuleList(branches) if len(branches) > 1 else branches[0]
            self._fc_features = tuple(f"fc7_{number}" for number in range(len(branches))) if len(branches) > 1 else ("fc7",)
        elif classifier:
            hidden = scaled(FC, width)
            self.fc = _connected(nn.Conv2d(inputs, hidden, 7, padding=0 if padding == 100 else 3), dropout)
            self._fc_features = ("fc7",)
        for feature in self._fc_features:
            self.channels[feature], self.strides[feature] = hidden, stride
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]
        self.register_buffer("mean", torch.tensor(ILSVRC_MEAN).view(3, 1, 1) / 255)
        self.register_buffer("scale", torch.full((3, 1, 1), SCALE))
        if weights == "imagenet":
            self._load_imagenet(width)
        elif weights not in (None, "none"):
            raise did_you_mean("weights", weights, ("imagenet", "none"))

    def _add_tap(self, layer: int, name: str, channels: int, stride: int) -> None:
        self._tap[layer], self.channels[name], self.strides[name] = name, channels, stride

    @property
    def pyramid(self) -> tuple[str, ...]:
        """The last feature before each pool: one for each stride 1, 2, 4, 8, 16."""
        return tuple(f"conv{block}" for block in range(1, 6))

    @property
    def branches(self) -> list[nn.Sequential]:
        """The branches fc6, fc7: one for each rate, or none without a classifier."""
        branches = self.fc if isinstance(self.fc, nn.ModuleList) else [self.fc]
        return [branch for branch in branches if isinstance(branch, nn.Sequential)]

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        x = (images - self.mean) * self.scale
        features = {}
        for index, layer in enumerate(self.features):
            x = layer(x)
            if index in self._tap:
                features[self._tap[index]] = x
        for name, branch in zip(self._fc_features, self.branches, strict=True):
            features[name] = branch(x)
        return features

    def _load_imagenet(self, width: float) -> None:
        if width != 1:
            raise UsageError(f"there are no ImageNet weights for VGG-16 at width {width}; use `--weights none` or width 1.")
        state = imagenet_state("vgg16", "use `--weights none`")
        own = self.state_dict()
        for name in own:
            if name.startswith("features."):
                own[name] = state[name]
        for branch in self.branches:
            # Thinned out as by DeepLab's authors: of 7x7 taps every third (0, 3, 6) or second (0, 2, 4, 6), of 4096 channels of
            # fc6 and fc7 every fourth.
            fc6, fc7 = branch[0], branch[3]
            assert isinstance(fc6, nn.Conv2d)
            assert isinstance(fc7, nn.Conv2d)
            channels, taps = FC // fc6.out_channels, 6 // (fc6.kernel_size[0] - 1)
            name = next(name for name, module in self.named_modules() if module is branch)
            own[f"{name}.0.weight"] = state["classifier.0.weight"].view(FC, -1, 7, 7)[::channels, :, ::taps, ::taps]
            own[f"{name}.3.weight"] = state["classifier.3.weight"].view(FC, FC, 1, 1)[::channels, ::channels]
            for layer in (0, 3):
                own[f"{name}.{layer}.bias"] = state[f"classifier.{layer}.bias"][::channels]
        own["mean"] = torch.tensor(IMAGENET_MEAN).view(3, 1, 1)
        own["scale"] = 1 / torch.tensor(IMAGENET_STD).view(3, 1, 1)
        self.load_state_dict(own)


def dilated_classifier(
    inputs: int, width: float = 1.0, dropout: float = 0.5, head: str = "large_fov", rate: int | None = None
) -> nn.Sequential:
    """fc6 and fc7 of DeepLab, which keep the size. `head` is a name of HEADS, `rate` the dilation of fc6, by default the head's.

    Raises UnknownName for another head, UsageError for a rate that does not fit."""
    if head not in HEADS:
        raise did_you_mean("head", head, HEADS)
    kernel, published, channels = HEADS[head]
    rate = published if rate is None else rate
    margin = (kernel - 1) * rate
    if rate < 1 or margin % 2:
        rule = "an even number" if kernel % 2 == 0 else "1 or more"
        raise UsageError(f"rate {rate}: the dilation of an fc6 of {kernel}x{kernel} must be {rule}.")
    return _connected(nn.Conv2d(inputs, scaled(channels, width), kernel, padding=margin // 2, dilation=rate), dropout)


def _connected(fc6: nn.Conv2d, dropout: float) -> nn.Sequential:
    hidden = fc6.out_channels
    return nn.Sequential(
        fc6, nn.ReLU(inplace=True), nn.Dropout(dropout),
        nn.Conv2d(hidden, hidden, 1), nn.ReLU(inplace=True), nn.Dropout(dropout),
    )  # fmt: skip


def scaled(channels: int, width: float) -> int:
    """A layer's channels at `width`, at least one."""
    return max(1, round(channels * width))
