"""Panoptic maps from labels and objects: the rule worked by hand, what is written, and PQ of runs, of their files, of results."""

import json
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets.test_datasets import FOLDERS, MAKERS
from fake_networks import Blobs, BlobsAndPixels
from fakes import make_coco, make_instances, put_json
from hypothesis import given
from hypothesis import strategies as st

import perpixel
from perpixel.classes import ClassTable
from perpixel.datasets import HasPictures, open_dataset, with_objects
from perpixel.datasets.coco import panoptic_ids
from perpixel.errors import UnknownName, UsageError
from perpixel.images import read_image
from perpixel.judging.submission import submission
from perpixel.measures.panoptic import PanopticQuality
from perpixel.networks import NETWORKS
from perpixel.prediction.inference import Inference
from perpixel.prediction.panoptic import coloured, drawn, fitted, merged
from perpixel.sample import Instances, PanopticMap, Segment
from perpixel.weights.model_file import ModelCard, load, save_model

SKY, ROAD, CAR, PERSON = range(4)
STREET = ClassTable.of(["sky", "road", "car", "person"])
THINGS = frozenset({CAR, PERSON})
BOXES = ClassTable.of(["background", "person", "car"])  # another order
VOID = 255
Command = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module", autouse=True)
def names() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(NETWORKS, "blobs", Blobs)
        patch.setitem(NETWORKS, "blobs_and_pixels", BlobsAndPixels)
        yield


def objects(*found: tuple[str, int, float], size: tuple[int, int] = (1, 8)) -> Instances:
    """Objects in a picture of one row, each drawn as "..##....", with class and score."""
    masks = np.array([[[mark == "#" for mark in row]] for row, _, _ in found], bool).reshape(len(found), *size)
    return Instances(masks, np.array([id for _, id, _ in found], np.int64), np.array([score for *_, score in found], np.float32))


def shown(found: PanopticMap) -> list[tuple[int, int]]:
    """Class and number of pixels of each segment, in their order."""
    return [(one.category, int((found.ids == one.id).sum())) for one in found.segments]


ROW = np.array([[SKY, SKY, SKY, SKY, CAR, CAR, ROAD, VOID]], np.uint8)


