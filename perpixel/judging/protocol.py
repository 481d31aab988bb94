"""Which scores may stand side by side: those whose protocols, all that must be equal for it, have one hash; and which pictures a
score does not count."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from perpixel.errors import DataError, UsageError, failure_of
from perpixel.version import VERSION

if TYPE_CHECKING:
    from perpixel.datasets import Dataset

FREE = ("weights", "engine")  # keys of a protocol in which scores that stand side by side may differ
Failed = dict[str, str] | None  # of each picture that cannot be judged, its name and the sentence
# How every score of a data set is made; it is written into the protocol of each.
RULES = {
    "void": "pixels whose truth is void are not counted",
    "empty_class": "a class absent from truth and prediction is nan and leaves the mean",
    "resize": "judged at the size of the truth; scores interpolated bilinearly, then argmax",
    "window": "whole picture",
    "flips": "none",
}


def protocol(
    dataset: Dataset, digests: Iterable[bytes], weights: str, scale: float | str, rules: Mapping[str, Any] = MappingProxyType({})
) -> dict[str, Any]:
    """What must be equal for two scores to be compared, and the digest of the weights that earned this one.

    `digests` are those of the pictures' truth; `rules` are those of an inference that is not plain."""
    data = hashlib.sha256()
    for digest in digests:
        data.update(digest)
    return {
        "data": data.hexdigest(),
        "split": dataset.split,
        "classes": list(dataset.classes.names),
        **RULES,
        "scales": [scale],
        "perpixel": VERSION,
        "weights": weights,
        **rules,
    }


def hash_of(protocol: Mapping[str, Any]) -> str:
    """The first 12 digits of the SHA-256 of a protocol: equal for two scores that may stand side by side.

    Everything counts but the weights and what trained them, and the engine that ran them."""
    judged = {key: value for key, value in protocol.items() if key not in FREE}
    return hashlib.sha256(json.dumps(judged, sort_keys=True).encode()).hexdigest()[:12]


def refuse_other_protocol(first: Mapping[str, Any], second: Mapping[str, Any]) -> None:
    """Raises UsageError where two protocols differ in more than the weights, with the first field and both its values."""
    for key in differing_keys(first, second)[:1]:
        raise UsageError(
            f"the protocols differ ({hash_of(first)} and {hash_of(second)}) in {key!r}: {_short(first.get(key))} and "
            f"{_short(second.get(key))}; judge both alike: the same pictures, split, classes, scale and rules."
        )


def differing_keys(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[str]:
    """The keys in which two protocols differ, apart from the weights and their engine."""
    keys = [*first, *(key for key in second if key not in first)]
    return [key for key in keys if key not in FREE and first.get(key) != second.get(key)]


def other_protocol(others: Mapping[str, Any], own: Mapping[str, Any]) -> str:
    """In words in what a protocol differs from that of the others; empty where it does not."""
    keys = sorted(differing_keys(others, own), key=lambda key: key == "data")  # digests say least
    return "; ".join(f"{key}: {_short(own.get(key))}, the others {_short(others.get(key))}" for key in keys)


@contextmanager
def noting(name: str, failed: Failed) -> Iterator[None]:
    """Notes what made the picture of this name fail; raises it where there is no `failed` to note it in, or it is a bug."""
    try:
        yield
    except Exception as error:
        sentence = failure_of(name, error)
        if failed is None or sentence is None:
            raise
        failed[name] = sentence


def left_out(failed: Failed, pictures: int, bootstrap: int) -> dict[str, Any]:
    """What the protocol of so many pictures says of those in `failed`.

    Raises DataError where none is left, and where intervals were asked for: they are of all pictures."""
    if not failed:
        return {}
    first = next(iter(failed.values()))
    more = f" {len(failed) - 1} more of {pictures} pictures cannot be judged." if len(failed) > 1 else ""
    if len(failed) == pictures:
        raise DataError(f"{first}{more}")
    if bootstrap:
        raise DataError(f"{first}{more} Intervals are of all pictures; mend these, or leave --bootstrap out.")
    return {"left_out": sorted(failed)}


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
