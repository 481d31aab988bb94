"""DeconvNet as its authors have it in Caffe: its layers, random weights, and an interpreter of layers like these in NumPy."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from caffe_files import Rows, Weights


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
        rows.add(f"unpool{block}", "Unpooling", [rows[-1].name, f"pool{block}"])
        for index, outputs in enumerate(channels, start=1):
            normalised(f"deconv{block}_{index}", "Deconvolution", f"debn{block}_{index}", outputs, 3, pad=1)
    rows.convolution("seg-score-voc", classes, 1, relu=False)
    return rows


def random_weights(rows: Rows) -> list[Weights]:
    """Random in every blob; scales between 0.5 and 1.5, so that neither values nor shifts come to nothing beside the others."""
    rng = np.random.default_rng(2)
    found: list[Weights] = []
    for name, kind, blobs in rows.weights():
        if kind == "BN":
            scale, shift = rng.uniform(0.5, 1.5, blobs[0].shape), rng.normal(0, 2, blobs[1].shape)
            blobs = [scale.astype(np.float32), shift.astype(np.float32)]
        found.append((name, kind, blobs))
    return found


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
            plane = np.zeros((depth, 4 * height * width))
            np.put_along_axis(plane, masks[row.bottoms[1]].reshape(depth, -1), x.reshape(depth, -1), axis=1)
            found[row.name] = plane.reshape(depth, 2 * height, 2 * width)
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
