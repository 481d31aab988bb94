"""State dicts of torch come in as tensors and nothing else, whatever the file holds."""

import os
import pickle
import re
import resource
import sys
import zipfile
from argparse import Namespace
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from torch import nn

from perpixel.errors import DataError, UntrustedFile
from perpixel.weights.torch_files import named_tensors, read_state

STATE = {
    "layer.weight": torch.arange(6.0).reshape(2, 3).T,  # not contiguous
    "layer.half": torch.tensor([0.5, -2.0], dtype=torch.float16),
    "counter": torch.tensor(7),
    "mask": torch.tensor([True, False]),
    "empty": torch.zeros(0, 3),
}


def saved(path: Path, value: object, **options: object) -> Path:
    torch.save(value, path, **options)
    return path


def assert_is_state(found: dict[str, torch.Tensor]) -> None:
    assert set(found) == set(STATE)
    for name, tensor in STATE.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor), name
        found[name].add_(found[name])  # its own memory, to write in


class Touch:
    """Unpickled, it makes the file `path`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> object:
        return os.system, (f"touch {self.path}",)


WRAPPED = {
    "plain": STATE,
    "ordered": OrderedDict(STATE),
    "parameters": {name: nn.Parameter(tensor, requires_grad=False) for name, tensor in STATE.items()},
    "state_dict": {"state_dict": STATE, "epoch": 3},
    # as torchvision's reference training saves
    "model": {
        "model": OrderedDict(STATE),
        "optimizer": {"state": {0: {"momentum_buffer": torch.ones(2)}}, "param_groups": [{"lr": 0.01, "params": [0]}]},
        "lr_scheduler": {"last_epoch": 29, "_last_lr": [0.0]},
        "epoch": 29,
        "args": Namespace(model="fcn_resnet50", device="cuda", aux_loss=True),
    },
}


@pytest.mark.parametrize("wrapper", ["ordered", "model"])
def test_tensors_come_back_bit_by_bit(tmp_path: Path, wrapper: str) -> None:
    assert_is_state(read_state(saved(tmp_path / "weights.pth", WRAPPED[wrapper])))


@pytest.mark.parametrize("wrapper", WRAPPED)
def test_the_state_is_found_in_its_wrapper(wrapper: str) -> None:
    """The child's own rule, without a process for each."""
    found = named_tensors(WRAPPED[wrapper])
    assert list(found) == list(STATE)
    assert all(torch.equal(found[name], tensor) for name, tensor in STATE.items())


def test_files_as_before_torch_1_6(tmp_path: Path) -> None:
    assert_is_state(read_state(saved(tmp_path / "weights.pth", STATE, _use_new_zipfile_serialization=False)))


def test_the_current_folder_is_not_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "torch.py").write_text(f"open({str(tmp_path / 'imported')!r}, 'w')")
    monkeypatch.chdir(tmp_path)
    assert_is_state(read_state(saved(tmp_path / "weights.pth", STATE).name))
    assert not (tmp_path / "imported").exists()


def one_sentence(path: Path, error: pytest.ExceptionInfo[UntrustedFile]) -> str:
    sentence = str(error.value)
    assert sentence.startswith(f"{path}: ")
    assert sentence.endswith(".")
    assert sentence.isprintable()
    assert len(sentence) < len(str(path)) + 300
    return sentence


def refused(path: Path) -> str:
    with pytest.raises(UntrustedFile) as error:
        read_state(path)
    return one_sentence(path, error)


@pytest.mark.parametrize("place", ["alone", "beside tensors", "as an old file", "as a bare pickle"])
def test_code_is_not_run(tmp_path: Path, place: str) -> None:
    touched, path = tmp_path / "touched", tmp_path / "weights.pth"
    evil = Touch(touched)
    if place == "as a bare pickle":
        path.write_bytes(pickle.dumps(evil, protocol=2))
    else:
        saved(path, evil if place == "alone" else {**STATE, "evil": evil}, _use_new_zipfile_serialization="old" not in place)
    # That the file would do harm: any other reader runs it.
    if place == "alone":
        torch.load(path, weights_only=False)
        touched.unlink()
    assert "system" in refused(path)
    assert not touched.exists()


def test_a_whole_network_names_code(tmp_path: Path) -> None:
    sentence = refused(saved(tmp_path / "network.pth", nn.Linear(2, 2)))
    assert "it names the code torch.nn.modules.linear.Linear" in sentence
    assert "use a file of a state dict alone" in sentence


def test_a_program_of_torchscript(tmp_path: Path) -> None:
    path = tmp_path / "program.pt"
    with zipfile.ZipFile(path, "w") as file:
        for name in ("archive/constants.pkl", "archive/data.pkl", "archive/version"):
            file.writestr(name, b"2")
    assert "TorchScript" in refused(path)


