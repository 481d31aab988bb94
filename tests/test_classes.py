"""The class table: the values in a mask, and the classes they mean."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from perpixel.classes import ClassTable, distinct_colours
from perpixel.errors import DataError

STREET = ClassTable(("road", "car"), ((128, 64, 128), (0, 0, 142)), ((7, 8), (26,)), void_values=(0, 255))
COLOURS = st.tuples(*[st.integers(0, 255)] * 3)
NAMES = st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=8).filter(lambda name: name != "void")


@st.composite
def tables(draw):
    names = draw(st.lists(NAMES, min_size=1, max_size=6, unique=True))
    values = draw(st.lists(st.integers(0, 65535), min_size=len(names), max_size=12, unique=True))
    owners = [*range(len(names)), *(draw(st.integers(0, len(names))) for _ in values[len(names) :])]  # the last is void
    owned = [tuple(value for value, owner in zip(values, owners, strict=True) if owner == i) for i in range(len(names) + 1)]
    colours = draw(st.lists(COLOURS, min_size=len(names), max_size=len(names)))
    return ClassTable(tuple(names), tuple(colours), tuple(owned[:-1]), owned[-1], draw(COLOURS) if owned[-1] else (0, 0, 0))


def test_values_on_disk_become_class_ids():
    assert STREET.decode(np.array([[7, 8, 26], [0, 255, 7]], np.uint8)).tolist() == [[0, 0, 1], [255, 255, 0]]


def test_class_ids_are_written_as_their_first_value():
    assert STREET.encode(np.array([[0, 1, 255]], np.uint8)).tolist() == [[7, 26, 0]]


def test_an_unknown_value_is_named_with_its_first_pixel_and_count():
    mask = np.array([[7, 7, 7], [7, 9, 9]], np.uint8)
    with pytest.raises(DataError, match=r"a\.png: value 9 at row 1, column 1 \(2 pixels\) is in no class"):
        STREET.decode(mask, "a.png")


def test_all_unknown_values_in_the_order_of_their_first_pixels():
    mask = np.array([[7, 200, 9], [9, 9, 1]], np.uint8)
    assert STREET.unknown_values(mask) == [(200, 0, 1, 1), (9, 0, 2, 3), (1, 1, 2, 1)]


@settings(deadline=None)
@given(tables(), arrays.arrays(np.uint16, arrays.array_shapes(min_dims=2, max_dims=2, max_side=6)))
def test_unknown_values_are_always_found(table, mask):
    known = {value for values in (*table.values, table.void_values) for value in values}
    unknown = table.unknown_values(mask)
    assert {value for value, *_ in unknown} == set(mask.ravel().tolist()) - known
    for value, row, column, count in unknown:
        assert mask[row, column] == value
        assert count == (mask == value).sum()
        assert value not in mask[:row]
    if unknown:
        with pytest.raises(DataError, match=f"value {unknown[0][0]} at row {unknown[0][1]}, column {unknown[0][2]} "):
            table.decode(mask)


def test_tables_of_as_many_classes_as_a_byte_holds():
    for count in (253, 254, 255, 256):
        values = np.arange(256, dtype=np.uint8).reshape(16, 16)[: count // 16]
        for mask in (values, values[::2, ::3], values.T):  # lying in memory in any order
            labels = ClassTable.of([f"c{i}" for i in range(count)]).decode(mask)
            assert labels.tolist() == mask.tolist()
            labels += 0  # which fails where it cannot be written to
    for count in (253, 254):
        with pytest.raises(DataError, match=rf"value {count} at row 0, column 1 \(1 pixels\)"):
            ClassTable.of([f"c{i}" for i in range(count)]).decode(np.array([[count - 1, count, 255]], np.uint8))


@given(tables(), arrays.arrays(np.uint8, st.tuples(st.integers(0, 6), st.integers(0, 6))))
def test_bytes_are_decoded_as_wider_values_are(table, mask):
    values = [value for owned in (*table.values, table.void_values) for value in owned if value < 256]
    for narrow in (mask, np.array(values, np.uint8)[mask % len(values)] if values else mask):
        wide = narrow.astype(np.uint16)
        if table.unknown_values(wide):
            with pytest.raises(DataError) as expected:
                table.decode(wide)
            with pytest.raises(DataError) as raised:
                table.decode(narrow)
            assert str(raised.value) == str(expected.value)
        else:
            assert table.decode(narrow).dtype == table.decode(wide).dtype
            assert table.decode(narrow).tolist() == table.decode(wide).tolist()


@settings(deadline=None)
@given(tables(), st.data())
def test_decode_undoes_encode(table, data):
    ids = [*range(len(table)), *([table.void] if table.void_values else [])]
    labels = data.draw(arrays.arrays(table.dtype, (3, 4), elements=st.sampled_from(ids)))
    assert np.array_equal(table.decode(table.encode(labels)), labels)


@settings(deadline=None)
@given(tables())
def test_json_gives_the_table_back(table):
    assert ClassTable.from_json(table.to_json()) == table


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tables())
def test_csv_gives_the_table_back(tmp_path, table):
    table.write_csv(tmp_path / "classes.csv")
    assert ClassTable.read_csv(tmp_path / "classes.csv") == table


def test_void_has_no_class_id():
    few, many = ClassTable.of([str(i) for i in range(255)]), ClassTable.of([str(i) for i in range(256)])
    assert (few.void, few.dtype, few.void_values) == (255, np.uint8, (255,))
    assert (many.void, many.dtype, many.void_values) == (65535, np.uint16, (65535,))


def test_the_palette_ends_with_void():
    assert STREET.palette.tolist() == [[128, 64, 128], [0, 0, 142], [0, 0, 0]]


def test_colours_are_distinct():
    assert distinct_colours(3) == [(128, 0, 0), (0, 128, 0), (128, 128, 0)]
    assert len(set(distinct_colours(255))) == 255


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "the first line must be"),
        ("name;id\n", "the first line must be"),
        ("id,name,r,g,b\n", "at least one class"),
        ("id,name\n0,road\nx,car\n", "line 3: expected"),
        ("id,name\n0,road\n1\n", "line 3"),
        ("id,name\n0,\n", "line 2.*the name is empty"),
        ("id,name,r,g,b\n0,road,300,0,0\n", "line 2.*outside 0..255"),
        ("id,name,r,g,b\n0,road,1\n", "line 2"),
        ("id,name\n0,road\n0,car\n", "the value 0 stands for two classes"),
        ("id,name\n70000,road\n", "must lie in 0..65535"),
        ("id,name\n-1,road\n", "must lie in 0..65535"),
    ],
)
def test_a_malformed_table_is_refused_with_its_place(tmp_path, text, words):
    (tmp_path / "classes.csv").write_text(text)
    with pytest.raises(DataError, match=rf"classes\.csv.*{words}"):
        ClassTable.read_csv(tmp_path / "classes.csv")


def test_a_table_that_is_no_text_or_not_there(tmp_path):
    with pytest.raises(DataError, match=r"classes\.csv: there is no such file"):
        ClassTable.read_csv(tmp_path / "classes.csv")
    (tmp_path / "classes.csv").write_bytes(b"id,name\n0,stra\xdfe\n")
    with pytest.raises(DataError, match="save it as UTF-8"):
        ClassTable.read_csv(tmp_path / "classes.csv")


def test_rows_of_one_name_are_one_class_and_colours_may_be_missing(tmp_path):
    (tmp_path / "classes.csv").write_text("\ufeffid, name\n1, road\n2, road\n3, car\n9, void\n", encoding="utf-8")
    table = ClassTable.read_csv(tmp_path / "classes.csv")
    assert (table.names, table.values, table.void_values) == (("road", "car"), ((1, 2), (3,)), (9,))
    assert table.colours == ((128, 0, 0), (0, 128, 0))


@pytest.mark.parametrize("change", [{"names": ["road"]}, {"values": [[7], [7]]}, {"colours": None}, {"void_values": ["x"]}])
def test_a_malformed_json_table_is_refused(change):
    with pytest.raises(DataError, match="class table"):
        ClassTable.from_json(STREET.to_json() | change)
