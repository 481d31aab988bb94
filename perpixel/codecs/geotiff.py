"""Rasters: TIFF files of any size with a place on the earth, read and written by windows with GDAL (the extra `raster`).

    with open_raster("map.tif", cache=2**28) as raster:
        pixels = raster.read((0, 0, 512, 512))                      # uint8 RGB (512, 512, 3)

GeoTIFF, COG and BigTIFF are all of them the same to the reader. A mask that is written has the raster's size, CRS, transform and
control points. Only the driver for TIFF is used, so no file can name another file or an address."""

from __future__ import annotations

import errno
import logging
import os
import shutil
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perpixel.classes import ClassTable
from perpixel.codecs import tiff
from perpixel.errors import DataError, ResourceError, UsageError, printable
from perpixel.files import require_plain
from perpixel.limits import MAX_PIXELS

EXTRA = 'pip install "perpixel[raster]"'
SUFFIXES = frozenset({".tif", ".tiff", ".btf", ".tf8", ".svs", ".ndpi", ".scn"})
BLOCK = 512  # pixels: side of the tiles of a mask on disk
CACHE = 2**26  # bytes of decoded tiles that GDAL keeps, where a caller names no other number
Window = tuple[int, int, int, int]  # top, left, bottom, right: rows top..bottom-1, columns left..right-1


def is_raster(path: Path) -> bool:
    """Whether a file is a TIFF that must be read as a raster: it has a georeference or a declared value for no data, or more
    pixels than a picture in memory may have.

    Such a file is known by its tags, or by a world file beside it. The file is not decoded; nothing is raised."""
    try:
        if not path.is_file():
            return False
        with path.open("rb") as file:
            tags = tiff.read_tags(file)
    except OSError:
        return False
    if not tags:
        return False
    (height,), (width,) = tags.get(tiff.HEIGHT, (0,))[:1], tags.get(tiff.WIDTH, (0,))[:1]
    world_files = (path.with_suffix(suffix) for suffix in (".tfw", ".tifw", ".wld"))
    return bool(tags.keys() & tiff.RASTER_TAGS) or height * width > MAX_PIXELS or any(world.is_file() for world in world_files)


@dataclass(frozen=True)
class Raster:
    """An open raster. `size` is (height, width) of the chosen level; `bands` are the numbers of the bands that are read, from 1.

    `left_out` are sentences about what the file holds and is not read."""

    path: Path
    size: tuple[int, int]
    bands: tuple[int, ...]
    overviews: tuple[int, ...]  # factors of the smaller copies that the file holds, such as 2, 4, 8
    left_out: tuple[str, ...]
    crs: Any
    transform: Any  # None where the file states none
    _source: Any
    _palette: NDArray[np.uint8] | None = None
    _masked: bool = False
    _control_points: Mapping[str, Any] = field(default_factory=dict)

    def read(self, window: Window) -> NDArray[np.uint8]:
        """The pixels of a window that lies inside, uint8 RGB (h, w, 3). Grey is repeated three times.

        Raises DataError, which names the window, where the file is damaged there."""
        bands = self._stored(window, self.bands)
        if self._palette is not None:
            coloured: NDArray[np.uint8] = self._palette[bands[0]]
            return coloured
        return np.ascontiguousarray(np.moveaxis(bands if len(bands) == 3 else np.repeat(bands[:1], 3, axis=0), 0, 2))

    def no_data(self, window: Window) -> NDArray[np.bool_] | None:
        """True (h, w) at pixels without data: each band that is read has the value for no data there, or alpha or the mask of the
        file is 0. None where the file cannot have such pixels. Raises what `read` does."""
        if not self._masked:
            return None
        masks = self._stored(window, self.bands, masks=True)
        nothing: NDArray[np.bool_] = (masks == 0).all(0)
        return nothing

    def _stored(self, window: Window, bands: Sequence[int], masks: bool = False) -> NDArray[np.uint8]:
        from rasterio.windows import Window as Place

        top, left, bottom, right = window
        read = self._source.read_masks if masks else self._source.read
        try:
            values: NDArray[np.uint8] = read(list(bands), window=Place(left, top, right - left, bottom - top))
        except gdal_errors(OSError, ValueError) as error:
            where = f"rows {top} to {bottom - 1}, columns {left} to {right - 1}"
            raise DataError(
                f"{self.path}: {where} cannot be read ({_reason(error)}); the file is damaged or cut short, get it again."
            ) from error
        return values


