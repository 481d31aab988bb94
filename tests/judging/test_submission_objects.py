"""Objects that a network found, as the servers of COCO and Cityscapes take them; and nothing where one file is not sound."""

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from fakes import make_cityscapes, make_coco, make_voc
from hidden_torch import require_torch
from PIL import Image

from perpixel.classes import ClassTable
from perpixel.datasets import Dataset, open_dataset
from perpixel.datasets.cityscapes_labels import DRAWN
from perpixel.errors import UsageError
from perpixel.judging.submission import submission
from perpixel.masks.rle import decode
from perpixel.prediction.instances import encode_instances
from perpixel.sample import Instances

CAT = 17  # its category in COCO
PERSON = ClassTable.of(["background", "person"])


def put_objects(folder: Path, dataset: Dataset, class_name: str, tail: str = "") -> Path:
    """Two objects in each picture, as predict leaves them: rows 2 to 5 and columns 3 to 9, and one pixel."""
    (folder / "instances").mkdir(parents=True)
    for index in range(len(dataset)):
        masks = np.zeros((2, *dataset.sample(index).image.shape[:2]), bool)
        masks[0, 2:5, 3:9] = masks[1, 10, 11] = True
        found = Instances(masks, np.full(2, dataset.classes.id_of(class_name)), np.array([0.25, 0.75], np.float32))
        (folder / f"instances/{dataset.name(index)}{tail}.json").write_bytes(encode_instances(found, dataset.classes))
    return folder


@pytest.fixture
def coco(tmp_path: Path) -> Dataset:
    return open_dataset("coco", root=make_coco(tmp_path / "data"), split="testdev")


@pytest.fixture
def cityscapes(tmp_path: Path) -> Dataset:
    return open_dataset("cityscapes", root=make_cityscapes(tmp_path / "data"), split="test")


class TestCoco:
    OUT = "detections_test-dev2017_mine_results.zip"

    def test_results_have_the_ids_of_coco(self, coco: Dataset, tmp_path: Path) -> None:
        assert submission(put_objects(tmp_path / "out", coco, "cat"), coco, tmp_path / self.OUT) == []
        with zipfile.ZipFile(tmp_path / self.OUT) as archive:
            assert archive.namelist() == ["detections_test-dev2017_mine_results.json"]
            entries = json.loads(archive.read(archive.namelist()[0]))
        assert [entry["image_id"] for entry in entries] == [id for picture in coco.listed for id in (picture.id, picture.id)]
        assert {entry["category_id"] for entry in entries} == {CAT}
        assert [entry["score"] for entry in entries[:2]] == [0.25, 0.75]
        mask = decode(entries[0]["segmentation"]["counts"], *entries[0]["segmentation"]["size"])
        assert np.argwhere(mask).min(0).tolist() == [2, 3]
        assert mask.sum() == 18
        assert not any("bbox" in entry for entry in entries)

    def test_the_json_alone_and_boxes_where_they_are_asked_for(self, coco: Dataset, tmp_path: Path) -> None:
        out = tmp_path / "boxes.json"
        assert submission(put_objects(tmp_path / "out", coco, "cat"), coco, out, boxes=True) == []
        entries = json.loads(out.read_text())
        assert [entry["bbox"] for entry in entries[:2]] == [[3, 2, 6, 3], [11, 10, 1, 1]]
        assert not any("segmentation" in entry for entry in entries)
        with pytest.raises(UsageError, match="--boxes belongs to objects that were predicted for coco"):
            submission(out, coco, tmp_path / self.OUT, boxes=True)

    def test_background_is_no_category(self, coco: Dataset, tmp_path: Path) -> None:
        problems = submission(put_objects(tmp_path / "out", coco, "background"), coco, tmp_path / self.OUT)
        assert len(problems) == len(coco)
        assert "has an object of background, which is no category of COCO" in problems[0].message


