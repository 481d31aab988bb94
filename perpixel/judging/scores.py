"""Scores: what a measure says of all pictures, the protocol that it was made by, and if asked for intervals of its figures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from perpixel import notebook
from perpixel.judging.intervals import Intervals, print_intervals, rows_of, title_of
from perpixel.judging.protocol import hash_of
from perpixel.measures.measure import Measure, Summary, Table
from perpixel.terminal import print_table, show


@dataclass(frozen=True)
class Scores:
    """The judgement of one split by one measure; figures in 0..1, nan where undefined."""

    measure: Measure[Any]
    summary: Summary
    protocol: dict[str, Any]
    pictures: int  # that are judged
    intervals: Intervals | None = None

    @property
    def figures(self) -> dict[str, float]:
        return self.summary.figures

    @property
    def totals(self) -> Any:
        """What the measure counted in all pictures, in its own type: of pixels the `ConfusionMatrix`."""
        return self.summary.totals

    @property
    def mean_iou(self) -> float:
        """Of a judgement of pixels."""
        return self.figures["mIoU"]

    @property
    def protocol_hash(self) -> str:
        """See `hash_of`."""
        return hash_of(self.protocol)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON: figures, what the measure adds, protocol and its hash, and if there are any the intervals; nan is null."""
        return {
            **self.summary.to_json(),
            "protocol": self.protocol,
            "protocol_hash": self.protocol_hash,
            **({} if self.intervals is None else {"bootstrap": self.intervals.to_json()}),
        }

    @property
    def basis(self) -> str:
        """What the figures rest on: a note of the measure, the judged pictures, and the protocol."""
        note = f"{self.summary.note}; " if self.summary.note else ""
        place = f"split {self.protocol['split']}" if "split" in self.protocol else f"{self.protocol['pictures']} pictures"
        return f"{note}{place}, protocol {self.protocol_hash}"

    def _repr_html_(self) -> str:
        """The tables of the measure and the intervals, for notebooks."""
        parts: list[Table | str] = [*self.summary.tables, self.basis]
        if self.intervals is not None:
            header, rows = rows_of(self.intervals, self.measure)
            parts += [title_of(self.intervals), Table((*header, "doubt"), rows, (1, 2, 3))]
            parts += [] if self.intervals.doubt is None else [f"{self.intervals.doubt}."]
        return notebook.block(*(
            notebook.line(part) if isinstance(part, str) else notebook.table(part.header, part.rows, part.right)
            for part in parts
        ))  # fmt: skip


def print_scores(scores: Scores) -> None:
    """The tables of the measure, a line with the protocol's hash, and the intervals."""
    for part in scores.summary.tables:
        if isinstance(part, Table):
            print_table(part.header, list(part.rows), part.right)
        else:
            show(part)
    show(scores.basis)
    print_intervals(scores.intervals, scores.measure)
