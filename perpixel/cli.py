"""Verb -> function. A command only translates: what a verb can do, a function of its module can.

Modules of verbs are imported when their verb runs, so that every `--help` answers without waiting for torch."""

from __future__ import annotations

import errno
import os
import sys
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, make_dataclass
from pathlib import Path
from typing import Annotated, Any, get_type_hints

from cyclopts import App, CycloptsError, Parameter, Token

from perpixel.errors import (
    DataError,
    Interrupted,
    PerpixelError,
    ResourceError,
    UsageError,
    did_you_mean,
    is_full,
    is_out_of_memory,
    printable,
)
from perpixel.machines.interrupts import STOPPED, interruptible, own_process
from perpixel.terminal import finish_streams, prepare_streams, say, say_failures
from perpixel.training.recipe import ENVIRONMENT, Recipe, find, merge
from perpixel.version import VERSION

app = App(
    name="perpixel",
    help="Semantic segmentation networks, trained as published, judged by one protocol, fast to use.",
    version=VERSION,
    suppress_keyboard_interrupt=False,  # main says that the same command continues
)


def _flag_type(item: Any, hint: Any) -> Any:
    default = "" if item.default is None else f" [default: {_shown(item.default)}]"
    text = item.metadata["help"] + default
    negative = None if hint in (bool, bool | None) else ()
    return Annotated[hint | None, Parameter(help=text, negative=negative, consume_multiple=True)]


def _shown(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)


# Every setting of a recipe as a flag that knows whether it was given; defaults stay in Recipe.
_HINTS = get_type_hints(Recipe)
Flags = make_dataclass(
    "Flags",
    [(item.name, _flag_type(item, _HINTS[item.name]), field(default=None)) for item in fields(Recipe)],
    namespace={"__module__": __name__},
    kw_only=True,
    frozen=True,
)
NONE_GIVEN = Flags()


def _folder(_: Any, tokens: Sequence[Token]) -> str:
    return os.path.expanduser(tokens[0].value)  # an environment variable has its ~ still


Root = Annotated[
    str | None,
    Parameter(help="Folder that holds the data set of that name.", env_var=f"{ENVIRONMENT}ROOT", converter=_folder),
]


@dataclass(frozen=True, kw_only=True)
class InferenceFlags:
    """`inference.Inference` as flags; what is not given is none, so that a setting without its whole can be refused."""

    proposals: Annotated[int | None, Parameter(help="So many boxes, each by itself, merged; else the whole picture.")] = None
    proposals_by: Annotated[str | None, Parameter(help="edge_boxes, selective_search or sliding. [default: edge_boxes]")] = None
    merge: Annotated[str | None, Parameter(help="max or sum of boxes, or as DeconvNet released. [default: max]")] = None
    ensemble: Annotated[str | None, Parameter(help="Run folder or model file of a second model, for the whole picture.")] = None
    ensemble_by: Annotated[str | None, Parameter(help="mean of probabilities, or product of scores. [default: mean]")] = None
    crf: Annotated[str | None, Parameter(help="Refine by a fully connected CRF: deconvnet (without a word), or deeplab.")] = None
    tile: Annotated[int | None, Parameter(help="Side of U-Net's input tiles, such as 572: any picture in one's memory.")] = None
    average: Annotated[str | None, Parameter(help="Mean of raw scores: none, flips (4) or rotations (7). [default: none]")] = None


NO_INFERENCE = InferenceFlags()
Inferring = Annotated[InferenceFlags, Parameter(name="*")]
AsJson = Annotated[bool, Parameter(name="--json", negative=(), help="Print JSON on stdout instead of a table.")]


@app.command
def train(
    *,
    out: Annotated[Path | None, Parameter(help="Run folder; the same command continues a run that was stopped.")] = None,
    recipe: Annotated[str | None, Parameter(help="Recipe by name, or TOML file of settings; flags win over it.")] = None,
    as_json: AsJson = False,
    flags: Annotated[Flags, Parameter(name="*")] = NONE_GIVEN,  # type: ignore[valid-type]
) -> None:
    """Train a network on a data set; judge it; leave weights, history, curves and pictures in a run folder.

    For a folder of your own, what you leave open is chosen to fit its pictures: U-Net on a pretrained trunk, a crop, a length.
    A recipe that starts from another recipe trains that one first, with the same flags; see `stages/` in the run folder."""
    given = {name: value for name, value in vars(flags).items() if value is not None}
    file = None if recipe is None else find(recipe)
    settings, origins = merge(file, given)  # wrong settings are told before torch is waited for
    from perpixel.terminal import Progress, announced, print_json, print_scores

    with announced(f"Training on {printable(settings.data)}: getting ready.") as heard:
        chosen: Mapping[str, Any] = {}
        if file is None:
            from perpixel.training.plan import plan

            planned = plan(settings, origins)
            if planned is not None:
                say(planned.sentence)
                chosen = planned.chosen
                settings, _ = merge(file, given, chosen=chosen)
        folder = out or Path("runs") / ((recipe and Path(recipe).stem) or f"{Path(settings.data).name}-{settings.network}")

        from perpixel.training.stages import stages, train_stages

        planned_stages, checked = stages(file, given, chosen=chosen), heard(Progress("checked"))
        scores = train_stages(planned_stages, folder, heard(say), lambda what: heard(Progress(what)), checked)
    if scores is None:
        return
    if as_json:
        print_json(scores.to_json())
    else:
        print_scores(scores)
        say(f"{folder}: weights, history, curves.png, val.png, scores.json. Next: perpixel predict {folder} PICTURES --out masks")