class TestRule:
    def test_objects_come_first_by_their_scores_then_stuff_and_the_rest_is_void(self) -> None:
        found = merged(ROW, objects(("..####..", CAR, 0.6), ("...##...", PERSON, 0.9)), STREET, THINGS, stuff_area=1)
        assert found.ids.tolist() == [[3, 3, 2, 1, 1, 2, 4, 0]]
        assert [one.category for one in found.segments] == [PERSON, CAR, SKY, ROAD]
        assert found.ids.dtype == np.int32

    def test_a_score_of_one_half_is_enough_and_less_is_not(self) -> None:
        enough = objects(("####....", CAR, 0.5), ("....####", CAR, np.nextafter(np.float32(0.5), np.float32(0))))
        assert shown(merged(ROW, enough, STREET, THINGS)) == [(CAR, 4)]
        assert shown(merged(ROW, enough, STREET, THINGS, objects_score=0.4)) == [(CAR, 4), (CAR, 4)]

    def test_an_object_half_of_which_is_taken_stays_and_one_more_is_left_out(self) -> None:
        half = objects(("####....", CAR, 0.9), ("..####..", PERSON, 0.8))
        assert shown(merged(ROW, half, STREET, THINGS)) == [(CAR, 4), (PERSON, 2)]
        assert shown(merged(ROW, half, STREET, THINGS, objects_overlap=0.49)) == [(CAR, 4)]
        more = objects(("#####...", CAR, 0.9), ("..####..", PERSON, 0.8))
        assert shown(merged(ROW, more, STREET, THINGS)) == [(CAR, 5)]

    def test_what_is_left_out_takes_nothing(self) -> None:
        """The second lies in the first and is left out, so that the third loses nothing to it."""
        found = merged(ROW, objects(("####....", CAR, 0.9), (".####...", CAR, 0.8), ("....##..", PERSON, 0.7)), STREET, THINGS)
        assert shown(found) == [(CAR, 4), (PERSON, 2)]

    def test_an_object_without_a_free_pixel_is_no_segment(self) -> None:
        found = objects(("####....", CAR, 0.9), (".##.....", PERSON, 0.8), ("........", CAR, 0.7))
        assert shown(merged(ROW, found, STREET, THINGS, objects_overlap=1)) == [(CAR, 4)]

    def test_of_equal_scores_the_first_takes_its_pixels_first(self) -> None:
        assert shown(merged(ROW, objects(("###.....", CAR, 0.9), (".####...", PERSON, 0.9)), STREET, THINGS)) == [
            (CAR, 3), (PERSON, 2)]  # fmt: skip

    def test_stuff_below_its_area_is_void_where_objects_leave_too_little(self) -> None:
        assert shown(merged(ROW, objects(("#.......", CAR, 0.9)), STREET, THINGS, stuff_area=3)) == [(CAR, 1), (SKY, 3)]
        assert shown(merged(ROW, objects(("##......", CAR, 0.9)), STREET, THINGS, stuff_area=3)) == [(CAR, 2)]
        assert shown(merged(ROW, objects(), STREET, THINGS)) == []  # 4096 pixels, of the authors' code

    def test_what_is_labelled_a_thing_and_has_no_object_is_void(self) -> None:
        assert merged(ROW, objects(), STREET, THINGS, stuff_area=0).ids.tolist() == [[1, 1, 1, 1, 0, 0, 2, 0]]

    def test_a_class_that_is_no_thing_is_stuff_and_its_objects_are_not_taken(self) -> None:
        found = merged(ROW, objects(("##......", CAR, 0.9), ("......##", PERSON, 0.9)), STREET, frozenset({PERSON}), stuff_area=1)
        assert shown(found) == [(PERSON, 2), (SKY, 4), (CAR, 2)]

    @pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of pycocotools, under NumPy 2
    @given(st.integers(0, 2**32))
    def test_it_is_what_the_authors_code_makes_of_run_lengths(self, seed: int) -> None:
        """The steps of panopticapi's combine_semantic_and_instance_predictions.py with COCO's own code for masks."""
        coco_mask = pytest.importorskip("pycocotools.mask")
        rng = np.random.default_rng(seed)
        masks = rng.random((6, 8, 9)) < rng.random((6, 1, 1))
        class_ids, scores = rng.choice([CAR, PERSON], 6), rng.random(6, np.float32)
        labels = rng.choice(np.array([SKY, ROAD, CAR, VOID], np.uint8), (8, 9))
        ids, used, classes = np.zeros((8, 9), int), None, []
        for place in sorted(np.flatnonzero(scores >= 0.5).tolist(), key=lambda place: -scores[place]):
            mask = coco_mask.encode(np.asfortranarray(masks[place].astype(np.uint8)))
            shared = 0 if used is None else coco_mask.area(coco_mask.merge([used, mask], intersect=True))
            if not coco_mask.area(mask) or shared / coco_mask.area(mask) > 0.5:
                continue
            used = mask if used is None else coco_mask.merge([used, mask], intersect=False)
            classes.append(class_ids[place])
            ids[(ids == 0) & masks[place]] = len(classes)
        for class_id in (SKY, ROAD):
            left = (ids == 0) & (labels == class_id)
            if left.sum() >= 5:
                classes.append(class_id)
                ids[left] = len(classes)
        found = merged(labels, Instances(masks, class_ids, scores), STREET, THINGS, stuff_area=5)
        assert np.array_equal(found.ids, ids)
        assert [one.category for one in found.segments] == classes

    @given(st.integers(0, 2**32), st.floats(0, 1), st.floats(0, 1), st.integers(0, 40))
    def test_each_pixel_is_of_one_listed_segment_or_void(self, seed: int, score: float, overlap: float, area: int) -> None:
        rng = np.random.default_rng(seed)
        count = int(rng.integers(0, 6))
        masks, class_ids = rng.random((count, 6, 7)) < rng.random(), rng.integers(0, 4, count)
        labels = rng.choice(np.array([SKY, ROAD, CAR, PERSON, VOID], np.uint8), (6, 7))
        found = merged(labels, Instances(masks, class_ids, rng.random(count, np.float32)), STREET, THINGS, score, overlap, area)
        assert {*np.unique(found.ids).tolist()} - {0} == {one.id for one in found.segments}
        stuff = [one.category for one in found.segments if one.category not in THINGS]
        assert len({*stuff}) == len(stuff)
        for one in found.segments:
            if one.category not in THINGS:
                assert (labels[found.ids == one.id] == one.category).all()
        picture, segments = coloured(found, STREET)
        ids = picture.astype(int) @ [1, 256, 65536]
        assert ((ids == 0) == (found.ids == 0)).all()
        for one, written in zip(found.segments, segments, strict=True):
            assert ((ids == written.id) == (found.ids == one.id)).all()
            assert one.category == written.category
        class_ids, kept = drawn(found, STREET)
        assert (class_ids[found.ids == 0] == VOID).all()
        assert len(kept.class_ids) == len(found.segments) - len(stuff)


