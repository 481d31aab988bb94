"""Shards: shares of a data set that processes work on by themselves, on any machines, and the files that say what each has done.

    shard = Shard.of("3/8")                     # the fourth of eight; "auto" asks the scheduler that started the process
    shard.has("street/0001")                    # by the digest of the name: the same on every machine
    with ShardFile(out, "scores", shard, head, names) as file:      # out/scores-3of8.jsonl
        for place in file.open_places: file.add(place, content)
    merged = read_shards(out, "scores")         # the contents of all shards, in the order of the names

A file begins with its head, in which all shards of a set are equal but for their number. Each further line is an item that is
done, with a checksum. A process that was killed leaves whole lines; the same command goes on behind them."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any, get_type_hints

import msgspec
import numpy as np
from numpy.typing import NDArray

from perpixel.errors import DataError, UsageError, printable
from perpixel.files import locked, read_bytes, require_folder, require_plain, write_whole
from perpixel.version import VERSION

AUTO = "auto"
MOST = 1_000_000  # shards
# Schedulers by the variable that numbers their processes from 0, or from the second variable: and those of count and step.
SCHEDULERS = {
    "JOB_COMPLETION_INDEX": ("", "", ""),  # an Indexed Job of Kubernetes, which does not tell its processes how many they are
    "SLURM_ARRAY_TASK_ID": ("SLURM_ARRAY_TASK_MIN", "SLURM_ARRAY_TASK_COUNT", "SLURM_ARRAY_TASK_STEP"),
    "SKYPILOT_JOB_RANK": ("", "SKYPILOT_NUM_JOBS", ""),
}
KINDS = {  # of files: what a shard of each has done, in words
    "predictions": "predict", "scores": "evaluate", "checked": "check", "converted": "convert",
}  # fmt: skip
DIGITS = 16  # of a checksum
_SUM = ', "sum": "'  # before the checksum, which is the last of a line


@dataclass(frozen=True)
class Shard:
    """One of `count` shares of a set, `index` from 0."""

    index: int
    count: int

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"

    @classmethod
    def of(cls, text: str, environment: Mapping[str, str] | None = None) -> Shard:
        """The shard that is called `i/n`, with i from 0; `auto`, or `auto/n`, where a scheduler numbers the processes.

        Raises UsageError for other text, for a number outside of 0..n-1, and where no scheduler says what is missing."""
        first, slash, last = text.partition("/")
        try:
            index, count = (_asked if first == AUTO else _given)(first, last if slash else None, environment or os.environ)
        except ValueError:
            raise UsageError(f"--shard {text}: must be i/n, such as 0/8 to 7/8 for eight processes, or auto.") from None
        if not 0 <= index < count <= MOST:
            raise UsageError(f"--shard {index}/{count}: shards are counted from 0; 8 of them are 0/8 to 7/8.")
        return cls(index, count)

    def has(self, name: str) -> bool:
        """Whether this shard holds the picture of that name. Of equal names of two splits one shard holds both.

        The two Unicode forms of a letter with an accent are one name, since file systems change the one into the other."""
        form = name if name.isascii() else unicodedata.normalize("NFC", name)
        digest = hashlib.sha256(form.encode(errors="surrogateescape")).digest()
        return int.from_bytes(digest[:8], "big") % self.count == self.index


def _given(first: str, last: str | None, _: Mapping[str, str]) -> tuple[int, int]:
    if last is None or not (re.fullmatch(r"\d{1,9}", first, re.ASCII) and re.fullmatch(r"\d{1,9}", last, re.ASCII)):
        raise ValueError
    return int(first), int(last)


def _asked(_: str, last: str | None, environment: Mapping[str, str]) -> tuple[int, int]:
    """The number of this process and the count of all, as a scheduler says, or the count that is given."""
    there = [name for name in SCHEDULERS if environment.get(name)]
    if len(there) != 1:
        found = f"{' and '.join(there)} are set" if there else f"none of {', '.join(SCHEDULERS)} is set"
        raise UsageError(f"--shard auto: {found}, so no one scheduler numbers this process; give --shard i/n.")
    (name,) = there
    if last is not None:  # then the number itself is meant: of an array, some processes alone may be run again
        return int(environment[name]), int(last)
    first, count, step = (
        int(environment[variable]) if environment.get(variable) else default
        for variable, default in zip(SCHEDULERS[name], (0, 0, 1), strict=True)
    )
    place, beside = divmod(int(environment[name]) - first, max(step, 1))
    if beside:
        raise UsageError(f"--shard auto: {name} = {environment[name]} is no place of an evenly stepped array; give --shard i/n.")
    if not count:
        raise UsageError(f"--shard auto: {name} is set, but nothing says how many processes there are; give --shard auto/n.")
    return place, count


def refuse_with_shard(shard: str | None, given: Mapping[str, Any]) -> None:
    """Raises UsageError where flags (by name, with their values) that are of a whole set are given beside --shard."""
    named = [f"--{name.replace('_', '-')}" for name, value in given.items() if value]
    if shard is not None and named:
        raise UsageError(f"{named[0]}: is of the whole set, and --shard {shard} is a part of it; leave it out here, and give it "
                         "where `perpixel merge` takes it.")  # fmt: skip


class ShardFile:
    """`folder/KIND-IofN.jsonl`: the share of one process in the items called `names`, with what it has done of them.

    `head` is JSON; what it holds must be equal in all shards of a set. `done` are the contents of items that were done before, by
    their places; none where the work begins `anew`. While it is open no other process writes it.
    Raises UsageError where the file, or that of another shard in the folder, has another head: another model, data set or
    protocol, or another number of shards."""

    def __init__(
        self, folder: Path, kind: str, shard: Shard, head: Mapping[str, Any], names: Sequence[str], anew: bool = False
    ) -> None:
        self.shard, self.names, self._anew = shard, names, anew
        own = {"kind": kind, "shard": str(shard), "items": len(names), "names": digest_of(names), "perpixel": VERSION}
        self.head: dict[str, Any] = json.loads(json.dumps({**own, **head}))  # as it is read again
        self.places = [place for place, name in enumerate(names) if shard.has(name.rpartition("\0")[2])]
        self.done: dict[int, Any] = {}
        self._folder, self._file_name = folder, f"{kind}-{shard.index}of{shard.count}.jsonl"
        self.path = folder / self._file_name
        self._open, self._writing = ExitStack(), Lock()

    def __enter__(self) -> ShardFile:
        folder = self._folder
        folder.mkdir(parents=True, exist_ok=True)
        busy = UsageError(f"{self.path}: another process works on this shard; wait for it, or choose another --out.")
        self._open.enter_context(locked(folder, busy, f".{self._file_name}.lock"))
        try:
            for path in shard_files(folder, self.head["kind"]):
                if path != self.path:
                    self._require_same(path, head_of(path))
            if os.path.lexists(self.path):
                lines = read_bytes(self.path).split(b"\n")
                head = _content(lines[0])
                if head is not None:  # else nothing says what its lines are of
                    self._require_same(self.path, head)
                    for record in map(_record, lines[1:]):
                        if record is not None and self._is_mine(record):
                            self.done[record.place] = record.content
            text = "".join(map(self._line, sorted(self.done)))
            write_whole(folder, self._file_name, (json.dumps(self.head) + "\n" + text).encode(errors="surrogateescape"))
            self._file = self._open.enter_context(self.path.open("a"))
        except BaseException:
            self._open.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
        finally:
            self._open.close()

    def _require_same(self, path: Path, head: Mapping[str, Any]) -> None:
        key = _differing(self.head, head)
        if key is not None:
            raise UsageError(f"{path}: is of other work: it differs in {key!r}; choose another --out.")

    def _is_mine(self, record: Record) -> bool:
        """Whether a line is of an item of this shard that need not be done again."""
        known = record.place < len(self.names) and self.names[record.place] == record.name
        return known and "failed" not in record.content and not self._anew

    @property
    def open_places(self) -> list[int]:
        """The places of the items of this shard that are not done, in their order."""
        return [place for place in self.places if place not in self.done]

    def add(self, place: int, content: Mapping[str, Any]) -> None:
        """Notes that the item at `place` is done. `content` is JSON, and holds "failed" with a sentence where it cannot be."""
        line = _written(Record(place, self.names[place], dict(content)))
        with self._writing:
            self._file.write(line)
            self._file.flush()

    def _line(self, place: int) -> str:
        return _written(Record(place, self.names[place], self.done[place]))


@dataclass(frozen=True)
class Record:
    """A line: an item by its place and name among all, and what was made of it."""

    place: int
    name: str
    content: dict[str, Any]


@dataclass(frozen=True)
class Merged:
    """What all shards of a set have done: the head that they share, and the names and contents of all items in their order."""

    head: dict[str, Any]
    names: list[str]
    contents: list[dict[str, Any]]


def shard_files(folder: Path, kind: str) -> list[Path]:
    """The files of shards of this kind in a folder; none where it cannot be read."""
    try:
        names = os.listdir(folder)
    except (OSError, ValueError):
        return []
    return sorted(folder / name for name in names if name.startswith(f"{kind}-") and name.endswith(".jsonl"))


def kind_of(folder: Path) -> str:
    """The kind of the shards in a folder. Raises DataError where it holds none, UsageError where it holds those of two kinds."""
    there = [kind for kind in KINDS if shard_files(folder, kind)]
    if len(there) == 1:
        return there[0]
    if there:
        verbs = " and of ".join(KINDS[kind] for kind in there)
        raise UsageError(f"{folder}: holds shards of {verbs}; give each a folder of its own.")
    require_folder(folder, "name the --out of the shards")
    raise DataError(f"{folder}: holds no shards; name the --out of commands with --shard.")


def read_shards(folder: Path, kind: str) -> Merged:
    """All shards in a folder, joined.

    Raises one sentence: UsageError for shards of several sets; DataError for shards that are missing, there twice, not finished
    or damaged."""
    shards: dict[int, Path] = {}
    first: tuple[Path, dict[str, Any]] | None = None
    for path in shard_files(folder, kind):
        head = head_of(path)
        first = first or (path, head)
        key = _differing(first[1], head)
        if key is not None:
            raise UsageError(
                f"{first[0]} and {path}: are shards of different work: they differ in {key!r}; put each set of shards into a "
                "folder of its own."
            )
        index = Shard.of(head["shard"]).index
        if index in shards:
            raise DataError(f"{shards[index]} and {path}: are both the shard {head['shard']}; keep one of them.")
        shards[index] = path
    if first is None:
        raise DataError(f"{folder}: holds no shards of {KINDS[kind]}; name the --out of its commands with --shard.")
    head = first[1]
    count, items = Shard.of(head["shard"]).count, int(head["items"])
    missing = [index for index in range(count) if index not in shards]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        lacking = f"the shard {missing[0]}/{count}{more} is missing"
        raise DataError(f"{folder}: {lacking}; run {KINDS[kind]} --shard {missing[0]}/{count}, or copy its files here.")
    names: list[str | None] = [None] * items
    contents: list[dict[str, Any]] = [{}] * items
    for index, path in sorted(shards.items()):
        for number, line in enumerate(read_bytes(path).split(b"\n")[1:], start=2):
            record = _record(line) if line else None
            if line and (record is None or record.place >= items or not Shard(index, count).has(_bare(record.name))):
                advice = f"run {KINDS[kind]} --shard {index}/{count} again, which mends it"
                raise DataError(f"{path}, line {number}: is damaged; {advice}.")
            if record is not None:  # of two lines of an item the later counts
                names[record.place], contents[record.place] = record.name, record.content
    known = [name for name in names if name is not None]
    if len(known) < items:
        raise DataError(
            f"{folder}: {items - len(known)} of {items} pictures are not done; run {KINDS[kind]} with each --shard again, which "
            "goes on where it stopped."
        )
    if digest_of(known) != head["names"]:
        raise DataError(f"{folder}: the names in its shards are not those of the set; run the shards again into a new folder.")
    return Merged({key: value for key, value in head.items() if key not in _OWN}, known, contents)


_OWN = ("kind", "shard", "items", "names")  # keys of a head that say nothing about the work


def _bare(name: str) -> str:
    return name.rpartition("\0")[2]


def digest_of(names: Iterable[str]) -> str:
    """The SHA-256 of names in their order."""
    digest = hashlib.sha256()
    for name in names:
        digest.update(name.encode(errors="surrogateescape") + b"\n")
    return digest.hexdigest()


def head_of(path: Path) -> dict[str, Any]:
    """The head of a shard's file. Raises DataError for a file that has none."""
    require_plain(path)
    try:
        with path.open("rb") as file:
            head = _content(file.readline())
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}).") from error
    if head is None or not {*_OWN} <= head.keys() or not isinstance(head["items"], int):
        raise DataError(f"{path}: does not begin as the file of a shard; remove it, and run the shard again.")
    return head


