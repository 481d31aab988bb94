"""Files as Caffe writes them, made by code: weights in both layer formats, and the authors' networks as text.

The networks are generated from the tables of their papers and repositories; weights are random, in every blob."""

import itertools
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

V1_NUMBERS = {
    "Concat": 3, "Convolution": 4, "Dropout": 6, "InnerProduct": 14, "LRN": 15, "Pooling": 17, "ReLU": 18, "Softmax": 20,
    "Eltwise": 25, "Deconvolution": 39, "Unpooling": 42, "BN": 43,
}  # fmt: skip

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
    "Unpooling": "unpooling_param", "InnerProduct": "inner_product_param",
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

    def connected(self, name: str, outputs: int, height: int, width: int, relu: bool = True) -> None:
        """A fully connected layer on maps of that size."""
        inputs = self[-1].channels * height * width
        self.add(name, "InnerProduct", [], outputs, [(outputs, inputs), (outputs,)], num_output=outputs)
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
                elif len(shape) in (2, 4) and row.type != "BN":
                    blobs.append(rng.normal(0, (2 / np.prod(shape[1:])) ** 0.5, shape))
                elif row.type in ("Scale", "Normalize") or (row.type == "BN" and not blobs):
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


def deconvnet(classes: int, width: float = 1.0) -> Rows:
    """DeconvNet: HyeonwooNoh/DeconvNet, DeconvNet_inference_deploy.prototxt; a pool hands its switches to the unpooling that
    names it as its second bottom. ReLUs are named by what they follow, where the authors have relu1_1, derelu5_1 ..."""
    rows = Rows()

    def normalised(name: str, kind: str, norm: str, outputs: int, side: int, **settings: Any) -> None:
        outputs, inputs = round(outputs * width), rows[-1].channels if rows else 3
        shape = (inputs, outputs, side, side) if kind == "Deconvolution" else (outputs, inputs, side, side)
        rows.add(name, kind, [], outputs, [shape, (outputs,)], num_output=outputs, kernel_size=side, **settings)
        rows.add(norm, "BN", blobs=[(1, outputs, 1, 1), (1, outputs, 1, 1)])
        rows.add(f"relu_{name}", "ReLU")

    for block, (channels, convolutions) in enumerate(((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)), start=1):
        for index in range(1, convolutions + 1):
            normalised(f"conv{block}_{index}", "Convolution", f"bn{block}_{index}", channels, 3, pad=1)
        rows.add(f"pool{block}", "Pooling", pool="MAX", kernel_size=2, stride=2)
    normalised("fc6", "Convolution", "bnfc6", 4096, 7)
    normalised("fc7", "Convolution", "bnfc7", 4096, 1)
    normalised("fc6-deconv", "Deconvolution", "fc6-deconv-bn", 512, 7)
    for block, channels in ((5, (512, 512, 512)), (4, (512, 512, 256)), (3, (256, 256, 128)), (2, (128, 64)), (1, (64, 64))):
        size = 224 >> block - 1
        rows.add(f"unpool{block}", "Unpooling", [rows[-1].name, f"pool{block}"], unpool="MAX", kernel_size=2, unpool_size=size)
        for index, outputs in enumerate(channels, start=1):
            normalised(f"deconv{block}_{index}", "Deconvolution", f"debn{block}_{index}", outputs, 3, pad=1)
    rows.convolution("seg-score-voc", classes, 1, relu=False)
    return rows


