"""convert: writes a data set of one format in another format, and reports lost content by name and count.

    report = convert(Path("labelled"), Path("pictures"), to="folder")       # labelme's JSON files -> a folder to train on
    report.told                                                             # sentences about content that was lost or changed

Pictures are copied byte for byte. Either the whole data set appears or nothing. Pictures that cannot be used are reported and
left out. From a format and back to it, no pixel changes that the format can hold (docs/formats.md)."""

from __future__ import annotations

import os
import shutil
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from perpixel.classes import ClassTable
from perpixel.datasets import DATASETS, ON_DISK, judged_splits
from perpixel.datasets.folder import chosen_for_val, folder_bands
from perpixel.download.archives import unpack
from perpixel.errors import DataError, PerpixelError, UsageError, did_you_mean, failure_of, printable
from perpixel.files import is_hidden, new_folder, sync_below
from perpixel.formats import FORMATS, find_format, format_of
from perpixel.formats.exchange import (
    NOTICES,
    AnnotatedSet,
    Content,
    Entry,
    Item,
    Notices,
    Writer,
    background_of,
    failing,
    reason_refused,
    split_order,
)
from perpixel.formats.folder import of_datasets
from perpixel.shards import Shard, ShardFile, plain, read_shards, shard_files, typed

KIND = "converted"  # of shards
ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
OWN_PICTURES = ("folder", "cityscapes")  # formats of sets whose pictures have their place in them
UNPACKED = ".source"  # the folder to which an archive is unpacked
LEFT_OUT = ("no area", "no label", "no file")  # kinds of NOTICES that explain why no shape is left


@dataclass(frozen=True)
class Report:
    """The result of a conversion. Its fields are the keys of the JSON."""

    format: str  # that was read
    pictures: dict[str, int]  # number of written pictures, by split
    told: list[str]  # sentences about lost or changed content
    failed: list[str]  # sentences, one for each picture that was left out


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
    """Writes the data set `source` in the format `to`, into the new folder `out`.

    `source` is a folder, file or archive, or the name of a data set. `origin` is its format; without it the format is recognised
    by the files. `pictures` is the folder of the pictures, if they do not lie beside the annotations. `progress(done, total)` is
    called after each picture.
    Raises UsageError for an unknown name, format or split, and for an `out` that exists or is being written. Raises DataError for
    a source that cannot be read, that has no usable picture, or that has no shape with a label."""
    find_format(to)
    with new_folder(out) as partial:
        unpacked = partial / UNPACKED

        def with_known_paths(sentence: str) -> str:
            """The sentence with the paths that the user knows, in place of temporary paths."""
            return sentence.replace(str(unpacked), str(source)).replace(str(partial), str(out))

        try:
            path = source
            if _is_archive(source):
                unpack(Path(source), partial, {"": UNPACKED})
                path = _only_folder_in(unpacked)
            annotated, origin = _read_source(path, origin, root, splits, pictures)
            report = _converted(annotated, origin, source, partial, to, splits, progress)
        except PerpixelError as error:
            raise type(error)(with_known_paths(str(error))) from None
        shutil.rmtree(unpacked, ignore_errors=True)
    return replace(report, told=[*map(with_known_paths, report.told)], failed=[*map(with_known_paths, report.failed)])


