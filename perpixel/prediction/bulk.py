"""Many pictures -> files of masks: read, computed and written at the same time. Finished pictures are skipped, and one bad
file stops no other."""

from __future__ import annotations

import glob
import hashlib
import io
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from perpixel import draw
from perpixel.classes import ClassTable
from perpixel.codecs import tiff
from perpixel.codecs.geotiff import is_raster
from perpixel.datasets.folder import Folder
from perpixel.errors import DataError, UsageError, failure_of
from perpixel.files import MODEL_FILE, digest, locked, read_bytes, require_plain, temporary_of, walk, write_whole
from perpixel.images import BYTES_NAME, PICTURE_SUFFIXES, dropped, encode_image, encode_labels, read_labels
from perpixel.prediction import panoptic
from perpixel.prediction.inference import PLAIN, Inference, Predictor
from perpixel.prediction.instances import INSTANCES, encode_instances
from perpixel.prediction.journal import SUFFIXES, Done, Journal, ShardJournal
from perpixel.prediction.kept_scores import KeptScores
from perpixel.prediction.panoptic import PANOPTIC
from perpixel.prediction.pictures import read_picture
from perpixel.prediction.rasters import PLAIN_RASTERS, RasterPredictor, RasterSettings, Watch
from perpixel.prediction.stores import is_address, pictures_at, read_at
from perpixel.prediction.videos import OVERLAY, VIDEO_SUFFIXES, Frames, frame_name, write_overlay
from perpixel.sample import Prediction
from perpixel.shards import Shard
from perpixel.weights.model_file import Model

PICTURES = ("masks", "overlays", PANOPTIC)  # folders of results that are pictures
STDIN = "-"


@dataclass(frozen=True)
class InputPicture:
    """A picture to predict: where it is (or `-`), and the name of its results; of a video `frame` is the place of a frame."""

    path: str
    name: str
    frame: int | None = None

    @property
    def is_video(self) -> bool:
        """Whether it stands for all frames of a video."""
        return self.frame is None and Path(self.path).suffix.lower() in VIDEO_SUFFIXES and not is_address(self.path)


@dataclass(frozen=True)
class Outcome:
    """What became of one picture: "done", "skipped" (done before) or the sentence of its error; and what reading it left out, a
    sentence each."""

    picture: InputPicture
    status: str
    dropped: tuple[str, ...] = ()


def model_and_pictures(inputs: Sequence[str]) -> tuple[str | None, list[str]]:
    """What `perpixel predict` was given, told apart: the first is the model unless it is a picture.

    A picture is `-`, a name with the suffix of a picture or video, a pattern, or a folder that stands alone and holds no model.
    Raises UsageError where a model is given and no picture."""
    if is_address(inputs[0]):
        return None, list(inputs)
    first = Path(inputs[0])
    folder = first.is_dir()
    pattern = glob.has_magic(inputs[0]) and not first.exists()
    named = inputs[0] == STDIN or pattern or (first.suffix.lower() in PICTURE_SUFFIXES | VIDEO_SUFFIXES and not folder)
    if named or (folder and len(inputs) == 1 and not (first / MODEL_FILE).exists()):
        return None, list(inputs)
    if len(inputs) == 1:
        raise UsageError(f"{first}: is taken for the model; name pictures behind it: files, folders, patterns or -.")
    return inputs[0], list(inputs[1:])


def find_pictures(inputs: Sequence[str], out: Path | None = None) -> list[InputPicture]:
    """Files, folders (searched for pictures), patterns with *, `-` for standard input, and addresses (see `stores`), as pictures
    with distinct names.

    What lies in `out/masks`, `out/overlays` and `out/panoptic` is no picture: a former call may have written into a folder of
    `inputs`.
    Raises DataError when an input names nothing, UsageError when two pictures would be written to one name."""
    by_name: dict[tuple[str, bool], InputPicture] = {}
    results = tuple(os.path.abspath(out / folder) + os.sep for folder in PICTURES) if out else ()
    for text in inputs:
        for path, name in _expand(text):
            place = path if is_address(path) else os.path.abspath(path)
            if place.startswith(results):
                continue
            picture = InputPicture(path, name)
            key = name, picture.is_video
            if key in by_name and by_name[key].path != path and os.path.abspath(by_name[key].path) != place:
                both = f"{by_name[key].path} and {path}"
                raise UsageError(f"{both} would both be written as {name}; predict them into two folders.")
            by_name.setdefault(key, picture)
    return list(by_name.values())


def pictures_of_split(inputs: Sequence[str], split: str) -> list[InputPicture]:
    """The pictures of one split of a data set's folder, or of all its splits, by the names of the data set.

    Raises UsageError unless one folder is given, and the errors of `Folder`."""
    if len(inputs) != 1 or not Path(inputs[0]).is_dir():
        raise UsageError(f"--split {split}: belongs to one folder of a data set; name that, or leave --split out.")
    dataset = Folder(inputs[0], split)
    return [InputPicture(str(dataset.picture(index)), dataset.name(index)) for index in range(len(dataset))]


