"""Where a setting comes from, what it may be, and that a recipe file gives it back."""

import os
import tomllib
from collections.abc import Sequence
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from types import NoneType, UnionType
from typing import get_args, get_origin, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perpixel.errors import UnknownName, UsageError
from perpixel.limits import LARGEST_SCALE
from perpixel.networks import NETWORKS
from perpixel.networks.unet import BackboneUNet, UNet, unet
from perpixel.training.recipe import (
    FREE,
    LARGEST_WIDTH,
    OPTIMISERS,
    SCHEDULES,
    Recipe,
    argument_names,
    find,
    first_difference,
    merge,
    to_toml,
)

text = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)
positive = st.floats(0, 1e30, exclude_min=True)
fractions = st.floats(0, 1)
recipes = st.builds(
    Recipe,
    data=text,
    backbone=st.none() | text,
    width=st.none() | st.floats(0, LARGEST_WIDTH, exclude_min=True),
    padding=st.none() | st.integers(-5, 200),
    decoder=st.none() | st.lists(st.integers(1, 512), max_size=5).map(tuple),
    features=st.none() | st.lists(text, max_size=3).map(tuple),
    dropout=st.none() | fractions,
    scale=st.floats(0, LARGEST_SCALE, exclude_min=True),
    crop=st.none() | st.tuples(st.integers(1, 9999), st.integers(1, 9999)),
    scale_jitter=st.tuples(positive, positive).map(lambda pair: tuple(sorted(pair))),
    flip=st.booleans(),
    colour=fractions,
    steps=st.integers(1, 10**12),
    optimiser=st.sampled_from(OPTIMISERS),
    schedule=st.sampled_from(SCHEDULES).filter(lambda name: name != "milestones"),
    step_size=st.integers(1, 10**9),
    lr=positive,
    class_weights=text,
)


@pytest.fixture
def toml(tmp_path):
    def write(content):
        path = tmp_path / "street.toml"
        path.write_text(content, encoding="utf-8")
        return path

    return write


def merged(file=None, flags=None, environment=None):
    return merge(file, flags or {}, environment or {})


def constructors():
    """The classes that `networks.build` makes networks of, and the arguments that a name in NETWORKS has set already."""
    for maker in NETWORKS.values():
        if isinstance(maker, partial):
            yield maker.func, set(maker.keywords)
        elif maker is not unet:
            yield maker, set()
    yield from ((UNet, set()), (BackboneUNet, set()))


def kind_of(hint):
    """A type without none, and with a tuple for any sequence."""
    members = [kind for kind in (get_args(hint) if get_origin(hint) is UnionType else (hint,)) if kind is not NoneType]
    assert len(members) == 1
    return tuple[get_args(members[0])[0], ...] if get_origin(members[0]) in (tuple, Sequence) else members[0]


def test_the_arguments_of_networks_are_those_of_their_constructors():
    """They are listed in constructors, with their defaults; a recipe adds the words of its help. `--help` must not wait for
    torch, so it cannot read constructors."""
    hints = [
        (name, kind_of(hint))
        for constructor, given in constructors()
        for name, hint in get_type_hints(constructor.__init__).items()
        if name not in given | {"return", "classes", "weights"}
    ]
    settings = get_type_hints(Recipe)
    assert {name: kind_of(settings[name]) for name in argument_names()} == dict(hints)
    assert len(set(hints)) == len(dict(hints))  # one name has one type in all networks
    assert {item.default for item in fields(Recipe) if item.name in argument_names()} == {None}


def test_nothing_said_is_the_default():
    recipe, origins = merged()
    assert recipe == Recipe()
    assert set(origins) == {item.name for item in fields(Recipe)}
    assert set(origins.values()) == {"default"}


def test_flags_win_over_environment_over_file_over_default(toml):
    file = toml("steps = 2\nbatch = 2\nlr = 0.2")
    environment = {"PERPIXEL_BATCH": "3", "PERPIXEL_LR": "0.3", "HOME": "/"}
    recipe, origins = merged(file, {"lr": 0.4}, environment)
    assert (recipe.seed, recipe.steps, recipe.batch, recipe.lr) == (0, 2, 3, 0.4)
    assert [origins[name] for name in ("seed", "steps", "batch", "lr")] == ["default", str(file), "PERPIXEL_BATCH", "flag"]


