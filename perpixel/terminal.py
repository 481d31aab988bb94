"""What people see: one progress line with an ETA, tables worst first, JSON. Results go to stdout, everything else to stderr.

This is the one place that prints. Names come from files of strangers, so whatever a terminal would obey, or that forges a line,
is shown as an escape. A reader that goes away, as `head` does, stops no work."""

from __future__ import annotations

import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from threading import Timer
from typing import TYPE_CHECKING, Any, TypeVar

from perpixel.errors import printable

if TYPE_CHECKING:  # so that verbs without a network need not wait for torch
    from perpixel.judging.average_precision import InstanceScores
    from perpixel.judging.compare import Comparison
    from perpixel.judging.evaluate import Scores
    from perpixel.judging.evaluate_boundary_iou import BoundaryScores
    from perpixel.judging.evaluate_cityscapes import CityscapesScores
    from perpixel.judging.evaluate_membranes import MembraneScores
    from perpixel.judging.evaluate_objects import ObjectScores
    from perpixel.judging.evaluate_panoptic import PanopticScores
    from perpixel.judging.explain_score import Explanation
    from perpixel.judging.intervals import Intervals

Speaker = TypeVar("Speaker", bound=Callable[..., None])
SOON = 3.0  # seconds until a first line
COUNTED = ("true_objects", "predicted_objects", "splits", "merges")  # figures that are numbers of objects, no shares


FAILURES = 20  # that are listed one by one


def say(text: str) -> None:
    """A sentence for the person, on stderr: one line, never wrapped or coloured by its content."""
    _write("stderr", printable(text))


def show(text: str = "") -> None:
    """A line of results, on stdout."""
    _write("stdout", printable(text))


def say_failures(sentences: Iterable[str], what: str) -> int:
    """Says what became of the files of a kind that failed, and how many more there are after the first; returns their number."""
    every = list(sentences)
    for sentence in every[:FAILURES]:
        say(sentence)
    if len(every) > FAILURES:
        say(f"... and {len(every) - FAILURES} more {what}.")
    return len(every)


def prepare_streams() -> None:
    """Makes stdout and stderr take every character, and puts nothing in the place of one that is closed."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed by whoever started this process
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 - for as long as the process lives
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def finish_streams() -> None:
    """Brings out what is left, so that nothing fails when the interpreter ends. Raises OSError where a disk is full."""
    for name in ("stdout", "stderr"):
        try:
            getattr(sys, name).flush()
        except (BrokenPipeError, ValueError):
            _silence(name)


def _write(name: str, text: str, end: str = "\n") -> None:
    try:
        print(text, end=end, file=getattr(sys, name), flush=True)
    except (BrokenPipeError, ValueError):  # its reader is gone, or it was closed
        _silence(name)


def _silence(name: str) -> None:
    """Sends all further output of a stream to nowhere."""
    setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 - for as long as the process lives
    standard = {"stdout": 1, "stderr": 2}[name]
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, standard)
    os.close(nowhere)


@contextmanager
def announced(text: str) -> Iterator[Callable[[Speaker], Speaker]]:
    """Says `text` where nothing else is heard for some seconds, so that nobody waits for a first line while torch is imported,
    and a mistake that is found at once is told in one. Yields what makes of a function that speaks one that is heard."""
    timer = Timer(SOON, say, [text])
    timer.daemon = True

    def heard(speak: Any) -> Any:
        def spoken(*words: Any) -> None:
            timer.cancel()
            speak(*words)

        return spoken

    timer.start()
    try:
        yield heard
    finally:
        timer.cancel()


class Progress:
    """`progress(done, total, text)`: one line that rewrites itself on a terminal; elsewhere a line every twenty seconds, the
    first one soon."""

    def __init__(self, what: str) -> None:
        self.what, self.began, self.first = what, time.monotonic(), -1
        self.live = sys.stderr.isatty()
        self.next = self.began + (0 if self.live else SOON)

    def __call__(self, done: int, total: int, text: str = "") -> None:
        now = time.monotonic()
        if self.first < 0:
            self.first, self.began = done, now  # what a continued run had done before does not count as speed
        if now < self.next and done < total:
            return
        self.next = now + (0.2 if self.live else 20)
        left = (now - self.began) / (done - self.first) * (total - done) if self.first < done < total else math.nan
        eta = "" if math.isnan(left) else f", {_duration(left)} left"
        line = printable(f"{self.what} {done}/{total}{eta}{', ' if text else ''}{text}")
        if self.live:
            _write("stderr", f"\r\x1b[K{line}", end="\n" if done == total else "")
        else:
            _write("stderr", line)


def print_json(value: Any) -> None:
    _write("stdout", json.dumps(value, indent=1))


def print_scores(scores: Scores) -> None:
    """A row per class, worst first, then the figures over all classes and the protocol's hash."""
    rows: list[tuple[str, ...]] = []
    for row in scores.rows():
        figures = (percent(value) for value in (row.iou, row.dice, row.accuracy, row.precision))
        rows.append((row.name, *figures, f"{row.pixels:,}", row.why))
    print_table(("class", "IoU", "Dice", "accuracy", "precision", "pixels", "why"), rows, right=range(1, 6))
    named = ", ".join(f"{name} {percent(value)}" for name, value in scores.figures.items())
    show(f"{named}; split {scores.protocol['split']}, protocol {scores.protocol_hash}")
    _print_intervals(scores.intervals)


