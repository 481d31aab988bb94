"""The table of measures says what their classes are, and every measure keeps the contract."""

import re
from dataclasses import MISSING, fields
from typing import get_args, get_type_hints

import numpy as np
import pytest

from perpixel.classes import ClassTable
from perpixel.errors import UnknownName, UsageError
from perpixel.measures import MEASURES, class_of, named
from perpixel.measures.cityscapes import LabelIds
from perpixel.measures.measure import Measure
from perpixel.measures.panoptic import PanopticSample
from perpixel.sample import Instances, PanopticMap, Prediction, Sample, Segment


@pytest.mark.parametrize("name", MEASURES)
def test_the_table_has_the_fields_of_the_class(name: str) -> None:
    entry, measure = MEASURES[name], class_of(name)
    assert issubclass(measure, Measure)
    assert (measure.name, MEASURES[name].home.partition(":")[0]) == (name, name)
    assert [item.name for item in fields(measure)] == [*([entry.first] if entry.first else []), *entry.settings]


@pytest.mark.parametrize(("name", "key"), [(name, key) for name, entry in MEASURES.items() for key in entry.settings])
def test_a_flag_has_the_type_and_the_default_of_its_field(name: str, key: str) -> None:
    setting, measure = MEASURES[name].settings[key], class_of(name)
    field = next(item for item in fields(measure) if item.name == key)
    hint = get_type_hints(measure)[key]
    assert (get_args(setting.type) or setting.type) == (get_args(hint) or hint)
    assert field.default is not MISSING
    if setting.type is bool:
        assert field.default is False
        return
    shown = re.search(r"\[default: (.*)\]", setting.help)
    assert shown is not None
    values = field.default if isinstance(field.default, tuple) else (field.default,)
    words = [f"{value:g}" for value in values]
    assert shown[1] in (" ".join(words), f"{words[0]} {words[1]} .. {words[-1]}" if len(words) > 3 else "")


def test_no_two_measures_have_a_flag_of_one_name() -> None:
    flags = [flag for name, entry in MEASURES.items() for flag in (name, *entry.settings)]
    assert len(flags) == len({*flags})


@pytest.mark.parametrize("name", MEASURES)
def test_every_measure_says_its_rules_in_the_protocol(name: str) -> None:
    measure = class_of(name)(*(["mask"] if MEASURES[name].first == "kind" else ["cell"] if MEASURES[name].first else []))
    if name == "pixels":  # whose rules are those of every protocol
        assert measure.protocol() == {}
    else:
        (entry,) = measure.protocol().values()
        assert entry.items() >= measure.rules.items()
        assert measure.rules


@pytest.mark.parametrize("text", ["objects=cell", "instances", "instances=box", "pixels"])
def test_a_setting_names_a_measure_and_its_first_field(text: str) -> None:
    name, _, value = text.partition("=")
    assert named(text) == (name, {MEASURES[name].first: value} if value else {})


def test_a_setting_that_names_no_measure_is_refused() -> None:
    with pytest.raises(UnknownName, match="no measure 'instance'; did you mean 'instances'"):
        named("instance")
    with pytest.raises(UsageError, match="measure = 'surfaces=2': surfaces takes no value"):
        named("surfaces=2")
    with pytest.raises(UsageError, match="measure = 'objects=': a value is missing behind objects="):
        named("objects=")


# Which way a figure ranks: of a picture with three squares a prediction without a fault, and one with every kind of fault.

SIZE = (24, 40)
# Figures that say of no prediction that it is the better one.
NEUTRAL = {"objects": {"true_objects", "predicted_objects"}, "calibration": {"temperature"}}


def squares() -> np.ndarray:
    """Numbers (H, W) of three squares of 8 x 8 pixels, 0 elsewhere."""
    numbers = np.zeros(SIZE, np.int32)
    for number, (top, left) in enumerate(((3, 3), (3, 15), (14, 27)), start=1):
        numbers[top : top + 8, left : left + 8] = number
    return numbers


def faulty() -> np.ndarray:
    """The first two squares are one, which reaches over them; the third is cut in two, one of the parts is small; a line cuts
    the ground in two."""
    numbers = np.zeros(SIZE, np.int32)
    numbers[2:11, 4:24] = 1
    numbers[14:22, 27:33] = 2
    numbers[14:22, 34:35] = 3
    numbers[12] = 4
    return numbers


def judged(name: str, numbers: np.ndarray) -> dict[str, float]:
    """The figures of a prediction of the squares, by the measure `name`."""
    truth, classes, image = squares(), ClassTable.of(["background", "square"]), np.zeros((*SIZE, 3), np.uint8)
    measure = class_of(name)(*(["square"] if MEASURES[name].first == "class_name" else []))
    labels, ids = (numbers > 0).astype(np.uint8), np.ones(numbers.max(), np.int64)
    if name == "cityscapes":
        sample: Sample = LabelIds("a", image, np.where(truth, 26, 7).astype(np.uint8), None, np.where(truth, 26000 + truth, 7))
        prediction = Prediction(np.where(labels, 26, 7).astype(np.uint8), classes)
    elif name == "panoptic":  # 9 is the ground, which is stuff
        segments = [Segment(number, 1, False) for number in (1, 2, 3)] + [Segment(9, 2, False)]
        sample = PanopticSample("a", image, np.where(truth, truth, 9), None, segments, {1: "square", 2: "ground"}, frozenset({1}))
        found = [Segment(int(number), 1, False) for number in range(1, numbers.max() + 1)] + [Segment(9, 2, False)]
        ids = np.where(numbers, numbers, 9)
        prediction = Prediction(ids, classes, panoptic=PanopticMap(ids, tuple(found), frozenset({1})))
    else:
        objects = Instances.of_numbers(truth, np.ones(3, np.int64))
        sample = Sample("a", image, (truth > 0).astype(np.uint8), objects)
        scores = np.stack([labels == 0, labels == 1]).astype(np.float32)
        seen = Instances(numbers == np.arange(1, numbers.max() + 1)[:, None, None], ids, np.full(len(ids), 0.9, np.float32))
        prediction = Prediction(labels, classes, scores, seen)
    row, _ = measure.count(sample, prediction)
    return {figure: float(value) for figure, value in measure.summary([row], list(classes.names), ["a"]).figures.items()}


@pytest.mark.parametrize("name", MEASURES)
def test_every_figure_says_which_way_it_ranks(name: str) -> None:
    best, worse = judged(name, squares()), judged(name, faulty())
    better = class_of(name).better
    assert set(best) - NEUTRAL.get(name, set()) == set(better)
    alike = {"RQ_stuff"}  # both find the ground
    known = {figure: best[figure] - worse[figure] for figure in better if not np.isnan(best[figure]) and figure not in alike}
    assert next(iter(better)) in known  # the main figure
    for figure, difference in known.items():
        assert difference > 0 if better[figure] == "larger" else difference < 0, figure