def test_the_environment_is_text_of_any_type():
    environment = {
        "PERPIXEL_DATA": "street 7",
        "PERPIXEL_BACKBONE": "resnet18",
        "PERPIXEL_CROP": "[240, 320]",
        "PERPIXEL_FLIP": "false",
        "PERPIXEL_LR": "3e-4",
        "PERPIXEL_WIDTH": "1",
    }
    recipe, _ = merged(environment=environment)
    assert (recipe.data, recipe.backbone, recipe.crop, recipe.flip) == ("street 7", "resnet18", (240, 320), False)
    assert (recipe.lr, recipe.width) == (3e-4, 1.0)


def test_arrays_become_tuples_and_whole_numbers_floats(toml):
    recipe, _ = merged(toml("crop = [240, 320]\nscale_jitter = [1, 2]\ndecoder = [96, 64, 48]\nlr = 1"))
    assert (recipe.crop, recipe.scale_jitter, recipe.decoder, recipe.lr) == ((240, 320), (1.0, 2.0), (96, 64, 48), 1.0)
    assert [type(value) for value in (*recipe.crop, *recipe.scale_jitter, recipe.lr)] == [int, int, float, float, float]


@given(recipe=recipes)
def test_a_recipe_file_gives_the_recipe_back(tmp_path_factory, recipe):
    path = tmp_path_factory.mktemp("recipe") / "recipe.toml"
    path.write_text(to_toml(recipe, dict.fromkeys(Recipe.__dataclass_fields__, "flag")), encoding="utf-8")
    again, origins = merged(path)
    assert again == recipe
    assert {origins[name] for name, value in recipe.to_json().items() if value is not None} == {str(path)}


def test_a_recipe_file_tells_where_each_value_came_from():
    recipe, origins = merged(flags={"lr": 0.5, "crop": (240, 320)}, environment={"PERPIXEL_DATA": "street"})
    lines = to_toml(recipe, origins).splitlines()
    assert "lr = 0.5  # flag" in lines
    assert "crop = [240, 320]  # flag" in lines
    assert 'data = "street"  # PERPIXEL_DATA' in lines
    assert "steps = 1000  # default" in lines
    assert not [line for line in lines if line.startswith("backbone")]


BAD_VALUES = {
    "steps": (0, -1, 10**4000),
    "batch": (0, 10**9),
    "accumulate": (0,),
    "validations": (0,),
    "minutes": (0.0, -1.0, float("nan"), float("inf")),
    "epochs": (0.0, -1.0, float("nan")),
    "patience": (0, -1),
    "val_pictures": (0,),
    "log_every": (0,),
    "save_every": (0,),
    "lr": (0.0, -1.0, float("nan"), float("inf")),
    "scale": (0.0, float("nan"), float("inf"), 17.0),
    "decay": (-0.1, float("nan"), float("inf")),
    "clip": (-1.0,),
    "trunk_lr": (-1.0,),
    "statistics_batches": (-1,),
    "statistics_batch": (0,),
    "cache_mb": (-1,),
    "momentum": (-0.1, 1.0),
    "ema": (-0.1, 1.0),
    "colour": (-0.1, 1.1, float("nan")),
    "class_crops": (-0.1, 1.1),
    "blur": (-0.1, 1.1, float("nan")),
    "rotate": (-1.0, 181.0, float("nan")),
    "elastic": (-1.0, float("inf")),
    "fill": ("mirrors",),
    "separation_weights": (-1.0, float("nan")),
    "separation_sigma": (0.0, 101.0, float("nan")),
    "separation_class": ("cell",),
    "scale_jitter": ((0.0, 1.0), (2.0, 1.0), (1.0, float("inf")), (float("nan"), 1.0)),
    "crop": ((0, 5), (5, -1), (70000, 5)),
    "width": (0.0, -1.0, float("inf"), 1e30),
    "seed": (-1, 10**16),
    "data": ("a" * 5000, "a\udcff"),
    "dropout": (-0.1, 1.1, float("nan")),
    "decoder": ((64, 0), (-1,), (10**9,)),
    "norm_scale": (0.0, -1.0, float("inf"), float("nan")),
    "optimiser": ("sdg",),
    "schedule": ("ploy",),
    "weights": ("imagnet",),
    "crops": ("object",),
    "crop_enlarge": (0.0, float("inf"), float("nan")),
    "crop_balance": (-0.1, 1.1),
    "proposals": ("edge_box",),
    "proposal_overlap": (0.0, 1.1, float("nan")),
    "step_size": (0,),
    "gamma": (0.0, 1.1),
    "milestones": ((0,), (500, 500), (600, 500), (1000,)),
    "trunk_frozen": (-1, 6),
    "scale_steps": (-0.25, 0.25, float("nan")),
    "short_sides": ((), (0, 5), (70000,)),
    "long_side": (800,),
    "group_by_aspect": (True,),
    "warm_up": (-1,),
    "warm_up_from": (-0.1, 1.1, float("nan")),
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in BAD_VALUES.items() for value in values])
def test_a_value_that_cannot_work_names_its_setting(name, value):
    with pytest.raises(UsageError, match=rf"^(no )?{name}\b"):
        merged(flags={name: value})


