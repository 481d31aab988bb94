"""`perpixel export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from perpixel.commands.flags import Root
from perpixel.commands.opening import load_on, open_data
from perpixel.errors import UsageError
from perpixel.terminal import say


def export(
    run: Annotated[str, Parameter(help="Run folder, model file, or network with weights of torchvision.")],
    *,
    to: Annotated[str, Parameter(help="onnx, for ONNX Runtime and others; or openvino.")] = "onnx",
    out: Annotated[Path | None, Parameter(help="File to write; without it model.onnx or model.xml in the run folder.")] = None,
    scores: Annotated[bool, Parameter(negative=(), help="The graph gives probabilities (C, H, W) too.")] = False,
    data: Annotated[str | None, Parameter(help="Data set whose pictures prove the file; the run's own without it.")] = None,
    root: Root = None,
    split: Annotated[str | None, Parameter(help="Its split; without it the run's own, or val.")] = None,
    pictures: Annotated[int | None, Parameter(help="Pictures of it at most, from the first on. [default: all]")] = None,
) -> None:
    """Write a file that takes pictures and gives labels without torch; `predict` and `evaluate` take it like a run.

    The labels are compared with torch's, pixel by pixel, and the measure of the training judges both. No file is left where they
    differ by more than ties of scores within 1e-5."""
    from perpixel.errors import DataError
    from perpixel.export.export import SUFFIX_OF, check_destination
    from perpixel.export.export import export as write
    from perpixel.terminal import Progress

    if pictures is not None and pictures < 1:
        raise UsageError(f"--pictures {pictures}: must be 1 or more.")
    place = Path(run)
    if out is None:
        folder = place if place.is_dir() else place.parent if place.exists() else Path()
        out = folder / f"model{SUFFIX_OF.get(to, '.onnx')}"
    check_destination(out, to)
    model = load_on(run, "cpu")
    dataset = None
    try:
        dataset, named = open_data(place, model, data, root, split)
    except (UsageError, DataError) as error:
        if data is not None:
            raise
        say(f"no pictures of the training are at hand ({str(error).rstrip('.')}): drawn pictures alone prove the file.")
    written = write(model, out, to, scores, dataset, pictures, Progress("compared"))
    say(f"{written.proof.comparison}.")
    if dataset is not None:
        say(f"{written.proof.figures} of {named}, {dataset.split}.")
    say(f"{out}: written, {written.size / 1e6:.1f} MB.")
