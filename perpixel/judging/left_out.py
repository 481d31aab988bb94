"""The pictures that a comparison leaves out, because they cannot be judged on every side; grouped by what is wrong with them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from perpixel.terminal import say

SHOWN = 3  # pictures of one kind that are named


@dataclass(frozen=True)
class LeftOut:
    """A picture that one side cannot be judged on, and the sentence that says why."""

    side: str
    picture: str
    sentence: str

    @property
    def kind(self) -> str:
        """The sentence without its file, the picture's name and its numbers."""
        words = re.sub(rf"(?<!\w){re.escape(self.picture)}(?!\w)", "...", self.sentence.split(": ", 1)[-1])
        return re.sub(r"\d+", "N", words)


def kinds_of(left_out: Sequence[LeftOut]) -> list[dict[str, Any]]:
    """Plain JSON: of each kind how many pictures, and each with its side and its sentence. The most frequent kind comes first."""
    kinds: dict[str, list[dict[str, str]]] = {}
    for one in left_out:
        kinds.setdefault(one.kind, []).append(vars(one))
    return [
        {"kind": kind, "count": len({one["picture"] for one in each}), "pictures": each}
        for kind, each in sorted(kinds.items(), key=lambda item: -len(item[1]))
    ]


def say_left_out(left_out: Sequence[LeftOut], judged: int) -> None:
    """Says of each kind how many pictures are left out, and names the first of them. `judged` pictures are left."""
    for kind in kinds_of(left_out):
        sentences = list(dict.fromkeys(one["sentence"] for one in kind["pictures"]))
        for sentence in sentences[:SHOWN]:
            say(sentence)
        if len(sentences) > SHOWN:
            say(f"... and {len(sentences) - SHOWN} more of this kind, {kind['count']} pictures in all; --json lists them.")
    count = len({one.picture for one in left_out})
    say(f"{count} of {judged + count} pictures cannot be judged on every side; the figures are of the other {judged} alone.")
