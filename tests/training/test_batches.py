"""Which pictures make step n follows from the seed and n alone."""

from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
import torch
from fake_networks import all_masks
from fakes import draw_sample, make_folder
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from perpixel.classes import ClassTable
from perpixel.datasets import open_dataset
from perpixel.errors import UnknownName, UsageError
from perpixel.masks.touching import weight_map
from perpixel.sample import Instances, Sample
from perpixel.training.batches import aspect_groups, batches, index_at, place_in_groups
from perpixel.training.recipe import Recipe
from perpixel.training.transforms import MEAN_COLOUR, Augmentation, augment

seeds = st.integers(0, 2**32 - 1)
# Everything that is random, so that a repeated batch has repeated all of it.
WILD = dict(
    crop=(6, 7), scale_jitter=(0.5, 2.0), colour=0.5, class_crops=0.5, blur=0.5, flip_vertical=True, rotate=30.0, elastic=1.0,
    separation_weights=10.0, separation_class="b",
)  # fmt: skip


class Noise:
    """`length` pictures of random pixels, two classes and void."""

    classes = ClassTable.of(["a", "b"])
    split, splits = "train", ("train",)

    def __init__(self, length, sizes=((5, 6),)):
        self.length, self.sizes = length, sizes

    def __len__(self):
        return self.length

    def name(self, index):
        return f"picture {index}"

    def sample(self, index):
        random, size = np.random.default_rng(index), self.sizes[index % len(self.sizes)]
        labels = random.choice(np.array([0, 1, 255], np.uint8), size)
        return Sample(self.name(index), random.integers(0, 256, (*size, 3), np.uint8), labels)


class Cells(Noise):
    """As `Noise`, with every column an object of class b of its own where labels show that class."""

    def sample(self, index):
        sample = super().sample(index)
        columns = np.broadcast_to(1 + np.arange(sample.labels.shape[1]), sample.labels.shape)
        return Sample(sample.name, sample.image, sample.labels, Instances.of_numbers(columns, np.ones(columns.max(), int)))


def steps_of(dataset, recipe, first=0, **team):
    return list(batches(dataset, recipe, first, **team))


def whole(parts):
    """The parts of a step as one: images, targets and weights; names and judged pixels."""
    kinds = [(part.images, part.targets.labels, part.targets.weights) for part in parts]
    tensors = [torch.cat(tensors) for tensors in zip(*kinds, strict=True) if tensors[0] is not None]
    return tensors, [name for part in parts for name in part.names], sum(part.judged for part in parts)


def assert_same(parts, others):
    tensors, *rest = whole(parts)
    other_tensors, *other_rest = whole(others)
    assert all(torch.equal(one, other) for one, other in zip(tensors, other_tensors, strict=True))
    assert rest == other_rest


