"""Files as Caffe writes them, made by code: weights in both layer formats, and the authors' networks as text.

The networks are generated from the tables of their papers and repositories; weights are random, in every blob."""

import itertools
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

V1_NUMBERS = {"Convolution": 4, "Dropout": 6, "InnerProduct": 14, "Pooling": 17, "ReLU": 18, "Eltwise": 25, "Deconvolution": 39}

Weights = tuple[str, str, list[np.ndarray]]  # name, type, blobs


def varint(value: int) -> bytes:
    value %= 1 << 64
    found = b""
    while value > 127:
        found += bytes([value % 128 + 128])
        value //= 128
    return found + bytes([value])


def number(tag: int, value: int) -> bytes:
    return varint(tag << 3) + varint(value)


def message(tag: int, content: bytes) -> bytes:
    return varint(tag << 3 | 2) + varint(len(content)) + content


def blob(array: np.ndarray, *, packed: bool = True, legacy: bool = False, double: bool = False) -> bytes:
    """A BlobProto; `legacy` gives it the old shape of four sides, with ones in front."""
    if legacy:
        shape = (*(1,) * (4 - array.ndim), *array.shape)
        content = b"".join(number(tag, side) for tag, side in enumerate(shape, start=1))
    else:
        dims = b"".join(map(varint, array.shape)) if packed else b"".join(number(1, side) for side in array.shape)
        content = message(7, message(1, dims) if packed else dims)
    tag, kind = (8, "<f8") if double else (5, "<f4")
    values = array.astype(kind)
    if packed:
        return content + message(tag, values.tobytes())
    prefix = varint(tag << 3 | (1 if double else 5))
    return content + b"".join(prefix + value.tobytes() for value in values.ravel())


def caffemodel(layers: Sequence[Weights], *, old: bool = False, **options: bool) -> bytes:
    """A NetParameter; `old` writes V1LayerParameters. Fields that only Caffe needs stand between, as in its own files."""
    found = message(1, b"a network")
    for name, kind, blobs in layers:
        text = name.encode()
        written = [blob(array, **options) for array in blobs]
        if old:
            content = message(2, b"below") + message(3, text) + message(4, text) + number(5, V1_NUMBERS[kind])
            content += b"".join(message(6, one) for one in written) + struct.pack("<Bf", 7 << 3 | 5, 1.0)  # blobs_lr
            found += message(2, content)
        else:
            content = message(1, text) + message(2, kind.encode()) + message(3, b"below") + message(4, text)
            content += b"".join(message(7, one) for one in written) + number(10, 1)  # phase
            found += message(100, content)
    return found


def write_caffemodel(path: Path, layers: Sequence[Weights], **options: bool) -> Path:
    path.write_bytes(caffemodel(layers, **options))
    return path


@dataclass
class Row:
    """A layer of a network: what it reads, its settings as in a prototxt, the shapes of its blobs, the channels it makes."""

    name: str
    type: str
    bottoms: list[str]
    settings: dict[str, Any] = field(default_factory=dict)
    blobs: list[tuple[int, ...]] = field(default_factory=list)
    channels: int = 0


SECTIONS = {
    "Convolution": "convolution_param", "Deconvolution": "convolution_param", "Pooling": "pooling_param", "LRN": "lrn_param",
    "Crop": "crop_param", "Concat": "concat_param", "Eltwise": "eltwise_param", "Scale": "scale_param", "Normalize": "norm_param",
}  # fmt: skip


