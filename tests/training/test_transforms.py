"""Augmentation moves labels and never mixes them; the picture goes where its labels go."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage

from perpixel.sample import Instances, Sample
from perpixel.training import transforms
from perpixel.training.transforms import (
    MEAN_COLOUR,
    Augmentation,
    _choose_window,
    augment,
    blurred,
    colour_matrix,
    deformed_places,
    image_at,
    recolour,
    reflected,
    values_at,
)

VOID = 255
STILL = Augmentation(flip=False)
SHADE = np.full(256, MEAN_COLOUR[0], np.uint8)  # red of a label in `shaded`; void is as red as what lies outside
SHADE[:4] = 10, 60, 180, 240

sides = st.integers(1, 40)
factors = st.floats(0.3, 3)
augmentations = st.builds(
    Augmentation,
    scale=factors,
    crop=st.none() | st.tuples(sides, sides),
    scale_jitter=st.tuples(factors, factors).map(lambda pair: tuple(sorted(pair))),
    flip=st.booleans(),
    colour=st.floats(0, 1),
    class_crops=st.floats(0, 1),
    flip_vertical=st.booleans(),
    rotate=st.sampled_from([0, 20, 180]),
    elastic=st.sampled_from([0, 3, 10]),
    context=st.sampled_from([0, 7]),
    blur=st.sampled_from([0.0, 1.0]),
    short_sides=st.sampled_from([(), (5, 9)]),
    long_side=st.sampled_from([None, 12]),
)
seeds = st.integers(0, 2**32 - 1)


def rng(seed=0):
    return np.random.default_rng(seed)


def noise(seed, height, width):
    labels = rng(seed).choice(np.array([0, 1, 2, 3, VOID], np.uint8), (height, width))
    return Sample("noise", rng(seed).integers(0, 256, (height, width, 3), np.uint8), labels)


def shaded(labels):
    """A picture whose red channel tells the label of each pixel."""
    labels = np.asarray(labels, np.uint8)
    image = np.zeros((*labels.shape, 3), np.uint8)
    image[..., 0] = SHADE[labels]
    return Sample("shaded", image, labels)


def blocks(height=64, width=96):
    labels = np.zeros((height, width), np.uint8)
    labels[: height // 2, width // 3 :] = 1
    labels[height // 2 :, width // 2 :] = 2
    labels[:, -9:] = VOID
    return shaded(labels)


def inside(labels, reach):
    """Pixels whose neighbours up to `reach` away all exist and have their label."""
    padded = np.pad(labels.astype(int), reach, constant_values=-1)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (2 * reach + 1, 2 * reach + 1))
    return (windows == labels[..., None, None]).all((2, 3))


@given(seed=seeds, height=sides, width=sides, how=augmentations)
def test_labels_after_are_labels_before_or_void(seed, height, width, how):
    sample = noise(seed, height, width)
    found = augment(sample, how, VOID, rng(seed))
    size = how.crop or (max(1, round(height * how.scale)), max(1, round(width * how.scale)))
    if how.short_sides and not how.crop:
        size = found.labels.shape
        assert min(size) in how.short_sides or max(size) == how.long_side
    context = how.context if how.crop else 0
    assert found.labels.shape == size
    assert found.image.shape == (size[0] + 2 * context, size[1] + 2 * context, 3)
    assert (found.labels.dtype, found.image.dtype) == (np.uint8, np.uint8)
    assert set(np.unique(found.labels)) <= {*np.unique(sample.labels), VOID}


@given(seed=seeds, height=sides, width=sides, how=augmentations)
def test_instances_go_where_their_labels_go(seed, height, width, how):
    sample = noise(seed, height, width)
    sample = replace(sample, instances=Instances.of_numbers(np.where(sample.labels == VOID, 0, sample.labels), np.arange(1, 4)))
    found = augment(sample, how, VOID, rng(seed))
    assert found.instances.class_ids.tolist() == [1, 2, 3]
    assert (found.instances.numbers == np.where(found.labels == VOID, 0, found.labels)).all()


@given(seed=seeds, height=sides, width=sides)
def test_without_anything_to_do_it_is_the_same_picture(seed, height, width):
    sample = noise(seed, height, width)
    found = augment(sample, STILL, VOID, rng(seed))
    assert found.image.tobytes() == sample.image.tobytes()
    assert found.labels.tobytes() == sample.labels.tobytes()


@given(seed=seeds, height=sides, width=sides, scale=factors)
def test_a_whole_picture_is_resized_as_prediction_resizes_it(seed, height, width, scale):
    sample = noise(seed, height, width)
    found = augment(sample, replace(STILL, scale=scale), VOID, rng(seed))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    assert (found.image == np.asarray(Image.fromarray(sample.image).resize(size, Image.Resampling.BILINEAR))).all()


@given(seed=seeds, how=augmentations)
def test_the_same_seed_gives_the_same_view(seed, how):
    sample = blocks()
    one, again = (augment(sample, how, VOID, rng(seed)) for _ in range(2))
    assert one.image.tobytes() == again.image.tobytes()
    assert one.labels.tobytes() == again.labels.tobytes()


def test_the_sample_itself_is_left_alone():
    sample = blocks()
    before = sample.image.copy(), sample.labels.copy()
    augment(sample, Augmentation(crop=(20, 20), colour=1, scale_jitter=(0.5, 2)), VOID, rng())
    assert (sample.image == before[0]).all()
    assert (sample.labels == before[1]).all()


def test_half_of_the_pictures_are_mirrored():
    sample = shaded([[0, 1, 2], [3, VOID, 0]])
    views = [augment(sample, Augmentation(), VOID, rng(seed)) for seed in range(200)]
    mirrored = [(view.labels == sample.labels[:, ::-1]).all() for view in views]
    assert 70 < sum(mirrored) < 130
    assert all((view.image[..., 0] == SHADE[view.labels]).all() for view in views)


@given(seed=seeds, rows=st.integers(1, 64), columns=st.integers(1, 96), share=st.sampled_from([0.0, 1.0]))
def test_whole_pixel_windows_keep_picture_and_labels_together(seed, rows, columns, share):
    # An odd side centred on a pixel starts at a whole one; without class_crops the window is as large as the picture.
    size = (2 * (rows // 2) + 1, 2 * (columns // 2) + 1) if share else (64, 96)
    found = augment(blocks(), Augmentation(crop=size, class_crops=share), VOID, rng(seed))
    assert (found.image[..., 0] == SHADE[found.labels]).all()


@given(seed=seeds, scale=st.floats(0.4, 1.5), low=st.floats(0.5, 1), high=st.floats(1, 2), crop=st.none() | st.just((50, 70)))
def test_resized_picture_and_labels_agree_away_from_borders(seed, scale, low, high, crop):
    found = augment(blocks(), Augmentation(scale, crop, (low, high), class_crops=0.5), VOID, rng(seed))
    # A pixel reads its neighbours within one pixel of the coarser of the two grids.
    safe = inside(found.labels, reach=1 + int(np.ceil(scale * high)))
    assert safe.any()
    assert (found.image[..., 0] == SHADE[found.labels])[safe].all()


def test_outside_is_mean_colour_and_void():
    found = augment(noise(0, 4, 6), replace(STILL, crop=(10, 12)), VOID, rng())
    outside = (found.image == MEAN_COLOUR).all(2)
    assert outside.sum() >= 10 * 12 - 5 * 7
    assert (found.labels[outside] == VOID).all()


def test_a_small_picture_slides_inside_a_large_crop():
    views = [augment(shaded([[1]]), replace(STILL, crop=(1, 9)), VOID, rng(seed)) for seed in range(60)]
    assert {int(np.flatnonzero(view.labels == 1)[0]) for view in views} == set(range(9))


def test_class_crops_centre_every_class_alike():
    labels = np.zeros((30, 30), np.uint8)
    labels[3, 27] = 1
    how = replace(STILL, crop=(5, 5), class_crops=1.0)
    centres = [augment(shaded(labels), how, VOID, rng(seed)).labels[2, 2] for seed in range(200)]
    assert 70 < sum(centre == 1 for centre in centres) < 130
    assert set(centres) == {0, 1}


def test_class_crops_never_centre_void():
    labels = np.full((20, 20), VOID, np.uint8)
    labels[11, 4] = 2
    how = replace(STILL, crop=(3, 3), class_crops=1.0)
    assert all(augment(shaded(labels), how, VOID, rng(seed)).labels[1, 1] == 2 for seed in range(20))


def test_class_crops_of_a_void_picture_take_its_middle():
    found = augment(shaded([[VOID] * 6] * 6), replace(STILL, crop=(3, 3), class_crops=1.0), VOID, rng())
    assert (found.labels == VOID).all()
    assert (found.image[..., 0] == MEAN_COLOUR[0]).all()


@given(seed=seeds, low=factors, high=factors)
def test_scale_jitter_stays_in_its_range(seed, low, high):
    # A bar of 100 rows is as many rows tall in a large crop as the scale says.
    low, high = sorted((low, high))
    labels = np.zeros((300, 9), np.uint8)
    labels[100:200] = 1
    found = augment(shaded(labels), replace(STILL, crop=(1000, 40), scale_jitter=(low, high)), VOID, rng(seed))
    assert 100 * low - 1 <= (found.labels == 1).any(1).sum() <= 100 * high + 1


def test_half_of_the_pictures_are_turned_upside_down():
    sample = shaded([[0, 1, 2], [3, VOID, 0]])
    views = [augment(sample, replace(STILL, flip_vertical=True), VOID, rng(seed)) for seed in range(200)]
    assert 70 < sum((view.labels == sample.labels[::-1]).all() for view in views) < 130
    assert all((view.image[..., 0] == SHADE[view.labels]).all() for view in views)


class TestDeformation:
    """Rotation and U-Net's elastic deformation."""

    def test_the_nodes_move_by_vectors_of_the_given_deviation(self):
        # On a view of 41 x 61 the nodes are pixels: rows 0, 20, 40 and columns 0, 30, 60.
        still = np.stack(np.mgrid[:41, :61])
        moves = [(deformed_places((41, 61), 0, 10, rng(seed)) - still)[:, ::20, ::30] for seed in range(300)]
        assert np.std(moves) == pytest.approx(10, rel=0.05)
        assert np.mean(moves) == pytest.approx(0, abs=0.5)
        between = np.corrcoef(np.reshape(moves, (300, 18)).T)
        assert np.abs(between - np.eye(18)).max() < 0.25  # each on its own

    def test_between_the_nodes_the_field_is_smooth_and_passes_through_them(self):
        moves = deformed_places((41, 61), 0, 10, rng(3)) - np.mgrid[:41, :61]
        steps = np.abs(np.diff(moves, axis=2)).max(), np.abs(np.diff(moves, axis=1)).max()
        ranges = [np.abs(np.diff(moves[:, ::20, ::30], axis=axis)).max() for axis in (2, 1)]
        assert all(step < 2 * wide / nodes for step, wide, nodes in zip(steps, ranges, (30, 20), strict=True))
        # Keys' cubic half way between two nodes, with the edge node repeated: -0.09375, 0.59375, 0.59375, -0.09375.
        a, b, c = moves[:, 0, ::30].T
        np.testing.assert_allclose(moves[:, 0, 15], 0.5 * a + 0.59375 * b - 0.09375 * c, atol=1e-9)

    @given(seed=seeds, most=st.floats(0, 180))
    def test_rotation_turns_about_the_middle_by_an_angle_in_range(self, seed, most):
        places = deformed_places((9, 14), most, 0, rng(seed)) - np.array([4, 6.5])[:, None, None]
        still = np.mgrid[:9, :14] - np.array([4, 6.5])[:, None, None]
        turns = (places[1] + 1j * places[0]) / (still[1] + 1j * still[0])
        np.testing.assert_allclose(turns, turns[0, 0], atol=1e-9)
        assert abs(turns[0, 0]) == pytest.approx(1)
        assert abs(np.angle(turns[0, 0], deg=True)) <= most + 1e-9

    @given(seed=seeds, height=sides, width=sides)
    def test_the_picture_is_sampled_as_scipy_samples_it(self, seed, height, width):
        sample, places = noise(seed, height, width), rng(seed).uniform(-90, 130, (2, 11, 12))
        inside = reflected(places, (height, width))
        found = image_at(sample.image, inside, (1, 1))
        for channel in range(3):
            pixels = sample.image[..., channel].astype(float)
            # scipy mirrors an axis of one pixel to zeros
            expected = ndimage.map_coordinates(np.tile(pixels, (2 if height == 1 else 1, 2 if width == 1 else 1)), places,
                                               order=1, mode="mirror")  # fmt: skip
            assert np.abs(found[..., channel] - expected).max() < 0.51
        assert (values_at(sample.labels, inside) == sample.labels[tuple(np.rint(inside).astype(int))]).all()

    def test_places_outside_are_mirrored_without_repeating_the_border(self):
        places = np.arange(-5.0, 9.0).reshape(1, 1, -1).repeat(2, 0)
        found = reflected(places, (4, 1))
        assert found[0, 0].tolist() == [1, 2, 3, 2, 1, 0, 1, 2, 3, 2, 1, 0, 1, 2]
        assert not found[1].any()

    def test_a_view_shows_no_void_that_the_picture_has_not(self):
        sample = shaded(np.ones((20, 20)))
        how = replace(STILL, crop=(50, 60), elastic=8, rotate=40)
        assert all((augment(sample, how, VOID, rng(seed)).labels == 1).all() for seed in range(9))

    @given(seed=seeds, scale=st.floats(0.4, 1.5), rotate=st.sampled_from([0, 90]))
    def test_picture_and_labels_go_together(self, seed, scale, rotate):
        how = Augmentation(scale, (50, 70), rotate=rotate, elastic=4, flip_vertical=True)
        found = augment(blocks(), how, VOID, rng(seed))
        safe = inside(found.labels, reach=4)
        assert (found.image[..., 0] == SHADE[found.labels])[safe].all()


