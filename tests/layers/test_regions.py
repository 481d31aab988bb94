"""Regions and masks between squares and pictures: torchvision's values, a ramp, and what is in memory."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from torchvision.models.detection.roi_heads import paste_masks_in_image, project_masks_on_boxes
from torchvision.ops import MultiScaleRoIAlign, roi_pool
from torchvision.ops.poolers import LevelMapper

from perpixel.layers.regions import expanded, levels_of, mask_in, mask_targets, region_features, soft_mask

STRIDES = (4, 8, 16, 32)


def boxes(count: int, seed: int = 0, size: tuple[int, int] = (256, 320)) -> torch.Tensor:
    """Boxes of all sizes within a picture."""
    random = torch.Generator().manual_seed(seed)
    sides = torch.tensor([size[1], size[0]]) * torch.rand(count, 2, generator=random) ** 2
    corners = (torch.tensor([size[1], size[0]]) - sides) * torch.rand(count, 2, generator=random)
    return torch.cat([corners, corners + sides + 0.5], 1).clamp(max=float(max(size)))


@pytest.mark.parametrize(("side", "level"), [(10, 0), (111, 0), (112, 1), (223, 1), (224, 2), (447, 2), (448, 3), (2000, 3)])
def test_a_region_of_224_pixels_belongs_to_stride_16_and_each_octave_to_the_next(side: int, level: int) -> None:
    assert levels_of(torch.tensor([[5.0, 7, 5 + side, 7 + side]]), STRIDES).tolist() == [level]


def test_levels_are_torchvisions() -> None:
    found = boxes(500, size=(1200, 1200))
    assert torch.equal(levels_of(found, STRIDES), LevelMapper(2, 5)([found]))


def maps() -> list[torch.Tensor]:
    random = torch.Generator().manual_seed(1)
    return [torch.randn(2, 5, 256 // stride, 320 // stride, generator=random) for stride in STRIDES]


def test_aligned_regions_are_torchvisions() -> None:
    levels, given = maps(), [boxes(20), boxes(30, seed=2)]
    pooler = MultiScaleRoIAlign(["0", "1", "2", "3"], 7, 2)
    wanted = pooler({str(number): level for number, level in enumerate(levels)}, given, [(256, 320)] * 2)
    (found,) = region_features(levels, STRIDES, given, 7, "align")
    torch.testing.assert_close(found, wanted)


def test_every_level_is_cut_where_asked_for() -> None:
    levels, given = maps(), [torch.cat([boxes(19), torch.tensor([[4.0, 5, 300, 250]])]), boxes(30, seed=2)]
    (own,), every = (region_features(levels, STRIDES, given, 7, "align", each) for each in (False, True))
    assert [part.shape for part in every] == [(50, 5, 7, 7)] * 4
    place = levels_of(torch.cat(given), STRIDES)
    assert set(place.tolist()) == {0, 1, 2}
    torch.testing.assert_close(torch.stack(every)[place, torch.arange(50)], own)


def test_pooled_regions_are_the_maxima_of_torchvision() -> None:
    level = maps()[2]
    (found,) = region_features([level], (16,), [boxes(9), boxes(0)], 7, "pool")
    assert torch.equal(found, roi_pool(level, [boxes(9), boxes(0)], 7, 1 / 16))


def test_a_ramp_is_cut_out_exactly_by_align_and_not_by_pool() -> None:
    """At the middle of a bin a linear map has the value of the place, in cells: nothing is rounded."""
    rows, columns = torch.meshgrid(torch.arange(64.0), torch.arange(80.0), indexing="ij")
    ramp = torch.stack([rows, columns])[None]
    box = torch.tensor([[13.3, 21.7, 91.1, 144.9]])
    middles = (torch.arange(7.0) + 0.5) / 7
    wanted = [(box[0, axis] + middles * (box[0, axis + 2] - box[0, axis])) / 4 for axis in (1, 0)]
    (found,) = region_features([ramp], (4,), [box], 7, "align")
    torch.testing.assert_close(found[0, 0, :, 0], wanted[0], rtol=0, atol=1e-4)
    torch.testing.assert_close(found[0, 1, 0, :], wanted[1], rtol=0, atol=1e-4)
    (rounded,) = region_features([ramp], (4,), [box], 7, "pool")
    assert (rounded[0, 0, :, 0] - wanted[0]).abs().max() > 0.5


def test_there_may_be_no_region() -> None:
    found = region_features(maps(), STRIDES, [boxes(0), boxes(0)], 7, "align", True)
    assert [part.shape for part in found] == [(0, 5, 7, 7)] * 4


@pytest.mark.parametrize("size", [(96, 120), (40, 50), (48, 133)])
def test_targets_of_masks_are_torchvisions(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    masks = F.interpolate(torch.rand(6, 1, 8, 10), (48, 60), mode="bilinear")[:, 0] > 0.5
    given = boxes(6, size=size)
    given[5] = torch.tensor([0.0, 0, size[1], size[0]])
    resized = F.interpolate(masks[:, None].float(), size)[:, 0]
    wanted = project_masks_on_boxes(resized, given, torch.arange(6), 28)
    found = torch.cat([mask_targets(mask, torch.ones(1), box[None], size, 28) for mask, box in zip(masks, given, strict=True)])
    assert found.std() > 0.1
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)


def test_masks_in_pictures_are_torchvisions() -> None:
    torch.manual_seed(0)
    size = (90, 110)
    given = torch.cat([boxes(8, size=size), torch.tensor([[0.0, 0, 110, 90], [3.2, 4.1, 3.9, 4.2], [100.5, 80.5, 110, 90]])])
    masks = torch.rand(len(given), 28, 28)
    wanted = paste_masks_in_image(masks[:, None], given, size)[:, 0]
    for mask, box, whole in zip(masks, expanded(given, 28), wanted, strict=True):
        pixels, top, left = soft_mask(mask, box, size)
        found = torch.zeros(size)
        found[top : top + pixels.shape[0], left : left + pixels.shape[1]] = pixels
        torch.testing.assert_close(found, whole)
        assert np.array_equal(mask_in(mask, box, size).mask, (whole > 0.5).numpy())


def test_a_mask_takes_the_memory_of_its_box() -> None:
    (place,) = expanded(torch.tensor([[2000.0, 1000, 2100, 1050]]), 28)
    crop = mask_in(torch.ones(28, 28), place, (3000, 4000))
    assert crop.size == (3000, 4000)
    assert crop.bits.nbytes < 1000


def test_a_mask_beside_the_picture_has_no_pixel() -> None:
    (place,) = expanded(torch.tensor([[50.0, 60, 70, 80]]), 28)
    assert mask_in(torch.ones(28, 28), place, (40, 40)).bits.size == 0