@contextmanager
def open_raster(path: Path, bands: Sequence[str] | None = None, level: int = 0, cache: int = CACHE) -> Iterator[Raster]:
    """The raster of a TIFF file, open during the block, in which GDAL keeps at most `cache` bytes of decoded tiles.

    `bands` are numbers from 1, or names that the file gives; without them, red, green and blue, or the only band. `level` counts
    the smaller copies of a pyramid, from 1; 0 is the full size. Raises ResourceError where rasterio is not installed, DataError
    for a file that cannot be read or holds several pictures, values that are not of 8 bits, or more bands than are read;
    UsageError for a band or level that it does not have."""
    require_plain(path)
    rasterio = _rasterio(path)
    with rasterio.Env(GDAL_CACHEMAX=cache, GDAL_TIFF_OVR_BLOCKSIZE=BLOCK, CPL_LOG=os.devnull):  # what fails is raised
        with _failing(path):
            source = rasterio.open(os.path.abspath(path), driver="GTiff")
        with source:
            left_out = _refuse_pages(path, source)
            if level == 0:
                yield _raster(path, source, bands, left_out, source.transform, source)
                return
            with _level(path, source, level) as smaller:
                wide, high = source.width / smaller.width, source.height / smaller.height
                a, b, x, d, e, y = tuple(source.transform)[:6]
                transform = rasterio.Affine(a * wide, b * high, x, d * wide, e * high, y)
                yield _raster(path, smaller, bands, left_out, transform, source)


def _raster(
    path: Path, source: Any, bands: Sequence[str] | None, left_out: tuple[str, ...], transform: Any, whole: Any
) -> Raster:
    """`source` is the chosen level of the file that is open as `whole`."""
    from rasterio.enums import ColorInterp, MaskFlags

    colours = [each.name for each in whole.colorinterp]
    chosen = _chosen(path, whole, colours, bands)
    kinds = {whole.dtypes[band - 1] for band in chosen}
    if kinds != {"uint8"}:
        kind = ", ".join(sorted(kinds))
        raise DataError(
            f"{path}: has values of {kind}, and the model sees 8 bits; stretch them to 0..255 as in its training, with "
            "gdal_translate -ot Byte -scale LOW HIGH 0 255, say."
        )
    palette = None
    if len(chosen) == 1 and whole.colorinterp[chosen[0] - 1] == ColorInterp.palette:
        palette = np.zeros((256, 3), np.uint8)
        for value, colour in whole.colormap(chosen[0]).items():
            palette[value] = colour[:3]
    for number, colour in enumerate(colours, start=1):
        if colour == "alpha":
            left_out += (f"{path}: its band {number} is alpha, so its pixels are void where that is 0.",)
    masked = any(MaskFlags.all_valid not in whole.mask_flag_enums[band - 1] for band in chosen)
    points, crs_of_points = whole.gcps
    control: dict[str, Any] = {"gcps": (points, crs_of_points)} if points else {}
    if whole.rpcs is not None:
        control["rpcs"] = whole.rpcs
    return Raster(
        path, (source.height, source.width), chosen, tuple(source.overviews(chosen[0])), left_out, whole.crs,
        None if transform.is_identity or points else transform, source, palette, masked, control,
    )  # fmt: skip


def _chosen(path: Path, source: Any, colours: Sequence[str], bands: Sequence[str] | None) -> tuple[int, ...]:
    """The numbers of the bands to read. Raises DataError or UsageError where it is not clear which, or one does not exist."""
    count = len(colours)
    names = [_named(source, number, colour) for number, colour in enumerate(colours, start=1)]
    listed = ", ".join(f"{number} {name}" for number, name in enumerate(names, start=1))
    if bands is not None:
        known = {**{name.casefold(): number for number, name in enumerate(names, start=1) if names.count(name) == 1},
                 **{str(number): number for number in range(1, count + 1)}}  # fmt: skip
        wrong = next((word for word in bands if word.casefold() not in known), None)
        if wrong is not None:
            raise UsageError(f"{path}: has no band {printable(wrong)!r}, but {listed}; correct --bands.")
        if len(bands) not in (1, 3):
            raise UsageError(f"{path}: --bands {','.join(bands)}: the model sees 3, or 1 as grey, not {len(bands)}; correct it.")
        return tuple(known[word.casefold()] for word in bands)
    seen = [number for number, colour in enumerate(colours, start=1) if colour != "alpha"]
    by_colour = [colours.index(colour) + 1 for colour in ("red", "green", "blue") if colours.count(colour) == 1]
    if len(seen) == 1:
        return tuple(seen)
    if len(seen) == 3:
        return tuple(by_colour) if len(by_colour) == 3 else tuple(seen)
    raise DataError(
        f"{path}: has {count} bands ({listed}), and the model sees 3; choose them, in its order, with --bands "
        f"{','.join(map(str, by_colour if len(by_colour) == 3 else range(1, 1 + min(3, count))))}, say."
    )


