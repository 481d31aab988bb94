"""What a measure counted in each picture, kept in files: a shard judges its share of the pictures, and any process makes the
scores of all shards together.

    out/scores-3of8.jsonl       of one shard (see `shards`): a line for each picture, with its row and the digest of its truth

Figures, intervals and comparisons of stored rows are those of one process that judges all pictures, to the last digit."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import GenericAlias
from typing import Any, get_args

from perpixel.errors import DataError, UsageError, did_you_mean
from perpixel.judging.evaluate import counted_each
from perpixel.measures import MEASURES, class_of
from perpixel.measures.measure import Measure, Pairs
from perpixel.shards import Shard, ShardFile, plain, read_shards, shard_files, typed

KIND = "scores"  # of shards


@dataclass(frozen=True)
class Judged:
    """What a shard did: pictures that it judged now, that were judged before, and a sentence for each that cannot be judged."""

    done: int
    before: int
    failed: Mapping[str, str]


def store(
    pairs: Pairs[Any],
    measure: Measure[Any],
    out: Path,
    shard: Shard,
    title: str,
    progress: Callable[[int, int], None] | None = None,
) -> Judged:
    """Judges the pictures of a shard and keeps their rows in `out`. What was kept before is not judged again. `title` says in
    words what is judged, and on which data.

    Raises UsageError for a results file, whose pictures are ranked together, and where `out` holds rows of other work."""
    if pairs.rows is not None:
        raise UsageError(f"{title}: a results file is ranked as a whole, in one process; leave --shard out.")
    described = pairs.protocol(())
    head = {
        "measure": measure.name, "settings": plain(vars(measure)), "classes": list(pairs.classes), "protocol": described,
        "rules": dict(pairs.rules), "masks": None if pairs.masks is None else str(pairs.masks), "title": title,
    }  # fmt: skip
    failed: dict[str, str] = {}
    with ShardFile(out, KIND, shard, plain(head), pairs.names) as file:
        places = file.open_places
        for place, judged in zip(places, counted_each(pairs, places, progress, failed), strict=True):
            for row, digest in judged:
                file.add(place, {"row": plain(row), "digest": digest.hex()})
            if not judged:
                file.add(place, {"failed": failed[pairs.names[place]]})
        return Judged(len(places) - len(failed), len(file.done), failed)


def holds_rows(path: object) -> bool:
    """Whether a path is a folder of stored rows."""
    return isinstance(path, str | Path) and bool(shard_files(Path(path), KIND))


def stored(folder: Path, measure: Measure[Any] | None = None) -> tuple[Measure[Any], str, Pairs[Any]]:
    """The measure of the rows in a folder, their title, and their pictures, which need no counting any more.

    With a `measure`, rows of another one are refused. Raises the errors of `read_shards`."""
    merged = read_shards(folder, KIND)
    head = merged.head
    try:
        name, settings, described = str(head["measure"]), dict(head["settings"]), dict(head["protocol"])
        classes, rules, masks, title = list(head["classes"]), dict(head["rules"]), head["masks"], str(head["title"])
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{folder}: its shards do not say what they judged ({error} is missing); judge again.") from None
    if name not in MEASURES:
        raise did_you_mean("measure", name, MEASURES)
    own = class_of(name)(**settings)
    if measure is not None and (measure.name, _settings(measure)) != (own.name, _settings(own)):
        given = ", ".join(f"{key} {value}" for key, value in settings.items())
        held = f"{name} ({given})" if given else name
        raise UsageError(f"{folder}: holds rows of {held}, not of {measure.name} as it is asked for; name the same measure.")
    row_and_digest = GenericAlias(tuple, (row_type(own), str))

    def count(index: int, _: Any) -> tuple[Any, bytes]:
        content, where = merged.contents[index], f"{folder}, {merged.names[index]}"
        if "failed" in content:
            raise DataError(str(content["failed"]))
        row, digest = typed([content.get("row"), content.get("digest")], row_and_digest, where)
        return row, bytes.fromhex(digest)

    protocol, folder_of_masks = partial(of_pictures, described), None if masks is None else Path(masks)
    return own, title, Pairs(merged.names, classes, protocol, lambda _: None, count, rules=rules, masks=folder_of_masks)


def _settings(measure: Measure[Any]) -> Any:
    return json.loads(json.dumps(plain(vars(measure))))  # where a tuple is a list


def row_type(measure: Measure[Any]) -> Any:
    """The type of a measure's rows, as its class says: `Measure[Row]`."""
    bases = [base for kind in type(measure).__mro__ for base in vars(kind).get("__orig_bases__", ()) if get_args(base)]
    return get_args(bases[0])[0]


def of_pictures(described: Mapping[str, Any], digests: Sequence[bytes]) -> dict[str, Any]:
    """The protocol of pictures whose truth has these digests, from that of no picture.

    A picture that cannot be judged has an empty digest."""
    pictures = {"pictures": sum(map(bool, digests))} if "pictures" in described else {}
    return {**described, "data": hashlib.sha256(b"".join(digests)).hexdigest(), **pictures}
