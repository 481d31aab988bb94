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
    device: Annotated[str, Parameter(help="auto, cpu, cuda ...")] = "auto",
    as_json: AsJson = False,
) -> None:
    """Show the mean IoU that other packages give the same predictions, and the classes and pictures that make the difference."""
    from perpixel.judging.explain_score import explain_score as explain
    from perpixel.judging.explain_score import open_truth, print_explanation
    from perpixel.terminal import Progress, print_json

    model = open_model(predictions, device)
    beside = None if model else predictions
    dataset, named = open_truth(truth, root=root, split=split, classes=classes, beside=beside, pictures=model is not None)
    explanation = explain(model or predictions, dataset, Progress("judged"))
    if as_json:
        print_json(explanation.to_json())
    else:
        say(f"{predictions}: {model.card.title if model else 'masks'} by {named}, {len(dataset)} pictures.")
        print_explanation(explanation)
