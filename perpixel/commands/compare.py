"""`perpixel compare`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

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
from perpixel.commands.opening import annotation_file, given, inference_of, judged_by_files, open_data, open_model, refuse_ways
from perpixel.errors import UsageError
from perpixel.terminal import say


def compare(
    one: Annotated[Path, Parameter(help="Run folder, model file, or folder of predicted masks; or a COCO results file.")],
    other: Annotated[Path, Parameter(help="The same, judged on the same pictures.")],
    *,
    data: Annotated[str | None, Parameter(help="Data set; the runs' own without it.")] = None,
    root: Root = None,
    split: Annotated[str | None, Parameter(help="Split to judge on; without it the runs' own, or val.")] = None,
    inferring: Inferring = NO_INFERENCE,
    other_inferring: OtherInferring = NO_OTHERS,
    measures: Measuring = NO_MEASURES,
    samples: Annotated[int, Parameter(help="Halves of the pictures, and exchanges of the permutation test.")] = 1000,
    seed: Annotated[int, Parameter(help="Seed of both.")] = 0,
    device: Annotated[str, Parameter(help="auto, cpu, cuda ...")] = "auto",
    as_json: AsJson = False,
) -> None:
    """Test whether two sets of predictions differ by more than the choice of pictures explains: paired, picture by picture.

    Flags such as --crf are for both; with --other- before them, as --other-crf, for the second alone. So
    `perpixel compare RUN RUN --other-crf deeplab` compares a model with itself and a CRF."""
    chosen = chosen_measure(measures)
    from perpixel.judging.compare import compare as judge
    from perpixel.judging.compare import print_comparison, refuse_other_data
    from perpixel.machines.team import join
    from perpixel.terminal import Progress, print_json

    measure = chosen.measure()
    with join(device) as team:
        for_both, for_second = given(inferring), given(other_inferring, "other_")
        if judged_by_files(measure, one):
            refuse_ways(one, "results", for_both | for_second)
            file = annotation_file(data, root, split, measure)
            judged, against, place = (one, other), file, f"by {file}"
        else:
            models = [open_model(each, team.device_name) for each in (one, other)]
            for path, model, ways in zip((one, other), models, (for_both, for_both | for_second), strict=True):
                if model is None:
                    refuse_ways(path, "masks", ways)
            each_with_its_model = zip((one, other), models, strict=True)
            sets = [open_data(each, model, data, root, split) for each, model in each_with_its_model if model or data]
            if not sets:
                raise UsageError("two folders of masks do not say which data set they are for; name it with --data.")
            (first, named), (second, _) = sets[0], sets[-1]
            if second is not first:
                refuse_other_data(first, second)
            judged, against, place = (models[0] or one, models[1] or other), first, f"on {named}, {first.split}"
        inference, other_inference = inference_of(for_both), inference_of(for_both | for_second)
        progress = Progress("drawn" if isinstance(against, Path) and measure.needs == "instances" else "judged")
        comparison = judge(
            *judged, against, measure, samples, seed, progress if team.rank == 0 else None, inference, other_inference, team
        )
        if team.rank:  # one voice for all
            return
    if as_json:
        print_json(comparison.to_json())
    else:
        say(f"{one} and {other} {place}.")
        print_comparison(comparison)
