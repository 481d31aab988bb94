"""`perpixel download NAME`: fetches what may be fetched of a published set, unpacks it where its reader looks, checks it there.

    ROOT/downloads/NAME.json       which terms were accepted; of each part where it came from, its size and SHA-256
    ROOT/downloads/ARCHIVE         while it is fetched and unpacked; one that was there before, put by a person, stays
    ROOT/...                       what `sources` says, each folder and file whole or not at all

The same command continues what was stopped at any point."""

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
from perpixel.download.sources import SOURCES, Files, Lines, Part, Source
from perpixel.errors import DataError, UsageError, did_you_mean
from perpixel.files import locked, remove_partial, write_whole

FOLDER = "downloads"

Say = Callable[[str], None]
MakeProgress = Callable[[str], Callable[[int, int, str], None]]


@dataclass(frozen=True)
class Finding:
    """What one rule of a part says of what lies below the root: `problem` is empty where all is as published."""

    part: str
    rule: str
    problem: str


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
    """Puts the set `name` (of `SOURCES`, or of `open_dataset`) below `root`, and gives what `check_download` finds there then.

    `accept` is shown the terms and must say yes, once for each root and wording. `parts` are all but the extra ones when none are
    named. Raises UsageError when the terms are not accepted; DataError with the steps where a login is needed and its archives
    are not there; and what `fetch` and `unpack` raise."""
    key, source = find_source(name)
    chosen = choose_parts(key, source, parts)
    folder = Path(root) / FOLDER
    if all(_in_place(part, Path(root)) for part in chosen):
        say(f"{key}: is in place below {root}.")
        return check_download(key, root, [part.name for part in chosen])
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder):
        remove_partial(Path(root))
        record = _read_record(folder / f"{key}.json")
        _require_terms(key, source, record, accept)
        _write_record(folder / f"{key}.json", record)
        _require_archives(key, source, chosen, Path(root))
        for part in chosen:
            if not _in_place(part, Path(root)):
                _bring(key, part, Path(root), record, patience, say, make_progress)
    return check_download(key, root, [part.name for part in chosen])


def find_source(name: str) -> tuple[str, Source]:
    """The source of this name, or the one that serves the data set of this name. Raises UnknownName."""
    for key, source in SOURCES.items():
        if name == key or name in source.datasets:
            return key, source
    raise did_you_mean("set to download", name, {*SOURCES, *(name for source in SOURCES.values() for name in source.datasets)})


def choose_parts(key: str, source: Source, names: Sequence[str] | None) -> list[Part]:
    """The parts that are named, in the order of the table; without names all that are not extra."""
    known = [part.name for part in source.parts]
    for name in names or ():
        if name not in known:
            raise did_you_mean(f"part of {key}", name, known)
    return [part for part in source.parts if (part.name in names if names else not part.extra)]


def check_download(name: str, root: Path | str, parts: Sequence[str] | None = None) -> list[Finding]:
    """Compares what lies below `root` with the published counts of files and lines, and pairs files that belong together.

    It looks at names and sizes, not into files: that is what `perpixel check` does."""
    key, source = find_source(name)
    return [
        Finding(part.name, _rule(held), _problem(held, Path(root)))
        for part in choose_parts(key, source, parts)
        for held in part.holds
    ]


@dataclass(frozen=True)
class SourceRow:
    """A set to download; `size` of the parts that are not extra, for people; extra parts have a `+` before their name."""

    name: str
    datasets: tuple[str, ...]
    title: str
    size: str
    parts: tuple[str, ...]
    login: bool
    state: str
    terms: str


def rows(root: Path | str | None = None) -> list[SourceRow]:
    """All sets there are, and what of them lies below `root`."""
    return [
        SourceRow(
            name=key,
            datasets=source.datasets,
            title=source.title,
            size=_size(source),
            parts=tuple(f"+{part.name}" if part.extra else part.name for part in source.parts),
            login=not all(part.urls for part in source.parts),
            state=state(source, root),
            terms=source.licence,
        )
        for key, source in SOURCES.items()
    ]


def _size(source: Source) -> str:
    sizes = [part.size / 1e6 if part.size else part.megabytes for part in source.parts if not part.extra]
    known = sum(size for size in sizes if size is not None)
    text = f"{known / 1000:.1f} GB" if known >= 1000 else f"{max(known, 1):.0f} MB"
    return text if None not in sizes else f"over {text}" if known >= 1 else "unknown"


def state(source: Source, root: Path | str | None) -> str:
    """Which parts lie below `root`, in a word or two."""
    if root is None:
        return "no --root given"
    here = [part.name for part in source.parts if _in_place(part, Path(root))]
    needed = [part.name for part in source.parts if not part.extra]
    if all(name in here for name in needed):
        return "in place"
    return f"partly: {', '.join(here)}" if here else "not there"