class TestCityscapes:
    def test_a_list_of_each_picture_and_binary_masks(self, tmp_path: Path) -> None:
        cityscapes = open_dataset("cityscapes", root=make_cityscapes(tmp_path / "data"), split="val")
        folder = put_objects(tmp_path / "out", cityscapes, "rider", "_leftImg8bit")
        (folder / "instances" / f"{cityscapes.name(0)}_leftImg8bit.json").write_text('{"size": [24, 40], "objects": []}')
        assert submission(folder, cityscapes, tmp_path / "mine.zip") == []
        names = [cityscapes.name(index) for index in range(len(cityscapes))]
        with zipfile.ZipFile(tmp_path / "mine.zip") as archive:
            assert {name for name in archive.namelist() if name.endswith(".txt")} == {f"{name}.txt" for name in names}
            assert archive.read(f"{names[0]}.txt") == b""  # a picture without objects has its list too
            lines = [line.split(" ") for line in archive.read(f"{names[1]}.txt").decode().splitlines()]
            assert [(int(label), float(score)) for _, label, score in lines] == [(25, 0.25), (25, 0.75)]
            masks = [np.array(Image.open(io.BytesIO(archive.read(path))).convert("L")) for path, _, _ in lines]
        assert DRAWN[25].name == "rider"
        assert [int((mask != 0).sum()) for mask in masks] == [18, 1]
        assert {mask.shape for mask in masks} == {(24, 40)}
        assert masks[0][2:5, 3:9].all()

    def test_categories_are_no_labels(self, tmp_path: Path) -> None:
        dataset = open_dataset("cityscapes8", root=make_cityscapes(tmp_path / "data"), split="test")
        with pytest.raises(UsageError, match="have a server for label maps"):
            submission(put_objects(tmp_path / "out", dataset, "human"), dataset, tmp_path / "mine.zip")

    def test_masks_are_packed_where_they_are_named(self, cityscapes: Dataset, tmp_path: Path) -> None:
        folder = put_objects(tmp_path / "out", cityscapes, "rider")
        for index in range(len(cityscapes)):
            (folder / "masks").mkdir(exist_ok=True)
            Image.fromarray(np.full((24, 40), 7, np.uint8)).save(folder / "masks" / f"{cityscapes.name(index)}.png")
        assert submission(folder / "masks", cityscapes, tmp_path / "mine.zip") == []
        with zipfile.ZipFile(tmp_path / "mine.zip") as archive:
            assert archive.namelist() == [f"{cityscapes.name(index)}_labelIds.png" for index in range(len(cityscapes))]


def harmed(path: Path, old: str, new: str) -> None:
    path.write_text(path.read_text().replace(old, new))


def twice(path: Path) -> None:
    (path.parent / "again").mkdir()
    (path.parent / "again" / path.name).write_bytes(path.read_bytes())


def without_scores(path: Path) -> None:
    for score in (0.25, 0.75):
        harmed(path, f'"score": {score}', '"score": null')


def of_another_size(path: Path) -> None:
    small = Instances(np.ones((1, 3, 4), bool), np.ones(1, np.int64), np.ones(1, np.float32))
    path.write_bytes(encode_instances(small, PERSON))


@pytest.mark.parametrize("name", ["coco", "cityscapes"])
@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda path: path.unlink(), "has no file of objects; predict it."),
        (lambda path: path.with_name("other_a_b_c.json").write_bytes(path.read_bytes()), "belongs to no picture of test"),
        (twice, "has the files "),
        (lambda path: harmed(path, '"class": "person"', '"class": "cell"'), "has an object of the class 'cell', which the data"),
        (lambda path: path.write_text(path.read_text()[:-9]), "is no file of predicted objects"),
        (lambda path: harmed(path, '"score": 0.25', '"score": null'), "some of its objects have a score and some have none"),
        (of_another_size, "is of 3x4, its picture"),
        (without_scores, "its objects have no scores"),
    ],
)
def test_one_file_that_is_wrong_is_told_and_nothing_written(
    request: pytest.FixtureRequest, tmp_path: Path, name: str, harm: Callable[[Path], object], said: str
) -> None:
    dataset: Dataset = request.getfixturevalue(name)
    out = tmp_path / {"coco": TestCoco.OUT, "cityscapes": "mine.zip"}[name]
    folder = put_objects(tmp_path / "out", dataset, "person")
    harm(folder / "instances" / f"{dataset.name(0)}.json")
    (problem,) = submission(folder, dataset, out)
    assert said in problem.message
    assert problem.message.endswith(".")
    assert not out.exists()


