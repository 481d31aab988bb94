"""The states of a training: all that the same command needs to continue, safe against a kill at any moment."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import save as to_safetensors
from torch import Tensor

from perpixel.errors import UntrustedFile, printable
from perpixel.files import PARTIAL, digest, remove_partial, sync_folder, write_whole
from perpixel.machines.interrupts import interruptible
from perpixel.weights.model_file import DAMAGE, plain

STATES, MANIFEST = "last", "manifest.json"
VALUES, TENSORS = "state.json", ".safetensors"  # the file of values of a state, and the suffix of its files of tensors
KEPT_STATES = 2
_STATE_NAME = re.compile(r"step-\d{9}")


def save_state(run: Path, step: int, tensors: Mapping[str, Mapping[str, Tensor]], values: Mapping[str, Any]) -> None:
    """Keeps a state to resume from: a safetensors file for each group of `tensors`, and `values` as JSON.

    Returns when it is on disk; older states than the newest two are removed."""
    states = run / STATES
    states.mkdir(exist_ok=True)
    final = states / _state_name(step)
    partial = final.with_suffix(PARTIAL)
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    try:
        for group, named in tensors.items():
            write_whole(partial, f"{group}{TENSORS}", to_safetensors(plain(named)))
        write_whole(partial, VALUES, json.dumps(values).encode())
        manifest = {path.name: digest(path) for path in sorted(partial.iterdir())}
        write_whole(partial, MANIFEST, json.dumps(manifest, indent=1).encode())
    except OSError:
        shutil.rmtree(partial, ignore_errors=True)  # frees the room, since the disk may be full
        raise
    if final.exists():  # a damaged one, or the state this run was resumed from
        _remove(final)
    os.replace(partial, final)
    sync_folder(states)
    remove_old_states(run, step)


def remove_old_states(run: Path, step: int) -> None:
    """Removes states up to `step` except for the newest two of them; newer states stay."""
    remove_partial(run / STATES)  # what an interrupted removal left
    for old in sorted(path for path in state_folders(run) if path.name <= _state_name(step))[:-KEPT_STATES]:
        _remove(old)


def load_state(run: Path) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any], list[str]] | None:
    """The newest sound state: groups of tensors, values, and a sentence for each newer state that was damaged.

    None when there is no state. Raises UntrustedFile when there are states and all are damaged."""
    complaints: list[str] = []
    for folder in sorted(state_folders(run), reverse=True):
        with interruptible():
            try:
                return *_sound_state(folder), complaints
            except DAMAGE as error:
                complaints.append(f"{folder}: is damaged ({printable(str(error))}); the state before it is used.")
    if complaints:
        raise UntrustedFile(f"{run / STATES}: no state is sound ({' '.join(complaints)}) Start again with another --out.")
    return None


def _sound_state(folder: Path) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]]:
    """The groups of tensors and the values of a state. Raises ValueError where a file is not as the manifest says."""
    manifest = json.loads((folder / MANIFEST).read_bytes())
    there = {path.name for path in folder.iterdir()} - {MANIFEST}
    if manifest.keys() != there or VALUES not in there:
        raise ValueError(f"{MANIFEST} names {', '.join(sorted(manifest)) or 'nothing'}; there is {', '.join(sorted(there))}")
    for name, expected in manifest.items():
        if digest(folder / name) != expected:
            raise ValueError(f"{name} is not what was written")
    tensors = {}
    for name in there - {VALUES}:
        with safe_open(folder / name, framework="pt") as file:
            tensors[name.removesuffix(TENSORS)] = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    values = json.loads((folder / VALUES).read_bytes())
    if folder.name != _state_name(values["step"]):
        raise ValueError(f"it is of step {values['step']}")
    return tensors, values


def state_folders(run: Path) -> list[Path]:
    """The finished states of a run, in no order."""
    states = run / STATES
    return [path for path in states.iterdir() if _STATE_NAME.fullmatch(path.name)] if states.is_dir() else []


def _state_name(step: int) -> str:
    return f"step-{step:09d}"


def _remove(folder: Path) -> None:
    """Renames before deleting, so that a kill in between leaves nothing that looks like a state."""
    doomed = folder.with_suffix(f".old{PARTIAL}")  # a name that the state in its place does not use
    shutil.rmtree(doomed, ignore_errors=True)
    os.replace(folder, doomed)
    shutil.rmtree(doomed, ignore_errors=True)
