"""Boxes merged into one map: by hand, by the formulas written out in NumPy, and by Pillow's own interpolation."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor, nn

from perpixel.networks import Network
from perpixel.prediction import by_boxes
from perpixel.prediction.by_boxes import BATCH, MERGES, chosen, merged_parts, merges
from perpixel.prediction.symmetries import ALL, FLIPS, Symmetry


class Made(nn.Module):
    """A network for squares of `side` that answers as it is told; keeps what it was shown."""

    def __init__(self, side: int) -> None:
        super().__init__()
        self.side, self.shown = side, []
        self.weight = nn.Parameter(torch.zeros(1))

    def answer(self, images: Tensor) -> Tensor:
        raise NotImplementedError

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        self.shown.append(images.clone())
        return {"logits": self.answer(images)}


class Constants(Made):
    """The n-th box gets the n-th row of `table` at each pixel."""

    def __init__(self, table: Sequence[Sequence[float]], side: int = 2) -> None:
        super().__init__(side)
        self.table = torch.tensor(table, dtype=torch.float32)

    def answer(self, images: Tensor) -> Tensor:
        first = sum(len(batch) for batch in self.shown) - len(images)
        return self.table[first : first + len(images), :, None, None].expand(-1, -1, self.side, self.side)


class Colours(Made):
    """Scores of three classes: red, green and blue in 0..255."""

    def answer(self, images: Tensor) -> Tensor:
        return images * 255


class Place(Made):
    """One class, whose score is 1 at the top left pixel and 0 elsewhere, whatever is shown."""

    def answer(self, images: Tensor) -> Tensor:
        scores = torch.zeros(len(images), 1, self.side, self.side)
        scores[:, :, 0, 0] = 1
        return scores


def merged(network: Network, image: np.ndarray, boxes: Sequence[Sequence[int]], merge: str, classes: int,
           counts: Sequence[int] = (100,), symmetries: Sequence[Symmetry] = ALL[:1]) -> list[np.ndarray]:  # fmt: skip
    found = merges(network, classes, image, np.array(boxes, np.int64).reshape(-1, 4), counts, merge, symmetries)
    return [scores.numpy().copy() for _, scores in found]


def black(height: int, width: int) -> np.ndarray:
    return np.zeros((height, width, 3), np.uint8)


TWO = [(0, 0, 3, 3), (1, 1, 4, 4)]  # they share the four pixels in the middle of a 4x4 picture
SAY = [[2, -1, -5], [1, 3, -2]]
HAND = {  # by class, over the picture
    "max": ([[2, 2, 2, 0], [2, 2, 2, 1], [2, 2, 2, 1], [0, 1, 1, 1]],
            [[0, 0, 0, 0], [0, 3, 3, 3], [0, 3, 3, 3], [0, 3, 3, 3]],
            [[0, 0, 0, 0], [0, -2, -2, 0], [0, -2, -2, 0], [0, 0, 0, 0]]),
    "sum": ([[2, 2, 2, 0], [2, 3, 3, 1], [2, 3, 3, 1], [0, 1, 1, 1]],
            [[-1, -1, -1, 0], [-1, 2, 2, 3], [-1, 2, 2, 3], [0, 3, 3, 3]],
            [[-5, -5, -5, 0], [-5, -7, -7, -2], [-5, -7, -7, -2], [0, -2, -2, -2]]),
    "released": ([[2, 2, 2, 0], [2, 2, 2, 1], [2, 2, 2, 1], [0, 1, 1, 1]],
                 [[0, 0, 0, 0], [0, 3, 3, 3], [0, 3, 3, 3], [0, 3, 3, 3]],
                 [[0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]),
}  # fmt: skip


class TestByHand:
    @pytest.mark.parametrize("merge", MERGES)
    def test_two_boxes(self, merge: str) -> None:
        assert merged(Constants(SAY), black(4, 4), TWO, merge, 3)[0].tolist() == [list(map(list, one)) for one in HAND[merge]]

    @pytest.mark.parametrize("merge", MERGES)
    def test_each_number_of_boxes_on_the_way(self, merge: str) -> None:
        found = merged(Constants(SAY), black(4, 4), TWO, merge, 3, counts=(1, 2, 7))
        alone = merged(Constants(SAY[:1]), black(4, 4), TWO[:1], merge, 3)[0]
        assert np.array_equal(found[0], alone)
        assert found[1].tolist() == found[2].tolist() == [list(map(list, one)) for one in HAND[merge]]

    @pytest.mark.parametrize("merge", MERGES)
    def test_no_box_is_zero_all_over(self, merge: str) -> None:
        assert not merged(Constants(SAY), black(2, 3), [], merge, 3)[0].any()

    def test_a_box_that_leaves_the_picture_is_black_there_and_cut(self) -> None:
        image = np.full((2, 2, 3), 255, np.uint8)
        network = Colours(4)
        found = merged(network, image, [(-1, -1, 3, 3)], "sum", 3)[0]
        shown = np.zeros((4, 4))
        shown[1:3, 1:3] = 1
        assert network.shown[0][0].tolist() == [shown.tolist()] * 3
        assert found.tolist() == np.full((3, 2, 2), 255).tolist()

    def test_it_is_not_cut_one_pixel_too_far_up_and_left(self) -> None:
        for top, left in ((0, 0), (3, 2), (5, 6)):
            found = merged(Place(2), black(8, 9), [(top, left, top + 2, left + 2)], "released", 1)[0]
            assert np.argwhere(found[0]).tolist() == [[top, left]]

    def test_batches_of_a_few(self) -> None:
        network = Constants([[float(i)] for i in range(2 * BATCH + 3)])
        found = merged(network, black(1, 2 * BATCH + 3), [(0, i, 1, i + 1) for i in range(2 * BATCH + 3)], "sum", 1)[0]
        assert [len(batch) for batch in network.shown] == [BATCH, BATCH, 3]
        assert found[0, 0].tolist() == list(range(2 * BATCH + 3))

    def test_only_as_many_boxes_are_run_as_are_merged(self) -> None:
        network = Constants([[1.0]] * 40)
        merged(network, black(1, 40), [(0, i, 1, i + 1) for i in range(40)], "sum", 1, counts=(2, 5))
        assert len(network.shown) == 1


@st.composite
def cases(draw: st.DrawFn) -> tuple[tuple[int, int], list[tuple[int, ...]], list[list[float]]]:
    """Boxes that meet a picture of the size, and a constant of three classes for each."""
    height, width = draw(st.integers(1, 6)), draw(st.integers(1, 6))
    boxes, table = [], []
    for _ in range(draw(st.integers(1, 5))):
        top, left = draw(st.integers(-3, height - 1)), draw(st.integers(-3, width - 1))
        bottom, right = draw(st.integers(max(top, 0) + 1, height + 3)), draw(st.integers(max(left, 0) + 1, width + 3))
        boxes.append((top, left, bottom, right))
        table.append(draw(st.lists(st.integers(-9, 9).map(float), min_size=3, max_size=3)))
    return (height, width), boxes, table


class TestOracles:
    @given(case=cases(), merge=st.sampled_from(sorted(MERGES)))
    def test_the_formulas_written_out(self, case, merge: str) -> None:
        (height, width), boxes, table = case
        maps = []
        for (top, left, bottom, right), row in zip(boxes, table, strict=True):
            frame = np.zeros((3, height + 20, width + 20), np.float32)  # g_i, zeros outside of the box
            frame[:, top + 10 : bottom + 10, left + 10 : right + 10] = np.array(row, np.float32)[:, None, None]
            maps.append(frame[:, 10:-10, 10:-10])
        expected = {
            "max": lambda: np.max(maps, axis=0),
            "sum": lambda: np.sum(maps, axis=0),
            "released": lambda: np.max([np.zeros_like(maps[0]), *maps], axis=0),
        }[merge]()
        assert np.array_equal(merged(Constants(table), black(height, width), boxes, merge, 3)[0], expected)

    @pytest.mark.parametrize("size", [(16, 16), (40, 27), (9, 12)], ids=["as it is", "larger", "smaller"])
    def test_a_box_is_resized_both_ways_as_pillow_does(self, size: tuple[int, int]) -> None:
        """`imresize` of MATLAB is bilinear and antialiased where it shrinks, like Pillow's."""
        height, width = size
        image = np.random.default_rng(0).integers(0, 256, (50, 50, 3)).astype(np.uint8)
        network = Colours(16)
        found = merged(network, image, [(3, 4, 3 + height, 4 + width)], "sum", 3)[0]
        box = Image.fromarray(image[3 : 3 + height, 4 : 4 + width])
        seen = np.asarray(box.resize((16, 16), Image.Resampling.BILINEAR))
        assert (network.shown[0][0] * 255).round().byte().movedim(0, -1).numpy().tolist() == seen.tolist()
        for channel in range(3):
            there = Image.fromarray(seen[..., channel].astype(np.float32))
            expected = np.asarray(there.resize((width, height), Image.Resampling.BILINEAR))
            np.testing.assert_allclose(found[channel, 3 : 3 + height, 4 : 4 + width], expected, atol=1e-3)

    def test_the_mean_over_flips_of_each_box(self) -> None:
        """The network answers at the top left of what it is shown: once in each corner of the box, a quarter each."""
        found = merged(Place(3), black(5, 5), [(1, 1, 4, 4)], "sum", 1, symmetries=FLIPS)[0][0]
        assert found.tolist() == [[0] * 5, [0, 0.25, 0, 0.25, 0], [0] * 5, [0, 0.25, 0, 0.25, 0], [0] * 5]


