"""`perpixel init`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from perpixel.terminal import say


def init(
    folder: Annotated[Path, Parameter(help="Folder that holds pictures and masks.")],
    *,
    fix: Annotated[
        Path | None, Parameter(help="Write the whole set anew here, with masks that hold one value per pixel.")
    ] = None,
    pictures: Annotated[
        str | None, Parameter(help="Files to take for pictures: a part of their paths, or a pattern with *.")
    ] = None,
    masks: Annotated[str | None, Parameter(help="Files to take for masks: a part of their paths, or a pattern with *.")] = None,
    lists: Annotated[str | None, Parameter(help="Lists of splits to use: a part of their paths, or a pattern with *.")] = None,
) -> None:
    """Turn a folder of pictures and masks into a data set: pair them, find the values, propose names and a split."""
    from perpixel.doctor.init import fix as write_copy
    from perpixel.doctor.init import propose, refuse_existing, write
    from perpixel.doctor.repair import require_new
    from perpixel.terminal import Progress, say_failures, show

    if fix is not None:
        require_new(fix)
    else:
        refuse_existing(folder)
    proposal = propose(folder, pictures, masks, lists)
    for sentence in proposal.decided:
        show(sentence)
    for sentence in proposal.undecided:
        show(f"please look: {sentence}")
    if fix is None:
        write(proposal)
        table = folder / "classes.csv"
        if proposal.repair:
            say(f"{proposal.repair}. Next: edit {table} where needed, then perpixel init {folder} --fix COPY")
        else:
            say(f"Next: edit {table} where needed, then perpixel check {folder}")
        return
    done = write_copy(proposal, fix, Progress("copied"))
    say_failures(done.failed, "pairs")
    repaired = f"{proposal.repair}: written as values. " if proposal.repair else ""
    say(f"{fix}: {done.pairs} pairs of {len(proposal.pairs)}. {repaired}Next: edit {fix / 'classes.csv'} where needed, then "
        f"perpixel train --data {fix}")  # fmt: skip
    if done.failed:
        raise SystemExit(3)