def _expand(text: str) -> Iterator[tuple[str, str]]:
    if text == STDIN:
        yield STDIN, "stdin"
        return
    if is_address(text):
        yield from pictures_at(text, PICTURE_SUFFIXES)
        return
    path = Path(text)
    if path.is_dir():
        inside = [p for p in walk(path) if p.suffix.lower() in PICTURE_SUFFIXES | VIDEO_SUFFIXES]
        if not inside:
            raise DataError(f"{path}: holds no PNG, JPEG, WEBP, TIFF, BMP or GIF pictures, and no videos; name another folder.")
        yield from ((str(p), p.relative_to(path).with_suffix("").as_posix()) for p in inside)
    elif path.exists() or not glob.has_magic(text):
        yield text, path.stem
    else:
        matches = sorted(glob.glob(text, recursive=True))
        if not matches:
            raise DataError(f"{text}: no file fits this pattern.")
        yield from ((match, Path(match).stem) for match in matches if Path(match).is_file())


def predict_all(
    model: Model, pictures: Sequence[InputPicture], out: Path, scores: bool | KeptScores = False, overlays: bool = True,
    inference: Inference | None = None, shard: Shard | None = None, bands: Sequence[str] | None = None,
    rasters: RasterSettings = PLAIN_RASTERS, watch: Watch = lambda file, done, total: None,
) -> Iterator[Outcome]:  # fmt: skip
    """Writes `out/masks/NAME.png`, `out/overlays/NAME.png` and, if asked, `out/scores/NAME.npy` for every picture; of a network
    of objects also `out/instances/NAME.json` (see `instances`). Of two networks that are merged it writes these, and
    `out/panoptic/NAME.png` with `out/panoptic.json` (see `panoptic`) when all pictures are done. Of a TIFF that is a raster
    (`geotiff.is_raster`), and of every TIFF where `rasters` has a setting, it writes what `RasterPredictor` says; `watch` is told
    how far that is.

    Each frame of a video is a picture, named by its place (see `videos`); where overlays are wanted, they make a video too.

    Reading, computing and writing overlap; at most a handful of pictures is in memory. A picture that fails is reported and
    the rest go on. What a former call finished with the same model, picture and options is skipped; the journal tells.
    `bands` name those of each picture that are the model's, in its order; see `read_picture`.
    A `shard` predicts its share of the pictures alone; its siblings may write into the same folder (see `journal`).
    Raises UsageError when `out` holds predictions of another model, `inference` does not fit this one, or a shard has videos."""
    predictor = (inference or PLAIN).predictor(model, scores)
    videos = {picture.path: _Video(picture) for picture in pictures if picture.is_video}
    if shard is not None and videos:
        raise UsageError(f"{next(iter(videos))}: a video is predicted frame by frame, by one process; leave --shard out.")
    if videos and (model.bands is not None or bands is not None):
        why = f"the model takes {model.bands}" if model.bands is not None else "bands are chosen of pictures"
        raise UsageError(f"{next(iter(videos))}: frames of a video are RGB, and {why}; predict it by itself with a model of RGB.")
    out.mkdir(parents=True, exist_ok=True)
    provided = predictor.provides
    kinds = {"masks": True, "overlays": overlays, "scores": predictor.scores is not None, INSTANCES: "instances" in provided}
    kinds[PANOPTIC] = "segments" in provided
    kinds["polygons"] = rasters.polygons is not None
    folders = [out / name for name, wanted in kinds.items() if wanted]
    head: dict[str, Any] = {"model": predictor.weights, "folders": [folder.name for folder in folders]}
    if predictor.scores not in (None, KeptScores()):
        head["scores"] = asdict(predictor.scores)
    if rules := predictor.rules:
        head["inference"] = rules
    if bands is not None:
        head["bands"] = [*bands]
    if rasters.rules:
        head["rasters"] = rasters.rules
    unfinished = {picture.name for picture in pictures if temporary_of(out / "masks" / f"{picture.name}.tif").exists()}
    with (
        _journal(predictor, pictures, out, folders, head, shard) as journal,
        ThreadPoolExecutor(1) as reader, ThreadPoolExecutor(1) as writer,
    ):  # fmt: skip
        reading: list[tuple[InputPicture, Future[_Read | None]]] = []
        writing: list[tuple[InputPicture, tuple[str, ...], Future[str]]] = []
        chosen = pictures if shard is None else [picture for picture in pictures if shard.has(picture.name)]
        remaining, frames = _with_frames(chosen, videos), Frames()

        def read_ahead() -> None:
            while len(reading) < 3 and (picture := next(remaining, None)) is not None:
                reading.append((picture, reader.submit(_read, picture, journal, frames, model, bands, rasters)))

        of_rasters: RasterPredictor | None = None
        read_ahead()
        while reading:
            picture, future = reading.pop(0)
            read_ahead()
            try:
                read = future.result()
                if read is None:
                    videos[picture.path].ended = True
                    continue
                if picture.frame is not None:
                    videos[picture.path].frames += 1
                if read.done:
                    yield Outcome(picture, "skipped")
                    continue
                if picture.frame is not None:
                    videos[picture.path].new = True
                if read.image is None:
                    of_rasters = of_rasters or RasterPredictor(predictor, rasters, bands, overlays, watch)
                    written = of_rasters.predict(Path(picture.path), picture.name, out)
                    journal.add(picture.name, Done(read.key, written.files, raster=True))
                    again = f"{picture.path}: an earlier call ended before its mask was whole; it was predicted from the start."
                    yield Outcome(picture, "done", (*written.told, *([again] if picture.name in unfinished else [])))
                    continue
                finish = predictor.begin(read.image)
                shown = model.shown(read.image)
                writing_now = writer.submit(_write, picture, shown, finish, out, overlays, journal, read.key)
                writing.append((picture, read.dropped, writing_now))
            except Exception as error:
                if picture.frame is not None:
                    videos[picture.path].whole = False
                yield _failed(picture, error, journal)
            while len(writing) > 2 or (writing and writing[0][2].done()):
                yield _written(*writing.pop(0), journal)
        for item in writing:
            yield _written(*item, journal)
        for video in videos.values() if overlays else ():
            if (failure := video.overlay(out, model.classes, journal)) is not None:
                yield failure
        if predictor.objects is not None and journal.segments:
            things = frozenset(predictor.objects.things.values())
            content = panoptic.results(journal.segments, model.classes, things, predictor.rules)
            write_whole(out, f"{PANOPTIC}.json", json.dumps(content).encode())


