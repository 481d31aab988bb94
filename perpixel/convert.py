"""convert: a data set of one format as another, and what that loses, by name and count.

    report = convert(Path("labelled"), Path("pictures"), to="folder")       # labelme's JSON files -> what perpixel trains on
    report.told                                                             # what the formats could not hold

Pictures are copied, byte for byte. Either the whole data set appears or nothing; pictures that cannot be used are told, and left
out. From a format and back to it no pixel changes that the format can hold (docs/formats.md)."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from perpixel.archives import unpack
from perpixel.datasets import DATASETS, ON_DISK, judged_splits
from perpixel.datasets.folder import chosen_for_val
from perpixel.errors import DataError, UsageError, did_you_mean
from perpixel.exchange import Item, Source, split_order
from perpixel.files import PARTIAL
from perpixel.formats import find_format, format_of
from perpixel.formats.folder import of_datasets

ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz")


@dataclass(frozen=True)
class Report:
    """The format that was read, how many pictures of each split were written, what was lost or changed, a sentence each,
    and which pictures were left out."""

    format: str
    pictures: dict[str, int]
    told: list[str]
    failed: list[str]


def convert(
    source: str | Path,
    out: Path,
    to: str = "folder",
    origin: str | None = None,
    root: str | Path | None = None,
    splits: Sequence[str] | None = None,
    pictures: Path | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Report:
    """Writes `source`, a folder, file or archive of the format `origin`, or a data set by its name, to the new folder `out`.

    `origin` is found by what lies there if it is not given. `pictures` is where annotations' pictures lie, if not beside them.
    Raises UsageError for an unknown name, format or split, and an `out` that is there; DataError for a source that cannot be
    read at all, or none of whose pictures can."""
    written = find_format(to)
    if out.exists():
        raise UsageError(f"{out}: is there already; name a folder that is not.")
    archive = Path(source)
    if archive.name.endswith(ARCHIVES) and archive.is_file():
        out.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=f".{out.name}.", suffix=PARTIAL, dir=out.parent) as folder:
            unpack(archive, Path(folder), {"": "all"})
            try:
                report = convert(_inside(Path(folder) / "all"), out, to, origin, root, splits, pictures, progress)
            except DataError as error:
                raise DataError(_without(str(error), folder, archive)) from None
            return replace(report, failed=[_without(sentence, folder, archive) for sentence in report.failed])
    found, origin = _open(source, origin, root, splits, pictures)
    items = _chosen(found.items, splits, written.splits)
    partial = out.with_name(f".{out.name}.{os.getpid()}{PARTIAL}")
    partial.mkdir(parents=True)
    done: dict[str, int] = {}
    failed: list[str] = []
    try:
        writer = written.writer(partial, found.classes, found.told)
        for number, item in enumerate(items, start=1):
            try:
                content = item.read()
                writer.add(item.name, item.split, content)
                done[item.split] = done.get(item.split, 0) + 1
            except DataError as error:
                failed.append(str(error))
            progress(number, len(items))
        if not done:
            raise DataError(f"{source}: no picture could be used; the first: {failed[0]}")
        writer.close()
        os.replace(partial, out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return Report(origin, done, found.told.sentences(to), failed)


def _inside(folder: Path) -> Path:
    """The folder itself, or the one that is all that it holds."""
    held = [path for path in folder.iterdir() if not path.name.startswith(".")]
    return _inside(held[0]) if len(held) == 1 and held[0].is_dir() else folder


def _without(sentence: str, folder: str, archive: Path) -> str:
    """A sentence about a file of an archive, not about the place where it was unpacked."""
    return sentence.replace(f"{folder}/all", str(archive))


def _open(
    source: str | Path, origin: str | None, root: str | Path | None, splits: Sequence[str] | None, pictures: Path | None
) -> tuple[Source, str]:
    name = str(source)
    if pictures is not None and not pictures.is_dir():
        raise DataError(f"{pictures}: there is no such folder; name the one that holds the pictures.")
    if origin is None and (name in DATASETS or name in ON_DISK):
        return of_datasets([*judged_splits(name, root, splits).values()]), name
    if not Path(source).exists():
        if "/" in name or "\\" in name or Path(name).suffix:
            raise DataError(f"{source}: there is no such file or folder.")
        raise did_you_mean("data set, file or folder", name, [*DATASETS, *ON_DISK])
    origin = origin or format_of(Path(source))
    return find_format(origin).read(Path(source), pictures), origin


def _chosen(items: list[Item], splits: Sequence[str] | None, needed: bool) -> list[Item]:
    """The items of the splits, each with one where any has one or a format needs it: a fifth is `val` where none has."""
    if not items:
        raise DataError("the source has no picture.")
    if any(item.split for item in items):
        items = [item if item.split else replace(item, split="train") for item in items]
    elif needed:
        val = chosen_for_val([item.name for item in items])
        items = [replace(item, split="val" if item.name in val else "train") for item in items]
    for split in splits or ():
        if all(item.split != split for item in items):
            raise did_you_mean("split of the source", split, {item.split for item in items if item.split})
    seen: set[tuple[str, str]] = set()
    for item in items:
        if (item.split, item.name) in seen:
            raise DataError(f"two pictures are called {item.name}; rename one of them.")
        seen.add((item.split, item.name))
    return sorted((item for item in items if not splits or item.split in splits), key=split_order)