@dataclass(frozen=True, kw_only=True)
class MeasureFlags:
    """Which parts of a picture are judged instead of its pixels, and by which rules; what is not given is none."""

    objects: Annotated[str | None, Parameter(help="Judge the objects of this class by the truth's instances: SEG, AP.")] = None
    connectivity: Annotated[
        int | None, Parameter(help="Pixels of an object share edges (4), or edges or corners (8). [default: 4]")
    ] = None
    minimum_area: Annotated[int | None, Parameter(help="Drop smaller objects, in pixels; U-Net's release: 500. [default: 0]")] = (
        None
    )
    fill_holes: Annotated[bool | None, Parameter(negative=(), help="Fill the holes of objects.")] = None
    membranes: Annotated[
        str | None, Parameter(help="Judge this class as the membranes of ISBI 2012: Rand, warping, pixel error ...")
    ] = None
    thresholds: Annotated[
        list[float] | None,
        Parameter(help="Of the probability of being inside. [default: 0 0.1 .. 0.9]", negative=(), consume_multiple=True),
    ] = None
    cityscapes: Annotated[
        bool | None, Parameter(negative=(), help="Judge Cityscapes as its benchmark: IoU and iIoU of classes and categories.")
    ] = None
    boundary_iou: Annotated[
        bool | None, Parameter(negative=(), help="Judge the borders of classes: Boundary IoU, along the outlines of each.")
    ] = None
    dilation: Annotated[
        float | None, Parameter(help="Width of those borders, as a share of the picture's diagonal. [default: 0.02]")
    ] = None
    instances: Annotated[
        str | None,
        Parameter(help="Judge a COCO results file by mask, box or boundary: AP and AR. --data is COCO, or the truth's JSON."),
    ] = None
    panoptic: Annotated[
        bool | None,
        Parameter(negative=(), help="Judge panoptic results of COCO's form: PQ, SQ, RQ. --data is coco_panoptic, or a JSON."),
    ] = None


NO_MEASURES = MeasureFlags()


@app.command
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
    given = _measures(measures)  # wrong flags are told before torch is waited for
    if measures.instances is not None or measures.panoptic:
        unused = [f"--{name.replace('_', '-')}" for name, value in vars(inferring).items() if value is not None]
        if unused:
            raise UsageError(f"{run}: results are judged as they are; give {', '.join(unused)} with a model.")
        return _evaluate_coco(run, data, root, split, measures.instances, {"bootstrap": bootstrap, "seed": seed}, as_json)
    of_pixels = not any((measures.objects, measures.membranes, measures.cityscapes, measures.boundary_iou))
    from perpixel.judging.evaluate import evaluate as judge
    from perpixel.judging.evaluate_boundary_iou import evaluate_boundary_iou
    from perpixel.judging.evaluate_cityscapes import evaluate_cityscapes
    from perpixel.judging.evaluate_membranes import evaluate_membranes
    from perpixel.judging.evaluate_objects import evaluate_objects
    from perpixel.machines.team import join
    from perpixel.terminal import (
        Progress,
        print_boundary_iou,
        print_cityscapes,
        print_json,
        print_membranes,
        print_objects,
        print_scores,
    )

    inference = _inference(inferring)
    with join(device) as team:
        if team.world > 1 and not of_pixels:
            raise UsageError("only pixels are judged by several processes; start perpixel without torchrun.")
        model = _model_of(run, str(team.device))
        dataset, named = _its_data(run, model, data, root, split)
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
    _tell_left_out(run, failed, len(dataset))


def _tell_left_out(run: Path, failed: dict[str, str], pictures: int) -> None:
    """Says which of so many pictures could not be judged, if any, and leaves with the exit code of damaged data."""
    if failed:
        say_failures(failed.values(), "pictures")
        say(f"{run}: {len(failed)} of {pictures} pictures cannot be judged; the figures are of the others alone.")
        raise SystemExit(DataError.exit_code)


