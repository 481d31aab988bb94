"""The review at few steps: stages in order, one protocol for whole pictures, another for boxes, record, table, pictures."""

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from perpixel.datasets import open_dataset, scenes, with_objects
from perpixel.errors import DataError, UntrustedFile, UsageError
from perpixel.images import read_labels
from perpixel.judging.evaluate import evaluate
from perpixel.measures.instances import AveragePrecision
from perpixel.networks import NETWORKS, YARDSTICKS
from perpixel.prediction.inference import Inference
from perpixel.sample import Instances, Prediction
from perpixel.studies import entries, review
from perpixel.studies.entries import ENTRIES, Entry
from perpixel.studies.objects import figures_of, regions, things_of
from perpixel.studies.review import Plan, Review
from perpixel.weights import model_file

SMALL = {"width": 0.05, "side": 32}
TINY = {
    "fcn8s": Entry("fcn8s", {"width": 0.05, "padding": 1}),
    "deconvnet": Entry("deconvnet", SMALL),
    "boxes": Entry(
        "deconvnet", SMALL,
        stages=(
            {"share": 0.5, "crops": "objects", "crop": (32, 32)},
            {"crops": "proposals", "proposals": "sliding", "crop": (32, 32)},
        ),
        inference=Inference(proposals=3, proposals_by="sliding"), how="3 boxes",
    ),
    "broken": Entry("fcn8s", {"width": 0.05, "padding": 1}, starts_from="no/such/trunk"),
}  # fmt: skip
OBJECTS_TINY = {
    "mask_rcnn": Entry(
        "mask_rcnn", {**entries.REGIONS, "width": 0.0625, "min_size": (64,), "max_size": 80}, None, (entries.OF_REGIONS,)
    ),
    "unet_regions": Entry(
        "unet", {"width": 0.0625, "convolutions": "same"}, None, ({"separation_weights": 10.0},), how="regions"
    ),
}  # fmt: skip
SEEDS = (0, 1)


def silent(what: str) -> Callable[[int, int, str], None]:
    return lambda done, total, text: None


@pytest.fixture(scope="module", autouse=True)
def few_pictures() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"batch": 2, "device": "cpu"}.items():
            patch.setitem(entries.PROTOCOL, name, value)
        patch.setitem(scenes.SPLITS, "val", 3)
        patch.setattr(review, "EXCHANGES", 100)
        for split, ends in {"fit": (0, 6), "tune": (6, 8)}.items():
            patch.setitem(scenes.CUT, split, ends)
        yield


@pytest.fixture(scope="module")
def reviewed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("review")
    Review(out, Plan(steps=4, seeds=SEEDS), TINY).run(lambda _: None, silent)
    return out


@pytest.fixture(scope="module")
def record(reviewed: Path) -> dict:
    return json.loads((reviewed / "review.json").read_text())


def rows_of(record: dict) -> dict:
    return {row["name"]: row for row in record["rows"]}


def test_each_stage_starts_from_the_one_before_and_has_its_share_of_the_steps(reviewed: Path) -> None:
    first, second = reviewed / "runs/boxes/0/stages/1", reviewed / "runs/boxes/0"
    before, after = (model_file.load(run).card.recipe for run in (first, second))
    assert (before["crops"], after["crops"], after["starts_from"]) == ("objects", "proposals", str(first))
    assert before["steps"] == after["steps"] == 2


def test_val_is_not_looked_at_before_it_is_judged(reviewed: Path) -> None:
    recipe = model_file.load(reviewed / "runs/fcn8s/0").card.recipe
    assert (recipe["train_split"], recipe["val_split"]) == ("fit", "tune")


def test_boxes_are_judged_by_a_protocol_of_their_own(record: dict, reviewed: Path) -> None:
    hashes = {name: row["runs"][0]["scores"]["protocol_hash"] for name, row in rows_of(record).items() if row["runs"]}
    assert hashes["fcn8s"] == hashes["deconvnet"] == record["protocol_hash"] != hashes["boxes"]
    assert f"protocol {hashes['boxes']}, 3 boxes by sliding" in (reviewed / "table.md").read_text()


def test_the_minutes_are_those_of_all_stages(record: dict, reviewed: Path) -> None:
    sessions = [
        session["seconds"]
        for seed in SEEDS
        for run in (reviewed / f"runs/boxes/{seed}/stages/1", reviewed / f"runs/boxes/{seed}")
        for session in json.loads((run / "run.json").read_text())["sessions"]
    ]
    assert rows_of(record)["boxes"]["minutes"] == pytest.approx(sum(sessions) / 60 / len(SEEDS))


