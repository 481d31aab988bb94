"""Rasters -> masks with the same place on the earth, by windows, in an amount of memory that the user names.

    RasterSettings(memory=memory_of("1.5GB"), polygons="wgs84")

A raster is read, predicted and written by tiles, with the labels of one pass over the whole raster (`tiles`). A network that
cannot have them, such as one of attention, sees windows one by one, which overlap by a third; of each window the labels nearest
to its centre are kept. The mask's metadata says which. The network sees each raster at the model's scale; a model that sees
pictures at a shorter side sees rasters as they are.

The side of tiles follows from the memory, by measuring what a small tile takes. It changes no label but of a
network that sees windows."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from perpixel import draw
from perpixel.codecs.geojson import write_geojson
from perpixel.codecs.geotiff import BLOCK, MaskFile, open_raster
from perpixel.errors import ResourceError, UsageError, did_you_mean
from perpixel.files import digest, new_file, write_whole
from perpixel.images import encode_image
from perpixel.limits import seen_size
from perpixel.machines.memory import peak_of
from perpixel.masks.regions import regions, rows_of_band
from perpixel.networks import has_border, labels_pixels, pixel_network
from perpixel.prediction.inference import Predictor
from perpixel.prediction.journal import file_of
from perpixel.prediction.score_maps import Window, score_map
from perpixel.prediction.tiles import labels_by_tiles
from perpixel.version import VERSION
from perpixel.weights.model_file import Model

MEMORY = 2 * 10**9  # bytes of the process, where no other number is given
UNITS = {"MB": 10**6, "GB": 10**9, "TB": 10**12, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
POLYGONS = {"wgs84": "longitude and latitude, as GeoJSON asks", "crs": "coordinates of the raster's own CRS"}
LARGEST_SIDE, SMALLEST_SIDE, MEASURED_SIDE = 4096, 64, 384  # pixels that the network sees, of tiles
WINDOW_SIDE = 1024  # of windows, whose side changes labels: this, or as much less by halves as fits
UNMEASURED_SIDE = 1024  # where the system does not count memory
CACHED = 1 / 16  # share of the memory for decoded tiles of files
SPARE = 64 * 10**6  # bytes for pieces of files, overlays and what Python keeps
FULL = 0.88  # share of the memory above which kept memory is given back before the next tile
LARGER = 1.25  # what a large tile may take more than a small one, by pixel
LEAST = 40.0  # bytes for each pixel of a pass, at the least: three bands as bytes and floats, and labels
OVERLAY_SIDE = 2048  # pixels: the longest side of an overlay
Watch = Callable[[str, int, int], None]  # told the file, the rows that are done, and all its rows


@dataclass(frozen=True)
class RasterSettings:
    """How rasters are predicted. Where a setting differs from its default, every picture must be a TIFF, and is a raster.

    `memory`: bytes that the process may take; None for 2 GB. `level`: of a pyramid, 0 for the full size. `polygons`: a name of
    POLYGONS, or None for none. Raises UsageError for a value that cannot work, UnknownName for a name."""

    memory: int | None = None
    level: int = 0
    polygons: str | None = None

    def __post_init__(self) -> None:
        if self.level < 0:
            raise UsageError(f"level = {self.level}: must be 0 (full size) or above.")
        if self.polygons is not None and self.polygons not in POLYGONS:
            raise did_you_mean("way to write polygons", self.polygons, POLYGONS)

    @property
    def named(self) -> str:
        """The first setting that differs from its default; empty where none does."""
        return next((item.name for item in fields(self) if getattr(self, item.name) != item.default), "")

    @property
    def rules(self) -> dict[str, Any]:
        """The settings that change results, where they differ from their defaults."""
        return {name: value for name, value in asdict(self).items() if name != "memory" and value not in (None, 0)}


PLAIN_RASTERS = RasterSettings()


def memory_of(text: str) -> int:
    """The bytes that a text such as 1.5GB or 800MB names. Raises UsageError for another text, and for less than 100 MB."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([A-Za-z]+)", text.strip())
    units = {unit.lower(): factor for unit, factor in UNITS.items()}
    if found is None or found[2].lower() not in units:
        raise UsageError(f"memory = {text!r}: must be a number with a unit, such as 1.5GB or 800MB.")
    memory = round(float(found[1]) * units[found[2].lower()])
    if memory < 10**8:
        raise UsageError(f"memory = {text!r}: is less than a network needs; give 500MB or more.")
    return memory


@dataclass(frozen=True)
class Written:
    """The digests of the files that were made of a raster, by folder, and sentences about what the user must know."""

    files: dict[str, str]
    told: tuple[str, ...]