def _named(source: Any, number: int, colour: str) -> str:
    return printable(source.descriptions[number - 1] or colour)


def _refuse_pages(path: Path, source: Any) -> tuple[str, ...]:
    """Sentences about further pictures in the file, such as the label of a slide. Raises DataError for a stack of pages.

    The smaller copies of a pyramid, and masks, are not further pictures."""
    if len(source.subdatasets) < 2:
        return ()
    import tifffile

    with _failing(path), tifffile.TiffFile(path) as file:
        first, others = file.series[0], file.series[1:]
        pages = len(first.levels[0].pages)
    if pages > 1:
        raise DataError(f"{path}: holds {pages} pages, and a raster is one picture; save each page as a file of its own.")
    if not others:
        return ()
    names = ", ".join(printable(series.name or f"{series.shape}") for series in others)
    return (f"{path}: holds {1 + len(others)} pictures, of which the first is read and these are not: {names}.",)


@contextmanager
def _level(path: Path, source: Any, level: int) -> Iterator[Any]:
    """The copy number `level` of a pyramid, open. GDAL finds the usual ones, tifffile also those of microscopes."""
    import rasterio
    import tifffile

    found = len(source.overviews(1))
    if 0 < level <= found:
        with _failing(path):
            opened = rasterio.open(os.path.abspath(path), driver="GTiff", overview_level=level - 1)
    else:
        with _failing(path), tifffile.TiffFile(path) as file:
            levels = file.series[0].levels
            page = levels[level].keyframe if 0 < level < len(levels) else None
            found = max(found, len(levels) - 1)
        if page is None:
            exist = f"the levels 0 (full size) to {found}" if found else "no pyramid, only level 0 (full size)"
            raise UsageError(f"{path}: has {exist}, not {level}; correct --level.")
        with _failing(path):
            opened = rasterio.open(f"GTIFF_DIR:off:{page.offset}:{os.path.abspath(path)}", driver="GTiff")
    with opened:
        yield opened


class MaskFile:
    """A mask that is written by windows: tiled, compressed, with the place of `raster`, the class colours as palette, and void as
    the value for no data.

    `words` go into its metadata, beside the name of each class under its value. Call `finish` when it is closed."""

    def __init__(self, path: Path, raster: Raster, classes: ClassTable, words: Mapping[str, str]) -> None:
        rasterio = _rasterio(path)
        self.path, self._raster, self._void = path, raster, classes.void
        self.values, self.no_data = disk_values(classes)
        place: dict[str, Any] = {} if raster.crs is None else {"crs": raster.crs}
        if raster.transform is not None:
            place["transform"] = raster.transform
        height, width = raster.size
        with _writing(path):
            self._file = rasterio.open(
                os.path.abspath(path), "w", driver="GTiff", height=height, width=width, count=1, dtype=self.values.dtype.name,
                nodata=self.no_data, tiled=True, blockxsize=BLOCK, blockysize=BLOCK, compress="deflate", bigtiff="IF_SAFER",
                **place,
            )  # fmt: skip
            for name, value in raster._control_points.items():
                setattr(self._file, name, value)
            if self.values.dtype == np.uint8:
                self._file.write_colormap(1, _colours(classes, self.values, self.no_data))
            names = {f"CLASS_{self.values[id]}": name for id, name in enumerate(classes.names)}
            self._file.update_tags(**words)
            self._file.update_tags(1, **names)
            self._file.set_band_description(1, "class")

    def write(self, window: Window, labels: NDArray[Any]) -> None:
        """Writes class ids (h, w) at a window."""
        from rasterio.windows import Window as Place

        top, left, bottom, right = window
        with _writing(self.path):
            self._file.write(self.values[labels], 1, window=Place(left, top, right - left, bottom - top))

    def close(self) -> None:
        with _writing(self.path):
            self._file.close()

    def finish(self) -> None:
        """Adds the smaller copies that the raster has, each pixel the most frequent class, and reads where each tile lies: GDAL
        does not tell each failure to write. Raises OSError where a tile is not whole."""
        import rasterio
        from rasterio.enums import Resampling

        with _writing(self.path):
            if self._raster.overviews:
                with rasterio.open(os.path.abspath(self.path), "r+", driver="GTiff") as file:
                    file.build_overviews(list(self._raster.overviews), Resampling.mode)
        _require_tiles(self.path)

    def labels(self, rows: int) -> Iterator[NDArray[Any]]:
        """The class ids of the finished mask, in bands of so many rows, from top to bottom."""
        import rasterio
        from rasterio.windows import Window as Place

        ids = np.full(65536, self._void, np.uint8 if self._void == 255 else np.uint16)
        ids[self.values[:-1]] = np.arange(len(self.values) - 1)  # of the ids without a class, which have void's value
        ids[self.no_data] = self._void
        with _failing(self.path), rasterio.open(os.path.abspath(self.path), driver="GTiff") as file:
            for top in range(0, file.height, rows):
                yield ids[file.read(1, window=Place(0, top, file.width, min(rows, file.height - top)))]

    def __enter__(self) -> MaskFile:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self.close()
            return
        try:
            self._file.close()
        except Exception:  # the first error is told
            logging.getLogger(__name__).debug("a mask that failed is not closed", exc_info=True)


