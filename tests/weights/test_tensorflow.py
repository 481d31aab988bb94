"""TensorFlow's checkpoints are read to the byte and refused when damaged; DeepLab v3+ from one is the released graph."""

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from caffe_files import message, number, varint
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from tensorflow_files import block, entry, header, masked, table, write_checkpoint
from torch import Tensor
from torch.nn import functional as F

import perpixel
from perpixel.backbones.xception import XCEPTIONS
from perpixel.cli import main
from perpixel.errors import DataError, UntrustedFile, UsageError
from perpixel.weights.import_weights import import_weights
from perpixel.weights.tensorflow_files import MOST_ARRAYS, checksum, read_checkpoint
from perpixel.weights.tensorflow_files import masked as our_mask

RANDOM = np.random.default_rng(0)
ARRAYS: dict[str, NDArray[Any]] = {
    "conv/weights": RANDOM.normal(size=(3, 3, 2, 4)).astype(np.float32),
    "conv/biases": np.zeros(4, np.float32),
    "conv2/weights": RANDOM.normal(size=(1, 1, 4, 5)).astype(np.float16),
    "double": RANDOM.normal(size=7),
    "empty": np.zeros((0, 3), np.float32),
    "global_step": np.array(30_000),
    "한글": np.arange(6, dtype=np.int32).reshape(2, 3),
    **{f"layer{place:03d}/gamma": np.full(2, place, np.float32) for place in range(100)},
}
CLASSES, WIDTH = 3, 0.05


@pytest.fixture
def index(tmp_path: Path) -> Path:
    return write_checkpoint(tmp_path / "model.ckpt-7.index", ARRAYS)


class TestRead:
    @pytest.mark.parametrize("shards", [1, 3])
    def test_every_array_comes_back(self, tmp_path: Path, shards: int) -> None:
        found = read_checkpoint(write_checkpoint(tmp_path / "model.ckpt.index", ARRAYS, shards))
        assert list(found) == sorted(ARRAYS, key=str.encode)
        for name, array in ARRAYS.items():
            assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape)
            assert found[name].tobytes() == array.tobytes()

    def test_checksums_are_those_of_the_standard(self) -> None:
        """RFC 3720, appendix B.4."""
        assert checksum(b"123456789") == 0xE3069283
        assert checksum(bytes(32)) == 0x8A9136AA
        assert checksum(b"\xff" * 32) == 0x62A8AB43
        assert our_mask(checksum(b"checkpoint")) == masked(b"checkpoint")

    def test_texts_are_left_out(self, tmp_path: Path) -> None:
        path = tmp_path / "model.index"
        array = np.zeros(3, np.float32)
        path.write_bytes(table([(b"", header()), (b"graph", entry(array, 0, kind=7)), (b"w", entry(array, 0))]))
        path.with_name("model.data-00000-of-00001").write_bytes(array.tobytes())
        assert list(read_checkpoint(path)) == ["w"]


ONE = np.arange(3, dtype=np.float32)
DAMAGE: dict[str, tuple[list[tuple[bytes, bytes]], str]] = {
    "no header": ([(b"w", entry(ONE, 0))], "no header"),
    "big-endian": ([(b"", header(big=True))], "big-endian"),
    "no data files": ([(b"", header(0))], "0 data files"),
    "many data files": ([(b"", header(10**6))], "1000000 data files"),
    "unknown type": ([(b"", header()), (b"w", entry(ONE, 0, kind=21))], "w has the type 21"),
    "slices": ([(b"", header()), (b"w", entry(ONE, 0, more=message(7, b"")))], "w is in slices"),
    "outside": ([(b"", header()), (b"w", entry(ONE, 4))], "w lies outside"),
    "far outside": ([(b"", header()), (b"w", entry(ONE, 2**62))], "w lies outside"),
    "other shard": ([(b"", header()), (b"w", entry(ONE, 0, shard=1))], "w lies outside"),
    "negative side": ([(b"", header()),
         (b"w", number(1, 1) + message(2, message(2, number(1, 2**64 - 1))))], "w has a side of 18446744073709551615"),
    "other size": ([(b"", header()), (b"w", entry(ONE, 0) + number(5, 8))], "w has 1 axes and 8 bytes"),
    "other bytes": ([(b"", header()), (b"w", entry(ONE + 1, 0))], "w does not have its checksum"),
    "no checksum": ([(b"", header()), (b"w", entry(ONE, 0)[:-5])], "w does not have its checksum"),
    "read again": ([(b"", header()), (b"v", entry(ONE, 0)), (b"w", entry(ONE, 0))], "claim more than the data files have"),
    "out of order": ([(b"", header()), (b"w", entry(ONE, 0)), (b"v", entry(ONE, 0))], "names are not in order"),
    "long name": ([(b"", header()), (b"w" * 301, entry(ONE, 0))], "a name of 301 bytes"),
    "name of control characters": ([(b"", header()), (b"\x1b[2J", entry(ONE, 0))], "has the name '"),
    "name that is no text": ([(b"", header()), (b"\xff", entry(ONE, 0))], "is damaged or no checkpoint"),
    "many arrays": ([(b"", header())] + [(b"%07d" % place, b"") for place in range(MOST_ARRAYS + 1)], "more than 20000 arrays"),
}