def test_each_of_many_objects_has_a_colour_of_its_own() -> None:
    found = PanopticMap(np.arange(1, 2001, dtype=np.int32)[None], tuple(Segment(id, CAR) for id in range(1, 2001)), THINGS)
    assert len({one.id for one in coloured(found, STREET)[1]} - {0}) == 2000


class TestClasses:
    def test_things_are_what_the_network_of_objects_knows_by_its_own_numbers(self) -> None:
        assert fitted(BOXES, STREET) == {1: PERSON, 2: CAR}
        assert fitted(BOXES, STREET, ["car"]) == {2: CAR}

    def test_a_published_table_without_background_has_the_things_of_its_set(self) -> None:
        scenes = open_dataset("scenes").classes
        assert fitted(scenes, scenes) == {id: id for id in (scenes.id_of("car"), scenes.id_of("person"))}

    def test_what_does_not_fit_is_told(self) -> None:
        with pytest.raises(
            UsageError, match="finds dog, which the semantic network does not know; it knows sky, road, car, person"
        ):
            fitted(ClassTable.of(["background", "car", "dog"]), STREET)
        with pytest.raises(UsageError, match=r"nobody knows which of sky, road, car, person are objects; name these with things"):
            fitted(STREET, STREET)
        with pytest.raises(UnknownName, match="no class 'cars'; did you mean 'car'"):
            fitted(BOXES, STREET, ["cars"])
        with pytest.raises(UsageError, match="things: names no class"):
            fitted(BOXES, STREET, [])

    @pytest.mark.parametrize(
        ("settings", "words"),
        [
            ({"objects_score": 0.4}, "objects_score = 0.4: belongs to objects_by, which is not given"),
            ({"things": ("car",)}, r"things = \('car',\): belongs to objects_by"),
            ({"objects_by": "run", "objects_score": 2.0}, "objects_score = 2: is a share; give 0 to 1"),
            ({"objects_by": "run", "objects_overlap": -0.1}, "objects_overlap = -0.1: is a share"),
            ({"objects_by": "run", "stuff_area": -1}, "stuff_area = -1: is in pixels"),
        ],
    )
    def test_settings_that_cannot_work(self, settings: dict, words: str) -> None:
        with pytest.raises(UsageError, match=words):
            Inference(**settings)


def put_model(folder: Path, name: str, network: torch.nn.Module, classes: ClassTable) -> Path:
    folder.mkdir(parents=True)
    save_model(folder, network.state_dict(), ModelCard(name, {}, classes.to_json(), {}, 1.0, 0, {}, "", ""))
    return folder


def put_networks(folder: Path, classes: ClassTable, of_objects: ClassTable) -> tuple[Path, Path]:
    """A network of pixels that says every class somewhere, and one of objects; neither was trained."""
    torch.manual_seed(3)
    semantic, finding = BlobsAndPixels(len(classes)), Blobs(len(of_objects))
    with torch.no_grad():
        semantic.classify.weight.mul_(20)
        semantic.classify.bias.copy_(-semantic.classify.weight.sum((1, 2, 3)) / 2)
        finding.colour.weight.mul_(8)
        finding.colour.bias.copy_(-finding.colour.weight.sum((1, 2, 3)) / 2)
    return (
        put_model(folder / "semantic", "blobs_and_pixels", semantic, classes),
        put_model(folder / "objects", "blobs", finding, of_objects),
    )


