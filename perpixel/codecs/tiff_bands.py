"""All bands of a TIFF picture, by tifffile; where that lacks the file's compression, by rasterio."""

from __future__ import annotations

import logging
import math
import warnings
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from perpixel.codecs.tiff import NODATA, ORIENTATION, Tiff
from perpixel.errors import DataError, ResourceError
from perpixel.limits import MAX_PIXELS

EXTRA = 'pip install "perpixel[bands]"'


def read(file: BinaryIO, name: str, kind: Tiff | None) -> NDArray[Any]:
    """The bands (H, W, N) of the file that errors call `name`, upright; float with NaN where the file says that it has no data.

    Raises DataError for values that are no plain numbers, for a file that is too large, or compressed as nothing here reads;
    ResourceError where tifffile is not installed; and the errors of tifffile, which mean damage."""
    try:
        import tifffile
    except ModuleNotFoundError:
        raise ResourceError(f"{name}: tifffile, which reads bands of a TIFF, is not installed; {EXTRA} brings it.") from None
    logging.getLogger("tifffile").disabled = True  # it writes of odd tags, without the file's name
    with tifffile.TiffFile(file) as opened:
        pages = _bands_in(opened)
        first: Any = pages[0]
        height, width, count = first.imagelength, first.imagewidth, first.samplesperpixel * len(pages)
        if first.dtype is None or first.dtype.kind not in "uif" or first.dtype.itemsize < 1:
            raise DataError(f"{name}: is a {kind or 'TIFF'}, of no plain numbers; save it as 8 or 16 bits or float.")
        if height * width > MAX_PIXELS or height * width * count * first.dtype.itemsize > 8 * MAX_PIXELS:
            raise DataError(f"{name}: {height}x{width} pixels of {count} bands are too many to read at once; cut it into tiles.")
        for page in pages:
            if len(page.dataoffsets) < (parts := math.prod(page.chunked)):
                raise DataError(f"{name}: lists {len(page.dataoffsets)} of the {parts} parts of its pixels; the file is damaged.")
        try:
            planes = [page.asarray() for page in pages]
        except (ValueError, ImportError) as error:  # without the package imagecodecs it decodes few kinds
            if isinstance(error, ValueError) and "imagecodecs" not in str(error):
                raise
            planes = [*_by_rasterio(file, name, len(pages))]
            pixels = np.stack(planes, axis=2)
        else:
            separate = pages[0].axes == "SYX"
            pixels = np.moveaxis(planes[0], 0, 2) if separate else planes[0] if planes[0].ndim == 3 else np.stack(planes, axis=2)
        pixels = _turned(pixels, int(first.tags[ORIENTATION].value) if ORIENTATION in first.tags else 1)
        tag = first.tags.get(NODATA)
    return np.ascontiguousarray(_with_nan(pixels, None if tag is None else str(tag.value)))


def unread_pages(file: BinaryIO) -> int:
    """The number of pictures of the first one's size that `read` leaves out. Smaller ones are overviews of the first."""
    import tifffile

    with tifffile.TiffFile(file) as opened:
        of_size = [page for page in opened.pages if page.shape[:2] == opened.pages[0].shape[:2]]
        return len(of_size) - len(_bands_in(opened)) if len(of_size) > 1 else 0


def _bands_in(opened: Any) -> list[Any]:
    """The pages whose bands are those of the picture: all where each is one band of one size and type, else the first."""
    first = opened.pages[0]
    alike = all((page.shape, page.dtype) == (first.shape, first.dtype) for page in opened.pages)
    return list(opened.pages) if alike and first.samplesperpixel == 1 else [first]


def _by_rasterio(file: BinaryIO, name: str, pages: int) -> NDArray[Any]:
    """The bands (N, H, W) as GDAL decodes them, of a file of one page."""
    try:
        import rasterio
    except ModuleNotFoundError:
        rasterio = None
    if rasterio is None or pages > 1:
        raise DataError(
            f"{name}: is compressed in a way that tifffile alone does not read; save it without compression or as Deflate, or "
            "`pip install imagecodecs`."
        )
    file.seek(0)
    with warnings.catch_warnings(), rasterio.io.MemoryFile(file.read()) as memory:
        warnings.simplefilter("ignore")  # that it is not georeferenced
        with memory.open() as opened:
            bands: NDArray[Any] = opened.read()
    return bands


def _turned(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Upright: TIFF 6.0, section 8, tag Orientation."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    rows, columns = orientation in (3, 4, 7, 8), orientation in (2, 3, 6, 7)
    return pixels[:: -1 if rows else 1, :: -1 if columns else 1]


def _with_nan(pixels: NDArray[Any], no_data: str | None) -> NDArray[Any]:
    """The pixels with NaN for the value that the file says means no data, as float where there is such a pixel."""
    try:
        value = float((no_data or "nan").strip("\0 "))
    except ValueError:
        return pixels
    equal = pixels == value
    if np.isnan(value) or not equal.any():
        return pixels
    pixels = pixels.astype(np.result_type(pixels.dtype, np.float32))
    pixels[equal] = np.nan
    return pixels
