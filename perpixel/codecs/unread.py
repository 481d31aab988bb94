"""Formats of pictures and arrays that perpixel does not read. An error can then name the format of such a file."""

from __future__ import annotations

from pathlib import Path

SUFFIXES = {
    "JPEG 2000": (".jp2", ".j2k", ".jpf", ".jpx"), "JPEG XL": (".jxl",), "HEIC": (".heic", ".heif"),
    "AVIF": (".avif",), "PSD": (".psd",), "DICOM": (".dcm", ".dicom"), "NIfTI": (".nii", ".nii.gz"), "NRRD": (".nrrd",),
    "MetaImage": (".mha", ".mhd"), "NumPy": (".npy", ".npz"), "MATLAB": (".mat",), "HDF5": (".h5", ".hdf5"),
    "PNM": (".ppm", ".pgm", ".pbm", ".pnm"), "TGA": (".tga",), "EXR": (".exr",), "HDR": (".hdr",), "ICO": (".ico",),
    "SVG": (".svg",), "PDF": (".pdf",), "EPS": (".eps",), "FITS": (".fits",), "SVS": (".svs",), "CZI": (".czi",),
    "LIF": (".lif",), "ND2": (".nd2",), "camera raw": (".dng", ".cr2", ".cr3", ".nef", ".arw"),
    "video": (".mp4", ".avi", ".mov", ".mkv"),
}  # fmt: skip
_STARTS = (  # a place in the file, the bytes at that place, and the format
    (0, b"\0\0\0\x0cjP  ", "JPEG 2000"), (0, b"\xff\x4f\xff\x51", "JPEG 2000"),
    (0, b"\xff\x0a", "JPEG XL"), (0, b"\0\0\0\x0cJXL ", "JPEG XL"), (4, b"ftypavi", "AVIF"), (4, b"ftyphei", "HEIC"),
    (4, b"ftyphev", "HEIC"), (4, b"ftypmif1", "HEIC"), (0, b"8BPS", "PSD"), (128, b"DICM", "DICOM"), (344, b"n+1\0", "NIfTI"),
    (344, b"ni1\0", "NIfTI"), (0, b"\x93NUMPY", "NumPy"), (0, b"NRRD", "NRRD"), (0, b"\x89HDF", "HDF5"),
    (0, b"MATLAB 5", "MATLAB"), (0, b"P4\n", "PNM"), (0, b"P5\n", "PNM"), (0, b"P6\n", "PNM"), (0, b"v/1\x01", "EXR"),
    (0, b"%PDF", "PDF"), (0, b"SIMPLE  =", "FITS"), (0, b"<svg", "SVG"), (0, b"PK\x03\x04", "ZIP"), (0, b"\x1f\x8b", "GZIP"),
)  # fmt: skip


def by_name(path: Path) -> str | None:
    """The format that belongs to the suffix of a file's name. None where the suffix is of no format in `SUFFIXES`."""
    name = path.name.lower()
    return next((kind for kind, suffixes in SUFFIXES.items() if name.endswith(suffixes)), None)


def by_start(start: bytes) -> str | None:
    """The format of a file, by its first 512 bytes. None where they begin no format in `_STARTS`."""
    return next((name for place, mark, name in _STARTS if start[place:].startswith(mark)), None)
