"""The review at two steps a network: stages in order, one protocol for whole pictures, another for boxes, table and pictures."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from perpixel.datasets import scenes
from perpixel.networks import NETWORKS, YARDSTICKS
from perpixel.prediction.inference import Inference
from perpixel.studies import review
from perpixel.studies.review import Entry
from perpixel.weights import model_file

OF_OBJECTS = ("mask_rcnn", "panet", "fpn_proposals")  # the review judges a class for every pixel of `scenes`
SMALL = {"width": 0.05, "side": 32}
ENTRIES = {
    "fcn8s": Entry("fcn8s", {"width": 0.05, "padding": 1}),
    "deconvnet": Entry("deconvnet", SMALL),
    "boxes": Entry(
        "deconvnet", SMALL,
        ({"crops": "objects", "crop": (32, 32)}, {"crops": "proposals", "proposals": "sliding", "crop": (32, 32)}),
        Inference(proposals=3, proposals_by="sliding"), "3 boxes",
    ),
}  # fmt: skip


def silent(what: str) -> Callable[[int, int, str], None]:
    return lambda done, total, text: None


@pytest.fixture(scope="module")
def reviewed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("review")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"steps": 2, "batch": 2, "device": "cpu"}.items():
            patch.setitem(review.PROTOCOL, name, value)
        for split, pictures in {"train": 6, "val": 2}.items():
            patch.setitem(scenes.SPLITS, split, pictures)
        review.review(out, 0, lambda _: None, silent, ENTRIES)
    return out


def test_each_stage_starts_from_the_one_before(reviewed: Path) -> None:
    first, second = reviewed / "runs/boxes/stages/1", reviewed / "runs/boxes"
    assert model_file.load(first).card.recipe["crops"] == "objects"
    assert model_file.load(second).card.recipe["starts_from"] == str(first)


def test_boxes_are_judged_by_a_protocol_of_their_own(reviewed: Path) -> None:
    rows = {row["network"]: row for row in json.loads((reviewed / "table.json").read_text())}
    assert rows["fcn8s"]["protocol_hash"] == rows["deconvnet"]["protocol_hash"] != rows["boxes"]["protocol_hash"]
    assert rows["boxes"]["protocol"]["window"].startswith("3 boxes by sliding")
    text = (reviewed / "table.md").read_text()
    assert f"deconvnet side 32, width 0.05, 3 boxes: protocol {rows['boxes']['protocol_hash']}, 3 boxes by sliding" in text


def test_the_minutes_are_those_of_all_stages(reviewed: Path) -> None:
    rows = {row["network"]: row for row in json.loads((reviewed / "table.json").read_text())}
    runs = [reviewed / "runs/boxes/stages/1", reviewed / "runs/boxes"]
    seconds = [session["seconds"] for run in runs for session in json.loads((run / "run.json").read_text())["sessions"]]
    assert rows["boxes"]["seconds"] == sum(seconds) > max(seconds)


def test_pictures_show_every_network(reviewed: Path) -> None:
    assert (reviewed / "pictures.png").is_file()
    assert {path.name for path in (reviewed / "overlays").iterdir()} == set(ENTRIES)


def test_all_networks_of_the_review_take_part() -> None:
    here = {entry.network for entry in review.ENTRIES.values()}
    systems = {name for name in NETWORKS if not name.startswith("torchvision_")} - YARDSTICKS.keys()
    assert systems - here == {"fcn8s_atonce", "classifier", *OF_OBJECTS}