MERGED = ["--stuff-area", "4"]  # pixels of the fakes, which are tiny
ARCHIVES = {"voc2012": "a.tar.gz", "cityscapes": "a.zip", "coco_panoptic": "panoptic_val2017_a_results.zip"}
WITH_OBJECTS = ["instances", "voc2012", "cityscapes", "cityscapes8", "coco_panoptic", "nuclei2018"]


@pytest.mark.parametrize("name", WITH_OBJECTS)
def test_what_two_runs_leave_is_judged_as_the_runs_are(name: str, tmp_path: Path, command: Command) -> None:
    maker = MAKERS[name]
    assert maker is not None
    root = maker(tmp_path / "data")
    place = ["--data", root] if name in FOLDERS else ["--data", name, "--root", root]
    split = "fold1of5" if name == "nuclei2018" else "val"
    dataset = open_dataset(root if name in FOLDERS else name, root=None if name in FOLDERS else root, split=split)
    of_objects = open_dataset("coco", root=root).classes if name == "coco_panoptic" else dataset.classes
    semantic, finding = put_networks(tmp_path, dataset.classes, of_objects)
    assert isinstance(dataset, HasPictures)
    pictures = [dataset.picture(index) for index in range(len(dataset))]
    merging = ["--objects-by", finding, *MERGED]
    code, _, said = command("predict", semantic, *pictures, *merging, "--out", tmp_path / "out")
    assert (code, f"{len(pictures)} predicted" in said) == (0, True), said
    judged = [*place, "--split", split, "--panoptic", "--json"]
    of_runs = json.loads(command("evaluate", semantic, *judged, *merging)[1])
    of_files = json.loads(command("evaluate", tmp_path / "out", *judged)[1])
    assert of_files["figures"] == of_runs["figures"]
    assert of_files["categories"] == of_runs["categories"]
    assert of_runs["protocol"]["panoptic_map"]["stuff_area"] == 4
    assert of_runs["protocol"]["panoptic_map"]["objects_score"] == 0.5
    assert [*of_runs["categories"]] == [*dataset.classes.names]
    counts = [one[key] for one in of_runs["categories"].values() for key in ("matched", "wrong", "missed")]
    assert sum(counts) > 0
    assert {"PQ", "PQ_things", "PQ_stuff"} <= {*of_runs["figures"]}
    judged = [*place, "--split", split, "--instances", "mask", "--json"]
    of_runs = json.loads(command("evaluate", semantic, *judged, *merging)[1])
    of_files = json.loads(command("evaluate", tmp_path / "out", *judged)[1])
    assert of_files["figures"] == of_runs["figures"]
    assert {*of_files["by_category"]}.isdisjoint({"background", "road"})  # which are never objects
    code, _, said = command(
        "submission", tmp_path / "out", *place, "--split", split, "--out", tmp_path / ARCHIVES.get(name, "a.zip")
    )
    assert (code, "written" in said or "server" in said) == (0 if name in ARCHIVES else 2, True), said


@pytest.mark.parametrize("name", [*WITH_OBJECTS, "phc_u373", "isbi2012"])
def test_the_truth_as_a_prediction_is_perfect(name: str, tmp_path: Path) -> None:
    """Truth, merged by the rule, is the truth: objects do not overlap, and stuff has one segment."""
    maker = MAKERS[name]
    assert maker is not None
    root = maker(tmp_path / "data")
    split = {"phc_u373": "02", "isbi2012": "fold1of5", "nuclei2018": "fold1of5"}.get(name, "val")
    dataset = with_objects(open_dataset(root if name in FOLDERS else name, root=None if name in FOLDERS else root, split=split))
    measure = PanopticQuality()
    view = measure.truth(dataset)
    rows = []
    for index in range(len(dataset)):
        sample = dataset.sample(index)
        assert sample.labels is not None
        assert sample.instances is not None
        held = sample.instances
        whole = Instances(held.masks, held.class_ids, np.ones(len(held.class_ids), np.float32))
        found = merged(sample.labels, whole, dataset.classes, view.things, stuff_area=0)
        rows.append(measure.count(view.sample(index), perpixel.Prediction(sample.labels, dataset.classes, panoptic=found))[0])
    assert measure.summary(rows, dataset.classes.names, []).figures["PQ"] == 1


