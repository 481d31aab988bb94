"""The contract of a data set, and how notebooks show one."""

from __future__ import annotations

from typing import Protocol

from perpixel import draw, notebook
from perpixel.classes import ClassTable
from perpixel.errors import failure_of
from perpixel.sample import Sample

SHOWN, SIDE = 3, 160  # pictures in a notebook, and the longer side of each in pixels
MOST_NAMES = 40  # classes that are named there


class Dataset(Protocol):
    """The pictures of one split with their truth. `classes` decodes and names the labels. `splits` are all existing splits."""

    @property
    def classes(self) -> ClassTable: ...
    @property
    def split(self) -> str: ...
    @property
    def splits(self) -> tuple[str, ...]: ...
    def __len__(self) -> int: ...
    def name(self, index: int) -> str: ...
    def sample(self, index: int) -> Sample: ...


class InNotebook:
    """The base of every data set."""

    def _repr_html_(self: Dataset) -> str:
        """What the split holds, and its first pictures with their labels. A picture that cannot be read is told in its place."""
        classes, count = self.classes, len(self)
        told = f"{type(self).__name__}, split {self.split} of {', '.join(self.splits)}: {count} pictures, {len(classes)} classes"
        more = [notebook.line(f"and {len(classes) - MOST_NAMES} more")] if len(classes) > MOST_NAMES else []
        names = notebook.swatches(classes.names[:MOST_NAMES], classes.colours[:MOST_NAMES])
        return notebook.block(
            notebook.line(told, strong=True), names, *more, *(_shown(self, index) for index in range(min(SHOWN, count)))
        )


def _shown(dataset: Dataset, index: int) -> str:
    name = dataset.name(index)
    try:
        sample = dataset.sample(index)
    except Exception as error:
        sentence = failure_of(name, error)
        if sentence is None:
            raise
        return notebook.line(sentence)
    pixels = sample.shown
    if sample.labels is not None:
        pixels = draw.overlay(pixels, sample.labels, dataset.classes, legend=False)
    return notebook.picture(draw.thumbnail(pixels, SIDE), name)
