"""The contract of a measure: one way to judge predictions, in one file.

    measure = Objects("cell", minimum_area=500)          # its settings are the fields of a dataclass
    row, digest = measure.count(sample, prediction)      # one picture, on any thread or process
    measure.summary(rows, classes)                       # figures, tables and JSON of all pictures
    figures = measure.figures(rows)                      # ranks or sums once ...
    figures(weights).overall["SEG"]                      # ... and says (R,) what R samples of the pictures give

A measure knows neither models nor screens. The loop over pictures, `--bootstrap`, `compare`, `torchrun`, `--json` and the flags
are written once, in `judging` and `commands`, and follow from this contract; `measures/__init__.py` lists the measures."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, NamedTuple, Protocol, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from perpixel.errors import UsageError
from perpixel.sample import Prediction, Sample

if TYPE_CHECKING:  # what reads data sets takes 0.4 s to load, which results files need not wait for
    from perpixel.classes import ClassTable
    from perpixel.datasets import Dataset

Needs = Literal["labels", "label ids", "scores", "scores or labels", "instances", "segments"]
Better = Literal["larger", "smaller"]
Values = dict[str, NDArray[np.float64]]  # by name, (R,); nan where undefined
Row = TypeVar("Row")


@runtime_checkable
class WithoutPictures(Protocol):
    """A view of a data set that can leave out its pictures, which masks do not need."""

    def without_picture(self, index: int) -> Sample: ...


class Figures(NamedTuple):
    """Figures of R samples of the pictures: over all classes by name, (R,) each, and the IoU of each class, (R, C)."""

    overall: Values
    classes: NDArray[np.float64] | None = None


FiguresOf = Callable[[NDArray[np.int64]], Figures]  # from weights (R, N): how often each sample holds each picture


@dataclass(frozen=True)
class Table:
    """Rows of text below a header; the columns `right` are set to the right."""

    header: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    right: Sequence[int] = ()


@dataclass(frozen=True)
class Summary:
    """What a measure says of all pictures: `figures` in 0..1, nan where undefined; `details`, plain JSON that follows them; the
    `tables` and lines that people see, and a `note` below them. `totals` is what the measure itself counted, in its own type."""

    figures: dict[str, float]
    details: dict[str, Any]
    tables: Sequence[Table | str]
    note: str = ""
    totals: Any = None
    figures_in_json: Mapping[str, Any] | None = None  # where a figure is more than a number

    def to_json(self) -> dict[str, Any]:
        """Plain JSON; nan is null."""
        figures = self.figures if self.figures_in_json is None else self.figures_in_json
        plain: dict[str, Any] = without_nan({"figures": figures, **self.details})
        return plain


@dataclass(frozen=True)
class Pairs(Generic[Row]):
    """Pictures, each with its truth and its prediction. `read` fetches what lies on disk, ahead of time and on another thread;
    `count` makes the picture's row of it, with the digest of the truth. With `threads` above 1 whole pictures are counted at the
    same time. `rows` are there already where all pictures are counted together.

    `protocol` says of the digests what must be equal for two scores to be compared. `rules` are those keys of it that say how
    the predictions were made."""

    names: Sequence[str]
    classes: Sequence[str]
    protocol: Callable[[Sequence[bytes]], dict[str, Any]]
    read: Callable[[int], Any]
    count: Callable[[int, Any], tuple[Row, bytes]]
    threads: int = 1
    rows: Sequence[Row] | None = None
    rules: Mapping[str, Any] = field(default_factory=dict)
    masks: Path | None = None  # the folder, where masks are judged


@dataclass(frozen=True)
class Measure(ABC, Generic[Row]):
    """The base of all measures; what a measure does not need to say is said here."""

    name: ClassVar[str]  # of its module, flag, test and document
    entry: ClassVar[str] = ""  # the key of its rules in the protocol
    rules: ClassVar[Mapping[str, str]] = {}  # how it judges, in words that enter the protocol's hash
    needs: ClassVar[Needs] = "labels"  # of a prediction
    better: ClassVar[Mapping[str, Better]] = {}  # of each figure that ranks predictions, the most telling one first
    decimals: ClassVar[Mapping[str, int]] = {}  # of figures that are no percent, by name; "" for all others
    compared_in_percent: ClassVar[bool] = False  # whatever `decimals` says of the figures alone
    at_once: ClassVar[int | None] = None  # samples of the pictures in one call of `figures`; all where it is none
    amounts: ClassVar[frozenset[str]] = frozenset()  # figures that may exceed 1
    sums: ClassVar[frozenset[str]] = frozenset()  # figures that are sums over pictures
    class_means: ClassVar[frozenset[str]] = frozenset()  # figures that are means over the classes whose IoU `figures` says
    enough: ClassVar[int] = 30  # pictures from which on intervals hold the truth as often as they say

    def settings(self) -> dict[str, Any]:
        """The settings that enter the protocol."""
        return dict(vars(self))

    def protocol(self) -> dict[str, Any]:
        """What the measure adds to the protocol of a score."""
        return {self.entry: {**self.settings(), **self.rules}} if self.entry else {}

    def truth(self, dataset: Dataset) -> Dataset:
        """The measure's view of a data set, such as one with objects. Raises UsageError for a set that it cannot judge."""
        return dataset

    def refuse(self, truth: Sample, classes: ClassTable) -> None:
        """Raises DataError for a truth that cannot be judged, whatever is predicted. Called before the prediction is made."""
        from perpixel.datasets import labels_of

        labels_of(truth)

    @abstractmethod
    def count(self, truth: Sample, predicted: Prediction) -> tuple[Row, bytes]:
        """What one picture counts, and the digest of all in its truth that decides it.

        Raises DataError for a picture that cannot be judged."""

    @abstractmethod
    def figures(self, *sides: Sequence[Row]) -> FiguresOf:
        """The figures of samples of pictures. Each side holds the rows of all N pictures by one set of predictions; of two sides
        weights are (R, 2 N), the first N of them of the first side."""

    @abstractmethod
    def summary(self, rows: Sequence[Row], classes: Sequence[str], names: Sequence[str]) -> Summary:
        """What is said of all pictures; `classes` and `names` are the names of classes and pictures."""

    def files(self, results: Path, truth: Path) -> Pairs[Row]:
        """The pictures of a results file and of the annotation file that it is judged by; for measures of such files alone.

        Raises DataError, with the file and the entry, for a file that is not as it must be."""
        raise UsageError(f"{truth}: {self.name} is judged on data sets, not by annotation files; name a data set with --data.")

    def doubt(self, rows: Sequence[Row]) -> str | None:
        """What shows that files of masks are not what they must be, if anything; the sentence goes on after the folder."""
        return None


