"""Model, masks or results + truth -> Scores by a measure: the one loop over pictures.

    evaluate(model, dataset).mean_iou
    evaluate("masks", dataset, Objects("cell"), bootstrap=1000).intervals
    evaluate("results.json", "instances_val2017.json", AveragePrecision("box")).figures["AP"]"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from perpixel.errors import DataError
from perpixel.judging.answers import pairs_in_training, pairs_of
from perpixel.judging.intervals import intervals_of
from perpixel.judging.protocol import Failed, left_out, noting
from perpixel.judging.scores import Scores
from perpixel.machines.team import ALONE, Team
from perpixel.measures.measure import Measure, Pairs, Summary
from perpixel.sample import Prediction, Sample

if TYPE_CHECKING:
    from perpixel.datasets import Dataset
    from perpixel.measures.confusion_matrix import ConfusionMatrix
    from perpixel.networks import Network
    from perpixel.prediction.inference import Inference
    from perpixel.weights.model_file import Model

Row = TypeVar("Row")
Progress = Callable[[int, int], None]


def evaluate(
    model_or_predictions: Model | str | Path,
    data: Dataset | str | Path,
    measure: Measure[Any] | None = None,
    progress: Progress | None = None,
    inference: Inference | None = None,
    bootstrap: int = 0,
    seed: int = 0,
    team: Team = ALONE,
    failed: Failed = None,
) -> Scores:
    """Judges a model, a folder of mask files named like the pictures, or its `masks/`, on every picture of a data set; or a
    results file by an annotation file. Without a `measure` its pixels are judged.

    `bootstrap` is the number of halves that intervals are made of, none with 0, and `seed` draws them. The processes of a `team`
    divide the pictures and all return what one process would. With a dictionary `failed` a picture that cannot be judged is
    noted there with its sentence, and the rest go on; the protocol then says which pictures are left out.
    Raises DataError when a mask is missing or of another size, UsageError when the classes are not those of the data set, for an
    `inference` that does not fit the model, and for what the measure cannot judge."""
    measure = measure or pixels()
    return scores_of(pairs_of(model_or_predictions, data, measure, inference), measure, progress, bootstrap, seed, team, failed)


def scores_of(
    pairs: Pairs[Any],
    measure: Measure[Any],
    progress: Progress | None = None,
    bootstrap: int = 0,
    seed: int = 0,
    team: Team = ALONE,
    failed: Failed = None,
) -> Scores:
    """As `evaluate`, of pictures whose truth and predictions are known."""
    rows, digests = counted(pairs, progress, team, failed)
    more = left_out(failed, len(pairs.names), bootstrap)
    if pairs.masks is not None and (doubt := measure.doubt(rows)):
        raise DataError(f"{pairs.masks}: {doubt}")
    names = [name for name in pairs.names if name not in (failed or {})]
    intervals = intervals_of(measure, rows, pairs.classes, bootstrap, seed, progress) if bootstrap else None
    return Scores(measure, measure.summary(rows, pairs.classes, names), pairs.protocol(digests) | more, len(rows), intervals)


def pixels() -> Measure[Any]:
    """The measure of who names none."""
    from perpixel.measures.pixels import Pixels

    return Pixels()


def counted(
    pairs: Pairs[Row], progress: Progress | None = None, team: Team = ALONE, failed: Failed = None
) -> tuple[Sequence[Row], list[bytes]]:
    """The row of each picture that can be judged, in their order, and the digests of the truth, empty for the others.

    The processes of a team divide the pictures; all return the same."""
    if pairs.rows is not None:
        return pairs.rows, []
    mine = range(team.rank, len(pairs.names), team.world)
    judged = team.in_turn(team.all_or_none(lambda: [*counted_each(pairs, mine, progress, failed)]))
    if failed is not None:  # in the order of the pictures, whichever thread or process noted them
        noted = {name: message for part in team.gather(dict(failed)) for name, message in part.items()}
        failed.clear()
        failed.update({name: noted[name] for name in pairs.names if name in noted})
    return [row for pair in judged for row, _ in pair], [pair[0][1] if pair else b"" for pair in judged]


def counted_each(
    pairs: Pairs[Row], indices: Sequence[int], progress: Progress | None, failed: Failed
) -> Iterator[list[tuple[Row, bytes]]]:
    """The row and the digest of each picture; an empty list for one that is noted in `failed`.

    The next picture is read while one is in use; memory holds two at a time, or as many as there are threads."""

    def read(index: int) -> Any:
        return pairs.read(index) if pairs.threads == 1 else None

    def judge(index: int, fetch: Callable[[], Any]) -> list[tuple[Row, bytes]]:
        with noting(pairs.names[index], failed):
            return [pairs.count(index, fetch())]
        return []

    with ThreadPoolExecutor(pairs.threads) as pool:
        try:
            if pairs.threads > 1:
                judged: Iterable[Any] = _in_order(
                    pool, pairs.threads, lambda index: judge(index, lambda: pairs.read(index)), indices
                )
            else:
                judged = (judge(index, sample) for index, sample in _ahead(pool, read, indices))
            for done, row in enumerate(judged, start=1):
                yield row
                if progress is not None:
                    progress(done, len(indices))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _in_order(pool: ThreadPoolExecutor, threads: int, judge: Callable[[int], Any], indices: Sequence[int]) -> Iterator[Any]:
    """What is judged of each index; as many again as there are threads wait in the queue, not all of the set."""
    waiting: deque[Future[Any]] = deque()
    for index in indices:
        waiting.append(pool.submit(judge, index))
        if len(waiting) == 2 * threads:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _ahead(
    pool: ThreadPoolExecutor, read: Callable[[int], Any], indices: Sequence[int]
) -> Iterator[tuple[int, Callable[[], Any]]]:
    """Each index with a function that waits for what is read; the next is read meanwhile."""
    following = pool.submit(read, indices[0]) if len(indices) else None
    for place, index in enumerate(indices):
        assert following is not None
        current = following
        current.exception()  # waits, so that one picture is read at a time
        following = pool.submit(read, indices[place + 1]) if place + 1 < len(indices) else None
        yield index, current.result


def samples(dataset: Dataset) -> Iterator[Sample]:
    """The pictures in turn; the next is read while one is in use."""
    with ThreadPoolExecutor(1) as pool:
        for _, fetch in _ahead(pool, dataset.sample, range(len(dataset))):
            yield fetch()


def confusion(
    dataset: Dataset,
    indices: Sequence[int],
    answer: Callable[[Sample], NDArray[Any]],
    progress: Progress | None = None,
) -> tuple[ConfusionMatrix, list[bytes]]:
    """The confusion matrix of the labels that `answer` gives to some pictures, and the digest of each picture's truth."""
    from perpixel.measures.confusion_matrix import ConfusionMatrix
    from perpixel.measures.pixels import matrix_of

    measure = pixels()
    pairs = Pairs(
        [dataset.name(index) for index in range(len(dataset))], [], lambda _: {}, dataset.sample,
        lambda _, sample: measure.count(sample, Prediction(answer(sample), dataset.classes)),
    )  # fmt: skip
    judged = [pair for pairs_of_one in counted_each(pairs, indices, progress, None) for pair in pairs_of_one]
    if not judged:
        return ConfusionMatrix(len(dataset.classes), dataset.classes.void), []
    return matrix_of([row for row, _ in judged]), [digest for _, digest in judged]


