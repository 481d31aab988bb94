"""convert: a data set of one format as another, and what that loses, by name and count.

    report = convert(Path("labelled"), Path("pictures"), to="folder")       # labelme's JSON files -> what perpixel trains on
    report.told                                                             # what the formats could not hold

Pictures are copied, byte for byte. Either the whole data set appears or nothing; pictures that cannot be used are told, and left
out. From a format and back to it no pixel changes that the format can hold (docs/formats.md)."""

from __future__ import annotations

import shutil
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from perpixel.datasets import DATASETS, ON_DISK, judged_splits
from perpixel.datasets.folder import chosen_for_val
from perpixel.download.archives import unpack
from perpixel.errors import DataError, PerpixelError, did_you_mean, failure_of, printable
from perpixel.files import is_hidden, new_folder
from perpixel.formats import FORMATS, find_format, format_of
from perpixel.formats.exchange import LOSSES, Content, Item, Source, background_of, failing, split_order, unkept
from perpixel.formats.folder import of_datasets

ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
UNPACKED = ".source"
LEFT_OUT = ("no area", "no label", "no file")  # of LOSSES, where nothing else was there


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
    Raises UsageError for an unknown name, format or split, and an `out` that is there or is being written; DataError for a source
    that cannot be read at all, none of whose pictures can, or none of whose annotations is a shape with a label."""
    find_format(to)
    with new_folder(out) as partial:
        unpacked = partial / UNPACKED

        def named(sentence: str) -> str:
            """A sentence about the files that the user knows, not about the places where they are for now."""
            return sentence.replace(str(unpacked), str(source)).replace(str(partial), str(out))

        try:
            opened = source
            if str(source).lower().endswith(ARCHIVES) and Path(source).is_file():
                unpack(Path(source), partial, {"": UNPACKED})
                opened = _inside(unpacked)
            found, origin = _open(opened, origin, root, splits, pictures)
            report = _written(found, origin, source, partial, to, splits, progress)
        except PerpixelError as error:
            raise type(error)(named(str(error))) from None
        shutil.rmtree(unpacked, ignore_errors=True)
    return replace(report, told=[*map(named, report.told)], failed=[*map(named, report.failed)])


def _written(
    found: Source,
    origin: str,
    source: str | Path,
    partial: Path,
    to: str,
    splits: Sequence[str] | None,
    progress: Callable[[int, int], None],
) -> Report:
    """Writes the pictures of a source, each whole or not at all."""
    for name in found.classes.names:
        if reason := unkept(name):
            raise DataError(f"{source}: the class {name!r} {reason}; rename it.")
    items = _chosen(found.items, splits, find_format(to).splits)
    writer = find_format(to).writer(partial, found.classes, found.told)
    done: dict[str, int] = {}
    failed: list[str] = []
    drawn = False
    for number, item in enumerate(items, start=1):
        before = dict(found.told.kinds)
        try:
            _require_kept(item.name)
            content = item.read()
            writer.add(item.name, item.split, content)
            done[item.split] = done.get(item.split, 0) + 1
            drawn = drawn or _shows_something(content, found)
        except Exception as error:
            sentence = failure_of(printable(item.name), error)
            if sentence is None:
                raise
            failed.append(sentence)
            found.told.kinds = before
        progress(number, len(items))
    if not done:
        raise DataError(f"{source}: no picture could be used; the first: {failed[0]}")
    if not drawn and origin in FORMATS and not FORMATS[origin].holds.maps:
        raise DataError(_nothing(found, origin, source, sum(done.values())))
    writer.close()
    return Report(origin, done, found.told.sentences(to), failed)


def _shows_something(content: Content, source: Source) -> bool:
    """Whether a picture has an object, or a pixel that is not of the background."""
    if content.instances is not None and len(content.instances.class_ids):
        return True
    return bool((content.labels != background_of(source.classes)).any())


def _nothing(found: Source, origin: str, source: str | Path, pictures: int) -> str:
    """The sentence about annotations of which no shape was left."""
    kinds = found.told.kinds
    reasons = [f"{kinds[kind][0]} {LOSSES[kind]}" for kind in LEFT_OUT if kind in kinds] or ["nothing is marked on any"]
    advice = found.advice or (
        "mark objects with outlines or masks that have a label, or name other splits with --splits, or the format with --from"
    )
    return f"{source}: of {pictures} pictures, read as {origin}, no shape was kept: {'; '.join(reasons)}; {advice}."


def _require_kept(name: str) -> None:
    """Raises DataError for the name of a picture that some format or system would read as another one, or not at all."""
    parts = name.split("/")
    reason = unkept(name)
    if not reason and any(is_hidden(part) for part in parts):
        reason = "has a part that is hidden, or that macOS adds to archives"
    if not reason and any(part.strip() == "" or part.endswith(":") or "\\" in part for part in parts):
        reason = "has a part of blanks, one that ends with a colon, or a backslash"
    if reason:
        raise DataError(f"{name[:200]}: {reason}, which not every format can hold; rename the picture.")


def _inside(folder: Path) -> Path:
    """The folder itself, or the one that is all that it holds."""
    held = [path for path in folder.iterdir() if not is_hidden(path.name)]
    return _inside(held[0]) if len(held) == 1 and held[0].is_dir() else folder


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
    """The items of the splits, each with one where any has one or a format needs it: a fifth is `val` where none has.

    Of pictures of one name and split the first is taken, and the others are told."""
    if not items:
        raise DataError("the source has no picture.")
    items = [replace(item, name=unicodedata.normalize("NFC", item.name)) for item in items]
    if any(item.split for item in items):
        items = [item if item.split else replace(item, split="train") for item in items]
    elif needed:
        val = chosen_for_val([item.name for item in items if not unkept(item.name)])
        items = [replace(item, split="val" if item.name in val else "train") for item in items]
    for split in splits or ():
        if all(item.split != split for item in items):
            raise did_you_mean("split of the source", split, {item.split for item in items if item.split})
    seen: set[tuple[str, str]] = set()
    chosen = []
    for item in items:
        if (item.split, item.name) in seen:
            item = replace(item, read=failing(DataError(f"two pictures are called {printable(item.name)}; rename one of them.")))
        chosen.append(item)
        seen.add((item.split, item.name))
    return sorted((item for item in chosen if not splits or item.split in splits), key=split_order)
