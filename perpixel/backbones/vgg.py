"""VGG-16 (Simonyan and Zisserman, ICLR 2015), made convolutional as FCN does: fc6 and fc7 become 7x7 and 1x1 convolutions.

    conv1_1-2  pool1  conv2_1-2  pool2  conv3_1-3  pool3  conv4_1-3  pool4  conv5_1-3  pool5  fc6  fc7

Parameters are named as in torchvision's `vgg16`, so its weights fit; pools round up, as Caffe's do."""

from __future__ import annotations

from urllib.error import URLError

import torch
from torch import Tensor, nn

from perpixel.errors import ResourceError, UsageError, did_you_mean

BLOCKS = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))  # (channels, convolutions), each followed by a pool
FC = 4096


class VGG16(nn.Module):
    """images (B, 3, H, W) in [0, 1] -> dict of features, by the names in `channels` and `strides`.

    `width` scales every layer; 1 is the paper's. `padding` of conv1_1 is 1, or FCN's 100, where fc6 has no padding.
    `classifier=False` leaves fc6 and fc7 out. `weights="imagenet"` loads torchvision's.
    `mean` and `scale` are what the weights expect and are kept with them.
    Raises UsageError for ImageNet weights at another width, ResourceError when they cannot be fetched."""

    mean: Tensor
    scale: Tensor

    def __init__(
        self,
        width: float = 1.0,
        padding: int = 1,
        classifier: bool = True,
        dropout: float = 0.5,
        weights: str | None = None,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        self.channels: dict[str, int] = {}
        self.strides: dict[str, int] = {}
        self._tap: dict[int, str] = {}
        inputs = 3
        for block, (base, convolutions) in enumerate(BLOCKS, start=1):
            outputs = scaled(base, width)
            for _ in range(convolutions):
                layers += [nn.Conv2d(inputs, outputs, 3, padding=1 if layers else padding), nn.ReLU(inplace=True)]
                inputs = outputs
            self._add_tap(len(layers) - 1, f"conv{block}", outputs, 2 ** (block - 1))
            layers.append(nn.MaxPool2d(2, ceil_mode=True))
            self._add_tap(len(layers) - 1, f"pool{block}", outputs, 2**block)
        self.features = nn.Sequential(*layers)
        self.fc: nn.Sequential | None = None
        if classifier:
            hidden = scaled(FC, width)
            self.fc = nn.Sequential(
                nn.Conv2d(inputs, hidden, 7, padding=0 if padding == 100 else 3), nn.ReLU(inplace=True), nn.Dropout(dropout),
                nn.Conv2d(hidden, hidden, 1), nn.ReLU(inplace=True), nn.Dropout(dropout),
            )  # fmt: skip
            self.channels["fc7"], self.strides["fc7"] = hidden, 32
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]
        # The mean colour of ILSVRC; from scratch about unit variance, which He initialisation assumes.
        self.register_buffer("mean", torch.tensor([122.67892, 116.66877, 104.00699]).view(3, 1, 1) / 255)
        self.register_buffer("scale", torch.full((3, 1, 1), 4.4))
        if weights == "imagenet":
            self._load_imagenet(width)
        elif weights not in (None, "none"):
            raise did_you_mean("weights", weights, ("imagenet", "none"))

    def _add_tap(self, layer: int, name: str, channels: int, stride: int) -> None:
        self._tap[layer], self.channels[name], self.strides[name] = name, channels, stride

    @property
    def pyramid(self) -> tuple[str, ...]:
        """One feature for each stride 1, 2, 4, 8, 16: the last before each pool."""
        return tuple(f"conv{block}" for block in range(1, 6))

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        x = (images - self.mean) * self.scale
        found = {}
        for index, layer in enumerate(self.features):
            x = layer(x)
            if index in self._tap:
                found[self._tap[index]] = x
        if self.fc is not None:
            found["fc7"] = self.fc(x)
        return found

    def _load_imagenet(self, width: float) -> None:
        if width != 1:
            raise UsageError(f"there are no ImageNet weights for VGG-16 at width {width}; use `--weights none` or width 1.")
        from torchvision.models import VGG16_Weights

        try:
            state = VGG16_Weights.IMAGENET1K_V1.get_state_dict(progress=False, check_hash=True)
        except (URLError, OSError) as error:
            raise ResourceError(
                f"ImageNet weights of vgg16 cannot be fetched ({error}); connect to the network once, or use `--weights none`."
            ) from error
        own = self.state_dict()
        for name in own:
            if name.startswith("features."):
                own[name] = state[name]
        if self.fc is not None:
            for mine, theirs in (("fc.0", "classifier.0"), ("fc.3", "classifier.3")):
                own[f"{mine}.weight"] = state[f"{theirs}.weight"].view_as(own[f"{mine}.weight"])
                own[f"{mine}.bias"] = state[f"{theirs}.bias"]
        own["mean"] = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
        own["scale"] = 1 / torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
        self.load_state_dict(own)


def scaled(channels: int, width: float) -> int:
    """A layer's channels at `width`, at least one."""
    return max(1, round(channels * width))
