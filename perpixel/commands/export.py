"""`perpixel export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

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
    int8: Annotated[bool, Parameter(negative=(), help="Compute with 8 bits; a data set judges the labels.")] = False,
    calibration: Annotated[int, Parameter(help="Pictures of the training split that ranges are taken from, with --int8.")] = 32,
    most_loss: Annotated[float, Parameter(help="Points of mean IoU that 8 bits may cost; else no file is written.")] = 1.0,
    server: Annotated[
        str | None, Parameter(name="--for", help="triton: also a model repository of Triton, triton/ beside the file.")
    ] = None,
) -> None:
    """Write a file that takes pictures and gives labels without torch; `predict` and `evaluate` take it like a run.

    The labels are compared with torch's, pixel by pixel, and the measure of the training judges both. No file is left where they
    differ by more than ties of scores within 1e-5."""
    from perpixel.errors import DataError, did_you_mean
    from perpixel.export.export import SUFFIX_OF, check_destination
    from perpixel.export.export import export as write
    from perpixel.export.triton import check_triton, name_of, write_triton
    from perpixel.terminal import Progress

    if server not in (None, "triton"):
        raise did_you_mean("server", server, ["triton"])
    for flag, number in (("--pictures", pictures), ("--calibration", calibration)):
        if number is not None and number < 1:
            raise UsageError(f"{flag} {number}: must be 1 or more.")
    place = Path(run)
    if out is None:
        folder = place if place.is_dir() else place.parent if place.exists() else Path()
        out = folder / f"model{SUFFIX_OF.get(to, '.onnx')}"
    check_destination(out, to)
    repository = None if server is None else out.parent / server / name_of(place)
    if repository is not None:
        check_triton(repository, to)
    model = load_on(run, "cpu")
    dataset = None
    try:
        dataset, named = open_data(place, model, data, root, split)
    except (UsageError, DataError) as error:
        if data is not None:
            raise
        say(f"no pictures of the training are at hand ({str(error).rstrip('.')}): drawn pictures alone prove the file.")
    shown = _calibration(place, model, data, root, calibration) if int8 else []
    written = write(model, out, to, scores, dataset, pictures, Progress("compared"), shown, most_loss)
    if int8:
        say(f"IoU in torch to IoU with 8 bits: {written.proof.losses}.")
    else:
        say(f"{written.proof.comparison}.")
    if dataset is not None:
        say(f"{written.proof.figures} of {named}, {dataset.split}.")
    say(f"{out}: written, {written.size / 1e6:.1f} MB.")
    if repository is not None:
        written_to = write_triton(repository, out, model.classes, scores)
        say(f"{written_to}: written; tritonserver --model-repository={repository.parent} serves it.")


def _calibration(run: Path, model: Any, data: str | None, root: str | None, count: int) -> list[Any]:
    """So many pictures of the training split, at equal distances."""
    split = None if data is not None else model.card.recipe.get("train_split")
    training, _ = open_data(run, model, data, root, split or "train")
    most = min(count, len(training))
    return [training.sample(place * len(training) // most).image for place in range(most)]