def _evaluate_coco(
    results: Path, data: str | None, root: str | None, split: str | None, kind: str | None, sure: dict[str, Any], as_json: bool
) -> None:
    """Results files of COCO's form by annotation files: instances of a kind, or panoptic maps without one."""
    file = _annotation_file(data, root, split, kind)
    from perpixel.terminal import Progress, print_instances, print_json, print_panoptic

    scores: Any
    show: Any
    failed: dict[str, str] = {}
    if kind is None:
        from perpixel.judging.evaluate_panoptic import evaluate_panoptic

        scores, show = evaluate_panoptic(results, file, Progress("judged"), **sure, failed=failed), print_panoptic
    else:
        from perpixel.machines.memory import keep_freed_memory, without_garbage_collection

        keep_freed_memory()
        with without_garbage_collection():
            from perpixel.datasets.coco_annotations import read_annotations
            from perpixel.judging.average_precision import average_precision, read_results

            truth = read_annotations(file)
            found = read_results(results, truth)
            scores, show = average_precision(truth, found, kind, **sure, progress=Progress("drawn")), print_instances
    if as_json:
        print_json(scores.to_json())
    else:
        say(f"{results}: {f'{kind} AP' if kind else 'panoptic quality'} by {file}, {scores.protocol['pictures']} pictures.")
        show(scores)
    _tell_left_out(results, failed, scores.protocol["pictures"] + len(failed))


def _annotation_file(data: str | None, root: str | None, split: str | None, kind: str | None) -> Path:
    """COCO's, by the name of the view or as a file, for instances of a kind, or panoptic maps without one."""
    view = "coco_panoptic" if kind is None else "coco"
    if data == view:
        from perpixel.datasets.coco import Coco

        if root is None:
            raise UsageError(f"--data {view} needs the folder that holds it, with --root or PERPIXEL_ROOT.")
        return Path(Coco(root, split or "val", view).annotations)
    if data is None or not data.endswith(".json"):
        raise UsageError(
            f"{'--panoptic' if kind is None else '--instances'} judges a results file by an annotation file; name with --data "
            f"{view}, or the file, as annotations/{'panoptic' if kind is None else 'instances'}_val2017.json."
        )
    if split is not None:
        raise UsageError(f"{data}: is one split by itself; leave --split out, or name the file of {split}.")
    return Path(data)


@app.command
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
    """Show which mean IoU other packages give the same predictions, and which classes and pictures make the difference."""
    from perpixel.judging.explain_score import explain_score as explain
    from perpixel.judging.explain_score import open_truth
    from perpixel.terminal import Progress, print_explanation, print_json

    model = _model_of(predictions, device)
    beside = None if model else predictions
    dataset, named = open_truth(truth, root=root, split=split, classes=classes, beside=beside, pictures=model is not None)
    found = explain(model or predictions, dataset, Progress("judged"))
    if as_json:
        print_json(found.to_json())
    else:
        say(f"{predictions}: {model.card.title if model else 'masks'} by {named}, {len(dataset)} pictures.")
        print_explanation(found)


@app.command
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
    rules = _measures(measures)
    from perpixel.judging import compare_benchmarks as by
    from perpixel.judging.compare import compare as judge
    from perpixel.judging.compare import refuse_other_data
    from perpixel.terminal import Progress, print_comparison, print_json

    if measures.panoptic or measures.instances is not None:
        file = _annotation_file(data, root, split, measures.instances)
        found, place = _compare_coco(one, other, file, measures.instances, samples, seed), f"by {file}"
    else:
        models = [_model_of(each, device) for each in (one, other)]
        each_with_its_model = zip((one, other), models, strict=True)
        sets = [_its_data(each, model, data, root, split) for each, model in each_with_its_model if model or data]
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


def _model_of(run: Path, device: str) -> Any:
    """The model of a run folder or file; none for a folder without one, which holds masks."""
    from perpixel.weights.model_file import MODEL_FILE

    return _loaded(run, device) if run.is_file() or (run / MODEL_FILE).exists() or not run.is_dir() else None


def _inference(flags: InferenceFlags) -> Any:
    from perpixel.prediction.inference import Inference

    return Inference(**{name: value for name, value in vars(flags).items() if value is not None})


def _loaded(run: Path | str, device: str) -> Any:
    from perpixel.machines import device as machine
    from perpixel.weights.model_file import load

    model = load(run)
    model.network.to(machine.choose(device))
    return model


def _its_data(run: Path, model: Any, data: str | None, root: str | None, split: str | None) -> tuple[Any, str]:
    """The data set that is named, or the one that the model was trained on, and its name."""
    from perpixel.datasets import open_dataset
    from perpixel.training.run import data_of

    if model is not None:
        trained = model.card.recipe
        place, its_root = data_of(run, trained)
        root = root or its_root
        if data is None and place is not None:  # a split belongs to a data set
            return open_dataset(place, root=root, split=split or trained.get("val_split") or "val"), trained["data"]
    if data is None:
        raise UsageError(f"{run}: does not say which data set it is for; name the data set to judge by with --data.")
    return open_dataset(data, root=root, split=split or "val"), data


