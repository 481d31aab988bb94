"""Objects as masks or as one map of numbers; and targets."""

import subprocess
import sys

import numpy as np
import pytest
from hidden_torch import HAS_TORCH

from perpixel.sample import Crop, Instances, InstanceTargets, Targets

if HAS_TORCH:
    import torch

NUMBERS = np.array([[0, 1, 1], [2, 2, 0]], np.uint16)
MASKS = np.array([[[0, 1, 1], [0, 0, 0]], [[0, 0, 0], [1, 1, 0]]], bool)


def test_numbers_become_masks():
    objects = Instances.of_numbers(NUMBERS, np.array([5, 7]))
    assert objects.masks.dtype == bool
    assert (objects.masks == MASKS).all()
    assert (objects.class_ids.tolist(), objects.scores) == ([5, 7], None)


def test_masks_become_numbers():
    objects = Instances(MASKS, np.array([5, 7]), np.array([0.5, 1], np.float32))
    assert objects.numbers.dtype == np.int32
    assert (objects.numbers == NUMBERS).all()
    assert objects.scores.tolist() == [0.5, 1]


def test_an_object_without_a_pixel_keeps_its_place():
    objects = Instances.of_numbers(np.array([[0, 3]]), np.array([1, 1, 1]))
    assert objects.masks.sum((1, 2)).tolist() == [0, 0, 1]


def test_a_picture_without_objects():
    objects = Instances.of_numbers(np.zeros((2, 3), np.int32), np.zeros(0, np.int64))
    assert objects.masks.shape == (0, 2, 3)
    assert not Instances(objects.masks, objects.class_ids).numbers.any()


def test_of_objects_that_overlap_the_last_is_shown():
    assert Instances(np.ones((2, 1, 2), bool), np.array([0, 1])).numbers.tolist() == [[2, 2]]


def test_the_size_is_known_in_every_form():
    crops = [Crop.of(mask) for mask in MASKS]
    forms = (
        Instances(MASKS, np.array([5, 7])),
        Instances.of_numbers(NUMBERS, np.array([5, 7])),
        Instances.of_crops(crops, (2, 3), np.array([5, 7]), np.zeros(2, bool), np.array([0.5, 1], np.float32)),
    )
    assert [objects.size for objects in forms] == [(2, 3)] * 3
    assert forms[2].scores.tolist() == [0.5, 1]


def test_the_highest_score_is_drawn_last():
    scores = np.array([0.5, 0.9, 0.1, 0.5], np.float32)
    assert Instances(np.zeros((4, 1, 1), bool), np.zeros(4, int), scores).by_score == [2, 0, 3, 1]
    assert Instances(np.zeros((3, 1, 1), bool), np.zeros(3, int)).by_score == [0, 1, 2]


@pytest.mark.needs_torch
def test_targets_go_to_a_device_with_all_that_they_hold():
    objects = InstanceTargets(torch.zeros(2, 4), torch.zeros(3, 4, dtype=torch.int32), torch.arange(2), torch.ones(2) > 0)
    moved = Targets(torch.zeros(1, 3, 4, dtype=torch.int64), torch.ones(1, 3, 4), (objects,)).to(torch.device("meta"))
    tensors = [moved.labels, moved.weights, *vars(moved.instances[0]).values()]
    assert [tensor.device.type for tensor in tensors] == ["meta"] * 6
    bare = Targets(torch.zeros(1, 3, 4, dtype=torch.int64)).to(torch.device("meta"))
    assert (bare.labels.device.type, bare.weights, bare.instances) == ("meta", None, None)


def test_this_module_needs_no_torch():
    """Masks and results files are judged without it."""
    script = "import sys; sys.modules['torch'] = None; import perpixel.sample"
    subprocess.run([sys.executable, "-c", script], check=True)
