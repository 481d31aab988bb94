"""`perpixel convert`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from perpixel.commands.flags import AsJson, Root, Sharding
from perpixel.terminal import say

if TYPE_CHECKING:
    from perpixel.formats.convert import Report
    from perpixel.shards import Shard


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
    shard: Sharding = None,
    as_json: AsJson = False,
) -> None:
    """Write a data set in another format; report the content that this format cannot hold, by name and count
    (docs/formats.md)."""
    if shard is not None:
        from perpixel.shards import Shard, refuse_with_shard

        refuse_with_shard(shard, {"json": as_json})
        options = {"to": to, "origin": origin, "root": root, "splits": splits, "pictures": pictures}
        _of_shard(source, out, Shard.of(shard), options)
        return
    from perpixel.formats.convert import convert as run
    from perpixel.terminal import Progress

    tell(out, run(source, out, to, origin, root, splits, pictures, Progress("converted")), to, as_json)


def _of_shard(source: str, out: Path, shard: Shard, options: dict[str, Any]) -> None:
    """Writes the pictures of a shard."""
    from perpixel.formats.convert import convert_shard
    from perpixel.terminal import Progress

    converted = convert_shard(source, out, shard, **options, progress=Progress("converted"))
    for sentence in converted.failed:
        say(sentence)
    say(f"{out}: {converted.done} pictures, {len(converted.failed)} left out. Shard {shard} of {converted.pictures} pictures; "
        f"then: perpixel merge {out}")  # fmt: skip
    if converted.failed:
        raise SystemExit(3)


def tell(out: Path, report: Report, to: str, as_json: bool) -> None:
    """Prints the report of a conversion. Leaves with the exit code of damaged data where a picture was left out."""
    from perpixel.terminal import print_json, show

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