@given(length=st.integers(1, 12), batch=st.integers(1, 9), seed=seeds)
def test_each_epoch_shows_every_picture_once(length, batch, seed):
    recipe = Recipe(batch=batch, steps=-(-3 * length // batch), seed=seed)
    shown = [name for (part,) in batches(Noise(length), recipe, 0) for name in part.names]
    for epoch in range(3):
        assert sorted(shown[epoch * length : (epoch + 1) * length]) == sorted(f"picture {i}" for i in range(length))


def test_epochs_and_seeds_have_orders_of_their_own():
    orders = [[index_at(epoch * 20 + i, 20, seed) for i in range(20)] for seed in (0, 1) for epoch in (0, 1)]
    assert len({tuple(order) for order in orders}) == 4


def test_a_picture_is_seen_in_another_way_each_time():
    views = [part.images.numpy().tobytes() for (part,) in batches(Noise(1), Recipe(steps=9, batch=1, **WILD), 0)]
    assert len(set(views)) == 9


def test_there_are_as_many_steps_as_the_recipe_says():
    recipe = Recipe(steps=7, batch=2)
    assert [len(steps_of(Noise(3), recipe, first)) for first in (0, 5, 7, 9)] == [7, 2, 0, 0]


@given(first=st.integers(0, 5), seed=seeds)
def test_a_run_continues_with_the_batches_it_would_have_had(first, seed):
    recipe = Recipe(steps=6, batch=4, seed=seed, **WILD)
    fresh, continued = steps_of(Noise(5), recipe), steps_of(Noise(5), recipe, first)
    assert len(continued) == 6 - first
    for parts, others in zip(fresh[first:], continued, strict=True):
        assert_same(parts, others)


@given(seed=seeds, world=st.sampled_from([2, 3]), accumulate=st.sampled_from([1, 2]))
def test_processes_and_parts_divide_the_batch_of_one(seed, world, accumulate):
    one = steps_of(Noise(7), Recipe(steps=3, batch=12, seed=seed, **WILD))
    recipe = Recipe(steps=3, batch=12, accumulate=accumulate, seed=seed, **WILD)
    team = [steps_of(Noise(7), recipe, rank=rank, world=world) for rank in range(world)]
    for step, parts in enumerate(one):
        shares = [part for member in team for part in member[step]]
        assert [len(part.names) for part in shares] == [12 // (world * accumulate)] * (world * accumulate)
        assert_same(shares, parts)


def test_a_small_cache_changes_nothing():
    cached, read_again = (steps_of(Noise(5), Recipe(steps=4, batch=3, cache_mb=cache_mb, **WILD)) for cache_mb in (1, 0))
    for parts, others in zip(cached, read_again, strict=True):
        assert_same(parts, others)


def test_a_batch_is_the_pictures_as_a_network_takes_them():
    dataset = Noise(3)
    ((batch,),) = steps_of(dataset, Recipe(steps=1, batch=3, flip=False))
    samples = {name: dataset.sample(int(name.split()[1])) for name in batch.names}
    assert (batch.images.shape, batch.images.dtype) == ((3, 3, 5, 6), torch.float32)
    assert (batch.targets.labels.shape, batch.targets.labels.dtype) == ((3, 5, 6), torch.int64)
    assert batch.images.is_contiguous(memory_format=torch.channels_last)
    for image, labels, name in zip(batch.images, batch.targets.labels, batch.names, strict=True):
        assert torch.equal(image, torch.from_numpy(samples[name].image).permute(2, 0, 1) / 255)
        assert (labels.numpy() == samples[name].labels).all()
    assert batch.judged == sum((sample.labels != 255).sum() for sample in samples.values())


def test_without_separation_there_are_no_weights():
    ((batch,),) = steps_of(Cells(3), Recipe(steps=1, batch=3))
    assert batch.targets.weights is None


@pytest.mark.parametrize("class_weights", [None, [0.5, 3.0]])
def test_weights_are_those_of_the_objects_in_the_view(class_weights):
    recipe = Recipe(steps=1, batch=2, flip=False, separation_weights=4.0, separation_sigma=2.0)
    dataset = Cells(2)
    ((batch,),) = batches(dataset, recipe, 0, class_weights=class_weights)
    targets = batch.targets
    assert (targets.weights.shape, targets.weights.dtype) == (targets.labels.shape, torch.float32)
    for weights, labels, name in zip(targets.weights.numpy(), targets.labels.numpy(), batch.names, strict=True):
        sample = dataset.sample(int(name.split()[1]))
        assert (weights == weight_map(sample.labels, sample.instances, 255, class_weights or [1, 1], 4.0, 2.0)).all()
        assert ((weights == 0) == (labels == 255)).all()


def test_a_class_can_stand_for_objects_that_nobody_numbered():
    recipe = Recipe(steps=1, batch=4, flip=False, separation_weights=4.0, separation_class="b")
    ((numbered,),), ((unnumbered,),) = (steps_of(dataset, recipe) for dataset in (Cells(4), Noise(4)))
    assert torch.equal(numbered.targets.weights, unnumbered.targets.weights)
    assert (unnumbered.targets.weights > 1).any()


def test_separation_needs_objects():
    with pytest.raises(UsageError, match=r"numbers no objects in picture 0; give `--separation-class NAME` .* \(a, b\)"):
        next(batches(Noise(1), Recipe(batch=1, separation_weights=1.0), 0))
    with pytest.raises(UnknownName, match="no class 'bb'; did you mean 'b'"):
        next(batches(Noise(1), Recipe(batch=1, separation_weights=1.0, separation_class="bb"), 0))


def test_objects_are_targets_where_a_network_learns_from_them():
    dataset = Cells(3)
    ((batch,),) = batches(dataset, Recipe(steps=1, batch=3, flip=False), 0, instances=True)
    assert len(batch.targets.instances) == 3
    assert batch.targets.weights is None
    for objects, name in zip(batch.targets.instances, batch.names, strict=True):
        truth = dataset.sample(int(name.split()[1])).instances
        assert torch.equal(all_masks(objects), torch.from_numpy(truth.masks))
        assert objects.class_ids.tolist() == [1] * 6
        assert objects.boxes.tolist() == [[column, 0, column + 1, 5] for column in range(6)]  # a column is an object
        assert not objects.crowd.any()
        assert [tensor.dtype for tensor in vars(objects).values()] == [torch.float32, torch.int32, torch.int64, torch.bool]
    ((without,),) = steps_of(dataset, Recipe(steps=1, batch=3, flip=False))
    assert without.targets.instances is None


def test_objects_alone_are_the_truth_where_labels_contradict_each_other():
    recipe = Recipe(steps=1, batch=3, flip=False)
    ((plain,),), ((alone,),) = (list(batches(Cells(3), recipe, 0, instances=True, objects_alone=both)) for both in (False, True))
    void = plain.targets.labels == 255
    assert void.any()
    assert (alone.targets.labels[void] == 1).all()  # every pixel is of an object of class 1
    assert torch.equal(alone.targets.labels[~void], plain.targets.labels[~void])
    assert alone.judged == void.numel() > plain.judged


@given(seed=seeds)
def test_targets_hold_the_objects_that_a_view_shows(seed):
    """Through all that augments: an object has the pixels that it has in the view, and a box around them."""
    recipe = Recipe(steps=2, batch=2, seed=seed, **{**WILD, "separation_class": None})
    for (batch,) in batches(Cells(3), recipe, 0, instances=True):
        assert batch.targets.weights is not None
        for objects in batch.targets.instances:
            assert objects.numbers.shape == (6, 7)
            assert len(objects.class_ids) == len(objects.crowd) == len(objects.boxes) == objects.numbers.max()
            for mask, box in zip(all_masks(objects), objects.boxes.tolist(), strict=True):
                rows, columns = mask.nonzero(as_tuple=True)
                assert box == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


def test_a_picture_without_objects_has_targets_of_none():
    class Empty(Noise):
        def sample(self, index):
            sample = super().sample(index)
            return replace(sample, instances=Instances.of_numbers(np.zeros(sample.labels.shape, int), np.zeros(0, int)))

    ((batch,),) = batches(Empty(1), Recipe(steps=1, batch=1), 0, instances=True)
    (objects,) = batch.targets.instances
    assert (objects.boxes.shape, objects.numbers.shape, objects.class_ids.shape) == ((0, 4), (5, 6), (0,))


def test_learning_from_objects_needs_objects():
    with pytest.raises(UsageError, match="numbers no objects in picture 0, which the network learns from"):
        next(batches(Noise(1), Recipe(batch=1), 0, instances=True))


def test_images_of_crops_show_the_context_that_is_asked_for():
    recipe = Recipe(steps=1, batch=2, **WILD)
    ((batch,),) = batches(Noise(2), recipe, 0, context=5)
    assert (batch.images.shape, batch.targets.labels.shape) == ((2, 3, 16, 17), (2, 6, 7))
    assert batch.targets.weights.shape == (2, 6, 7)


@pytest.mark.parametrize(("accumulate", "world", "parts"), [(3, 1, 3), (1, 3, 3), (2, 4, 8)])
def test_a_batch_that_does_not_divide(accumulate, world, parts):
    with pytest.raises(UsageError, match=f"batch = 4: must be a multiple of accumulate x processes = {parts}"):
        next(batches(Noise(5), Recipe(batch=4, accumulate=accumulate), 0, world=world))


def test_pictures_of_different_sizes_need_a_crop():
    dataset = Noise(4, sizes=((5, 6), (7, 8)))
    with pytest.raises(UsageError, match=r"different sizes \(\(5, 6\), \(7, 8\)\); give `--crop HEIGHT WIDTH`"):
        next(batches(dataset, Recipe(batch=4), 0))
    ((batch,),) = steps_of(dataset, Recipe(batch=4, steps=1, crop=(3, 3)))
    assert batch.images.shape == (4, 3, 3, 3)


def test_stopping_early_ends_the_reading():
    assert len(list(islice(batches(Noise(3), Recipe(steps=10**9, batch=1), 0), 2))) == 2


SIDES = {"short_sides": (4, 6), "long_side": 12, "flip": False}


def test_pictures_of_a_part_are_padded_to_the_largest_with_mean_colour_and_void():
    dataset = Cells(4, sizes=((4, 8), (8, 4), (6, 6), (5, 9)))
    ((batch,),) = steps_of(dataset, Recipe(steps=1, batch=4, separation_weights=10.0, **SIDES))
    labels, images = batch.targets.labels, batch.images
    alone = {}
    for position, name in enumerate(batch.names):
        random = np.random.default_rng([0, 1, position])
        how = Augmentation(flip=False, short_sides=(4, 6), long_side=12)
        alone[name] = augment(dataset.sample(int(name.split()[1])), how, 255, random)
    assert labels.shape[1:] == tuple(np.max([view.labels.shape for view in alone.values()], 0))
    for row, name in enumerate(batch.names):
        height, width = alone[name].labels.shape
        assert torch.equal(labels[row, :height, :width], torch.from_numpy(alone[name].labels.astype(np.int64)))
        outside = torch.ones(labels.shape[1:], dtype=bool)
        outside[:height, :width] = False
        assert (labels[row][outside] == 255).all()
        assert (batch.targets.weights[row][outside] == 0).all()
        assert torch.equal(images[row][:, outside].T.unique(dim=0), torch.tensor([MEAN_COLOUR]) / 255) or not outside.any()
    assert batch.judged == sum((view.labels != 255).sum() for view in alone.values())


def test_objects_are_those_of_the_padded_pictures():
    ((batch,),) = steps_of(Cells(2, sizes=((4, 8), (8, 4))), Recipe(steps=1, batch=2, **SIDES), instances=True)
    for image, objects in zip(batch.images, batch.targets.instances, strict=True):
        assert objects.numbers.shape == image.shape[1:]
        for mask, (left, top, right, bottom) in zip(all_masks(objects), objects.boxes.tolist(), strict=True):
            rows, columns = mask.any(1).nonzero(), mask.any(0).nonzero()
            assert (top, bottom, left, right) == (rows.min(), rows.max() + 1, columns.min(), columns.max() + 1)


def test_pictures_of_other_sizes_need_a_crop_or_short_sides():
    with pytest.raises(UsageError, match="the pictures have different sizes"):
        steps_of(Noise(4, sizes=((4, 8), (8, 4))), Recipe(steps=1, batch=4))


@given(seed=seeds, batch=st.integers(1, 5), tall=st.integers(1, 6))
def test_a_batch_holds_wide_pictures_or_tall_ones_and_each_is_shown_as_often(seed, batch, tall):
    """Of every ten pictures `tall` are tall; after ten rounds of all pictures each was shown ten times, give or take a round."""
    dataset = Noise(10, sizes=((8, 4),) * tall + ((4, 8),) * (10 - tall))
    recipe = Recipe(steps=100, batch=batch, seed=seed, group_by_aspect=True, cache_mb=0, short_sides=(4,), flip=False)
    shown, kinds = np.zeros(10, int), []
    for step in range(recipe.steps):
        places = [place_in_groups(step * batch + place, batch, [10 - tall, tall], seed) for place in range(batch)]
        (group,) = {group for group, _ in places}
        kinds.append(group)
        for _, position in places:
            members = range(tall, 10) if group == 0 else range(tall)
            shown[members[index_at(position, len(members), seed)]] += 1
    assert sum(kinds) == 10 * tall
    assert np.abs(shown - 10 * batch).max() <= 1
    for (part,) in islice(batches(dataset, recipe, 0), 4):
        assert len({int(name.split()[1]) < tall for name in part.names}) == 1


@given(first=st.integers(0, 5), seed=seeds)
def test_groups_and_short_sides_continue_and_divide_as_all_else_does(first, seed):
    dataset = Noise(7, sizes=((4, 8), (8, 4), (5, 9)))
    recipe = Recipe(steps=6, batch=4, seed=seed, group_by_aspect=True, scale_jitter=(0.5, 2.0), scale_steps=0.5, **SIDES)
    fresh, continued = steps_of(dataset, recipe), steps_of(dataset, recipe, first)
    for parts, others in zip(fresh[first:], continued, strict=True):
        assert_same(parts, others)
    team = [steps_of(dataset, recipe, rank=rank, world=2) for rank in range(2)]
    for step, (part,) in enumerate(fresh):
        assert part.names == tuple(name for member in team for share in member[step] for name in share.names)


def test_groups_are_known_from_the_files_of_pictures(tmp_path):
    folder = make_folder(tmp_path / "data", train=3)
    for number, size in enumerate(((24, 32), (40, 24), (24, 24))):
        image, labels = draw_sample(number, size)
        Image.fromarray(image).save(folder / "images" / "train" / f"p{number:02d}.jpg")
        Image.fromarray(labels).save(folder / "masks" / "train" / f"p{number:02d}.png")
    assert aspect_groups(open_dataset(folder, split="train")) == [[0, 2], [1]]
    assert aspect_groups(Noise(3, sizes=((4, 8), (8, 4), (6, 6)))) == [[0, 2], [1]]
    assert aspect_groups(Noise(2)) == [[0, 1]]