def test_settings_that_need_another_say_so():
    with pytest.raises(UsageError, match="crops = 'objects': needs crop"):
        Recipe(crops="objects")
    with pytest.raises(UsageError, match="schedule = 'step': needs step_size"):
        Recipe(schedule="step")
    with pytest.raises(UsageError, match="long_side = 700: must be no less than short_sides"):
        Recipe(short_sides=(600, 800), long_side=700)
    with pytest.raises(UsageError, match="are of whole pictures; leave crop out"):
        Recipe(short_sides=(600, 800), crop=(512, 512))
    with pytest.raises(UsageError, match="schedule = 'milestones': needs milestones, the steps after which"):
        Recipe(schedule="milestones")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("steps", 1.5),
        ("steps", "many"),
        ("steps", True),
        ("lr", "fast"),
        ("lr", False),
        ("flip", 1),
        ("data", 7),
        ("crop", (240,)),
        ("crop", (240, 320, 3)),
        ("crop", (240.5, 320)),
        ("crop", 240),
        ("decoder", (64, "32")),
        ("seed", None),
    ],
)
def test_a_value_of_another_type_names_setting_and_origin(name, value):
    with pytest.raises(UsageError, match=rf"^{name} = .*\(flag\)"):
        merged(flags={name: value})


def test_weights_of_pixels_go_with_a_loss_over_pixels():
    assert merged(flags={"separation_weights": 10, "separation_class": "cell"})[0].separation_sigma == 5
    with pytest.raises(UsageError, match="separation_weights weigh pixels, which only cross_entropy does; loss is 'dice'"):
        merged(flags={"separation_weights": 10, "loss": "dice"})


def test_nonsense_in_the_environment_names_the_variable():
    with pytest.raises(UsageError, match="PERPIXEL_STEPS=many"):
        merged(environment={"PERPIXEL_STEPS": "many"})


def test_an_unknown_setting_suggests_the_nearest_and_names_its_origin(toml):
    with pytest.raises(UnknownName, match=r"no setting \(.*street\.toml\) 'step'; did you mean 'steps'"):
        merged(toml("step = 5"))
    with pytest.raises(UnknownName, match=r"no setting \(PERPIXEL_BACTH\) 'bacth'; did you mean 'batch'"):
        merged(environment={"PERPIXEL_BACTH": "5"})
    with pytest.raises(UnknownName, match=r"no setting \(flag\) 'corp'; did you mean 'crop'"):
        merged(flags={"corp": (1, 1)})


def test_a_table_is_no_setting(toml):
    with pytest.raises(UnknownName, match="no setting"):
        merged(toml("[train]\nsteps = 5"))


NO_RECIPES = {
    "no TOML": b"steps: 5",
    "arrays in arrays": b"lr = " + b"[" * 5000 + b"]" * 5000,
    "tables in tables": b"lr" + b".a" * 2000 + b" = 1",
    "a table": b"[lr]\na = 1",
    "5,000 digits": b"steps = " + b"1" * 5000,
    "20,000 digits in base 16": b"steps = 0x" + b"f" * 20_000,
    "as many for a fraction": b"lr = 0x" + b"f" * 20_000,
    "400 digits for a fraction": b"lr = " + b"1" * 400,
    "an infinite number": b"lr = 1e400",
    "no number": b"momentum = nan",
    "a date": b"lr = 1979-05-27",
    "not UTF-8": b"data = \"\xff\"",
    "zeros": b"\0" * 100,
    "a key given twice": b"lr = 1\nlr = 2",
    "a control character": b"data = \"\x1b[31m\"",
    "a long key": b"a" * 5000 + b" = 1",
    "a long value": b"optimiser = \"" + b"a" * 5000 + b"\"",
    "a megabyte": b"#" * (1 << 20),
}


