"""`perpixel upper-bound`."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from perpixel.commands.flags import AsJson, Root


def upper_bound(
    data: Annotated[str, Parameter(help="Data set: a name or a folder.")],
    *,
    factors: Annotated[
        list[int] | None,
        Parameter(help="Strides of the networks. [default: 128 64 32 16 8 4]", negative=(), consume_multiple=True),
    ] = None,
    root: Root = None,
    split: Annotated[str, Parameter(help="Split to judge on.")] = "val",
    as_json: AsJson = False,
) -> None:
    """Bound the mean IU that networks of some strides can reach: the truth is made coarse and enlarged again, as in FCN's
    table."""
    from perpixel.datasets import open_dataset
    from perpixel.studies.upper_bound import PAPER
    from perpixel.studies.upper_bound import upper_bound as bound
    from perpixel.terminal import Progress, percent, print_json, print_table, show

    dataset = open_dataset(data, root=root, split=split)
    rows = bound(dataset, tuple(PAPER) if factors is None else factors, Progress("bounded"))
    if as_json:
        print_json([row.to_json() for row in rows])
        return
    print_table(
        ("factor", "mean IU", "pixel accuracy", "worst class", "FCN's mean IU, VOC"),
        [(str(row.factor), percent(row.mean_iou), percent(row.pixel_accuracy), row.worst,
          "" if row.paper is None else percent(row.paper)) for row in rows],
    )  # fmt: skip
    show()
    show(f"{len(dataset)} pictures of {split}. Class shares of cells of factor x factor pixels, interpolated, greatest wins.")