class TestFill:
    """With the fill "mean", what lies outside a turned or deformed picture is mean colour and void."""

    HOW = replace(STILL, rotate=1, fill="mean")

    def moved(self, sample, monkeypatch, down, right, how=HOW):
        """The view whose pixels come from `down` and `right` pixels before them."""
        shift = np.array([down, right])[:, None, None]
        monkeypatch.setattr(transforms, "deformed_places", lambda size, *_: np.mgrid[: size[0], : size[1]] - shift)
        return augment(sample, how, VOID, rng())

    def test_a_picture_moved_by_a_whole_pixel(self, monkeypatch):
        sample = noise(0, 3, 4)
        found = self.moved(sample, monkeypatch, 1, 0)
        assert found.image[0].tolist() == [list(MEAN_COLOUR)] * 4
        assert found.labels[0].tolist() == [VOID] * 4
        assert (found.image[1:] == sample.image[:2]).all()
        assert (found.labels[1:] == sample.labels[:2]).all()

    def test_a_picture_moved_by_three_quarters_of_a_pixel(self, monkeypatch):
        """The first column has three quarters of the mean colour, the second a quarter of its own pixel."""
        sample = noise(1, 2, 3)
        found = self.moved(sample, monkeypatch, 0, 0.75)
        pixels = sample.image.astype(float)
        columns = 0.75 * np.array(MEAN_COLOUR) + 0.25 * pixels[:, 0], 0.75 * pixels[:, 0] + 0.25 * pixels[:, 1]
        for column, expected in enumerate(columns):
            assert np.abs(found.image[:, column] - expected).max() < 0.51
        assert (found.labels == np.stack([[VOID, VOID], sample.labels[:, 0], sample.labels[:, 1]], 1)).all()

    def test_no_object_reaches_outside(self, monkeypatch):
        sample = noise(2, 3, 4)
        sample = replace(sample, instances=Instances.of_numbers(np.ones((3, 4), np.int32), np.array([1])))
        found = self.moved(sample, monkeypatch, 1, 2)
        assert found.instances.masks[0].sum() == 2 * 2
        assert not found.instances.masks[0][0].any()
        assert not found.instances.masks[0][:, :2].any()

    @given(seed=seeds, height=sides, width=sides)
    def test_a_turned_picture_is_sampled_as_scipy_samples_it(self, seed, height, width):
        sample = noise(seed, height, width)
        found = augment(sample, replace(STILL, rotate=30, fill="mean"), VOID, rng(seed))
        random = rng(seed)
        transforms._choose_window(sample.labels, STILL, VOID, random)
        places = deformed_places((height, width), 30, 0, random)
        for channel, outside in enumerate(MEAN_COLOUR):
            expected = ndimage.map_coordinates(sample.image[..., channel].astype(float), places, order=1, mode="grid-constant",
                                               cval=outside)  # fmt: skip
            assert np.abs(found.image[..., channel] - expected).max() < 0.51
        rows, columns = np.rint(places).astype(int)
        there = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
        assert (found.labels[there] == sample.labels[rows[there], columns[there]]).all()
        assert (found.labels[~there] == VOID).all()

    def test_in_a_coarse_view_too_all_that_lies_far_outside_is_the_mean_colour(self):
        sample = Sample("white", np.full((60, 80, 3), 255, np.uint8), np.ones((60, 80), np.uint8))
        how = Augmentation(scale=0.25, crop=(40, 40), flip=False, rotate=40, fill="mean")
        for seed in range(5):
            found = augment(sample, how, VOID, rng(seed))
            void = found.labels == VOID
            assert 0.5 < void.mean() < 1
            far = ndimage.binary_erosion(void, iterations=4, border_value=1)
            assert (found.image[far] == MEAN_COLOUR).all()
            assert (found.image[~ndimage.binary_dilation(void, iterations=4, border_value=1)] == 255).all()


