"""Output for people: sentences, a progress line with the time left, tables, JSON. Results go to stdout, all else to stderr.

No other module prints. Names may come from strangers' files, so characters that a terminal obeys, or that forge a line, are shown
as escapes. A reader that closes its pipe early, as `head` does, stops no work."""

from __future__ import annotations

import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from threading import Timer
from typing import Any, TypeVar

from perpixel.errors import printable

Speaker = TypeVar("Speaker", bound=Callable[..., None])
SOON = 3.0  # seconds until a first line
FAILURES = 20  # failed files that are listed; of further ones only the number is shown


def say(text: str) -> None:
    """Writes a sentence for the person to stderr: one line, which its content can neither wrap nor colour."""
    _write("stderr", printable(text))


def show(text: str = "") -> None:
    """Writes a line of results to stdout."""
    _write("stdout", printable(text))


def say_failures(sentences: Iterable[str], things: str) -> int:
    """Shows the first sentences, one for each failed file, and the number of the others. Returns the number of all.

    `things` is the plural of the failed thing, for example "masks"."""
    failures = list(sentences)
    for sentence in failures[:FAILURES]:
        say(sentence)
    if len(failures) > FAILURES:
        say(f"... and {len(failures) - FAILURES} more {things}.")
    return len(failures)


def prepare_streams() -> None:
    """Makes stdout and stderr accept every character. A stream that is closed is replaced by the null device."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # the parent process closed it
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 - for as long as the process lives
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def finish_streams() -> None:
    """Writes the rest of the buffers, so that nothing fails when the interpreter ends. Raises OSError where a disk is full."""
    for name in ("stdout", "stderr"):
        try:
            getattr(sys, name).flush()
        except (BrokenPipeError, ValueError):
            _silence(name)


def _write(name: str, text: str, end: str = "\n") -> None:
    try:
        print(text, end=end, file=getattr(sys, name), flush=True)
    except (BrokenPipeError, ValueError):  # the reader is gone, or the stream was closed
        _silence(name)


def _silence(name: str) -> None:
    """Sends all further output of a stream to the null device."""
    setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 - for as long as the process lives
    standard = {"stdout": 1, "stderr": 2}[name]
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, standard)
    os.close(nowhere)


@contextmanager
def announced(text: str) -> Iterator[Callable[[Speaker], Speaker]]:
    """Shows `text` if `SOON` seconds pass without a line, for example while torch is imported.

    An error that comes before then needs no second line. Yields a wrapper: a printing function that is wrapped cancels the
    timer when it is called."""
    timer = Timer(SOON, say, [text])
    timer.daemon = True

    def cancels_timer(speak: Any) -> Any:
        def speak_and_cancel(*words: Any) -> None:
            timer.cancel()
            speak(*words)

        return speak_and_cancel

    timer.start()
    try:
        yield cancels_timer
    finally:
        timer.cancel()


class Progress:
    """`progress(done, total, text)` shows how far a loop is, with the time left.

    On a terminal one line rewrites itself. Elsewhere a line is written every twenty seconds, the first after `SOON` seconds.
    `things` names the counted things."""

    def __init__(self, things: str) -> None:
        self.things, self.began, self.first = things, time.monotonic(), -1
        self.live = sys.stderr.isatty()
        self.next = self.began + (0 if self.live else SOON)

    def __call__(self, done: int, total: int, text: str = "") -> None:
        now = time.monotonic()
        if self.first < 0:
            self.first, self.began = done, now  # the steps of an earlier process do not count for the speed
        if now < self.next and done < total:
            return
        self.next = now + (0.2 if self.live else 20)
        left = (now - self.began) / (done - self.first) * (total - done) if self.first < done < total else math.nan
        eta = "" if math.isnan(left) else f", {_duration(left)} left"
        line = printable(f"{self.things} {done}/{total}{eta}{', ' if text else ''}{text}")
        if self.live:
            _write("stderr", f"\r\x1b[K{line}", end="\n" if done == total else "")
        else:
            _write("stderr", line)


def print_json(value: Any) -> None:
    _write("stdout", json.dumps(value, indent=1))


def print_table(header: tuple[str, ...], rows: list[tuple[str, ...]], right: Iterable[int] = ()) -> None:
    """Writes a table to stdout. The columns numbered in `right` are aligned to the right.

    Where stdout is no terminal, lines may have 200 characters, so that files and pipes get one line per row."""
    from rich.console import Console  # imported here, because it takes a tenth of a second and `--help` does not need it
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
    """A fraction as percent with one decimal; "nan" for nan."""
    return "nan" if math.isnan(value) else f"{100 * value:.1f}"


def points(difference: float) -> str:
    """A difference of fractions in percent points, with its sign and one decimal; "nan" for nan."""
    return "nan" if math.isnan(difference) else f"{100 * difference:+.1f}"


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {seconds:02d} s" if minutes else f"{seconds} s"