@contextmanager
def _journal(
    predictor: Predictor, pictures: Sequence[InputPicture], out: Path, folders: list[Path], head: dict[str, Any],
    shard: Shard | None,
) -> Iterator[Journal | ShardJournal]:  # fmt: skip
    """The journal of this process, open, while no other process does the same work."""
    if shard is None:
        with locked(out), Journal(out, folders, head) as journal:
            yield journal
        return
    maps = None
    if predictor.objects is not None:
        things = sorted({*predictor.objects.things.values()})
        maps = {"classes": predictor.model.classes.to_json(), "things": things, "rules": predictor.rules}
    with ShardJournal(out, folders, head, shard, [picture.name for picture in pictures], maps) as of_shard:
        yield of_shard


@dataclass
class _Video:
    """A video of which the frames are predicted: whether its end was reached, how many frames were, whether one of them was new,
    and whether none failed."""

    picture: InputPicture
    ended: bool = False
    frames: int = 0
    new: bool = False
    whole: bool = True

    def all_frames(self) -> Iterator[InputPicture]:
        """A picture for each frame, and some behind the last one, until its end was reached."""
        frame = 0
        while not self.ended:
            yield InputPicture(self.picture.path, frame_name(self.picture.name, frame), frame)
            frame += 1

    def overlay(self, out: Path, classes: ClassTable, journal: Journal | ShardJournal) -> Outcome | None:
        """Joins the frames and their masks to a video, unless it is there; the outcome where that fails."""
        folder = out / "overlays"
        if not self.whole or (not self.new and (folder / f"{self.picture.name}{OVERLAY}").is_file()):
            return None
        places = (out / "masks" / f"{frame_name(self.picture.name, frame)}.png" for frame in range(self.frames))
        try:
            write_overlay(self.picture.path, folder, self.picture.name, (_ids(place, classes) for place in places), classes)
        except Exception as error:
            return _failed(self.picture, error, journal)
        return None


def _with_frames(pictures: Iterable[InputPicture], videos: Mapping[str, _Video]) -> Iterator[InputPicture]:
    for picture in pictures:
        if picture.is_video:
            yield from videos[picture.path].all_frames()
        else:
            yield picture


def _ids(mask: Path, classes: ClassTable) -> NDArray[Any]:
    """The class ids (H, W) of a mask that was written here."""
    return classes.decode(read_labels(mask))


@dataclass(frozen=True)
class _Read:
    """A picture's digest, whether the journal says that it is done, its pixels unless it is done or a raster, and what reading
    left out."""

    key: str
    done: bool = False
    image: NDArray[Any] | None = None
    dropped: tuple[str, ...] = ()


