"""`perpixel check`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from perpixel.commands.flags import AsJson, Root, Sharding, ShardOut, shard_and_folder
from perpixel.errors import UsageError
from perpixel.terminal import say

if TYPE_CHECKING:
    from perpixel.doctor.check import Report
    from perpixel.doctor.defects import Problem
    from perpixel.shards import Shard

SHOWN = 3  # problems of one kind, and steps of one kind of repair, that are shown


def check(
    data: Annotated[str, Parameter(help="Data set: a name or a folder; or a JSON file of COCO's annotations.")],
    *,
    root: Root = None,
    fix: Annotated[Path | None, Parameter(help="Write a repaired copy of the folder here, with its plan.csv.")] = None,
    report: Annotated[Path | None, Parameter(help="Write statistics, pictures and defects as one HTML page here.")] = None,
    shard: Sharding = None,
    out: ShardOut = None,
    as_json: AsJson = False,
) -> None:
    """Refuse an unsound data set: some 80 kinds of defect, each with file, pixel, value and repair (docs/check.md)."""
    of_shard = shard_and_folder(shard, out)
    if of_shard is not None:
        from perpixel.shards import refuse_with_shard

        refuse_with_shard(shard, {"fix": fix, "report": report, "json": as_json})
        _of_shard(data, root, *of_shard)
        return
    from perpixel.doctor.check import check as examine
    from perpixel.terminal import Progress

    if report is not None:
        from perpixel.report.page import require_page

        require_page(report)
    if fix is not None:
        from perpixel.doctor.repair import require_new

        require_new(fix)
    examined = examine(data, Progress("checked"), root)
    if report is not None:  # the page shows the folder before the repair
        from perpixel.report.check_page import write_page

        write_page(report, data, examined, root)
        say(f"{report}: written.")
    if fix is not None:
        examined = _fixed(Path(data), examined, fix)
        data = str(fix)
    tell(data, examined, as_json)


def tell(data: str, examined: Report, as_json: bool) -> None:
    """Prints a report. Leaves with the exit code of damaged data where it has errors."""
    from perpixel.terminal import print_json, show

    if as_json:
        print_json(examined.to_json())
    else:
        _show_problems(examined.problems, show)
    say(f"{data}: {sum(examined.pictures.values())} pictures, {len(examined.errors)} errors, "
        f"{len(examined.problems) - len(examined.errors)} warnings.")  # fmt: skip
    if examined.errors:
        raise SystemExit(3)


def _of_shard(data: str, root: str | None, shard: Shard, out: Path) -> None:
    """Checks the samples of a shard, and shows the problems of each by itself."""
    from perpixel.doctor.check import check_shard
    from perpixel.terminal import Progress, show

    checked = check_shard(data, out, shard, Progress("checked"), root)
    _show_problems(checked.problems, show)
    errors = sum(problem.severity == "error" for problem in checked.problems)
    say(f"{out}: {checked.done} checked, {checked.before} before, {errors} errors, {len(checked.problems) - errors} warnings. "
        f"Shard {shard} of {checked.samples} pictures; then: perpixel merge {out}")  # fmt: skip
    if errors:
        raise SystemExit(3)


def _show_problems(problems: Sequence[Problem], show: Callable[[str], None]) -> None:
    """The problems by kind, errors first. Of a kind with many, their number and the first ones."""
    kinds: dict[tuple[str, str], list[str]] = {}
    for problem in sorted(problems, key=lambda problem: problem.severity != "error"):
        kinds.setdefault((problem.severity, problem.kind), []).append(problem.message)
    for (severity, kind), messages in kinds.items():
        if len(messages) <= SHOWN:
            for message in messages:
                show(f"{severity}: {message}")
            continue
        show(f"{severity}: {kind}, {len(messages)} times, such as")
        for message in messages[:SHOWN]:
            show(f"  {message}")
        show(f"  and {len(messages) - SHOWN} more, which --json and --report list")


def _fixed(folder: Path, report: Any, out: Path) -> Any:
    """Repairs a copy, prints the steps, and returns the report of the copy."""
    from perpixel.doctor.check import check as examine
    from perpixel.doctor.repair import PLAN, plan_repair, repair
    from perpixel.terminal import show

    if not folder.is_dir():
        raise UsageError(f"{folder}: is no folder of pictures and masks; --fix repairs a copy of one.")
    done = repair(folder, plan_repair(folder, report), out)
    steps: dict[tuple[str, str], list[str]] = {}
    for step in done.steps:
        steps.setdefault((step.kind, step.action), []).append(step.file)
    for (kind, action), files in steps.items():
        for file in files[:SHOWN]:
            show(f"{file}: {kind}: {action}")
        if len(files) > SHOWN:
            show(f"  and {len(files) - SHOWN} more: {kind}: {action}")
    pairs = f"{done.pairs} pairs of {sum(report.pictures.values())}"
    say(f"{out}: {pairs}, {len(done.steps)} steps as {out / PLAN} says. What is left there:")
    return examine(out)
