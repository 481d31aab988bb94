"""`perpixel evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from perpixel.commands.flags import NO_INFERENCE, NO_MEASURES, AsJson, Inferring, MeasureFlags, Root, rules_of
from perpixel.commands.opening import annotation_file, inference_of, open_data, open_model
from perpixel.errors import DataError, UsageError
from perpixel.terminal import say, say_failures


def evaluate(
    run: Annotated[Path, Parameter(help="Run folder, model file, or folder of predicted masks; or a COCO results file.")],
    *,
    data: Annotated[str | None, Parameter(help="Data set; the run's own without it.")] = None,
    root: Root = None,
    split: Annotated[str | None, Parameter(help="Split to judge on; without it the run's own, or val.")] = None,
    inferring: Inferring = NO_INFERENCE,
    measures: Annotated[MeasureFlags, Parameter(name="*")] = NO_MEASURES,
    bootstrap: Annotated[
        int, Parameter(help="Samples of the pictures that intervals of the scores are made of, such as 1000; 0 for none.")
    ] = 0,
    seed: Annotated[int, Parameter(help="Seed of those samples.")] = 0,
    device: Annotated[str, Parameter(help="auto, cpu, cuda ...")] = "auto",
    as_json: AsJson = False,
) -> None:
    """Judge a model, or a folder of masks, on a split: one confusion matrix, worst class first; or its objects, membranes or
    borders; or Cityscapes and COCO as their benchmarks do.

    `torchrun --nproc-per-node 2 -m perpixel evaluate ...` divides the pictures among processes and gives the same counts."""
    given = rules_of(measures)  # wrong flags are told before torch is waited for
    if measures.instances is not None or measures.panoptic:
        unused = [f"--{name.replace('_', '-')}" for name, value in vars(inferring).items() if value is not None]
        if unused:
            raise UsageError(f"{run}: results are judged as they are; give {', '.join(unused)} with a model.")
        return _evaluate_coco(run, data, root, split, measures.instances, {"bootstrap": bootstrap, "seed": seed}, as_json)
    of_pixels = not any((measures.objects, measures.membranes, measures.cityscapes, measures.boundary_iou))
    from perpixel.judging.evaluate import evaluate as judge
    from perpixel.judging.evaluate import print_scores
    from perpixel.judging.evaluate_boundary_iou import evaluate_boundary_iou, print_boundary_iou
    from perpixel.judging.evaluate_cityscapes import evaluate_cityscapes, print_cityscapes
    from perpixel.judging.evaluate_membranes import evaluate_membranes, print_membranes
    from perpixel.judging.evaluate_objects import evaluate_objects, print_objects
    from perpixel.machines.team import join
    from perpixel.terminal import Progress, print_json

    inference = inference_of(inferring)
    with join(device) as team:
        if team.world > 1 and not of_pixels:
            raise UsageError("only pixels are judged by several processes; start perpixel without torchrun.")
        model = open_model(run, str(team.device))
        dataset, named = open_data(run, model, data, root, split)
        judged = model or run
        more: dict[str, Any] = {"progress": Progress("judged") if team.rank == 0 else None, "inference": inference}
        failed: dict[str, str] = {}
        sure: dict[str, Any] = {"bootstrap": bootstrap, "seed": seed, "failed": failed}
        scores: Any
        show: Any
        if measures.objects is not None:
            scores, show = evaluate_objects(judged, dataset, measures.objects, **given, **more, **sure), print_objects
        elif measures.membranes is not None:
            scores, show = evaluate_membranes(judged, dataset, measures.membranes, **given, **more, **sure), print_membranes
        elif measures.boundary_iou:
            scores, show = evaluate_boundary_iou(judged, dataset, **given, **more, **sure), print_boundary_iou
        elif measures.cityscapes:
            scores, show = evaluate_cityscapes(judged, dataset, **more, **sure), print_cityscapes
        else:
            scores, show = judge(judged, dataset, team=team, **more, **sure), print_scores
        if team.rank:  # one voice for all
            return
    if as_json:
        print_json(scores.to_json())
    else:
        say(f"{run}: {model.card.title if model else 'masks'} on {named}, {dataset.split}.")
        show(scores)
    tell_left_out(run, failed, len(dataset))


def _evaluate_coco(
    results: Path, data: str | None, root: str | None, split: str | None, kind: str | None, sure: dict[str, Any], as_json: bool
) -> None:
    """Results files of COCO's form by annotation files: instances of a kind, or panoptic maps without one."""
    file = annotation_file(data, root, split, kind)
    from perpixel.terminal import Progress, print_json

    scores: Any
    show: Any
    failed: dict[str, str] = {}
    if kind is None:
        from perpixel.judging.evaluate_panoptic import evaluate_panoptic, print_panoptic

        scores, show = evaluate_panoptic(results, file, Progress("judged"), **sure, failed=failed), print_panoptic
    else:
        from perpixel.machines.memory import keep_freed_memory, without_garbage_collection

        keep_freed_memory()
        with without_garbage_collection():
            from perpixel.datasets.coco_annotations import read_annotations
            from perpixel.judging.average_precision import average_precision, print_instances, read_results

            truth = read_annotations(file)
            found = read_results(results, truth)
            scores, show = average_precision(truth, found, kind, **sure, progress=Progress("drawn")), print_instances
    if as_json:
        print_json(scores.to_json())
    else:
        say(f"{results}: {f'{kind} AP' if kind else 'panoptic quality'} by {file}, {scores.protocol['pictures']} pictures.")
        show(scores)
    tell_left_out(results, failed, scores.protocol["pictures"] + len(failed))


def tell_left_out(run: Path, failed: dict[str, str], pictures: int) -> None:
    """Says which of so many pictures could not be judged, if any, and leaves with the exit code of damaged data."""
    if failed:
        say_failures(failed.values(), "pictures")
        say(f"{run}: {len(failed)} of {pictures} pictures cannot be judged; the figures are of the others alone.")
        raise SystemExit(DataError.exit_code)
