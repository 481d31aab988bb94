"""Cityscapes: the official table and its views, splits, objects, and polygons drawn as the official scripts draw them."""

import json
import math
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from fakes import CARGROUP, CITYSCAPES_PICTURES, draw_cityscapes, make_cityscapes
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from perpixel.datasets import HasInstances, open_dataset
from perpixel.datasets.cityscapes import PICTURES, SPLITS, VIEWS, Cityscapes
from perpixel.datasets.cityscapes_labels import CATEGORIES, DRAWN, LABELS
from perpixel.datasets.cityscapes_polygons import draw_instance_ids, draw_label_ids
from perpixel.errors import DataError, UnknownName

# A Python in whose environment cityscapesScripts is installed; it wants numpy<2.4.
SCRIPTS = os.environ.get("CITYSCAPES_SCRIPTS_PYTHON")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For tests that change nothing."""
    return make_cityscapes(tmp_path_factory.mktemp("cityscapes"))


@pytest.fixture
def mine(root: Path, tmp_path: Path) -> Path:
    """For tests that break something."""
    shutil.copytree(root, tmp_path / "data")
    return tmp_path / "data"


class TestTable:
    def test_it_has_35_labels_of_which_34_are_drawn_at_their_ids(self) -> None:
        assert (len(LABELS), len(DRAWN)) == (35, 34)
        assert [label.id for label in DRAWN] == list(range(34))
        assert [label.name for label in LABELS if label.id < 0] == ["license plate"]

    def test_what_is_evaluated_has_a_train_id_of_its_own(self) -> None:
        assert [label.train_id for label in DRAWN if not label.ignored] == list(range(19))
        assert {label.train_id for label in LABELS if label.ignored} == {255, -1}

    def test_ten_labels_have_instances_and_eight_of_them_are_evaluated(self) -> None:
        with_instances = [label for label in LABELS if label.has_instances]
        assert [label.id for label in with_instances] == list(range(24, 34))
        assert [label.name for label in with_instances if label.ignored] == ["caravan", "trailer"]

    def test_categories_are_numbered_in_their_order(self) -> None:
        assert CATEGORIES == ("void", "flat", "construction", "object", "nature", "sky", "human", "vehicle")
        assert all(CATEGORIES[label.category_id] == label.category for label in LABELS)

    def test_the_views_have_the_19_classes_of_the_benchmark_30_labels_and_7_categories(self) -> None:
        assert [len(VIEWS[view]) for view in ("cityscapes", "cityscapes30", "cityscapes8")] == [19, 30, 7]
        names, colours = VIEWS["cityscapes"].names, VIEWS["cityscapes"].colours
        assert (names[0], names[13], names[18]) == ("road", "car", "bicycle")
        assert (colours[0], colours[13], colours[18]) == ((128, 64, 128), (0, 0, 142), (119, 11, 32))

    @pytest.mark.parametrize("view", VIEWS)
    def test_every_id_is_of_a_class_or_void(self, view: str) -> None:
        labels = VIEWS[view].decode(np.arange(34)[None])[0]
        void = {label.name for label, class_id in zip(DRAWN, labels, strict=True) if class_id == 255}
        assert void == {
            "cityscapes": {label.name for label in DRAWN if label.ignored},
            "cityscapes30": {"unlabeled", "ego vehicle", "rectification border", "out of roi"},
            "cityscapes8": {label.name for label in DRAWN if label.category == "void"},
        }[view]

    def test_masks_of_the_19_classes_are_written_as_label_ids(self) -> None:
        written = VIEWS["cityscapes"].encode(np.array([[0, 13, 18, 255]], np.uint8))
        assert written.tolist() == [[7, 26, 33, 0]]

    def test_the_published_numbers(self) -> None:
        assert [PICTURES[split] for split in ("train", "val", "test", "train_extra")] == [2975, 500, 1525, 19998]
        assert PICTURES["train"] + PICTURES["val"] == PICTURES["trainval"]
        assert {*PICTURES} == {*SPLITS}


class TestSplits:
    def test_they_are_those_whose_folders_are_there(self, mine: Path) -> None:
        assert {*Cityscapes(mine).splits} == {*SPLITS}
        shutil.rmtree(mine / "gtCoarse")
        assert Cityscapes(mine).splits == ("train", "val", "trainval", "test")
        with pytest.raises(DataError, match=rf"^{mine}/gtCoarse/train_extra: is not there; unpack the archive .* train_extra\."):
            Cityscapes(mine, "train_extra")
        shutil.rmtree(mine / "leftImg8bit" / "test")
        with pytest.raises(DataError, match=rf"^{mine}/leftImg8bit/test/CITY/\*_leftImg8bit\.png: is not there"):
            Cityscapes(mine, "test")

    def test_pictures_are_named_by_city_sequence_and_frame(self, root: Path) -> None:
        for split in ("train", "val", "test", "train_extra"):
            dataset = Cityscapes(root, split)
            assert [dataset.name(index) for index in range(len(dataset))] == CITYSCAPES_PICTURES[split]
        assert len(Cityscapes(root, "trainval")) == 5
        both = Cityscapes(root, "train_and_extra")
        names = CITYSCAPES_PICTURES["train"] + CITYSCAPES_PICTURES["train_extra"]
        assert [both.name(index) for index in range(len(both))] == names
        assert both.files()[-1].name.endswith("_gtCoarse_labelIds.png")

    def test_the_folder_may_be_named_or_given_itself(self, root: Path, tmp_path: Path) -> None:
        (tmp_path / "cityscapes").symlink_to(root)
        assert len(Cityscapes(tmp_path, "val")) == len(Cityscapes(root, "val")) == 2

    def test_the_test_split_has_no_labels_and_says_so(self, root: Path) -> None:
        dataset = Cityscapes(root, "test")
        assert dataset.sample(0).labels is None
        assert len(dataset.files()) == 1
        with pytest.raises(DataError, match="berlin_000000_000019: has no public labels; judge on val"):
            dataset.label_ids(0)

    def test_coarse_labels_are_others_of_the_same_pictures(self, root: Path) -> None:
        fine, coarse = (Cityscapes(root, split).sample(0) for split in ("train", "train_coarse"))
        assert np.array_equal(fine.image, coarse.image)
        assert np.array_equal(fine.labels, coarse.labels[:, ::-1])  # as the fake has them

    def test_an_unknown_view_names_the_nearest(self, root: Path) -> None:
        with pytest.raises(UnknownName, match="no view of Cityscapes 'cityscapes19'; did you mean 'cityscapes"):
            Cityscapes(root, view="cityscapes19")


class TestSamples:
    @pytest.mark.parametrize("view", VIEWS)
    def test_labels_are_the_ids_of_the_file_in_each_view(self, root: Path, view: str) -> None:
        _, ids, _, _ = draw_cityscapes("aachen_000000_000019")
        assert np.array_equal(open_dataset(view, root=root, split="train").sample(0).labels, VIEWS[view].decode(ids))

    @pytest.mark.parametrize("view", VIEWS)
    @pytest.mark.parametrize(("split", "index"), [("train", 0), ("val", 1)])
    def test_objects_are_the_numbered_ones_that_have_a_class(self, root: Path, view: str, split: str, index: int) -> None:
        dataset = open_dataset(view, root=root, split=split)
        assert dataset.sample(index).instances is None
        assert isinstance(dataset, HasInstances)
        sample = dataset.with_instances().sample(index)
        _, _, instance_ids, _ = draw_cityscapes(dataset.name(index))
        class_of = VIEWS[view].decode(np.arange(34)[None])[0]
        numbers = [number for number in np.unique(instance_ids) if number >= 1000 and class_of[number // 1000] != 255]
        groups = [id for id in range(24, 34) if (instance_ids == id).any() and class_of[id] != 255]
        assert CARGROUP in groups
        of_numbers, of_groups = [class_of[number // 1000] for number in numbers], [class_of[id] for id in groups]
        assert sample.instances.class_ids.tolist() == of_numbers + of_groups
        assert sample.instances.crowd.tolist() == [False] * len(numbers) + [True] * len(groups)
        for mask, number, class_id in zip(sample.instances.masks, [*numbers, *groups], sample.instances.class_ids, strict=True):
            assert np.array_equal(mask, instance_ids == number)
            assert (sample.labels[mask] == class_id).all()
        caravans = np.isin(29, [number // 1000 for number in numbers])
        assert caravans == (view != "cityscapes")

    def test_polygons_stand_in_for_pngs_that_are_missing(self, mine: Path) -> None:
        dataset = Cityscapes(mine, "train", instances=True)
        before = dataset.sample(0)
        start = f"{mine}/gtFine/train/aachen/aachen_000000_000019_gtFine"
        assert Path(f"{start}_labelIds.png") in dataset.files()
        for kind in ("labelIds", "instanceIds"):
            Path(f"{start}_{kind}.png").unlink()
            after = dataset.sample(0)
            assert np.array_equal(before.labels, after.labels)
            assert np.array_equal(before.instances.numbers, after.instances.numbers)
        assert dataset.files().count(Path(f"{start}_polygons.json")) == 2
        Path(f"{start}_polygons.json").unlink()
        with pytest.raises(DataError, match=rf"^{start}_labelIds.png: there is no such file"):
            dataset.sample(0)

    def test_sizes_and_values_that_do_not_fit_are_reported(self, mine: Path) -> None:
        dataset = Cityscapes(mine, "train", instances=True)
        start = f"{mine}/gtFine/train/aachen/aachen_000000_000019_gtFine"
        whole = Image.open(f"{start}_instanceIds.png")
        whole.crop((0, 0, 39, 24)).save(f"{start}_instanceIds.png")
        with pytest.raises(DataError, match=r"instanceIds\.png: is 24x39, its picture .* is 24x40"):
            dataset.sample(0)
        for number, words in ((7002, "7, road, which has no instances"), (34000, "34, unknown")):
            Image.fromarray(np.full((24, 40), number, np.uint16)).save(f"{start}_instanceIds.png")
            with pytest.raises(DataError, match=rf"instanceIds\.png: the instance id {number} is of the label {words}"):
                dataset.sample(0)
        Image.fromarray(np.full((24, 40), 255, np.uint8)).save(f"{start}_labelIds.png")
        with pytest.raises(DataError, match=r"labelIds\.png: value 255 at row 0, column 0 \(960 pixels\) is in no class"):
            Cityscapes(mine).sample(0)


# The label and instance ids were made by createLabelImage and createInstanceImage of cityscapesScripts 2.3.0, by Pillow 13.0.0
# and by 8.4.0 alike.
OBJECTS = [
    {"label": "road", "polygon": [[0, 3], [11, 3], [11, 7], [0, 7]]},
    {"label": "sky", "polygon": [[-5, -2], [20, -2], [20, 2], [-5, 2]]},
    {"label": "car", "deleted": 1, "polygon": [[0, 0], [11, 0], [11, 7], [0, 7]]},
    {"label": "car", "polygon": [[1, 4], [4, 4], [4, 6], [1, 6]]},
    {"label": "cargroup", "polygon": [[9, 3], [11, 3], [11, 5], [9, 5]]},
    {"label": "license plate", "polygon": [[2, 5], [3, 5], [3, 6], [2, 6]]},
    {"label": "car", "deleted": 0, "polygon": [[4.9, 5.9], [7.2, 5.1], [7.9, 7], [4, 7]]},
    {"label": "polegroup", "polygon": [[10, 0], [10, 4]]},
    {"label": "skygroup", "polygon": [[0, 6], [0, 7], [1, 7]]},
    {"label": "person", "polygon": [[5, 1], [7, 3], [5, 5], [3, 3]]},
]
LABEL_IDS = """
23 23 23 23 23 23 23 23 23 23 18 23
23 23 23 23 23 24 23 23 23 23 18 23
23 23 23 23 24 24 24 23 23 23 18 23
7 7 7 24 24 24 24 24 7 26 18 26
7 26 26 26 24 24 24 7 7 26 18 26
7 26 26 26 26 24 26 26 7 26 26 26
23 26 26 26 26 26 26 26 7 7 7 7
23 23 7 7 26 26 26 26 7 7 7 7"""
INSTANCE_IDS = """
23 23 23 23 23 23 23 23 23 23 18 23
23 23 23 23 23 24000 23 23 23 23 18 23
23 23 23 23 24000 24000 24000 23 23 23 18 23
7 7 7 24000 24000 24000 24000 24000 7 26 18 26
7 26000 26000 26000 24000 24000 24000 7 7 26 18 26
7 26000 26000 26000 26001 24000 26001 26001 7 26 26 26
23 26000 26000 26000 26001 26001 26001 26001 7 7 7 7
23 23 7 7 26001 26001 26001 26001 7 7 7 7"""


def put_polygons(path: Path, objects: object, height: object = 8, width: object = 12) -> Path:
    path.write_text(json.dumps({"imgHeight": height, "imgWidth": width, "objects": objects}))
    return path


class TestPolygons:
    def test_they_are_drawn_as_the_official_scripts_draw_them(self, tmp_path: Path) -> None:
        path = put_polygons(tmp_path / "a.json", OBJECTS)
        for draw, expected in ((draw_label_ids, LABEL_IDS), (draw_instance_ids, INSTANCE_IDS)):
            assert draw(path).tolist() == [[int(value) for value in row.split()] for row in expected.strip().splitlines()]

    @pytest.mark.skipif(SCRIPTS is None, reason="CITYSCAPES_SCRIPTS_PYTHON names no Python that has cityscapesScripts.")
    def test_random_ones_are_equal_to_the_official_drawing(self, tmp_path: Path) -> None:
        rng = np.random.default_rng(5)
        names = [label.name for label in LABELS]
        for number in range(60):
            height, width = (int(side) for side in rng.integers(1, 60, 2))
            objects = [
                {
                    "label": str(rng.choice(names)) + "group" * int(rng.random() < 0.2),
                    "deleted": int(rng.random() < 0.2),
                    # integers, halves and fractions, partly outside
                    "polygon": (rng.integers(-40, 160, (rng.integers(2, 12), 2)) / rng.choice([1, 2, 3])).tolist(),
                }
                for _ in range(rng.integers(0, 12))
            ]
            put_polygons(tmp_path / f"{number}.json", objects, height, width)
        script = (
            "import glob, numpy, PIL\n"
            "from cityscapesscripts.helpers.annotation import Annotation\n"
            "from cityscapesscripts.preparation.json2labelImg import createLabelImage\n"
            "from cityscapesscripts.preparation.json2instanceImg import createInstanceImage\n"
            "for file in glob.glob('*.json'):\n"
            "    annotation = Annotation(); annotation.fromJsonFile(file)\n"
            "    numpy.save(file + '.l.npy', numpy.array(createLabelImage(annotation, 'ids')))\n"
            "    numpy.save(file + '.i.npy', numpy.array(createInstanceImage(annotation, 'ids')))\n"
            "print(PIL.__version__)"
        )
        bare = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        done = subprocess.run([SCRIPTS, "-c", script], cwd=tmp_path, env=bare, capture_output=True, text=True, check=True)
        if done.stdout.strip() != Image.__version__:
            pytest.skip("cityscapesScripts has another Pillow, which may draw some pixels of crossing polygons otherwise.")
        for path in tmp_path.glob("*.json"):
            assert np.array_equal(draw_label_ids(path), np.load(f"{path}.l.npy"))
            assert np.array_equal(draw_instance_ids(path), np.load(f"{path}.i.npy"))

    @pytest.mark.parametrize(
        ("objects", "words"),
        [
            ("road", "objects is 'road'; it must be a list"),
            (["road"], "object 0 has no label"),
            ([{"label": 7}], "object 0 has no label"),
            ([{"label": "raod", "polygon": []}], "object 0: no label 'raod'; did you mean 'road'"),
            ([{"label": "group", "polygon": []}], "object 0: no label 'group'"),
            ([OBJECTS[0], {"label": "car"}], "object 1: its polygon is None; it must be a list of two corners"),
            ([{"label": "car", "polygon": [[1, 2]]}], "object 0: its polygon is a list of 1; it must be"),
            ([{"label": "car", "polygon": [[1, 2], [3]]}], r"object 0: the corner \[3\] is no \[x, y\] of finite numbers"),
            ([{"label": "car", "polygon": [[1, 2], [3, True]]}], r"object 0: the corner \[3, True\] is no"),
            ([{"label": "car", "polygon": [[1, 2], [math.nan, 1]]}], r"object 0: the corner \[nan, 1\] is no"),
            ([{"label": "car", "polygon": [[1, 2], [1, math.inf]]}], r"object 0: the corner \[1, inf\] is no"),
            ([{"label": "car", "polygon": [[1, 2], [1e15, 1]]}], r"object 0: the corner \[1000000000000000.0, 1\] is no"),
            ([{"label": "car", "polygon": [[1, 2], [10**400, 1]]}], r"object 0: the corner \[1000.*\.\.\. is no"),
            ([{"label": "car", "polygon": [[0, 0], [1, 1]]}] * 1001, "has more than 1000 objects car"),
        ],
    )
    def test_what_cannot_be_drawn_is_reported_before_it_is_tried(self, tmp_path: Path, objects: object, words: str) -> None:
        path = put_polygons(tmp_path / "a.json", objects)
        with pytest.raises(DataError, match=rf"^{path}: {words}"):
            draw_instance_ids(path)

    @pytest.mark.parametrize("height", [0, -1, 1.5, True, "8", None, 2**31, [8]])
    def test_a_size_that_is_none_is_reported(self, tmp_path: Path, height: object) -> None:
        with pytest.raises(DataError, match=r"a\.json: imgHeight is .*; it must be a whole number of pixels\.$"):
            draw_label_ids(put_polygons(tmp_path / "a.json", [], height))

    def test_too_many_pixels_and_too_much_to_draw_are_refused(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match="100000x100000 pixels are more than"):
            draw_label_ids(put_polygons(tmp_path / "a.json", [], 10**5, 10**5))
        whole = {"label": "road", "polygon": [[0, 0], [16000, 0], [16000, 16000], [0, 16000]]}
        with pytest.raises(DataError, match="objects up to 16 are too many or too large to draw"):
            draw_label_ids(put_polygons(tmp_path / "a.json", [whole] * 30, 16000, 16000))

    @pytest.mark.parametrize("text", ["", "{", "[" * 100000, "[]", "3", '{"imgHeight": 8}', "\xff"])
    def test_what_is_no_such_file_is_reported(self, tmp_path: Path, text: str) -> None:
        (tmp_path / "a.json").write_bytes(text.encode("latin-1"))
        with pytest.raises(DataError, match=r"a\.json: (is no JSON|is not UTF-8|is no object with imgHeight|imgWidth is None)"):
            draw_label_ids(tmp_path / "a.json")
        with pytest.raises(DataError, match=r"b\.json: there is no such file"):
            draw_label_ids(tmp_path / "b.json")

    json_values = st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(["car", "cargroup", "road", "x"]),
        lambda inner: st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["label", "polygon", "deleted", "imgHeight"]), inner, max_size=4),
    )
    coordinates = st.one_of(st.integers(-(10**7), 10**7), st.floats(), st.integers(0, 30), st.just(2**31))

    @given(st.lists(json_values, max_size=3) | st.lists(st.fixed_dictionaries({
        "label": st.sampled_from(["car", "cargroup", "sky"]),
        "polygon": st.lists(st.lists(coordinates, min_size=2, max_size=2), max_size=6)}), max_size=4))  # fmt: skip
    def test_any_json_is_drawn_or_refused_in_a_sentence(self, tmp_path_factory: pytest.TempPathFactory, objects: object) -> None:
        path = put_polygons(tmp_path_factory.mktemp("any") / "a.json", objects)
        refused = ""
        try:
            ids, instance_ids = draw_label_ids(path), draw_instance_ids(path)
        except DataError as error:
            refused = str(error)
        if refused:
            assert refused.startswith(f"{path}: ")
            return
        assert ids.shape == instance_ids.shape == (8, 12)
        assert np.array_equal(np.where(instance_ids >= 1000, instance_ids // 1000, instance_ids), ids)
