"""Two or more sets of predictions of the same pictures: are the differences of their scores more than chance?

    compare(["masks/one", "masks/other"], dataset).pairs[0].figures["mIoU"].p_value
    compare([first, second, third], dataset, BoundaryIou()).ranked[0].name

Both tests are paired: they never part what two sides make of one picture.

    interval   The same halves of the pictures score all sides, and the interval is that of a difference (see `intervals`).
    p_value    Permutation test: if both were alike, exchanging their answers to any picture would change nothing. In R random
               exchanges, each picture with chance 1/2, E give a difference as great as the one found or greater, in either
               direction, and p = (E + 1) / (R + 1) (Fisher, The Design of Experiments, 1935, section 21; the 1 is the order
               found: Phipson and Smyth, Statistical Applications in Genetics and Molecular Biology 9(1):39, 2010).
    p_holm     The same after Holm's correction: for all pairs of sides, figure by figure; and for all pairs and classes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from perpixel.errors import DataError, UsageError
from perpixel.judging.answers import pairs_of
from perpixel.judging.comparison import Comparison, Difference, Figure, Pair, Side, holm, names_of
from perpixel.judging.conditions import Conditions
from perpixel.judging.evaluate import Progress, counted, pixels
from perpixel.judging.intervals import GROUPS, Samples, drawn, few_pictures, intervals_from
from perpixel.judging.left_out import LeftOut
from perpixel.judging.protocol import hash_of, other_protocol, refuse_other_protocol
from perpixel.judging.stored_rows import stored
from perpixel.judging.where import Confusion, by_picture, confusions, groups_of, slices
from perpixel.machines.team import ALONE, Team
from perpixel.measures import DEFAULT
from perpixel.measures.measure import Figures, FiguresOf, Measure, Pairs, Values

if TYPE_CHECKING:
    from perpixel.datasets import Dataset
    from perpixel.prediction.inference import Inference
    from perpixel.weights.model_file import Model

TINY = 1e-12  # differences that rounding makes of equal ones
Protocol = Callable[[Sequence[bytes]], dict[str, Any]]


@dataclass(frozen=True)
class Counted:
    """One side after all its pictures were counted. `rows` and `digests` are those of the pictures by `places`; of pictures that
    cannot be judged `failed` has the sentences by name. `protocol` is shared with sides that are judged alike."""

    name: str
    pairs: Pairs[Any]
    protocol: Protocol
    rows: Sequence[Any]
    digests: Sequence[bytes]
    failed: Mapping[str, str]

    def without(self, names: Mapping[str, Any]) -> Counted:
        """The same without the pictures of these names; all of them where pictures are ranked together."""
        if not names:
            return self
        held = [name for name in self.pairs.names if name not in self.failed]
        rows = [row for name, row in zip(held, self.rows, strict=True) if name not in names]
        digests = [b"" if name in names else digest for name, digest in zip(self.pairs.names, self.digests, strict=True)]
        return replace(self, rows=rows, digests=digests, failed={**self.failed, **dict.fromkeys(names, "")})

    def said(self) -> dict[str, Any]:
        """The protocol of its figures."""
        left_out = {"left_out": sorted(self.failed)} if self.failed else {}
        return self.protocol(self.digests) | left_out


def coins(samples: int, seed: int) -> Iterator[NDArray[np.int64]]:
    """For each picture, whether each of R exchanges turns it round: (R,) of 0 and 1. Apart from the numbers that draw halves."""
    random = np.random.default_rng([seed, 1])
    while True:
        yield random.integers(0, 2, samples, np.int64)


def compare(
    judged: Sequence[Model | str | Path],
    data: Dataset | str | Path | list[Dataset | str | Path | None] | None,
    measure: Measure[Any] | None = None,
    samples_drawn: int = 1000,
    seed: int = 0,
    progress: Progress | None = None,
    inference: Inference | list[Inference | None] | None = None,
    team: Team = ALONE,
    names: Sequence[str] | None = None,
    table: Path | None = None,
) -> Comparison:
    """Compares two or more models, folders of masks or results files by a measure; or folders of rows that shards counted.

    `data` is what all are judged by, or one for each, and None for rows; `inference` how all models predict, or one for each,
    which are then ranked although they predict in different ways. `names` are those of the sides, made of paths without them.
    `table` is a CSV file whose columns divide the pictures into slices (see `groups_of`). The processes of a `team` divide the
    pictures and all return what one process would.

    A picture that cannot be judged on one side is left out on all, and told. A side whose protocol is not that of most others
    stands apart. Raises UsageError that names the field where no two protocols agree, DataError where no picture is left, and
    what `pairs_of` raises."""
    if len(judged) < 2:
        raise UsageError("a comparison needs two sides or more; name another run, folder of masks or results file.")
    Samples.drawn(1, samples_drawn, seed)  # what cannot be drawn is told before anything is judged
    measure = measure or pixels()
    sets = data if isinstance(data, list) else [data] * len(judged)
    ways = inference if isinstance(inference, list) else [inference] * len(judged)
    names = names or names_of([each if isinstance(each, str | Path) else each.card.title for each in judged])
    pairs = [_pairs(each, its_data, measure, way) for each, its_data, way in zip(judged, sets, ways, strict=True)]
    rules = [dict(each.rules) for each in pairs] if any(way != ways[0] for way in ways) else []
    protocols = [_shared(each, rules) for each in pairs]
    if all(each.rows is None for each in pairs):
        _alike([protocol(()) for protocol in protocols])  # what needs no reading
    if table is not None:  # so is a table that does not fit
        groups_of(table, pairs[0].names)
    sides = []
    for place, (name, each, protocol) in enumerate(zip(names, pairs, protocols, strict=True)):
        failed: dict[str, str] = {}
        rows, digests = counted(each, _part(progress, place, len(pairs)), team, failed)
        if each.masks is not None and rows and (doubt := measure.doubt(rows)):
            raise DataError(f"{each.masks}: {doubt}")
        sides.append(Counted(name, each, protocol, rows, digests, failed))
    alike, ranked, left_out = _on_the_same_pictures(sides)
    parts = 0 if measure.at_once is None or ranked[0].pairs.rows is None else _calls(sides, ranked, samples_drawn)
    told = _parts(progress, parts)
    shared = ranked[0].said()
    judgements = {one.name: _judgement(measure, one, samples_drawn, seed, told) for one in ranked}
    described = []
    held = {one.name: one for one in ranked}
    for place, one in enumerate(sides):
        apart = ""
        if place in alike:
            one = held[one.name]
        else:
            apart = _why_apart(one, shared)
            judgements[one.name] = _judgement(measure, one, samples_drawn, seed, told)
        figures, classes = judgements[one.name].figures(measure)
        protocol_hash = hash_of(one.said() if apart else shared)
        own = one.pairs.protocol(one.digests)
        conditions = Conditions.of(judged[place], own, one.pairs.rules)
        described.append(
            Side(one.name, figures, classes, len(one.rows), protocol_hash, own.get("weights"), conditions, apart)
        )
    pairs_tested = _tested(measure, ranked, judgements, samples_drawn, seed, told)
    without_weights = {key: value for key, value in shared.items() if key != "weights"}
    rows_of = {one.name: one.rows for one in ranked}
    figures_of = {one.name: judgements[one.name].figures_of for one in ranked}
    pictures = [name for name in ranked[0].pairs.names if name not in ranked[0].failed]
    groups = None if table is None else groups_of(table, pictures)
    return Comparison(
        measure, tuple(described), pairs_tested, len(pictures), samples_drawn, seed, without_weights, tuple(left_out),
        by_picture(measure, next(iter(measure.better)), pictures, rows_of, figures_of, told),
        tuple(_confusions(measure, rows_of, ranked[0].pairs.classes)),
        () if groups is None else tuple(slices(measure, groups, len(pictures), figures_of, told)),
        0 if groups is None else groups.missing,
        few_pictures(measure, len(pictures)),
    )  # fmt: skip


def _pairs(
    judged: Model | str | Path, data: Dataset | str | Path | None, measure: Measure[Any], way: Inference | None
) -> Pairs[Any]:
    if data is None:
        return stored(Path(str(judged)), measure)[2]
    return pairs_of(judged, data, measure, way)


def _confusions(measure: Measure[Any], rows: Mapping[str, Sequence[Any]], classes: Sequence[str]) -> list[Confusion]:
    """Of pixels by class; other measures count none."""
    if measure.name != DEFAULT:
        return []
    from perpixel.measures.pixels import matrix_of

    return confusions({name: matrix_of(each) for name, each in rows.items()}, classes)


def _alike(protocols: Sequence[Mapping[str, Any]], pictures: Sequence[Any] | None = None) -> list[int]:
    """The places of the protocols that most share; of as many the first. Raises UsageError where no two agree."""
    keys = [(hash_of(protocol), pictures[place] if pictures else None) for place, protocol in enumerate(protocols)]
    most = max(keys, key=keys.count)
    chosen = [place for place, key in enumerate(keys) if key == most]
    if len(chosen) < 2:
        for other in protocols[1:]:
            refuse_other_protocol(protocols[0], other)
        raise UsageError("no two sides are judged on the same pictures; name one data set for all with --data.")
    return chosen


def _on_the_same_pictures(sides: Sequence[Counted]) -> tuple[list[int], list[Counted], list[LeftOut]]:
    """The places of the sides with one protocol, these sides on the pictures that all of them have, and the pictures left out."""
    alike = _alike([side.protocol(()) for side in sides], [tuple(side.pairs.names) for side in sides])
    while True:
        failed = {name: message for place in alike for name, message in sides[place].failed.items()}
        ranked = [sides[place].without(failed) for place in alike]
        if not len(ranked[0].rows):
            for side in (sides[place] for place in alike if not len(sides[place].rows)):
                first = next(iter(side.failed.values()))
                raise DataError(f"{side.name}: none of {len(side.failed)} pictures can be judged: {first} Leave the side out.")
            first = next(iter(failed.values()))
            raise DataError(f"{first} No picture can be judged on every side; mend these, or leave the side out.")
        still = [alike[place] for place in _alike([side.said() for side in ranked])]
        if still == alike:
            break
        alike = still
    left_out = [LeftOut(sides[place].name, *one) for place in alike for one in sides[place].failed.items()]
    return alike, ranked, left_out


def _why_apart(side: Counted, shared: Mapping[str, Any]) -> str:
    """Why a side, on all pictures that it has, is ranked with none of those that share a protocol.

    Raises DataError where it has none."""
    if not len(side.rows):
        raise DataError(f"{next(iter(side.failed.values()))} No picture of {side.name} can be judged; leave it out.")
    return other_protocol(shared, side.said()) or "the names of the pictures"


@dataclass(frozen=True)
class Judgement:
    """The figures of one side in all `samples` of the pictures. `of_classes` are the names of the classes whose IoU is among
    them. `figures_of` makes the figures of any pictures."""

    figures_of: FiguresOf
    samples: Samples
    made: Figures
    of_classes: Sequence[str]

    @property
    def values(self) -> Values:
        """All figures by name, those of classes too."""
        return _values(self.made, self.of_classes)

    def figures(self, measure: Measure[Any]) -> tuple[dict[str, Figure], dict[str, Figure]]:
        """The figures with their intervals, and the IoU of classes."""
        intervals, of_classes = intervals_from(measure, self.samples, self.made)
        known = [float(values[0]) for values in ([] if self.made.classes is None else self.made.classes.T)]
        overall = {name: Figure(float(self.made.overall[name][0]), one) for name, one in intervals.items()}
        return overall, dict(zip(self.of_classes, map(Figure, known, of_classes), strict=True))


def _judgement(measure: Measure[Any], side: Counted, samples_drawn: int, seed: int, told: Progress | None) -> Judgement:
    figures_of, samples = measure.figures(side.rows), Samples.drawn(len(side.rows), samples_drawn, seed)
    made = drawn(measure, figures_of, samples.weights, told)
    return Judgement(figures_of, samples, made, [] if made.classes is None else side.pairs.classes)


def _tested(
    measure: Measure[Any],
    sides: Sequence[Counted],
    judgements: Mapping[str, Judgement],
    samples_drawn: int,
    seed: int,
    told: Progress | None,
) -> tuple[Pair, ...]:
    """Every two sides in the order in which they were named. All tests share the exchanges of pictures."""
    num_pictures, of_classes = len(sides[0].rows), judgements[sides[0].name].of_classes
    swap = np.array([*islice(coins(samples_drawn, seed), num_pictures)], np.int64).reshape(num_pictures, samples_drawn).T
    found: list[tuple[str, str, dict[str, Difference]]] = []
    for first, second in combinations(sides, 2):
        figures_of = measure.figures(first.rows, second.rows)
        exchanged = [
            _values(drawn(measure, figures_of, np.concatenate(pair, 1), told), of_classes)
            for pair in ((1 - swap, swap), (swap, 1 - swap))
        ]
        one, other = judgements[first.name], judgements[second.name]
        found.append((first.name, second.name, _differences(measure, one, other, exchanged[1], exchanged[0])))
    every = [(place, name) for place, (_, _, tests) in enumerate(found) for name in tests]
    labels = {_iou_of(name) for name in of_classes}
    families: dict[str, list[tuple[int, str]]] = {}
    for place, name in every:
        families.setdefault("classes" if name in labels else f"figure {name}", []).append((place, name))
    for family in families.values():
        corrected = holm([found[place][2][name].p_value for place, name in family])
        for (place, name), p_holm in zip(family, corrected, strict=True):
            found[place][2][name] = replace(found[place][2][name], p_holm=p_holm)
    return tuple(Pair(first, second, *_divided(tests, of_classes)) for first, second, tests in found)


def _differences(
    measure: Measure[Any], first: Judgement, second: Judgement, turned: Values, exchanged: Values
) -> dict[str, Difference]:
    """Both tests of each figure, without a correction. `exchanged` and `turned` are what the one and the other have of the
    exchanges (R,)."""
    tests, (ones, others) = {}, (first.values, second.values)
    for name in ones:
        differences = others[name] - ones[name]
        one, other, difference = float(ones[name][0]), float(others[name][0]), float(differences[0])
        sure = first.samples.interval(first.samples.whole(differences) if name in measure.sums else differences, "difference")
        by_chance = np.abs(turned[name] - exchanged[name])
        as_great = int((by_chance >= abs(difference) - TINY).sum())
        p_value = math.nan if math.isnan(difference) else (as_great + 1) / (len(by_chance) + 1)
        tests[name] = Difference(one, other, difference, sure, p_value, p_value)
    return tests


def _values(figures: Figures, classes: Sequence[str]) -> Values:
    """All figures of samples by name, (R,) each, those of classes too."""
    of_classes = {} if figures.classes is None else dict(zip(map(_iou_of, classes), figures.classes.T, strict=True))
    return {**figures.overall, **of_classes}


def _iou_of(name: str) -> str:
    return f"IoU of {name}"


def _divided(every: Mapping[str, Any], of_classes: Sequence[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Figures over all classes by name, and figures of classes by the name of the class."""
    by_class = {name: every[_iou_of(name)] for name in of_classes}
    labels = {_iou_of(name) for name in of_classes}
    return {name: one for name, one in every.items() if name not in labels}, by_class


