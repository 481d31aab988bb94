"""`perpixel explain-score`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from perpixel.commands.flags import AsJson, Root
from perpixel.commands.opening import open_model
from perpixel.terminal import say


def explain_score(
    predictions: Annotated[Path, Parameter(help="Folder of predicted masks, or a run folder or model file.")],
    truth: Annotated[str, Parameter(help="Folder of masks, or a data set: a folder or a name.")],
    *,
    classes: Annotated[
        str | None, Parameter(help="Class table of masks alone: a file `id,name`, or a number. [default: classes.csv near them]")
    ] = None,
    root: Root = None,
    split: Annotated[str | None, Parameter(help="Split of a data set. [default: val, or all where there are none]")] = None,
    judged_at: Annotated[
        list[str] | None,
        Parameter(
            help="Sizes to judge at too, nearest and bilinear: 512x1024, longer=640, shorter=520. [default: the run's own]",
            negative=(),
            consume_multiple=True,
        ),
    ] = None,
    device: Annotated[str, Parameter(help="auto, cpu, cuda ...")] = "auto",
    as_json: AsJson = False,
) -> None:
    """Show which mean IoU other packages give the same predictions, and which classes and pictures make the difference.

    Some judge at the size at which the network sees pictures, not at that of the truth: --judged-at adds columns for a size."""
    from perpixel.judging.sizes import JudgedAt, read_size, scaled

    sizes = [read_size(text) for text in judged_at or ()]
    from perpixel.judging.explain_score import explain_score as explain
    from perpixel.judging.explain_score import open_truth, print_explanation
    from perpixel.terminal import Progress, print_json

    model = open_model(predictions, device)
    beside = None if model else predictions
    dataset, named = open_truth(truth, root=root, split=split, classes=classes, beside=beside, pictures=model is not None)
    if model is not None and not sizes and (model.side is not None or model.scale != 1):
        sizes = [JudgedAt("the network's size", lambda size: scaled(size, model.scale_for(size)))]
    explanation = explain(model or predictions, dataset, Progress("judged"), sizes=sizes)
    if as_json:
        print_json(explanation.to_json())
    else:
        say(f"{predictions}: {model.card.title if model else 'masks'} by {named}, {len(dataset)} pictures.")
        print_explanation(explanation)
