"""The folder for Triton: protobuf reads its configuration, and ONNX Runtime's names, types and dimensions are the same."""

import json
from pathlib import Path

import numpy as np
import pytest
from fakes import draw_sample

import perpixel
from perpixel.classes import ClassTable
from perpixel.errors import UsageError
from perpixel.export.export import graph_of, write_onnx
from perpixel.export.triton import check_triton, config, name_of, write_triton
from perpixel.weights.exported_file import ExportCard

protobuf = pytest.importorskip("google.protobuf", reason="the extra `export` is not installed")

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format  # noqa: E402
from networks_of_tests import tiny_model  # noqa: E402

# Of model_config.proto in Triton's repository `common`: the fields that are written, by message, with their types. A text has no
# numbers of fields, so any do. Types of data have the numbers of that file.
TYPES = {"TYPE_INVALID": 0, "TYPE_BOOL": 1, "TYPE_UINT8": 2, "TYPE_UINT16": 3, "TYPE_FP32": 11}
MESSAGES = {
    "ModelInput": {"name": "string", "data_type": "DataType", "dims": "int64 ..."},
    "ModelOutput": {"name": "string", "data_type": "DataType", "dims": "int64 ..."},
    "ModelDynamicBatching": {"preferred_batch_size": "int32 ..."},
    "ModelParameter": {"string_value": "string"},
    "Entry": {"key": "string", "value": "ModelParameter"},  # of the map `parameters`
    "ModelConfig": {
        "name": "string", "backend": "string", "max_batch_size": "int32", "input": "ModelInput ...", "output": "ModelOutput ...",
        "default_model_filename": "string", "dynamic_batching": "ModelDynamicBatching", "parameters": "Entry ...",
    },
}  # fmt: skip
PLAIN = {"string": 9, "int64": 3, "int32": 5}
IN_ONNX = {"TYPE_UINT8": "tensor(uint8)", "TYPE_UINT16": "tensor(uint16)", "TYPE_FP32": "tensor(float)"}


def read(text: str):
    """The configuration, by protobuf's reader of text."""
    file = descriptor_pb2.FileDescriptorProto(name="model_config.proto", package="inference", syntax="proto3")
    kinds = file.enum_type.add(name="DataType")
    for name, number in TYPES.items():
        kinds.value.add(name=name, number=number)
    for name, fields in MESSAGES.items():
        message = file.message_type.add(name=name)
        for number, (field, kind) in enumerate(fields.items(), start=1):
            kind, label = kind.removesuffix(" ..."), 3 if kind.endswith(" ...") else 1
            added = message.field.add(name=field, number=number, label=label)
            added.type = PLAIN.get(kind, 14 if kind == "DataType" else 11)
            if kind not in PLAIN:
                added.type_name = f".inference.{kind}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    found = message_factory.GetMessageClass(pool.FindMessageTypeByName("inference.ModelConfig"))()
    return text_format.Parse(text, found)


def test_the_configuration_says_what_the_graph_says(tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime", reason="the extra `export` is not installed")
    model = tiny_model(ClassTable.of(["ground", "box", "disc"]))
    write_onnx(tmp_path / "model.onnx", graph_of(model, True), ExportCard(dict(vars(model.card)), model.digest, None, "1"))
    place = write_triton(tmp_path / "triton/street", tmp_path / "model.onnx", model.classes, True)
    found = read(place.read_text())
    assert (found.name, found.backend, found.default_model_filename) == ("street", "onnxruntime", "model.onnx")
    assert found.HasField("dynamic_batching")
    file = place.parent / "1/model.onnx"
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    for ours, theirs in ((found.input, session.get_inputs()), (found.output, session.get_outputs())):
        assert [one.name for one in ours] == [one.name for one in theirs]
        for one, other in zip(ours, theirs, strict=True):
            names = {number: name for name, number in TYPES.items()}
            assert IN_ONNX[names[one.data_type]] == other.type
            known = [side if isinstance(side, int) else -1 for side in other.shape]
            assert len(known) == len(one.dims) + 1, "Triton adds the batch"
            assert all(there in (-1, here) for here, there in zip(one.dims, known[1:], strict=True))
            assert known[0] == -1
    image = draw_sample(0)[0]
    assert np.array_equal(perpixel.predict(perpixel.load(file), image).labels, perpixel.predict(model, image).labels)


def test_any_name_of_a_class_is_read_back() -> None:
    names = ['a "b"', "c\\d", "하늘", "e\nf"]
    found = read(config("m", ClassTable.of(names), False))
    (parameter,) = found.parameters
    assert parameter.key == "classes"
    assert json.loads(parameter.value.string_value) == names
    assert found.output[0].data_type == TYPES["TYPE_UINT8"]
    assert read(config("m", ClassTable.of([f"class {n}" for n in range(300)]), True)).output[0].data_type == TYPES["TYPE_UINT16"]


def test_what_is_in_the_way_is_told_before_the_work(tmp_path: Path, command) -> None:
    (tmp_path / "triton").write_text("a letter")
    with pytest.raises(UsageError, match="triton: is a file, where --for triton writes a folder; move it away"):
        check_triton(tmp_path / "triton/run", "onnx")
    with pytest.raises(UsageError, match="--for triton: its backend runs files of ONNX; leave --to openvino out"):
        check_triton(tmp_path / "run", "openvino")
    code, _, err = command("export", tmp_path, "--for", "tritan")
    assert (code, err) == (2, "perpixel: no server 'tritan'; did you mean 'triton'? Known: triton.\n")


def test_a_name_is_one_that_a_folder_can_have(tmp_path: Path) -> None:
    (tmp_path / "my run (2)").mkdir()
    (tmp_path / "my run (2)/model.safetensors").touch()
    assert name_of(tmp_path / "my run (2)") == name_of(tmp_path / "my run (2)/model.safetensors") == "my_run_2_"
    assert name_of(Path("torchvision_fcn_resnet50")) == "torchvision_fcn_resnet50"
