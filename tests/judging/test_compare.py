"""compare: every measure by two sides and three, of masks, models and results; what is left out, stands apart, and where sides
differ."""

import json
import math
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes import make_folder
from hidden_torch import require_torch
from judging.test_intervals import spoil
from PIL import Image
from pinned_sets import put_sets

from perpixel.cli import main
from perpixel.datasets import open_dataset
from perpixel.errors import DataError, UsageError
from perpixel.judging.compare import compare
from perpixel.judging.comparison import holm, names_of, verdicts
from perpixel.judging.evaluate import evaluate
from perpixel.judging.where import confusions, groups_of
from perpixel.measures import MEASURES
from perpixel.measures.confusion_matrix import ConfusionMatrix
from perpixel.measures.surfaces import Surfaces

approx = pytest.approx
# Of each measure what judges, what judges by: of masks and models, or of results files alone.
STREET = ("street", "--data street")
PICTURES = {
    "pixels": STREET,
    "objects": ("street", "--data street --objects disc"),
    "boundary_iou": ("street", "--data street --boundary-iou"),
    "surfaces": ("street", "--data street --surfaces"),
    "calibration": ("street", "--data street --calibration"),
    "membranes": ("tissue", "--data tissue --membranes membrane"),
    "cityscapes": ("city", "--data cityscapes --root cityscapes --cityscapes"),
}
RESULTS = {
    "instances": ("instances", "--data coco --root coco --instances box"),
    "panoptic": ("panoptic", "--data coco_panoptic --root coco --panoptic"),
}
WITH_CLASSES = {"pixels", "boundary_iou"}  # measures with an IoU of each class
HOLES = {"street": "b", "tissue": "q", "city": "lindau_000001_000019", "panoptic": "000000000011.jpg"}  # which their files lack


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("sets")
    put_sets(root)
    return root