def _measures(flags: MeasureFlags) -> dict[str, Any]:
    """The rules that are given; raises UsageError for two measures, or for a rule whose measure is not given."""
    measures = ("objects", "membranes", "boundary_iou", "cityscapes", "instances", "panoptic")
    named = [f"--{name.replace('_', '-')}" for name in measures if getattr(flags, name) is not None]
    if len(named) > 1:
        raise UsageError(f"{named[0]} and {named[1]} are two judgements; give one of them.")
    rules = {
        "connectivity": "objects", "minimum_area": "objects", "fill_holes": "objects", "thresholds": "membranes",
        "dilation": "boundary_iou",
    }  # fmt: skip
    given = {name: getattr(flags, name) for name in rules if getattr(flags, name) is not None}
    for name in given:
        if getattr(flags, rules[name]) is None:
            wanted = f"--{rules[name].replace('_', '-')}"
            what = "give that too" if name == "dilation" else "name its class"
            raise UsageError(f"--{name.replace('_', '-')} belongs to {wanted}; {what}, or leave it out.")
    return given


@app.command
def predict(
    run: Annotated[
        str,
        Parameter(
            help="Run folder, model file, or network with weights of torchvision; left out, the lightest of these is used.",
            allow_leading_hyphen=True,
        ),
    ],
    pictures: Annotated[
        list[str] | None,
        Parameter(help="Files, folders, patterns in quotes, or - for standard input.", allow_leading_hyphen=True),
    ] = None,
    *,
    out: Annotated[Path, Parameter(help="Folder for masks/ and overlays/.")] = Path("masks"),
    scores: Annotated[bool, Parameter(negative=(), help="Also write probabilities, float32 (C, H, W), as .npy.")] = False,
    overlays: Annotated[bool, Parameter(help="Write overlays with a legend.")] = True,
    inferring: Inferring = NO_INFERENCE,
    device: Annotated[str, Parameter(help="auto, cpu, cuda ...")] = "auto",
) -> None:
    """Predict masks for pictures of any size; what is done already is skipped."""
    from perpixel.networks.torchvision import LIGHTEST
    from perpixel.prediction.predict import STDIN, find_sources, model_and_pictures, predict_all
    from perpixel.terminal import FAILURES, Progress

    inputs = [run, *(pictures or ())]
    for text in inputs:
        if text.startswith("-") and text != STDIN and not Path(text).exists():
            settings = (f"--{name.replace('_', '-')}" for name in vars(inferring))
            raise did_you_mean("option", text, ("--out", "--scores", "--overlays", "--no-overlays", "--device", *settings))
    inference = _inference(inferring)
    named, pictures = model_and_pictures(inputs)
    sources = find_sources(pictures, out)
    if named is None:
        say(f"No model is named: {LIGHTEST} is used, with weights of torchvision for VOC's 21 classes.")
    model = _loaded(named or LIGHTEST, device)
    progress = Progress("predicted")
    counts, left_out = {"done": 0, "skipped": 0, "failed": 0}, list[str]()
    for number, outcome in enumerate(predict_all(model, sources, out, scores, overlays, inference), start=1):
        if outcome.status not in counts:
            counts["failed"] += 1
            say(outcome.status)
        else:
            counts[outcome.status] += 1
        left_out += outcome.dropped
        for sentence in outcome.dropped if len(left_out) <= FAILURES else ():
            say(sentence)
        progress(number, len(sources))
    if len(left_out) > FAILURES:
        say(f"... and {len(left_out) - FAILURES} more such sentences of what reading leaves out.")
    say(f"{out}: {counts['done']} predicted, {counts['skipped']} done before, {counts['failed']} failed.")
    if counts["failed"]:
        raise SystemExit(3)


@app.command
def check(
    data: Annotated[str, Parameter(help="Data set: a name or a folder; or a JSON file of COCO's annotations.")],
    *,
    root: Root = None,
    fix: Annotated[Path | None, Parameter(help="Write a repaired copy of the folder here, with its plan.csv.")] = None,
    report: Annotated[Path | None, Parameter(help="Write statistics, pictures and defects as one HTML page here.")] = None,
    as_json: AsJson = False,
) -> None:
    """Refuse an unsound data set: some 70 kinds of defect, each with file, pixel, value and repair (docs/check.md)."""
    from perpixel.doctor.check import check as examine
    from perpixel.terminal import Progress, print_json, show

    if report is not None:
        from perpixel.report.check_page import require_page

        require_page(report)
    if fix is not None:
        from perpixel.doctor.repair import require_new

        require_new(fix)
    found = examine(data, Progress("checked"), root)
    if report is not None:  # of the folder as it is, not of its repaired copy
        from perpixel.report.check_page import write_page

        write_page(report, data, found, root)
        say(f"{report}: written.")
    if fix is not None:
        found = _fixed(Path(data), found, fix)
        data = str(fix)
    if as_json:
        print_json(found.to_json())
    else:
        for problem in found.problems:
            show(f"{problem.severity}: {problem.message}")
    say(f"{data}: {sum(found.pictures.values())} pictures, {len(found.errors)} errors, "
        f"{len(found.problems) - len(found.errors)} warnings.")  # fmt: skip
    if found.errors:
        raise SystemExit(3)