def places(part: Part) -> list[str]:
    """The paths below the root that a part fills."""
    if part.put is not None:
        return [part.put]
    packed = {path for path, _ in part.inner}
    return [where for take in (part.take, *(inner for _, inner in part.inner)) for where in take.values() if where not in packed]


def _in_place(part: Part, root: Path) -> bool:
    return all((root / where).exists() for where in places(part))


def _require_terms(key: str, source: Source, record: dict[str, Any], accept: Callable[[str], bool]) -> None:
    wording = hashlib.sha256(source.licence.encode()).hexdigest()
    if record.get("accepted") == wording:
        return
    if not accept(terms(key, source)):
        raise UsageError(
            f"{key}: its terms were not accepted, nothing was fetched; give --accept-licence once you agree to them."
        )
    record["accepted"] = wording


def terms(key: str, source: Source) -> str:
    return f"{key}: {source.title}, {source.page}\nTerms: {source.licence}"


def _require_archives(key: str, source: Source, chosen: Sequence[Part], root: Path) -> None:
    """Raises DataError with the steps to take, where parts without an address are neither in place nor in the folder."""
    folder = root / FOLDER
    missing = [part.file for part in chosen if not (part.urls or _in_place(part, root) or (folder / part.file).is_file())]
    if missing:
        steps = "; ".join(
            f"{number}. {step.format(files=' and '.join(missing), folder=folder)}"
            for number, step in enumerate(source.steps, start=1)
        )
        raise DataError(f"{key}: needs a login, so it has to be fetched by hand. {steps}.")


def _bring(
    key: str, part: Part, root: Path, record: dict[str, Any], patience: Patience | None, say: Say, make: MakeProgress | None
) -> None:
    """Fetches one part, unpacks it and writes down where it came from."""
    archive, written = root / FOLDER / part.file, root / FOLDER / f"{key}.json"
    known = record.setdefault("parts", {}).setdefault(part.name, {})
    ours = known.get("fetched_here", False) or not archive.is_file()
    known["fetched_here"] = ours
    _write_record(written, record)
    progress = make(f"{part.file}, MB") if make else None

    def show(done: int, total: int, text: str) -> None:
        if progress is not None:
            last = -(-total // 1_000_000)
            progress(last if done == total else min(done // 1_000_000, last - 1), last, text)

    fetched = fetch(part.urls, archive, size=part.size, digest=part.digest, patience=patience, progress=show, say=say)
    before = known.get("sha256")
    if part.digest is None:
        changed = f", not {before} as the last time" if before not in (None, fetched.sha256) else ""
        say(f"{part.file}: no checksum is published; its SHA-256 is {fetched.sha256}{changed}.")
    known.update(file=part.file, size=fetched.size, sha256=fetched.sha256, published=part.digest)
    if fetched.url is not None:
        known["url"] = fetched.url
    _write_record(written, record)
    if part.put is not None:
        (root / part.put).parent.mkdir(parents=True, exist_ok=True)
        os.replace(archive, root / part.put)
    else:
        say(f"{part.file}: is unpacked below {root}.")
        unpack(archive, root, part.take)
        for inside, take in part.inner:
            unpack(root / inside, root, take)
            (root / inside).unlink()
        if ours:
            archive.unlink()
    known["fetched_here"] = False
    _write_record(written, record)


def _rule(held: Files | Lines) -> str:
    return f"{held.count:,} files {held.pattern}" if isinstance(held, Files) else f"{held.count:,} lines in {held.path}"


def _problem(held: Files | Lines, root: Path) -> str:
    if isinstance(held, Lines):
        try:
            lines = (root / held.path).read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return f"{root / held.path}: is not there"
        except (OSError, UnicodeDecodeError) as error:
            return f"{root / held.path}: is no list ({error})"
        count = sum(bool(line.strip()) for line in lines)
        return "" if count == held.count else f"{root / held.path}: has {count:,} lines instead of {held.count:,}"
    found = sorted(path for path in root.glob(held.pattern) if path.is_file() and not path.name.startswith("."))
    if len(found) != held.count:
        return f"{root / held.pattern}: {len(found):,} files instead of {held.count:,}"
    for path in found:
        if not path.stat().st_size:
            return f"{path}: is empty"
        for partner in _partners(held, path, root):
            if not partner.is_file():
                return f"{partner}: is not there, but {path} is"
    return ""


def _partners(held: Files, path: Path, root: Path) -> Iterator[Path]:
    for replacements in held.partners:
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
