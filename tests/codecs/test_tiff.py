"""The place of a TIFF on the earth, and its value for no data, by its tags alone: with GDAL's own as the oracle."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from perpixel.codecs.geotiff import is_raster
from perpixel.codecs.tiff import Georeference, read_georeference, read_no_data, read_tags
from perpixel.images import count_pages, dropped, read_header

PLACE = (0.5, 0.0, 500000.0, 0.0, -0.5, 4649776.0)


def place_of(path: Path) -> Georeference | None:
    with path.open("rb") as file:
        return read_georeference(file)


def put(path: Path, **profile: Any) -> Path:
    rasterio = pytest.importorskip("rasterio")
    pixels = np.arange(48 * 64, dtype=np.uint8).reshape(1, 48, 64)
    tags = profile.pop("tags", {})
    given = {"crs": "EPSG:32632", "transform": rasterio.Affine(*PLACE), **profile}
    with rasterio.open(path, "w", driver="GTiff", height=48, width=64, count=1, dtype="uint8", **given) as file:
        file.write(pixels)
        file.update_tags(**tags)
    return path


@pytest.mark.parametrize(
    "profile",
    [
        {}, {"BIGTIFF": "YES"}, {"ENDIANNESS": "BIG"}, {"crs": "EPSG:4326"}, {"crs": None}, {"tags": {"AREA_OR_POINT": "Point"}},
        {"crs": "+proj=laea +lat_0=10 +lon_0=20 +R=6371000"}, {"turned": (0.4, 0.3, 7.0, 0.3, -0.4, 9.0)},
    ],
    ids=str,
)  # fmt: skip
def test_a_georeference_is_that_of_gdal(tmp_path: Path, profile: dict[str, Any]) -> None:
    rasterio = pytest.importorskip("rasterio")
    profile = dict(profile)
    if "turned" in profile:
        profile["transform"] = rasterio.Affine(*profile.pop("turned"))
    path = put(tmp_path / "map.tif", **profile)
    with rasterio.open(path) as file:
        transform, code = tuple(file.transform)[:6], None if file.crs is None else file.crs.to_epsg()
    found = place_of(path)
    assert found is not None
    assert found.transform == pytest.approx(transform)
    assert found.epsg == code
    assert is_raster(path)


def test_what_has_no_place(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "photo.tif")
    (tmp_path / "text.tif").write_text("no picture")
    assert [place_of(tmp_path / name) for name in ("photo.tif", "text.tif")] == [None, None]
    assert not any(is_raster(tmp_path / name) for name in ("photo.tif", "text.tif", "nothing.tif"))
    (tmp_path / "photo.tfw").write_text("0.5\n0\n0\n-0.5\n500000\n4649776\n")
    assert is_raster(tmp_path / "photo.tif")


@pytest.mark.parametrize(("value", "read"), [(255, 255), (0, 0), (None, None)])
def test_the_value_for_no_data(tmp_path: Path, value: int | None, read: int | None) -> None:
    with put(tmp_path / "map.tif", nodata=value).open("rb") as file:
        assert read_no_data(file) == read


@pytest.mark.parametrize("text", ["nan", "inf", "1.5", "many", ""])
def test_a_value_that_is_no_whole_number(tmp_path: Path, text: str) -> None:
    Image.new("L", (4, 4)).save(tmp_path / "map.tif", tiffinfo={42113: text})
    with (tmp_path / "map.tif").open("rb") as file:
        assert read_no_data(file) is None


def test_a_damaged_directory_has_no_tags(tmp_path: Path) -> None:
    content = put(tmp_path / "map.tif").read_bytes()
    for length in range(0, len(content), 37):
        read_tags(io.BytesIO(content[:length]))
        read_georeference(io.BytesIO(content[:length]))
    assert read_tags(io.BytesIO(content[:4])) == {}


def test_georeferences_that_differ() -> None:
    here = Georeference(PLACE, 32632)
    assert not here.differs(here)
    assert not here.differs(Georeference((0.5, 0, 500000.004, 0, -0.5, 4649776), None))
    assert here.differs(Georeference((0.5, 0, 500000.006, 0, -0.5, 4649776), 32632))
    assert here.differs(Georeference((0.500001, 0, 500000, 0, -0.5, 4649776), 32632))
    assert here.differs(Georeference(PLACE, 32633))
    assert not here.differs(Georeference(None, 32632))


def test_overviews_are_no_pages(tmp_path: Path) -> None:
    rasterio = pytest.importorskip("rasterio")
    path = put(tmp_path / "map.tif")
    with rasterio.open(path, "r+") as file:
        file.build_overviews([2, 4])
    assert (count_pages(path), read_header(path).pages, dropped(path)) == (1, 1, ())
    frames = [Image.new("L", (8, 8), shade) for shade in (1, 2, 3)]
    frames[0].save(tmp_path / "stack.tif", save_all=True, append_images=frames[1:])
    assert count_pages(tmp_path / "stack.tif") == 3
