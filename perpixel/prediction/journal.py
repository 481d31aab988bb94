"""The journal of predictions: the pictures that are done, and the digests of the files that were made of each.

    out/predictions.jsonl           first the model, the folders written and how; then a line for each picture
    out/predictions-3of8.jsonl      the same of one shard (`shards`); `merge_predictions` makes the one of all"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from perpixel.classes import ClassTable
from perpixel.errors import DataError, UsageError
from perpixel.files import digest, read_bytes, remove_partial, write_whole
from perpixel.prediction import panoptic
from perpixel.prediction.instances import INSTANCES
from perpixel.prediction.panoptic import PANOPTIC
from perpixel.shards import KINDS, Shard, ShardFile, read_shards, shard_files

KIND = "predictions"  # of shards
JOURNAL = f"{KIND}.jsonl"
SUFFIXES = {"masks": ".png", "overlays": ".png", "scores": ".npy", INSTANCES: ".json", PANOPTIC: ".png"}  # of results, by folder


@dataclass(frozen=True)
class Done:
    """A picture that is done: the digests of it and of each file that was made of it, and what panoptic.json says of it."""

    picture: str
    files: dict[str, str]
    segments: dict[str, Any] | None = None

    @classmethod
    def of(cls, entry: Mapping[str, Any]) -> Done | None:
        """What a line says; None where it says something else."""
        try:
            done = cls(str(entry["picture"]), dict(entry["files"]), entry.get("segments"))
        except (ValueError, KeyError, TypeError):
            return None
        return done if done.segments is None or {*done.segments} == {"picture", "size", "segments_info"} else None

    def to_json(self) -> dict[str, Any]:
        segments = {} if self.segments is None else {"segments": self.segments}
        return {"picture": self.picture, "files": self.files, **segments}

    def is_sound(self, folder: Path, name: str) -> bool:
        """Whether the file of the picture `name` in one of the folders of results is as it was written."""
        try:
            return digest(folder / f"{name}{SUFFIXES[folder.name]}") == self.files.get(folder.name)
        except OSError:
            return False


class Journal:
    """The journal of one process that predicts all pictures. `head` says how; a folder with another head is refused."""

    def __init__(self, out: Path, folders: Sequence[Path], head: dict[str, Any]) -> None:
        self.path, self.folders = out / JOURNAL, folders
        self._done: dict[str, Done] = {}
        remove_partial(out)
        for folder in folders:
            for place in (folder, *(path for path in folder.rglob("*") if path.is_dir())):
                remove_partial(place)
        lines = read_bytes(self.path).split(b"\n") if os.path.lexists(self.path) else []
        if any(lines):
            _require_same(lines[0], head, out)
            for line in lines[1:]:
                try:
                    entry = json.loads(line)
                    name, done = str(entry["name"]), Done.of(entry)
                except (ValueError, KeyError, TypeError, RecursionError):
                    continue  # cut off by a kill, or damaged: the picture is predicted again
                if done is not None:
                    self._done[name] = done
            # A broken last line must not swallow the next entry.
            text = "".join(_line(name, done) for name, done in self._done.items())
            write_whole(out, JOURNAL, (json.dumps(head) + "\n" + text).encode())
        else:
            if shard_files(out, KIND):
                raise UsageError(f"{out}: holds what shards predicted; `perpixel merge {out}` joins it, or choose another --out.")
            if any((out / folder).exists() for folder in SUFFIXES):
                raise UsageError(f"{out}: holds masks or overlays from elsewhere; choose another --out.")
            write_whole(out, JOURNAL, (json.dumps(head) + "\n").encode())
        self._file = self.path.open("a")

    def has(self, name: str, key: str) -> bool:
        """Whether the picture with this digest is done, and each file of it is still as it was written."""
        return _has(self._done.get(name), name, key, self.folders)

    def add(self, name: str, done: Done) -> None:
        if done.segments is not None:
            self._done[name] = done
        self._file.write(_line(name, done))
        self._file.flush()

    def fail(self, name: str, sentence: str) -> None:
        """A picture that failed has no line: it is tried again."""

    @property
    def segments(self) -> dict[str, dict[str, Any]]:
        """What panoptic.json says of each picture whose map is there, by its name."""
        return {name: done.segments for name, done in self._done.items()
                if done.segments is not None and (self.path.parent / PANOPTIC / f"{name}.png").is_file()}  # fmt: skip

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()


class ShardJournal:
    """The journal of a shard, in a folder that its siblings may write into too.

    `maps` is what `merge_predictions` needs to write panoptic.json, where there are such maps."""

    def __init__(
        self, out: Path, folders: Sequence[Path], head: dict[str, Any], shard: Shard, names: Sequence[str],
        maps: dict[str, Any] | None,
    ) -> None:  # fmt: skip
        if os.path.lexists(out / JOURNAL):
            _require_same(read_bytes(out / JOURNAL).split(b"\n")[0], head, out)
        elif not shard_files(out, KIND) and any((out / folder).exists() for folder in SUFFIXES):
            raise UsageError(f"{out}: holds masks or overlays from elsewhere; choose another --out.")
        self.folders = folders
        self._places = {name: place for place, name in enumerate(names) if shard.has(name)}
        self._file = ShardFile(out, KIND, shard, head if maps is None else {**head, "maps": maps}, names)

    def has(self, name: str, key: str) -> bool:
        """As `Journal.has`."""
        return _has(Done.of(self._file.done.get(self._places[name], {})), name, key, self.folders)

    def add(self, name: str, done: Done) -> None:
        self._file.add(self._places[name], done.to_json())

    def fail(self, name: str, sentence: str) -> None:
        self._file.add(self._places[name], {"failed": sentence})

    @property
    def segments(self) -> dict[str, dict[str, Any]]:
        """None: `merge_predictions` writes panoptic.json, of all shards."""
        return {}

    def __enter__(self) -> ShardJournal:
        self._file.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._file.__exit__(*error)


def _has(done: Done | None, name: str, key: str, folders: Sequence[Path]) -> bool:
    if done is None or done.picture != key:
        return False
    written = [folder for folder in folders if folder.name in done.files]  # a frame of a video has no overlay of its own
    return "masks" in done.files and all(map(partial(done.is_sound, name=name), written))


def _line(name: str, done: Done) -> str:
    return json.dumps({"name": name, **done.to_json()}) + "\n"


def _require_same(line: bytes, head: dict[str, Any], out: Path) -> None:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        found = None
    if found != head:
        raise UsageError(f"{out}: holds predictions of another model or with other options; choose another --out.")


@dataclass(frozen=True)
class MergedPredictions:
    """The number of pictures that all shards predicted, and a sentence for each that failed."""

    done: int
    failed: tuple[str, ...]


def merge_predictions(out: Path, progress: Callable[[int, int], None] = lambda done, total: None) -> MergedPredictions:
    """Writes the journal of all shards whose journals lie in `out`, and panoptic.json where there are such maps: the bytes that
    one process would have written. The journals of the shards stay.

    Raises the errors of `read_shards`; DataError for a file of results that is not as its shard wrote it; UsageError where `out`
    holds a journal of other predictions."""
    merged = read_shards(out, KIND)
    head = {key: value for key, value in merged.head.items() if key not in ("perpixel", "maps")}
    if os.path.lexists(out / JOURNAL):
        _require_same(read_bytes(out / JOURNAL).split(b"\n")[0], head, out)
    lines, failed, segments = [json.dumps(head) + "\n"], list[str](), dict[str, dict[str, Any]]()
    for number, (name, content) in enumerate(zip(merged.names, merged.contents, strict=True), start=1):
        if "failed" in content:
            failed.append(str(content["failed"]))
        else:
            done = Done.of(content)
            for folder in head["folders"]:
                if done is None or not done.is_sound(out / folder, name):
                    raise DataError(
                        f"{out / folder / name}{SUFFIXES.get(folder, '')}: is missing, or not as its shard wrote it; run "
                        f"{KINDS[KIND]} again with the same --shard, which mends it."
                    )
            assert done is not None
            lines.append(_line(name, done))
            if done.segments is not None:
                segments[name] = done.segments
        progress(number, len(merged.names))
    if "maps" in merged.head and segments:
        maps = merged.head["maps"]
        results = panoptic.results(segments, ClassTable.from_json(maps["classes"]), frozenset(maps["things"]), maps["rules"])
        write_whole(out, f"{PANOPTIC}.json", json.dumps(results).encode())
    remove_partial(out)
    write_whole(out, JOURNAL, "".join(lines).encode())
    return MergedPredictions(len(lines) - 1, tuple(failed))