class RasterPredictor:
    """Predicts rasters. What one pass takes is measured once, for the first raster that needs more than a small tile.

    `bands` name those of a raster that are the model's, in its order, by number from 1 or by name; see `open_raster`.
    Raises UsageError for settings of inference that tiles cannot have."""

    def __init__(
        self, predictor: Predictor, settings: RasterSettings, bands: Sequence[str] | None, overlays: bool, watch: Watch
    ) -> None:
        inference = predictor.inference
        if not inference.plain:
            setting = inference.given[0]
            raise UsageError(f"{setting}: a raster is predicted in one pass by tiles, without {setting}; leave it out.")
        if predictor.scores is not None:
            raise UsageError("scores: those of a raster would fill the disk, so they are not written; leave scores out.")
        pixel_network(predictor.model.network, "a raster")
        self.weights, self.settings, self.bands, self.overlays, self.watch = predictor.weights, settings, bands, overlays, watch
        self.model = replace(predictor.model, side=None)
        self.memory = settings.memory or MEMORY
        self._measured = 0, LEAST  # the side of the largest pass that was measured, and its bytes for each pixel

    def predict(self, path: Path, name: str, out: Path) -> Written:
        """Writes `out/masks/NAME.tif`; if asked, `out/polygons/NAME.geojson`, and `out/overlays/NAME.png` with one pixel for each
        2 x 2, 3 x 3 ... of a raster of more than 2048 pixels a side.

        Raises ResourceError where the memory does not suffice or rasterio is not installed, DataError for a file that cannot be
        read, and OSError for one that cannot be written."""
        classes, settings = self.model.classes, self.settings
        written = {"masks": out / "masks" / file_of("masks", name, raster=True)}
        cache = round(self.memory * CACHED)
        with open_raster(path, self.bands, settings.level, cache, self.model.bands) as raster:
            tiling = self.tiling(raster.size, path)
            small = _Small(raster.size) if self.overlays else None
            words = {"PERPIXEL": VERSION, "MODEL": self.weights, "TILES": tiling.rule}

            def read(window: Window) -> NDArray[Any]:
                if (_resident() or 0) > FULL * self.memory:
                    _give_back()
                pixels = raster.read(window)
                if small is not None:
                    small.add(small.image, window, self.model.shown(pixels))
                return self.model.seen(pixels)

            with new_file(written["masks"].parent, written["masks"].name) as partial:
                with MaskFile(partial, raster, classes, words) as mask:
                    for window, labels in _in_rows(tiling.labels(read), raster.size, classes.dtype):
                        no_data = raster.no_data(window)
                        if no_data is not None:
                            labels[no_data] = classes.void
                        if small is not None:
                            small.add(small.labels, window, labels)
                        mask.write(window, labels)
                        self.watch(str(path), window[2], raster.size[0])
                _give_back()  # what tiles took; overviews, polygons and the overlay need memory of their own
                mask.finish()
                if settings.polygons is not None:
                    written["polygons"] = out / "polygons" / file_of("polygons", name, raster=True)
                    with new_file(written["polygons"].parent, written["polygons"].name) as file:
                        parts = regions(mask.labels(rows_of_band(raster.size[1])), classes.void)
                        write_geojson(file, parts, classes, raster.crs, raster.transform, settings.polygons == "crs")
            if small is not None:
                written["overlays"] = out / "overlays" / file_of("overlays", name, raster=True)
                drawn = Image.fromarray(draw.overlay(small.image, small.labels, classes))
                write_whole(written["overlays"].parent, written["overlays"].name, encode_image(drawn, ".png"))
            told = [*raster.left_out]
            if tiling.reason:
                told.append(f"{path}: {tiling.reason}; so it is predicted by {tiling.rule}.")
            if settings.polygons == "wgs84" and (raster.crs is None or raster.transform is None):
                told.append(f"{path}: has no CRS or no transform, so its polygons are not in WGS 84.")
        return Written({folder: digest(file) for folder, file in written.items()}, tuple(told))

    def tiling(self, size: tuple[int, int], path: Path) -> Tiling:
        """The tiles of a raster. Raises ResourceError where the memory does not suffice for the smallest."""
        model, reason = self.model, self._why_no_tiles
        whole, network = max(seen_size(size, model.scale)), pixel_network(model.network, "a raster")
        side = MEASURED_SIDE if whole <= MEASURED_SIDE else self._largest(size[1], whole, path)
        if not reason:
            side = _fitting(network, side)
            try:
                labels_by_tiles(model, _unread, size, side)
            except UsageError as error:
                why = str(error).removeprefix(f"tile = {side}: ").rsplit("; ", 1)[0]
                raise ResourceError(
                    f"{path}: {self.memory / 1e6:.0f} MB of memory allow tiles of {side} pixels, but {why}; give more --memory."
                ) from error
            return Tiling(model, size, side, "", "tiles, with the labels of one pass over the whole raster")
        if side >= whole:
            return Tiling(model, size, whole, "", "one pass over the whole raster", windows=True)
        side = WINDOW_SIDE >> max(0, math.ceil(math.log2(WINDOW_SIDE / side)))
        rule = f"windows of {side} pixels as the network sees them, which overlap by a third; each labels what is nearest to its "
        return Tiling(model, size, side, reason, rule + "centre", windows=True)

    @cached_property
    def _why_no_tiles(self) -> str:
        """Why no tiles can have the labels of the whole; empty where they can."""
        network, size = pixel_network(self.model.ready(), "a raster"), (2 * LARGEST_SIDE, 2 * LARGEST_SIDE)
        try:
            labels_by_tiles(self.model, _unread, size, _fitting(network, LARGEST_SIDE))
        except UsageError as error:
            return str(error).split(": ", 1)[-1].rsplit("; ", 1)[0]
        return ""

    def _largest(self, width: int, whole: int, path: Path) -> int:
        """The side of the largest tile that fits the memory, as the network sees it, for a raster of this width, and of `whole`
        pixels along its longer side as the network sees it."""
        if self._measured[0] == 0:
            self._pass(MEASURED_SIDE)  # what is imported and compiled now stays, and is no part of a pass
        of_row = width * np.dtype(self.model.classes.dtype).itemsize  # labels wait for those of their row of tiles
        strip = of_row / self.model.scale  # for each row of a tile
        left = self._left(of_row)
        per_pixel = None if left is None else self._bytes_per_pixel(left, whole)
        left = self._left(of_row)
        if per_pixel is None or left is None:
            return UNMEASURED_SIDE
        if left > 0:
            fits = (math.sqrt(strip * strip + 4 * per_pixel * left) - strip) / (2 * per_pixel)
            if fits >= SMALLEST_SIDE:
                return min(LARGEST_SIDE, int(fits))
        lacking = per_pixel * SMALLEST_SIDE**2 + strip * SMALLEST_SIDE - left
        raise ResourceError(
            f"{path}: {self.memory / 1e6:.0f} MB of memory are too few for tiles of {SMALLEST_SIDE} pixels; give --memory "
            f"{math.ceil((self.memory + lacking / (1 - CACHED)) / 1e7) * 10}MB or more."
        )

    def _left(self, of_row: int) -> float | None:
        """Bytes that are left for a tile and the labels of its row; None where the system does not count."""
        _give_back()
        held = _resident()
        return None if held is None else self.memory * (1 - CACHED) - held - SPARE - of_row * BLOCK

    def _bytes_per_pixel(self, left: float, whole: int) -> float | None:
        """What one pass takes at most for each pixel that the network sees; None where the system does not count.

        Passes over blank pictures tell, each of twice the side of the one before, because a small pass tells little of a large
        one; they end where the next might take half of what is left, or is larger than the raster."""
        side, per_pixel = self._measured
        while side == 0 or (2 * side <= min(whole, LARGEST_SIDE) and LARGER * per_pixel * (2 * side) ** 2 < left / 2):
            side = 2 * side or MEASURED_SIDE
            taken = peak_of(partial(self._pass, side))
            if taken is None:
                return None
            per_pixel = max(taken / side**2, LEAST)
            self._measured = side, per_pixel
        return LARGER * per_pixel

    def _pass(self, side: int) -> None:
        """One pass over a blank picture of which the network sees `side` x `side` pixels, with its border if it has one."""
        network = pixel_network(self.model.ready(), "a raster")
        inner = max(1, side - 2 * network.border) if has_border(network) else side
        shown = max(1, round(inner / self.model.scale))
        bands = self.model.bands
        blank = np.zeros((shown, shown, 3), np.uint8) if bands is None else np.zeros((shown, shown, len(bands)), np.float32)
        for _ in _labels_by_windows(self.model, lambda window: blank.copy(), (shown, shown), shown):
            pass