def _read(
    picture: InputPicture, journal: Journal | ShardJournal, frames: Frames, model: Model, bands: Sequence[str] | None,
    rasters: RasterSettings,
) -> _Read | None:  # fmt: skip
    """None behind the last frame of a video."""
    if picture.frame is not None:
        pixels = frames.read(picture.path, picture.frame)
        if pixels is None:
            return None
        key = hashlib.sha256(str(pixels.shape).encode() + pixels.tobytes()).hexdigest()
        return _Read(key, done=True) if journal.has(picture.name, key) else _Read(key, False, pixels)
    where = "standard input" if picture.path == STDIN else picture.path
    of_file = picture.path != STDIN and not is_address(picture.path)
    if of_file and _as_raster(Path(picture.path), rasters):
        key = digest(Path(picture.path))
        return _Read(key, journal.has(picture.name, key))
    data = _bytes_of(picture.path)
    if not of_file and tiff.read_tags(io.BytesIO(data)).keys() & tiff.RASTER_TAGS:
        raise DataError(f"{where}: is a raster, and its mask must lie in the same place; give the name of its file.")
    key = hashlib.sha256(data).hexdigest()
    if journal.has(picture.name, key):
        return _Read(key, done=True)
    try:
        image = read_picture(data, model.bands, bands, where)
        left_out = dropped(data) if model.bands is None and bands is None else ()
        return _Read(key, False, image, tuple(f"{where}: {part.clause}." for part in left_out))
    except DataError as error:
        raise DataError(str(error).replace(BYTES_NAME, where)) from error


def _as_raster(path: Path, rasters: RasterSettings) -> bool:
    """Whether a picture is read as a raster. Raises DataError where the settings ask for that and it is no TIFF."""
    if not rasters.named:
        return is_raster(path)
    require_plain(path)
    with path.open("rb") as file:
        if file.read(4) not in tiff.SIGNATURES:
            raise DataError(f"{path}: is no TIFF, and --{rasters.named} belongs to rasters; leave it out, or the picture.")
    return True


def _bytes_of(path: str) -> bytes:
    if path == STDIN:
        return sys.stdin.buffer.read()
    return read_at(path) if is_address(path) else read_bytes(path)


def encoded(kind: str, prediction: Prediction, image: NDArray[np.uint8]) -> bytes:
    """The bytes of the file of a picture in the folder `kind`: masks, overlays, scores or instances.

    The prediction must have the scores or objects that are asked for."""
    classes = prediction.classes
    if kind == "masks":
        return encode_labels(prediction.labels, classes)
    if kind == "overlays":
        merged = prediction.panoptic
        drawn = (prediction.labels, prediction.instances) if merged is None else panoptic.drawn(merged, classes)
        overlay = Image.fromarray(draw.overlay(image, drawn[0], classes, objects=drawn[1]))
        return encode_image(overlay, SUFFIXES[kind])
    if kind == "scores":
        assert prediction.scores is not None
        buffer = io.BytesIO()
        np.save(buffer, prediction.scores)
        return buffer.getvalue()
    assert kind == INSTANCES
    assert prediction.instances is not None
    return encode_instances(prediction.instances, classes)


def _write(
    picture: InputPicture, image: NDArray[np.uint8], finish: Callable[[], Prediction], out: Path, overlays: bool,
    journal: Journal | ShardJournal, key: str,
) -> str:  # fmt: skip
    prediction = finish()
    classes, merged = prediction.classes, prediction.panoptic
    kinds = {
        "masks": True, "overlays": overlays and picture.frame is None, "scores": prediction.scores is not None,
        INSTANCES: prediction.instances is not None,
    }  # fmt: skip
    parts = {kind: encoded(kind, prediction, image) for kind, wanted in kinds.items() if wanted}
    of_map = None
    if merged is not None:
        colours, segments = panoptic.coloured(merged, classes)
        parts[PANOPTIC] = encode_image(Image.fromarray(colours), SUFFIXES[PANOPTIC])
        file_name = panoptic.named_after(picture.name, picture.path if picture.frame is None else "frame.png")
        of_map = panoptic.entry_of(file_name, image.shape[:2], segments, classes)
    for folder, data in parts.items():
        write_whole(out / folder, f"{picture.name}{SUFFIXES[folder]}", data, durable=False)
    journal.add(picture.name, Done(key, {folder: hashlib.sha256(data).hexdigest() for folder, data in parts.items()}, of_map))
    return "done"


def _written(
    picture: InputPicture, left_out: tuple[str, ...], future: Future[str], journal: Journal | ShardJournal
) -> Outcome:
    try:
        return Outcome(picture, future.result(), left_out)
    except Exception as error:
        return _failed(picture, error, journal)


def _failed(picture: InputPicture, error: Exception, journal: Journal | ShardJournal) -> Outcome:
    """What made one picture fail, so that the others go on. Raises the error where it is a bug, or will stop them all."""
    sentence = failure_of(picture.path, error)
    if sentence is None:
        raise error
    journal.fail(picture.name, sentence)
    return Outcome(picture, sentence)
