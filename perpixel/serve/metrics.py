"""What the service counts, as text that Prometheus reads (text format 0.0.4)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

BUCKETS = (0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)  # seconds


class Metrics:
    """Counts of answers by path and status, and a histogram of the seconds that answered pictures took, by model."""

    def __init__(self) -> None:
        self.answers: Counter[tuple[str, int]] = Counter()
        self.reloads = 0
        self._pictures: dict[str, list[float]] = {}  # by model: seconds of all, then counts of BUCKETS, then of all

    def picture(self, model: str, seconds: float) -> None:
        """Counts an answered picture."""
        row = self._pictures.setdefault(model, [0.0] * (len(BUCKETS) + 2))
        row[0] += seconds
        row[-1] += 1
        for place, bucket in enumerate(BUCKETS, start=1):
            row[place] += seconds <= bucket

    def text(self, gauges: Mapping[str, tuple[float, str]]) -> str:
        """All counts, and `gauges`: name -> value and meaning."""
        lines = [*_head("perpixel_answers_total", "counter", "Answers by path and status; 499 is a client that left.")]
        for (path, status), count in sorted(self.answers.items()):
            lines.append(f'perpixel_answers_total{{path="{_escaped(path)}",status="{status}"}} {count}')
        lines += _head("perpixel_picture_seconds", "histogram", "Seconds from a received picture to its answer.")
        for model, (total, *counts) in sorted(self._pictures.items()):
            label = f'model="{_escaped(model)}"'
            for bucket, number in zip((*map(str, BUCKETS), "+Inf"), counts, strict=True):
                lines.append(f'perpixel_picture_seconds_bucket{{{label},le="{bucket}"}} {number:g}')
            lines.append(f"perpixel_picture_seconds_sum{{{label}}} {total:.6f}")
            lines.append(f"perpixel_picture_seconds_count{{{label}}} {counts[-1]:g}")
        lines += [*_head("perpixel_reloads_total", "counter", "Times that all models were loaded again."),
                  f"perpixel_reloads_total {self.reloads}"]  # fmt: skip
        for name, (value, meaning) in gauges.items():
            lines += [*_head(name, "gauge", meaning), f"{name} {value:g}"]
        return "\n".join(lines) + "\n"


def _head(name: str, kind: str, meaning: str) -> tuple[str, str]:
    return f"# HELP {name} {meaning}", f"# TYPE {name} {kind}"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
