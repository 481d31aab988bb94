"""The files of a run folder, and the lock that says which process writes it. (`states` keeps the states to resume from.)

    recipe.toml    every setting with its origin        data.json       results of the check of the data set
    run.json       versions, machine, sessions          history.jsonl   losses and scores by step
    model.safetensors, model.json, val.png, curves.png, report.html, last/
    scores.json     of the kept weights on all of val, when the training is done
    crops.safetensors    the boxes that are trained on, where the recipe has `crops`
    stages/NAME/   the runs of the recipes that this recipe starts from

data.json and run.json hold a digest of their own content. Where it is wrong, the data set is checked again, and a new run.json is
begun. history.jsonl, scores.json and the pictures are never read: they are written anew from states and weights."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import platform
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from perpixel.datasets import DATASETS, ON_DISK, Stored, judged_splits
from perpixel.doctor.check import Report, check
from perpixel.errors import DataError, PerpixelError, UntrustedFile, UsageError, printable
from perpixel.files import HISTORY_FILE, MODEL_FILE, RECIPE_FILE, SCORES_FILE, locked, remove_partial, walk, write_whole
from perpixel.machines.team import Team
from perpixel.training.recipe import PLAN, Recipe, first_difference, left_open, merge, origins_in, to_toml
from perpixel.training.states import STATES, state_folders
from perpixel.version import VERSION

RECIPE, RUN, HISTORY, SCORES, DATA = RECIPE_FILE, "run.json", HISTORY_FILE, SCORES_FILE, "data.json"
STAGES = "stages"
OTHERS = ("torchvision", "timm", "numpy")  # packages whose versions are noted beside torch's, without importing them
SHOWN = 3  # warnings, or errors, of one kind that are shown
_DIGEST = "sha256"

Say = Callable[[str], None]
CheckProgress = Callable[[int, int], None]


@contextmanager
def claim(out: Path, recipe: Recipe, origins: Mapping[str, str] | None) -> Iterator[None]:
    """Makes `out` the run folder of this recipe, or continues there if it is already, and locks it against a second process.
    Unfinished files of a killed process are removed, and so are the files of another recipe whose run kept no state.

    Raises UsageError when the folder holds other files, another recipe's run, or a run that another process writes, or when it
    cannot be made; UntrustedFile when its recipe is damaged."""
    if os.path.lexists(out) and not os.path.isdir(out):
        raise UsageError(f"{printable(out)}: is a file; choose a folder for --out.")
    difference = None
    if os.path.isfile(out / RECIPE):
        difference = _difference(out, recipe)
        if difference is not None and _began(out):
            raise UsageError(f"{printable(out)}: belongs to another run ({difference}); choose another --out.")
    elif os.path.isdir(out) and any(not path.name.startswith(".") and path.name != STAGES for path in out.iterdir()):
        raise UsageError(f"{printable(out)}: is not empty and no run folder; choose another --out.")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:  # ValueError: a zero byte
        if isinstance(error, OSError) and error.errno not in (errno.ENAMETOOLONG, errno.ELOOP, errno.EINVAL):
            raise
        raise UsageError(f"{printable(out)[:200]}: is no name of a folder; choose another --out.") from error
    with locked(out):
        for folder in (out, out / STATES, out / "not_finite"):
            remove_partial(folder)
        if difference is not None:
            for name in (DATA, RUN):
                (out / name).unlink(missing_ok=True)
        write_whole(out, RECIPE, to_toml(recipe, origins or dict.fromkeys(recipe.to_json(), "call")).encode())
        yield


def _began(out: Path) -> bool:
    """Whether a training in `out` kept a state or a model."""
    return bool(state_folders(out)) or os.path.lexists(out / MODEL_FILE)


def remembered(out: Path, recipe: Recipe, origins: Mapping[str, str]) -> tuple[dict[str, Any], dict[str, str]] | None:
    """The settings that the plan of the run in `out` chose and `recipe` leaves open, and the origin of each. None without a plan;
    and for a run that kept no state or model, where its other settings are not those of `recipe`."""
    kept = {name: origin for name, origin in origins_in(out / RECIPE).items() if origin.split(":")[0] == PLAN}
    try:
        before = merge(out / RECIPE, {}, {})[0] if kept else None
    except PerpixelError:
        return None
    if before is None:
        return None
    settings = {name: getattr(before, name) for name in kept.keys() & left_open(origins)}
    if not _began(out) and first_difference(before, replace(recipe, **settings)) is not None:
        return None
    return settings, {name: kept[name] for name in settings}


def _difference(out: Path, recipe: Recipe) -> str | None:
    """The first setting in which the recipe kept in `out` trains differently; None where there is no difference.

    A damaged recipe is a difference too; raises UntrustedFile for it where the run kept a state or a model."""
    try:
        return first_difference(merge(out / RECIPE, {}, {})[0], recipe)
    except PerpixelError as error:
        if _began(out):
            raise UntrustedFile(f"{error} It is damaged, or of another version; choose another --out.") from error
        return str(error)


def write_facts(out: Path, name: str, facts: Mapping[str, Any]) -> None:
    """Writes `facts` as JSON, with a digest of them."""
    write_whole(out, name, json.dumps({**facts, _DIGEST: _digest(facts)}, indent=1).encode())


def read_facts(path: Path) -> dict[str, Any] | None:
    """The facts that `write_facts` wrote there; None where the file is missing or damaged."""
    try:
        facts: dict[str, Any] = json.loads(path.read_bytes())
        noted = facts.pop(_DIGEST)
        return facts if noted == _digest(facts) else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def _digest(facts: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class Sound:
    """Results of the data check: pixels of each class in train; fingerprint and number of pictures of each split; number of
    pictures by size, such as "480x640"."""

    class_pixels: list[int]
    fingerprints: dict[str, str]
    pictures: dict[str, int]
    sizes: dict[str, int]


def sound_data(
    recipe: Recipe, out: Path, team: Team, say: Say, progress: CheckProgress | None = None, objects: bool = False
) -> Sound:
    """The results of the data check: from data.json where no file of the data set changed since, else of a new check. With
    `objects` it says once how many objects of the training split teach nothing.

    Raises DataError for an unsound data set, or for other data than the run began with; UntrustedFile where no file tells any
    more which data the run began with."""
    known: dict[str, Any] = {}
    if team.rank == 0:
        path = out / DATA
        known = read_facts(path) or {}
        stamp = _stamp(recipe)
        if known.get("stamp") != stamp:
            if not known and path.exists():
                say(f"{path}: is damaged, or of an older version; the data set is checked again.")
            before = _fingerprints(out, known)
            report = _checked(recipe, say, progress, objects)
            if before is not None and before != report.fingerprints:
                raise DataError(f"{recipe.data}: pictures or masks changed since {out} began; choose another --out.")
            unlearned = report.unlearned.get(recipe.train_split, ())
            for sentence in unlearned:
                if sentence not in known.get("unlearned", ()):
                    say(f"warning: {sentence}")
            known = {
                "stamp": stamp,
                "class_pixels": report.class_pixels[recipe.train_split][:-1],
                "fingerprints": report.fingerprints,
                "pictures": report.pictures,
                "sizes": report.sizes,
                "unlearned": list(unlearned),
            }
            write_facts(out, DATA, known)
    known = team.from_first(known)
    return Sound(known["class_pixels"], known["fingerprints"], known["pictures"], known.get("sizes", {}))


def _fingerprints(out: Path, known: Mapping[str, Any]) -> Any:
    """The fingerprints of the data that the run began with; None where it did not begin.

    A damaged data.json is read too: if its fingerprints are wrong, they equal those of no data set, and the caller refuses."""
    if known:
        return known["fingerprints"]
    facts = read_facts(out / RUN)
    if facts is not None:
        return facts["fingerprints"]
    try:
        return json.loads((out / DATA).read_bytes())["fingerprints"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        if _began(out):
            raise UntrustedFile(
                f"{out}: {DATA} and {RUN} are damaged or missing, so that no file tells whether the data are those that the "
                f"run began with; choose another --out."
            ) from error
        return None


def begin_session(
    out: Path, recipe: Recipe, team: Team, sound: Sound, first: int, started_from: Mapping[str, str] | None, say: Say
) -> None:
    """Notes in run.json that a process continues after step `first`, and on which machine. `say` gets a line where this machine
    computes differently from the one before. `started_from` is the model that the weights come from, by path and SHA-256."""
    facts = read_facts(out / RUN)
    if facts is None:
        if (out / RUN).exists():
            say(f"{out / RUN}: is damaged, or of an older version; it is begun anew, without the sessions before this one.")
        facts = {
            "perpixel": VERSION,
            "python": platform.python_version(),
            "versions": {"torch": str(torch.__version__), **{name: metadata.version(name) for name in OTHERS}},
            "machine": f"{platform.system()} {platform.machine()}",
            "seed": recipe.seed,
            "fingerprints": sound.fingerprints,
            "pictures": sound.pictures,
            "sessions": [],
        }
    if started_from is not None:
        facts["started_from"] = dict(started_from)
    places = {"root": recipe.root, "data": None if recipe.data in DATASETS or recipe.data in ON_DISK else recipe.data}
    facts["places"] = {name: [given, os.path.abspath(given)] for name, given in places.items() if given is not None}
    machine = {"threads": torch.get_num_threads(), "processes": team.world, "device": str(team.device)}
    sessions: list[dict[str, Any]] = facts["sessions"]
    if sessions:
        last = sessions[-1]
        if last["to"] is None:  # the process of that session was killed
            last["to"] = first
        others = [name for name in machine if last[name] != machine[name]]
        if others:
            now, then = (", ".join(f"{name} {values[name]}" for name in others) for values in (machine, last))
            say(f"{out}: goes on with {now}; before: {then}. The last bits of its weights are not those of a run never stopped.")
    sessions.append({"from": first, "to": None, "seconds": None, **machine})
    write_facts(out, RUN, facts)


def end_session(out: Path, last: int, seconds: float) -> None:
    """Notes in run.json the last step of this process, and the seconds that it took."""
    facts = read_facts(out / RUN)
    if facts is not None:  # None where the file was damaged since
        facts["sessions"][-1] |= {"to": last, "seconds": round(seconds, 2)}
        write_facts(out, RUN, facts)


def minutes_of(run: Path) -> float | None:
    """Minutes that the training in a run folder took, its stages included; none where a session was killed, or nobody noted."""
    folder = run if os.path.isdir(run) else run.parent
    stages = [path for path in walk(folder / STAGES) if path.name == RUN] if (folder / STAGES).is_dir() else []
    facts = [read_facts(path) for path in (folder / RUN, *stages)]
    seconds = [session["seconds"] for one in facts if one is not None for session in one["sessions"]]
    return None if not seconds or None in facts or None in seconds else sum(seconds) / 60


def unfinished(run: str | Path) -> str:
    """How far the training in a run folder is, such as "step 120 of 740"; empty where it is done, and for
    another folder or file."""
    folder = Path(run)
    if not os.path.isfile(folder / RECIPE) or os.path.isfile(folder / SCORES):
        return ""
    states = [path.name for path in state_folders(folder)]
    try:
        steps = merge(folder / RECIPE, {}, {})[0].steps
    except PerpixelError:
        return ""
    return f"step {int(max(states).rpartition('-')[2])} of {steps}" if states else f"before its first kept step of {steps}"


def data_of(run: Path, recipe: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """Data set and root of the recipe of a run; `run` is the run folder or a file in it.

    Their places at training time, where these still are folders, so that the current folder does not matter; else their names."""
    facts = read_facts((run if os.path.isdir(run) else run.parent) / RUN) or {}
    places = []
    for name in ("data", "root"):
        given, place = recipe.get(name), facts.get("places", {}).get(name)
        places.append(place[1] if place and place[0] == given and os.path.isdir(place[1]) else given)
    return places[0], places[1]


def _checked(recipe: Recipe, say: Say, progress: CheckProgress | None, objects: bool) -> Report:
    report = check(recipe.data, progress, recipe.root, (recipe.train_split, recipe.val_split), objects)
    where = recipe.data if recipe.root is None else f"{recipe.data} --root {recipe.root}"
    kinds: dict[str, list[str]] = {}
    for problem in report.problems:
        if problem.severity == "warning":
            kinds.setdefault(problem.kind, []).append(problem.message)
    for kind, messages in kinds.items():
        for message in messages[:SHOWN]:
            say(f"warning: {message}")
        if len(messages) > SHOWN:
            say(f"warning: {kind}: {len(messages) - SHOWN} more; `perpixel check {where}` lists them.")
    errors: dict[str, list[str]] = {}
    for problem in report.errors:
        errors.setdefault(problem.kind, []).append(problem.message)
    if len(report.errors) > 1:
        for kind, messages in errors.items():
            for message in messages[:SHOWN]:
                say(f"error: {message}")
            if len(messages) > SHOWN:
                say(f"error: {kind}: {len(messages) - SHOWN} more; `perpixel check {where}` lists them.")
        counts = ", ".join(f"{kind} {len(messages)}" for kind, messages in errors.items())
        first = report.errors[0].message
        listed = f"{len(report.errors)} errors ({counts}; `perpixel check {where}` lists them)"
        raise DataError(f"{where}: {listed}. The first: {first}")
    if report.errors:
        raise DataError(report.errors[0].message)
    return report


def _stamp(recipe: Recipe) -> str:
    """A text that changes when a file of the data set changes: names, sizes and times of its files."""
    splits = judged_splits(recipe.data, recipe.root, (recipe.train_split, recipe.val_split)).values()
    files = [path for split in splits if isinstance(split, Stored) for path in split.files()]
    return str([_state(path) for path in files]) if files else f"{recipe.data} of perpixel {VERSION}"


def _state(path: Path) -> tuple[str, int, int]:
    try:
        stat = path.stat()
    except OSError:  # the check reports it
        return str(path), 0, 0
    return str(path), stat.st_size, stat.st_mtime_ns