class TestDamage:
    @pytest.mark.parametrize("kind", DAMAGE)
    def test_what_no_checkpoint_holds_is_told(self, tmp_path: Path, kind: str) -> None:
        rows, says = DAMAGE[kind]
        path = tmp_path / "model.index"
        path.write_bytes(table(rows))
        path.with_name("model.data-00000-of-00001").write_bytes(ONE.tobytes())
        with pytest.raises(UntrustedFile, match=says):
            read_checkpoint(path)

    def test_not_finite(self, tmp_path: Path) -> None:
        path = write_checkpoint(tmp_path / "model.index", {"w": np.array([0, np.nan], np.float32)})
        with pytest.raises(UntrustedFile, match="w holds a number that is not finite"):
            read_checkpoint(path)

    def test_a_compressed_table(self, index: Path) -> None:
        index.write_bytes(table([(b"", header())], compression=1))
        with pytest.raises(UntrustedFile, match="it is compressed"):
            read_checkpoint(index)

    def test_a_block_that_is_listed_again_and_again(self, index: Path) -> None:
        """Of no entries and many places to restart, so that no name is seen twice."""
        empty = bytes(4 * 20_000) + struct.pack("<I", 20_000) + b"\0"
        listing = block([(b"%05d" % place, varint(0) + varint(len(empty) - 1)) for place in range(100)], 1) + b"\0"
        parts = [part + struct.pack("<I", masked(part)) for part in (empty, listing)]
        footer = varint(0) + varint(len(empty) - 1) + varint(len(parts[0])) + varint(len(listing) - 1)
        index.write_bytes(b"".join(parts) + footer.ljust(40, b"\0") + struct.pack("<Q", 0xDB4775248B80FB57))
        with pytest.raises(UntrustedFile, match="its blocks claim more than it has"):
            read_checkpoint(index)

    @pytest.mark.parametrize("name", ["model.ckpt-7.index", "model.ckpt-7.data-00000-of-00001"])
    def test_a_file_that_is_not_there(self, index: Path, name: str) -> None:
        index.with_name(name).unlink()
        with pytest.raises(DataError, match=f"{name}: there is no such file"):
            read_checkpoint(index)

    @settings(max_examples=300)
    @given(place=st.floats(0, 1, exclude_max=True), byte=st.integers(1, 255), data=st.booleans())
    def test_no_byte_changes_unseen(self, tmp_path_factory: pytest.TempPathFactory, place: float, byte: int, data: bool) -> None:
        index = write_checkpoint(tmp_path_factory.mktemp("damaged") / "model.ckpt-7.index", ARRAYS)
        file = index.with_name("model.ckpt-7.data-00000-of-00001") if data else index
        content = bytearray(file.read_bytes())
        content[int(place * len(content))] ^= byte
        file.write_bytes(content)
        try:
            found = read_checkpoint(index)
        except (UntrustedFile, DataError):
            return
        # Of the end alone, where zeros fill the place, and the place of the block that nothing needs.
        assert not data
        assert int(place * len(content)) >= len(content) - 48
        assert all(found[name].tobytes() == array.tobytes() for name, array in ARRAYS.items())

    @given(length=st.floats(0, 1, exclude_max=True), data=st.booleans())
    def test_a_shorter_file_is_refused(self, tmp_path_factory: pytest.TempPathFactory, length: float, data: bool) -> None:
        index = write_checkpoint(tmp_path_factory.mktemp("short") / "model.ckpt-7.index", ARRAYS)
        file = index.with_name("model.ckpt-7.data-00000-of-00001") if data else index
        content = file.read_bytes()
        file.write_bytes(content[: int(length * len(content))])
        with pytest.raises(UntrustedFile):
            read_checkpoint(index)


# DeepLab v3+


def scaled(channels: int) -> int:
    return max(1, round(channels * WIDTH))