@pytest.fixture
def here(sets: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the sets, in which commands run."""
    monkeypatch.chdir(sets)
    return sets


def told(command: Any, sides: Sequence[str], judged: str, *more: str) -> tuple[int, dict[str, Any]]:
    if any("-model" in side for side in sides):
        require_torch()
    words = ["compare", *sides, *judged.split(), "--samples", "9", "--device", "cpu", *more]
    code, out, err = command(*words, "--json")
    assert out, err
    return code, json.loads(out)


def require_sound(content: dict[str, Any], sides: Sequence[str], judged: str, command: Any) -> None:
    """The sides have the figures of `evaluate`, where they lack no picture; pairs the differences of sides."""
    by_name = {side["name"]: side for side in content["sides"]}
    assert list(by_name) == list(sides)
    every = [(one, other) for place, one in enumerate(sides) for other in sides[place + 1 :]]
    assert [(pair["first"], pair["second"]) for pair in content["pairs"]] == every
    for pair in content["pairs"]:
        assert pair["figures"].keys() == by_name[pair["first"]]["figures"].keys()
        for part in ("figures", "classes"):
            for name, one in pair[part].items():
                first, second = (by_name[pair[key]][part][name]["value"] for key in ("first", "second"))
                assert (one["first"], one["second"]) == (first, second)
                if one["p_value"] is not None:
                    assert one["difference"] == second - first
                    assert 0.1 <= one["p_value"] <= one["p_holm"] <= 1  # of nine exchanges one in ten at least
    assert {len(picture["values"]) for picture in content["by_picture"]["pictures"]} == {len(sides)}
    assert len(content["by_picture"]["pictures"]) == content["pictures"]
    if len(sides) == 2:
        _, out, _ = command("evaluate", sides[0], *judged.split(), "--device", "cpu", "--json")
        for name, value in json.loads(out)["figures"].items():
            value = value["value"] if isinstance(value, dict) else value
            assert by_name[sides[0]]["figures"][name]["value"] == approx(value, nan_ok=True)


def test_every_measure_is_tried() -> None:
    assert {*PICTURES, *RESULTS} == {*MEASURES}


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("measure", [name for name in PICTURES if name != "calibration"])
def test_masks(here: Path, measure: str, count: int, command) -> None:
    data, judged = PICTURES[measure]
    sides = [f"{data}-first", f"{data}-second", f"{data}-holes"][:count]
    code, content = told(command, sides, judged)
    assert code == (3 if count == 3 else 0)
    left_out = [picture["picture"] for kind in content["left_out"] for picture in kind["pictures"]]
    assert (HOLES[data] in left_out) == (count == 3)
    assert bool(content["sides"][0]["classes"]) == (measure in WITH_CLASSES)
    require_sound(content, sides, judged, command)


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("measure", PICTURES)
def test_models_and_beside_them_masks(here: Path, measure: str, count: int, command) -> None:
    data, judged = PICTURES[measure]
    third = f"{data}-model/model.safetensors" if measure == "calibration" else f"{data}-first"
    paths = [f"{data}-model", f"{data}-model-two", third][:count]
    code, content = told(command, paths, judged)
    assert code == 0
    names = [*paths[:2], *(["model.safetensors"] if measure == "calibration" else [third])][:count]
    require_sound(content, names, judged, command)
    assert content["costs"].keys() == {name for name in names if name != f"{data}-first"}
    assert content["costs"][names[0]]["parameters"] > 10_000


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("measure", RESULTS)
def test_results_files(here: Path, measure: str, count: int, command) -> None:
    data, judged = RESULTS[measure]
    third = shutil.copy(f"{data}-first.json", f"{data}-third.json")
    if measure == "panoptic":
        shutil.copytree(f"{data}-holes", f"{data}-third", dirs_exist_ok=True)
    sides = [f"{data}-first.json", f"{data}-second.json", third][:count]
    code, content = told(command, sides, judged)
    assert code == (3 if (measure, count) == ("panoptic", 3) else 0)
    require_sound(content, sides, judged, command)


def test_results_files_and_masks_are_not_mixed(here: Path, command) -> None:
    code, out, err = command("compare", "street-first", "street-model", "--data", "street", "--instances", "mask")
    assert (code, out) == (2, "")
    assert "is judged by an annotation file" in err or "judges a results file by an annotation file" in err


def test_one_side_and_a_flag_for_the_second_of_three(here: Path, command) -> None:
    code, _, err = command("compare", "street-first", "--data", "street")
    assert (code, "1 side is named; name two or more" in err) == (2, True)
    code, _, err = command("compare", *["street-first"] * 3, "--data", "street", "--other-crf")
    assert (code, "--other-crf: is for the second of two sides, and 3 are named" in err) == (2, True)


@pytest.mark.parametrize(
    ("flags", "code", "part"),
    [
        (["--timing", "3"], 2, "--timing: masks and results are predicted already; name a run or model file"),
        (["--timing", "-1"], 2, "--timing -1: must be 0 or more."),
        (["--pictures", "-1"], 2, "--pictures -1: must be 0 or more."),
        (["--samples", "1"], 2, "give 2 halves or more"),
        (["--slices", "nowhere.csv"], 3, "nowhere.csv: there is no such file."),
    ],
)
def test_a_mistake_is_told_before_anything_is_judged(
    here: Path, monkeypatch: pytest.MonkeyPatch, flags: list[str], code: int, part: str, command
) -> None:
    monkeypatch.setattr("perpixel.judging.compare.counted", None)
    found, out, err = command("compare", "street-first", "street-second", "--data", "street", *flags)
    assert (found, out, len(err.splitlines())) == (code, "", 1)
    assert part in err


class TestHolm:
    def test_by_hand(self) -> None:
        """3 x 0.01, then 2 x 0.03, then what is no less than that before it."""
        assert holm([0.01, 0.04, 0.03]) == approx([0.03, 0.06, 0.06])
        assert holm([0.5, 0.9]) == approx([1, 1])
        assert holm([0.2, math.nan]) == approx([0.2, math.nan], nan_ok=True)

    def test_one_test_is_left_as_it_is(self) -> None:
        assert holm([0.04]) == [0.04]


class TestNames:
    @pytest.mark.parametrize(
        ("paths", "names"),
        [
            (["runs/a", "runs/b"], ["a", "b"]),
            (["one/masks/val", "two/masks/val"], ["one/masks/val", "two/masks/val"]),
            (["a/x", "b/x", "c/y"], ["a/x", "b/x", "c/y"]),
            (["a", "a"], ["a (1)", "a (2)"]),
            (["x/a", "a"], ["x/a", "a"]),
            ([".", "a"], [".", "a"]),
        ],
    )
    def test_the_last_parts_that_tell_them_apart(self, paths: list[str], names: list[str]) -> None:
        assert names_of(paths) == names


class TestLeftOut:
    @pytest.fixture
    def place(self, tmp_path: Path) -> Path:
        """Twelve pictures, three sides, of which b has a mask of another size and c lacks five."""
        data = make_folder(tmp_path / "data", val=12)
        for seed, (name, share) in enumerate({"a": 0.1, "b": 0.2, "c": 0.4}.items(), start=1):
            spoil(data / "masks" / "val", tmp_path / name, seed, share)
        masks = sorted((tmp_path / "c").iterdir())
        for path in masks[:5]:
            path.unlink()
        Image.fromarray(np.zeros((3, 3), np.uint8)).save(tmp_path / "b" / masks[4].name)
        Image.fromarray(np.zeros((3, 3), np.uint8)).save(tmp_path / "b" / masks[7].name)
        return tmp_path

    def test_the_figures_are_those_of_the_pictures_that_all_have(self, place: Path) -> None:
        sides = [place / name for name in "abc"]
        found = compare(sides, open_dataset(place / "data", split="val"), samples_drawn=50)
        left = {one.picture for one in found.left_out}
        assert (found.num_pictures, len(left)) == (6, 6)
        assert found.protocol["left_out"] == sorted(left)
        for name in left:
            (place / f"data/images/val/{name}.jpg").unlink()
            (place / f"data/masks/val/{name}.png").unlink()
        fewer = compare(sides, open_dataset(place / "data", split="val"), samples_drawn=50)
        assert [pair.to_json() for pair in found.pairs] == [pair.to_json() for pair in fewer.pairs]
        assert not fewer.left_out
        assert found.protocol_hash != fewer.protocol_hash

    def test_they_are_named_once_by_kind(self, place: Path, command) -> None:
        words = ["compare", *(str(place / name) for name in "abc"), "--data", str(place / "data"), "--samples", "9"]
        code, out, err = command(*words)
        assert code == 3
        assert "6 of 12 pictures cannot be judged on every side; the figures are of the other 6 alone." in err
        lines = [line for line in err.splitlines() if line.startswith("...") or (line.startswith(str(place)) and ": " in line)]
        assert len(lines) == 3 + 1 + 2
        assert lines[3] == "... and 2 more of this kind, 5 pictures in all; --json lists them."
        assert "6 pictures, 95 % intervals" in out
        kinds = json.loads(command(*words, "--json")[1])["left_out"]
        assert [(kind["count"], len(kind["pictures"])) for kind in kinds] == [(5, 5), (2, 2)]
        assert kinds[0]["kind"] == "there is no mask for the picture ...; predict it first."
        assert kinds[1]["pictures"][0]["side"] == "b"

    def test_nothing_is_compared_on_nothing(self, place: Path, command) -> None:
        (place / "empty").mkdir()
        words = ["compare", *(str(place / name) for name in ("a", "b", "empty")), "--data", str(place / "data")]
        code, out, err = command(*words)
        assert (code, out) == (3, "")
        assert "empty: none of 12 pictures can be judged: " in err.splitlines()[-1]
        for path in sorted((place / "a").iterdir())[5:]:
            path.unlink()
        code, out, err = command(*words[:2], str(place / "c"), *words[4:])
        assert (code, out) == (3, "")
        assert err.splitlines()[-1].endswith("No picture can be judged on every side; mend these, or leave the side out.")


class TestProtocols:
    def test_a_side_of_other_pictures_stands_apart(self, tmp_path: Path) -> None:
        data = make_folder(tmp_path / "data", train=6, val=6)
        val, train = (open_dataset(data, split=split) for split in ("val", "train"))
        for name, split in (("a", "val"), ("b", "train"), ("c", "val")):
            spoil(data / "masks" / split, tmp_path / name, 1, 0.2)
        found = compare([tmp_path / name for name in "abc"], [val, train, val], samples_drawn=20)
        assert [side.apart for side in found.sides] == ["", found.sides[1].apart, ""]
        assert found.sides[1].apart.startswith("split: train, the others val; data: ")
        assert [(pair.first, pair.second) for pair in found.pairs] == [("a", "c")]
        assert [side.name for side in found.ranked] == ["a", "c"]
        alone = evaluate(tmp_path / "b", train)
        assert found.sides[1].figures["mIoU"].value == alone.mean_iou
        assert found.sides[1].protocol_hash == alone.protocol_hash != found.protocol_hash

    def test_one_other_pixel_of_truth_is_another_protocol(self, tmp_path: Path) -> None:
        one, other = (make_folder(tmp_path / name, val=3) for name in ("one", "other"))
        path = (
            other / "masks/val/p02.png" if (other / "masks/val/p02.png").exists() else sorted((other / "masks/val").iterdir())[0]
        )
        labels = np.array(Image.open(path))
        labels[0, 0] = (labels[0, 0] + 1) % 3
        Image.fromarray(labels).save(path)
        masks = spoil(one / "masks/val", tmp_path / "masks", 1)
        sets = [open_dataset(folder, split="val") for folder in (one, other)]
        with pytest.raises(UsageError, match=r"the protocols differ .* in 'data'"):
            compare([masks, masks], sets)
        assert compare([masks] * 3, [sets[0], sets[0], sets[1]], samples_drawn=9).sides[2].apart.startswith("data: ")

    def test_masks_of_the_wrong_set_are_doubted(self, here: Path) -> None:
        with pytest.raises(UsageError, match="two sides or more"):
            compare(["street-first"], open_dataset("street"))


class TestVerdicts:
    def test_a_difference_none_and_too_few_pictures(self, tmp_path: Path) -> None:
        data = make_folder(tmp_path / "data", val=12)
        sides = [spoil(data / "masks/val", tmp_path / name, 1, share) for name, share in (("bad", 0.4), ("good", 0.1))]
        same = shutil.copytree(sides[1], tmp_path / "same")
        dataset = open_dataset(data, split="val")
        better, none, also = verdicts(compare([*sides, same], dataset, samples_drawn=400))
        assert none.startswith("good is better than bad: mIoU ") or better.startswith("good and same: no difference")
        assert {one.split(";")[0] for one in (better, none, also)} >= {"good and same: no difference can be shown"}
        assert sum(" is better than bad: mIoU " in one for one in (better, none, also)) == 2
        four = open_dataset(make_folder(tmp_path / "four", val=4), split="val")
        masks = [spoil(tmp_path / "four/masks/val", tmp_path / f"four {share}", 1, share) for share in (0.0, 0.5)]
        said = verdicts(compare(masks, four, samples_drawn=400))
        assert "no difference can be shown" in said[0]
        assert said[1] == "4 pictures are too few to show any difference: p cannot be below 0.12."
        assert verdicts(compare(masks, four, samples_drawn=5))[1].startswith("5 exchanges are too few")

    def test_the_smaller_distance_is_the_better_one(self, tmp_path: Path) -> None:
        data = make_folder(tmp_path / "data", val=12)
        sides = [spoil(data / "masks/val", tmp_path / name, 1, share) for name, share in (("bad", 0.4), ("good", 0.02))]
        found = compare(sides, open_dataset(data, split="val"), Surfaces(), samples_drawn=100)
        assert [side.name for side in found.ranked] == ["good", "bad"]


class TestWhere:
    def test_the_figure_of_a_picture_is_that_of_a_set_of_it_alone(self, tmp_path: Path) -> None:
        data = make_folder(tmp_path / "data", val=5)
        sides = [spoil(data / "masks/val", tmp_path / name, seed) for seed, name in enumerate("ab")]
        found = compare(sides, open_dataset(data, split="val"), samples_drawn=9).by_picture
        for place, name in enumerate(found.names):
            alone = shutil.copytree(data, tmp_path / "alone")
            for other in found.names:
                if other != name:
                    (alone / f"images/val/{other}.jpg").unlink()
                    (alone / f"masks/val/{other}.png").unlink()
            one = open_dataset(alone, split="val")
            assert [found.values[side][place] for side in "ab"] == [evaluate(folder, one).mean_iou for folder in sides]
            shutil.rmtree(alone)
        gains = found.values["a"] - found.values["b"]
        assert found.gains("a", "b", 9) == [
            (found.names[place], gains[place]) for place in np.argsort(-gains) if gains[place] > 0
        ]  # fmt: skip
        assert found.hardest(1) == [found.names[int(np.maximum(found.values["a"], found.values["b"]).argmin())]]

    def test_confusions_by_hand(self) -> None:
        """Of ten pixels of a one side takes 3 for b, the other 1; of four pixels of b both take 2 for a."""
        one, other = ConfusionMatrix(3), ConfusionMatrix(3)
        one.counts[:2] = [[7, 3, 0], [2, 2, 0]]
        other.counts[:2] = [[9, 1, 0], [2, 1, 1]]
        found = confusions({"one": one, "other": other}, ["a", "b", "c"])
        assert [(each.truth, each.taken_for, each.pixels, dict(each.shares)) for each in found] == [
            ("b", "c", 4, {"one": 0.0, "other": 0.25}), ("a", "b", 10, {"one": 0.3, "other": 0.1}),
        ]  # fmt: skip


class TestSlices:
    def put(self, folder: Path, text: str) -> Path:
        path = folder / "table.csv"
        path.write_text(text)
        return path

    def test_words_numbers_and_many_numbers(self, tmp_path: Path) -> None:
        names = [f"p{number:02d}" for number in range(12)]
        lines = "".join(
            f"{name}.jpg,{'day' if place % 3 else 'night'},{place % 2},{place * 1.5}\n" for place, name in enumerate(names)
        )
        groups = groups_of(self.put(tmp_path, f"picture,light,camera,depth\n{lines}other,day,0,0\n"), [*names, "p99"])
        assert {key: places.tolist() for key, places in groups.places.items()} == {
            ("light", "day"): [1, 2, 4, 5, 7, 8, 10, 11], ("light", "night"): [0, 3, 6, 9],
            ("camera", "0"): [0, 2, 4, 6, 8, 10], ("camera", "1"): [1, 3, 5, 7, 9, 11],
            ("depth", "0 to 3"): [0, 1, 2], ("depth", "4.5 to 7.5"): [3, 4, 5],
            ("depth", "9 to 12"): [6, 7, 8], ("depth", "13.5 to 16.5"): [9, 10, 11],
        }  # fmt: skip
        assert groups.missing == 1

    def test_a_slice_has_the_figures_of_its_pictures(self, tmp_path: Path, command) -> None:
        data = make_folder(tmp_path / "data", val=6)
        sides = [spoil(data / "masks/val", tmp_path / name, seed) for seed, name in enumerate("ab")]
        names = [open_dataset(data, split="val").name(place) for place in range(6)]
        halves = "".join(f"{name},{'first' if place < 3 else 'last'}\n" for place, name in enumerate(names))
        table = self.put(tmp_path, f"name,half\n{halves}")
        words = ["compare", *map(str, sides), "--data", str(data), "--samples", "9", "--slices", str(table)]
        first, last = json.loads(command(*words, "--json")[1])["slices"]
        assert (first["column"], first["value"], first["pictures"], last["value"]) == ("half", "first", 3, "last")
        assert ["half", "first", "3"] in [line.split()[:3] for line in command(*words)[1].splitlines()]
        for name in names[3:]:
            (data / f"images/val/{name}.jpg").unlink()
            (data / f"masks/val/{name}.png").unlink()
        fewer = open_dataset(data, split="val")
        assert first["figures"]["a"] == approx(evaluate(sides[0], fewer).figures)

    @pytest.mark.parametrize(
        ("text", "part"),
        [
            ("name,light\nelse,day\n", "its first column names none of the pictures, of which p00 is the first"),
            ("name\np00\n", "has one column; add one that says something of each picture"),
            ("name,light\np00,day\np00.png,night\n", "line 3: has the picture p00 again; keep one row."),
            ("", "its first column names none"),
        ],
    )
    def test_one_sentence_for_a_mistake(self, tmp_path: Path, text: str, part: str) -> None:
        with pytest.raises(DataError, match=part):
            groups_of(self.put(tmp_path, text), ["p00", "p01"])


def test_the_command_says_where_what_is_and_what_it_costs(here: Path, command) -> None:
    require_torch()
    code, out, err = command("compare", "street-model", "street-model-two", "--data", "street", "--samples", "9", "--timing", "3",
                             "--device", "cpu", "--json")  # fmt: skip
    assert code == 0, err
    content = json.loads(out)
    cost = content["costs"]["street-model"]
    assert cost["speed"]["num_pictures"] == 3
    assert 0 < cost["speed"]["p50"] <= cost["speed"]["p95"]
    assert cost["minutes"] is None  # nobody trained it
    assert content["sides"][0]["conditions"] == {
        "data": content["protocol"]["data"][:8], "split": "val", "trained_on": "not known", "pre_training": "not known",
        "sizes": "scale 1", "predicts": "the whole picture", "judged_at": "the size of the truth",
    }  # fmt: skip


def test_two_ways_of_one_model_have_names(here: Path, command) -> None:
    require_torch()
    code, out, err = command("compare", "street-model", "street-model", "--data", "street", "--samples", "9", "--other-average",
                             "flips", "--device", "cpu", "--json")  # fmt: skip
    assert code == 0, err
    sides = json.loads(out)["sides"]
    assert [side["name"] for side in sides] == ["street-model", "street-model, average flips"]
    assert sides[0]["conditions"]["predicts"] == "the whole picture"
    assert sides[1]["conditions"]["predicts"].startswith("flips: mean of raw scores as it is, left-right")


def test_no_picture_is_named_where_none_is_asked_for(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["compare", "street-first", "street-second", "--data", "street", "--samples", "9"]
    main(words)
    assert "street-first beats street-second" in capsys.readouterr().out
    main([*words, "--pictures", "0"])
    assert "beats" not in capsys.readouterr().out
