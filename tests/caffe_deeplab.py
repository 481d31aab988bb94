"""The DeepLabs as their authors have them in Caffe: layers by the names of their prototxts, random weights, and an interpreter of
such layers in double precision.

v1: config/DeepLab-LargeFOV, DeepLab-MSc and DeepLab-MSc-LargeFOV of TheLegendAli/DeepLab-Context; v2 on VGG-16: a prototxt of
xmojiao/deeplab_v2; v2 on ResNet-101: ResNet-101-deploy.prototxt of KaimingHe/deep-residual-networks, whose layers convert.py of
kazuto1011/deeplab-pytorch reads from the authors' file, those of smaller pictures (res075, res05) left out."""

from collections.abc import Sequence

import numpy as np
import torch
from caffe_files import Rows, Weights
from torch import Tensor
from torch.nn import functional as F

MEAN = (104.008, 116.669, 122.675)  # BGR, of the data layers
SCALES = {"": 1.0, "_res075": 0.75, "_res05": 0.5}
SQUARES = {"large_fov": (3, 12, 1024), "4x4": (4, 4, 4096), "7x7": (7, 4, 4096)}


def v1(classes: int, width: float = 1.0, head: str = "large_fov", msc: bool = False, data: str = "voc12") -> Rows:
    """The test prototxt: of DeepLab-LargeFOV, or with MSc; `data` is in the name of the classifier."""
    rows, paths = Rows(), []

    def direct(below: str, zoom: int) -> None:
        rows.convolution(f"{below}_conv", round(128 * width), 3, below, pad=1)
        rows.convolution(f"{below}_fc", round(128 * width), 1)
        rows.convolution(f"{below}_ms", classes, 1, relu=False)
        paths.append(interpolated(rows, f"{below}_ms", zoom))

    def vgg() -> None:
        for block, (channels, convolutions) in enumerate(((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)), start=1):
            hole = 2 if block == 5 else 1
            for index in range(1, convolutions + 1):
                below = f"pool{block - 1}" if index == 1 and block > 1 else "" if index > 1 else "data"
                rows.convolution(f"conv{block}_{index}", round(channels * width), 3, below, pad=hole, dilation=hole)
            rows.add(f"pool{block}", "Pooling", pool="MAX", kernel_size=3, stride=2 if block < 4 else 1, pad=1)
            if msc and block < 5:
                direct(f"pool{block}", min(8, 2**block))

    if msc:
        direct("data", 1)
    vgg()
    side, hole, channels = SQUARES[head]
    if head == "large_fov":
        rows.add("pool5a", "Pooling", ["pool5"], pool="AVE", kernel_size=3, stride=1, pad=1)
    rows.convolution("fc6", round(channels * width), side, pad=(side - 1) * hole // 2, dilation=hole)
    rows.convolution("fc7", round(channels * width), 1)
    rows.convolution(f"fc8_{data}", classes, 1, relu=False)
    paths.append(interpolated(rows, f"fc8_{data}", 8))
    rows.add("fc_fusion", "Eltwise", paths, operation="SUM")
    return rows


def v2_vgg16(classes: int, width: float = 1.0, rates: Sequence[int] = (6, 12, 18, 24), data: str = "voc12") -> Rows:
    """The train prototxt of v2 on VGG-16, whose four classifiers are summed; with one rate DeepLab-LargeFOV."""
    rows, scores = Rows(), []
    for block, (channels, convolutions) in enumerate(((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)), start=1):
        hole = 2 if block == 5 else 1
        for index in range(1, convolutions + 1):
            rows.convolution(f"conv{block}_{index}", round(channels * width), 3, pad=hole, dilation=hole)
        rows.add(f"pool{block}", "Pooling", pool="MAX", kernel_size=3, stride=2 if block < 4 else 1, pad=1)
    for number, rate in enumerate(rates, start=1):
        mark = f"_{number}" if len(rates) > 1 else ""
        rows.convolution(f"fc6{mark}", round(1024 * width), 3, "pool5", pad=rate, dilation=rate)
        rows.convolution(f"fc7{mark}", round(1024 * width), 1)
        rows.convolution(f"fc8_{data}{mark}", classes, 1, relu=False)
        scores.append(rows[-1].name)
    rows.add("fc8", "Eltwise", scores, operation="SUM")
    return rows


def v2_resnet101(classes: int, width: float = 1.0, data: str = "voc12", marks: Sequence[str] = tuple(SCALES)) -> Rows:
    """ResNet-101 with the stride in the 1x1, ASPP of four 3x3, and the largest score of the scales, which share their weights."""
    rows, scores = Rows(), []
    for mark in marks:
        rows.add(f"data{mark or '_res1'}", "Interp", ["data"], zoom=SCALES[mark])
        _resnet(rows, width, mark)
        deepest, parts = rows[-1].name, []
        for number, rate in enumerate((6, 12, 18, 24)):
            rows.convolution(f"fc1_{data}_c{number}{mark}", classes, 3, deepest, relu=False, pad=rate, dilation=rate)
            parts.append(rows[-1].name)
        rows.add(f"fc1_{data}{mark}", "Eltwise", parts, operation="SUM")
        if mark:
            rows.add(f"fc1_{data}{mark}_interp", "Interp", to=f"fc1_{data}")
        scores.append(rows[-1].name)
    rows.add("fc1_max", "Eltwise", scores, operation="MAX")
    return rows


def _resnet(rows: Rows, width: float, mark: str) -> None:
    def normalised(name: str, channels: int, side: int, below: str = "", relu: bool = True, **settings: int) -> str:
        """A convolution without bias, the layer of its statistics, and that of scale and shift."""
        called = name if name == "conv1" else name.removeprefix("res")
        below, bn, scale = below or rows[-1].name, "bn_" if name == "conv1" else "bn", "scale_" if name == "conv1" else "scale"
        shape = (channels, rows.channels(below), side, side)
        rows.add(f"{name}{mark}", "Convolution", [below], channels, [shape], kernel_size=side, bias_term="false", **settings)
        rows.add(f"{bn}{called}{mark}", "BatchNorm", blobs=[(channels,), (channels,), (1,)])
        rows.add(f"{scale}{called}{mark}", "Scale", blobs=[(channels,), (channels,)])
        if relu:
            rows.add(f"{name}_relu{mark}", "ReLU")
        return rows[-1].name

    normalised("conv1", round(64 * width), 7, stride=2, pad=3)
    rows.add(f"pool1{mark}", "Pooling", pool="MAX", kernel_size=3, stride=2, pad=1)
    below = rows[-1].name
    for stage, blocks in enumerate((3, 4, 23, 3), start=2):
        inner, hole = round((32 << stage - 1) * width), {4: 2, 5: 4}.get(stage, 1)
        for block in range(blocks):
            name = f"res{stage}{'abc'[block] if blocks == 3 else 'a' if block == 0 else f'b{block}'}"
            stride = 2 if stage == 3 and block == 0 else 1
            shortcut = normalised(f"{name}_branch1", 4 * inner, 1, below, False, stride=stride) if block == 0 else below
            normalised(f"{name}_branch2a", inner, 1, below, stride=stride)
            normalised(f"{name}_branch2b", inner, 3, pad=hole, dilation=hole)
            added = normalised(f"{name}_branch2c", 4 * inner, 1, relu=False)
            rows.add(f"{name}{mark}", "Eltwise", [shortcut, added], operation="SUM")
            rows.add(f"{name}_relu{mark}", "ReLU")
            below = rows[-1].name


def interpolated(rows: Rows, below: str, zoom: int) -> str:
    """An Interp layer that enlarges `below` by a factor; its name."""
    name = f"{below.removesuffix('_ms')}_interp"
    rows.add(name, "Interp", [below], zoom=float(zoom))
    return name


def random_weights(rows: Rows) -> list[Weights]:
    """Random in every blob. Statistics are sums over batches, and their divisor; smaller pictures share all weights."""
    rng, drawn, weights = np.random.default_rng(4), {}, rows.weights()
    for place, (name, kind, blobs) in enumerate(weights):
        if kind == "BatchNorm":
            count, channels = rng.uniform(900, 1000), blobs[0].shape
            blobs = [count * rng.normal(0, 0.3, channels), count * rng.uniform(0.5, 1.5, channels), np.array([count])]
        elif kind == "Scale":
            strong = name.endswith("branch2c") or "branch2c_" in name
            blobs = [rng.uniform(0.1, 0.4, blobs[0].shape) if strong else rng.uniform(0.5, 1.5, blobs[0].shape),
                     rng.normal(0, 0.3, blobs[1].shape)]  # fmt: skip
        shared = name.replace("_res075", "").replace("_res05", "")
        drawn.setdefault(shared, [blob.astype(np.float32) for blob in blobs])
        weights[place] = (name, kind, drawn[shared])
    return weights


def run(rows: Rows, weights: Sequence[Weights], pixels: Tensor) -> dict[str, Tensor]:
    """What each layer makes of `pixels` (1, 3, H, W) in double precision: the layers' definitions, no more."""
    maps = {"data": pixels.double()}
    blobs_of = {name: [torch.from_numpy(blob).double() for blob in blobs] for name, _, blobs in weights}
    for row in rows:
        x, blobs, settings = maps[row.bottoms[0]], blobs_of[row.name], row.settings
        stride, pad = settings.get("stride", 1), settings.get("pad", 0)
        if row.type == "Convolution":
            bias = blobs[1] if len(blobs) == 2 else None
            x = F.conv2d(x, blobs[0], bias, stride, pad, settings.get("dilation", 1))
        elif row.type == "BatchNorm":
            mean, variance = (blob / blobs[2] for blob in blobs[:2])
            x = (x - mean[:, None, None]) / (variance[:, None, None] + 1e-5).sqrt()
        elif row.type == "Scale":
            x = x * blobs[0][:, None, None] + blobs[1][:, None, None]
        elif row.type == "ReLU":
            x = x.clamp(min=0)
        elif row.type == "Pooling":
            pool = F.max_pool2d if settings["pool"] == "MAX" else F.avg_pool2d
            x = pool(x, settings["kernel_size"], stride, pad, ceil_mode=True)
        elif row.type == "Interp":
            zoom = settings.get("zoom")
            size = maps[settings["to"]].shape[-2:] if zoom is None else [round((side - 1) * zoom) + 1 for side in x.shape[-2:]]
            x = F.interpolate(x, tuple(size), mode="bilinear", align_corners=True)
        else:
            assert row.type == "Eltwise"
            parts = torch.stack([maps[name] for name in row.bottoms])
            x = parts.sum(0) if settings["operation"] == "SUM" else parts.amax(0)
        maps[row.name] = x
    return maps