class Rows(list[Row]):
    """A network that grows layer by layer; each reads the one before it, or those that it names."""

    inputs = 3  # channels of the picture

    def add(self, name: str, kind: str, bottoms: Sequence[str] = (), channels: int = 0, blobs: Any = (), **settings: Any) -> None:
        below = list(bottoms) or [self[-1].name if self else "data"]
        self.append(Row(name, kind, below, settings, list(blobs), channels or self.channels(below[0])))

    def channels(self, name: str) -> int:
        return self.inputs if name == "data" else next(row.channels for row in self if row.name == name)

    def convolution(self, name: str, outputs: int, side: int, below: str = "", relu: bool = True, **settings: Any) -> None:
        bottoms = [below] if below else []
        inputs = self.channels(below or (self[-1].name if self else "data")) // settings.get("group", 1)
        blobs = [(outputs, inputs, side, side), (outputs,)]
        self.add(name, "Convolution", bottoms, outputs, blobs, num_output=outputs, kernel_size=side, **settings)
        if relu:
            self.add(f"relu_{name}", "ReLU")

    def interpolation(self, name: str, side: int, stride: int) -> None:
        classes = self[-1].channels
        blobs = [(classes, classes, side, side)]
        self.add(
            name, "Deconvolution", [], classes, blobs, num_output=classes, bias_term="false", kernel_size=side, stride=stride
        )

    def skip(self, pool: str, classes: int, offset: int, at_once: bool) -> None:
        above, source = self[-1].name, pool
        if at_once:
            source = f"scale_{pool}"
            self.add(source, "Scale", [pool], blobs=[(self.channels(pool),)])
        self.convolution(f"score_{pool}", classes, 1, source, relu=False)
        self.add(f"score_{pool}c", "Crop", [f"score_{pool}", above], axis=2, offset=offset)
        self.add(f"fuse_{pool}", "Eltwise", [above, f"score_{pool}c"], operation="SUM")

    def prototxt(self, height: int, width: int) -> str:
        """The network as text, for pictures of that size."""
        shape = _dims(1, self.inputs, height, width)
        found = [f'layer {{ name: "data" type: "Input" top: "data" input_param {{ shape {{ {shape} }} }} }}']
        for row in self:
            bottoms = " ".join(f'bottom: "{name}"' for name in row.bottoms)
            settings = " ".join(f"{key}: {value}" for key, value in row.settings.items())
            section = f" {SECTIONS[row.type]} {{ {settings} }}" if settings else ""
            found.append(f'layer {{ name: "{row.name}" type: "{row.type}" {bottoms} top: "{row.name}"{section} }}')
        return "\n".join(found)

    def weights(self, seed: int = 0) -> list[Weights]:
        """Random weights that keep the size of what flows: He for those that feed a ReLU, and no blob is too small to count."""
        rng = np.random.default_rng(seed)
        found: list[Weights] = []
        for row in self:
            blobs = []
            for shape in row.blobs:
                if row.type == "Deconvolution" and len(shape) == 4:
                    terms = shape[0] * 4 if shape[1] > 1 else 4
                    blobs.append(rng.normal(0, terms**-0.5, shape))
                elif len(shape) == 4:
                    blobs.append(rng.normal(0, (2 / np.prod(shape[1:])) ** 0.5, shape))
                elif row.type in ("Scale", "Normalize"):
                    blobs.append(rng.uniform(0.5, 1.5, shape) * (10 if row.type == "Normalize" else 1))
                else:
                    blobs.append(rng.normal(0, 2, shape))
            found.append((row.name, row.type, [array.astype(np.float32) for array in blobs]))
        return found


def _dims(*sides: int) -> str:
    return " ".join(f"dim: {side}" for side in sides)


def fcn(network: str, classes: int, width: float = 1.0) -> Rows:
    """fcn32s, fcn16s, fcn8s or fcn8s_atonce on VGG-16, or fcn_alexnet: shelhamer/fcn.berkeleyvision.org, voc-*/net.py."""
    rows = Rows()
    if network == "fcn_alexnet":
        _caffenet(rows, width)
        rows.convolution("score_fr", classes, 1, relu=False)
        rows.interpolation("upscore", 63, 32)
        rows.add("score", "Crop", ["upscore", "data"], axis=2, offset=18)
        return rows
    _vgg16(rows, width, first_pad=100)
    rows.convolution("fc6", round(4096 * width), 7)
    rows.add("drop6", "Dropout")
    rows.convolution("fc7", round(4096 * width), 1)
    rows.add("drop7", "Dropout")
    rows.convolution("score_fr", classes, 1, relu=False)
    if network == "fcn32s":
        rows.interpolation("upscore", 64, 32)
        rows.add("score", "Crop", ["upscore", "data"], axis=2, offset=19)
        return rows
    at_once = network == "fcn8s_atonce"
    rows.interpolation("upscore2", 4, 2)
    rows.skip("pool4", classes, 5, at_once)
    if network == "fcn16s":
        rows.interpolation("upscore16", 32, 16)
        rows.add("score", "Crop", ["upscore16", "data"], axis=2, offset=27)
        return rows
    rows.interpolation("upscore_pool4", 4, 2)
    rows.skip("pool3", classes, 9, at_once)
    rows.interpolation("upscore8", 16, 8)
    rows.add("score", "Crop", ["upscore8", "data"], axis=2, offset=31)
    return rows


def parsenet(classes: int, width: float = 1.0) -> Rows:
    """The released ParseNet, `VGG_VOC2012ext`. Global pooling is written as in BVLC/caffe, dilation too."""
    rows = Rows()
    _vgg16(rows, width, first_pad=1, reduced=True)
    hidden = round(1024 * width)
    rows.convolution("fc6", hidden, 3, pad=12, dilation=12)
    rows.add("drop6", "Dropout")
    rows.convolution("fc7", hidden, 1)
    rows.add("drop7", "Dropout")
    norm = {"across_spatial": "false", "channel_shared": "false"}
    rows.add("fc7_norm", "Normalize", ["drop7"], blobs=[(hidden,)], **norm)
    rows.add("pool6_1x1", "Pooling", ["drop7"], pool="AVE", global_pooling="true")
    rows.add("pool6_1x1_norm", "Normalize", blobs=[(hidden,)], **norm)
    rows.add("pool6_1x1_norm_drop", "Dropout")
    rows.convolution(f"fc7_norm_score{classes}", classes, 1, "fc7_norm", relu=False)
    rows.convolution(f"pool6_1x1_norm_score{classes}", classes, 1, "pool6_1x1_norm_drop", relu=False)
    names = f"fc7_norm_score{classes}", f"pool6_1x1_norm_upscore{classes}"
    rows.add(names[1], "UnPooling", [f"pool6_1x1_norm_score{classes}", names[0]])
    rows.add(f"score{classes}", "Eltwise", [names[1], names[0]], operation="SUM")
    blobs = [(classes, 1, 16, 16), (classes,)]
    settings = {"num_output": classes, "kernel_size": 16, "stride": 8, "pad": 4, "group": classes}
    rows.add(f"upscore{classes}", "Deconvolution", [], classes, blobs, **settings)
    rows.add("score", "Crop", [f"upscore{classes}", "data"], axis=2, offset=0)
    return rows


