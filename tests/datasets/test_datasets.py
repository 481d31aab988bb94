"""The contract of every data set, drawn or read: names, samples, splits, and the files and fingerprints that a run keeps."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from fakes import (
    make_ade20k,
    make_bands,
    make_camvid,
    make_cell_tracking,
    make_cityscapes,
    make_coco,
    make_context,
    make_folder,
    make_instances,
    make_isbi2012,
    make_nuclei2018,
    make_nyud,
    make_siftflow,
    make_voc,
)

from perpixel.datasets import (
    DATASETS,
    ON_DISK,
    Dataset,
    Stored,
    camvid,
    cell_tracking,
    cityscapes,
    coco,
    context,
    fingerprint,
    judged_splits,
    open_dataset,
    siftflow,
    things_in,
    with_objects,
)
from perpixel.doctor.check import check
from perpixel.errors import DataError, UnknownName
from perpixel.images import read_image
from perpixel.masks.touching import touching
from perpixel.sample import Sample

MAKERS: dict[str, Callable[[Path], Path] | None] = {
    "scenes": None, "things": None, "folder": make_folder, "instances": make_instances, "bands": make_bands, "voc2012": make_voc,
    **dict.fromkeys(context.VIEWS, make_context), **dict.fromkeys(coco.VIEWS, make_coco),
    **dict.fromkeys(siftflow.VIEWS, make_siftflow), "nyud": make_nyud, "isbi2012": make_isbi2012,
    **dict.fromkeys(cell_tracking.FOLDERS, make_cell_tracking), **dict.fromkeys(cityscapes.VIEWS, make_cityscapes),
    **dict.fromkeys(camvid.VIEWS, make_camvid), "ade20k": make_ade20k, "nuclei2018": make_nuclei2018,
}  # fmt: skip
FOLDERS = {"folder", "instances", "bands"}
LOOKED_AT = 4  # pictures of a split


@dataclass(frozen=True)
class Case:
    """The way to open a data set, and whether its labels are drawn from its instances, with borders between them."""

    data: str
    root: Path | None
    drawn: bool = False

    @property
    def judged(self) -> tuple[str, str]:
        """The split to train on and the split to judge on."""
        return ON_DISK[self.data].judged if self.data in ON_DISK else ("train", "val")

    def open(self, split: str) -> Dataset:
        return open_dataset(self.data, root=self.root, split=split)

    def samples(self, split: str) -> list[Sample]:
        dataset = self.open(split)
        return [dataset.sample(index) for index in range(min(LOOKED_AT, len(dataset)))]


@pytest.fixture(scope="module", params=MAKERS)
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    maker = MAKERS[request.param]
    root = None if maker is None else maker(tmp_path_factory.mktemp(request.param))
    return Case(str(root), None, request.param == "instances") if request.param in FOLDERS else Case(request.param, root)


def test_every_named_data_set_is_tested_here() -> None:
    assert {*MAKERS} == {*DATASETS, *ON_DISK} | FOLDERS


def test_every_split_opens_and_names_itself(case: Case) -> None:
    splits = case.open(case.judged[1]).splits
    assert {*case.judged} <= {*splits}
    assert len({*splits}) == len(splits)
    for split in splits:
        dataset = case.open(split)
        assert (dataset.split, dataset.splits, dataset.classes) == (split, splits, case.open(case.judged[1]).classes)
        assert len(dataset) > 0


def test_names_are_unique_and_those_of_the_samples(case: Case) -> None:
    for split in case.open(case.judged[1]).splits:
        dataset = case.open(split)
        names = [dataset.name(index) for index in range(len(dataset))]
        assert len({*names}) == len(names)
        assert [sample.name for sample in case.samples(split)] == names[:LOOKED_AT]


def test_a_sample_has_the_shapes_and_types_of_the_conventions(case: Case) -> None:
    for split in judged_splits(case.data, case.root):
        for sample in case.samples(split):
            assert sample.labels is not None
            height, width = sample.labels.shape
            assert (sample.shown.shape, sample.shown.dtype) == ((height, width, 3), np.uint8)
            if sample.bands is None:
                assert sample.shown is sample.image
            else:
                assert sample.image.shape == (height, width, len(sample.bands))
            assert sample.labels.dtype == case.open(split).classes.dtype


def test_a_notebook_shows_its_split_and_its_first_pictures(case: Case) -> None:
    html = case.open(case.judged[1])._repr_html_()
    assert html.count("<img ") == min(3, len(case.open(case.judged[1])))
    assert f"split {case.judged[1]} of " in html


def test_labels_are_classes_or_void(case: Case) -> None:
    classes = case.open(case.judged[1]).classes
    for split in judged_splits(case.data, case.root):
        for sample in case.samples(split):
            assert {int(label) for label in np.unique(sample.labels)} <= {*range(len(classes)), classes.void}


def test_instances_are_masks_of_their_class(case: Case) -> None:
    for sample in (sample for split in judged_splits(case.data, case.root) for sample in case.samples(split)):
        if sample.instances is not None:
            masks, class_ids = sample.instances.masks, sample.instances.class_ids
            assert (masks.dtype, class_ids.dtype, masks.shape[1:]) == (bool, np.int64, sample.labels.shape)
            shown = sample.labels.copy()
            if case.drawn:
                assert (shown[touching(sample.instances.numbers)] == 0).all()
                shown[touching(sample.instances.numbers)] = 1
            assert [np.unique(shown[mask]).tolist() for mask in masks] == [[class_id] for class_id in class_ids]


def test_objects_are_of_the_classes_that_the_table_says(case: Case) -> None:
    for split in judged_splits(case.data, case.root):
        dataset = with_objects(case.open(split))
        for objects in (dataset.sample(index).instances for index in range(min(LOOKED_AT, len(dataset)))):
            if objects is not None:
                assert {*objects.class_ids.tolist()} <= (things_in(dataset.classes) or set())


def test_a_sample_is_the_same_each_time(case: Case) -> None:
    for first, again in zip(case.samples(case.judged[1]), case.samples(case.judged[1]), strict=True):
        assert (first.name, first.image.tobytes()) == (again.name, again.image.tobytes())
        assert np.array_equal(first.labels, again.labels)


def test_what_is_trained_on_is_not_judged(case: Case) -> None:
    pictures = {
        split: {sample.image.tobytes() for sample in case.samples(split)} for split in judged_splits(case.data, case.root)
    }
    assert {*case.judged} <= {*pictures}
    for split, other_split in combinations(pictures, 2):
        assert not pictures[split] & pictures[other_split], (split, other_split)


def test_masks_that_are_written_read_back(case: Case) -> None:
    classes = case.open(case.judged[1]).classes
    for sample in case.samples(case.judged[1]):
        written = classes.encode(sample.labels)
        assert written.dtype == np.uint8
        assert np.array_equal(classes.decode(written), sample.labels)


def test_files_are_there_and_differ_between_splits(case: Case) -> None:
    train, val = map(case.open, case.judged)
    assert isinstance(train, Stored) == (case.data not in DATASETS)
    if isinstance(train, Stored) and isinstance(val, Stored):
        assert all(path.is_file() for path in train.files())
        if case.data != "isbi2012":  # its pictures are all in one file
            truths = 1 if case.data in coco.FROM_OBJECTS else len(train)  # one file for all pictures, or one for each
            assert len(train.files()) >= len(train) + truths
            assert {*train.files()} - {*val.files()}


@pytest.mark.parametrize("case", [name for name in MAKERS if name not in DATASETS], indirect=True)  # drawn, hundreds of pictures
def test_it_is_sound_and_known_by_the_fingerprint_of_its_samples(case: Case) -> None:
    report = check(case.data, root=case.root)
    assert report.problems == ()
    assert report.fingerprints == {split: fingerprint(case.open(split)) for split in case.judged}


@pytest.mark.parametrize("maker", {maker: None for maker in MAKERS.values() if maker}, ids=lambda maker: maker.__name__)
def test_what_macos_and_notebooks_put_beside_files_is_no_picture(maker: Callable[[Path], Path], tmp_path: Path) -> None:
    root = maker(tmp_path)
    names = [name for name, other_maker in MAKERS.items() if other_maker is maker]
    cases = [Case(str(root) if name in FOLDERS else name, None if name in FOLDERS else root) for name in names]
    opened = {(case.data, split): case.open(split) for case in cases for split in case.judged}
    before = {key: [*map(dataset.name, range(len(dataset)))] for key, dataset in opened.items()}
    for path in [path for path in root.rglob("*") if path.is_file()]:
        path.with_name(f"._{path.name}").write_bytes(b"\0\5\26\7")
        for folder in (".ipynb_checkpoints", "__MACOSX"):
            (path.parent / folder).mkdir(exist_ok=True)
            (path.parent / folder / path.name).write_bytes(path.read_bytes())
    for case in cases:
        for split in case.judged:
            dataset = case.open(split)
            assert [*map(dataset.name, range(len(dataset)))] == before[case.data, split]
            assert all(path.is_file() for path in (dataset.files() if isinstance(dataset, Stored) else ()))
            assert dataset.sample(0).labels is not None


def test_an_unknown_split_names_the_nearest(case: Case) -> None:
    judged = case.judged[1]
    with pytest.raises(UnknownName, match=rf"no split of .* '{judged}l'; did you mean '{judged}'"):
        case.open(f"{judged}l")


@pytest.mark.parametrize("name", ON_DISK)
def test_a_set_on_disk_says_which_folder_it_needs(name: str, tmp_path: Path) -> None:
    known = ON_DISK[name]
    with pytest.raises(DataError, match=rf"^{name}: give the folder that holds {re.escape(known.holds)}, with --root, PERPIXEL_"):
        open_dataset(name)
    with pytest.raises(DataError, match=rf"^{tmp_path}: holds no \S+ (with|and) \S+.*; (give|unpack|put) "):
        known.open(tmp_path, known.judged[0])


def test_a_root_does_not_stand_in_the_way_of_sets_that_need_none(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "folder")
    assert len(open_dataset("scenes", root=tmp_path)) == 100
    assert len(open_dataset(folder, root=tmp_path)) == 4


def test_the_nearest_name_is_one_of_all(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="no data set or folder 'voc2021'; did you mean 'voc2012'"):
        open_dataset("voc2021", root=tmp_path)


@pytest.mark.parametrize("name", [name for name, maker in MAKERS.items() if maker is not None])
def test_hidden_files_change_nothing(tmp_path: Path, name: str) -> None:
    """macOS writes them beside every file of a disk or an archive, and notebooks write them in every folder."""
    root = MAKERS[name](tmp_path)
    data, place = (str(root), None) if name in FOLDERS else (name, root)
    splits = open_dataset(data, root=place, split=Case(name, root).judged[1]).splits

    def names() -> dict[str, list[str]]:
        every = {split: open_dataset(data, root=place, split=split) for split in splits}
        return {split: [dataset.name(index) for index in range(len(dataset))] for split, dataset in every.items()}

    before, sound = names(), check(data, root=place).problems
    for path in sorted(root.rglob("*")):
        if path.is_dir():
            (path / ".ipynb_checkpoints").mkdir()
        else:
            path.with_name(f"._{path.name}").write_bytes(b"\x00\x05\x16\x07")
    assert names() == before
    assert check(data, root=place).problems == sound


@pytest.mark.parametrize("name", ["voc2012", "camvid11", "camvid32", "cityscapes", "ade20k", "nuclei2018", "siftflow"])
def test_an_exact_copy_in_the_two_judged_splits_is_an_error(tmp_path: Path, name: str) -> None:
    root = MAKERS[name](tmp_path)
    train, val = (open_dataset(name, root=root, split=split) for split in Case(name, root).judged)
    first = train.sample(0).image
    twin = next(index for index in range(len(val)) if val.sample(index).image.shape == first.shape)
    pictures = {path: read_image(path) for path in root.rglob("*") if path.suffix in (".png", ".jpg")}
    there, here = (next(path for path, pixels in pictures.items() if np.array_equal(pixels, image))
                   for image in (first, val.sample(twin).image))  # fmt: skip
    here.write_bytes(there.read_bytes())
    (leak,) = check(name, root=root).errors
    assert (leak.kind, leak.file) == ("leak", f"{val.split}/{val.name(twin)}")