@pytest.mark.parametrize("name", ["coco", "cityscapes"])
def test_nothing_is_packed_on_nothing(request: pytest.FixtureRequest, tmp_path: Path, name: str) -> None:
    dataset: Dataset = request.getfixturevalue(name)
    out, folder = tmp_path / {"coco": TestCoco.OUT, "cityscapes": "mine.zip"}[name], tmp_path / "out"
    (folder / "instances").mkdir(parents=True)
    assert len(submission(folder, dataset, out)) == len(dataset)  # no picture is predicted
    for index in range(len(dataset)):
        size = list(dataset.sample(index).image.shape[:2])
        (folder / f"instances/{dataset.name(index)}.json").write_text(json.dumps({"size": size, "objects": []}))
    (problem,) = submission(folder / "instances", dataset, out)
    assert "no object was found in any picture; there is nothing to submit." in problem.message
    assert not out.exists()


def test_voc_has_no_server_for_objects_so_its_masks_are_packed(tmp_path: Path) -> None:
    dataset = open_dataset("voc2012", root=make_voc(tmp_path / "data"), split="test")
    folder = put_objects(tmp_path / "out", dataset, "cat")
    problems = submission(folder, dataset, tmp_path / "mine.tar.gz")
    assert [problem.message for problem in problems] == [f"{dataset.name(0)}: has no mask; predict it."]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A network of objects for COCO's classes that was never trained: it finds many cells of the fake, some of them rightly."""
    require_torch()
    import torch
    from fake_networks import Blobs

    from perpixel.networks import NETWORKS
    from perpixel.weights.model_file import ModelCard, save_model

    monkeypatch.setitem(NETWORKS, "blobs", Blobs)
    classes = open_dataset("coco", root=make_coco(tmp_path / "data"), split="val").classes
    network, colours = Blobs(len(classes)), np.random.default_rng(1).integers(0, 256, (183, 3)) / 255  # as of `draw_grid`
    with torch.no_grad():
        network.colour.weight.zero_()
        network.colour.bias.fill_(-9)
        for class_id in range(1, len(classes)):  # what has the colour of the class, or one farther from grey
            colour = torch.tensor(colours[classes.values[class_id][0]], dtype=torch.float32)
            network.colour.weight[class_id] = 40 * (colour - 0.5)[:, None, None]
            network.colour.bias[class_id] = 2 - 40 * (colour - 0.5) @ colour
    card = ModelCard("blobs", {}, classes.to_json(), {}, 1.0, 0, {}, "", "")
    (tmp_path / "run").mkdir()
    save_model(tmp_path / "run", network.state_dict(), card)
    return tmp_path / "run"


@pytest.mark.parametrize("kind", ["mask", "box"])
def test_the_results_have_the_ap_of_the_run(run: Path, tmp_path: Path, command, kind: str) -> None:
    root, results = tmp_path / "data", tmp_path / "results.json"
    assert command("predict", run, root / "val2017", "--out", tmp_path / "out")[0] == 0
    asked = ["--boxes"] if kind == "box" else []
    code, _, said = command(
        "submission", tmp_path / "out", "--data", "coco", "--root", root, "--split", "val", *asked, "--out", results
    )
    assert (code, "results.json: written, the objects of 4 pictures." in said) == (0, True)
    place = ["--data", "coco", "--root", root, "--instances", kind, "--json"]
    of_run, of_results = (json.loads(command("evaluate", judged, *place)[1])["figures"] for judged in (run, results))
    assert of_results == of_run
    assert of_run["AP"] > 0.01
