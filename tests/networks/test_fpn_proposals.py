"""FPN's mask proposals: parameters, which cell learns which object, losses by hand, decoding, and whatever data may hold."""

import json
from contextlib import nullcontext
from itertools import product
from math import floor, sqrt
from pathlib import Path

import numpy as np
import pytest
import torch
from fakes import make_instances
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

import perpixel
from perpixel.cli import main
from perpixel.errors import Interrupted, UsageError
from perpixel.files import MODEL_FILE
from perpixel.measures.instances import Ranking, results_of, truth_of
from perpixel.networks import as_network, build, finds_objects, labels_pixels
from perpixel.networks.fpn_proposals import (
    BACKGROUND,
    NOTHING,
    FPNProposals,
    assigned,
    drawn,
    examples,
    planes_of,
    shares,
    windows_of,
)  # fmt: skip
from perpixel.sample import Instances, InstanceTargets, Targets
from perpixel.training import train as training
from perpixel.training.recipe import Recipe
from perpixel.training.train import train

VOID = 255
SMALL = {"width": 0.05, "mask_side": 14}


def on_meta(**arguments):
    with torch.device("meta"):
        return build("fpn_proposals", 81, **arguments).eval()


def small(classes=2, **arguments):
    torch.manual_seed(0)
    return build("fpn_proposals", classes, **{**SMALL, **arguments}).eval()


def parameters(network):
    return sum(parameter.numel() for parameter in network.parameters())


def pictures(size, count=1, seed=0):
    return torch.rand(count, 3, *size, generator=torch.Generator().manual_seed(seed))


def objects_of(size, boxes, crowd=()):
    """Rectangles left, top, right, bottom in a picture of `size`."""
    numbers = torch.zeros(size, dtype=torch.int32)
    for number, (left, top, right, bottom) in enumerate(boxes, start=1):
        numbers[max(0, top) : max(0, bottom), max(0, left) : max(0, right)] = number
    crowds = torch.tensor([number in crowd for number in range(len(boxes))], dtype=torch.bool)
    boxes = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    return InstanceTargets(boxes, numbers, torch.ones(len(boxes), dtype=torch.int64), crowds)


def targets_of(size, boxes, crowd=()):
    return Targets(torch.ones(1, *size, dtype=torch.int64), None, (objects_of(size, boxes, crowd),))


