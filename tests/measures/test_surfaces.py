"""Surface distances: numbers by hand, the definition by brute force, and a public package where it is installed."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from fakes import make_folder
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from perpixel.datasets import open_dataset
from perpixel.errors import UsageError
from perpixel.judging.compare import compare
from perpixel.judging.evaluate import evaluate
from perpixel.measures.surfaces import Surfaces, surface, surface_distances

shapes = hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=12)
pairs = shapes.flatmap(lambda shape: st.tuples(*[hnp.arrays(bool, shape)] * 2))


def square(top: int, left: int, side: int, size: tuple[int, int] = (12, 16)) -> np.ndarray:
    mask = np.zeros(size, bool)
    mask[top : top + side, left : left + side] = True
    return mask


def test_the_surface_of_a_square_is_its_outline() -> None:
    assert surface(square(2, 3, 4)).sum() == 12
    assert surface(np.ones((4, 5), bool)).sum() == 14  # the border of the picture is surface


def test_a_square_that_is_shifted() -> None:
    """3 x 3, shifted by 2 columns: of the 8 surface pixels of each the column that both share is at 0, its neighbour at 1 and the
    far one at 2 from the other; and the two of the middle column at 1."""
    hausdorff, average, dice = surface_distances(square(4, 4, 3), square(4, 6, 3), tolerance=1)
    assert (hausdorff, average, dice) == pytest.approx((2, (3 * 2 + 2 * 1) / 8, 5 / 8))


def test_distances_are_in_the_unit_of_the_spacing() -> None:
    masks = square(4, 4, 3), square(4, 6, 3)
    plain, finer = surface_distances(*masks, 1), surface_distances(*masks, 0.5, (3, 0.5))
    assert finer == pytest.approx((plain[0] / 2, plain[1] / 2, plain[2]))


def test_equal_masks_and_empty_ones() -> None:
    one, none = square(1, 1, 5), np.zeros((12, 16), bool)
    assert surface_distances(one, one) == (0, 0, 1)
    assert surface_distances(one, none) == (20, 20, 0) == surface_distances(none, one)  # the diagonal of 12 x 16
    assert all(map(math.isnan, surface_distances(none, none)))


def brute_force(truth: np.ndarray, predicted: np.ndarray, tolerance: float, spacing: tuple[float, float]) -> tuple[float, ...]:
    def outline(mask: np.ndarray) -> np.ndarray:
        padded = np.pad(mask, 1)
        inside = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
        return np.argwhere(mask & ~inside) * spacing

    first, second = outline(truth), outline(predicted)
    between = np.sqrt(((first[:, None] - second[None]) ** 2).sum(2))
    there, back = between.min(1), between.min(0)
    both = np.concatenate([there, back])
    return max(np.percentile(there, 95), np.percentile(back, 95)), both.mean(), (both <= tolerance).mean()


@given(pairs, st.sampled_from([0.0, 1.0, 2.5]), st.sampled_from([(1.0, 1.0), (2.0, 0.5)]))
def test_masks_by_brute_force(masks: tuple[np.ndarray, np.ndarray], tolerance: float, spacing: tuple[float, float]) -> None:
    if all(mask.any() for mask in masks):
        assert surface_distances(*masks, tolerance, spacing) == pytest.approx(brute_force(*masks, tolerance, spacing))
    swapped = surface_distances(*masks[::-1], tolerance, spacing)
    assert surface_distances(*masks, tolerance, spacing) == pytest.approx(swapped, nan_ok=True)


def test_masks_by_monai() -> None:
    """https://monai.io, hausdorff distance of percentile 95 and symmetric average surface distance."""
    monai = pytest.importorskip("monai.metrics", reason="monai is not installed.")
    import torch

    rng = np.random.default_rng(5)
    for _ in range(10):
        masks = [square(*rng.integers(0, 6, 2), int(rng.integers(2, 6))) | (rng.random((12, 16)) > 0.97) for _ in range(2)]
        truth, predicted = (torch.from_numpy(mask[None, None].astype("f4")) for mask in masks)
        hausdorff, average, _ = surface_distances(*masks)
        found = monai.compute_hausdorff_distance(predicted, truth, include_background=True, percentile=95)
        assert hausdorff == pytest.approx(found.item(), rel=1e-5)
        found = monai.compute_average_surface_distance(predicted, truth, include_background=True, symmetric=True)
        assert average == pytest.approx(found.item(), rel=1e-5)


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, list[Path]]:
    """A data set, and masks of it shifted by one and by three rows."""
    root = make_folder(tmp_path / "data", val=4)
    shifted = []
    for rows in (1, 3):
        folder = tmp_path / f"by{rows}"
        folder.mkdir()
        for path in (root / "masks/val").iterdir():
            labels = np.array(Image.open(path))
            labels[labels == 255] = 0
            Image.fromarray(np.roll(labels, rows, 0)).save(folder / path.name)
        shifted.append(folder)
    return root, shifted


def test_a_split_is_judged_compared_and_drawn_from(folders: tuple[Path, list[Path]], command) -> None:
    root, (near, far) = folders
    dataset = open_dataset(root, split="val")
    first, second = (evaluate(folder, dataset, Surfaces(tolerance=1), bootstrap=50) for folder in (near, far))
    assert first.figures["hausdorff95"] < second.figures["hausdorff95"]
    assert first.figures["surface_dice"] > second.figures["surface_dice"]
    assert first.intervals is not None
    interval = first.intervals.figures["surface_distance"]
    assert interval.low <= first.figures["surface_distance"] <= interval.high
    tested = compare([near, far], dataset, Surfaces(tolerance=1), samples_drawn=50)
    assert tested.pairs[0].figures["hausdorff95"].first == first.figures["hausdorff95"]
    code, out, _ = command("evaluate", near, "--data", root, "--surfaces", "--tolerance", 1, "--json")
    assert (code, json.loads(out)["figures"]) == (0, first.to_json()["figures"])
    code, out, _ = command("evaluate", near, "--data", root, "--surfaces", "--spacing", 0.5, 0.5)
    assert (code, "in the unit of pixels of 0.5 x 0.5" in out) == (0, True)


@pytest.mark.parametrize("settings", [{"tolerance": -1}, {"tolerance": math.nan}, {"spacing": (1,)}, {"spacing": (1, 0)}])
def test_settings_that_cannot_be(settings: dict) -> None:
    with pytest.raises(UsageError, match="give"):
        Surfaces(**settings)
