"""A run folder's papers: whose it is, which data it trains on, where and when it ran. (`checkpoint` keeps its states.)

    recipe.toml    every setting with its origin        data.json       what the check of the data set found
    run.json       versions, machine, sessions          history.jsonl   losses and scores by step
    model.safetensors, model.json, scores.json, val.png, curves.png, last/
    crops.safetensors    the boxes that it trains on, where the recipe says `crops`
    stages/NAME/   the runs of the recipes that this one starts from"""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from perpixel.check import Report, check
from perpixel.checkpoint import STATES
from perpixel.datasets import Stored, judged_splits
from perpixel.errors import DataError, UsageError
from perpixel.files import locked, remove_partial, write_whole
from perpixel.processes import Team
from perpixel.recipe import Recipe, first_difference, merge, to_toml
from perpixel.version import VERSION

RECIPE, RUN, HISTORY, SCORES, DATA = "recipe.toml", "run.json", "history.jsonl", "scores.json", "data.json"
STAGES = "stages"
OTHERS = ("torchvision", "timm", "numpy")  # whose versions are kept beside torch's; not imported for that

Say = Callable[[str], None]


@contextmanager
def claim(out: Path, recipe: Recipe, origins: Mapping[str, str] | None) -> Iterator[None]:
    """Takes `out` for this recipe, or finds that it has it already, and holds it against a second process.

    Raises UsageError when the folder holds something else, another recipe's run, or a run that is going on."""
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out}: is a file; choose a folder for --out.")
    if (out / RECIPE).is_file():
        difference = first_difference(merge(out / RECIPE, {}, {})[0], recipe)
        if difference is not None and (out / DATA).is_file():  # without its data checked it never began
            raise UsageError(f"{out}: belongs to another run ({difference}); choose another --out.")
    elif out.is_dir() and any(not path.name.startswith(".") and path.name != STAGES for path in out.iterdir()):
        raise UsageError(f"{out}: is not empty and no run folder; choose another --out.")
    out.mkdir(parents=True, exist_ok=True)
    with locked(out):
        for folder in (out, out / STATES):
            remove_partial(folder)
        write_whole(out, RECIPE, to_toml(recipe, origins or dict.fromkeys(recipe.to_json(), "call")).encode())
        yield


@dataclass(frozen=True)
class Sound:
    """What the data check found: pixels of each class in train, and the fingerprint of each split."""

    class_pixels: list[int]
    fingerprints: dict[str, str]


def sound_data(recipe: Recipe, out: Path, team: Team, say: Say) -> Sound:
    """Checks the data set, or remembers that this run did, as long as no file has changed since.

    Raises DataError for an unsound set, or for one that is not the one the run began with."""
    known: dict[str, Any] = {}
    if team.rank == 0:
        path = out / DATA
        known = json.loads(path.read_text()) if path.is_file() else {}
        stamp = _stamp(recipe)
        if known.get("stamp") != stamp:
            report = _checked(recipe, say)
            if known and known["fingerprints"] != report.fingerprints:
                raise DataError(f"{recipe.data}: pictures or masks changed since {out} began; choose another --out.")
            class_pixels = report.class_pixels[recipe.train_split][:-1]
            known = {"stamp": stamp, "class_pixels": class_pixels, "fingerprints": report.fingerprints}
            _write_facts(out, recipe, team, report)
            write_whole(out, DATA, json.dumps(known, indent=1).encode())
    known = team.from_first(known)
    return Sound(known["class_pixels"], known["fingerprints"])


def note_start(out: Path, path: str, digest: str) -> None:
    """Adds to run.json which model the weights come from."""
    facts = json.loads((out / RUN).read_text())
    facts["started_from"] = {"path": path, "sha256": digest}
    write_whole(out, RUN, json.dumps(facts, indent=1).encode())


def note_session(out: Path, first: int, last: int, seconds: float) -> None:
    """Adds to run.json from which step to which this process went, and how long it took."""
    facts = json.loads((out / RUN).read_text())
    facts["sessions"].append({"from": first, "to": last, "seconds": round(seconds, 2)})
    write_whole(out, RUN, json.dumps(facts, indent=1).encode())


def _checked(recipe: Recipe, say: Say) -> Report:
    report = check(recipe.data, root=recipe.root, splits=(recipe.train_split, recipe.val_split))
    for problem in report.problems:
        if problem.severity == "warning":
            say(f"warning: {problem.message}")
    if report.errors:
        where = recipe.data if recipe.root is None else f"{recipe.data} --root {recipe.root}"
        more = f" ({len(report.errors) - 1} more; `perpixel check {where}` lists them)" if len(report.errors) > 1 else ""
        raise DataError(f"{report.errors[0].message}{more}")
    return report


def _stamp(recipe: Recipe) -> str:
    """What changes when a file of the data set does: names, sizes and times."""
    splits = judged_splits(recipe.data, recipe.root, (recipe.train_split, recipe.val_split)).values()
    files = [path for split in splits if isinstance(split, Stored) for path in split.files()]
    return str([_state(path) for path in files]) if files else f"{recipe.data} of perpixel {VERSION}"


def _state(path: Path) -> tuple[str, int, int]:
    try:
        stat = path.stat()
    except OSError:  # the check tells of it
        return str(path), 0, 0
    return str(path), stat.st_size, stat.st_mtime_ns


def _write_facts(out: Path, recipe: Recipe, team: Team, report: Report) -> None:
    facts = {
        "perpixel": VERSION,
        "python": platform.python_version(),
        "versions": {"torch": str(torch.__version__), **{name: metadata.version(name) for name in OTHERS}},
        "machine": f"{platform.system()} {platform.machine()}",
        "device": str(team.device),
        "processes": team.world,
        "threads": torch.get_num_threads(),
        "seed": recipe.seed,
        "fingerprints": report.fingerprints,
        "pictures": report.pictures,
        "sessions": [],
    }
    write_whole(out, RUN, json.dumps(facts, indent=1).encode())
