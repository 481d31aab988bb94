"""`perpixel merge`: whatever the number of shards, files and figures are those of one process; and what is refused."""

import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from datasets.test_datasets import MAKERS
from fakes import make_cityscapes, make_folder, make_instances, make_isbi2012, make_model, make_voc
from hidden_torch import HAS_TORCH, require_torch
from PIL import Image

from perpixel.classes import ClassTable
from perpixel.datasets import open_dataset
from perpixel.images import write_labels
from perpixel.measures import MEASURES, class_of

Command = Callable[..., tuple[int, str, str]]
COUNTS = (1, 4)
CLASSES = ["ground", "box", "disc"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set, models and masks that miss some of the truth."""
    root = tmp_path_factory.mktemp("place")
    make_folder(root / "data", train=3, val=9)
    for seed, name in enumerate(("run", "other")):
        make_model(root / name, ClassTable.of(CLASSES), seed)
    for folder, shift in (("masks", 1), ("shifted", 3)):
        put_masks(root / folder, "./data", root, shift)
    return root


@pytest.fixture(autouse=True)
def here(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)


def put_masks(folder: Path, data: str, root: Path, shift: int, split: str = "val", below: Path | None = None) -> None:
    """Masks of the truth, moved to the right."""
    dataset = open_dataset(root / data if below is None else data, root=below, split=split)
    for index in range(len(dataset)):
        labels = dataset.sample(index).labels
        moved = np.roll(np.where(labels == dataset.classes.void, 0, labels), shift, 1)
        write_labels(folder, f"{dataset.name(index)}.png", moved, dataset.classes)


def tree(folder: Path) -> dict[str, bytes]:
    """The files of a folder, but for locks and those that say what a shard has done."""
    files = (path for path in folder.rglob("*") if path.is_file() and not re.search(r"^\.|-\d+of\d+\.jsonl$", path.name))
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def run_shards(command: Command, out: Path, count: int, *words: object) -> None:
    for index in range(count):
        code, _, err = command(*words, "--shard", f"{index}/{count}", "--out", out)
        assert code == 0, err
        assert f"Shard {index}/{count}" in err
        assert f"perpixel merge {out}" in err


class TestPredict:
    @pytest.mark.parametrize("more", [[], ["--scores", "--no-overlays"], ["--average", "flips", "--split", "val"]])
    def test_the_files_are_those_of_one_process(self, command: Command, tmp_path: Path, more: list[str]) -> None:
        words = ["predict", "run", "data" if "--split" in more else "data/images", *more]
        assert command(*words, "--out", tmp_path / "one")[0] == 0
        for count in COUNTS:
            run_shards(command, tmp_path / str(count), count, *words)
            code, out, err = command("merge", tmp_path / str(count), "--json")
            assert (code, json.loads(out)["failed"]) == (0, []), err
            assert tree(tmp_path / str(count)) == tree(tmp_path / "one")
            assert command(*words, "--out", tmp_path / str(count))[0] == 0  # one process goes on where shards stopped
            assert tree(tmp_path / str(count)) == tree(tmp_path / "one")

    def test_files_of_two_machines_are_joined_by_copying(self, command: Command, tmp_path: Path) -> None:
        for index in range(2):
            assert command("predict", "run", "data/images/val", "--shard", f"{index}/2", "--out", tmp_path / str(index))[0] == 0
            shutil.copytree(tmp_path / str(index), tmp_path / "all", dirs_exist_ok=True)
        assert command("merge", tmp_path / "all")[0] == 0
        assert len([*(tmp_path / "all/masks").iterdir()]) == 9

    def test_a_picture_that_fails_is_told_by_its_shard_and_by_merge(self, command: Command, tmp_path: Path) -> None:
        shutil.copytree("data/images/val", tmp_path / "pictures")
        (tmp_path / "pictures/p03.jpg").write_bytes(b"no picture")
        words = ["predict", "run", tmp_path / "pictures"]
        assert command(*words, "--out", tmp_path / "one")[0] == 3
        codes = [command(*words, "--shard", f"{index}/3", "--out", tmp_path / "out")[0] for index in range(3)]
        assert sorted(codes) == [0, 0, 3]
        code, _, err = command("merge", tmp_path / "out")
        assert (code, "p03.jpg" in err, "8 predicted, 1 failed" in err) == (3, True, True)
        assert tree(tmp_path / "out") == tree(tmp_path / "one")

    def test_a_changed_file_is_told_and_mended_by_its_shard(self, command: Command, tmp_path: Path) -> None:
        run_shards(command, tmp_path, 2, "predict", "run", "data/images/val")
        before = tree(tmp_path)
        (tmp_path / "masks/p05.png").write_bytes(b"torn")
        code, _, err = command("merge", tmp_path)
        assert (code, "p05.png: is missing, or not as its shard wrote it" in err) == (3, True)
        run_shards(command, tmp_path, 2, "predict", "run", "data/images/val")
        assert tree(tmp_path) == before
        assert command("merge", tmp_path)[0] == 0

    def test_other_models_and_other_processes_are_refused(self, command: Command, tmp_path: Path) -> None:
        run_shards(command, tmp_path / "out", 1, "predict", "run", "data/images/val")
        for words, sentence in (
            (["predict", "other", "data/images/val", "--shard", "0/1"], "differs in 'model'"),
            (["predict", "run", "data/images/val", "--shard", "0/1", "--no-overlays"], "differs in 'folders'"),
            (["predict", "run", "data/images/val", "--shard", "0/2"], "differs in 'the number of shards: 2, 1'"),
            (["predict", "run", "data/images/val"], "holds what shards predicted; `perpixel merge"),
        ):
            code, _, err = command(*words, "--out", tmp_path / "out")
            assert (code, sentence in err) == (2, True), err
        assert command("merge", tmp_path / "out")[0] == 0
        code, _, err = command("predict", "other", "data/images/val", "--shard", "0/1", "--out", tmp_path / "out")
        assert (code, "holds predictions of another model" in err) == (2, True)

    def test_panoptic_maps(self, command: Command, tmp_path: Path, networks_of_objects: None) -> None:
        words = ["predict", "pixels", "cells/images/val", "--objects-by", "blobs", "--stuff-area", "1"]
        assert command(*words, "--out", tmp_path / "one")[0] == 0
        assert (tmp_path / "one/panoptic.json").is_file()
        run_shards(command, tmp_path / "out", 3, *words)
        assert command("merge", tmp_path / "out")[0] == 0
        assert tree(tmp_path / "out") == tree(tmp_path / "one")


@pytest.fixture(scope="module")
def networks_of_objects(place: Path) -> Iterator[None]:
    """`cells`, and models for it: `blobs` finds objects, `pixels` labels pixels."""
    require_torch()
    import torch
    from fake_networks import Blobs, BlobsAndPixels

    from perpixel.networks import NETWORKS
    from perpixel.weights.model_file import ModelCard, save_model

    make_instances(place / "cells", train=1, val=7)
    classes = open_dataset(place / "cells", split="val").classes
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(NETWORKS, "blobs", Blobs)
        patch.setitem(NETWORKS, "blobs_and_pixels", BlobsAndPixels)
        blobs = Blobs(2)
        with torch.no_grad():
            blobs.colour.weight.zero_()
            blobs.colour.bias.fill_(-5)
            blobs.colour.weight[1], blobs.colour.bias[1] = 10 / 3, -5.0
        (place / "blobs").mkdir()
        save_model(place / "blobs", blobs.state_dict(), ModelCard("blobs", {}, classes.to_json(), {}, 1.0, 0, {}, "", ""))
        make_model(place / "pixels", classes)
        yield


# What is judged by each measure: words of a command line, and the fixtures that make it.
OF_MASKS = ["masks", "--data", "./data"]
JUDGED: dict[str, list[list[str]]] = {
    "pixels": [OF_MASKS, ["run"], ["run", "--average", "mirror"]],
    "boundary_iou": [[*OF_MASKS, "--boundary-iou"], ["run", "--boundary-iou", "--dilation", "0.05"]],
    "surfaces": [[*OF_MASKS, "--surfaces", "--tolerance", "1", "--spacing", "2", "1"]],
    "calibration": [["run", "--calibration", "--bins", "7"]],
    "objects": [["cell masks", "--data", "./cells", "--objects", "object", "--minimum-area", "3"]],
    "instances": [["blobs", "--data", "./cells", "--instances", "mask"],
                  ["found", "--data", "./cells", "--instances", "box", "--agnostic"]],
    "panoptic": [["pixels", "--data", "./cells", "--panoptic", "--objects-by", "blobs", "--stuff-area", "1"],
                 ["found", "--data", "./cells", "--panoptic"]],
    "cityscapes": [["city masks", "--data", "cityscapes", "--root", "city", "--cityscapes"]],
    "membranes": [["slice masks", "--data", "isbi2012", "--root", "slices", "--split", "fold1of2", "--membranes", "membrane",
                   "--thresholds", "0", "0.5"]],
}  # fmt: skip
WAYS = [(measure, words) for measure, each in JUDGED.items() for words in each]


def test_every_measure_is_tried() -> None:
    assert JUDGED.keys() == MEASURES.keys()


@pytest.fixture(scope="module")
def sets(place: Path, request: pytest.FixtureRequest) -> None:
    """The other data sets, and masks for them."""
    make_instances(place / "cells", train=1, val=7)
    put_masks(place / "cell masks", "cells", place, 1)
    make_cityscapes(place / "city")
    cityscapes = open_dataset("cityscapes", root=place / "city", split="val")
    for index in range(len(cityscapes)):
        labels = cityscapes.label_ids(index)
        Image.fromarray(np.roll(labels, 1, 1)).save(make_below(place / "city masks") / f"{cityscapes.name(index)}.png")
    make_isbi2012(place / "slices")
    put_masks(place / "slice masks", "isbi2012", place, 1, "fold1of2", place / "slices")


def make_below(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="module")
def found(place: Path, networks_of_objects: None) -> None:
    """What the networks of objects predict, in files."""
    from perpixel.cli import main

    paths = [str(place / name) for name in ("pixels", "cells/images/val", "blobs", "found")]
    main(["predict", *paths[:2], "--objects-by", paths[2], "--stuff-area", "1", "--out", paths[3]])


class TestEvaluate:
    @pytest.mark.parametrize(("measure", "words"), WAYS)
    def test_scores_are_those_of_one_process(
        self, command: Command, tmp_path: Path, request: pytest.FixtureRequest, measure: str, words: list[str]
    ) -> None:
        of_objects = measure in ("instances", "panoptic")
        request.getfixturevalue("found" if of_objects else "sets")
        if words[0] in ("run", "pixels", "blobs"):
            require_torch()
            words = [*words, *([] if "--data" in words else ["--data", "./data"])]
        halves = ["--bootstrap", "4", "--seed", "2"]
        _, expected, _ = command("evaluate", *words, *halves, "--json")
        _, table, told = command("evaluate", *words)
        assert json.loads(expected)["figures"]
        for count in COUNTS:
            run_shards(command, tmp_path / str(count), count, "evaluate", *words)
            code, out, err = command("merge", tmp_path / str(count), *halves, "--json")
            assert (code, out) == (0, expected), err
            assert command("merge", tmp_path / str(count))[1] == table
        assert told.strip().splitlines()[-1].partition(": ")[2] in command("merge", tmp_path / "1")[2]

    def test_compare_takes_the_rows_of_shards(self, command: Command, tmp_path: Path) -> None:
        for flags in ([], ["--boundary-iou"], ["--surfaces"]):
            for name in ("masks", "shifted"):
                run_shards(command, tmp_path / "_".join([name, *flags]), 3, "evaluate", name, "--data", "./data", *flags)
            rows = [tmp_path / "_".join([name, *flags]) for name in ("masks", "shifted")]
            words = ["--samples", "20", "--json", *flags]
            expected = json.loads(command("compare", "masks", "shifted", "--data", "./data", *words)[1])
            for sides, more in (
                (rows, []), ([rows[0], "shifted"], ["--data", "./data"]), (["masks", rows[1]], ["--data", "./data"]),
            ):  # fmt: skip
                code, out, err = command("compare", *sides, *more, *words)
                assert code == 0, err
                merged = json.loads(out)
                for key in ("pairs", "sides"):
                    for one, other in zip(merged[key], expected[key], strict=True):
                        for part in ("figures", "classes"):
                            assert one[part] == other[part], (key, part)
                assert merged["protocol"] == expected["protocol"]
        code, _, err = command("compare", *rows, "--samples", "2")
        assert (code, "holds rows of surfaces" in err) == (2, True)
        code, _, err = command("compare", *rows, "--samples", "2", "--surfaces", "--tolerance", "5")
        assert (code, "holds rows of surfaces (tolerance 2.0" in err) == (2, True)
        code, _, err = command("compare", *rows, "--samples", "2", "--surfaces", "--report", tmp_path / "page.html")
        assert (code, "rows of shards do not name" in err) == (2, True)
        code, _, err = command("compare", *rows, "--surfaces", "--average", "flips")
        assert (code, "rows are judged as they are; give --average with a model" in err) == (2, True)

    def test_a_picture_that_cannot_be_judged_is_left_out_and_told(self, command: Command, tmp_path: Path) -> None:
        shutil.copytree("masks", tmp_path / "masks")
        (tmp_path / "masks/p02.png").unlink()
        words = ["evaluate", tmp_path / "masks", "--data", "./data"]
        expected = command(*words, "--json")
        codes = [command(*words, "--shard", f"{index}/2", "--out", tmp_path / "out")[0] for index in range(2)]
        assert (expected[0], sorted(codes)) == (3, [0, 3])
        merged = command("merge", tmp_path / "out", "--json")
        assert merged[:2] == expected[:2]
        assert json.loads(merged[1])["protocol"]["left_out"] == ["p02"]
        assert "p02" in merged[2]
        shutil.copy("masks/p02.png", tmp_path / "masks")
        assert [command(*words, "--shard", f"{index}/2", "--out", tmp_path / "out")[0] for index in range(2)] == [0, 0]
        assert command("merge", tmp_path / "out", "--json")[1] == command(*words, "--json")[1]

    def test_other_work_in_the_folder_is_refused(self, command: Command, tmp_path: Path) -> None:
        run_shards(command, tmp_path, 1, "evaluate", *OF_MASKS)
        make_folder(tmp_path / "more", train=3, val=8)
        for words, key in (
            (["masks", "--data", "./data", "--boundary-iou"], "measure"), (["masks", "--data", tmp_path / "more"], "items"),
            (["masks", "--data", "./data", "--split", "train"], "items"), (["shifted", "--data", "./data"], "masks"),
        ):  # fmt: skip
            code, _, err = command("evaluate", *words, "--shard", "0/1", "--out", tmp_path)
            assert (code, f"differs in '{key}'" in err) == (2, True), err

    def test_flags_of_the_whole_are_refused_beside_a_shard(self, command: Command, tmp_path: Path) -> None:
        words = ["evaluate", *OF_MASKS, "--shard", "0/1"]
        for more in (["--bootstrap", "5"], ["--seed", "1"], ["--json"]):
            code, _, err = command(*words, "--out", tmp_path, *more)
            assert (code, f"{more[0]}: is of the whole set" in err) == (2, True)
        code, _, err = command(*words)
        assert (code, "--shard 0/1: --out is missing" in err) == (2, True)
        code, _, err = command("evaluate", *OF_MASKS, "--out", tmp_path)
        assert (code, "--shard is missing" in err) == (2, True)
        for flag in (["--bootstrap", "5"], ["--seed", "5"]):
            run_shards(command, tmp_path / flag[0], 1, "check", "./data")
            code, _, err = command("merge", tmp_path / flag[0], *flag)
            assert (code, f"{flag[0]}: is of scores" in err) == (2, True)

    def test_results_files_are_ranked_as_a_whole(self, command: Command, tmp_path: Path) -> None:
        root = MAKERS["coco"](tmp_path / "coco")
        truth = json.loads((root / "annotations/instances_val2017.json").read_text())["annotations"]
        (tmp_path / "results.json").write_text(json.dumps([{**one, "score": 1} for one in truth if not one["iscrowd"]]))
        words = ["evaluate", tmp_path / "results.json", "--data", "coco", "--root", root, "--instances", "box"]
        code, _, err = command(*words, "--shard", "0/2", "--out", tmp_path / "out")
        assert (code, "a results file is ranked as a whole" in err) == (2, True)


def test_the_row_of_each_measure_has_a_type() -> None:
    from perpixel.judging.stored_rows import row_type

    for name, entry in MEASURES.items():
        arguments = {"class_name": "x"} if entry.first == "class_name" else {}
        assert str(row_type(class_of(name)(**arguments))).strip("~") != "Row", name


@pytest.fixture(scope="module")
def unsound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with defects of single files, and with those that no shard sees alone: copies and classes."""
    root = make_folder(tmp_path_factory.mktemp("unsound") / "data", train=8, val=5)
    (root / "images/train/p01.jpg").write_bytes((root / "images/val/p04.jpg").read_bytes())  # a leak
    (root / "masks/train/p02.png").unlink()
    (root / "images/train/p03.jpg").write_bytes(b"")
    for path in (root / "masks/val").iterdir():  # no disc in val
        labels = np.array(Image.open(path))
        Image.fromarray(np.where(labels == 2, 0, labels)).save(path)
    (root / "classes.csv").write_text((root / "classes.csv").read_text() + "9,star,0,99,0\n")
    return root


class TestCheck:
    @pytest.mark.parametrize("which", ["unsound", "./data", "voc"])
    def test_the_report_is_that_of_one_process(self, command: Command, tmp_path: Path, unsound: Path, which: str) -> None:
        words = {"unsound": [str(unsound)], "voc": ["voc2012", "--root", str(tmp_path / "voc")]}.get(which, [which])
        if which == "voc":
            make_voc(tmp_path / "voc")
        code, expected, _ = command("check", *words, "--json")
        _, table, told = command("check", *words)
        for count in COUNTS:
            for index in range(count):
                of_shard = command("check", *words, "--shard", f"{index}/{count}", "--out", tmp_path / str(count))
                assert of_shard[0] in (0, 3), of_shard[2]
            merged = command("merge", tmp_path / str(count), "--json")
            assert merged[:2] == (code, expected)
            _, shown, said = command("merge", tmp_path / str(count))
            assert (shown, said.splitlines()[-1]) == (table, told.splitlines()[-1])
        if which == "unsound":
            kinds = {problem["kind"] for problem in json.loads(expected)["problems"]}
            assert kinds >= {"leak", "unpaired", "empty file", "class in one split", "empty class"}

    def test_what_needs_the_whole_set_is_refused_beside_a_shard(self, command: Command, tmp_path: Path) -> None:
        for more in (["--fix", tmp_path / "fixed"], ["--report", tmp_path / "page.html"], ["--json"]):
            code, _, err = command("check", "./data", "--shard", "0/2", "--out", tmp_path / "out", *more)
            assert (code, f"{more[0]}: is of the whole set" in err) == (2, True)
        (tmp_path / "a.json").write_text("{}")
        code, _, err = command("check", tmp_path / "a.json", "--shard", "0/2", "--out", tmp_path / "out")
        assert (code, "is checked as a whole" in err) == (2, True)
        assert not (tmp_path / "out").exists()


class TestConvert:
    @pytest.mark.parametrize("to", ["folder", "coco", "voc", "yolo", "labelme", "cvat", "label-studio", "cityscapes"])
    def test_the_files_are_those_of_one_process(self, command: Command, tmp_path: Path, sets: None, to: str) -> None:
        source = ["cityscapes", "--root", "city"] if to == "cityscapes" else ["./cells"]
        words = ["convert", *source, "--to", to]
        code, expected, _ = command("convert", *source, tmp_path / "one", "--to", to)
        assert code == 0
        for count in COUNTS:
            out = tmp_path / str(count)
            for index in range(count):
                code, _, err = command(words[0], *source, out, "--to", to, "--shard", f"{index}/{count}")
                assert (code, f"then: perpixel merge {out}" in err) == (0, True), err
            code, told, err = command("merge", out)
            assert (code, told) == (0, expected), err
            assert tree(out) == tree(tmp_path / "one")

    def test_names_that_cityscapes_does_not_know_are_numbered_alike(self, command: Command, tmp_path: Path) -> None:
        (tmp_path / "set").mkdir()
        root = make_folder(tmp_path / "set", train=4, val=3)
        (root / "classes.csv").write_text("id,name,r,g,b\n0,road,90,90,90\n1,car,200,40,40\n2,person,40,40,200\n255,void,0,0,0\n")
        assert command("convert", root, tmp_path / "one", "--to", "cityscapes")[0] == 0
        for index in range(2):
            assert command("convert", root, tmp_path / "out", "--to", "cityscapes", "--shard", f"{index}/2")[0] == 0
        assert command("merge", tmp_path / "out")[0] == 0
        assert tree(tmp_path / "out") == tree(tmp_path / "one")
        assert "names.csv" in tree(tmp_path / "out")

    def test_pictures_that_fail_are_told(self, command: Command, tmp_path: Path) -> None:
        root = make_folder(tmp_path / "set", train=4, val=3)
        (root / "images/train/p01.jpg").write_bytes(b"no picture")
        expected = command("convert", root, tmp_path / "one", "--to", "coco", "--json")
        codes = [command("convert", root, tmp_path / "out", "--to", "coco", "--shard", f"{index}/2")[0] for index in range(2)]
        assert (expected[0], sorted(codes)) == (3, [0, 3])
        assert command("merge", tmp_path / "out", "--json")[:2] == expected[:2]
        assert tree(tmp_path / "out") == tree(tmp_path / "one")

    def test_a_folder_of_others_and_an_archive_are_refused(self, command: Command, tmp_path: Path) -> None:
        (tmp_path / "out").mkdir()
        (tmp_path / "out/letter.txt").write_text("dear")
        code, _, err = command("convert", "./data", tmp_path / "out", "--shard", "0/2")
        assert (code, "exists already; name a new folder" in err) == (2, True)
        shutil.make_archive(str(tmp_path / "set"), "zip", "data")
        code, _, err = command("convert", tmp_path / "set.zip", tmp_path / "new", "--shard", "0/2")
        assert (code, "each shard would unpack it anew" in err) == (2, True)
        code, _, err = command("convert", "./data", tmp_path / "new", "--shard", "0/2", "--json")
        assert (code, "--json: is of the whole set" in err) == (2, True)
        assert command("convert", "./data", tmp_path / "new", "--shard", "0/2")[0] == 0
        code, _, err = command("convert", "./data", tmp_path / "new", "--shard", "1/2", "--to", "coco")
        assert (code, "differs in 'to'" in err) == (2, True)


@pytest.mark.parametrize(("words", "code", "sentence"), [
    (["merge", "missing"], 3, "there is no such folder; name the --out of the shards"),
    (["merge", "data"], 3, "holds no shards; name the --out of commands with --shard"),
    (["merge", "data/classes.csv"], 3, "there is no such folder"),
    (["evaluate", *OF_MASKS, "--shard", "3/3", "--out", "x"], 2, "shards are counted from 0"),
    (["check", "./data", "--shard", "auto", "--out", "x"], 2, "JOB_COMPLETION_INDEX"),
    (["convert", "./data", "x", "--shard", "one"], 2, "must be i/n"),
])  # fmt: skip
def test_mistakes_are_told_in_one_sentence(command: Command, words: list[str], code: int, sentence: str) -> None:
    found, out, err = command(*words)
    assert (found, out, err.count("\n")) == (code, "", 1), err
    assert sentence in err


@pytest.mark.skipif(not HAS_TORCH, reason="torch is hidden from this process too.")
def test_torchrun_and_a_shard_are_refused_together(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from contextlib import contextmanager

    from perpixel.machines import team

    @contextmanager
    def of_two(_: str) -> Iterator[team.Team]:
        yield team.Team(0, 2, "cpu")

    monkeypatch.setattr(team, "join", of_two)
    code, _, err = command("evaluate", *OF_MASKS, "--shard", "0/2", "--out", tmp_path)
    assert (code, "torchrun divides the pictures too" in err) == (2, True)


