"""ResNet (He et al., CVPR 2016) and ResNeXt (Xie et al., CVPR 2017), with any output stride by dilation.

    stem  conv 7x7/2 (or three 3x3)  max pool 3x3/2      res2  res3  res4  res5      stride 4, 8, 16, 32

Parameters have torchvision's names, so its weights fit. The deep stem has the names of PyTorch-Encoding and timm's `resnet50s`.
The papers of the review change the network in these arguments:

- `stem`: "plain" as published; "deep", three 3x3 convolutions (PSPNet's and EncNet's authors).
- `stride_in`: the convolution of a block that has the stride: "3x3" as in torchvision; "1x1", the first, as in Caffe files.
- `output_stride`: 32, or 16, 8, 4: later stages keep the stride at 1 and their 3x3 convolutions are dilated (DeepLab).
- `first_dilation`: in the first block of a dilated stage "full" (PSPNet, DeepLab) or "half" (torchvision, PyTorch-Encoding).
- `multi_grid`: factors of the dilation of the three blocks of res5 (DeepLab v3, section 3.2).
- `norm`: "batch", or "frozen": batch normalisation as a fixed scale and shift (Mask R-CNN)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from perpixel.backbones.fetch import imagenet_state, timm_state
from perpixel.backbones.vgg import IMAGENET_MEAN, IMAGENET_STD, scaled
from perpixel.errors import UsageError, did_you_mean

# Blocks of each stage, groups, and channels of a group in res2.
KINDS: dict[str, tuple[tuple[int, int, int, int], int, int]] = {
    "resnet50": ((3, 4, 6, 3), 1, 64),
    "resnet101": ((3, 4, 23, 3), 1, 64),
    "resnet152": ((3, 8, 36, 3), 1, 64),
    "resnext50_32x4d": ((3, 4, 6, 3), 32, 4),
    "resnext101_32x8d": ((3, 4, 23, 3), 32, 8),
    "resnext101_64x4d": ((3, 4, 23, 3), 64, 4),
}
STAGES = ("res2", "res3", "res4", "res5")
EXPANSION = 4  # of a bottleneck
OUTPUT_STRIDES = (4, 8, 16, 32)
DEEP_STEM_OF_TIMM = {"resnet50": "resnet50s", "resnet101": "resnet101s", "resnet152": "resnet152s"}  # with ImageNet weights


class ResNet(nn.Module):
    """images (B, 3, H, W) in [0, 1] -> dict of features `res2` to `res5`, no further than `last`.

    `kind` is a name of KINDS. `width` scales every layer. `mean` and `std` of pictures belong to the weights and are stored with
    them. `weights`: "imagenet" (torchvision's, timm's for the deep stem) or none. `ceil`: the pool rounds sizes up, as in Caffe.
    Raises UnknownName or UsageError for an argument that does not exist or does not go with the others, ResourceError when
    weights cannot be fetched."""

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        kind: str = "resnet50",
        width: float = 1.0,
        weights: str | None = None,
        output_stride: int = 32,
        stem: str = "plain",
        stride_in: str = "3x3",
        first_dilation: str = "full",
        multi_grid: Sequence[int] = (1, 1, 1),
        norm: str = "batch",
        ceil: bool = False,
        last: str = "res5",
    ) -> None:
        super().__init__()
        for name, value, known in (
            ("backbone", kind, KINDS), ("stem", stem, ("plain", "deep")), ("stride_in", stride_in, ("3x3", "1x1")),
            ("first_dilation", first_dilation, ("full", "half")), ("norm", norm, NORMS), ("last", last, STAGES),
        ):  # fmt: skip
            if value not in known:
                raise did_you_mean(name, value, known)
        if len(multi_grid) != 3 or min(multi_grid) < 1:
            raise UsageError(f"multi_grid = {list(multi_grid)}: res5 has three blocks; give three factors of 1 or more.")
        blocks, groups, group_width = KINDS[kind]
        self.kind, self._first_dilation, self._multi_grid = kind, first_dilation, tuple(multi_grid)
        make_norm = NORMS[norm]
        first = scaled(64, width)
        self.conv1: nn.Module
        if stem == "plain":
            self.conv1 = nn.Conv2d(3, first, 7, 2, 3, bias=False)
        else:
            self.conv1 = nn.Sequential(
                nn.Conv2d(3, first, 3, 2, 1, bias=False), make_norm(first), nn.ReLU(inplace=True),
                nn.Conv2d(first, first, 3, 1, 1, bias=False), make_norm(first), nn.ReLU(inplace=True),
                nn.Conv2d(first, 2 * first, 3, 1, 1, bias=False),
            )  # fmt: skip
        inputs = first if stem == "plain" else 2 * first
        self.bn1 = make_norm(inputs)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 0 if ceil else 1, ceil_mode=ceil)
        self.channels: dict[str, int] = {}
        for number, (stage, count) in enumerate(zip(STAGES[: STAGES.index(last) + 1], blocks, strict=False), start=1):
            inner = scaled(64 << (number - 1), width)
            grouped = max(1, round(inner * group_width / 64)) * groups
            made = Stage(inputs, inner * EXPANSION, grouped, groups, count, stride_in, make_norm)
            self.add_module(f"layer{number}", made)
            self.channels[stage] = inputs = made.outputs
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(3, 1, 1))
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(3, 1, 1))
        self.output_stride = output_stride
        if weights == "imagenet":
            self._load_imagenet(width, stem, stride_in)
        elif weights not in (None, "none"):
            raise did_you_mean("weights", weights, ("imagenet", "none"))

    @property
    def levels(self) -> dict[int, str]:
        """The features by their strides without dilation."""
        return dict(zip(OUTPUT_STRIDES, self.channels, strict=False))

    @property
    def pyramid(self) -> tuple[str, ...]:
        """One feature for each stride, finest first."""
        return tuple({stride: stage for stage, stride in self.strides.items()}.values())

    @property
    def output_stride(self) -> int:
        """Side of the picture over side of the deepest feature. It may be set at any time and changes no weight."""
        return min(self._output_stride, 2 << len(self.channels))

    @output_stride.setter
    def output_stride(self, output_stride: int) -> None:
        if output_stride not in OUTPUT_STRIDES:
            raise UsageError(f"output_stride = {output_stride}: must be 4, 8, 16 or 32.")
        self._output_stride, stride, dilation = output_stride, 4, 1
        self.strides: dict[str, int] = {}
        for number, stage in enumerate(self.channels, start=1):
            step, before = (1 if number == 1 else 2), dilation
            if stride * step > output_stride:
                step, dilation = 1, dilation * 2
            stride *= step
            grid = self._multi_grid if stage == "res5" else (1,)
            first = before if self._first_dilation == "half" else dilation
            layer = self.get_submodule(f"layer{number}")
            assert isinstance(layer, Stage)
            layer.set_grid(step, first, dilation, grid)
            self.strides[stage] = stride

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        x = self.relu(self.bn1(self.conv1((images - self.mean) / self.std)))
        x = self.maxpool(x)
        features = {}
        for number, stage in enumerate(self.channels, start=1):
            features[stage] = x = self.get_submodule(f"layer{number}")(x)
        return features

    def cut(self, stage: str) -> None:
        """Ends the features before `stage`. Its layers stay in the trunk, for heads that run them on regions of a picture."""
        for name in STAGES[STAGES.index(stage) :]:
            del self.channels[name], self.strides[name]

    def freeze(self, stages: int) -> None:
        """Freezes the weights of the stem and of the stages up to res`stages`; 0 freezes nothing, 1 the stem alone."""
        parts = [self.conv1, self.bn1, *(self.get_submodule(f"layer{number}") for number in range(1, len(self.channels) + 1))]
        for part in parts[: stages + 1 if stages else 0]:
            part.requires_grad_(False)

    def _load_imagenet(self, width: float, stem: str, stride_in: str) -> None:
        if width != 1:
            raise UsageError(f"there are no ImageNet weights for {self.kind} at width {width}; use `--weights none` or width 1.")
        if stride_in != "3x3":
            raise UsageError(f"there are no ImageNet weights for {self.kind} with the stride in the 1x1; use `--weights none`.")
        if stem == "plain":
            state = imagenet_state(self.kind, "use `--weights none`")
        elif self.kind in DEEP_STEM_OF_TIMM:
            state = timm_state(DEEP_STEM_OF_TIMM[self.kind], "use `--weights none`")
        else:
            raise UsageError(f"there are no ImageNet weights for {self.kind} with a deep stem; use `--weights none`.")
        self.load_imagenet_state(state)

    def load_imagenet_state(self, state: dict[str, Tensor]) -> None:
        """Takes weights by torchvision's names, without those of the classifier."""
        own = self.state_dict()
        wanted = [name for name in own if name not in ("mean", "std") and not name.endswith("num_batches_tracked")]
        self.load_state_dict({**own, **{name: state[name] for name in wanted}})


