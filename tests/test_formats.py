"""The law of every format: from it and back to it no pixel changes that it can hold; what it cannot hold is told, by count."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from perpixel.classes import VOID_NAME, ClassTable
from perpixel.exchange import Content, Holds, Shape, Told, background_of, drawn
from perpixel.formats import FORMATS, format_of
from perpixel.sample import Instances

SIZE = (9, 12)
STREET = ClassTable(
    ("background", "car", "person", "a & \"b\" <c>, é"), ((0, 0, 0), (9, 9, 9), (200, 30, 30), (0, 80, 0)), ((0,), (1,), (2,), (3,))
)
CITY = ClassTable(("road", "car", "person", "sky"), ((1, 2, 3), (9, 9, 9), (200, 30, 30), (0, 80, 0)), ((7,), (26,), (24,), (23,)), (0,))


def written_and_read(format: str, content: Content, classes: ClassTable, folder: Path) -> tuple[Content, ClassTable, Told]:
    """What a format makes of one picture."""
    told = Told()
    out = folder / "out"
    out.mkdir()
    writer = FORMATS[format].writer(out, classes, told)
    writer.add("aachen_000000_000019", "val", content)
    writer.close()
    assert format_of(out) == format
    source = FORMATS[format].read(out, None)
    assert [item.split for item in source.items] == ["val"]
    assert not source.told.kinds
    return source.items[0].read(), source.classes, told


def things(content: Content, classes: ClassTable) -> set[tuple[str, bytes, bool]]:
    """The objects, by name, pixels and crowd."""
    objects = content.instances
    if objects is None:
        return set()
    return {
        (classes.names[id], mask.tobytes(), bool(crowd))
        for id, mask, crowd in zip(objects.class_ids, objects.masks, objects.crowd, strict=True)
    }


def by_name(labels: NDArray, classes: ClassTable) -> list[str]:
    names = [*classes.names, *[""] * (classes.void - len(classes)), VOID_NAME]
    return [names[id] for id in labels.ravel()]


@st.composite
def pictures(draw: st.DrawFn, holds: Holds, classes: ClassTable) -> Content:
    """A picture that a format holds whole: objects with holes, of several pieces, that touch, overlap or are crowds, and void."""
    names = [name for name in classes.names if name != "background"]
    bits = st.lists(st.booleans(), min_size=SIZE[0] * SIZE[1], max_size=SIZE[0] * SIZE[1])
    taken = np.zeros(SIZE, bool)
    shapes, crowds = [], set()
    for _ in range(draw(st.integers(0, 4))):
        mask = np.array(draw(bits)).reshape(SIZE)
        if draw(st.booleans()):
            top, left, high, wide = (draw(st.integers(0, most)) for most in (7, 9, 8, 8))
            mask = np.zeros(SIZE, bool)
            mask[top : top + high + 1, left : left + wide + 1] = True
        if not holds.overlap:
            mask &= ~taken
        taken |= mask
        name = draw(st.sampled_from(names))
        crowd = holds.crowd and draw(st.booleans())
        if holds.maps and crowd and (name in crowds or name not in ("car", "person")):
            continue  # groups of Cityscapes are one for each label
        if mask.any():
            crowds |= {name} if crowd else set()
            shapes.append(Shape(name, mask, crowd))
    labels, objects = drawn(shapes, classes, SIZE, holds.ordered)
    if holds.maps:
        stuff = np.array(draw(st.lists(st.integers(0, 2), min_size=108, max_size=108))).reshape(SIZE)
        none = background_of(classes)
        labels = np.where(taken, labels, np.where(stuff == 2, classes.void, 0 if none is None else none)).astype(classes.dtype)
    elif holds.void:
        labels[np.array(draw(bits)).reshape(SIZE)] = classes.void
    return Content(np.full((*SIZE, 3), 77, np.uint8), labels, objects)


@pytest.mark.parametrize("format", FORMATS)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_there_and_back_changes_nothing_that_the_format_holds(format: str, data: st.DataObject) -> None:
    classes = CITY if format == "cityscapes" else STREET
    content = data.draw(pictures(FORMATS[format].holds, classes))
    if format == "cityscapes":  # road and sky have no instances there
        assert content.instances is not None
        keep = np.isin(content.instances.class_ids, (1, 2))
        objects = Instances(content.instances.masks[keep], content.instances.class_ids[keep], crowd=content.instances.crowd[keep])
        content = Content(content.picture, content.labels, objects)
    with tempfile.TemporaryDirectory() as folder:
        back, table, told = written_and_read(format, content, classes, Path(folder))
        assert not told.kinds
        assert by_name(back.labels, table) == by_name(content.labels, classes)
        assert things(back, table) == things(content, classes)