class Graph:
    """The released graph (core/xception.py, model.py) by its own names, and its forward pass.

    Arrays are made as the graph asks for them, so that the names and the order of channels are those of the graph."""

    def __init__(self, kind: str, image_pooling: bool = True) -> None:
        self.kind, self.image_pooling = kind, image_pooling
        self.arrays: dict[str, NDArray[np.float32]] = {}
        self.random = np.random.default_rng(3)
        self.dtype = torch.float32

    def array(self, name: str, shape: tuple[int, ...], low: float, high: float) -> Tensor:
        if name not in self.arrays:
            self.arrays[name] = self.random.uniform(low, high, shape).astype(np.float32)
        return torch.from_numpy(self.arrays[name]).to(self.dtype)

    def norm(self, x: Tensor, scope: str, eps: float) -> Tensor:
        def of(name: str, low: float, high: float) -> Tensor:
            return self.array(f"{scope}/BatchNorm/{name}", (x.shape[1],), low, high)

        mean, variance = of("moving_mean", -0.1, 0.1), of("moving_variance", 0.5, 1.5)
        return F.batch_norm(x, mean, variance, of("gamma", 0.5, 1.5), of("beta", -0.1, 0.1), eps=eps)

    def conv(self, x: Tensor, scope: str, outputs: int, side: int, eps: float, stride: int = 1) -> Tensor:
        bound = (6 / (side * side * x.shape[1])) ** 0.5
        weights = self.array(f"{scope}/weights", (side, side, x.shape[1], outputs), -bound, bound)
        return self.norm(F.conv2d(x, weights.permute(3, 2, 0, 1), stride=stride, padding=side // 2), scope, eps)

    def separable(
        self, x: Tensor, scope: str, outputs: int, eps: float, stride: int = 1, rate: int = 1, relu: bool = True
    ) -> Tensor:
        weights = self.array(f"{scope}_depthwise/depthwise_weights", (3, 3, x.shape[1], 1), -0.8, 0.8)
        x = F.conv2d(x, weights.permute(2, 3, 0, 1), stride=stride, padding=rate, dilation=rate, groups=x.shape[1])
        x = self.norm(x, f"{scope}_depthwise", eps)
        x = self.conv(x.relu() if relu else x, f"{scope}_pointwise", outputs, 1, eps)
        return x.relu() if relu else x

    def module(self, x: Tensor, scope: str, depths: tuple[int, int, int], skip: str, stride: int, rate: int) -> Tensor:
        scope, residual = f"{self.kind}/{scope}/xception_module", x
        for place, depth in enumerate(depths, start=1):
            residual = residual if skip == "none" else residual.relu()
            step = stride if place == 3 else 1
            residual = self.separable(residual, f"{scope}/separable_conv{place}", scaled(depth), 1e-3, step, rate, skip == "none")
            if scope.endswith("entry_flow/block2/unit_1/xception_module") and place == 2:
                self.low = residual
        if skip == "conv":
            return residual + self.conv(x, f"{scope}/shortcut", scaled(depths[2]), 1, 1e-3, stride)
        return residual + x if skip == "sum" else residual

    def __call__(self, images: Tensor) -> Tensor:
        """Logits on every fourth pixel, at output stride 16."""
        x = self.conv(2 * images - 1, f"{self.kind}/entry_flow/conv1_1", scaled(32), 3, 1e-3, 2).relu()
        x = self.conv(x, f"{self.kind}/entry_flow/conv1_2", scaled(64), 3, 1e-3).relu()
        for place, depth in enumerate((128, 256, 728), start=1):
            x = self.module(x, f"entry_flow/block{place}/unit_1", (depth,) * 3, "conv", 2, 1)
        for unit in range(1, (8 if self.kind == "xception_41" else 16) + 1):
            x = self.module(x, f"middle_flow/block1/unit_{unit}", (728,) * 3, "sum", 1, 1)
        x = self.module(x, "exit_flow/block1/unit_1", (728, 1024, 1024), "conv", 1, 1)
        x = self.module(x, "exit_flow/block2/unit_1", (1536, 1536, 2048), "none", 1, 2)
        depth, branches = scaled(256), []
        if self.image_pooling:
            pooled = self.conv(x.mean((2, 3), keepdim=True), "image_pooling", depth, 1, 1e-5).relu()
            branches.append(pooled.expand(-1, -1, *x.shape[-2:]))
        branches.append(self.conv(x, "aspp0", depth, 1, 1e-5).relu())
        branches += [self.separable(x, f"aspp{place}", depth, 1e-5, 1, 6 * place) for place in (1, 2, 3)]
        x = self.conv(torch.cat(branches, 1), "concat_projection", depth, 1, 1e-5).relu()
        low = self.conv(self.low, "decoder/feature_projection0", scaled(48), 1, 1e-5).relu()
        x = torch.cat([F.interpolate(x, low.shape[-2:], mode="bilinear", align_corners=True), low], 1)
        for place in (0, 1):
            x = self.separable(x, f"decoder/decoder_conv{place}", depth, 1e-5)
        weights = self.array("logits/semantic/weights", (1, 1, x.shape[1], CLASSES), -1, 1)
        return F.conv2d(x, weights.permute(3, 2, 0, 1), self.array("logits/semantic/biases", (CLASSES,), -1, 1))


def imported(tmp_path: Path, graph: Graph, change: Callable[[dict[str, Any]], object] = dict, **arguments: Any) -> Any:
    """The model that comes of the graph's arrays and of what training keeps beside them."""
    arrays = {**graph.arrays, "global_step": np.array(30_000), "aspp0/weights/Momentum": np.zeros(4, np.float32)}
    change(arrays)
    path = write_checkpoint(tmp_path / "model.ckpt.index", arrays)
    return perpixel.load(import_weights(path, "deeplabv3plus", CLASSES, tmp_path / "model", width=WIDTH, **arguments).parent)


def graph_of(kind: str, image_pooling: bool = True) -> Graph:
    graph = Graph(kind, image_pooling)
    with torch.inference_mode():
        graph(torch.zeros(1, 3, 33, 33))
    return graph


@pytest.mark.parametrize(("kind", "backbone"), [("xception_41", "xception41"), ("xception_65", "xception65")])
@torch.inference_mode()
def test_the_imported_network_is_the_released_graph(tmp_path: Path, kind: str, backbone: str) -> None:
    graph, images = graph_of(kind), torch.rand(2, 3, 65, 97, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    network, graph.dtype = imported(tmp_path, graph, backbone=backbone).network.eval().double(), torch.float64
    torch.testing.assert_close(network.score_map(images).scores, graph(images), rtol=1e-6, atol=1e-6)


@torch.inference_mode()
def test_without_the_mean_of_the_picture(tmp_path: Path) -> None:
    graph, images = graph_of("xception_41", image_pooling=False), torch.rand(1, 3, 65, 65, dtype=torch.float64)
    network = imported(tmp_path, graph, backbone="xception41", image_pooling=False).network.eval().double()
    graph.dtype = torch.float64
    torch.testing.assert_close(network.score_map(images).scores, graph(images), rtol=1e-6, atol=1e-6)


def test_the_scopes_of_xception_71() -> None:
    from perpixel.weights.tensorflow_layers import _places

    names = {ours: theirs for theirs, ours in _places("xception71", 3, True)}
    expected = {0: "entry_flow/block1/unit_1", 4: "entry_flow/block5/unit_1", 5: "middle_flow/block1/unit_1",
                20: "middle_flow/block1/unit_16", 21: "exit_flow/block1/unit_1", 22: "exit_flow/block2/unit_1"}  # fmt: skip
    for place, scope in expected.items():
        name = names[f"trunk.blocks.{place}.stack.conv3.conv_dw.weight"]
        assert name == f"xception_71/{scope}/xception_module/separable_conv3_depthwise/depthwise_weights"
    with torch.device("meta"):
        own = perpixel.build("deeplabv3plus", 21, backbone="xception71").state_dict()
    left = {name for name in own if name not in names and not name.endswith("num_batches_tracked")}
    assert left == {"trunk.mean", "trunk.std"}


@pytest.mark.parametrize(("change", "says"), [
    (lambda arrays: arrays.pop("aspp0/weights"), "missing: aspp0/weights"),
    (lambda arrays: arrays.update(other=ONE), "unknown: other"),
    (lambda arrays: arrays.update({"aspp0/weights": ONE}), r"of another shape: aspp0/weights \(3\)"),
])  # fmt: skip
def test_another_network_is_told(tmp_path: Path, change: Callable[[dict[str, Any]], object], says: str) -> None:
    with pytest.raises(UntrustedFile, match=f"does not hold deeplabv3plus xception41.* with 3 classes .*{says}"):
        imported(tmp_path, graph_of("xception_41"), change, backbone="xception41")


@pytest.mark.parametrize(("network", "arguments"), [
    ("deeplabv3", {}), ("deeplabv3plus", {"backbone": "resnet50"}), ("deeplabv3plus", {"separable": False}), ("fcn8s", {}),
])  # fmt: skip
def test_networks_that_have_no_checkpoint(index: Path, network: str, arguments: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=f"are read of deeplabv3plus on {', '.join(XCEPTIONS)}"):
        import_weights(index, network, 21, index.parent / "model", **arguments)


def test_the_command_lists_and_refuses(index: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["import", str(index), "--list", "--json"])
    rows = json.loads(capsys.readouterr().out)
    assert {row["name"]: (row["type"], row["shapes"]) for row in rows}["conv/weights"] == ("float32", [[3, 3, 2, 4]])
    with pytest.raises(SystemExit) as caught:
        main(["import", str(index), "--network", "deeplabv3plus", "--out", str(index.parent / "model")])
    assert caught.value.code == 4
    assert "does not hold deeplabv3plus with 21 classes" in capsys.readouterr().err
