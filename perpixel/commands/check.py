"""`perpixel check`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from perpixel.commands.flags import AsJson, Root
from perpixel.errors import UsageError
from perpixel.terminal import say


def check(
    data: Annotated[str, Parameter(help="Data set: a name or a folder; or a JSON file of COCO's annotations.")],
    *,
    root: Root = None,
    fix: Annotated[Path | None, Parameter(help="Write a repaired copy of the folder here, with its plan.csv.")] = None,
    report: Annotated[Path | None, Parameter(help="Write statistics, pictures and defects as one HTML page here.")] = None,
    as_json: AsJson = False,
) -> None:
    """Refuse an unsound data set: some 70 kinds of defect, each with file, pixel, value and repair (docs/check.md)."""
    from perpixel.doctor.check import check as examine
    from perpixel.terminal import Progress, print_json, show

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
    if as_json:
        print_json(examined.to_json())
    else:
        for problem in examined.problems:
            show(f"{problem.severity}: {problem.message}")
    say(f"{data}: {sum(examined.pictures.values())} pictures, {len(examined.errors)} errors, "
        f"{len(examined.problems) - len(examined.errors)} warnings.")  # fmt: skip
    if examined.errors:
        raise SystemExit(3)


def _fixed(folder: Path, report: Any, out: Path) -> Any:
    """Repairs a copy, prints the steps, and returns the report of the copy."""
    from perpixel.doctor.check import check as examine
    from perpixel.doctor.repair import PLAN, plan_repair, repair
    from perpixel.terminal import show

    if not folder.is_dir():
        raise UsageError(f"{folder}: is no folder of pictures and masks; --fix repairs a copy of one.")
    done = repair(folder, plan_repair(folder, report), out)
    for step in done.steps:
        show(f"{step.file}: {step.kind}: {step.action}")
    pairs = f"{done.pairs} pairs of {sum(report.pictures.values())}"
    say(f"{out}: {pairs}, {len(done.steps)} steps as {out / PLAN} says. What is left there:")
    return examine(out)
