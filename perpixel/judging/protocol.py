"""Which scores may stand side by side: those whose protocols, all that must be equal for it, have one hash; and which pictures a
score does not count."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from perpixel.errors import DataError, failure_of

Failed = dict[str, str] | None  # of each picture that cannot be judged, its name and the sentence


def hash_of(protocol: Mapping[str, Any]) -> str:
    """The first 12 digits of the SHA-256 of a protocol: equal for two scores that may stand side by side.

    Everything counts but the weights and what trained them."""
    judged = {key: value for key, value in protocol.items() if key != "weights"}
    return hashlib.sha256(json.dumps(judged, sort_keys=True).encode()).hexdigest()[:12]


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
