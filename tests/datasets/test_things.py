"""things: same seed same picture, every kind as often, one label a picture, and colours that do not show the kind."""

import numpy as np
import pytest

from perpixel.datasets import scenes
from perpixel.datasets.things import FLAT, KINDS, SEED, STREET, Things, draw_thing
from perpixel.errors import UnknownName


def test_there_are_24_kinds_of_which_streets_have_seven():
    assert len(KINDS) == len(set(KINDS)) == len(Things.classes) == 24
    assert (len(FLAT), len(STREET)) == (17, 7)


def test_a_sample_depends_on_split_and_index_only():
    first, again = Things("val", count=8).sample(5), Things("val").sample(5)
    assert first.name == again.name == "val_00005"
    assert first.image.tobytes() == again.image.tobytes()


def test_splits_share_no_picture_and_no_seed_with_scenes():
    pictures = [Things(split).sample(index).image.tobytes() for split in Things.splits for index in range(24)]
    assert len(set(pictures)) == 48
    assert SEED != scenes.SEED


def test_every_pixel_has_the_class_of_the_thing_and_every_kind_comes_as_often():
    dataset = Things("val", count=48)
    labels = [dataset.sample(index).labels for index in range(48)]
    assert all((one == one[0, 0]).all() for one in labels)
    assert np.bincount([one[0, 0] for one in labels], minlength=24).tolist() == [2] * 24


@pytest.mark.parametrize("kind", KINDS)
def test_the_thing_is_seen(kind):
    """Without it the picture of the same seed is another in a fiftieth of its pixels at least, in most pictures."""
    shares = []
    for seed in range(6):
        drawn = draw_thing((seed, 1), kind).astype(int)
        shares.append(np.mean([(np.abs(drawn - draw_thing((seed, 1), other)).max(2) > 40).mean() for other in ("ball", "fish")]))
    assert np.median(shares) > 0.02


@pytest.mark.parametrize("size", [(64, 64), (101, 75), (33, 140)])
def test_any_size(size):
    image = draw_thing(1, "boat", size)
    assert (image.shape, image.dtype) == ((*size, 3), np.uint8)


def test_colour_says_little_about_the_kind():
    """The nearest mean colour names the kind of few pictures: chance is 1 in 24."""
    colours = np.array([Things("train").sample(index).image.mean((0, 1)) for index in range(480)])
    kinds = np.arange(480) % 24
    means = np.array([colours[:240][kinds[:240] == kind].mean(0) for kind in range(24)])
    guessed = np.abs(colours[240:, None] - means).sum(2).argmin(1)
    assert (guessed == kinds[240:]).mean() < 0.15


def test_unknown_names_are_told():
    with pytest.raises(UnknownName, match="no kind of thing 'boot'; did you mean 'boat'"):
        draw_thing(0, "boot")
    with pytest.raises(UnknownName, match="no split of things 'vall'; did you mean 'val'"):
        Things("vall")
    with pytest.raises(IndexError, match="has 480 pictures"):
        Things("val").sample(480)
