"""`perpixel init`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from perpixel.terminal import say


def init(folder: Annotated[Path, Parameter(help="Folder that holds pictures and masks.")]) -> None:
    """Turn a folder of pictures and masks into a data set: pair them, find the values, propose names and a split."""
    from perpixel.doctor.init import init as propose
    from perpixel.terminal import show

    proposal = propose(folder)
    for sentence in proposal.decided:
        show(sentence)
    for sentence in proposal.undecided:
        show(f"please look: {sentence}")
    say(f"Next: edit {folder / 'classes.csv'} where needed, then perpixel check {folder}")