@dataclass(frozen=True)
class Tiling:
    """The tiles of a raster of `size` for one model, or `windows`. Their `side` is of pixels as the network sees them.

    `rule` says how labels come about, in the words of a mask's metadata. Where they are not those of one pass over the whole,
    `reason` says why, and otherwise it is empty."""

    model: Model
    size: tuple[int, int]
    side: int
    reason: str
    rule: str
    windows: bool = False

    def labels(self, read: Callable[[Window], NDArray[Any]]) -> Iterator[tuple[Window, NDArray[Any]]]:
        """Disjoint windows that cover the raster, row by row, each with its class ids."""
        if self.windows:
            return _labels_by_windows(self.model, read, self.size, math.ceil(self.side / self.model.scale))
        exact: Iterator[tuple[Window, NDArray[Any]]] = labels_by_tiles(self.model, read, self.size, self.side)
        return exact


def _unread(window: Window) -> NDArray[Any]:
    raise AssertionError("no window is read before the first is asked for")


def _fitting(network: object, side: int) -> int:
    """The largest side up to `side` that a network's tiles can have: of valid convolutions 16 k + 60."""
    if labels_pixels(network) and has_border(network):
        least = 2 * network.border + 20
        return max(least, least + (side - least) // 16 * 16)
    return side // 32 * 32 if side > 64 else side


def _give_back() -> None:
    """Gives the system the memory that was freed and kept (`machines.memory`), which would otherwise fall into ever smaller
    pieces, and more would be taken."""
    peak_of(lambda: None)


def _resident() -> int | None:
    """Bytes of memory that the process holds; None where the system does not tell."""
    if sys.platform != "linux":
        return None
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return None
    import resource

    return pages * resource.getpagesize()


def _labels_by_windows(
    model: Model, read: Callable[[Window], NDArray[Any]], size: tuple[int, int], side: int
) -> Iterator[tuple[Window, NDArray[Any]]]:
    """As `labels_by_tiles`, by windows of `side` x `side` pixels that the network sees one by one. They overlap by a third, and
    each labels the pixels that are nearest to its centre."""
    network = pixel_network(model.network, "a raster")
    rows, columns = (_spans(length, side) for length in size)
    for top, bottom, first_row, last_row in rows:
        for left, right, first_column, last_column in columns:
            pixels = read((top, left, bottom, right))
            labels = score_map(network, pixels, model.scale).labels(pixels.shape[:2])
            kept = labels[first_row - top : last_row - top, first_column - left : last_column - left]
            yield (first_row, first_column, last_row, last_column), kept.astype(model.classes.dtype, copy=False)


def _spans(length: int, side: int) -> list[tuple[int, int, int, int]]:
    """For each window along a side: where it begins and ends, and where the pixels that it labels begin and end."""
    step = max(1, side * 2 // 3)
    starts = [*range(0, length - side, step), max(0, length - side)]
    ends = [min(length, start + side) for start in starts]
    borders = [0, *((start + end + 1) // 2 for start, end in zip(starts[1:], ends, strict=False)), length]
    return [(start, end, borders[i], borders[i + 1]) for i, (start, end) in enumerate(zip(starts, ends, strict=True))]


def _in_rows(
    parts: Iterator[tuple[Window, NDArray[Any]]], size: tuple[int, int], dtype: Any
) -> Iterator[tuple[Window, NDArray[Any]]]:
    """The same labels in windows of the full width that begin at multiples of BLOCK rows, so that each tile of the mask is
    written once, and the mask does not depend on the windows. `parts` come row by row."""
    height, width = size
    waiting = np.empty((0, width), dtype)
    first = 0  # the first row of `waiting`
    for (top, left, bottom, right), labels in parts:
        while top >= first + BLOCK:
            yield (first, 0, first + BLOCK, width), waiting[:BLOCK].copy()
            waiting, first = waiting[BLOCK:], first + BLOCK
        if bottom > first + len(waiting):
            longer = np.empty((bottom - first, width), dtype)
            longer[: len(waiting)] = waiting
            waiting = longer
        waiting[top - first : bottom - first, left:right] = labels
    for begin in range(0, height - first, BLOCK):
        end = min(begin + BLOCK, height - first)
        yield (first + begin, 0, first + end, width), waiting[begin:end].copy()


class _Small:
    """Every n-th pixel of a raster and its labels, for an overlay."""

    def __init__(self, size: tuple[int, int]) -> None:
        self.step = max(1, -(-max(size) // OVERLAY_SIDE))
        rows, columns = (-(-length // self.step) for length in size)
        self.image = np.zeros((rows, columns, 3), np.uint8)
        self.labels = np.zeros((rows, columns), np.uint16)

    def add(self, small: NDArray[Any], window: Window, pixels: NDArray[Any]) -> None:
        """Puts the pixels of a window into `small`, which is `image` or `labels`."""
        step, (top, left, _, _) = self.step, window
        part = pixels[-top % step :: step, -left % step :: step]
        row, column = -(-top // step), -(-left // step)
        small[row : row + part.shape[0], column : column + part.shape[1]] = part