@pytest.mark.parametrize("content", NO_RECIPES.values(), ids=NO_RECIPES)
def test_a_file_that_is_no_recipe_is_told_in_a_sentence(tmp_path, command, content):
    path = tmp_path / "street.toml"
    path.write_bytes(content)
    with pytest.raises(UsageError):
        merged(path)
    code, out, err = command("train", "--recipe", path, "--out", tmp_path / "run")
    assert (code, out) == (2, "")
    assert err.startswith("perpixel: ")
    assert err.count("\n") == 1
    assert len(err) < 1500
    assert err[:-1].isprintable()


def test_a_recipe_that_is_no_file_is_told(tmp_path, command):
    os.mkfifo(tmp_path / "pipe.toml")
    (tmp_path / "folder.toml").mkdir()
    messages = {"pipe": "is a pipe", "folder": "is a folder", "none": "there is no such file", 300 * "a": "File name too long"}
    for name, words in messages.items():
        with pytest.raises(UsageError, match=words):
            merged(tmp_path / f"{name}.toml")
        assert command("train", "--recipe", tmp_path / f"{name}.toml")[0] == 2
    assert command("train", "--recipe", 300 * "a")[0] == 2


def test_byte_order_marks_are_no_part_of_a_recipe(tmp_path):
    for encoding in ("utf-8-sig", "utf-16"):
        (tmp_path / "street.toml").write_bytes("steps = 5".encode(encoding))
        assert merged(tmp_path / "street.toml")[0].steps == 5


@pytest.mark.parametrize("text", ["5\nlr = 3", "[" * 5000, "1" * 5000, "0x" + "f" * 20_000, "", "1e400", "5 # five\n6"])
def test_a_variable_holds_one_value(text):
    with pytest.raises(UsageError, match=r"^PERPIXEL_STEPS=|^steps = .*PERPIXEL_STEPS|^steps = "):
        merged(environment={"PERPIXEL_STEPS": text})


def test_a_tilde_is_home(toml, monkeypatch):
    monkeypatch.setenv("HOME", "/home/her")
    file = toml('data = "~/set"\nstarts_from = "~/models/a~b"')
    recipe, _ = merged(file, {"root": "~"}, {"PERPIXEL_VAL_SPLIT": "~/val"})
    assert (recipe.data, recipe.starts_from, recipe.root) == ("/home/her/set", "/home/her/models/a~b", "/home/her")
    assert recipe.val_split == "~/val"  # no path
    assert merged(environment={"PERPIXEL_DATA": "~/set"})[0] == Recipe(data="/home/her/set") == Recipe(data="~/set")
    assert find("~/street.toml") == Path("/home/her/street.toml")


def test_an_origin_forges_no_setting():
    text = to_toml(Recipe(), dict.fromkeys(Recipe.__dataclass_fields__, "a\nlr = 5 \x1b.toml"))
    assert len(text.splitlines()) == sum(value is not None for value in Recipe().to_json().values())
    assert tomllib.loads(text)["lr"] == Recipe().lr


def test_the_first_difference_is_named_with_both_values():
    old = Recipe()
    assert first_difference(old, Recipe()) is None
    assert first_difference(old, replace(old, lr=0.5, steps=7)) == "steps was 1000 and is now 7"


def test_speed_reporting_and_place_may_differ():
    others = {"save_every": 7, "cache_mb": 7, "root": "elsewhere"}
    assert others.keys() == FREE
    assert first_difference(Recipe(), replace(Recipe(), **others)) is None


def test_network_arguments_are_those_that_were_set():
    assert Recipe().network_arguments() == {}
    assert Recipe(width=0.5, padding=1, steps=7).network_arguments() == {"width": 0.5, "padding": 1}