def _differing(first: Mapping[str, Any], second: Mapping[str, Any]) -> str | None:
    """What differs in two heads of one set, by its key; None where nothing does."""
    counts = [str(head.get("shard")).rpartition("/")[2] for head in (first, second)]
    if counts[0] != counts[1]:
        return f"the number of shards: {counts[0]}, {counts[1]}"
    for key in dict.fromkeys((*first, *second)):
        if key != "shard" and first.get(key) != second.get(key):
            one, other = first.get(key), second.get(key)
            if isinstance(one, dict) and isinstance(other, dict):
                return _differing({"shard": "", **one}, {"shard": "", **other})
            return key
    return None


def _written(record: Record) -> str:
    body = json.dumps(vars(record))[:-1]
    return f'{body}{_SUM}{_sum(body.encode())}"}}\n'


def _record(line: bytes) -> Record | None:
    """The item of a line; None where the line is cut off or damaged."""
    body, _, rest = line.rpartition(_SUM.encode())
    content = _content(body + b"}")
    if content is None or rest != f'{_sum(body)}"}}'.encode():
        return None
    return Record(content["place"], content["name"], content["content"])


def _sum(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()[:DIGITS]


def _content(line: bytes) -> dict[str, Any] | None:
    try:
        content = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


def plain(value: object) -> Any:
    """The JSON of a value made of dataclasses, arrays, bytes, numbers and text, to be read by `typed`; nan stays nan."""
    return msgspec.to_builtins(value, enc_hook=_of_array, str_keys=True)


def typed(content: Any, kind: Any, where: str) -> Any:
    """The value of the type `kind` of which `content` is the `plain` JSON; nothing else can come of it.

    Raises DataError, with `where`, for content of another form."""
    try:
        return msgspec.convert(content, kind, dec_hook=_to_value, str_keys=True)
    except (msgspec.ValidationError, ValueError, TypeError, KeyError) as error:
        raise DataError(f"{printable(where)}: is not what this version writes ({error}); run its shard again.") from None


def _of_array(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return {"dtype": value.dtype.str, "shape": list(value.shape), "data": value.tobytes()}
    if isinstance(value, np.generic):
        return value.item()
    return value.plain()  # a dataclass of what it holds


def _to_value(kind: Any, content: Any) -> Any:
    if hasattr(kind, "of_plain"):
        form = get_type_hints(kind.plain)["return"]
        return kind.of_plain(msgspec.convert(content, form, dec_hook=_to_value, str_keys=True))
    array: NDArray[Any] = np.frombuffer(base64.b64decode(content["data"]), np.dtype(str(content["dtype"])))
    return array.reshape([int(side) for side in content["shape"]]).copy()
