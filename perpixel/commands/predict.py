"""`perpixel predict`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from perpixel.commands.flags import NO_INFERENCE, Inferring, Sharding, names
from perpixel.commands.opening import given, in_engine, inference_of, load_on, within_budget
from perpixel.errors import UsageError, did_you_mean
from perpixel.terminal import say


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
        Parameter(
            help="Files (pictures, videos), folders, patterns in quotes, addresses such as s3://bucket/folder, or - for stdin.",
            allow_leading_hyphen=True,
        ),
    ] = None,
    *,
    out: Annotated[Path, Parameter(help="Folder for masks/ and overlays/.")] = Path("masks"),
    split: Annotated[str | None, Parameter(help="Of a data set's folder: its pictures of this split, or of all.")] = None,
    scores: Annotated[bool, Parameter(negative=(), help="Also write probabilities (C, H, W), as .npy.")] = False,
    scores_as: Annotated[
        str | None, Parameter(help="Their numbers: float32, float16, or uint8 (255 x probability). [default: float32]")
    ] = None,
    scores_of: Annotated[
        tuple[str, ...] | None,
        Parameter(help="Their classes, such as road,car. [default: all]", converter=names, negative=(), metavar="NAME,..."),
    ] = None,
    bands: Annotated[
        tuple[str, ...] | None,
        Parameter(
            help="Which bands of a picture are the model's, in its order: numbers from 1, or names, such as 4,3,2.",
            converter=names, negative=(), metavar="BAND,...", consume_multiple=True,
        ),
    ] = None,
    overlays: Annotated[bool, Parameter(help="Write overlays with a legend.")] = True,
    to: Annotated[
        str | None,
        Parameter(help="Also write annotations to correct by hand into OUT: coco, labelme, cvat, label-studio, or folder."),
    ] = None,
    memory: Annotated[
        str | None, Parameter(help="Of rasters (GeoTIFF ...): what the process may take, such as 1.5GB. [default: 2GB]")
    ] = None,
    level: Annotated[int, Parameter(help="Of a pyramid (COG, whole slide): its smaller copy of this number, from 1.")] = 0,
    polygons: Annotated[
        str | None, Parameter(help="Also write regions as GeoJSON: wgs84 (longitude, latitude) or crs (the raster's own).")
    ] = None,
    inferring: Inferring = NO_INFERENCE,
    shard: Sharding = None,
    device: Annotated[str, Parameter(help="auto, cpu, cuda ...")] = "auto",
    engine: Annotated[
        str | None, Parameter(help="What runs the network: torch, onnx, openvino, or auto, which measures. [default: torch]")
    ] = None,
    budget: Annotated[
        str | None,
        Parameter(help="Time of a picture at most, such as 200ms: chooses engine, threads and, where needed, a smaller size."),
    ] = None,
) -> None:
    """Predict masks for pictures of any size, frames of videos, and rasters (docs/rasters.md); what is done is skipped."""
    from perpixel.formats.convert import write_annotated
    from perpixel.networks.torchvision import LIGHTEST
    from perpixel.prediction.bulk import STDIN, find_pictures, model_and_pictures, pictures_of_split, predict_all
    from perpixel.prediction.inference import PLAIN
    from perpixel.prediction.kept_scores import KeptScores
    from perpixel.prediction.pre_annotations import annotated, refuse
    from perpixel.prediction.rasters import RasterSettings, memory_of
    from perpixel.prediction.stores import is_address
    from perpixel.prediction.videos import about_how_many
    from perpixel.shards import Shard
    from perpixel.terminal import FAILURES, Progress
    from perpixel.weights.model_file import refuse_bands

    of_shard = None if shard is None else Shard.of(shard)
    if of_shard is not None and engine == "auto":
        raise UsageError("--engine auto: each shard would measure for itself, and shards must run alike; name an engine.")
    if of_shard is not None and budget is not None:
        raise UsageError("--budget: each shard would measure for itself, and shards must run alike; name an engine and scales.")
    inputs = [run, *(pictures or ())]
    for text in inputs:
        if text.startswith("-") and text != STDIN and not Path(text).exists():
            settings = (f"--{name.replace('_', '-')}" for name in vars(inferring))
            known = ("--out", "--split", "--scores", "--scores-as", "--scores-of", "--bands", "--overlays", "--no-overlays",
                     "--to", "--memory", "--level", "--polygons", "--shard", "--device", "--engine", "--budget",
                     *settings)  # fmt: skip
            raise did_you_mean("option", text, known)
    kept: bool | KeptScores = scores
    if scores_as is not None or scores_of is not None:
        if not scores:
            flag = "--scores-as" if scores_of is None else "--scores-of"
            raise UsageError(f"{flag}: belongs to --scores, which is not given; give that too, or leave it out.")
        kept = KeptScores(scores_as or KeptScores.numbers, scores_of)
    if is_address(str(out).replace(":/", "://")):  # Path joins slashes
        raise UsageError(f"--out {out}: results are written on this machine; name a folder, and copy it to the store.")
    inference = inference_of(given(inferring)) or PLAIN
    if to is not None and of_shard is not None:
        raise UsageError("--to: needs the masks of all shards; leave it out, and predict once more without --shard after merge.")
    rasters = RasterSettings(None if memory is None else memory_of(memory), level, polygons)
    named, inputs = model_and_pictures(inputs)
    found_pictures = find_pictures(inputs, out) if split is None else pictures_of_split(inputs, split)
    if to is not None:
        refuse(to, out, found_pictures)
    if named is None:
        say(f"No model is named: {LIGHTEST} is used, with weights of torchvision for VOC's 21 classes.")
    model = load_on(named or LIGHTEST, device, engine)
    if to is not None:
        refuse_bands(model, f"--to {to}")
    if budget is None:
        model = in_engine(model, named, engine, found_pictures, bands)
    else:
        model, inference = within_budget(budget, model, named, engine, found_pictures, inference, kept, bands)
    progress = Progress("predicted")
    counts, left_out = {"done": 0, "skipped": 0, "failed": 0}, list[str]()
    total = len(found_pictures) if of_shard is None else sum(of_shard.has(picture.name) for picture in found_pictures)
    for picture in found_pictures:
        if picture.is_video:
            total += about_how_many(picture.path) - 1
    watched: dict[str, Progress] = {}

    def watch(file: str, done: int, rows: int) -> None:
        if file not in watched:
            watched[file] = Progress(f"{file}: rows")
        watched[file](done, rows)

    outcomes = predict_all(model, found_pictures, out, kept, overlays, inference, of_shard, bands, rasters, watch)
    for number, outcome in enumerate(outcomes, start=1):
        if outcome.status not in counts:
            counts["failed"] += 1
            say(outcome.status)
        else:
            counts[outcome.status] += 1
        left_out += outcome.dropped
        for sentence in outcome.dropped if len(left_out) <= FAILURES else ():
            say(sentence)
        progress(number, max(number, total))
    if len(left_out) > FAILURES:
        say(f"... and {len(left_out) - FAILURES} more such sentences of what reading leaves out.")
    following = "" if of_shard is None else f" Shard {of_shard} of {len(found_pictures)} pictures; then: perpixel merge {out}"
    say(f"{out}: {counts['done']} predicted, {counts['skipped']} done before, {counts['failed']} failed.{following}")
    if to is not None and counts["failed"] < total:
        report = write_annotated(annotated(found_pictures, out, model.classes), "predictions", out, out / to, to)
        for sentence in report.told:
            say(sentence)
        say(f"{out / to}: {sum(report.pictures.values())} pictures with annotations for {to}, {len(report.failed)} left out.")
    if counts["failed"]:
        raise SystemExit(3)
