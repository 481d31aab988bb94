"""`perpixel init`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from perpixel.terminal import say


def init(
    folder: Annotated[Path, Parameter(help="Folder that holds pictures and masks.")],
    *,
    fix: Annotated[Path | None, Parameter(help="Write the set anew here, with masks of one value per pixel.")] = None,
    pictures: Annotated[str | None, Parameter(help="Files to take for pictures: a part of their paths.")] = None,
    masks: Annotated[str | None, Parameter(help="Files to take for masks: a part of their paths, or '*.gif'.")] = None,
    lists: Annotated[str | None, Parameter(help="Lists of splits to use: a part of their paths.")] = None,
    together: Annotated[bool, Parameter(negative=(), help="Take folders that may each be a set as one set.")] = False,
) -> None:
    """Turn a folder of pictures and masks into a data set: pair them, find the values, propose names and a split.

    What can be decided is decided and told; what a person should look at is told too. With --fix the set is written anew, so that
    it can be trained on; the folder itself gets classes.csv and pairs.csv at most."""
    from perpixel.doctor.init import Annotations, propose, refuse_existing, write
    from perpixel.doctor.known_sets import ready_set
    from perpixel.doctor.repair import require_new
    from perpixel.terminal import show

    if fix is not None:
        require_new(fix)
    else:
        refuse_existing(folder)
    ready = ready_set(folder)
    if ready is not None:
        show(ready.sentence())
        if fix is None:
            say(f"Next: {ready.command()}")
            return
        _convert(ready.name, fix, str(folder))
        return
    try:
        proposal = propose(folder, pictures, masks, lists, together)
    except Annotations as error:
        if fix is None:
            raise
        say(f"{folder}: holds {error.title}, which --fix converts.")
        _convert(str(folder), fix, None)
        return
    for sentence in proposal.decided:
        show(sentence)
    for sentence in proposal.undecided:
        show(f"please look: {sentence}")
    if fix is not None:
        _write_copy(proposal, fix)
        return
    write(proposal)
    table = folder / "classes.csv"
    if proposal.repair:
        following = f"perpixel train {folder}, or perpixel init {folder} --fix COPY"
        say(f"{proposal.repair}. Next: edit {table} where needed, then {following}")
    else:
        say(f"Next: edit {table} where needed, then perpixel check {folder}")


def _write_copy(proposal: Any, out: Path) -> None:
    from perpixel.doctor.init import fix
    from perpixel.terminal import Progress, say_failures

    done = fix(proposal, out, Progress("copied"))
    say_failures(done.failed, "pairs")
    repaired = f"{proposal.repair}: written as values. " if proposal.repair else ""
    counts = f"{done.pairs} pairs of {len(proposal.pairs)}"
    say(f"{out}: {counts}. {repaired}Next: edit {out / 'classes.csv'} where needed, then perpixel train --data {out}")
    if done.failed:
        raise SystemExit(3)


def _convert(source: str, out: Path, root: str | None) -> None:
    """Writes a set that has a reader as a folder to train on."""
    from perpixel.formats.convert import convert
    from perpixel.terminal import Progress, say_failures, show

    report = convert(source, out, root=root, progress=Progress("converted"))
    for sentence in report.told:
        show(sentence)
    say_failures(report.failed, "pictures")
    counts = ", ".join(f"{split} {count}" if split else str(count) for split, count in report.pictures.items())
    say(f"{out}: {counts} pictures, read as {report.format}, {len(report.failed)} left out. Next: perpixel train --data {out}")
    if report.failed:
        raise SystemExit(3)