def _fixed(folder: Path, report: Any, out: Path) -> Any:
    """Repairs a copy and says how; the report of the copy."""
    from perpixel.doctor.check import check as examine
    from perpixel.doctor.repair import PLAN, plan_repair, repair
    from perpixel.terminal import show

    if not folder.is_dir():
        raise UsageError(f"{folder}: is no folder of pictures and masks; --fix repairs a copy of one.")
    done = repair(folder, plan_repair(folder, report), out)
    for step in done.steps:
        show(f"{step.file}: {step.kind}: {step.action}")
    pairs = f"{done.pairs} pairs of {sum(report.pictures.values())}"
    say(f"{out}: {pairs}, {len(done.steps)} steps as {out / PLAN} says. What is left there:")
    return examine(out)


@app.command
def convert(
    source: Annotated[str, Parameter(help="Folder, file or archive in any of the formats, or a data set by its name.")],
    out: Annotated[Path, Parameter(help="New folder for the data set.")],
    *,
    to: Annotated[
        str, Parameter(help="folder (to train on), coco, voc, cityscapes, yolo, labelme, cvat or label-studio.")
    ] = "folder",
    origin: Annotated[
        str | None, Parameter(name="--from", help="Format of the source. [default: what lies there tells]")
    ] = None,
    pictures: Annotated[Path | None, Parameter(help="Folder of the pictures, where they do not lie beside.")] = None,
    splits: Annotated[
        list[str] | None, Parameter(help="Splits alone, such as val. [default: all]", negative=(), consume_multiple=True)
    ] = None,
    root: Root = None,
    as_json: AsJson = False,
) -> None:
    """Write a data set in another format; say what that format cannot hold, by name and count (docs/formats.md)."""
    from perpixel.formats.convert import convert as run
    from perpixel.terminal import Progress, print_json, show

    report = run(source, out, to, origin, root, splits, pictures, Progress("converted"))
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


@app.command
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


@app.command
def upper_bound(
    data: Annotated[str, Parameter(help="Data set: a name or a folder.")],
    *,
    factors: Annotated[
        list[int] | None,
        Parameter(help="Strides of the networks. [default: 128 64 32 16 8 4]", negative=(), consume_multiple=True),
    ] = None,
    root: Root = None,
    split: Annotated[str, Parameter(help="Split to judge on.")] = "val",
    as_json: AsJson = False,
) -> None:
    """Bound the mean IU that networks of some strides can reach: the truth made coarse and blown up again, as in FCN's table."""
    from perpixel.datasets import open_dataset
    from perpixel.studies.upper_bound import PAPER
    from perpixel.studies.upper_bound import upper_bound as bound
    from perpixel.terminal import Progress, percent, print_json, print_table, show

    dataset = open_dataset(data, root=root, split=split)
    found = bound(dataset, tuple(PAPER) if factors is None else factors, Progress("bounded"))
    if as_json:
        print_json([row.to_json() for row in found])
        return
    print_table(
        ("factor", "mean IU", "pixel accuracy", "worst class", "FCN's mean IU, VOC"),
        [(str(row.factor), percent(row.mean_iou), percent(row.pixel_accuracy), row.worst,
          "" if row.paper is None else percent(row.paper)) for row in found],
    )  # fmt: skip
    show()
    show(f"{len(dataset)} pictures of {split}. Class shares of cells of factor x factor pixels, interpolated, greatest wins.")