class TestCoco:
    @pytest.fixture
    def out(self, tmp_path: Path, command: Command) -> Path:
        """Maps of val2017, as two networks leave them."""
        root = make_coco(tmp_path / "data")
        classes = (open_dataset(view, root=root, split="val").classes for view in ("coco_panoptic", "coco"))
        semantic, finding = put_networks(tmp_path, *classes)
        line = ["predict", semantic, root / "val2017", "--objects-by", finding, *MERGED, "--out", tmp_path / "out"]
        assert command(*line)[0] == 0
        return tmp_path / "out"

    def test_the_json_and_the_maps_are_in_the_official_form(self, out: Path) -> None:
        content, dataset = (
            json.loads((out / "panoptic.json").read_text()),
            open_dataset("coco_panoptic", root=out.parent / "data"),
        )
        assert [one["id"] for one in content["images"]] == [picture.id for picture in dataset.listed]
        assert [one["file_name"] for one in content["images"]] == [picture.file_name for picture in dataset.listed]
        names = {one["id"]: (one["name"], one["isthing"]) for one in content["categories"]}
        assert (len(names), names[17], names[200]) == (133, ("cat", 1), ("rug-merged", 0))
        assert sum(isthing for _, isthing in names.values()) == 80
        for one in content["annotations"]:
            shown_ids = {*np.unique(panoptic_ids(out / "panoptic" / one["file_name"])).tolist()} - {0}
            assert shown_ids == {segment["id"] for segment in one["segments_info"]}
            assert {segment["category_id"] for segment in one["segments_info"]} <= {*names}
        assert content["info"]["panoptic_map"]["stuff_area"] == 4

    def test_it_is_judged_by_the_annotation_file_as_by_the_data_set(self, out: Path, command: Command) -> None:
        root = out.parent / "data"
        place = ["--data", "coco_panoptic", "--root", root, "--panoptic", "--json"]
        of_set = json.loads(command("evaluate", out, *place)[1])["figures"]
        assert json.loads(command("evaluate", out / "panoptic.json", *place)[1])["figures"]["PQ"] == of_set["PQ"]
        truth = root / "annotations/panoptic_val2017.json"
        of_file = json.loads(command("evaluate", out / "panoptic.json", "--data", truth, "--panoptic", "--json")[1])["figures"]
        assert {name: of_set[name] for name in of_file} == of_file  # the fake's file does not say which are things

    def test_ids_of_a_results_file_are_known_by_names(self, out: Path, command: Command) -> None:
        place = ["--data", "coco_panoptic", "--root", out.parent / "data", "--panoptic", "--json"]
        before = command("evaluate", out / "panoptic.json", *place)
        content = json.loads((out / "panoptic.json").read_text())
        for one in content["images"]:
            one["id"] += 1000
        for one in content["annotations"]:
            one["image_id"] += 1000
            for segment in one["segments_info"]:
                segment["category_id"] += 7
        for one in content["categories"]:
            one["id"] += 7
        put_json(out / "panoptic.json", content)
        assert command("evaluate", out / "panoptic.json", *place)[1] == before[1]
        content["images"][0]["file_name"] = "other.jpg"
        put_json(out / "panoptic.json", content)
        code, _, said = command("evaluate", out / "panoptic.json", *place)
        assert (code, "'other.jpg' is no picture of" in said) == (3, True), said

    def test_it_is_submitted(self, out: Path, tmp_path: Path) -> None:
        dataset = open_dataset("coco_panoptic", root=out.parent / "data", split="val")
        for source, name in ((out, "a"), (out / "panoptic.json", "b")):
            archive = tmp_path / f"panoptic_val2017_{name}_results.zip"
            assert submission(source, dataset, archive) == []
            with zipfile.ZipFile(archive) as packed:
                listed = json.loads(packed.read(f"panoptic_val2017_{name}_results.json"))["annotations"]
                assert [one["image_id"] for one in listed] == [picture.id for picture in dataset.listed]
                assert len(packed.namelist()) == 1 + len(dataset)

    def test_views_whose_objects_overlap_have_no_panoptic_map(self, out: Path, command: Command) -> None:
        code, _, said = command("evaluate", out, "--data", "coco", "--root", out.parent / "data", "--panoptic")
        assert (code, "coco: is no set of panoptic maps; judge on coco_panoptic." in said) == (2, True)


