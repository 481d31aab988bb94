"""Facts of pictures that are drawn so that a person can tell them."""

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest

from perpixel.classes import ClassTable
from perpixel.errors import DataError
from perpixel.sample import Instances, Sample
from perpixel.training.set_facts import LOOKED_AT, set_facts


@dataclass
class Drawn:
    """A data set of labels, with grey pictures of them unless given."""

    labels: list[np.ndarray]
    images: list[np.ndarray] | None = None
    numbers: list[np.ndarray] | None = None
    damaged: frozenset[int] = frozenset()
    classes: ClassVar[ClassTable] = ClassTable.of(["ground", "line", "block"])
    split: ClassVar[str] = "train"
    splits: ClassVar[tuple[str, ...]] = ("train",)

    def __len__(self) -> int:
        return len(self.labels)

    def name(self, index: int) -> str:
        return str(index)

    def sample(self, index: int) -> Sample:
        if index in self.damaged:
            raise DataError(f"{index}: is damaged.")
        labels = self.labels[index].astype(np.uint8)
        image = np.repeat(labels[..., None] * 60 + 20, 3, 2) if self.images is None else self.images[index]
        objects = None
        if self.numbers is not None:
            count = int(self.numbers[index].max())
            objects = Instances.of_numbers(self.numbers[index].astype(np.int32), np.ones(count, np.int64))
        return Sample(str(index), image, labels, objects)


def blank(height: int = 60, width: int = 80) -> np.ndarray:
    return np.zeros((height, width), np.uint8)


def test_a_line_is_as_wide_as_it_is_and_void_is_no_border() -> None:
    line = blank()
    line[:, 30:33] = 1
    assert set_facts(Drawn([line])).widths[1] == 3.0
    line[:, 33:] = 255  # of one border
    assert set_facts(Drawn([line])).widths[1] == 6.0
    assert math.isnan(set_facts(Drawn([blank()])).widths[0])


def test_shares_regions_and_the_finest_class() -> None:
    labels = blank(64, 64)
    labels[8:24, 8:24] = 2
    labels[40:, 30:32] = 1
    facts = set_facts(Drawn([labels]))
    assert facts.shares == pytest.approx((1 - 304 / 4096, 48 / 4096, 256 / 4096))
    assert facts.region == pytest.approx((16 + math.sqrt(48)) / 2)
    assert facts.finest == pytest.approx(np.median([facts.widths[1], facts.widths[2]]))
    assert facts.smallest == pytest.approx(48 / 4096)
    assert (facts.size, facts.median) == ((64, 64), (64, 64))


def test_objects_that_touch_are_counted() -> None:
    numbers = blank().astype(np.int32)
    for number, left in ((1, 2), (2, 12), (3, 40), (4, 60)):
        numbers[10:20, left : left + 10] = number
    facts = set_facts(Drawn([numbers > 0], numbers=[numbers]))
    assert facts.touching == 0.5
    assert facts.region == 10.0
    assert math.isnan(set_facts(Drawn([numbers > 0])).touching)


def test_streets_have_an_upper_side_and_cells_have_none() -> None:
    street = blank()
    street[30:] = 1
    assert set_facts(Drawn([street] * 6)).upright
    random = np.random.default_rng(0)
    cells = []
    for _ in range(12):
        labels = blank()
        top, left = random.integers(0, 40), random.integers(0, 60)
        labels[top : top + 20, left : left + 20] = 1
        cells.append(labels)
    assert not set_facts(Drawn(cells)).upright


def test_grey_is_where_all_channels_are_equal() -> None:
    grey, colour = np.full((60, 80, 3), 7, np.uint8), np.full((60, 80, 3), 7, np.uint8)
    colour[..., 2] = 9
    assert set_facts(Drawn([blank()], [grey])).grey
    assert not set_facts(Drawn([blank()] * 2, [grey, colour])).grey


def test_the_sample_is_bounded_and_what_cannot_be_read_is_left_out() -> None:
    done: list[tuple[int, int]] = []
    facts = set_facts(Drawn([blank()] * 500, damaged=frozenset({0})), lambda *at: done.append(at))
    assert (facts.pictures, facts.looked_at, done[-1]) == (500, LOOKED_AT - 1, (LOOKED_AT, LOOKED_AT))
    with pytest.raises(DataError, match="is damaged"):
        set_facts(Drawn([blank()] * 2, damaged=frozenset({0, 1})))
