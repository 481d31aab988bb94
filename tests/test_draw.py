"""Pictures for people: what is coloured, what is left, and how large they are."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perpixel import draw
from perpixel.classes import ClassTable
from perpixel.sample import Instances

VOID = 255
ROAD, CAR, SKY = (128, 64, 128), (0, 0, 142), (70, 130, 180)
TABLE = ClassTable(("road", "car", "sky"), (ROAD, CAR, SKY), ((0,), (1,), (2,)))


def plain(colour, height, width):
    return np.full((height, width, 3), colour, np.uint8)


def holds(picture, colour):
    return (picture == colour).all(2).any()


def test_colours_of_classes_and_void():
    assert draw.colours(np.array([[0, 2, VOID]], np.uint8), TABLE).tolist() == [[list(ROAD), list(SKY), [0, 0, 0]]]


def test_overlay_mixes_half_and_leaves_void():
    image, labels = plain((200, 100, 50), 1, 3), np.array([[0, 1, VOID]], np.uint8)
    mixed = draw.overlay(image, labels, TABLE, legend=False)
    assert mixed.tolist() == [[[164, 82, 89], [100, 50, 96], [200, 100, 50]]]
    assert (image == (200, 100, 50)).all()


@given(seed=st.integers(0, 2**32 - 1))
def test_overlay_is_within_1_of_the_mean(seed):
    random = np.random.default_rng(seed)
    image, labels = random.integers(0, 256, (5, 6, 3), np.uint8), random.choice(np.array([0, 1, 2], np.uint8), (5, 6))
    mean = (image.astype(float) + draw.colours(labels, TABLE)) / 2
    assert np.abs(draw.overlay(image, labels, TABLE, legend=False) - mean).max() <= 1


def test_the_legend_lists_the_classes_present_and_is_as_wide_as_the_picture():
    image, labels = plain((255, 255, 255), 40, 150), np.zeros((40, 150), np.uint8)
    labels[0, 0] = 2
    labels[1, 1] = VOID
    picture = draw.overlay(image, labels, TABLE)
    legend = picture[40:]
    assert picture.shape[1:] == (150, 3)
    assert len(legend) > 0
    assert [holds(legend, colour) for colour in (ROAD, CAR, SKY)] == [True, False, True]


@pytest.mark.parametrize(("width", "lines"), [(1, 3), (30, 3), (500, 1)])
def test_a_narrow_legend_takes_more_lines(width, lines):
    labels = np.arange(3, dtype=np.uint8).repeat(width).reshape(3, width)
    assert draw.overlay(plain((0, 0, 0), 3, width), labels, TABLE).shape == (3 + 18 * lines, width, 3)


def test_each_object_has_a_colour_of_its_own_and_an_outline_of_its_class():
    image, labels = plain((0, 0, 0), 5, 12), np.zeros((5, 12), np.uint8)
    masks = np.zeros((2, 5, 12), bool)
    masks[0, :, :5] = masks[1, :, 7:] = True
    labels[masks.any(0)] = 1
    picture = draw.overlay(image, labels, TABLE, legend=False, objects=Instances(masks, np.array([1, 1])))
    for left, colour in ((0, [64, 0, 0]), (7, [0, 64, 0])):  # half of the first two colours
        square = picture[:, left : left + 5]
        assert (square[1:4, 1:4] == colour).all()
        square = square.copy()
        square[1:4, 1:4] = CAR
        assert (square == CAR).all()
    assert (picture[:, 5:7] == np.array(ROAD) // 2).all()
    assert (image == 0).all()


def test_of_objects_that_overlap_the_one_with_the_highest_score_is_on_top():
    image, labels = plain((0, 0, 0), 3, 4), np.ones((3, 4), np.uint8)
    masks = np.zeros((2, 3, 4), bool)
    masks[0, :, :3] = masks[1, :, 1:] = True
    for scores, middle in (([0.9, 0.2], [64, 0, 0]), ([0.2, 0.9], [0, 64, 0])):
        objects = Instances(masks, np.array([1, 1]), np.array(scores, np.float32))
        picture = draw.overlay(image, labels, TABLE, legend=False, objects=objects)
        assert picture[1, 1 if scores[0] > scores[1] else 2].tolist() == middle


def test_objects_without_a_pixel_draw_nothing():
    image, labels = plain((9, 9, 9), 3, 4), np.zeros((3, 4), np.uint8)
    nothing = Instances(np.zeros((1, 3, 4), bool), np.array([1]))
    assert np.array_equal(draw.overlay(image, labels, TABLE, False, nothing), draw.overlay(image, labels, TABLE, False))


def test_a_void_picture_has_no_legend():
    image = plain((1, 2, 3), 4, 5)
    assert (draw.overlay(image, np.full((4, 5), VOID, np.uint8), TABLE) == image).all()


def test_more_than_255_classes():
    table = ClassTable.of([f"class {i}" for i in range(300)])
    labels = np.array([[299, 65535]], np.uint16)
    covered = draw.overlay(plain((10, 20, 30), 1, 2), labels, table, legend=False)
    red, green, blue = table.colours[299]
    assert covered.tolist() == [[[5 + red // 2, 10 + green // 2, 15 + blue // 2], [10, 20, 30]]]


def test_error_map_is_light_where_right_red_where_wrong_black_where_void():
    truth, predicted = np.array([[0, 1, VOID, VOID]], np.uint8), np.array([[0, 0, 0, VOID]], np.uint8)
    assert draw.error_map(truth, predicted, VOID).tolist() == [[list(draw.RIGHT), list(draw.WRONG), [0, 0, 0], [0, 0, 0]]]


def test_a_sheet_is_a_grid_under_titles():
    red, green, blue = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    rows = [[plain(red, 20, 30), plain(green, 10, 40)], [plain(blue, 5, 6), plain(red, 7, 8)]]
    page = draw.sheet(rows, ["picture", "truth"], gap=4)
    top = 18  # the line of titles
    assert page.shape == (top + 20 + 4 + 7 + 4, 30 + 4 + 40, 3)
    assert (page[top : top + 20, :30] == red).all()
    assert (page[top : top + 10, 34:74] == green).all()
    assert (page[top + 10 : top + 24, 34:74] == draw.PAPER).all()
    assert (page[top + 24 : top + 29, :6] == blue).all()
    assert (page[top + 24 : top + 31, 34:42] == red).all()
    assert (page[:top] != draw.PAPER).any()


def test_curves_draw_a_line_of_each_colour():
    picture = draw.curves({"train": [(0, 1), (10, 0.5)], "val": [(0, 0.2), (10, 0.9)]}, "loss", size=(200, 300))
    assert picture.shape == (200, 300, 3)
    assert holds(picture, (128, 0, 0))
    assert holds(picture, (0, 128, 0))


@pytest.mark.parametrize("lines", [{}, {"val": []}, {"val": [(0, float("nan"))]}, {"val": [(float("inf"), 1)]}])
def test_curves_without_data_are_an_empty_page_with_a_title(lines):
    picture = draw.curves(lines, "mIoU", size=(200, 300))
    assert picture.shape == (200, 300, 3)
    assert (picture[24:] == draw.PAPER).all()
    assert (picture[:24] != draw.PAPER).any()


@pytest.mark.parametrize("line", [[(3, 0.5)], [(0, 7), (1, 7)], [(2, 1), (2, 5)], [(0, 1), (1, float("nan")), (2, 3)]])
def test_curves_with_hardly_any_data(line):
    assert draw.curves({"val": line, "train": []}, "mIoU").shape == (300, 460, 3)


def test_an_object_has_its_class_and_score_where_they_fit():
    image, labels = plain((0, 0, 0), 60, 120), np.zeros((60, 120), np.uint8)
    wide, small = np.zeros((2, 60, 120), np.bool_)
    wide[5:55, 10:110] = True
    small[30:36, 2:8] = True
    scores = np.array([0.87], np.float32)
    found = None, Instances(wide[None], np.array([1]), scores), Instances(small[None], np.array([1]), scores)
    without, named, tiny = (draw.overlay(image, labels, TABLE, legend=False, objects=objects) for objects in found)
    light = (named == 255).all(2)
    assert light[5:19, 10:].any()
    assert not light[19:].any()
    assert not (tiny == 255).all(2).any()
    assert not (without == 255).all(2).any()


def test_a_title_that_is_wider_than_its_column_has_more_lines():
    pictures = [[plain((9, 9, 9), 20, 100), plain((9, 9, 9), 20, 100)]]
    one, several = (draw.sheet(pictures, titles) for titles in (["a", "b"], ["a", "deeplabv3, rates 1-2-3, width 0.25"]))
    assert one.shape == (18 + 20 + 4, 204, 3)
    assert several.shape[0] > one.shape[0]
    assert (several[:, 100:104] == 255).all()  # nothing is written between the columns


def test_a_picture_in_a_notebook_is_small_and_its_legend_is_not():
    labels = np.zeros((1000, 2000), np.uint8)
    small = draw.shown(plain((200, 100, 50), 1000, 2000), labels, TABLE)
    assert small.shape == (320 + 18, 640, 3)
    assert holds(small[320:], ROAD)
    assert draw.shown(plain((9, 9, 9), 4, 5), np.full((4, 5), VOID, np.uint8), TABLE).shape == (4, 5, 3)
    assert draw.thumbnail(plain((9, 9, 9), 4, 5), 3).shape == (2, 3, 3)