@dataclass(frozen=True)
class Judgement(Generic[Row]):
    """What a measure says of predictions: of all judged pictures together, and by their numbers a row of each."""

    measure: Measure[Row]
    summary: Summary
    rows: Mapping[int, Row]

    def by_picture(self, figure: str) -> dict[int, float]:
        """A figure of each picture alone, by its number; nan where it is undefined."""
        once = np.ones((1, 1), np.int64)
        return {index: float(self.measure.figures([row])(once).overall[figure][0]) for index, row in self.rows.items()}


def judge(
    network: Network,
    dataset: Dataset,
    measure: Measure[Row],
    scale: float,
    team: Team = ALONE,
    count: int | None = None,
    progress: Progress | None = None,
) -> Judgement[Row]:
    """What a measure says of a network in training, which sees pictures at `scale`, of `count` pictures spread evenly over the
    data set, or of all; leaves it in the mode in which it was.

    The processes of a team divide the pictures, and all return the same. Raises what `evaluate` does."""
    pairs, training = pairs_in_training(network, dataset, measure, scale), network.training
    places = spread(len(pairs.names), count)
    some = replace(pairs, names=[pairs.names[place] for place in places], read=lambda number: pairs.read(places[number]))
    network.eval()
    try:
        rows, _ = counted(some, progress, team)
    finally:
        network.train(training)
    return Judgement(measure, measure.summary(rows, some.classes, some.names), dict(zip(places, rows, strict=True)))


def spread(length: int, count: int | None) -> list[int]:
    """`count` numbers below `length`, evenly spread from the first to the last; all without a count."""
    if count is None or count >= length:
        return list(range(length))
    places: list[int] = np.unique(np.linspace(0, length - 1, count).round().astype(int)).tolist()
    return places