def planes_for(size, kernels=(5, 7)):
    sizes = [(-(-size[0] // stride), -(-size[1] // stride)) for stride in (4, 8, 16, 32, 64)]
    return planes_of(kernels, sizes)


# Sizes


@pytest.mark.parametrize(
    ("arguments", "count"),
    [
        ({}, 30_246_498),
        ({"mask_side": 14}, 23_508_032 + 1_082_368 + 1_739_973 + 3_312_837),
        ({"kernels": (5,)}, 23_508_032 + 1_082_368 + 2_041_617),
        ({"kernels": (7,), "mask_side": 14}, 23_508_032 + 1_082_368 + 3_312_837),
    ],
)
def test_the_number_of_parameters(arguments, count):
    assert parameters(on_meta(**arguments)) == count


def test_the_parts_of_the_count():
    network = on_meta()
    assert parameters(network.trunk) == 23_508_032
    assert parameters(network.pyramid) == 1_082_368
    assert [parameters(head) for head in network.heads] == [2_041_617, 3_614_481]


def test_windows_are_those_of_the_paper():
    planes = planes_for((512, 512))
    windows = []
    for plane in planes:
        left, top, right, bottom = windows_of(torch.tensor([plane.start]), planes)[0].tolist()
        assert (left + right) / 2 == pytest.approx(plane.stride / 2)
        assert (top + bottom) / 2 == pytest.approx(plane.stride / 2)
        windows.append(right - left)
    assert windows == pytest.approx([40, 80, 160, 320, 640, *(side * sqrt(2) for side in (40, 80, 160, 320, 640))])


def test_p6_is_every_second_cell_of_p5():
    network = on_meta(kernels=(5,))
    images = torch.empty(1, 3, 320, 448, device="meta")
    _, planes = network._hidden(images)
    assert [(plane.rows, plane.columns, plane.stride) for plane in planes] == [
        (80, 112, 4), (40, 56, 8), (20, 28, 16), (10, 14, 32), (5, 7, 64),
    ]  # fmt: skip
    found = network(images)
    assert found["scores"].shape == (1, planes[-1].stop)
    assert found["masks"].shape == (1, planes[-1].stop, 28, 28)


# Which cell learns what


def owners(size, boxes, kernels=(5, 7), crowd=(), labels=None):
    """The cells with an object: kernel, stride, row, column -> number of the object."""
    planes = planes_for(size, kernels)
    judged = torch.ones(size, dtype=torch.bool) if labels is None else labels != VOID
    truth = assigned(objects_of(size, boxes, crowd), judged, planes)
    found = {}
    for place, plane in enumerate(planes):
        for cell in range(plane.start, plane.stop):
            if truth[cell] >= 0:
                row, column = divmod(cell - plane.start, plane.columns)
                found[kernels[place // 5], plane.stride, row, column] = int(truth[cell])
    return found


def test_the_four_cells_around_a_centre_by_hand():
    # The centre is at 32, 32; cells of stride 4 have theirs at 30 and 34.
    assert owners((128, 128), [(16, 16, 48, 48)]) == {(5, 4, row, column): 0 for row, column in product((7, 8), (7, 8))}
    # At 34, 34 a centre is met, and the next ones are a cell away.
    assert owners((128, 128), [(18, 18, 50, 50)]) == {(5, 4, 8, 8): 0}


@pytest.mark.parametrize(
    ("longer", "kernel", "stride"),
    [(1, 5, 4), (32, 5, 4), (38, 5, 4), (39, 7, 4), (53, 7, 4), (54, 5, 8), (64, 5, 8), (91, 7, 8), (128, 5, 16), (256, 5, 32),
     (512, 5, 64), (609, 7, 64), (724, 7, 64), (900, 7, 64)],
)  # fmt: skip
def test_the_longer_side_says_level_and_head(longer, kernel, stride):
    # The nearest in log space: 32 and 45.25 part at 38.05, 45.25 and 64 at 53.8, 512 and 724 at 608.9.
    found = owners((1000, 1000), [(3, 5, 3 + longer, 5 + max(1, longer // 3))])
    assert {cell[:2] for cell in found} == {(kernel, stride)}


@pytest.mark.parametrize(("kernel", "longer", "stride"), [(5, 45, 4), (5, 46, 8), (7, 63, 4), (7, 65, 8)])
def test_one_head_alone_takes_all_sizes(kernel, longer, stride):
    assert {cell[:2] for cell in owners((200, 200), [(0, 0, longer, 9)], (kernel,))} == {(kernel, stride)}


boxes_anywhere = st.lists(
    st.tuples(st.integers(-20, 90), st.integers(-20, 90), st.integers(1, 120), st.integers(1, 120)), max_size=5
)


@settings(max_examples=40, deadline=None)
@given(boxes_anywhere, st.sampled_from([(5, 7), (7, 5), (5,), (7,)]))
def test_a_loop_over_cells_gives_the_same(drawn_boxes, kernels):
    size = (96, 80)
    boxes = [(left, top, left + wide, top + high) for left, top, wide, high in drawn_boxes]
    drawn = np.full(size, -1)
    for number, (left, top, right, bottom) in enumerate(boxes):
        drawn[max(0, top) : max(0, bottom), max(0, left) : max(0, right)] = number
    shown = sorted({*drawn.ravel().tolist()} - {-1})  # what others cover, or lies outside, has no pixel to be found by
    expected = {}
    classes = [(kernel, stride, (32 if kernel == 5 else 32 * 2**0.5) * stride / 4)
               for kernel in kernels for stride in (4, 8, 16, 32, 64)]  # fmt: skip
    for kernel, stride, _ in classes:
        for row, column in product(range(-(-size[0] // stride)), range(-(-size[1] // stride))):
            best = None
            for number in shown:
                left, top, right, bottom = boxes[number]
                longer = max(right - left, bottom - top)
                nearest = min(classes, key=lambda one: abs(np.log(longer) - np.log(one[2])))
                down, across = ((row + 0.5) * stride - (top + bottom) / 2, (column + 0.5) * stride - (left + right) / 2)
                if nearest[:2] == (kernel, stride) and abs(down) < stride and abs(across) < stride:
                    distance = down**2 + across**2
                    if best is None or distance < best[0]:
                        best = (distance, number)
            if best is not None:
                expected[kernel, stride, row, column] = best[1]
    assert owners(size, boxes, kernels) == expected


def test_cells_in_crowds_and_on_void_learn_nothing_and_crowds_are_no_objects():
    size, labels = (64, 64), torch.ones(64, 64, dtype=torch.int64)
    labels[:, 48:] = VOID
    planes = planes_for(size)
    truth = assigned(objects_of(size, [(0, 0, 32, 64), (36, 20, 44, 28)], crowd=(0,)), labels != VOID, planes)
    for plane in planes:
        for row, column in product(range(plane.rows), range(plane.columns)):
            x, y = (min(63, floor((place + 0.5) * plane.stride)) for place in (column, row))
            learned = int(truth[plane.start + row * plane.columns + column])
            if learned == 1:
                assert abs(x - 40) <= 4
                assert abs(y - 24) <= 4
            else:
                assert learned == (BACKGROUND if 32 <= x < 48 else NOTHING)
    assert (truth == 1).sum() == 4
    assert (truth != 0).all()


def test_an_object_all_of_whose_pixels_are_void_is_of_no_cell():
    labels = torch.full((64, 64), VOID)
    assert owners((64, 64), [(16, 16, 48, 48)], labels=labels) == {}
    labels[47, 47] = 1  # one pixel of it is judged
    assert len(owners((64, 64), [(16, 16, 48, 48)], labels=labels)) == 4


@pytest.mark.parametrize(
    ("positive", "negative", "chosen"),
    [(100, 1000, (32, 96)), (10, 1000, (10, 118)), (0, 1000, (0, 128)), (100, 20, (32, 20)), (0, 0, (0, 0)), (3, 50, (3, 50))],
)
def test_a_quarter_of_128_examples_is_positive_at_most(positive, negative, chosen):
    truth = torch.cat([torch.arange(positive), torch.full((negative,), BACKGROUND), torch.full((77,), NOTHING)])
    found = truth[examples(truth)]
    assert ((found >= 0).sum(), (found == BACKGROUND).sum()) == chosen
    assert len(found) == sum(chosen)
    assert len(found[found >= 0].unique()) == chosen[0]


# What a mask is taught


def test_shares_by_hand():
    masks = torch.zeros(2, 16, 16, dtype=torch.bool)
    masks[0, 4:8, 4:10] = True
    windows = torch.tensor([[4.0, 4.0, 12.0, 12.0], [-4.0, -4.0, 4.0, 4.0]])
    ours, nothing = shares(masks, windows, 4).view(2, 4, 4)
    assert ours.tolist() == [[1, 1, 1, 0], [1, 1, 1, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
    assert not nothing.any()
    moved = shares(masks[:1], torch.tensor([[5.0, 5.0, 13.0, 13.0]]), 4).view(4, 4)
    assert moved.tolist() == [[1, 1, 0.5, 0], [0.5, 0.5, 0.25, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
    inside = shares(torch.ones(1, 16, 16, dtype=torch.bool), windows, 4).view(2, 4, 4)
    assert inside[1].tolist() == [[0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 1, 1], [0, 0, 1, 1]]
    assert (inside[0] == 1).all()


@settings(deadline=None)
@given(st.integers(1, 12), st.floats(-20, 20), st.floats(-20, 20), st.floats(2, 40))
def test_the_shares_of_all_cells_sum_to_the_pixels_in_the_window(side, left, top, longer):
    mask = torch.rand(13, 17) < 0.5
    window = torch.tensor([[left, top, left + longer, top + longer]])
    found = shares(mask[None], window, side).double().sum() * (longer / side) ** 2
    rows, columns = (
        [max(0.0, min(start + longer, pixel + 1) - max(start, pixel)) for pixel in range(pixels)]
        for start, pixels in ((top, 13), (left, 17))
    )
    assert float(found) == pytest.approx(float(mask.numpy() * np.outer(rows, columns) @ np.ones(17) @ np.ones(13)), abs=1e-2)


def by_hand(network, images, targets):
    """The losses where every cell with a truth is an example: as many as 128, and 32 of them positive."""
    found, (_, planes) = network(images), network._hidden(images)
    score, count, mask, weight = 0.0, 0, 0.0, 0.0
    for picture, objects in enumerate(targets.instances):
        judged = targets.labels[picture] != VOID
        truth = assigned(objects, judged, planes)
        used = (truth != NOTHING).nonzero().flatten().tolist()
        assert len(used) <= 128
        for cell in used:
            known = float(truth[cell] >= 0)
            score = score + F.binary_cross_entropy_with_logits(found["scores"][picture, cell], torch.tensor(known))
            count += 1
            if known:
                window = windows_of(torch.tensor([cell]), planes)
                of_object, judged_share = (
                    shares(mask_of[None], window, network.mask_side)[0]
                    for mask_of in ((objects.numbers == truth[cell] + 1) & judged, judged)
                )
                wanted = torch.where(judged_share > 0, of_object / judged_share.clamp(min=1e-9), 0).clamp(max=1)
                losses = F.binary_cross_entropy_with_logits(found["masks"][picture, cell].flatten(), wanted, reduction="none")
                mask, weight = mask + (losses * judged_share).sum(), weight + judged_share.sum()
    return {"score": score / max(1, count), "mask": 10 * mask / max(1.0, float(weight))}


def test_the_losses_by_hand():
    network, images, size = small(), pictures((24, 24), count=2), (24, 24)
    labels = torch.ones(2, *size, dtype=torch.int64)
    labels[0, :, 21:] = VOID
    targets = Targets(labels, None, (objects_of(size, [(4, 4, 20, 20), (2, 10, 23, 21)]), objects_of(size, [(0, 0, 9, 24)])))
    for layer in (head.mask for head in network.heads):
        torch.nn.init.normal_(layer.weight, std=0.5)
    found, expected = network.losses(images, targets), by_hand(network, images, targets)
    assert list(found) == ["score", "mask"]
    torch.testing.assert_close(found, {name: value.float() for name, value in expected.items()}, rtol=1e-4, atol=1e-5)
    assert found["mask"] > 1


def test_masks_at_the_start_cost_ten_times_the_logarithm_of_two():
    network = small()
    for head in network.heads:
        torch.nn.init.zeros_(head.mask.weight)
    found = network.losses(pictures((64, 64)), targets_of((64, 64), [(16, 16, 48, 48)]))
    assert found["mask"].item() == pytest.approx(10 * np.log(2), rel=1e-5)


def test_pixels_that_are_void_change_no_loss_and_no_gradient():
    """What lies on void may be object or not."""
    network, images = small(), pictures((32, 32))
    found = []
    for right in (20, 32):
        targets = targets_of((32, 32), [(4, 8, right, 24)])
        targets.labels[..., 20:] = VOID
        boxes = torch.tensor([[4.0, 8, 20, 24]])
        seen = InstanceTargets(boxes, *list(vars(targets.instances[0]).values())[1:])
        network.zero_grad()
        torch.manual_seed(1)
        losses = network.losses(images, Targets(targets.labels, None, (seen,)))
        sum(losses.values()).backward()
        found.append([*losses.values(), *(parameter.grad.clone() for parameter in network.parameters())])
    assert all(torch.allclose(one, other, atol=1e-6) for one, other in zip(*found, strict=True))
    assert found[0][1] > 0


def test_a_batch_that_is_all_void_gives_0():
    network, targets = small(), targets_of((33, 47), [(4, 4, 20, 20)])
    targets.labels.fill_(VOID)
    loss = sum(network.losses(pictures((33, 47)), targets).values())
    loss.backward()
    assert loss.item() == 0
    assert all(parameter.grad is not None and not parameter.grad.any() for parameter in network.parameters())


# What is found


def drawn_by_a_loop(mask, window, size):
    """Pixels whose centre lies in the window and where the mask, interpolated between the centres of its cells, is above 0.5."""
    left, top, right, bottom = window
    side, pixels = len(mask), np.zeros(size, bool)
    for row, column in product(range(size[0]), range(size[1])):
        y, x = (row + 0.5 - top) / (bottom - top), (column + 0.5 - left) / (right - left)
        if 0 <= y <= 1 and 0 <= x <= 1:
            y, x = (min(max(place * side - 0.5, 0), side - 1) for place in (y, x))
            low, near = int(y), int(x)
            high, far = min(low + 1, side - 1), min(near + 1, side - 1)
            down, across = y - low, x - near
            value = (mask[low, near] * (1 - down) * (1 - across) + mask[low, far] * (1 - down) * across
                     + mask[high, near] * down * (1 - across) + mask[high, far] * down * across)  # fmt: skip
            pixels[row, column] = value > 0.5
    return pixels


@pytest.mark.parametrize("size", [(30, 40), (17, 53), (3, 2)])
def test_masks_are_drawn_as_by_a_loop_over_pixels(size):
    torch.manual_seed(0)
    masks, seen = torch.rand(6, 4, 4), (30, 40)
    corners = torch.tensor([[0.0, 0.0], [-9.3, 4.7], [33.1, 22.2], [10.5, -15.5], [60.0, 60.0], [-70.0, 3.0]])
    windows = torch.cat([corners, corners + 20], 1)
    found = list(drawn(masks, windows, seen, size))
    for mask, window, crop in zip(masks, windows, found, strict=True):
        scaled = [edge * size[axis] / seen[axis] for edge, axis in zip(window.tolist(), (1, 0, 1, 0), strict=True)]
        assert crop.size == size
        assert np.array_equal(crop.mask, drawn_by_a_loop(mask.numpy(), scaled, size))


@torch.inference_mode()
def test_detect_decodes_the_cells_with_the_highest_scores_as_the_dense_masks_are():
    network, images = small(), pictures((48, 40), count=2)
    for head in network.heads:
        torch.nn.init.normal_(head.mask.weight, std=0.1)
        torch.nn.init.normal_(head.score.weight, std=0.1)
    dense, (_, planes) = network(images), network._hidden(images)
    for picture, found in enumerate(network.detect(images)):
        scores, cells = dense["scores"][picture].sort(descending=True, stable=True)
        expected = []
        for score, cell in zip(scores.sigmoid().tolist(), cells.tolist(), strict=True):
            window = windows_of(torch.tensor([cell]), planes)[0].tolist()
            mask = drawn_by_a_loop(dense["masks"][picture, cell].sigmoid().numpy(), window, (48, 40))
            if mask.any():
                expected.append((score, mask))
        assert found.size == (48, 40)
        assert found.scores.tolist() == pytest.approx([score for score, _ in expected], abs=1e-5)
        agree = [np.array_equal(found.mask(rank), mask) for rank, (_, mask) in enumerate(expected)]
        assert np.mean(agree) > 0.95  # two scores, or a value and 0.5, may be equal but for rounding
        assert set(found.class_ids.tolist()) == {1}


@torch.inference_mode()
def test_at_most_a_thousand_are_found_and_nothing_is_suppressed():
    network, images = small(), pictures((128, 128))
    for head in network.heads:
        torch.nn.init.ones_(head.mask.bias)  # every window is an object
    (found,) = network.detect(images)
    assert len(found.class_ids) == 1000
    assert (np.diff(found.scores) <= 0).all()
    assert found.scores.dtype == np.float32


@pytest.mark.parametrize(("classes", "class_id"), [(1, 0), (2, 1), (81, 1)])
def test_every_object_has_the_first_class_that_is_no_background(classes, class_id):
    network = small(classes)
    for head in network.heads:
        torch.nn.init.ones_(head.mask.bias)
    assert set(network.detect(pictures((16, 16)))[0].class_ids.tolist()) == {class_id}


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (33, 47), (64, 64)])
def test_pictures_of_any_size(size):
    network = small()
    for wanted in (None, (7, 11), (200, 300)):
        found = network.detect(pictures(size, count=2), wanted)
        assert [objects.size for objects in found] == [wanted or size] * 2
        assert all(objects.masks.shape[1:] == (wanted or size) for objects in found)
        assert all(objects.masks.any((1, 2)).all() for objects in found)
        assert all(np.isfinite(objects.scores).all() for objects in found)
    high, wide = size
    losses = network.losses(pictures(size), targets_of(size, [(0, 0, wide, high), (wide - 1, high - 1, wide, high)]))
    sum(losses.values()).backward()
    assert all(loss.isfinite() for loss in losses.values())
    assert all(parameter.grad.isfinite().all() for parameter in network.parameters())


def test_pictures_of_a_batch_do_not_meet():
    network, two = small(), pictures((48, 40), count=2)
    with torch.inference_mode():
        together, alone = network(two), network(two[1:])
    for name in ("scores", "masks"):
        torch.testing.assert_close(together[name][1:], alone[name], rtol=1e-4, atol=1e-5)


# What data may hold


HOSTILE = {
    "no object": [],
    "one pixel": [(5, 5, 6, 6)],
    "a line": [(0, 5, 32, 6)],
    "the same twice": [(4, 4, 20, 20)] * 2,
    "all of the picture": [(0, 0, 32, 32)],
    "a box without area": [(5, 5, 5, 5)],
    "a box beyond the picture": [(40, 40, 60, 60), (-50, -50, -20, -20)],
    "ten thousand": [(number % 31, number // 31 % 31, number % 31 + 1, number // 31 % 31 + 1) for number in range(10_000)],
}


@pytest.mark.parametrize("crowd", [False, True])
@pytest.mark.parametrize("case", HOSTILE)
def test_whatever_objects_there_are_the_losses_are_numbers(case, crowd):
    boxes, network = HOSTILE[case], small()
    targets = targets_of((32, 32), boxes, crowd=range(len(boxes)) if crowd else ())
    losses = network.losses(pictures((32, 32)), targets)
    sum(losses.values()).backward()
    assert all(loss.isfinite() for loss in losses.values())
    assert all(parameter.grad.isfinite().all() for parameter in network.parameters())
    taught = not crowd and case not in ("no object", "a box without area", "a box beyond the picture")
    assert (losses["mask"] > 0) == taught


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"kernels": ()}, r"kernels = \[\]: give 5, 7 or both"),
        ({"kernels": (5, 5)}, r"kernels = \[5, 5\]"),
        ({"kernels": (3,)}, r"kernels = \[3\]"),
        ({"mask_side": 0}, "mask_side = 0: must be 1 to 256"),
        ({"backbone": "resnet18", "width": 0.5}, "width 0.5 is for our own trunks"),
    ],
)
def test_an_argument_that_does_not_fit(arguments, says):
    with pytest.raises(UsageError, match=says):
        on_meta(**arguments)


def test_it_is_a_network_of_objects():
    network = small()
    assert as_network(network) is network
    assert (labels_pixels(network), finds_objects(network)) == (False, True)


@pytest.mark.parametrize("arguments", [{"backbone": "resnet18"}, {"width": 0.05, "top_down": False, "lateral": False}])
def test_other_trunks_and_the_ablations(arguments):
    network = build("fpn_proposals", 2, **arguments)
    losses = network.losses(pictures((64, 64), count=2), Targets(
        torch.ones(2, 64, 64, dtype=torch.int64), None, (objects_of((64, 64), [(0, 0, 30, 30)]),) * 2
    ))  # fmt: skip
    sum(losses.values()).backward()
    assert all(loss.isfinite() for loss in losses.values())


# Learning


def squares(count):
    """Grey pictures of 64 x 64 with two bright rectangles each, and their objects."""
    random, images, objects = np.random.default_rng(0), [], []
    for _ in range(count):
        image, boxes = np.full((64, 64), 0.2, np.float32), []
        for left in (2, 34):
            wide, high = random.integers(14, 27, 2).tolist()
            top = int(random.integers(2, 62 - high))
            boxes.append((left, top, left + wide, top + high))
            image[top : top + high, left : left + wide] = 0.9
        images.append(np.stack([image] * 3))
        objects.append(objects_of((64, 64), boxes))
    return torch.from_numpy(np.stack(images)), tuple(objects)


def test_four_pictures_are_learned_by_heart():
    torch.manual_seed(0)
    network = FPNProposals(2, kernels=(5,), mask_side=14, width=0.125)
    images, objects = squares(4)
    targets = Targets(torch.ones(4, 64, 64, dtype=torch.int64), None, objects)
    truth = [Instances.of_numbers(one.numbers.numpy(), one.class_ids.numpy()) for one in objects]

    def recall():
        network.eval()
        of_truth, found = truth_of(truth, ["background", "object"]), results_of(network.detect(images))
        network.train()
        return Ranking(of_truth, found, agnostic=True, most=1000).figures

    optimiser = torch.optim.AdamW(network.parameters(), 2e-3)
    for _ in range(80):
        optimiser.zero_grad()
        sum(network.losses(images, targets).values()).backward()
        optimiser.step()
    figures = recall()
    assert figures["AR_1000"] > 0.6
    assert figures["AR_10"] > 0.5  # the highest scores are at the objects


def test_it_is_trained_and_judged_by_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = make_instances(tmp_path / "data", train=4, val=2)
    run = tmp_path / "run"
    flags = ["--width", "0.05", "--mask-side", "14", "--kernels", "5", "--weights", "none", "--device", "cpu"]
    flags += ["--steps", "2", "--batch", "2", "--validations", "1", "--out", str(run), "--json"]
    main(["train", "--data", str(data), "--network", "fpn_proposals", *flags])
    capsys.readouterr()
    found = perpixel.predict(perpixel.load(run), sorted((data / "images/val").iterdir())[0])
    assert found.instances is not None
    assert found.instances.size == found.labels.shape
    main(["evaluate", str(run), "--instances", "mask", "--agnostic", "--most", "1000", "--json"])
    results = json.loads(capsys.readouterr().out)
    assert 0 <= results["figures"]["AR_1000"] <= 1
    assert results["protocol"]["instances"]["most"] == "1000 objects a picture, in place of 100"


def test_a_run_that_was_stopped_ends_with_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Examples are drawn by torch's random state, which is kept with the rest."""
    data = make_instances(tmp_path / "data", train=4, val=2)
    small = {"width": 0.05, "mask_side": 14, "kernels": (5,), "weights": "none", "batch": 2, "steps": 4}
    recipe = Recipe(data=str(data), network="fpn_proposals", **small, save_every=2, validations=1, device="cpu")
    train(recipe, tmp_path / "whole", say=lambda _: None)

    class Stop(list[int]):
        """True from the second step on."""

        def __bool__(self) -> bool:
            self.append(1)
            return len(self) >= 2

    with monkeypatch.context() as patch:
        patch.setattr(training, "stop_after_step", lambda *_: nullcontext(Stop()))
        with pytest.raises(Interrupted, match="stopped after step 2 of 4"):
            train(recipe, tmp_path / "parts", say=lambda _: None)
    train(recipe, tmp_path / "parts", say=lambda _: None)
    assert (tmp_path / "whole" / MODEL_FILE).read_bytes() == (tmp_path / "parts" / MODEL_FILE).read_bytes()
