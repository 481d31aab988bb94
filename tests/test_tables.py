"""CSV files: no cell begins a formula, and an error names its line."""

import csv
import io
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from perpixel.errors import DataError
from perpixel.tables import read_csv, to_csv

CELLS = st.text(st.sampled_from("=+-@'\t,\"a \n"), min_size=1, max_size=6).map(str.strip).filter(bool)


@given(st.lists(CELLS, min_size=1, max_size=5))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_cells_come_back_and_none_begins_a_formula(tmp_path: Path, cells: list[str]) -> None:
    data = to_csv(("name",), [(cell,) for cell in cells])
    raw = [row[0] for row in csv.reader(io.StringIO(data.decode(), newline=""))]
    assert not any(cell.startswith(("=", "+", "-", "@", "\t")) for cell in raw)
    (tmp_path / "a.csv").write_bytes(data)
    assert [row["name"] for _, row in read_csv(tmp_path / "a.csv", ("name",))] == cells


def test_a_cell_of_more_than_128_kib_is_told_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(f"id,name\n0,road\n1,{'x' * 200_000}\n")
    with pytest.raises(DataError, match=r"a\.csv, line 3: is no CSV \(field larger than field limit"):
        list(read_csv(tmp_path / "a.csv", ("id", "name")))


def test_a_byte_order_mark_is_no_part_of_the_first_column(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes("id,name\n0,été\n".encode("utf-8-sig"))
    assert list(read_csv(tmp_path / "a.csv", ("id", "name"))) == [(2, {"id": "0", "name": "été"})]
