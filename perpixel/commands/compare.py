"""`perpixel compare`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from perpixel.commands.flags import NO_MEASURES, AsJson, MeasureFlags, Root, rules_of
from perpixel.commands.opening import annotation_file, open_data, open_model
from perpixel.errors import UsageError
from perpixel.terminal import say


def compare(
    one: Annotated[Path, Parameter(help="Run folder, model file, or folder of predicted masks; or a COCO results file.")],
    other: Annotated[Path, Parameter(help="The same, judged on the same pictures.")],
    *,
    data: Annotated[str | None, Parameter(help="Data set; the runs' own without it.")] = None,
    root: Root = None,
    split: Annotated[str | None, Parameter(help="Split to judge on; without it the runs' own, or val.")] = None,
    measures: Annotated[MeasureFlags, Parameter(name="*")] = NO_MEASURES,
    samples: Annotated[int, Parameter(help="Bootstrap samples, and exchanges of the permutation test.")] = 1000,
    seed: Annotated[int, Parameter(help="Seed of both.")] = 0,
    device: Annotated[str, Parameter(help="auto, cpu, cuda ...")] = "auto",
    as_json: AsJson = False,
) -> None:
    """Test whether two sets of predictions differ by more than the choice of pictures explains: paired, picture by picture."""
    rules = rules_of(measures)
    from perpixel.judging import compare_benchmarks as by
    from perpixel.judging.compare import compare as judge
    from perpixel.judging.compare import print_comparison, refuse_other_data
    from perpixel.terminal import Progress, print_json

    if measures.panoptic or measures.instances is not None:
        file = annotation_file(data, root, split, measures.instances)
        found, place = _compare_coco(one, other, file, measures.instances, samples, seed), f"by {file}"
    else:
        models = [open_model(each, device) for each in (one, other)]
        each_with_its_model = zip((one, other), models, strict=True)
        sets = [open_data(each, model, data, root, split) for each, model in each_with_its_model if model or data]
        if not sets:
            raise UsageError("two folders of masks do not say which data set they are for; name it with --data.")
        (first, named), (second, _) = sets[0], sets[-1]
        if second is not first:
            refuse_other_data(first, second)
        judged, place = (models[0] or one, models[1] or other), f"on {named}, {first.split}"
        if measures.objects is not None:
            found = by.compare_objects(*judged, first, measures.objects, samples, seed, Progress("judged"), **rules)
        elif measures.membranes is not None:
            found = by.compare_membranes(*judged, first, measures.membranes, samples, seed, Progress("judged"), **rules)
        elif measures.boundary_iou:
            found = by.compare_boundary_iou(*judged, first, samples, seed, Progress("judged"), **rules)
        elif measures.cityscapes:
            found = by.compare_cityscapes(*judged, first, samples, seed, Progress("judged"))
        else:
            found = judge(*judged, first, samples, seed, Progress("judged"))
    if as_json:
        print_json(found.to_json())
    else:
        say(f"{one} and {other} {place}.")
        print_comparison(found)


def _compare_coco(one: Path, other: Path, file: Path, kind: str | None, samples: int, seed: int) -> Any:
    from perpixel.datasets.coco_annotations import read_annotations
    from perpixel.judging.average_precision import read_results
    from perpixel.judging.compare_benchmarks import compare_instances, compare_panoptic
    from perpixel.terminal import Progress

    if kind is None:
        return compare_panoptic(one, other, file, samples, seed, Progress("judged"))
    truth = read_annotations(file)
    first, second = (read_results(each, truth) for each in (one, other))
    return compare_instances(first, second, truth, kind, samples, seed, Progress("drawn"))
