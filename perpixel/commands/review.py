"""`perpixel review`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from perpixel.terminal import say


def review(
    *,
    out: Annotated[Path, Parameter(help="Folder for runs, table and pictures.")] = Path("review"),
    seed: Annotated[int, Parameter(help="Seed of every run.")] = 0,
) -> None:
    """Train the review's networks at laptop width on `scenes`, judge them by one protocol, and leave table and overlays."""
    from perpixel.studies.review import review as run
    from perpixel.terminal import Progress, show

    for line in run(out, seed, say, Progress).read_text(encoding="utf-8").splitlines():
        show(line)