class TestChosen:
    def test_whole_pixels_enlarged_about_the_centre(self) -> None:
        found = chosen(black(100, 80), "sliding", "max")
        assert found.dtype == np.int64
        assert (found[:, 2:] > found[:, :2]).all()
        whole = [box for box in found.tolist() if box == [-10, -8, 110, 88]]
        assert whole  # the whole picture, 1.2 times as large

    def test_the_released_code_passes_small_boxes_over(self) -> None:
        image = black(300, 400)
        every, large = chosen(image, "sliding", "max"), chosen(image, "sliding", "released")
        sides = (every[:, 2:] - every[:, :2]).min(1)
        assert (sides < 112).any()
        assert large.tolist() == every[sides >= 112].tolist()

    def test_none_is_left_of_a_small_picture(self) -> None:
        assert chosen(black(60, 60), "sliding", "released").shape == (0, 4)


class Noise(Made):
    """Scores of four classes, another for each pixel of each box."""

    def answer(self, images: Tensor) -> Tensor:
        return torch.randn(len(images), 4, self.side, self.side, generator=torch.Generator().manual_seed(len(self.shown)))


@pytest.mark.parametrize("merge", MERGES)
@pytest.mark.parametrize("rows", [1, 7, 1000])
def test_strips_of_a_large_picture_are_those_of_the_whole(monkeypatch: pytest.MonkeyPatch, merge: str, rows: int) -> None:
    """Boxes that lie apart and above each other, leave the picture, are larger and smaller than the network's side, and one that
    holds every pixel; and no box at all."""
    image = np.zeros((40, 50, 3), np.uint8)
    boxes = np.array([[-3, -2, 45, 55], [5, 6, 25, 30], [20, 10, 24, 48], [30, 30, 60, 70], [0, 0, 4, 5], [-9, 3, 9, 4]])
    for held in (boxes, boxes[:1], boxes[:0]):
        ((_, expected),) = merges(Noise(8), 4, image, held, [len(held)], merge, ALL[:1])
        monkeypatch.setattr(by_boxes, "AT_ONCE", rows * 4 * 50)
        parts = [*merged_parts(Noise(8), 4, image, held, merge, ALL[:1])]
        assert [window for window, _ in parts] == [(top, 0, min(top + rows, 40), 50) for top in range(0, 40, rows)]
        found = np.concatenate([scores for _, scores in parts])
        np.testing.assert_allclose(found, expected.movedim(0, 2).numpy(), rtol=0, atol=1e-5)
