"""What a graph computes around a network, run by torch: pictures at other sizes, and the places where pixels read scores."""

import numpy as np
import pytest
import torch
from PIL import Image

from perpixel.layers.score_map import ScoreMap
from perpixel.limits import LARGEST_SCALE, seen_size
from perpixel.prediction.score_maps import Scores
from perpixel.prediction.score_maps import resized as resized_by_pillow
from perpixel.weights.graph import at_pixels, resized, seen

SCALES = (0.1, 0.25, 0.3, 1 / 3, 0.5, 0.75, 1.3, 2.0, 3.7)


@pytest.mark.parametrize("scale", SCALES)
def test_pictures_are_resized_to_the_bit_as_by_pillow(scale: float) -> None:
    rng = np.random.default_rng(0)
    for size in ((1, 1), (1, 17), (23, 1), (40, 61), (89, 7), (64, 64)):
        image = rng.integers(0, 256, (*size, 3)).astype(np.uint8)
        ours = resized(torch.from_numpy(image)[None], seen(size, scale, None))[0].numpy()
        assert np.array_equal(ours, resized_by_pillow(image, scale))


def test_high_pictures_are_resized_alike_in_all_versions_of_pillow() -> None:
    """Pillow 13 begins with the rows of some pictures that are more than twice as high as wide; columns come first here."""
    image = np.random.default_rng(0).integers(0, 256, (81, 22, 3)).astype(np.uint8)
    columns = Image.fromarray(image).resize((16, 81), Image.Resampling.BILINEAR)
    assert np.array_equal(resized_by_pillow(image, 0.75), np.asarray(columns.resize((16, 61), Image.Resampling.BILINEAR)))


def test_a_graph_and_a_prediction_see_pictures_at_the_same_size() -> None:
    for height in range(1, 700, 3):
        for scale in SCALES:
            assert seen((height, height + 5), scale, None) == seen_size((height, height + 5), scale)
        for width in range(1, 700, 41):
            scale = min(520 / min(height, width), LARGEST_SCALE)
            assert seen((height, width), 1.0, 520) == seen_size((height, width), scale)


def test_halves_are_rounded_to_even_numbers() -> None:
    assert seen_size((5, 7), 0.5) == (2, 4)
    assert seen_size((15, 25), 0.3) == (4, 8)  # 4.5 and 7.5
    assert seen_size((1, 1), 0.1) == (1, 1)


MAPS = {
    "cells of 8": lambda scores, size: ScoreMap.of_cells(scores, 8),
    "on every 8th pixel": lambda scores, size: ScoreMap(scores, 8, 0.0),
    "shifted": lambda scores, size: ScoreMap(scores, 8, 2.3125),
    "from edge to edge": ScoreMap.stretched,
    "from corner to corner": ScoreMap.cornered,
}


@pytest.mark.parametrize("name", MAPS)
@pytest.mark.parametrize("seen_scale", [None, 0.5])
def test_pixels_read_scores_where_a_prediction_reads_them(name: str, seen_scale: float | None) -> None:
    for size in ((5, 7), (40, 61), (97, 64), (1, 9)):
        network_size = size if seen_scale is None else seen_size(size, seen_scale)
        scores = torch.randn(1, 3, *(-(-side // 8) for side in network_size), generator=torch.Generator().manual_seed(0))
        found = MAPS[name](scores, network_size)
        ours = at_pixels(found, size, None if seen_scale is None else network_size)[0].movedim(0, -1).numpy()
        theirs = Scores(scores[0].movedim(0, -1).contiguous().numpy(), found.stride, found.shift, network_size).interpolated(size)
        assert np.abs(ours - theirs).max() < 1e-5