def _shared(side: Pairs[Any], ways: Sequence[Mapping[str, Any]]) -> Protocol:
    """The protocol of a side. Where sides are to predict in different ways, these stand in it side by side."""

    def protocol_of(digests: Sequence[bytes]) -> dict[str, Any]:
        described = side.protocol(digests)
        if not ways:
            return described
        differing = {key for way in ways for key in way}
        return {**{key: value for key, value in described.items() if key not in differing}, "predicted": list(ways)}

    return protocol_of


def _part(progress: Progress | None, place: int, sides: int) -> Progress | None:
    """Tells of the pictures of all sides together."""
    return None if progress is None else lambda done, pictures: progress(done + place * pictures, sides * pictures)


def _calls(sides: Sequence[Counted], ranked: Sequence[Counted], samples_drawn: int) -> int:
    """How often the figures of one sample are made: of each side as judged and resampled, of each pair exchanged both ways, and
    of each picture by itself."""
    exchanged = len(ranked) * (len(ranked) - 1) * samples_drawn
    judged = sum(1 + samples_drawn + min(len(side.rows), GROUPS) for side in sides)
    return judged + exchanged + len(ranked) * len(ranked[0].rows)


def _parts(progress: Progress | None, parts: int) -> Progress | None:
    """Tells of all samples together, which are drawn in several parts; nothing where there are none."""
    done = iter(range(1, parts + 1))
    return None if progress is None or not parts else lambda *_: progress(next(done), parts)
