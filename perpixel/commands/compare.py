"""`perpixel compare`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from perpixel.commands.flags import (
    NO_INFERENCE,
    NO_MEASURES,
    NO_OTHERS,
    AsJson,
    Inferring,
    Measuring,
    OtherInferring,
    Root,
    chosen_measure,
)
from perpixel.commands.opening import Judged, costs, given, inference_of, open_sides
from perpixel.errors import DataError, UsageError
from perpixel.terminal import say

if TYPE_CHECKING:
    from perpixel.judging.comparison import Comparison


def compare(
    *sides: Annotated[
        Path,
        Parameter(
            help="Two or more: runs, model files, folders of masks or of scores of shards; COCO results files; or two pages."
        ),
    ],
    data: Annotated[str | None, Parameter(help="Data set; the runs' own without it.")] = None,
    root: Root = None,
    split: Annotated[str | None, Parameter(help="Split to judge on; without it the runs' own, or val.")] = None,
    inferring: Inferring = NO_INFERENCE,
    other_inferring: OtherInferring = NO_OTHERS,
    measures: Measuring = NO_MEASURES,
    samples: Annotated[int, Parameter(help="Halves of the pictures for intervals, and exchanges for tests.")] = 1000,
    seed: Annotated[int, Parameter(help="Seed of both.")] = 0,
    slices: Annotated[
        Path | None, Parameter(help="CSV of the pictures: names in the first column; figures by each value of the other columns.")
    ] = None,
    pictures: Annotated[int, Parameter(help="Pictures and confusions to show of each kind; --json has all.")] = 3,
    timing: Annotated[
        int, Parameter(help="Pictures to time every run on, in turn, with peak memory; a busy machine tells little.")
    ] = 0,
    report: Annotated[
        Path | None, Parameter(help="HTML page with all tables, and pictures of both results and their errors side by side.")
    ] = None,
    device: Annotated[str, Parameter(help="auto, cpu, cuda ...")] = "auto",
    as_json: AsJson = False,
) -> None:
    """Test whether predictions differ by more than the choice of pictures explains: every two sides, paired, picture by picture.

    Flags such as --crf are for all; with --other- before them, as --other-crf, for the second of two alone. So
    `perpixel compare RUN RUN --other-crf deeplab` compares a model with itself and a CRF. A picture that one side lacks is left
    out on all, and told. A side of another protocol stands apart. Of two pages that `review` or `--report` wrote, the numbers
    inside are compared, network by network."""
    chosen = chosen_measure(measures)
    for_all, for_second = given(inferring), given(other_inferring, "other_")
    if len(sides) < 2:
        raise UsageError(f"{len(sides)} side is named; name two or more: runs, model files, folders of masks or results files.")
    if for_second and len(sides) > 2:
        flag = f"--other-{next(iter(for_second)).replace('_', '-')}"
        raise UsageError(f"{flag}: is for the second of two sides, and {len(sides)} are named; name two.")
    for flag, value in (("timing", timing), ("pictures", pictures)):
        if value < 0:
            raise UsageError(f"--{flag} {value}: must be 0 or more.")
    if timing and int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UsageError("--timing: processes that share a machine slow each other down; time in one, without torchrun.")
    if pages := [side for side in sides if side.suffix.lower() == ".html"]:
        named = {"data": data, "root": root, "split": split, "slices": slices, "report": report}
        numbers = {"samples": samples - 1000, "seed": seed, "pictures": pictures - 3, "timing": timing}  # 0 by default
        flags = [name for name, value in {**named, **numbers}.items() if value]
        flags += [*for_all, *(f"other_{name}" for name in for_second), *given(measures)]
        compare_numbers(sides, pages, flags, as_json)
        return
    from perpixel.judging.compare import compare as judge
    from perpixel.judging.comparison import names_of
    from perpixel.judging.comparison_tables import print_comparison
    from perpixel.judging.left_out import say_left_out
    from perpixel.machines.team import join
    from perpixel.terminal import Progress, print_json

    if report is not None:
        from perpixel.report.page import require_page

        require_page(report)
    measure = chosen.measure()
    with join(device) as team:
        ways: list[dict[str, Any]] = [for_all] * len(sides)
        if for_second:
            ways[1] = for_all | for_second
        names = names_of(sides)
        if for_second and sides[0] == sides[1]:  # what tells the two apart is how they predict
            name, told = names_of(sides[:1])[0], ", ".join(f"{key} {value}" for key, value in for_second.items())
            names = [name, f"{name}, {told}"]
        opened = open_sides(sides, measure, data, root, split, team.device_name, ways)
        if report is not None and any(side.data is None for side in opened):
            raise UsageError(f"--report {report}: shows pictures, which rows of shards do not name; compare runs or masks.")
        if timing and all(isinstance(side.predictions, Path) for side in opened):
            raise UsageError("--timing: masks and results are predicted already; name a run or model file, or leave it out.")
        progress = Progress("drawn" if opened[0].by_files and measure.needs == "instances" else "judged")
        comparison = judge(
            [side.predictions for side in opened], [side.data for side in opened], measure, samples, seed,
            progress if team.rank == 0 else None, [inference_of(way) for way in ways] if for_second else inference_of(for_all),
            team, names, slices,
        )  # fmt: skip
        if team.rank:  # one voice for all
            return
        comparison = replace(comparison, costs=costs(names, sides, opened, ways, timing))
        if report is not None:
            write_report(report, comparison, names, opened, ways, pictures)
    if as_json:
        print_json(comparison.to_json())
    else:
        say(f"{', '.join(map(str, sides[:-1]))} and {sides[-1]} {opened[0].place()}.")
        print_comparison(comparison, pictures)
    if comparison.left_out:
        say_left_out(comparison.left_out, comparison.num_pictures)
        raise SystemExit(DataError.exit_code)


def compare_numbers(sides: Sequence[Path], pages: Sequence[Path], flags: Sequence[str], as_json: bool) -> None:
    """Compares the numbers inside of two pages."""
    from perpixel.report.compare_pages import compare_pages, print_page_comparison
    from perpixel.terminal import print_json

    other = next((side for side in sides if side not in pages), None)
    if other is not None:
        raise UsageError(f"{pages[0]}: is a page, and {other} is none; name pages alone, or none.")
    if flags:
        raise UsageError(f"--{flags[0].replace('_', '-')}: a page holds numbers that were judged already; leave the flag out.")
    comparison = compare_pages(pages)
    if as_json:
        print_json(comparison.to_json())
    else:
        print_page_comparison(comparison)


def write_report(
    path: Path, comparison: Comparison, names: list[str], sides: list[Judged], ways: list[dict[str, Any]], most: int
) -> None:
    """Writes the page, with the pictures of the data set by which the ranked sides are judged; of annotation files without."""
    from perpixel.judging.answers import answers
    from perpixel.report.compare_page import write_page

    ranked = {side.name for side in comparison.ranked}
    judged = {name: (side, way) for name, side, way in zip(names, sides, ways, strict=True) if name in ranked}
    if next(iter(judged.values()))[0].by_files:
        write_page(path, comparison, None, {}, most)
    else:
        answering = {name: answers(side.predictions, side.data, inference_of(way)) for name, (side, way) in judged.items()}
        write_page(path, comparison, next(iter(judged.values()))[0].data, answering, most)
    say(f"{path}: written.")