def test_a_network_that_fails_is_told_with_the_reason_and_the_others_go_on(record: dict, reviewed: Path) -> None:
    broken = rows_of(record)["broken"]
    assert "no/such/trunk" in broken["failed"]
    assert broken["runs"] == []
    assert "no/such/trunk" in (reviewed / "table.md").read_text()
    assert [len(row["runs"]) for name, row in rows_of(record).items() if name != "broken"] == [2, 2, 2]


def test_the_figures_are_those_of_evaluate_and_the_stored_labels_give_them_too(record: dict, reviewed: Path) -> None:
    dataset = open_dataset("scenes", split="val")
    row = rows_of(record)["fcn8s"]
    known = evaluate(model_file.load(reviewed / "runs/fcn8s/0"), dataset).figures["mIoU"]
    assert row["runs"][0]["scores"]["figures"]["mIoU"] == known
    assert evaluate(reviewed / "predictions/fcn8s", dataset).figures["mIoU"] == known
    assert read_labels(reviewed / "predictions/fcn8s" / f"{dataset.name(0)}.png").shape == (128, 160)
    other = evaluate(model_file.load(reviewed / "runs/fcn8s/1"), dataset).figures["mIoU"]
    assert row["figures"]["mIoU"]["mean"] == pytest.approx((known + other) / 2)
    # Student's t for one degree of freedom: 12.706 standard deviations of the mean.
    assert row["figures"]["mIoU"]["seeds"] == pytest.approx(12.7062 * abs(known - other) / 2, rel=1e-4)


def test_every_two_networks_are_compared(record: dict) -> None:
    figures = {name: row["figures"]["mIoU"]["mean"] for name, row in rows_of(record).items() if row["figures"]}
    assert [(pair["a"], pair["b"]) for pair in record["pairs"]] == [
        ("fcn8s", "deconvnet"), ("fcn8s", "boxes"), ("deconvnet", "boxes"),
    ]  # fmt: skip
    for pair in record["pairs"]:
        assert pair["difference"] == pytest.approx(figures[pair["a"]] - figures[pair["b"]])
        assert 0 < pair["p"] <= 1