class TestContext:
    """A picture that shows more than its labels, for a network with a border."""

    def test_beyond_the_picture_it_is_mirrored(self):
        sample = noise(0, 6, 8)
        found = augment(sample, replace(STILL, crop=(6, 8), context=17), VOID, rng())
        assert (found.labels == sample.labels).all()
        assert (found.image == np.pad(sample.image, ((17, 17), (17, 17), (0, 0)), mode="reflect")).all()

    def test_where_the_picture_goes_on_it_is_the_picture(self):
        # Labels and colours tell the row and the column of each pixel; a crop on a pixel of a class starts at a whole one.
        rows, columns = np.mgrid[:60, :80]
        image = np.stack([rows, columns, 0 * rows], axis=-1).astype(np.uint8)
        sample = Sample("places", image, rows.astype(np.uint8))
        how = replace(STILL, crop=(5, 9), context=4, class_crops=1.0)
        for seed in range(20):
            found = augment(sample, how, VOID, rng(seed))
            middle = found.image[4:9, 4:13]
            shown = found.labels != VOID
            assert (middle[..., 0] == found.labels)[shown].all()
            top, left = (int(middle[2, 4, axis]) - side for axis, side in ((0, 6), (1, 8)))
            whole = np.pad(image, ((9, 9), (9, 9), (0, 0)), mode="reflect")
            assert (found.image == whole[top + 9 : top + 22, left + 9 : left + 26]).all()

    def test_a_whole_picture_has_none(self):
        assert augment(noise(0, 6, 8), replace(STILL, context=17), VOID, rng()).image.shape == (6, 8, 3)

    @given(seed=seeds, height=sides, width=sides)
    def test_the_labels_of_a_deformed_view_lie_in_its_middle(self, seed, height, width):
        how = replace(STILL, crop=(20, 24), context=10, elastic=2, rotate=10)
        found = augment(blocks(), how, VOID, rng(seed))
        assert found.image.shape == (40, 44, 3)
        safe = inside(found.labels, reach=4)
        assert (found.image[10:30, 10:34, 0] == SHADE[found.labels])[safe].all()