@app.command
def proposal_curve(
    run: Annotated[Path, Parameter(help="Run folder or model file.")],
    *,
    data: Annotated[str | None, Parameter(help="Data set; the run's own without it.")] = None,
    root: Root = None,
    split: Annotated[str | None, Parameter(help="Split to judge on; without it the run's own, or val.")] = None,
    counts: Annotated[
        list[int] | None,
        Parameter(help="Numbers of boxes. [default: 1 5 10 20 50 100]", negative=(), consume_multiple=True),
    ] = None,
    proposals_by: Annotated[str, Parameter(help="edge_boxes, selective_search or sliding.")] = "edge_boxes",
    merge: Annotated[str, Parameter(help="max, sum or released.")] = "max",
    out: Annotated[Path, Parameter(help="Folder for proposal-curve.json and proposal-curve.png.")] = Path("proposal-curve"),
    device: Annotated[str, Parameter(help="auto, cpu, cuda ...")] = "auto",
    as_json: AsJson = False,
) -> None:
    """Draw how the mean IU grows with the number of boxes merged, DeconvNet's figure: one pass over each picture."""
    from perpixel.studies.proposal_curve import COUNTS, write_curve
    from perpixel.studies.proposal_curve import proposal_curve as judge
    from perpixel.terminal import Progress, percent, print_json, print_table

    model = _loaded(run, device)
    dataset, _ = _its_data(run, model, data, root, split)
    found = judge(model, dataset, tuple(counts or COUNTS), proposals_by, merge, Progress("judged"))
    written = write_curve(out, found)
    if as_json:
        print_json(written)
    else:
        print_table(
            ("boxes", "mean IU", "pixel accuracy"),
            [(str(count), percent(s.mean_iou), percent(s.confusion.pixel_accuracy())) for count, s in found.items()],
        )
    say(f"{out}: proposal-curve.json and proposal-curve.png.")


@app.command
def receptive_field(
    run: Annotated[Path, Parameter(help="Run folder or model file.")],
    picture: Annotated[Path, Parameter(help="Picture to slide the noise over.")],
    *,
    at: Annotated[tuple[int, int] | None, Parameter(help="Row and column of the output; else the middle.", negative=())] = None,
    patch: Annotated[int, Parameter(help="Side of the patch of noise in pixels.")] = 16,
    step: Annotated[int | None, Parameter(help="Pixels from patch to patch; the patch's side without it.")] = None,
    out: Annotated[Path, Parameter(help="Picture to write.")] = Path("receptive-field.png"),
    device: Annotated[str, Parameter(help="auto, cpu, cuda ...")] = "auto",
) -> None:
    """Slide noise over a picture and draw which part of it moves one output: ParseNet's probe of the receptive field."""
    from perpixel.files import require_file_or_nothing
    from perpixel.images import PICTURE_SUFFIXES, read_image, write_image
    from perpixel.prediction.predict import prepare
    from perpixel.studies.receptive_field import SHARE, draw_probe
    from perpixel.studies.receptive_field import receptive_field as examine
    from perpixel.terminal import Progress, percent, show

    if out.is_dir() or out.suffix.lower() not in PICTURE_SUFFIXES:
        raise UsageError(f"{out}: is no name of a picture; end --out with a file name like field.png.")
    model = _loaded(run, device)
    prepare(model)
    image = read_image(picture)
    require_file_or_nothing(out)
    out.parent.mkdir(parents=True, exist_ok=True)  # what cannot be written is told before minutes of probing
    probe = examine(model, image, at, patch, step, progress=Progress("patches"))
    write_image(out.parent, out.name, draw_probe(image, probe))
    top, left, bottom, right = probe.theoretical
    show(f"output: {model.classes.names[probe.class_id]} at row {probe.at[0]}, column {probe.at[1]}")
    share = f"more than {100 * SHARE:.0f} % of the greatest change"
    show(f"effective field: {percent(probe.moved)} % of the picture, which moves it by {share}")
    show(f"theoretical field: {percent(probe.reach)} % of the picture, rows {top}..{bottom - 1}, columns {left}..{right - 1}")
    say(f"{out}: redder moves more; white surrounds the effective field, blue the theoretical one.")


@app.command
def init(folder: Annotated[Path, Parameter(help="Folder that holds pictures and masks.")]) -> None:
    """Turn a folder of pictures and masks into a data set: pair them, find the values, propose names and a split."""
    from perpixel.doctor.init import init as propose
    from perpixel.terminal import show

    proposal = propose(folder)
    for sentence in proposal.decided:
        show(sentence)
    for sentence in proposal.undecided:
        show(f"please look: {sentence}")
    say(f"Next: edit {folder / 'classes.csv'} where needed, then perpixel check {folder}")


@app.command
def networks(*, as_json: AsJson = False) -> None:
    """List the networks: parameters and multiply-adds, and what their papers report."""
    from perpixel.networks.papers import networks as rows
    from perpixel.terminal import print_json, print_table, show

    found = rows()
    if as_json:
        print_json([vars(row) for row in found])
        return
    print_table(
        ("network", "parameters", "multiply-adds", "paper", "the paper's figure"),
        [(row.name, f"{row.parameters:,}", f"{row.multiply_adds / 1e9:.1f} G", row.paper, row.figure) for row in found],
    )
    size = "x".join(map(str, found[0].size))
    show()
    show(f"For {found[0].classes} classes and pictures of {size}; without arguments, as published.")


