"""`perpixel convert`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from perpixel.commands.flags import AsJson, Root
from perpixel.terminal import say


def convert(
    source: Annotated[str, Parameter(help="Folder, file or archive in any of the formats, or a data set by its name.")],
    out: Annotated[Path, Parameter(help="New folder for the data set.")],
    *,
    to: Annotated[
        str, Parameter(help="folder (to train on), coco, voc, cityscapes, yolo, labelme, cvat or label-studio.")
    ] = "folder",
    origin: Annotated[
        str | None, Parameter(name="--from", help="Format of the source. [default: found out from its files]")
    ] = None,
    pictures: Annotated[
        Path | None, Parameter(help="Folder of the pictures, where they do not lie beside the annotations.")
    ] = None,
    splits: Annotated[
        list[str] | None, Parameter(help="Splits to write, such as val. [default: all]", negative=(), consume_multiple=True)
    ] = None,
    root: Root = None,
    as_json: AsJson = False,
) -> None:
    """Write a data set in another format; report the content that this format cannot hold, by name and count
    (docs/formats.md)."""
    from perpixel.formats.convert import convert as run
    from perpixel.terminal import Progress, print_json, show

    report = run(source, out, to, origin, root, splits, pictures, Progress("converted"))
    if as_json:
        print_json(vars(report))
    else:
        for sentence in report.told:
            show(sentence)
    for sentence in report.failed:
        say(sentence)
    counts = ", ".join(f"{split} {count}" if split else str(count) for split, count in report.pictures.items())
    following = f" Next: perpixel check {out}" if to == "folder" else ""
    say(f"{out}: {counts} pictures, read as {report.format}, {len(report.failed)} left out.{following}")
    if report.failed:
        raise SystemExit(3)