def run(rows: Rows, weights: Sequence[Weights], pixels: np.ndarray) -> dict[str, np.ndarray]:
    """What each layer of a network like DeconvNet makes of `pixels` (3, H, W), in NumPy: the layers' definitions, no more.

    A pool's maxima are the first of equals, row by row."""
    found, masks, blobs_of = {"data": pixels.astype(np.float64)}, {}, {name: blobs for name, _, blobs in weights}
    for row in rows:
        x, blobs = found[row.bottoms[0]], [blob.astype(np.float64) for blob in blobs_of[row.name]]
        depth, height, width = x.shape
        if row.type in ("Convolution", "Deconvolution"):
            found[row.name] = _CONVOLUTIONS[row.type](x, blobs[0], row.settings.get("pad", 0)) + blobs[1][:, None, None]
        elif row.type == "BN":
            found[row.name] = x * blobs[0][0] + blobs[1][0]
        elif row.type == "ReLU":
            found[row.name] = np.maximum(x, 0)
        elif row.type == "Pooling":
            windows = x.reshape(depth, height // 2, 2, width // 2, 2).transpose(0, 1, 3, 2, 4).reshape(depth, -1, width // 2, 4)
            first = windows.argmax(-1)
            rows_of, columns_of = np.mgrid[0 : height // 2, 0 : width // 2]
            masks[row.name] = (2 * rows_of + first // 2) * width + 2 * columns_of + first % 2
            found[row.name] = windows.max(-1)
        else:
            assert row.type == "Unpooling"
            plane = np.zeros((depth, row.settings["unpool_size"] ** 2))
            np.put_along_axis(plane, masks[row.bottoms[1]].reshape(depth, -1), x.reshape(depth, -1), axis=1)
            found[row.name] = plane.reshape(depth, row.settings["unpool_size"], -1)
    return found


def _convolved(x: np.ndarray, kernels: np.ndarray, pad: int) -> np.ndarray:
    """kernels (out, in, k, k): each output gathers the inputs around it."""
    side = kernels.shape[-1]
    x = np.pad(x, ((0, 0), (pad, pad), (pad, pad)))
    height, width = x.shape[1] - side + 1, x.shape[2] - side + 1
    taps = [(i, j) for i in range(side) for j in range(side)]
    return sum(np.tensordot(kernels[:, :, i, j], x[:, i : i + height, j : j + width], 1) for i, j in taps)


def _deconvolved(x: np.ndarray, kernels: np.ndarray, pad: int) -> np.ndarray:
    """kernels (in, out, k, k): each input spreads its kernel over the outputs around it."""
    side = kernels.shape[-1]
    height, width = x.shape[1] + side - 1, x.shape[2] + side - 1
    found = np.zeros((kernels.shape[1], height, width))
    for i in range(side):
        for j in range(side):
            found[:, i : i + x.shape[1], j : j + x.shape[2]] += np.tensordot(kernels[:, :, i, j].T, x, 1)
    return found[:, pad : height - pad, pad : width - pad]


_CONVOLUTIONS = {"Convolution": _convolved, "Deconvolution": _deconvolved}


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


def classifier(trunk: str, width: float = 1.0) -> Rows:
    """The classifier of ImageNet that has the trunk vgg16, alexnet or googlenet, with all its heads; or vgg16_reduced, which has
    none: VGG_ILSVRC_16_layers of Caffe's model zoo, bvlc_reference_caffenet, bvlc_googlenet, VGG_ILSVRC_16_layers_fc_reduced."""
    rows = Rows()
    if trunk == "googlenet":
        return _googlenet(rows, width)
    if trunk == "vgg16_reduced":
        _vgg16(rows, width, first_pad=1, reduced=True)
        rows.convolution("fc6", round(1024 * width), 3, pad=12, dilation=12)
        rows.add("drop6", "Dropout")
        rows.convolution("fc7", round(1024 * width), 1)
        rows.add("drop7", "Dropout")
        return rows
    side = 7
    if trunk == "vgg16":
        _vgg16(rows, width, first_pad=1)
    else:
        side = 6
        _caffenet_to_pool5(rows, width, first_pad=0)
    for name, outputs, cells in (("fc6", 4096, side), ("fc7", 4096, 1)):
        rows.connected(name, round(outputs * width), cells, cells)
        rows.add(f"drop{name[-1]}", "Dropout")
    rows.connected("fc8", 1000, 1, 1, relu=False)
    rows.add("prob", "Softmax")
    return rows


def _googlenet(rows: Rows, width: float) -> Rows:
    """bvlc_googlenet for pictures of 224 x 224, with the two auxiliary heads of its training."""

    def conv(name: str, channels: int, side: int, below: str = "", **settings: Any) -> None:
        rows.convolution(name, round(channels * width), side, below, **settings)

    def pool(name: str, stride: int = 2, below: str = "") -> None:
        padding = {"pad": 1} if stride == 1 else {}
        rows.add(name, "Pooling", [below] if below else [], pool="MAX", kernel_size=3, stride=stride, **padding)

    def head(number: int, below: str) -> None:
        rows.add(f"loss{number}/ave_pool", "Pooling", [below], pool="AVE", kernel_size=5, stride=3)
        conv(f"loss{number}/conv", 128, 1)
        rows.connected(f"loss{number}/fc", round(1024 * width), 4, 4)
        rows.connected(f"loss{number}/classifier", 1000, 1, 1, relu=False)

    conv("conv1/7x7_s2", 64, 7, stride=2, pad=3)
    pool("pool1/3x3_s2")
    rows.add("pool1/norm1", "LRN", local_size=5, alpha=1e-4, beta=0.75)
    conv("conv2/3x3_reduce", 64, 1)
    conv("conv2/3x3", 192, 3, pad=1)
    rows.add("conv2/norm2", "LRN", local_size=5, alpha=1e-4, beta=0.75)
    pool("pool2/3x3_s2")
    below = "pool2/3x3_s2"
    for block, (one, reduce3, three, reduce5, five, projected) in {
        "3a": (64, 96, 128, 16, 32, 32), "3b": (128, 128, 192, 32, 96, 64), "4a": (192, 96, 208, 16, 48, 64),
        "4b": (160, 112, 224, 24, 64, 64), "4c": (128, 128, 256, 24, 64, 64), "4d": (112, 144, 288, 32, 64, 64),
        "4e": (256, 160, 320, 32, 128, 128), "5a": (256, 160, 320, 32, 128, 128), "5b": (384, 192, 384, 48, 128, 128),
    }.items():  # fmt: skip
        if block in ("4a", "5a"):
            pool(f"pool{int(block[0]) - 1}/3x3_s2", below=below)
            below = rows[-1].name
        name = f"inception_{block}"
        conv(f"{name}/1x1", one, 1, below)
        conv(f"{name}/3x3_reduce", reduce3, 1, below)
        conv(f"{name}/3x3", three, 3, pad=1)
        conv(f"{name}/5x5_reduce", reduce5, 1, below)
        conv(f"{name}/5x5", five, 5, pad=2)
        pool(f"{name}/pool", 1, below)
        conv(f"{name}/pool_proj", projected, 1)
        branches = [f"relu_{name}/{branch}" for branch in ("1x1", "3x3", "5x5", "pool_proj")]
        below = f"{name}/output"
        rows.add(below, "Concat", branches, sum(map(rows.channels, branches)))
        if block in ("4a", "4d"):
            head(1 if block == "4a" else 2, below)
    rows.add("pool5/7x7_s1", "Pooling", [below], pool="AVE", kernel_size=7, stride=1)
    rows.add("pool5/drop_7x7_s1", "Dropout")
    rows.connected("loss3/classifier", 1000, 1, 1, relu=False)
    rows.add("prob", "Softmax")
    return rows


def _caffenet(rows: Rows, width: float) -> None:
    _caffenet_to_pool5(rows, width, first_pad=100)
    rows.convolution("fc6", round(4096 * width), 6)
    rows.add("drop6", "Dropout")
    rows.convolution("fc7", round(4096 * width), 1)
    rows.add("drop7", "Dropout")


def _caffenet_to_pool5(rows: Rows, width: float, first_pad: int) -> None:
    def conv(name: str, channels: int, side: int, **settings: Any) -> None:
        rows.convolution(name, round(channels * width), side, **settings)

    def pool_and_norm(number: int) -> None:
        rows.add(f"pool{number}", "Pooling", pool="MAX", kernel_size=3, stride=2)
        rows.add(f"norm{number}", "LRN", local_size=5, alpha=1e-4, beta=0.75)

    conv("conv1", 96, 11, stride=4, pad=first_pad)
    pool_and_norm(1)
    conv("conv2", 256, 5, pad=2, group=2)
    pool_and_norm(2)
    conv("conv3", 384, 3, pad=1)
    conv("conv4", 384, 3, pad=1, group=2)
    conv("conv5", 256, 3, pad=1, group=2)
    rows.add("pool5", "Pooling", pool="MAX", kernel_size=3, stride=2)


class UnPooling:
    """ParseNet's own layer, which OpenCV does not have: a 1x1 map at every place of the second one."""

    def __init__(self, *_: Any) -> None:
        pass

    def getMemoryShapes(self, shapes: list[Any]) -> list[Any]:
        return [shapes[1]]

    def forward(self, maps: list[np.ndarray]) -> list[np.ndarray]:
        return [np.broadcast_to(maps[0], maps[1].shape).copy()]


def output_of_opencv(rows: Rows, path: Path, layer: str, pixels: np.ndarray) -> np.ndarray:
    """(C, h, w) or (C,) that OpenCV's reader of Caffe finds behind a layer, with the weights in `path`, for (channels, H, W)."""
    cv2 = pytest.importorskip("cv2", reason="OpenCV, which reads Caffe's networks too, is not installed")
    if not hasattr(cv2.dnn, "readNetFromCaffe"):
        pytest.skip("this OpenCV no longer reads Caffe's networks")
    text = path.with_suffix(".prototxt")
    text.write_text(rows.prototxt(*pixels.shape[1:]))
    cv2.dnn_registerLayer("UnPooling", UnPooling)
    try:
        net = cv2.dnn.readNetFromCaffe(str(text), str(path))
        net.setPreferableBackend(cv2.dnn.DNN_BACKEND_OPENCV)
        net.enableWinograd(False)  # which is less exact
        net.setInput(np.ascontiguousarray(pixels[None], np.float32))
        return np.array(net.forward(layer)[0])
    finally:
        cv2.dnn_unregisterLayer("UnPooling")


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