def unet(classes: int, width: float = 1.0) -> Rows:
    """U-Net's release `phseg_v5`: layers by the names of its prototxt; what a crop leaves out there follows from its inputs.

    Sides at 572 x 572: 568, 280, 136 and 64 are cropped to 392, 200, 104 and 56."""
    rows = Rows()
    rows.inputs = 1
    widths = [round(channels * width) for channels in (64, 128, 256, 512, 1024)]

    def two(level: str, letters: str, outputs: int) -> None:
        for before, after in itertools.pairwise(letters):
            rows.convolution(f"conv_{level}{before}-{after}", outputs, 3)

    below = []  # what is copied
    for level, outputs in enumerate(widths):
        two(f"d{level}", "abc", outputs)
        if level in (3, 4):
            rows.add(f"dropout_d{level}c", "Dropout")
        below.append(rows[-1].name)
        if level < 4:
            rows.add(f"pool_d{level}c-{level + 1}a", "Pooling", pool="MAX", kernel_size=2, stride=2)
    for level, source, offset in ((3, "d4c", 4), (2, "u3d", 16), (1, "u2d", 40), (0, "u1d", 88)):
        outputs = widths[level] if level else widths[1]
        name = f"upconv_{source}_u{level}a"
        blobs = [(rows[-1].channels, outputs, 2, 2), (outputs,)]
        rows.add(name, "Deconvolution", [], outputs, blobs, num_output=outputs, kernel_size=2, stride=2)
        rows.add(f"relu_u{level}a", "ReLU")
        rows.add(f"crop_d{level}c-d{level}cc", "Crop", [below[level], f"relu_u{level}a"], axis=2, offset=offset)
        both = [f"relu_u{level}a", f"crop_d{level}c-d{level}cc"]
        rows.add(f"concat_d{level}cc_u{level}a-b", "Concat", both, sum(map(rows.channels, both)), axis=1)
        two(f"u{level}", "bcd", widths[level])
    rows.convolution("conv_u0d-score", classes, 1, relu=False)
    return rows


def _vgg16(rows: Rows, width: float, first_pad: int, reduced: bool = False) -> None:
    for block, (channels, convolutions) in enumerate(((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)), start=1):
        dilation = {"pad": 2, "dilation": 2} if reduced and block == 5 else {"pad": 1}
        for index in range(1, convolutions + 1):
            first = {"pad": first_pad} if block == index == 1 else dilation
            rows.convolution(f"conv{block}_{index}", round(channels * width), 3, **first)
        window = {"kernel_size": 3, "stride": 1, "pad": 1} if reduced and block > 3 else {"kernel_size": 2, "stride": 2}
        rows.add(f"pool{block}", "Pooling", pool="MAX", **window)


def _caffenet(rows: Rows, width: float) -> None:
    def conv(name: str, channels: int, side: int, **settings: Any) -> None:
        rows.convolution(name, round(channels * width), side, **settings)

    def pool_and_norm(number: int) -> None:
        rows.add(f"pool{number}", "Pooling", pool="MAX", kernel_size=3, stride=2)
        rows.add(f"norm{number}", "LRN", local_size=5, alpha=1e-4, beta=0.75)

    conv("conv1", 96, 11, stride=4, pad=100)
    pool_and_norm(1)
    conv("conv2", 256, 5, pad=2, group=2)
    pool_and_norm(2)
    conv("conv3", 384, 3, pad=1)
    conv("conv4", 384, 3, pad=1, group=2)
    conv("conv5", 256, 3, pad=1, group=2)
    rows.add("pool5", "Pooling", pool="MAX", kernel_size=3, stride=2)
    conv("fc6", 4096, 6)
    rows.add("drop6", "Dropout")
    conv("fc7", 4096, 1)
    rows.add("drop7", "Dropout")


def bilinear(weights: list[Weights]) -> list[Weights]:
    """The same weights with every deconvolution as the authors froze it: bilinear for each class, none between classes."""
    found = []
    for name, kind, blobs in weights:
        if kind == "Deconvolution":
            classes, _, side, _ = blobs[0].shape
            reach = (side + 1) // 2
            centre = reach - 1 if side % 2 else reach - 0.5
            line = 1 - abs(np.arange(side) - centre) / reach
            blobs = [(np.eye(classes)[:, :, None, None] * np.outer(line, line)).astype(np.float32)]
        found.append((name, kind, blobs))
    return found