def test_more_than_255_classes():
    sample = Sample("many", np.zeros((8, 8, 3), np.uint8), np.arange(64, dtype=np.uint16).reshape(8, 8) * 10)
    found = augment(sample, Augmentation(crop=(9, 9), scale_jitter=(0.5, 2)), 65535, rng())
    assert found.labels.dtype == np.uint16
    assert set(np.unique(found.labels)) <= {*np.unique(sample.labels), 65535}


@given(seeds)
def test_the_identity_changes_no_colour(seed):
    image = noise(seed, 9, 7).image
    assert (recolour(image, np.eye(3, 4)) == image).all()
    np.testing.assert_allclose(colour_matrix(0.0, 100.0, rng(seed)), np.eye(3, 4), atol=1e-12)


def test_recolour_by_hand():
    matrix = np.array([[0, 1, 0, 0], [0.5, 0, 0, 10], [0, 0, 2, 0]])
    assert recolour(np.array([[[20, 30, 200]]], np.uint8), matrix).tolist() == [[[30, 20, 255]]]


@pytest.mark.parametrize("strength", [0.2, 1.0])
def test_grey_stays_grey(strength):
    # Hue turns and saturation spreads about the grey axis; only brightness and contrast move along it.
    matrix = colour_matrix(strength, 100.0, rng())
    changed = matrix @ np.array([100, 100, 100, 1])
    assert np.ptp(changed) < 1e-9
    assert 100 * (1 - strength / 2) <= changed[0] <= 100 * (1 + strength / 2)


