"""Anchors, changes of boxes, matches and samples are torchvision's; the share of a box in a region is that of its pixels."""

import pytest
import torch
from torch import Tensor
from torchvision.models.detection._utils import BoxCoder, Matcher
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import box_iou

from perpixel.layers import anchors as module
from perpixel.layers.anchors import BETWEEN, NEGATIVE, anchors, decode, encode, matched, share_inside

CPU = torch.device("cpu")


def boxes(count: int, side: float = 100.0, seed: int = 0) -> Tensor:
    """Random boxes with sides of 1 pixel or more."""
    random = torch.Generator().manual_seed(seed)
    corners = torch.rand(count, 2, generator=random) * side
    return torch.cat([corners, corners + 1 + torch.rand(count, 2, generator=random) * side / 2], 1)


@pytest.mark.parametrize(
    ("size", "shapes", "sides"),
    [
        ((64, 96), [(16, 24), (8, 12), (4, 6), (2, 3), (1, 2)], [(32,), (64,), (128,), (256,), (512,)]),
        ((800, 1344), [(13, 21)], [(512,)]),  # where the stride is 61 by 64
        ((64, 96), [(4, 6)], [(32, 64, 128, 256, 512)]),
    ],
)
def test_anchors_are_torchvisions(size: tuple[int, int], shapes: list[tuple[int, int]], sides: list[tuple[int, ...]]) -> None:
    generator = AnchorGenerator(tuple(sides), ((0.5, 1.0, 2.0),) * len(sides))
    maps = [torch.zeros(1, 1, *shape) for shape in shapes]
    (wanted,) = generator(ImageList(torch.zeros(1, 3, *size), [size]), maps)
    found = anchors(shapes, size, sides, CPU)
    assert [len(level) for level in found] == [3 * len(of) * h * w for of, (h, w) in zip(sides, shapes, strict=True)]
    assert torch.equal(torch.cat(found), wanted)


def test_an_anchor_by_hand() -> None:
    """Twice as wide as high with an area of 32 x 32: 45.25 x 22.63, rounded from the centre; then 32 x 32, then upright."""
    (found,) = anchors([(1, 2)], (8, 16), [(32,)], CPU)
    assert found[:3].tolist() == [[-23, -11, 23, 11], [-16, -16, 16, 16], [-11, -23, 11, 23]]
    assert torch.equal(found[3:] - found[:3], torch.tensor([8.0, 0, 8, 0]).expand(3, 4))


@pytest.mark.parametrize("weights", [(1.0, 1.0, 1.0, 1.0), (10.0, 10.0, 5.0, 5.0)])
def test_changes_are_torchvisions_and_bring_boxes_to_their_objects(weights: tuple[float, ...]) -> None:
    here, there = boxes(50), boxes(50, seed=1)
    coder = BoxCoder(weights)
    changes = encode(there, here, weights)
    torch.testing.assert_close(changes, coder.encode_single(there, here))
    torch.testing.assert_close(decode(changes, here, weights), there, rtol=1e-4, atol=1e-3)
    huge = changes * 100
    torch.testing.assert_close(decode(huge, here, weights), coder.decode_single(huge, here), rtol=1e-4, atol=1e-2)


@pytest.mark.parametrize("at_once", [1, 300, 1 << 24])
@pytest.mark.parametrize(("high", "low", "each"), [(0.7, 0.3, True), (0.5, 0.5, False)])
def test_matches_are_torchvisions(high: float, low: float, each: bool, at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "AT_ONCE", at_once)
    objects, found = boxes(12), torch.cat([boxes(12) + torch.randn(12, 4), boxes(100, seed=2)])
    wanted = Matcher(high, low, each)(box_iou(objects, found))
    assert torch.equal(matched(objects, found, high, low, each), wanted)
    assert (wanted >= 0).any()
    assert (wanted == NEGATIVE).any()
    assert (wanted == BETWEEN).any() == (low < high)


def test_without_objects_every_box_is_background() -> None:
    assert matched(torch.zeros(0, 4), boxes(5), 0.7, 0.3, each=True).tolist() == [NEGATIVE] * 5
    assert matched(boxes(5), torch.zeros(0, 4), 0.7, 0.3, each=True).shape == (0,)


def test_an_object_that_no_box_touches_matches_none() -> None:
    """Where torchvision gives it every box that it does not touch."""
    here, far = torch.tensor([[0.0, 0, 10, 10]]), torch.tensor([[50.0, 50, 60, 60]])
    assert matched(far, here, 0.7, 0.3, each=True).tolist() == [NEGATIVE]


def test_the_share_of_a_box_in_a_region() -> None:
    torch.manual_seed(0)
    region = torch.rand(30, 40) < 0.4
    found = boxes(200, 60.0, seed=3) - 10
    for box, share in zip(found.round().long().tolist(), share_inside(found, region).tolist(), strict=True):
        left, top = min(max(box[0], 0), 39), min(max(box[1], 0), 29)
        pixels = region[top : max(min(box[3], 30), top + 1), left : max(min(box[2], 40), left + 1)]
        assert share == pytest.approx(pixels.float().mean().item())


def test_a_box_beside_the_picture_counts_by_the_nearest_pixels() -> None:
    region = torch.zeros(4, 5, dtype=torch.bool)
    region[0, 0] = True
    outside = torch.tensor([[-9.0, -9, -3, -3], [9, 9, 20, 20], [-9, 2, -3, 3]])
    assert share_inside(outside, region).tolist() == [1, 0, 0]
    assert share_inside(outside, torch.ones_like(region)).tolist() == [1, 1, 1]
