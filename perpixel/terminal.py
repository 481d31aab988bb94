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
    pass

Speaker = TypeVar("Speaker", bound=Callable[..., None])
SOON = 3.0  # seconds until a first line


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
