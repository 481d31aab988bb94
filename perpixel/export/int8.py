"""INT8 by static quantisation: convolutions and matrix products compute with 8 bits. Weights have a scale for each channel, and
the ranges of activations are those that calibration pictures show (ONNX Runtime's quantiser; OpenVINO reads what it makes)."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perpixel.weights.graph import quiet

KINDS = ("Conv", "MatMul", "Gemm")  # nodes that compute with 8 bits; all others stay as they are


def quantised(graph: Any, pictures: Sequence[NDArray[np.uint8]]) -> Any:
    """The graph with 8 bits, an `onnx.ModelProto`, by the ranges that the `pictures`, uint8 (H, W, 3), show one by one."""
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Pictures(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._left = iter(pictures)

        def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
            picture = next(self._left, None)
            return None if picture is None else {"pictures": np.ascontiguousarray(picture[None])}

    with tempfile.TemporaryDirectory() as folder, quiet():
        before, after = (Path(folder) / f"{name}.onnx" for name in ("float", "int8"))
        before.write_bytes(graph.SerializeToString())
        quantize_static(
            before, after, Pictures(), quant_format=QuantFormat.QDQ, op_types_to_quantize=list(KINDS), per_channel=True,
            activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
        )  # fmt: skip
        return onnx.load(after)