class TestCommand:
    @pytest.fixture
    def data(self, tmp_path: Path) -> Path:
        return make_instances(tmp_path / "data")

    @pytest.fixture
    def runs(self, data: Path, tmp_path: Path) -> tuple[Path, Path]:
        classes = open_dataset(data).classes
        return put_networks(tmp_path, classes, classes)

    def test_what_is_done_is_skipped_and_the_json_has_all(self, data, runs, tmp_path, command: Command) -> None:
        start = ["predict", runs[0], "--objects-by", runs[1], *MERGED, "--out", tmp_path / "out"]
        first, *others = sorted((data / "images/val").iterdir())
        command(*start[:2], first, *start[2:])
        assert len(json.loads((tmp_path / "out/panoptic.json").read_text())["images"]) == 1
        assert "3 predicted, 1 done before" in command(*start[:2], first, *others, *start[2:])[2]
        content = json.loads((tmp_path / "out/panoptic.json").read_text())
        assert [one["file_name"] for one in content["annotations"]] == [f"{path.stem}.png" for path in (first, *others)]
        assert [one["id"] for one in content["images"]] == [1, 2, 3, 4]
        assert sorted(path.name for path in (tmp_path / "out").iterdir() if path.is_dir()) == [
            "instances", "masks", "overlays", "panoptic"]  # fmt: skip
        code, _, said = command(*start[:2], first, *start[2:], "--objects-score", "0.7")
        assert (code, "of another model or with other options" in said) == (2, True)

    def test_python_has_the_map_too(self, data: Path, runs: tuple[Path, Path]) -> None:
        model, picture = load(runs[0]), read_image(data / "images/val/c08.png")
        found = perpixel.predict(model, picture, inference=Inference(objects_by=load(runs[1]), stuff_area=4))
        assert found.panoptic is not None
        assert found.panoptic.ids.shape == picture.shape[:2]
        plain = perpixel.predict(model, picture)
        assert np.array_equal(found.labels, plain.labels)
        scores = perpixel.evaluate(model, open_dataset(data), PanopticQuality(), inference=Inference(objects_by=runs[1]))
        assert 0 <= scores.figures["PQ"] <= 1

    @pytest.mark.parametrize(
        ("words", "said"),
        [
            (["evaluate", "SEMANTIC", "--panoptic"], "name a network of objects with --objects-by, or judge a results file"),
            (
                ["evaluate", "OBJECTS", "--objects-by", "OBJECTS", "--panoptic"],
                "objects_by: Blobs finds objects and scores no pixels",
            ),
            (
                ["evaluate", "SEMANTIC", "--objects-by", "PIXELS", "--panoptic"],
                "objects_by: unet .* finds no objects; name a run",
            ),
            (["evaluate", "SEMANTIC", "--objects-by", "nowhere", "--panoptic"], "nowhere"),
            (["evaluate", "SEMANTIC", "--objects-by", "OBJECTS", "--things", "cell", "--panoptic"], "no class 'cell'"),
            (["evaluate", "SEMANTIC", "--objects-by", "OBJECTS"], "objects_by: changes nothing that pixels judges"),
            (["evaluate", "SEMANTIC", "--stuff-area", "4"], "stuff_area = 4: belongs to objects_by, which is not given"),
        ],
    )
    def test_mistakes(self, data, runs, tmp_path, command: Command, words: list[str], said: str) -> None:
        classes = open_dataset(data).classes
        unet = perpixel.build("unet", 2, convolutions="same", width=0.05)
        (tmp_path / "pixels").mkdir()
        card = ModelCard("unet", {"convolutions": "same", "width": 0.05}, classes.to_json(), {}, 1.0, 0, {}, "", "")
        save_model(tmp_path / "pixels", unet.state_dict(), card)
        places = {"SEMANTIC": runs[0], "OBJECTS": runs[1], "PIXELS": tmp_path / "pixels"}
        code, out, told = command(*(places.get(word, word) for word in words), "--data", data)
        assert (code in (2, 3), out) == (True, ""), told
        assert len(told.splitlines()) == 1
        with pytest.raises(UsageError, match=said):
            raise UsageError(told)
