"""Exported files: their labels are torch's, they work like runs, and what is damaged or foreign is refused in one sentence."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from fakes import draw_sample, make_folder

import perpixel
from perpixel.errors import DataError, ResourceError, UntrustedFile, UsageError
from perpixel.export.export import export, write_onnx, write_openvino
from perpixel.judging.protocol import differing_keys, hash_of
from perpixel.prediction.equal_labels import Comparison
from perpixel.weights.exported_file import FORM, ExportCard, read_exported, serialized

onnxruntime = pytest.importorskip("onnxruntime", reason="the extra `export` is not installed")
openvino = pytest.importorskip("openvino", reason="the extra `export` is not installed")

from networks_of_tests import Tiny, tiny_model  # noqa: E402


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set, and the file of a model."""
    root = tmp_path_factory.mktemp("export")
    make_folder(root / "data", train=1, val=3)
    data = perpixel.open_dataset(root / "data", split="val")
    export(tiny_model(data.classes), root / "model.onnx", data=data)
    return root


def graph_in(place: Path):
    """The graph of that file, which takes seconds to make."""
    import onnx

    return onnx.load_from_string((place / "model.onnx").read_bytes())


@pytest.fixture(scope="module")
def data(place: Path):
    return perpixel.open_dataset(place / "data", split="val")


def in_both_forms(place: Path, data) -> list[Path]:
    file = place / "model.xml"
    if not file.exists():
        write_openvino(file, graph_in(place), read_exported(place / "model.onnx").card)
    return [place / "model.onnx", file]


def test_both_forms_give_the_labels_of_torch_at_any_size(place: Path, data) -> None:
    ours = tiny_model(data.classes)
    for file in in_both_forms(place, data):
        model = perpixel.load(file)
        for number, size in enumerate(((24, 32), (31, 45), (64, 20))):
            image = draw_sample(number, size)[0]
            labels = perpixel.predict(model, image).labels
            assert labels.dtype == np.uint8
            assert np.array_equal(labels, perpixel.predict(ours, image).labels)
        assert len(np.unique(labels)) > 1


def test_the_other_engine_runs_a_file_of_onnx(place: Path, data) -> None:
    from perpixel.weights.model_file import load

    model = load(place / "model.onnx", engine="openvino")
    assert model.network.engine.startswith("OpenVINO")
    image = draw_sample(0)[0]
    assert np.array_equal(perpixel.predict(model, image).labels, perpixel.predict(tiny_model(data.classes), image).labels)
    with pytest.raises(UsageError, match="runs on openvino"):
        load(in_both_forms(place, data)[1], engine="onnx")
    with pytest.raises(UsageError, match="runs on onnx or openvino"):
        load(place / "model.onnx", engine="torch")


def test_a_file_is_judged_like_its_run_and_the_protocol_names_the_engine(place: Path, data) -> None:
    theirs = perpixel.evaluate(perpixel.load(place / "model.onnx"), data)
    ours = perpixel.evaluate(tiny_model(data.classes), data)
    assert theirs.figures == ours.figures
    assert theirs.protocol["engine"] == f"ONNX Runtime {onnxruntime.__version__}"
    assert differing_keys(ours.protocol, theirs.protocol) == []
    assert hash_of(ours.protocol) == hash_of(theirs.protocol)


def test_the_card_has_classes_weights_and_what_was_compared(place: Path, data) -> None:
    card = read_exported(place / "model.onnx").card
    assert card.weights == "0" * 64
    assert card.model["classes"] == data.classes.to_json()
    assert (card.proof["pictures"], card.proof["figure"]) == (3, "mIoU")
    assert card.proof["pixels"] == 4 * sum(h * w for h, w in card.proof["sizes"]) + 3 * 24 * 32
    assert len({*map(tuple, card.proof["sizes"])}) == 6


def test_a_file_names_no_path_of_this_machine(place: Path, data) -> None:
    for file in in_both_forms(place, data):
        content = file.read_bytes()
        for text in (str(Path(perpixel.__file__).parent), str(Path(torch.__file__).parent), "score_map(", ".py"):
            assert text.encode() not in content


def test_a_verb_takes_a_file_like_a_run(place: Path, data, command, tmp_path: Path) -> None:
    code, _, err = command("predict", place / "model.onnx", place / "data/images/val", "--out", tmp_path / "masks")
    assert (code, err.splitlines()[-1]) == (0, f"{tmp_path / 'masks'}: 3 predicted, 0 done before, 0 failed.")
    head = json.loads((tmp_path / "masks/predictions.jsonl").read_text().splitlines()[0])
    assert head["inference"] == {"engine": f"ONNX Runtime {onnxruntime.__version__}"}
    code, out, err = command("evaluate", place / "model.onnx", "--data", place / "data", "--json")
    assert code == 0, err
    assert json.loads(out)["figures"]["mIoU"] == perpixel.evaluate(tiny_model(data.classes), data).mean_iou
    for words, sentence in (
        (["--average", "flips"], "average: an exported file labels whole pictures alone; name the run that it was made of."),
        (["--scores"], "scores: this file was exported without them; `perpixel export --scores` adds them."),
    ):
        code, _, err = command("predict", place / "model.onnx", place / "data/images/val", "--out", tmp_path / "more", *words)
        assert (code, err) == (2, f"perpixel: {sentence}\n")