@app.command
def datasets(*, as_json: AsJson = False) -> None:
    """List the data sets that have a name; any folder with images/ and masks/ or instances/ is one too."""
    from perpixel.networks.papers import datasets as rows
    from perpixel.terminal import print_json, print_table, show

    found = rows()
    if as_json:
        print_json([vars(row) for row in found])
        return
    print_table(
        ("data set", "classes", "pictures", "what"),
        [(row.name, str(len(row.classes)), ", ".join(f"{k} {v}" for k, v in row.pictures.items()), row.what) for row in found],
    )
    show()
    show("A folder with images/, masks/ and classes.csv is a data set too: perpixel init FOLDER makes one.")


@app.command
def download(
    name: Annotated[str | None, Parameter(help="Set to fetch; without it, all there are, their terms and what is there.")] = None,
    *,
    root: Root = None,
    parts: Annotated[
        list[str] | None, Parameter(help="Parts alone, or extra ones too.", negative=(), consume_multiple=True)
    ] = None,
    accept_licence: Annotated[bool, Parameter(negative=(), help="You have read the terms of the set and agree to them.")] = False,
    check: Annotated[bool, Parameter(negative=(), help="Fetch nothing: check names and counts of what is there.")] = False,
    as_json: AsJson = False,
) -> None:
    """Fetch a published data set: its terms first, resumed where it was stopped, checked, unpacked where its reader looks.

    Of sets behind a login, such as cityscapes, it says the steps, and unpacks and checks what you put in place."""
    from perpixel.download.download import check_download, find_source, rows
    from perpixel.download.download import download as fetch_all

    if name is None:
        _list_sources(rows(root), as_json)
        return
    find_source(name)  # a wrong name is told first
    if root is None:
        raise UsageError(f"{name}: name the folder that data sets lie in with --root or PERPIXEL_ROOT.")
    from perpixel.terminal import Progress, print_json, show

    def accept(terms: str) -> bool:
        for line in terms.splitlines():
            say(line)
        if accept_licence:
            return True
        return sys.stdin.isatty() and input("Do you agree? Type yes: ").strip().lower() == "yes"

    if check:
        found = check_download(name, root, parts)
    else:
        found = fetch_all(name, root, accept=accept, parts=parts, say=say, make_progress=Progress)
    if as_json:
        print_json([vars(finding) for finding in found])
    else:
        for finding in found:
            show(f"{finding.part}: {finding.problem or finding.rule + ', as published'}")
    problems = sum(bool(finding.problem) for finding in found)
    if problems:
        say(f"{name}: {problems} of {len(found)} checks failed; delete the folder that is not complete and download it again.")
        raise SystemExit(3)
    data = find_source(name)[1].datasets
    following = f" Next: perpixel check {name if name in data else data[0]} --root {root}" if data else ""
    say(f"{name}: all {len(found)} checks of names and counts passed.{following}")


def _list_sources(rows: Any, as_json: bool) -> None:
    from perpixel.terminal import print_json, print_table

    if as_json:
        print_json([vars(row) for row in rows])
        return
    print_table(
        ("set", "size", "parts (+ on request)", "login", "on this disk", "terms"),
        [(row.name, row.size, ", ".join(row.parts), "needed" if row.login else "", row.state, row.terms) for row in rows],
    )


@app.command(name="import")
def import_(
    file: Annotated[Path, Parameter(help="A .caffemodel of a network's authors or of ImageNet, or a .pth of torchvision.")],
    *,
    trunk: Annotated[
        str | None, Parameter(help="Take the trunk of an ImageNet classifier alone: vgg16, vgg16_reduced, alexnet or googlenet.")
    ] = None,
    network: Annotated[str | None, Parameter(help="Network that the file holds (see `perpixel networks`).")] = None,
    backbone: Annotated[str | None, Parameter(help="Its trunk, such as alexnet, where it is not the network's own.")] = None,
    variant: Annotated[str | None, Parameter(help="Its variant, such as U-Net's release, where it is not the paper's.")] = None,
    classes: Annotated[str | None, Parameter(help="Name of a class table, or a number of classes. [default: voc2012]")] = None,
    out: Annotated[Path | None, Parameter(help="Folder for the model file. [default: models/NETWORK]")] = None,
    list_: Annotated[bool, Parameter(name="--list", negative=(), help="Print the file's layers and their shapes alone.")] = False,
    as_json: AsJson = False,
) -> None:
    """Turn weights of a paper's authors or of torchvision into a model file.

    They are refused if a layer is unknown, missing or of another shape. Of ImageNet's classifiers in Caffe's format the trunk
    is taken, for trainings to start from."""
    from perpixel.terminal import print_json, print_table
    from perpixel.weights.caffe import shape_text
    from perpixel.weights.import_weights import contents, import_trunk, import_weights

    if list_:
        if any(given is not None for given in (network, trunk, backbone, variant, classes, out)):
            raise UsageError("--list prints what is in the file; leave --network, --trunk and all that goes with it out.")
        rows = contents(file)
        if as_json:
            print_json([{"name": name, "type": kind, "shapes": shapes} for name, kind, shapes in rows])
        else:
            print_table(
                ("layer", "type", "shapes"),
                [(name, kind, ", ".join(map(shape_text, shapes))) for name, kind, shapes in rows],
            )
        return
    if trunk is not None:
        if any(given is not None for given in (network, backbone, variant, classes)):
            raise UsageError("--trunk takes the trunk alone, without classes; leave --network and what goes with it out.")
        folder = out or Path("models") / trunk
        model, following = import_trunk(file, trunk, folder), f"train --recipe RECIPE --starts-from {folder}"
    elif network is not None:
        folder = out or Path("models") / network
        named = {"backbone": backbone, "variant": variant}
        arguments = {name: value for name, value in named.items() if value is not None}
        model = import_weights(file, network, classes or "voc2012", folder, **arguments)
        following = f"predict {folder} PICTURES --out masks"
    else:
        raise UsageError(f"{file}: name what it holds with --network or --trunk, or see its layers with --list.")
    if as_json:
        print_json({"model": str(model)})
    say(f"{model}: written. Next: perpixel {following}")