class Stage(nn.Sequential):
    """`blocks` bottlenecks: the first has the stride, and a projection where the size of its input changes."""

    def __init__(
        self, inputs: int, outputs: int, inner: int, groups: int, blocks: int, stride_in: str, make_norm: Any = nn.BatchNorm2d
    ) -> None:
        self.outputs = outputs
        super().__init__(
            *(Bottleneck(outputs if number else inputs, outputs, inner, groups, stride_in, not number, make_norm)
              for number in range(blocks))
        )  # fmt: skip

    def set_grid(self, stride: int, first: int, dilation: int, grid: Sequence[int]) -> None:
        """Sets the stride and dilation of the first block and the dilation of the others, times the factors of `grid` in turn."""
        for number, block in enumerate(self):
            assert isinstance(block, Bottleneck)
            block.set_grid(1 if number else stride, (dilation if number else first) * grid[number % len(grid)])


class Bottleneck(nn.Module):
    """1x1 convolution to `inner` channels, 3x3 in `groups`, 1x1 to `outputs`, each with a normalisation, around a shortcut."""

    def __init__(
        self, inputs: int, outputs: int, inner: int, groups: int, stride_in: str, projected: bool, make_norm: Any
    ) -> None:
        super().__init__()
        self._stride_in = stride_in
        self.conv1, self.bn1 = nn.Conv2d(inputs, inner, 1, bias=False), make_norm(inner)
        self.conv2, self.bn2 = nn.Conv2d(inner, inner, 3, padding=1, groups=groups, bias=False), make_norm(inner)
        self.conv3, self.bn3 = nn.Conv2d(inner, outputs, 1, bias=False), make_norm(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, bias=False), make_norm(outputs)) if projected else None

    def set_grid(self, stride: int, dilation: int) -> None:
        strided = self.conv2 if self._stride_in == "3x3" else self.conv1
        for convolution in (self.conv1, self.conv2):
            convolution.stride = (stride, stride) if convolution is strided else (1, 1)
        if self.downsample is not None:
            projection = self.downsample[0]
            assert isinstance(projection, nn.Conv2d)
            projection.stride = (stride, stride)
        self.conv2.dilation = self.conv2.padding = (dilation, dilation)

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.relu(self.bn2(self.conv2(x)))
        x = self.bn3(self.conv3(x))
        out: Tensor = self.relu(x + shortcut)
        return out


class FrozenBatchNorm(nn.Module):
    """Batch normalisation with fixed statistics, scale and shift (C,), by the names of BatchNorm2d. It learns nothing."""

    weight: Tensor
    bias: Tensor
    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        for name, value in (("weight", 1.0), ("bias", 0.0), ("running_mean", 0.0), ("running_var", 1.0)):
            self.register_buffer(name, torch.full((channels,), value))

    def forward(self, x: Tensor) -> Tensor:
        scale = self.weight * (self.running_var + self.eps).rsqrt()
        return x * scale[:, None, None] + (self.bias - self.running_mean * scale)[:, None, None]


NORMS: dict[str, Any] = {"batch": nn.BatchNorm2d, "frozen": FrozenBatchNorm}
