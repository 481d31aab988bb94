"""Every recipe trains for two steps on fakes in the official folder shape, its stages included, and says what it is for."""

import json
from pathlib import Path

import pytest
from fakes import (
    make_ade20k,
    make_cell_tracking,
    make_cityscapes,
    make_coco,
    make_context,
    make_isbi2012,
    make_nyud,
    make_siftflow,
    make_voc,
)

from perpixel import networks
from perpixel.backbones import TRUNKS
from perpixel.cli import main
from perpixel.training.recipe import RECIPES, merge
from perpixel.weights import model_file

NAMES = sorted(path.stem for path in RECIPES.glob("*.toml"))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("official")
    for make in (
        make_voc, make_context, make_siftflow, make_nyud, make_isbi2012, make_cell_tracking, make_cityscapes, make_ade20k,
        make_coco,
    ):  # fmt: skip
        make(root)
    return root


@pytest.mark.parametrize("name", NAMES)
def test_two_steps_of_a_recipe(name: str, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """At a small width and from scratch; few pictures a step and for statistics, no crops above 400; all else as in the file."""
    settings, _ = merge(RECIPES / f"{name}.toml", {}, {})
    if settings.crops == "proposals":
        pytest.importorskip("cv2", reason="OpenCV, which makes the proposals, is not installed")
    flags = ["--root", str(root), "--steps", "2", "--validations", "1", "--width", "0.02", "--weights", "none", "--device", "cpu"]
    # On some CPUs torch corrupts memory in the gradient of strided 1x1 convolutions of fewer than 16 channels that lie last.
    flags += ["--no-channels-last"]
    if settings.batch > 1:
        part = min(2, settings.batch // settings.accumulate)  # batch normalisation of one cell needs two
        flags += ["--batch", str(2 * part), "--accumulate", "2"]
    if settings.crop and min(settings.crop) > 400:
        flags += ["--crop", "65", "65"]
    if "min_size" in networks.arguments_of(settings.network, {}):
        flags += ["--min-size", "64", "--max-size", "96"]
    if settings.milestones:
        flags += ["--milestones", "1"]
    if settings.statistics_batches:
        flags += ["--statistics-batches", "1", "--statistics-batch", "2"]
    main(["train", "--recipe", name, *flags, "--out", str(tmp_path / "run"), "--json"])
    scores = json.loads(capsys.readouterr().out)
    assert scores["protocol"]["split"] == settings.val_split
    runs = [tmp_path / "run", *(tmp_path / "run" / "stages").glob("*")]
    stages = 1
    while settings.starts_from:
        settings, _ = merge(RECIPES / f"{settings.starts_from}.toml", {}, {})
        stages += 1
    assert len(runs) == stages
    for run in runs:
        assert model_file.load(run).card.step == 2


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_opens_with_command_cost_and_scores(name: str) -> None:
    head = [line for line in (RECIPES / f"{name}.toml").read_text().splitlines() if line.startswith("#")]
    assert head[0] == f"# perpixel train --recipe {name} --root DATA --out runs/{name}"
    for word in ("# Cost: ", "# Score to expect: ", "# Paper's score: "):
        assert sum(line.startswith(word) for line in head) == 1, word


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_on_a_trunk_of_ours_says_how_it_starts_as_its_authors_did(name: str) -> None:
    settings, _ = merge(RECIPES / f"{name}.toml", {}, {})
    trunk = {**networks.arguments_of(settings.network, {}), **settings.network_arguments()}.get("backbone")
    if trunk in TRUNKS:
        head = (RECIPES / f"{name}.toml").read_text()
        assert f".caffemodel --trunk {trunk}`, then\n# `--starts-from models/{trunk}` with the command above.\n" in head
        assert settings.weights == "auto", "or torchvision's weights would be fetched for nothing"