def print_instances(scores: InstanceScores) -> None:
    """The twelve figures, the categories worst first, then the protocol."""
    print_table(("", ""), [(name, percent(value)) for name, value in scores.figures.items()])
    show()
    ranked = sorted(scores.by_category.items(), key=lambda item: (math.isnan(item[1]), item[1]))
    print_table(("category", "AP"), [(name, percent(value)) for name, value in ranked])
    show(f"{scores.protocol['pictures']} pictures, protocol {scores.protocol_hash}")
    _print_intervals(scores.intervals)


def print_panoptic(scores: PanopticScores) -> None:
    """A row per category, worst first, then the means and the protocol."""
    known = [(name, one) for name, one in scores.categories.items() if not math.isnan(one.pq)]
    rows: list[tuple[str, ...]] = [
        (name, percent(one.pq), percent(one.sq), percent(one.rq), str(one.matched), str(one.wrong), str(one.missed))
        for name, one in sorted(known, key=lambda item: item[1].pq)
    ]
    print_table(("category", "PQ", "SQ", "RQ", "matched", "wrong", "missed"), rows)
    named = ", ".join(f"{name} {percent(value)}" for name, value in scores.figures.items())
    show(f"{named}; {scores.protocol['pictures']} pictures, protocol {scores.protocol_hash}")
    _print_intervals(scores.intervals)


def print_explanation(found: Explanation) -> None:
    """A row per convention, what makes each differ from ours, the classes, and what becomes of void."""
    from perpixel.judging.explain_score import summary  # which needs torch, as others of these do not

    ours = found.rows[0].score
    print_table(
        ("mIoU", "difference", "judged so by", "rule"),
        [(percent(row.score), points(row.score - ours) if number else "", row.convention.packages, row.convention.rule)
         for number, row in enumerate(found.rows)],
    )  # fmt: skip
    for row in found.rows[1:]:
        lines = summary(row)
        told = f"{row.convention.packages}: {percent(row.score)}, {points(row.score - ours)}"
        show()
        show(f"{told}{':' if lines else '; no difference here.'}")
        for line in lines:
            show(f"  {line}")
    totals = found.totals
    show()
    print_table(
        ("class", "IoU", "truth", "predicted", "hits"),
        [(name, percent(totals.iou[i]), *(f"{int(count[i]):,}" for count in (totals.truth, totals.predicted, totals.hits)))
         for i, name in enumerate(found.classes.names)],
    )  # fmt: skip
    void, pixels = found.void
    show()
    show(f"void: {void:,} of {pixels:,} pixels")
    for row in found.rows if void else ():
        counted = "" if row.with_void is None else f" (mIoU if so: {percent(row.with_void)})"
        show(f"  {row.convention.packages}: {row.convention.void}{counted}")


def print_comparison(found: Comparison) -> None:
    """A row per figure: both scores, their difference with its interval, and the probability of such a one by chance."""
    from perpixel.judging.intervals import LEVEL

    rows: list[tuple[str, ...]] = []
    for name, one in found.figures.items():
        digits = 1 if name in COUNTED else 6 if "membranes" in found.protocol else None  # of values that are no percent
        write = percent if digits is None else f"{{:.{digits}f}}".format
        signed = points if digits is None else f"{{:+.{digits}f}}".format
        differences = (one.difference, one.interval.low, one.interval.high)
        p_value = "nan" if math.isnan(one.p_value) else f"{one.p_value:.4f}"
        rows.append((name, write(one.first), write(one.second), *map(signed, differences), p_value))
    print_table(("figure", "first", "second", "second - first", "from", "to", "p"), rows)
    split = f"split {found.protocol['split']}, " if "split" in found.protocol else ""
    show(f"{found.num_pictures} pictures, {100 * LEVEL:.0f} % intervals of the paired bootstrap and p of the permutation test, "
         f"{found.samples} samples each, seed {found.seed}; {split}protocol {found.protocol_hash}")  # fmt: skip