def test_the_same_command_again_trains_and_judges_nothing(reviewed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("judged again")

    before = (reviewed / "review.json").read_bytes()
    monkeypatch.setattr(review, "counted", refuse)
    Review(reviewed, Plan(steps=4, seeds=SEEDS), TINY).run(lambda _: None, silent)
    assert (reviewed / "review.json").read_bytes() == before


def test_two_reviews_with_one_seed_give_the_same_digits(reviewed: Path, record: dict, tmp_path: Path) -> None:
    Review(tmp_path, Plan(steps=4), {"fcn8s": TINY["fcn8s"]}).run(lambda _: None, silent)
    again = rows_of(json.loads((tmp_path / "review.json").read_text()))["fcn8s"]
    assert again["runs"][0]["scores"] == rows_of(record)["fcn8s"]["runs"][0]["scores"]
    for picture in (reviewed / "predictions/fcn8s").iterdir():
        assert np.array_equal(read_labels(picture), read_labels(tmp_path / "predictions/fcn8s" / picture.name))


def test_networks_that_find_objects_have_a_table_of_their_own(tmp_path: Path) -> None:
    Review(tmp_path, Plan(steps=2), {}, OBJECTS_TINY).run(lambda _: None, silent)
    instances = json.loads((tmp_path / "review.json").read_text())["instances"]
    assert instances["things"] == ["car", "person"]
    rows = {row["name"]: row for row in instances["rows"]}
    assert rows.keys() == OBJECTS_TINY.keys()
    for row in rows.values():
        assert row["failed"] is None
        assert all(0 <= row["figures"][name]["mean"] <= 1 for name in ("AP", "AP50", "AR", "PQ"))
    assert "| network | AP | AP50 | AR | PQ | paper |" in (tmp_path / "table.md").read_text()
    known = evaluate(model_file.load(tmp_path / "runs/mask_rcnn/0"), open_dataset("scenes"), AveragePrecision("mask"))
    assert rows["mask_rcnn"]["runs"][0]["figures"]["AP"] == known.figures["AP"]


def test_regions_are_objects_with_the_mean_of_their_probabilities() -> None:
    labels = np.array([[1, 1, 0, 1], [0, 0, 0, 1]])
    probabilities = np.array([[0.5, 1.0, 0.1, 0.2], [0.1, 0.1, 0.1, 0.4]], np.float32)
    found = regions(labels, probabilities, 1)
    assert found.numbers.tolist() == [[1, 1, 0, 2], [0, 0, 0, 2]]
    assert found.scores.tolist() == pytest.approx([0.75, 0.3])


def test_the_truth_as_objects_is_found_whole() -> None:
    dataset = with_objects(open_dataset("scenes"))
    samples = [dataset.sample(index) for index in range(len(dataset))]
    objects = [
        Instances(one.masks, one.class_ids, np.ones(len(one.class_ids), np.float32)) for one in (s.instances for s in samples)
    ]
    found = [Prediction(sample.labels, dataset.classes, None, one) for sample, one in zip(samples, objects, strict=True)]
    assert set(figures_of(found, dataset, things_of(dataset)).values()) == {1.0}


@pytest.mark.parametrize("plan", [Plan(steps=5), Plan(steps=4, minutes=1.0)])
def test_a_review_of_another_length_leaves_what_the_folder_holds(reviewed: Path, plan: Plan) -> None:
    before = {name: (reviewed / name).read_bytes() for name in ("review.json", "table.md")}
    with pytest.raises(UsageError, match="choose another --out"):
        Review(reviewed, plan, TINY).run(lambda _: None, silent)
    assert {name: (reviewed / name).read_bytes() for name in before} == before


def test_a_damaged_record_is_told(tmp_path: Path) -> None:
    (tmp_path / "review.json").write_bytes(b'{"data": 1}')
    with pytest.raises(UntrustedFile, match="is damaged"):
        Review(tmp_path, Plan(steps=1), TINY).run(lambda _: None, silent)


def test_pictures_show_every_network(reviewed: Path) -> None:
    assert (reviewed / "pictures.png").is_file()
    assert {path.name for path in (reviewed / "predictions").iterdir()} == TINY.keys() - {"broken"}


def test_a_review_in_which_all_fail_says_so(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no network of the review could be trained"):
        Review(tmp_path, Plan(steps=1), {"broken": TINY["broken"]}).run(lambda _: None, silent)


def test_minutes_become_steps_once(tmp_path: Path) -> None:
    reviewed = Review(tmp_path, Plan(minutes=0.05), {"fcn8s": TINY["fcn8s"]})
    steps = reviewed.steps("fcn8s", TINY["fcn8s"])
    seconds = json.loads((tmp_path / "timed/fcn8s/seconds.json").read_text())["seconds of a step"]
    assert steps == max(1, round(3 / seconds)) == reviewed.steps("fcn8s", TINY["fcn8s"])


def test_rows_from_scratch_are_those_of_networks_with_a_trunk() -> None:
    chosen = Plan(scratch=True, names=("fcn8s", "unet")).entries(ENTRIES)
    assert [*chosen] == ["fcn8s", "unet", "fcn8s_scratch"]
    assert chosen["fcn8s_scratch"].starts_from is None
    assert review.settings_of("fcn8s_scratch") == review.settings_of("fcn8s")
    with pytest.raises(UsageError, match="did you mean 'fcn8s'"):
        Plan(names=("fcn8",)).entries(ENTRIES)


@pytest.mark.parametrize("name", ENTRIES)
def test_recipes_of_the_review_are_valid_and_start_from_a_trunk_that_fits(name: str, tmp_path: Path) -> None:
    entry = ENTRIES[name]
    recipes = Review(tmp_path, Plan(), {name: entry}).recipes(entry, tmp_path / "run", 0, 180, review.settings_of(name))
    assert sum(recipe.steps for recipe, _ in recipes) == 180
    assert (recipes[0][0].starts_from is None) == (entry.network == "unet")  # the one paper that trains from scratch
    assert all(math.isfinite(recipe.lr) for recipe, _ in recipes)
    first, second = (
        Review(tmp_path, Plan(), {name: entry}).recipes(entry, tmp_path / "run", 0, 180, {**review.settings_of(name), **choice})
        for choice in entry.choices
    )
    assert first != second


def test_all_networks_of_the_review_take_part() -> None:
    here = {entry.network for entry in [*ENTRIES.values(), *entries.OBJECTS.values()]}
    systems = {name for name in NETWORKS if not name.startswith("torchvision_")} - YARDSTICKS.keys()
    assert systems - here == {"fcn8s_atonce", "classifier", "fpn_proposals"}