def disk_values(classes: ClassTable) -> tuple[NDArray[Any], int]:
    """The value on disk of each class id (void's id is the last index), and the value of void, which no class has.

    uint8 where all fit, else uint16."""
    taken = {value for values in classes.values for value in values}
    void = classes.void_values[0] if classes.void_values else next(
        value for value in (classes.void, *range(255, -1, -1), 65535, *range(65534, 255, -1)) if value not in taken
    )  # fmt: skip
    values = np.full(classes.void + 1, void, np.uint16)
    values[: len(classes)] = [values_of_class[0] for values_of_class in classes.values]
    return values.astype(np.uint8) if values.max() <= 255 else values, void


def _colours(classes: ClassTable, values: NDArray[Any], no_data: int) -> dict[int, tuple[int, int, int, int]]:
    colours = {int(values[id]): (*colour, 255) for id, colour in enumerate(classes.colours)}
    return {**colours, no_data: (*classes.void_colour, 0)}


def _require_tiles(path: Path) -> None:
    """Raises OSError unless each tile of each picture in a TIFF lies inside the file."""
    import tifffile

    length = path.stat().st_size
    with tifffile.TiffFile(path) as file:
        for page in file.pages:
            places = np.array(page.dataoffsets, np.int64), np.array(page.databytecounts, np.int64)
            if not len(places[0]) or (places[0] <= 0).any() or (places[1] <= 0).any() or (places[0] + places[1] > length).any():
                raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))


def _rasterio(path: Path) -> Any:
    try:
        import rasterio
        import tifffile  # noqa: F401 - belongs to the same extra
    except ImportError as error:
        lacking = error.name or "rasterio"
        sentence = f"{path}: a raster needs {lacking}, which is not installed; {EXTRA} brings it."
        raise ResourceError(sentence) from error
    logging.getLogger("rasterio").addHandler(logging.NullHandler())
    return rasterio


def gdal_errors(*others: type[Exception]) -> tuple[type[Exception], ...]:
    """The errors that rasterio raises, those of GDAL itself among them, and `others`."""
    from rasterio._err import CPLE_BaseError
    from rasterio.errors import RasterioError

    return RasterioError, CPLE_BaseError, *others


@contextmanager
def _failing(path: Path) -> Iterator[None]:
    """Turns each error of opening a raster into a DataError. A file without a georeference is no mistake."""
    from rasterio.errors import NotGeoreferencedWarning
    from tifffile import TiffFileError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            yield
    except gdal_errors(TiffFileError, OSError) as error:
        raise DataError(f"{path}: cannot be read as a TIFF ({_reason(error)}); the file is damaged or cut short.") from error


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Turns each error of GDAL while it writes into an OSError, with the system's reason where the disk is full."""
    from rasterio.errors import NotGeoreferencedWarning

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            yield
    except gdal_errors(OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        full = shutil.disk_usage(path.parent).free < BLOCK * BLOCK * 2
        number = errno.ENOSPC if full else errno.EIO
        raise OSError(number, os.strerror(number) if full else _reason(error), str(path)) from error


def _reason(error: Exception) -> str:
    cause = error.__cause__ or error
    return printable(" ".join(str(cause).split())[:200] or type(error).__name__).rstrip(".")