def _print_intervals(found: Intervals | None, shown: Callable[[float], str] | None = None) -> None:
    """A row per figure if there are intervals; `shown` writes a value, else it is percent, and objects are counts."""
    if found is None:
        return
    from perpixel.judging.intervals import LEVEL

    drawn = f"bootstrap of {found.replicates} samples of {found.num_pictures} pictures, seed {found.seed}"
    show()
    show(f"{100 * LEVEL:.0f} % intervals, {drawn}:")
    rows: list[tuple[str, ...]] = []
    for name, one in [*found.figures.items(), *((f"IoU of {name}", one) for name, one in found.iou.items())]:
        write = (lambda value: f"{value:.1f}") if name in COUNTED else shown or percent
        rows.append((name, *map(write, (one.low, one.high, one.standard_error))))
    print_table(("figure", "from", "to", "standard error"), rows)


def print_objects(scores: ObjectScores) -> None:
    """The figures of objects, then split and protocol."""
    figures = scores.figures
    rows: list[tuple[str, ...]] = [(name, percent(figures[name])) for name in ("SEG", "AP", "AP50", "AP75")]
    rows += [(f"{kind} objects a picture", f"{figures[f'{kind}_objects']:.1f}") for kind in ("true", "predicted")]
    rows += [("true objects that are split", f"{figures['splits']:.0f}")]
    rows += [("objects that merge true ones", f"{figures['merges']:.0f}")]
    rules = scores.protocol["objects"]
    print_table((rules["class"], ""), rows)
    dropped = f", {rules['minimum_area']} pixels or more" if rules["minimum_area"] else ""
    filled = ", holes filled" if rules["fill_holes"] else ""
    said = f"{len(scores.pictures)} pictures, connectivity {rules['connectivity']}{dropped}{filled}"
    show(f"{said}; split {scores.protocol['split']}, protocol {scores.protocol_hash}")
    _print_intervals(scores.intervals)


def print_membranes(scores: MembraneScores) -> None:
    """The figures of membranes with the thresholds at which they are best, then split and protocol."""
    rows: list[tuple[str, ...]] = [(name, f"{best.value:.6f}", f"{best.threshold:g}") for name, best in scores.figures.items()]
    print_table((scores.protocol["membranes"]["class"], "", "inside above"), rows)
    tried = f"{len(scores.names)} pictures, best of {len(scores.thresholds)} thresholds"
    show(f"{tried}; split {scores.protocol['split']}, protocol {scores.protocol_hash}")
    _print_intervals(scores.intervals, lambda value: f"{value:.6f}")


def print_boundary_iou(scores: BoundaryScores) -> None:
    """A row per class, worst first, then the mean, split and protocol."""
    ranked = sorted(scores.iou.items(), key=lambda item: (math.isnan(item[1]), item[1]))
    print_table(("class", "Boundary IoU"), [(name, percent(value)) for name, value in ranked])
    said = f"boundary_mIoU {percent(scores.figures['boundary_mIoU'])}, dilation {scores.protocol['boundaries']['dilation']:g}"
    show(f"{said}; split {scores.protocol['split']}, protocol {scores.protocol_hash}")
    _print_intervals(scores.intervals)


def print_cityscapes(scores: CityscapesScores) -> None:
    """IoU and iIoU of classes, categories and their means with the three decimals of the benchmark, then split and protocol."""
    for kind, found in (("classes", scores.classes), ("categories", scores.categories)):
        rows: list[tuple[str, ...]] = [(name, f"{one.iou:.3f}", f"{one.iiou:.3f}") for name, one in found.items()]
        means = (f"{scores.figures[f'{measure}_{kind}']:.3f}" for measure in ("IoU", "iIoU"))
        print_table((kind, "IoU", "iIoU"), [*rows, ("mean", *means)])
        show()
    show(f"split {scores.protocol['split']}, protocol {scores.protocol_hash}")
    _print_intervals(scores.intervals, lambda value: f"{value:.3f}")


def print_table(header: tuple[str, ...], rows: list[tuple[str, ...]], right: Iterable[int] = ()) -> None:
    """A table on stdout, the columns `right` set to the right; as wide as it is where stdout is no terminal, so that files and
    pipes get one line per row."""
    from rich.console import Console  # takes a tenth of a second, which `--help` need not wait for
    from rich.table import Table

    table = Table(*header, box=None, pad_edge=False)
    for number in right:
        table.columns[number].justify = "right"
    for row in rows:
        table.add_row(*map(printable, row))
    console = Console(width=None if sys.stdout.isatty() else 200, markup=False, emoji=False)
    with console.capture() as captured:
        console.print(table)
    _write("stdout", captured.get(), end="")


def percent(value: float) -> str:
    return "nan" if math.isnan(value) else f"{100 * value:.1f}"


def points(difference: float) -> str:
    return "nan" if math.isnan(difference) else f"{100 * difference:+.1f}"


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {seconds:02d} s" if minutes else f"{seconds} s"
