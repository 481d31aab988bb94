"""`perpixel submission`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from perpixel.commands.flags import Root
from perpixel.terminal import say


def submission(
    masks: Annotated[
        Path, Parameter(help="Predicted masks, as `predict --out` leaves them; for coco and coco_panoptic a JSON of results.")
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
    out: Annotated[Path, Parameter(help="Archive to upload: .tar.gz for VOC, .zip for Cityscapes and COCO.")],
) -> None:
    """Pack predictions as the server of a data set takes them; all are checked, and nothing is written if one is wrong."""
    from perpixel.datasets import open_dataset
    from perpixel.judging.submission import submission as pack
    from perpixel.terminal import show

    problems = pack(masks, open_dataset(data, root=root, split=split), out, competition)
    for problem in problems:
        show(problem.message)
    if problems:
        say(f"{out}: not written, {len(problems)} things are wrong.")
        raise SystemExit(3)
    say(f"{out}: written.")
