"""`perpixel download NAME`: fetches the parts of a published set, unpacks them where its reader looks, and checks them there.

    ROOT/downloads/NAME.json       the accepted terms; for each part its address, size and SHA-256
    ROOT/downloads/ARCHIVE         removed when it is unpacked, unless a person put it there
    ROOT/...                       the folders and files of the set, by `sources`, each whole or not at all

The command may stop at any point. The same command then continues."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from perpixel.download.archives import unpack
from perpixel.download.fetch import Patience, fetch
from perpixel.download.sources import SOURCES, Files, Lines, Part, PublishedSet
from perpixel.errors import DataError, UsageError, did_you_mean
from perpixel.files import locked, remove_partial, write_whole

FOLDER = "downloads"

Say = Callable[[str], None]
MakeProgress = Callable[[str], Callable[[int, int, str], None]]


@dataclass(frozen=True)
class Finding:
    """The result of checking one rule of a part: a count of files or lines."""

    part: str  # its name
    rule: str  # in words
    problem: str  # a clause; empty where the files are as published


def download(
    name: str,
    root: Path | str,
    *,
    accept: Callable[[str], bool],
    parts: Sequence[str] | None = None,
    patience: Patience | None = None,
    say: Say = lambda _: None,
    make_progress: MakeProgress | None = None,
) -> list[Finding]:
    """Puts the set `name` below `root`, and returns the findings of `check_download`.

    `name` is a key of `SOURCES` or a name of `open_dataset`. `parts` are the names of the parts; without them all but the extra
    parts are fetched. `accept` gets the terms and returns whether the person agrees. It is called once for each root and wording.
    Raises UsageError when the terms are not accepted. Raises DataError, with the steps to take, when a login is needed and the
    archives are missing. Raises the errors of `fetch` and `unpack`."""
    key, published = find_set(name)
    chosen = choose_parts(key, published, parts)
    folder = Path(root) / FOLDER
    if all(_is_in_place(part, Path(root)) for part in chosen):
        say(f"{key}: is in place below {root}.")
        return check_download(key, root, [part.name for part in chosen])
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder):
        remove_partial(Path(root))
        record = _read_record(folder / f"{key}.json")
        _require_terms(key, published, record, accept)
        _write_record(folder / f"{key}.json", record)
        _require_archives(key, published, chosen, Path(root))
        for part in chosen:
            if not _is_in_place(part, Path(root)):
                _fetch_part(key, part, Path(root), record, patience, say, make_progress)
    return check_download(key, root, [part.name for part in chosen])


def find_set(name: str) -> tuple[str, PublishedSet]:
    """The published set with this name, or with a data set of this name, and its key in `SOURCES`. Raises UnknownName."""
    for key, published in SOURCES.items():
        if name == key or name in published.datasets:
            return key, published
    datasets = {name for published in SOURCES.values() for name in published.datasets}
    raise did_you_mean("set to download", name, {*SOURCES, *datasets})


def choose_parts(key: str, published: PublishedSet, names: Sequence[str] | None) -> list[Part]:
    """The parts with these names, in the order of the table. Without names, all parts that are not extra. Raises UnknownName."""
    known = [part.name for part in published.parts]
    for name in names or ():
        if name not in known:
            raise did_you_mean(f"part of {key}", name, known)
    return [part for part in published.parts if (part.name in names if names else not part.extra)]


def check_download(name: str, root: Path | str, parts: Sequence[str] | None = None) -> list[Finding]:
    """Compares the files below `root` with the published counts of files and lines, and pairs files that belong together.

    It looks at names and sizes only. `perpixel check` looks into the files."""
    key, published = find_set(name)
    return [
        Finding(part.name, _rule(expected), _problem(expected, Path(root)))
        for part in choose_parts(key, published, parts)
        for expected in part.holds
    ]


@dataclass(frozen=True)
class SetRow:
    """A row of the list of published sets. Its fields are the keys of the JSON."""

    name: str
    datasets: tuple[str, ...]
    title: str
    size: str  # of the parts that are not extra, for people
    parts: tuple[str, ...]  # with a `+` before the names of extra parts
    login: bool  # whether a login is needed
    state: str
    terms: str


def rows(root: Path | str | None = None) -> list[SetRow]:
    """A row for each published set, with its state below `root`."""
    return [
        SetRow(
            name=key,
            datasets=published.datasets,
            title=published.title,
            size=_size(published),
            parts=tuple(f"+{part.name}" if part.extra else part.name for part in published.parts),
            login=not all(part.urls for part in published.parts),
            state=state(published, root),
            terms=published.licence,
        )
        for key, published in SOURCES.items()
    ]


def _size(published: PublishedSet) -> str:
    sizes = [part.size / 1e6 if part.size else part.megabytes for part in published.parts if not part.extra]
    known = sum(size for size in sizes if size is not None)
    text = f"{known / 1000:.1f} GB" if known >= 1000 else f"{max(known, 1):.0f} MB"
    return text if None not in sizes else f"over {text}" if known >= 1 else "unknown"


def state(published: PublishedSet, root: Path | str | None) -> str:
    """The parts of the set that lie below `root`, in a few words."""
    if root is None:
        return "no --root given"
    here = [part.name for part in published.parts if _is_in_place(part, Path(root))]
    needed = [part.name for part in published.parts if not part.extra]
    if all(name in here for name in needed):
        return "in place"
    return f"partly: {', '.join(here)}" if here else "not there"


def places(part: Part) -> list[str]:
    """The paths below the root that a part fills."""
    if part.put is not None:
        return [part.put]
    inner_archives = {path for path, _ in part.inner}
    takes = (part.take, *(take for _, take in part.inner))
    return [where for take in takes for where in take.values() if where not in inner_archives]


def _is_in_place(part: Part, root: Path) -> bool:
    return all((root / where).exists() for where in places(part))


def _require_terms(key: str, published: PublishedSet, record: dict[str, Any], accept: Callable[[str], bool]) -> None:
    wording = hashlib.sha256(published.licence.encode()).hexdigest()
    if record.get("accepted") == wording:
        return
    if not accept(terms(key, published)):
        raise UsageError(
            f"{key}: its terms were not accepted, nothing was fetched; give --accept-licence once you agree to them."
        )
    record["accepted"] = wording


def terms(key: str, published: PublishedSet) -> str:
    return f"{key}: {published.title}, {published.page}\nTerms: {published.licence}"


def _require_archives(key: str, published: PublishedSet, parts: Sequence[Part], root: Path) -> None:
    """Raises DataError, with the steps to take, where a part behind a login is neither in place nor among the downloads."""
    folder = root / FOLDER
    missing = [part.file for part in parts if not (part.urls or _is_in_place(part, root) or (folder / part.file).is_file())]
    if missing:
        steps = "; ".join(
            f"{number}. {step.format(files=' and '.join(missing), folder=folder)}"
            for number, step in enumerate(published.steps, start=1)
        )
        raise DataError(f"{key}: needs a login, so it has to be fetched by hand. {steps}.")


def _fetch_part(
    key: str,
    part: Part,
    root: Path,
    record: dict[str, Any],
    patience: Patience | None,
    say: Say,
    make_progress: MakeProgress | None,
) -> None:
    """Fetches one part, unpacks it and records its address, size and SHA-256."""
    archive, record_path = root / FOLDER / part.file, root / FOLDER / f"{key}.json"
    origin = record.setdefault("parts", {}).setdefault(part.name, {})
    fetched_here = origin.get("fetched_here", False) or not archive.is_file()
    origin["fetched_here"] = fetched_here
    _write_record(record_path, record)
    progress = make_progress(f"{part.file}, MB") if make_progress else None

    def show(done: int, total: int, text: str) -> None:
        if progress is not None:
            last = -(-total // 1_000_000)
            progress(last if done == total else min(done // 1_000_000, last - 1), last, text)

    fetched = fetch(part.urls, archive, size=part.size, digest=part.digest, patience=patience, progress=show, say=say)
    earlier_digest = origin.get("sha256")
    if part.digest is None:
        changed = f", not {earlier_digest} as the last time" if earlier_digest not in (None, fetched.sha256) else ""
        say(f"{part.file}: no checksum is published; its SHA-256 is {fetched.sha256}{changed}.")
    origin.update(file=part.file, size=fetched.size, sha256=fetched.sha256, published=part.digest)
    if fetched.url is not None:
        origin["url"] = fetched.url
    _write_record(record_path, record)
    if part.put is not None:
        (root / part.put).parent.mkdir(parents=True, exist_ok=True)
        os.replace(archive, root / part.put)
    else:
        say(f"{part.file}: is unpacked below {root}.")
        unpack(archive, root, part.take)
        for inside, take in part.inner:
            unpack(root / inside, root, take)
            (root / inside).unlink()
        if fetched_here:
            archive.unlink()
    origin["fetched_here"] = False
    _write_record(record_path, record)


def _rule(expected: Files | Lines) -> str:
    if isinstance(expected, Files):
        return f"{expected.count:,} files {expected.pattern}"
    return f"{expected.count:,} lines in {expected.path}"


def _problem(expected: Files | Lines, root: Path) -> str:
    if isinstance(expected, Lines):
        try:
            lines = (root / expected.path).read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return f"{root / expected.path}: is not there"
        except (OSError, UnicodeDecodeError) as error:
            return f"{root / expected.path}: is no list ({error})"
        count = sum(bool(line.strip()) for line in lines)
        return "" if count == expected.count else f"{root / expected.path}: has {count:,} lines instead of {expected.count:,}"
    files = sorted(path for path in root.glob(expected.pattern) if path.is_file() and not path.name.startswith("."))
    if len(files) != expected.count:
        return f"{root / expected.pattern}: {len(files):,} files instead of {expected.count:,}"
    for path in files:
        if not path.stat().st_size:
            return f"{path}: is empty"
        for partner in _partners(expected, path, root):
            if not partner.is_file():
                return f"{partner}: is not there, but {path} is"
    return ""


def _partners(expected: Files, path: Path, root: Path) -> Iterator[Path]:
    for replacements in expected.partners:
        name = path.relative_to(root).as_posix()
        for old, new in replacements:
            name = name.replace(old, new)
        yield root / name


def _read_record(path: Path) -> dict[str, Any]:
    try:
        record = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise DataError(f"{path}: is no record of downloads ({error}); delete it and give the same command again.") from error
    if not isinstance(record, dict):
        raise DataError(f"{path}: is no record of downloads; delete it and give the same command again.")
    return record


def _write_record(path: Path, record: dict[str, Any]) -> None:
    write_whole(path.parent, path.name, json.dumps(record, indent=1).encode())
