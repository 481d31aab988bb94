"""Trunks that are trained on `things` and shipped: what they are, what they know, and that networks start from them."""

import json
from pathlib import Path

import pytest
import torch

from perpixel.datasets import open_dataset
from perpixel.errors import DataError
from perpixel.judging.evaluate import evaluate
from perpixel.networks import build
from perpixel.studies.entries import ENTRIES
from perpixel.studies.trunks import COMMON, TRUNKS, Trunk, make_trunks
from perpixel.training.learner import begin_with
from perpixel.weights import model_file

SHIPPED = sorted(path.name for path in model_file.SHIPPED.iterdir())


def test_every_trunk_of_the_table_is_shipped_and_small() -> None:
    assert sorted(TRUNKS) == SHIPPED
    sizes = {name: (model_file.SHIPPED / name / "model.safetensors").stat().st_size for name in SHIPPED}
    assert all(size < 4 << 20 for size in sizes.values())
    assert {entry.starts_from for entry in ENTRIES.values()} - {None} == set(TRUNKS)


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_trunk_is_what_the_table_makes(name: str) -> None:
    stored, trunk = model_file.read(name), TRUNKS[name]
    recipe = stored.card.recipe
    wanted = json.loads(json.dumps({**COMMON, **trunk.training, **trunk.arguments}))  # lists, as a card has them
    del wanted["save_every"]  # which changes no weight, and is in no card
    assert {key: recipe[key] for key in wanted} == wanted
    assert {tensor.dtype for tensor in stored.tensors.values() if tensor.is_floating_point()} == {torch.float16}


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_trunk_names_things(name: str) -> None:
    """Of 48 pictures that it has not seen, at least 20; by chance it would be 2."""
    few = open_dataset("things", split="val")
    few.count = 48  # type: ignore[attr-defined]
    assert evaluate(model_file.load(name), few).figures["pixel_accuracy"] > 20 / 48


@pytest.mark.parametrize("name", [name for name, entry in ENTRIES.items() if entry.starts_from])
def test_a_network_of_the_review_starts_with_all_of_its_trunk(name: str) -> None:
    entry, said = ENTRIES[name], []
    network = build(entry.network, 10, **entry.arguments)
    begin_with(network, entry.starts_from, said.append)
    stored = model_file.read(entry.starts_from).tensors
    state = network.state_dict()
    of_trunk = {key for key in stored if key.startswith("trunk.")}
    assert of_trunk
    for key in of_trunk:
        assert torch.equal(state[key], stored[key].to(state[key].dtype)), key


def test_making_trunks_trains_ships_and_is_not_repeated(tmp_path: Path) -> None:
    small = {"tiny": Trunk({"backbone": "resnet50", "width": 0.0625}, {"lr": 1e-3, "steps": 2, "batch": 4, "device": "cpu"})}
    said: list[str] = []
    assert make_trunks(tmp_path, 0, said.append, lambda _: lambda *_: None, small) == tmp_path
    assert "% of pictures right" in said[-1]
    first = (tmp_path / "tiny/model.safetensors").read_bytes()
    assert str(tmp_path).encode() not in first
    make_trunks(tmp_path, 0, said.append, lambda _: lambda *_: None, small)
    assert (tmp_path / "tiny/model.safetensors").read_bytes() == first


def test_a_folder_of_that_name_wins_over_a_shipped_trunk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / SHIPPED[0]).mkdir()
    with pytest.raises(DataError, match="there is no model file"):
        model_file.read(SHIPPED[0])
