"""Which scores may stand side by side: those whose protocols, all that must be equal for it, have one hash."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any


def hash_of(protocol: Mapping[str, Any]) -> str:
    """The first 12 digits of the SHA-256 of a protocol: equal for two scores that may stand side by side.

    Everything counts but the weights and what trained them."""
    judged = {key: value for key, value in protocol.items() if key != "weights"}
    return hashlib.sha256(json.dumps(judged, sort_keys=True).encode()).hexdigest()[:12]