def test_other_labels_leave_no_file(place: Path, tmp_path: Path, data, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("perpixel.export.export.graph_of", lambda *_: graph_in(place))
    with pytest.raises(DataError, match=r"pixels differ: drawn picture 1 of 1, 5 x 7, row \d, column \d: torch says"):
        export(tiny_model(data.classes, seed=1), tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []


def test_a_tie_is_no_difference(data) -> None:
    comparison = Comparison()
    model = tiny_model(data.classes)
    with torch.no_grad():
        for parameter in model.network.layers[-1].parameters():
            parameter.zero_()
        model.network.layers[-1].bias.copy_(torch.tensor([1.0, 1.0 + 0.9e-6, 0.5]))  # times 10
    image = draw_sample(0)[0]
    comparison.add(model, "it", image, np.zeros((24, 32), np.uint8))
    assert (comparison.ties, comparison.differ, comparison.equal) == (24 * 32, 0, True)
    comparison.add(model, "it", image, np.full((24, 32), 2, np.uint8))
    assert (comparison.ties, comparison.differ) == (24 * 32, 24 * 32)
    assert comparison.listed[0] == "it, row 0, column 0: torch says box (10.000010), the engine disc (5.000000)"


def test_damaged_foreign_and_newer_files_are_refused_in_one_sentence(place: Path, data, tmp_path: Path) -> None:
    onnx_file, xml_file = in_both_forms(place, data)
    whole = onnx_file.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 3] ^= 1
    newer = ExportCard({}, "", None, "9.9", form=FORM + 1)
    bare = graph_in(place)
    cases = {
        "flipped": (bytes(flipped), "is damaged, its bytes are not those that were written|cannot be read"),
        "cut": (whole[:-500], "holds no card of perpixel|damaged"),
        "empty": (b"", "holds no card of perpixel"),
        "text": (b"a letter", "holds no card of perpixel"),
        "newer": (serialized(bare, newer), "was written by perpixel 9.9 in a form that this version does not know"),
        "foreign": (serialized(bare), "holds no card of perpixel"),
    }
    for name, (content, sentence) in cases.items():
        file = tmp_path / f"{name}.onnx"
        file.write_bytes(content)
        with pytest.raises(UntrustedFile, match=sentence) as caught:
            perpixel.load(file)
        assert str(caught.value).startswith(str(file))
    with pytest.raises(DataError, match="there is no such file"):
        perpixel.load(tmp_path / "none.onnx")
    copy = tmp_path / "model.xml"
    copy.write_bytes(xml_file.read_bytes())
    with pytest.raises(DataError, match=r"model\.bin: there is no such file; it belongs to model\.xml"):
        perpixel.load(copy)
    weights = bytearray(xml_file.with_suffix(".bin").read_bytes())
    weights[8] ^= 1
    copy.with_suffix(".bin").write_bytes(weights)
    with pytest.raises(UntrustedFile, match=r"model\.bin: is damaged"):
        perpixel.load(copy)


def test_the_same_graph_gives_the_same_bytes(place: Path, tmp_path: Path) -> None:
    write_onnx(tmp_path / "model.onnx", graph_in(place), read_exported(place / "model.onnx").card)
    assert (tmp_path / "model.onnx").read_bytes() == (place / "model.onnx").read_bytes()


def test_mistakes_are_told_before_the_work(tmp_path: Path, data, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model(data.classes)
    with pytest.raises(UsageError, match=r"no form of export 'onx'; did you mean 'onnx'\?"):
        export(model, tmp_path / "model.onnx", to="onx")
    with pytest.raises(UsageError, match=r"a file for OpenVINO ends in \.xml"):
        export(model, tmp_path / "model.onnx", to="openvino")
    objects = perpixel.build("mask_rcnn", 3, width=0.0625)
    with pytest.raises(UsageError, match="finds objects, whose number follows from each picture"):
        export(replace(model, network=objects), tmp_path / "model.onnx")
    monkeypatch.setattr("perpixel.export.export.installed", list)
    with pytest.raises(ResourceError, match=r'--to onnx needs onnxruntime, .* pip install "perpixel\[export\]" brings it'):
        export(model, tmp_path / "model.onnx")


def test_the_pictures_of_tests_say_every_class(data) -> None:
    labels = perpixel.predict(tiny_model(data.classes), draw_sample(0)[0]).labels
    assert isinstance(tiny_model(data.classes).network, Tiny)
    assert len(np.unique(labels)) == 3


def test_8_bits_are_judged_and_too_great_a_loss_leaves_no_file(
    place: Path, data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny_model(data.classes)
    pictures = [perpixel.open_dataset(place / "data", split="train").sample(0).image]
    monkeypatch.setattr("perpixel.export.export.graph_of", lambda *_: graph_in(place))
    written = export(model, tmp_path / "model.onnx", data=data, calibration=pictures, most_loss=5)
    assert read_exported(written.path).card.int8 == "calibrated by 1 pictures"
    assert {name for name in data.classes.names if f"{name} " in written.proof.losses} == {*data.classes.names}
    theirs = perpixel.load(written.path)
    both = [perpixel.predict(one, data.sample(0).image).labels for one in (model, theirs)]
    assert 0 < (both[0] != both[1]).sum() < both[0].size / 10
    with pytest.raises(DataError, match=r"8 bits cost -?\d+\.\d\d points of mean IoU, and at most -100 may be lost: \w+ \d"):
        export(model, tmp_path / "more.onnx", data=data, calibration=pictures, most_loss=-100)
    with pytest.raises(UsageError, match="int8: 8 bits change labels, so a data set must judge the file"):
        export(model, tmp_path / "more.onnx", calibration=pictures)
    assert not (tmp_path / "more.onnx").exists()
