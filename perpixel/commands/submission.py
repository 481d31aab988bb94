"""`perpixel submission`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from perpixel.commands.flags import Root
from perpixel.terminal import FAILURES, say


def submission(
    predictions: Annotated[
        Path, Parameter(help="What `predict --out` left: masks, or objects for cityscapes and coco; or a JSON of COCO's results.")
    ],
    *,
    data: Annotated[
        str, Parameter(help="Data set with a server: voc2012, cityscapes, coco (objects), coco_stuff92 or coco_panoptic.")
    ],
    root: Root = None,
    split: Annotated[str, Parameter(help="Split that was predicted.")] = "test",
    competition: Annotated[
        str | None, Parameter(help="VOC: comp5 where its own data alone was trained on. [default: comp6]")
    ] = None,
    boxes: Annotated[bool, Parameter(negative=(), help="COCO: the boxes of objects in place of their masks.")] = False,
    out: Annotated[
        Path,
        Parameter(help="Archive to upload: .tar.gz for VOC, .zip for Cityscapes and COCO; or .json for COCO's results alone."),
    ],
) -> None:
    """Pack predictions as the server of a data set takes them; all are checked, and nothing is written if one is wrong."""
    from perpixel.datasets import open_dataset
    from perpixel.judging.submission import packs_objects
    from perpixel.judging.submission import submission as pack
    from perpixel.terminal import show

    dataset = open_dataset(data, root=root, split=split)
    problems = pack(predictions, dataset, out, competition, boxes)
    for problem in problems[:FAILURES]:
        show(problem.message)
    if len(problems) > FAILURES:
        show(f"... and {len(problems) - FAILURES} more.")
    if problems:
        say(f"{out}: not written, {len(problems)} {'thing is' if len(problems) == 1 else 'things are'} wrong.")
        raise SystemExit(3)
    of_objects = f", the objects of {len(dataset)} pictures" if packs_objects(predictions, dataset) else ""
    say(f"{out}: written{of_objects}.")