def shown(measure: Measure[Any], name: str, value: float) -> str:
    """A figure as people see it: percent with one decimal, or with the measure's decimals."""
    decimals = decimals_of(measure, name)
    return percent(value) if decimals is None else f"{value:.{decimals}f}"


def decimals_of(measure: Measure[Any], name: str) -> int | None:
    return measure.decimals.get(name, measure.decimals.get(""))


def percent(value: float) -> str:
    return "nan" if math.isnan(value) else f"{100 * value:.1f}"


def weighted_sums(
    weights: NDArray[np.int64], rows: Iterable[NDArray[Any]], dtype: type[np.number[Any]] = np.int64
) -> NDArray[Any]:
    """Sums (R, width) of rows (width,), each as often as `weights` (R, N) say, added in the order of the pictures.

    Most of a row is 0: a picture shows few classes, and a sample leaves out a third of the pictures."""
    sums: NDArray[Any] | None = None
    for held, row in zip(weights.T, rows, strict=True):
        if sums is None:
            sums = np.zeros((len(weights), len(row)), dtype)
        if held.any():
            places = np.flatnonzero(row)
            sums[:, places] += held[:, None] * row[places]
    return np.zeros((len(weights), 0), dtype) if sums is None else sums


def ratio(part: NDArray[Any], whole: NDArray[Any]) -> NDArray[np.float64]:
    """part / whole, nan where the whole is 0; the two are broadcast to one shape."""
    part, whole = np.broadcast_arrays(part, whole)
    quotient = np.full(whole.shape, np.nan)
    np.divide(part, whole, out=quotient, where=whole > 0)
    return quotient


def mean_of_known(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """(R,) the mean over the columns of (R, K) that are not nan; nan without any."""
    known = ~np.isnan(values)
    if known.all():
        return np.asarray(values.mean(1)) if values.shape[1] else np.full(len(values), np.nan)
    return np.array([row[held].mean() if held.any() else math.nan for row, held in zip(values, known, strict=True)])


def without_nan(value: Any) -> Any:
    """The same JSON with null for each nan."""
    if isinstance(value, Mapping):
        return {key: without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def columns(drawn: Iterable[Mapping[str, float]]) -> Values:
    """Figures by name, (R,) each, from those of each of R samples."""
    samples = list(drawn)
    return {name: np.array([sample[name] for sample in samples]) for name in samples[0]}
