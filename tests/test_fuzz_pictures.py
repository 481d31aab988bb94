"""Damaged pictures, made by changing bytes of sound ones: whatever a file holds, reading it gives pixels or one sentence."""

import io
import random
import re
import struct
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes import tiff_of
from PIL import Image

from perpixel import images
from perpixel.codecs.png import read_png_labels
from perpixel.doctor.check import check
from perpixel.doctor.repair import plan_repair, repair
from perpixel.errors import PerpixelError

PIXELS = 2**16  # read at most, so that a damaged size costs no seconds
READERS: dict[str, Callable[[Any], Any]] = {
    "read_image": images.read_image,
    "read_image of page 2": lambda source: images.read_image(source, 1),
    "read_image as stored": lambda source: images.read_image(source, turn=False),
    "read_labels": images.read_labels,
    "read_labels of page 2": lambda source: images.read_labels(source, 1),
    "read_labels_fast": images.read_labels_fast,
    "read_size": images.read_size,
    "read_header": images.read_header,
    "dropped": images.dropped,
    "read_stored": images.read_stored,
    "read_alpha": images.read_alpha,
    "count_pages": images.count_pages,
    "read_palette": images.read_palette,
    "read_png_labels": lambda source: read_png_labels(source, PIXELS),
}


def file_of(picture: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def sound() -> dict[str, bytes]:
    """A small file of every kind that is read, and some that are not."""
    rng = np.random.default_rng(0)
    colours = rng.integers(0, 256, (24, 20, 6)).astype(np.uint8)
    grey, wide = colours[..., 0] // 64, colours[..., 0].astype(np.uint16) * 200
    picture = {"RGB": Image.fromarray(colours[..., :3]), "L": Image.fromarray(grey), "I;16": Image.fromarray(wide)}
    picture |= {mode: picture["RGB"].convert(mode) for mode in ("RGBA", "CMYK", "P", "1", "YCbCr", "LAB", "F", "I")}
    picture["LA"] = picture["L"].convert("LA")
    tag = Image.Exif()
    tag[0x0112], tag[0x010F] = 6, "camera"
    found = {f"PNG {mode}": file_of(picture[mode], "PNG") for mode in ("RGB", "L", "I;16", "RGBA", "P", "1", "LA")}
    found["PNG with tags"] = file_of(picture["RGB"], "PNG", exif=tag, dpi=(72, 72), transparency=(1, 2, 3))
    found["PNG, animated"] = file_of(picture["RGB"], "PNG", save_all=True, append_images=[picture["L"].convert("RGB")])
    found |= {f"JPEG {mode}": file_of(picture[mode], "JPEG", exif=tag) for mode in ("RGB", "L", "CMYK")}
    found["JPEG, progressive"] = file_of(picture["RGB"], "JPEG", progressive=True)
    found["JPEG of two"] = file_of(picture["RGB"], "MPO", save_all=True, append_images=[picture["RGB"]])
    found |= {f"BMP {mode}": file_of(picture[mode], "BMP") for mode in ("RGB", "L", "P", "1", "RGBA")}
    for name, options in {"lossy": {}, "lossless": {"lossless": True}, "with tags": {"exif": tag}}.items():
        found[f"WEBP {name}"] = file_of(picture["RGBA" if name == "lossless" else "RGB"], "WEBP", **options)
    found["WEBP, animated"] = file_of(picture["RGB"], "WEBP", save_all=True, append_images=[picture["CMYK"].convert("RGB")])
    for kind in ("raw", "tiff_lzw", "tiff_adobe_deflate", "tiff_deflate", "packbits", "jpeg", "zstd", "lzma"):
        found[f"TIFF {kind}"] = file_of(picture["RGB"], "TIFF", compression=kind)
    found |= {f"TIFF {kind}": file_of(picture["1"], "TIFF", compression=kind) for kind in ("group3", "group4", "tiff_ccitt")}
    for mode in ("L", "I;16", "RGBA", "P", "1", "LA", "CMYK", "YCbCr", "LAB", "F", "I"):
        found[f"TIFF {mode}"] = file_of(picture[mode], "TIFF")
    found["TIFF of strips"] = file_of(picture["L"], "TIFF", strip_size=100, compression="tiff_lzw")
    found["TIFF, big"] = file_of(picture["L"], "TIFF", big_tiff=True)
    found["TIFF of three"] = file_of(picture["L"], "TIFF", save_all=True, append_images=[picture["I;16"], picture["RGB"]])
    found["TIFF with tags"] = file_of(picture["RGB"], "TIFF", exif=tag, dpi=(300, 300), description="a picture")
    found["TIFF in tiles"] = in_tiles(grey)
    for bands, values in {5: colours, 4: colours, 2: colours, 3: colours.astype(np.float32)}.items():
        values = values[..., :bands]
        found[f"TIFF by hand, {bands} bands of {values.dtype}"] = tiff_of(values, extra=(0,) * (bands - (3 if bands > 2 else 1)))
    found["TIFF by hand, 16 bits"] = tiff_of(colours[..., :3].astype(np.uint16) * 16, order=">")
    found["GIF"] = file_of(picture["L"], "GIF")
    found["GIF P"] = file_of(picture["P"], "GIF")
    return found


def in_tiles(grey: np.ndarray) -> bytes:
    """The grey values in two tiles of 32 x 16 pixels, by hand."""
    whole = np.zeros((32, 32), np.uint8)
    whole[: grey.shape[0], : grey.shape[1]] = grey
    tags = {256: grey.shape[1], 257: grey.shape[0], 258: 8, 259: 1, 262: 1, 277: 1, 322: 32, 323: 16}
    place = 8 + whole.size
    entries = [struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items()]
    entries += [struct.pack("<HHII", tag, 4, 2, place + 8 * i) for i, tag in enumerate((324, 325))]
    lists = struct.pack("<4I", 8, 8 + whole.size // 2, whole.size // 2, whole.size // 2)
    start = b"II*\0" + struct.pack("<I", place + len(lists))
    return start + whole.tobytes() + lists + struct.pack("<H", len(entries)) + b"".join(entries) + bytes(4)


def damaged(data: bytes, draw: random.Random) -> bytes:
    """Some bytes changed, left out, put in or doubled; the tags of a TIFF and the chunks of a PNG are hit more often."""
    found = bytearray(data)
    for _ in range(draw.choice((1, 1, 1, 2, 4, 16))):
        way, place = draw.randrange(8), draw.randrange(max(1, min(len(found), draw.choice((40, 400, 10**6)))))
        size = draw.choice((1, 2, 4, 8))
        if way == 0:
            found[place : place + 1] = bytes([found[place] ^ 1 << draw.randrange(8)]) if place < len(found) else b""
        elif way == 1:
            found[place : place + size] = draw.choice((b"\0", b"\xff", b"\x7f", b"\x80")) * size
        elif way == 2:
            found[place : place + size] = draw.randbytes(size)
        elif way == 3 and draw.random() < 0.3:
            del found[place:]
        elif way == 4:
            del found[place : place + draw.randrange(1, 40)]
        elif way == 5:
            found[place:place] = draw.randbytes(draw.randrange(1, 40))
        elif way == 6:
            other = draw.randrange(max(1, len(found)))
            found[place : place + size] = found[other : other + size]
        elif found[:4] in (b"II*\0", b"MM\0*"):
            change_tag(found, draw)
    if found[:4] == b"\x89PNG" and draw.random() < 0.7:
        mend_checksums(found)
    return bytes(found)


def change_tag(found: bytearray, draw: random.Random) -> None:
    """Another tag, kind, number or value in the first directory."""
    order = "<" if found[:2] == b"II" else ">"
    try:
        (place,) = struct.unpack_from(f"{order}I", found, 4)
        (count,) = struct.unpack_from(f"{order}H", found, place)
        entry = place + 2 + 12 * draw.randrange(count + 1)
        field, layout = draw.choice(((0, "H"), (2, "H"), (4, "I"), (8, "I")))
        value = draw.choice((0, 1, 2, 3, 5, 8, 11, 12, 16, 255, 338, 32773, 65535, draw.getrandbits(16)))
        struct.pack_into(order + layout, found, entry + field, value)
    except struct.error:  # an earlier change has hit the directory
        return


def mend_checksums(found: bytearray) -> None:
    """So that a damaged chunk of a PNG is looked into."""
    place = 8
    while place + 12 <= len(found):
        end = place + 8 + int.from_bytes(found[place : place + 4])
        if end + 4 > len(found):
            return
        found[end : end + 4] = zlib.crc32(found[place + 4 : end]).to_bytes(4)
        place = end + 4


def outcomes(number: int, place: Path) -> Iterator[tuple[str, str]]:
    """What became of each reading of `number` damaged files: the class of the error, or `read`."""
    kinds = list(sound().items())
    for i in range(number):
        name, data = kinds[i % len(kinds)]
        source: Any = damaged(data, random.Random(i))
        if i % 10 == 0:
            place.write_bytes(source)
            source = place
        for reader, read in READERS.items():
            try:
                read(source)
            except PerpixelError as error:
                yield reader, type(error).__name__ if str(error).isprintable() else "a sentence that cannot be printed"
            except Exception as error:
                pytest.fail(f"{reader} of {name}, damaged by Random({i}): {type(error).__name__}: {error}")
            else:
                yield reader, "read"


def fuzz(number: int, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "MAX_PIXELS", PIXELS)
    counts = Counter(outcomes(number, place))
    shown = {reader: {what: counts[reader, what] for what in ("read", "DataError", "NotRead", "TooLarge")} for reader in READERS}
    lines = [f"{number} damaged pictures of {len(sound())} kinds:", *(f"{name}: {told}" for name, told in shown.items())]
    print("\n  ".join(["", *lines]))
    assert sum(sum(told.values()) for told in shown.values()) == number * len(READERS)
    assert all(told["read"] and told["DataError"] for name, told in shown.items() if name != "read_png_labels")


@pytest.mark.thorough
@pytest.mark.filterwarnings("ignore")
def test_a_folder_of_damaged_files_is_checked_and_repaired_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As pictures beside sound masks, and as masks beside sound pictures."""
    monkeypatch.setattr(images, "MAX_PIXELS", PIXELS)
    root = tmp_path / "set"
    picture, mask = (sound()[f"PNG {mode}"] for mode in ("RGB", "L"))
    for i, (name, data) in enumerate(sound().items()):
        kinds = {"PNG": "png", "JPEG": "jpg", "WEBP": "webp", "TIFF": "tif", "BMP": "bmp", "GIF": "gif"}
        suffix = kinds[re.split("[ ,]", name)[0]]
        broken = damaged(data, random.Random(i))
        for kind, other, rest in (("images", "masks", mask), ("masks", "images", picture)):
            for folder, content, end in ((kind, broken, suffix), (other, rest, "png")):
                path = root / folder / "train" / f"{i}-{kind}.{end}"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
    (root / "classes.csv").write_text("id,name\n0,a\n1,b\n2,c\n3,d\n")
    report = check(root)
    assert report.pictures == {"train": 2 * len(sound())}
    assert all(one.message.isprintable() for one in report.problems)
    done = repair(root, plan_repair(root, report), tmp_path / "copy")
    assert 0 < done.pairs < 2 * len(sound())
    assert sum(check(tmp_path / "copy").pictures.values()) == done.pairs


@pytest.mark.parametrize("name", sound())
def test_the_kinds_are_sound(name: str) -> None:
    """Else their damage would be no test."""
    if name in ("TIFF F", "TIFF I") or "float32" in name:
        with pytest.raises(images.NotRead):
            images.read_image(sound()[name])
    else:
        size = (20, 24) if name == "TIFF with tags" else (24, 20)  # a TIFF's own tag turns it always
        assert images.read_image(sound()[name], turn=False).shape == (*size, 3)


@pytest.mark.thorough
@pytest.mark.filterwarnings("ignore")
def test_some_hundred_damaged_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fuzz(600, tmp_path / "picture", monkeypatch)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_forty_five_thousand_damaged_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fuzz(45_000, tmp_path / "picture", monkeypatch)