@app.command
def review(
    *,
    out: Annotated[Path, Parameter(help="Folder for runs, table and pictures.")] = Path("review"),
    seed: Annotated[int, Parameter(help="Seed of every run.")] = 0,
) -> None:
    """Train the review's networks at laptop width on `scenes`, judge them by one protocol, and leave table and overlays."""
    from perpixel.studies.review import review as run
    from perpixel.terminal import Progress, show

    for line in run(out, seed, say, Progress).read_text(encoding="utf-8").splitlines():
        show(line)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs a command line; leaves with 0 done, 1 our bug, 2 usage, 3 data, 4 untrusted file, 5 resources, 75 resumable."""
    prepare_streams()
    warnings.filterwarnings("ignore", module=r"PIL\.")  # of metadata; what pixels lack is told as an error
    try:
        given = _with_crf([_with_home(word) for word in (sys.argv[1:] if arguments is None else arguments)])
        own_process()
        with interruptible():
            app(given, exit_on_error=False, print_error=False, result_action="return_value")
        finish_streams()
    except CycloptsError as error:
        _stop(" ".join(str(error).split()) + " See `perpixel --help`.", UsageError.exit_code)
    except PerpixelError as error:
        _stop(str(error), error.exit_code)
    except KeyboardInterrupt:
        _stop(STOPPED, Interrupted.exit_code)
    except (OSError, MemoryError, RuntimeError) as error:
        sentence, code = _environment(error)
        if not sentence:
            raise
        _stop(sentence, code)


def _with_home(word: str) -> str:
    """`~` is the home in every argument, behind an equals sign too, where shells leave it as it is."""
    flag, equals, value = word.partition("=") if word.startswith("--") else ("", "", word)
    return f"{flag}{equals}{os.path.expanduser(value)}" if value == "~" or value.startswith("~/") else word


def _with_crf(arguments: Sequence[str]) -> list[str]:
    """`--crf` alone, at the end or before another flag or a picture, is `--crf deconvnet`."""
    given = list(arguments)
    for place in [i for i, word in enumerate(given) if word == "--crf"][::-1]:
        after = given[place + 1] if place + 1 < len(given) else "-"
        if after.startswith("-") or "." in after or "/" in after or Path(after).exists():
            given.insert(place + 1, "deconvnet")
    return given


def _stop(sentence: str, code: int) -> None:
    say(f"perpixel: {sentence}")
    raise SystemExit(code)


def _environment(error: Exception) -> tuple[str, int]:
    """The sentence and exit code for what the system refuses: a path, a permission, disk or memory; nothing for a bug of ours."""
    if is_full(error):
        place = getattr(error, "filename", None) or "the disk"
        return f"{place}: no space left; free some and give the same command again, nothing was lost.", ResourceError.exit_code
    if is_out_of_memory(error):
        return "not enough memory; use a smaller --batch or --crop, or a larger --accumulate.", ResourceError.exit_code
    if not isinstance(error, OSError) or error.strerror is None:
        return "", 1
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"{error.filename}: {error.strerror}; choose a place where you may write.", ResourceError.exit_code
    if isinstance(error, (FileExistsError, NotADirectoryError)):
        return f"{error.filename}: is a file, or lies below one; choose a folder for --out.", UsageError.exit_code
    return f"{error.filename or 'a path'}: {error.strerror}; correct the path.", UsageError.exit_code