@pytest.mark.parametrize("zipped", [True, False])
def test_cut_short(tmp_path: Path, zipped: bool) -> None:
    path = saved(tmp_path / "weights.pth", STATE, _use_new_zipfile_serialization=zipped)
    whole = path.read_bytes()
    for length in (0, len(whole) - 1) if zipped else (len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        refused(path)


@pytest.mark.parametrize("content", [b"PK\x03\x04" + b"\xff" * 40, b"(" * 3000], ids=["zip", "pickle"])
def test_what_is_no_file_of_torch(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "weights.pth"
    path.write_bytes(content)
    refused(path)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ([torch.ones(2)], "it holds no named tensors but list"),
        (torch.ones(2), "it holds no named tensors but Tensor"),
        ({}, "it holds no named tensors but dict"),
        ({"a": torch.ones(2), "b": 3.0}, "b is no tensor but float"),
        ({"a": {"b": torch.ones(2)}}, "a is no tensor but dict"),
        ({3: torch.ones(2)}, "it names a tensor 3"),
        ({"a": torch.ones(2, 2).to_sparse()}, "a is no dense tensor of real numbers"),
        ({"a": torch.ones(2, device="meta")}, "a is no dense tensor of real numbers"),
        ({"a": torch.ones(2, dtype=torch.complex64)}, "a is no dense tensor of real numbers"),
    ],
)
def test_only_named_dense_tensors(value: object, reason: str) -> None:
    with pytest.raises(ValueError, match=re.escape(reason)):
        named_tensors(value)


def test_the_rule_is_the_childs(tmp_path: Path) -> None:
    assert "b is no tensor but float" in refused(saved(tmp_path / "weights.pth", {"a": torch.ones(2), "b": 3.0}))


def test_hostile_names_are_printed_in_ascii(tmp_path: Path) -> None:
    assert r"\x1b[2J\u202e is no tensor" in refused(saved(tmp_path / "weights.pth", {"\x1b[2J\u202e": 1}))


class TestBombs:
    @pytest.fixture(autouse=True)
    def little_memory(self):
        """This process takes none of what the file claims, and its child little more; in KiB.

        The system keeps the largest child that ever ended here, so one before the test may have been larger.
        """
        own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        child = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
        yield
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - own < 100_000
        assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss <= max(child, 3_000_000)

    def test_one_number_for_a_million_million(self, tmp_path: Path) -> None:
        path = saved(tmp_path / "weights.pth", {"a": torch.ones(1).expand(1_000_000, 1_000_000)})
        assert path.stat().st_size < 2000
        assert "its tensors claim 4000000000000 bytes, and the file has" in refused(path)

    def test_a_storage_larger_than_the_file(self, tmp_path: Path) -> None:
        path = saved(tmp_path / "weights.pth", {"a": torch.ones(4)}, _use_new_zipfile_serialization=False)
        whole = path.read_bytes()
        four = b"K\x04"  # BININT1, in the storage's description and in the tensor's shape
        assert whole.count(four) >= 2
        path.write_bytes(whole.replace(four, b"\x8a\x06" + (10**13).to_bytes(6, "little")))  # LONG1
        refused(path)

    @pytest.mark.skipif(sys.platform != "linux", reason="the memory of a process is limited on Linux")
    def test_a_zip_that_unpacks_to_gigabytes(self, tmp_path: Path) -> None:
        """4 GiB of zeros, deflated to 4 MB, as the storage of a tensor of that size."""
        plain, path, size = tmp_path / "plain.pth", tmp_path / "bomb.pth", 1 << 32
        torch.save({"a": torch.ones(4)}, plain)
        block = bytes(1 << 24)
        with zipfile.ZipFile(plain) as source, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as bomb:
            for name in source.namelist():
                content = source.read(name)
                if name.endswith("data.pkl"):
                    content = content.replace(b"K\x04", b"J" + (size // 4).to_bytes(4, "little"))  # BININT
                if name.endswith("data/0"):
                    with bomb.open(name, "w", force_zip64=True) as entry:
                        for _ in range(size // len(block)):
                            entry.write(block)
                else:
                    bomb.writestr(name, content)
        assert path.stat().st_size < 30_000_000
        assert "more memory than its size explains" in refused(path)


def test_there_is_an_end_to_waiting(tmp_path: Path) -> None:
    path = saved(tmp_path / "weights.pth", STATE)
    with pytest.raises(UntrustedFile, match=r"was not read within 0\.01 seconds"):
        read_state(path, seconds=0.01)


def test_nothing_stays_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    read_state(saved(tmp_path / "weights.pth", STATE))
    refused(saved(tmp_path / "other.pth", [1]))
    assert list(scratch.iterdir()) == []


def test_no_file(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none.pth"):
        with pytest.raises(DataError, match="there is no such file"):
            read_state(path)
