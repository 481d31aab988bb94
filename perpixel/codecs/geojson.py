"""Regions of a raster as GeoJSON (RFC 7946), written one after the other.

    {"type": "FeatureCollection", "features": [
    {"type": "Feature", "properties": {"class": "box", "id": 1, "pixels": 96, "area": 24.0}, "geometry": {"type": "Polygon", ...

`area` is in square metres, where the CRS is projected. Coordinates are longitude and latitude (WGS 84), as the RFC asks; or those
of the CRS, which the file then names as GeoJSON of 2008 did."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from perpixel.classes import ClassTable
from perpixel.codecs.geotiff import gdal_errors
from perpixel.errors import DataError

WGS84 = "EPSG:4326"
TOGETHER = 50_000  # corners that are transformed in one call
DIGITS = 9  # of degrees: a tenth of a millimetre


def write_geojson(path: Path, regions: Iterable[Any], classes: ClassTable, crs: Any, transform: Any, in_crs: bool) -> int:
    """Writes `masks.regions.Region`s, whose corners are in pixels, and returns their number.

    `transform` leads from column and row to the CRS; without one, coordinates are columns and rows. With `in_crs`, or without a
    CRS, coordinates are not transformed to WGS 84. Raises DataError where they cannot be."""
    place = _Place(crs, transform, in_crs)
    count = 0
    with path.open("wb") as file:
        file.write(b'{"type": "FeatureCollection",' + place.named + b' "features": [')
        for batch in _batches(regions):
            rings = iter(place.coordinates([ring for region in batch for ring in (region.outer, *region.holes)]))
            for region in batch:
                properties: dict[str, Any] = {"class": classes.names[region.label], "id": region.label, "pixels": region.pixels}
                if place.metres is not None:
                    properties["area"] = round(region.pixels * place.metres, 6)
                coordinates = [next(rings) for _ in range(1 + len(region.holes))]
                geometry = {"type": "Polygon", "coordinates": coordinates}
                feature = {"type": "Feature", "properties": properties, "geometry": geometry}
                file.write((b",\n" if count else b"\n") + msgspec.json.encode(feature))
                count += 1
        file.write(b"\n]}\n")
    return count


def _batches(regions: Iterable[Any]) -> Iterator[list[Any]]:
    """Regions with about TOGETHER corners each time."""
    batch, corners = list[Any](), 0
    for region in regions:
        batch.append(region)
        corners += len(region.outer) + sum(map(len, region.holes))
        if corners >= TOGETHER:
            yield batch
            batch, corners = [], 0
    if batch:
        yield batch


class _Place:
    """How corners in pixels become coordinates. `metres` is the area of a pixel in square metres, None where it is not known."""

    def __init__(self, crs: Any, transform: Any, in_crs: bool) -> None:
        self._crs, self._transform = crs, transform
        self._to_wgs84 = crs is not None and transform is not None and not in_crs
        self.metres = None
        if crs is not None and transform is not None and crs.is_projected:
            self.metres = abs(transform.determinant) * float(crs.linear_units_factor[1]) ** 2
        # A ring is clockwise where y points down. As a map shows it, the RFC wants an outer ring to be counterclockwise.
        self._turned = transform is not None and transform.determinant < 0
        self._digits = DIGITS
        if transform is not None and not self._to_wgs84:
            side = math.sqrt(abs(transform.determinant))
            self._digits = max(0, 4 - math.floor(math.log10(side)))
        self.named = b""
        if crs is not None and not self._to_wgs84:
            code = crs.to_epsg()
            name = f"urn:ogc:def:crs:EPSG::{code}" if code else crs.to_wkt()
            self.named = b' "crs": ' + msgspec.json.encode({"type": "name", "properties": {"name": name}}) + b","

    def coordinates(self, rings: Sequence[NDArray[np.int32]]) -> Iterator[list[list[float]]]:
        """The closed rings, with the interior on the side that the RFC asks for."""
        closed = [np.concatenate([ring, ring[:1]])[:: -1 if self._turned else 1] for ring in rings]
        corners = np.concatenate(closed)
        ends = np.cumsum([len(ring) for ring in closed])
        placed = corners if self._transform is None else np.round(self._placed(corners), self._digits)
        return (part.tolist() for part in np.split(placed, ends[:-1]))

    def _placed(self, corners: NDArray[np.int32]) -> NDArray[np.float64]:
        """Corners (n, 2) in pixels as coordinates."""
        a, b, c, d, e, f = tuple(self._transform)[:6]
        columns, rows = corners[:, 0].astype(np.float64), corners[:, 1].astype(np.float64)
        x, y = a * columns + b * rows + c, d * columns + e * rows + f
        if self._to_wgs84:
            from rasterio.warp import transform

            try:
                x, y = map(np.array, transform(self._crs, WGS84, x, y))
            except gdal_errors() as error:
                raise DataError(f"{self._crs}: cannot be transformed to {WGS84} ({error}); give --polygons crs.") from error
            if not (np.isfinite(x).all() and np.isfinite(y).all()):
                raise DataError(f"{self._crs}: a corner of a polygon has no place in {WGS84}; give --polygons crs.")
        return np.stack([x, y], 1)
