"""Aligned Xception (Chollet, CVPR 2017), as released with DeepLab v3+ (Chen et al., ECCV 2018; core/xception.py).

    conv 3x3/2 32  conv 3x3 64   entry: 128/2, 256/2, 728/2   middle: 8 or 16 of 728   exit: 728-1024-1024/2, 1536-1536-2048

A block is three separable convolutions beside a shortcut. The third convolution has the stride, in place of a max pool.
Xception-71 has two more entry blocks without stride, of 256 and of 728. Parameters have the names of timm's `xception41`, `65`
and `71`, so its weights fit. timm tags the released weights `tf_in1k`.

The paper and the released code differ; this is the code. In all blocks but the last, ReLU stands before each separable
convolution. Batch normalisation without ReLU follows its depthwise and its pointwise part. The last block has no shortcut, and
batch normalisation and ReLU follow both parts. Epsilon of batch normalisation is 0.001.
Windows of 3x3 are padded by 1 at every stride, so that the sizes of maps do not depend on the parity of the picture's."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from perpixel.backbones.fetch import timm_state
from perpixel.backbones.vgg import scaled
from perpixel.errors import UsageError, did_you_mean

EPS = 1e-3
STEM = (32, 64)
MEAN = STD = 0.5  # pictures are seen from -1 to 1
OUTPUT_STRIDES = (4, 8, 16, 32)
RELEASED = "tf_in1k"  # timm's tag of the released weights; xception65 has other weights besides
FEATURES = {4: "entry4", 8: "entry8", 16: "middle", 32: "exit"}  # by their strides without dilation


class Block(NamedTuple):
    """Channels of the three convolutions, stride of the last, and the kind of shortcut."""

    channels: tuple[int, int, int]
    stride: int = 1
    shortcut: str = "projection"


def _flows(entry: Sequence[Block], middle: int) -> tuple[Block, ...]:
    return (
        *entry, *(Block((728, 728, 728), shortcut="identity") for _ in range(middle)),
        Block((728, 1024, 1024), 2), Block((1536, 1536, 2048), shortcut="none"),
    )  # fmt: skip


ENTRY = (Block((128,) * 3, 2), Block((256,) * 3, 2), Block((728,) * 3, 2))
LONG_ENTRY = (Block((128,) * 3, 2), Block((256,) * 3), Block((256,) * 3, 2), Block((728,) * 3), Block((728,) * 3, 2))
XCEPTIONS = {"xception41": _flows(ENTRY, 8), "xception65": _flows(ENTRY, 16), "xception71": _flows(LONG_ENTRY, 16)}


class Xception(nn.Module):
    """images (B, 3, H, W) in [0, 1] -> dict of features: `entry4` of stride 4 and `entry8` of 8, `middle` of 16, `exit` of 32.

    `entry4` and `entry8` are the input of the strided convolution of a block, before its ReLU. DeepLab v3+ takes its low-level
    feature there. `kind` is a name of XCEPTIONS. `width` scales every layer.
    `output_stride` is 32, 16, 8 or 4. Below 32 later blocks have stride 1, and convolutions behind them are dilated. It may be
    set at any time. `multi_grid`: factors of the dilations of the three convolutions of the last block, 1 as released.
    `weights`: "imagenet" (timm's) or none.
    `mean` and `std` of pictures belong to the weights and are stored with them.
    Raises UnknownName or UsageError for an argument that does not exist or does not go with the others, ResourceError when
    weights cannot be fetched."""

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        kind: str = "xception65",
        width: float = 1.0,
        weights: str | None = None,
        output_stride: int = 32,
        multi_grid: Sequence[int] = (1, 1, 1),
    ) -> None:
        super().__init__()
        if kind not in XCEPTIONS:
            raise did_you_mean("backbone", kind, XCEPTIONS)
        if len(multi_grid) != 3 or min(multi_grid) < 1:
            raise UsageError(
                f"multi_grid = {list(multi_grid)}: the last block has three convolutions; give three factors of 1 or more."
            )
        self.kind, self._multi_grid = kind, tuple(multi_grid)
        first, inputs = (scaled(channels, width) for channels in STEM)
        self.stem = nn.Sequential(ConvNorm(3, first, 3, 2), ConvNorm(first, inputs, 3))
        self.blocks = nn.Sequential()
        blocks = XCEPTIONS[kind]
        for block in blocks:
            outputs = tuple(scaled(channels, width) for channels in block.channels)
            self.blocks.append(Module(inputs, outputs, block.shortcut))
            inputs = outputs[-1]
        strided = [number for number, block in enumerate(blocks) if block.stride == 2]
        # Within the blocks that lead from stride 4 to 8 and from 8 to 16; the end of the middle flow; the end of the network.
        self._within = {strided[1]: FEATURES[4], strided[2]: FEATURES[8]}
        self._behind = {strided[3] - 1: FEATURES[16], len(blocks) - 1: FEATURES[32]}
        kept = {name: blocks[number].channels[1] for number, name in self._within.items()}
        kept |= {name: blocks[number].channels[2] for number, name in self._behind.items()}
        self.channels = {name: scaled(channels, width) for name, channels in kept.items()}
        self.levels = FEATURES
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        self.register_buffer("mean", torch.full((3, 1, 1), MEAN))
        self.register_buffer("std", torch.full((3, 1, 1), STD))
        self.output_stride = output_stride
        if weights == "imagenet":
            if width != 1:
                raise UsageError(f"there are no ImageNet weights for {kind} at width {width}; use `--weights none` or width 1.")
            self.load_imagenet_state(timm_state(f"{kind}.{RELEASED}", "use `--weights none`"))
        elif weights not in (None, "none"):
            raise did_you_mean("weights", weights, ("imagenet", "none"))

    @property
    def pyramid(self) -> tuple[str, ...]:
        """One feature for each stride, finest first."""
        return tuple({stride: name for name, stride in self.strides.items()}.values())

    @property
    def output_stride(self) -> int:
        """Side of the picture over side of the deepest feature. It may be set at any time and changes no weight."""
        return self._output_stride

    @output_stride.setter
    def output_stride(self, output_stride: int) -> None:
        if output_stride not in OUTPUT_STRIDES:
            raise UsageError(f"output_stride = {output_stride}: must be 4, 8, 16 or 32.")
        self._output_stride, stride, dilation = output_stride, 2, 1
        self.strides: dict[str, int] = {}
        blocks = XCEPTIONS[self.kind]
        for number, (block, module) in enumerate(zip(blocks, self.blocks, strict=True)):
            assert isinstance(module, Module)
            step = block.stride if stride * block.stride <= output_stride else 1
            grid = self._multi_grid if number == len(blocks) - 1 else (1, 1, 1)
            module.set_grid(step, [dilation * factor for factor in grid])
            if number in self._within:
                self.strides[self._within[number]] = stride
            stride *= step
            dilation *= block.stride // step  # of the blocks behind; this block keeps the dilation before it, as released
            if number in self._behind:
                self.strides[self._behind[number]] = stride

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        x = self.stem((images - self.mean) / self.std)
        features = {}
        for number, block in enumerate(self.blocks):
            x, within = block(x)
            if number in self._within:
                features[self._within[number]] = within
            if number in self._behind:
                features[self._behind[number]] = x
        return features

    def load_imagenet_state(self, state: dict[str, Tensor]) -> None:
        """Takes weights by timm's names, without those of the classifier."""
        own = self.state_dict()
        wanted = [name for name in own if name not in ("mean", "std") and not name.endswith("num_batches_tracked")]
        self.load_state_dict({**own, **{name: state[name] for name in wanted}})


class Module(nn.Module):
    """Three separable convolutions to `outputs` channels around a shortcut: "projection", "identity" or "none".

    x -> (the block's result, the input of its third convolution before ReLU)."""

    def __init__(self, inputs: int, outputs: Sequence[int], shortcut: str) -> None:
        super().__init__()
        self._adds = shortcut != "none"
        self.shortcut = ConvNorm(inputs, outputs[-1], 1, relu=False) if shortcut == "projection" else None
        self.stack = nn.ModuleDict()
        for number, channels in enumerate(outputs, start=1):
            self.stack[f"conv{number}"] = Separable(inputs, channels, relu_before=self._adds)
            inputs = channels

    def set_grid(self, stride: int, dilations: Sequence[int]) -> None:
        """Sets the stride of the third convolution and of the projection, and the dilation of each depthwise part."""
        for (name, separable), dilation in zip(self.stack.items(), dilations, strict=True):
            assert isinstance(separable, Separable)
            separable.conv_dw.dilation = separable.conv_dw.padding = (dilation, dilation)
            separable.conv_dw.stride = (stride, stride) if name == "conv3" else (1, 1)
        if self.shortcut is not None:
            self.shortcut.conv.stride = (stride, stride)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        within = self.stack["conv2"](self.stack["conv1"](x))
        out: Tensor = self.stack["conv3"](within)
        if self._adds:
            out = out + (x if self.shortcut is None else self.shortcut(x))
        return out, within


class Separable(nn.Module):
    """A depthwise 3x3 and a pointwise convolution, each with batch normalisation. ReLU stands before both, or behind each."""

    def __init__(self, inputs: int, outputs: int, relu_before: bool) -> None:
        super().__init__()
        self._relu_before = relu_before
        self.conv_dw = nn.Conv2d(inputs, inputs, 3, padding=1, groups=inputs, bias=False)
        self.bn_dw = _norm(inputs)
        self.conv_pw = nn.Conv2d(inputs, outputs, 1, bias=False)
        self.bn_pw = _norm(outputs)

    def forward(self, x: Tensor) -> Tensor:
        if self._relu_before:
            out: Tensor = self.bn_pw(self.conv_pw(self.bn_dw(self.conv_dw(x.relu()))))
            return out
        return self.bn_pw(self.conv_pw(self.bn_dw(self.conv_dw(x)).relu())).relu()  # type: ignore[no-any-return]


class ConvNorm(nn.Module):
    """A convolution without bias, whose stride alone changes the size, batch normalisation, and ReLU if wanted."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, relu: bool = True) -> None:
        super().__init__()
        self._relu = relu
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
        self.bn = _norm(outputs)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.bn(self.conv(x))
        return out.relu() if self._relu else out


_norm = partial(nn.BatchNorm2d, eps=EPS)
