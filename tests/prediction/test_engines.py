"""The network of a run in another engine: its labels are torch's, and what was made and measured is remembered."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from fakes import draw_sample
from torch import Tensor, nn

import perpixel
from perpixel.classes import ClassTable
from perpixel.errors import DataError, ResourceError, UnknownName, UsageError
from perpixel.layers.score_map import ScoreMap
from perpixel.losses import PixelLoss
from perpixel.prediction import engines
from perpixel.prediction.budget import within
from perpixel.prediction.engines import in_engine
from perpixel.weights.model_file import Model, ModelCard

CLASSES = ClassTable.of(["ground", "box", "disc"])
IMAGE = draw_sample(0)[0]


class Stretched(nn.Module):
    """A convolution of stride 4, whose scores span the picture."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer, self.loss = nn.Conv2d(3, len(CLASSES), 5, 4, 2), PixelLoss()

    def score_map(self, images: Tensor) -> ScoreMap:
        return ScoreMap.stretched(10 * self.layer(images - 0.5), (images.shape[-2], images.shape[-1]))

    def losses(self, images: Tensor, targets: object) -> dict[str, Tensor]:
        raise NotImplementedError


@pytest.fixture
def model() -> Model:
    card = ModelCard("fcn32s", {}, CLASSES.to_json(), {}, 1.0, 0, {}, "", "")
    return Model(Stretched().eval(), CLASSES, card, "1" * 64)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("onnxruntime", reason="the extra `export` is not installed")
    pytest.importorskip("openvino", reason="the extra `export` is not installed")
    return tmp_path_factory.mktemp("run")


def test_labels_are_those_of_torch_and_a_graph_is_made_once(model: Model, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    theirs = in_engine(model, "onnx", IMAGE, run, said.append)
    assert said == ["a graph of the network is made for other engines, once."]
    assert theirs.network.engine.startswith("ONNX Runtime")
    for inference in (None, perpixel.Inference(average="flips"), perpixel.Inference(window=16)):
        ours, labels = (perpixel.predict(one, IMAGE, inference=inference).labels for one in (model, theirs))
        assert np.array_equal(ours, labels)
    assert len(np.unique(labels)) == 3
    monkeypatch.setattr(engines, "as_onnx", lambda *_: pytest.fail("made again"))
    monkeypatch.setattr(engines, "compare_sizes", lambda *_: pytest.fail("compared again"))
    again = in_engine(model, "onnx", IMAGE, run, said.append)
    assert np.array_equal(perpixel.predict(again, IMAGE).labels, perpixel.predict(model, IMAGE).labels)
    with pytest.raises(UsageError, match="tile = 92: torch alone runs that; leave engine out"):
        perpixel.predict(again, IMAGE, inference=perpixel.Inference(tile=92))


def test_auto_measures_once_says_so_and_takes_the_fastest(model: Model, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    in_engine(model, "auto", IMAGE, run, said.append)
    assert said[-1].startswith("engine ")
    assert all(f"{title} " in said[-1] for title in ("torch", "ONNX Runtime", "OpenVINO"))
    assert "for a picture of 24x32 on this machine" in said[-1]
    kept = json.loads((run / "engines/engines.json").read_text())
    (machine,) = kept["machines"].values()
    assert all(entry["seconds"]["24x32"] > 0 for entry in machine.values())
    for title, entry in machine.items():
        entry["seconds"]["24x32"] = 0.001 if title.startswith("OpenVINO") else 0.5
    (run / "engines/engines.json").write_text(json.dumps(kept))
    monkeypatch.setattr(engines, "timed", lambda *_: pytest.fail("measured again"))
    assert in_engine(model, "auto", IMAGE, run, said.append).network.engine.startswith("OpenVINO")
    assert "OpenVINO 2" in said[-1]
    assert " 1.0 ms" in said[-1]


def test_a_budget_measures_an_engine_with_all_settings(model: Model, run: Path) -> None:
    said: list[str] = []
    theirs, inference = within(60, model, IMAGE, perpixel.Inference(average="flips"), False, "onnx", run, said.append)
    assert theirs.network.engine.startswith("ONNX Runtime")
    assert inference == perpixel.Inference(average="flips")
    ours = perpixel.predict(model, IMAGE, inference=inference).labels
    assert np.array_equal(perpixel.predict(theirs, IMAGE, inference=inference).labels, ours)
    assert said[-1].startswith("budget 60000 ms: ONNX Runtime ")
    (machine,) = json.loads((run / "engines/engines.json").read_text())["machines"].values()
    (slowest,) = next(entry["slowest"] for title, entry in machine.items() if title.startswith("ONNX")).items()
    assert slowest[0].startswith("24x32 at 1, settings ")


def test_an_engine_with_other_labels_is_refused(model: Model, run: Path) -> None:
    said: list[str] = []
    in_engine(model, "onnx", IMAGE, run, said.append)
    changed = replace(model, network=Stretched().eval())
    with torch.no_grad():
        changed.network.layer.bias.add_(torch.tensor([0.0, 0.5, 0.0]))  # with the digest of the graph that is kept
    (run / "engines/engines.json").unlink()
    with pytest.raises(DataError, match=r"engine onnx: gives other labels than torch: .* pixels differ"):
        in_engine(changed, "onnx", IMAGE, run)
    assert in_engine(changed, "auto", IMAGE, run, said.append) is changed
    assert said[-3].endswith("it is left out.")
    assert said[-1].startswith("engine torch: torch ")


def test_of_other_weights_nothing_is_remembered(model: Model, run: Path) -> None:
    said: list[str] = []
    other = replace(model, digest="2" * 64)
    with torch.no_grad():
        other.network.layer.weight.neg_()
    theirs = in_engine(other, "onnx", IMAGE, run, said.append)
    assert len(said) == 1
    assert np.array_equal(perpixel.predict(theirs, IMAGE).labels, perpixel.predict(other, IMAGE).labels)


def test_what_cannot_be_is_told_in_one_sentence(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    with pytest.raises(UnknownName, match=r"no engine 'onxx'; did you mean 'onnx'\? Known: auto, onnx, openvino, torch\."):
        in_engine(model, "onxx", IMAGE)
    objects = replace(model, network=perpixel.build("mask_rcnn", 3, width=0.0625))
    with pytest.raises(UsageError, match="engine = 'onnx': MaskRCNN finds objects, which torch alone does; leave engine out"):
        in_engine(objects, "onnx", IMAGE)
    assert in_engine(objects, "auto", IMAGE, say=said.append) is objects
    assert said == ["engine torch: MaskRCNN finds objects, which torch alone does."]
    monkeypatch.setattr(engines, "installed", list)
    with pytest.raises(ResourceError, match=r'engine onnx needs onnxruntime, .* pip install "perpixel\[export\]" brings it'):
        in_engine(model, "onnx", IMAGE)
    assert in_engine(model, "auto", IMAGE, say=said.append) is model
    assert said[-1] == 'engine torch: no other engine is installed (pip install "perpixel[export]" brings two).'
    assert in_engine(model, "torch", IMAGE) is model


def test_shards_run_alike_so_none_measures_for_itself(command, tmp_path: Path) -> None:
    code, _, err = command("predict", tmp_path, tmp_path, "--engine", "auto", "--shard", "0/2")
    assert (code, err) == (
        2, "perpixel: --engine auto: each shard would measure for itself, and shards must run alike; name an engine.\n",
    )  # fmt: skip