def test_scales_in_steps_are_those_of_deeplabs_code():
    """From 0.5 to 2 in steps of 0.25, each as likely: a crop of 8 x 8 shows 16 to 4 pixels of the picture a side."""
    how = replace(STILL, crop=(8, 8), scale_jitter=(0.5, 2.0), scale_steps=0.25)
    sample, random = noise(0, 40, 40), rng()
    drawn = Counter(round(8 / _choose_window(sample.labels, how, VOID, random).sides[0], 9) for _ in range(700))
    assert sorted(drawn) == [0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0]
    assert min(drawn.values()) > 60


@pytest.mark.parametrize(
    ("size", "short", "long", "expected"),
    [((480, 640), 800, 1333, (800, 1067)), ((640, 480), 800, 1333, (1067, 800)), ((300, 900), 800, 1333, (444, 1333)),
     ((500, 500), 1000, None, (1000, 1000)), ((48, 640), 800, None, (800, 10667))],
)  # fmt: skip
def test_a_whole_picture_has_the_short_side_as_far_as_the_long_one_allows(size, short, long, expected):
    """Detectron: the shorter side 800, the longer one 1333 at most."""
    how = replace(STILL, short_sides=(short,), long_side=long)
    assert _choose_window(np.zeros(size, np.uint8), how, VOID, rng()).size == expected