def write_annotated(
    annotated: AnnotatedSet, origin: str, source: str | Path, out: Path, to: str,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Report:  # fmt: skip
    """Writes an annotated set in the format `to`, into the new folder `out`. `origin` and `source` are its names in sentences.

    Raises UsageError for an `out` that exists or is being written, DataError where no picture can be used."""
    with new_folder(out) as partial:
        return _converted(annotated, origin, source, partial, to, None, progress)


def _converted(
    annotated: AnnotatedSet, origin: str, source: str | Path, out: Path, to: str, splits: Sequence[str] | None,
    progress: Callable[[int, int], None],
) -> Report:  # fmt: skip
    task = _Task.of(annotated, origin, source, to)
    items = _chosen(annotated.items, splits, find_format(to).splits)
    written = _written(items, range(len(items)), task.writer(out, annotated.notices), annotated, progress)
    return task.closed(out, items, [*written])


@dataclass(frozen=True)
class Converted:
    """What a shard did: pictures that it wrote, a sentence for each that was left out, and the number of pictures of the set."""

    done: int
    failed: tuple[str, ...]
    pictures: int


def convert_shard(
    source: str | Path,
    out: Path,
    shard: Shard,
    to: str = "folder",
    origin: str | None = None,
    root: str | Path | None = None,
    splits: Sequence[str] | None = None,
    pictures: Path | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Converted:
    """Writes the pictures of a shard below `out`, where its siblings may write too; `merge_converted` completes the data set.

    Raises the errors of `convert`; UsageError for an archive, which each shard would unpack anew, and for an `out` that holds
    files that no shard wrote."""
    find_format(to)
    if _is_archive(source):
        raise UsageError(f"{source}: each shard would unpack it anew; unpack it yourself, and name the folder.")
    if os.path.lexists(out) and not (out.is_dir() and (shard_files(out, KIND) or not any(out.iterdir()))):
        raise UsageError(f"{out}: exists already; name a new folder.")
    annotated, origin = _read_source(source, origin, root, splits, pictures)
    task, items = _Task.of(annotated, origin, source, to), _chosen(annotated.items, splits, find_format(to).splits)
    task.writer(out, annotated.notices)  # raises before anything is written
    with ShardFile(out, KIND, shard, plain(task), [f"{item.split}\0{item.name}" for item in items], anew=True) as file:
        writer, done, failed = task.writer(out, annotated.notices), 0, list[str]()
        for place, record in zip(file.places, _written(items, file.places, writer, annotated, progress), strict=True):
            file.add(place, record)
            done += "failed" not in record
            failed += [record["failed"]] if "failed" in record else []
        sync_below(out)
    return Converted(done, tuple(failed), len(items))


def merge_converted(out: Path) -> tuple[Report, str]:
    """Completes the data set whose pictures shards wrote below `out`, with the files that need all pictures: the bytes that one
    process would have written. The files of the shards stay. Returns the report, and the name of the format.

    Raises the errors of `read_shards`, and those of `convert` that need all pictures."""
    merged = read_shards(out, KIND)
    task = typed({key: value for key, value in merged.head.items() if key != "perpixel"}, _Task, str(out))
    items = [Item(name, split, failing(DataError(name))) for split, name in (name.split("\0", 1) for name in merged.names)]
    return task.closed(out, items, merged.contents), task.to


@dataclass(frozen=True)
class _Task:
    """What is converted, apart from the pictures: the formats, the class table, and what reading has noted already."""

    source: str
    origin: str
    to: str
    classes: dict[str, Any]
    advice: str
    notices: Notices

    @classmethod
    def of(cls, annotated: AnnotatedSet, origin: str, source: str | Path, to: str) -> _Task:
        """Raises DataError for the name of a class that not every format can hold."""
        for name in annotated.classes.names:
            if reason := reason_refused(name):
                raise DataError(f"{source}: the class {name!r} {reason}; rename it.")
        notices = Notices(dict(annotated.notices.kinds), [*annotated.notices.notes])
        return cls(str(source), origin, to, annotated.classes.to_json(), annotated.advice, notices)

    @property
    def table(self) -> ClassTable:
        return ClassTable.from_json(self.classes)

    def writer(self, out: Path, notices: Notices) -> Writer:
        return find_format(self.to).writer(out, self.table, notices)

    def closed(self, out: Path, items: Sequence[Item], written: Sequence[Mapping[str, Any]]) -> Report:
        """Writes the files that need all pictures, of what `_written` says of each item, and the report."""
        notices = Notices(dict(self.notices.kinds), [*self.notices.notes])
        done, entries, failed = dict[str, int](), list[Entry](), list[str]()
        for item, record in zip(items, written, strict=True):
            if "failed" in record:
                failed.append(record["failed"])
                continue
            for kind, count in record["notices"].items():
                notices.add(kind, item.name, count)
            done[item.split] = done.get(item.split, 0) + 1
            entries.append(Entry(item.name, item.split, record["entry"]))
        if not done:
            raise DataError(f"{self.source}: no picture could be used; the first: {failed[0]}")
        if self.origin in FORMATS and not FORMATS[self.origin].holds.maps and not any(map(_has_shapes, written)):
            raise DataError(_no_shape_kept(notices, self.advice, self.origin, self.source, len(entries)))
        self.writer(out, notices).close(entries)
        return Report(self.origin, done, notices.sentences(self.to), failed)


def _written(
    items: Sequence[Item], places: Sequence[int], writer: Writer, annotated: AnnotatedSet, progress: Callable[[int, int], None]
) -> Iterator[dict[str, Any]]:
    """Writes the items at these places, each whole or not at all. For each: the entry for `close`, whether it has shapes, and
    what was noted, by the kind; or the sentence that says why it is left out."""
    notices = annotated.notices
    for number, place in enumerate(places, start=1):
        item = items[place]
        notices.kinds = {}
        try:
            _require_usable_name(item.name)
            content = item.read()
            entry = writer.add(item.name, item.split, content, place + 1)
            noted = {kind: count for kind, (count, _, _) in notices.kinds.items()}
            yield {"entry": entry, "shapes": _shows_something(content, annotated), "notices": noted}
        except Exception as error:
            sentence = failure_of(printable(item.name), error)
            if sentence is None:
                raise
            yield {"failed": sentence}
        progress(number, len(places))


def _has_shapes(record: Mapping[str, Any]) -> bool:
    return bool(record.get("shapes"))


def _is_archive(source: str | Path) -> bool:
    return str(source).lower().endswith(ARCHIVES) and Path(source).is_file()


def _shows_something(content: Content, annotated: AnnotatedSet) -> bool:
    """Whether a picture has an object, or a pixel that is not background."""
    if content.instances is not None and len(content.instances.class_ids):
        return True
    return bool((content.labels != background_of(annotated.classes)).any())


def _no_shape_kept(notices: Notices, advice: str, origin: str, source: str | Path, pictures: int) -> str:
    """The sentence for annotations without any usable shape."""
    kinds = notices.kinds
    reasons = [f"{kinds[kind][0]} {NOTICES[kind]}" for kind in LEFT_OUT if kind in kinds] or ["nothing is marked on any"]
    advice = advice or (
        "mark objects with outlines or masks that have a label, or name other splits with --splits, or the format with --from"
    )
    return f"{source}: of {pictures} pictures, read as {origin}, no shape was kept: {'; '.join(reasons)}; {advice}."


def _require_usable_name(name: str) -> None:
    """Raises DataError for the name of a picture that some format or system reads as another name, or cannot read."""
    parts = name.split("/")
    reason = reason_refused(name)
    if not reason and any(is_hidden(part) for part in parts):
        reason = "has a part that is hidden, or that macOS adds to archives"
    if not reason and any(part.strip() == "" or part.endswith(":") or "\\" in part for part in parts):
        reason = "has a part of blanks, one that ends with a colon, or a backslash"
    if reason:
        raise DataError(f"{name[:200]}: {reason}, which not every format can hold; rename the picture.")


def _only_folder_in(folder: Path) -> Path:
    """The folder itself; where its only entry is a folder, that folder, and so on."""
    entries = [path for path in folder.iterdir() if not is_hidden(path.name)]
    return _only_folder_in(entries[0]) if len(entries) == 1 and entries[0].is_dir() else folder


def _read_source(
    source: str | Path, origin: str | None, root: str | Path | None, splits: Sequence[str] | None, pictures: Path | None
) -> tuple[AnnotatedSet, str]:
    name = str(source)
    if pictures is not None and not pictures.is_dir():
        raise DataError(f"{pictures}: there is no such folder; name the one that holds the pictures.")
    if origin is None and (name in DATASETS or name in ON_DISK):
        if pictures is not None:
            raise _own_pictures(pictures, name)
        return of_datasets([*judged_splits(name, root, splits).values()]), name
    if not Path(source).exists():
        if "/" in name or "\\" in name or Path(name).suffix:
            raise DataError(f"{source}: there is no such file or folder.")
        raise did_you_mean("data set, file or folder", name, [*DATASETS, *ON_DISK])
    if (bands := folder_bands(Path(source))) is not None:
        raise UsageError(f"{source}: its pictures have {bands}, and no format here tells of bands; convert takes RGB alone.")
    origin = origin or format_of(Path(source))
    if pictures is not None and origin in OWN_PICTURES:
        raise _own_pictures(pictures, origin)
    return find_format(origin).read(Path(source), pictures), origin


def _own_pictures(pictures: Path, origin: str) -> UsageError:
    return UsageError(f"{pictures}: a data set that is read as {origin} has its own pictures; leave --pictures out.")


def _chosen(items: list[Item], splits: Sequence[str] | None, splits_needed: bool) -> list[Item]:
    """The items of the chosen splits, in order.

    Where some items have a split, the others get `train`. Where none has and the format needs splits, a fifth of the items
    becomes `val`. Of items with the same name and split the first is kept, and the others are reported as failed."""
    if not items:
        raise DataError("the source has no picture.")
    items = [replace(item, name=unicodedata.normalize("NFC", item.name)) for item in items]
    if any(item.split for item in items):
        items = [item if item.split else replace(item, split="train") for item in items]
    elif splits_needed:
        val = chosen_for_val([item.name for item in items if not reason_refused(item.name)])
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
