"""Predicted masks and objects as annotations that labelling tools open, so that a person corrects them in place of drawing them.

    perpixel predict RUN pictures --to cvat          # out/cvat: the pictures, and what was predicted for them
    perpixel convert out/cvat corrected              # when they are corrected: a data set to train on"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from perpixel.classes import ClassTable
from perpixel.errors import UsageError, did_you_mean
from perpixel.formats import FORMATS
from perpixel.formats.exchange import AnnotatedSet, Content, Item
from perpixel.images import read_labels
from perpixel.prediction.bulk import STDIN, InputPicture
from perpixel.prediction.instances import INSTANCES, read_instances
from perpixel.prediction.stores import is_address

TO = tuple(name for name, one in FORMATS.items() if not one.splits)  # formats whose pictures need no split


def refuse(to: str, out: Path, pictures: Sequence[InputPicture]) -> None:
    """Raises UnknownName for another format, UsageError for pictures that are no files here, and for an `out` that exists."""
    if to not in TO:
        raise did_you_mean("format of annotations", to, TO)
    for picture in pictures:
        if picture.is_video or picture.path == STDIN or is_address(picture.path):
            raise UsageError(f"--to {to}: {picture.path} is no file of a picture to write beside its annotations; leave it out.")
    if (out / to).exists():
        raise UsageError(f"{out / to}: exists already, and may hold corrections; move it, or choose another --out.")


def annotated(pictures: Sequence[InputPicture], out: Path, classes: ClassTable) -> AnnotatedSet:
    """What `predict_all` left of these pictures in `out`; objects, where the network finds any."""
    return AnnotatedSet(classes, [Item(one.name, "", partial(_content, one, out, classes)) for one in pictures])


def _content(picture: InputPicture, out: Path, classes: ClassTable) -> Content:
    objects = out / INSTANCES / f"{picture.name}.json"
    return Content(
        Path(picture.path),
        classes.decode(read_labels(out / "masks" / f"{picture.name}.png"), str(out)),
        read_instances(objects, classes) if objects.exists() else None,
    )