def test_every_short_side_is_drawn():
    random, how = rng(), replace(STILL, short_sides=(6, 8, 10))
    assert {min(augment(noise(0, 12, 14), how, VOID, random).labels.shape) for _ in range(40)} == {6, 8, 10}


def test_a_blur_by_hand():
    """One light pixel spreads by 1, 4, 6, 4, 1 of 16 down and to the right; at a border the picture is mirrored."""
    image = np.zeros((7, 9, 3), np.uint8)
    image[3, 4] = 255
    weights = np.array([1, 4, 6, 4, 1])
    assert (blurred(image)[1:6, 2:7, 0] == np.floor(255 * np.outer(weights, weights) / 256 + 0.5)).all()
    edge = np.zeros((1, 5, 3), np.uint8)
    edge[0, 1] = 160
    assert blurred(edge)[0, :, 1].tolist() == [80, 70, 40, 10, 0]
    assert (blurred(np.full((3, 4, 3), 200, np.uint8)) == 200).all()


@given(seed=seeds, height=st.integers(5, 30), width=st.integers(5, 30))
def test_a_blur_is_opencvs(seed, height, width):
    cv2 = pytest.importorskip("cv2", reason="OpenCV is not installed")
    image = noise(seed, height, width).image
    assert (blurred(image) == cv2.GaussianBlur(image, (5, 5), 0)).all()


def test_the_share_of_pictures_that_blur_says_is_blurred():
    sample, random = noise(0, 12, 14), rng()
    views = [augment(sample, replace(STILL, blur=0.5), VOID, random) for _ in range(400)]
    sharp = sum((view.image == sample.image).all() for view in views)
    assert 150 < sharp < 250
    assert all((view.image == blurred(sample.image)).all() or (view.image == sample.image).all() for view in views)
    assert all((view.labels == sample.labels).all() for view in views)
