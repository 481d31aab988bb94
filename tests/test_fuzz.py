"""Files of strangers, mutated: whatever their bytes are, reading them ends, and ends in a sentence or in a data set.

The seeds are fixed. Some hundreds of each run in every test run; `make slow` runs all, and prints how many were refused."""

from __future__ import annotations

import bz2
import copy
import gzip
import io
import json
import lzma
import random
import shutil
import tarfile
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from exports import FORMATS as EXPORTS
from exports import export, region

from perpixel.download.archives import Limits, unpack
from perpixel.errors import PerpixelError, failure_of
from perpixel.formats import FORMATS, format_of
from perpixel.formats.convert import convert

ANNOTATIONS, ARCHIVES, FEW = 25_000, 3_000, 320
TOKENS = (
    b"\0", b"\xff", b"\xef\xbb\xbf", b"\xff\xfe", b"\n", b"\r", b'"', b"'", b"{", b"}", b"[", b"]", b"<", b"/>", b"&a;", b",",
    b":", b"#", b"null", b"true", b"-1", b"0", b"1e400", b"NaN", b"-Infinity", b"9" * 400, b"9" * 5000, b"2147483648",
    b"9223372036854775808", b"\\ud800", b"../", b"..\\", b"C:", b"\x1b[31m", b"[" * 3000, b"<a>" * 300, b"- " * 200, b"&x *x",
    b"!!python/object:os.system", b"? ", b"%", b"utf-1", b"utf-16", b"shift_jis", b"<!DOCTYPE a>", b"<![CDATA[", b"\xed\xa0\x80",
    b" " * 50, b"0" * 40, b"data:image/png;base64,",
)  # fmt: skip


VALUES: tuple[Any, ...] = (
    None, True, 0, -1, 1.5, 2**31, 2**63, 10**400, float("nan"), float("inf"), "", " ", "x", "../x", "a.png", "\ud800",
    "\x1b[31m", "9" * 300, [], [[]], [None], [1, 2, 3, 4], [[1, 2], [3, 4]], [[0, 0, 9, 0, 9, 9]], {}, {"": None}, ["cat", "dog"],
    [["cat"]], {"counts": "00", "size": [9, 12]}, {"size": [9, 12], "counts": [10**9]},
    "data:image/png;base64,", {"id": 1}, "polygon", "mask", "labels",
)  # fmt: skip


def mutated(data: bytes, chance: random.Random) -> bytes:
    """One to four changes: bytes flipped, taken out, doubled or moved, tokens put in, and the end cut off."""
    made = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(made) + 1)
        end = min(len(made), at + chance.choice((1, 1, 2, 8, 40)))
        change = chance.randrange(6)
        if change == 0 and at < len(made):
            made[at] ^= 1 << chance.randrange(8)
        elif change == 1:
            del made[at:end]
        elif change == 2:
            made[at:at] = made[at:end]
        elif change == 3:
            made[at : at if chance.random() < 0.5 else end] = chance.choice(TOKENS)
        elif change == 4:
            place = chance.randrange(len(made) + 1)
            made[at:end] = made[place : place + end - at]
        elif chance.random() < 0.3:
            del made[at:]
    return bytes(made)


def with_other_values(data: bytes, chance: random.Random) -> bytes:
    """JSON with one to three of its values taken out, doubled, or replaced by something else."""
    content = json.loads(data)
    for _ in range(chance.randint(1, 3)):
        places: list[tuple[Any, Any]] = []
        look = [content]
        while look:
            one = look.pop()
            keys = list(one) if isinstance(one, dict) else range(len(one)) if isinstance(one, list) else ()
            places += [(one, key) for key in keys]
            look += [one[key] for key in keys]
        if not places:
            break
        holder, key = chance.choice(places)
        change = chance.randrange(4)
        if change == 0:
            del holder[key]
        elif change == 1 and isinstance(holder, list):
            holder.append(holder[key])
        else:
            holder[key] = copy.deepcopy(chance.choice(VALUES))
    return json.dumps(content).encode()


def read_all(kind: str, path: Path) -> tuple[int, int]:
    """How many pictures of a data set can be read, and how many are refused."""
    good = bad = 0
    for item in FORMATS[kind].read(path, None).items:
        try:
            labels = item.read().labels
        except Exception as error:
            if failure_of(item.name, error) is None:
                raise
            bad += 1
        else:
            assert labels.ndim == 2
            good += 1
    return good, bad


def annotations(count: int, seed: int, folder: Path) -> Counter[str]:
    chance, found = random.Random(seed), Counter[str]()
    sources = []
    for format in EXPORTS:
        made = export(format, folder / format, {"a": ["cat"], "b": ["cat", "dog"], "c": []})
        if format == "label-studio":
            tasks = (made / "tasks.json").read_text()
            more = [
                region("cat", "rectangle", x=10, y=10, width=20, height=20, rotation=5),
                region("cat", "ellipse", x=50, y=50, radiusX=9, radiusY=9),
                region("cat", "brush", format="rle", rle=[0, 0, 1, 176, 57, 27, 240, 9, 9]),
                region("cat", "bitmask", imageDataURL="data:image/png;base64,aGVsbG8="),
            ]
            (made / "tasks.json").write_text(tasks.replace('"result": []', f'"result": {json.dumps(more)}'))
        for file in made.rglob("*"):
            if file.is_file() and not file.is_symlink() and file.suffix != ".png" and "JPEGImages" not in file.parts:
                sources.append((format, made, file, file.read_bytes()))
    for number in range(count):
        format, made, file, data = sources[number % len(sources)]
        of_values = file.suffix == ".json" and chance.random() < 0.5
        file.write_bytes(with_other_values(data, chance) if of_values else mutated(data, chance))
        try:
            assert format_of(made) in FORMATS
            good, bad = read_all(format, made)
            found["read" if not bad else "read in part" if good else "no picture"] += 1
            if number % 10 == 0:
                convert(made, folder / "out", [*FORMATS][number // 10 % len(FORMATS)])
                found["converted"] += 1
        except PerpixelError:
            found["refused"] += 1
        finally:
            file.write_bytes(data)
            shutil.rmtree(folder / "out", ignore_errors=True)
    return found


def archives(count: int, seed: int, folder: Path) -> Counter[str]:
    chance, found = random.Random(seed), Counter[str]()
    seeds = archives_of(folder)
    outside = folder / "outside"
    outside.mkdir()
    for number in range(count):
        name, data = seeds[number % len(seeds)]
        changed = mutated(data, chance)
        (folder / name).write_bytes(changed)
        root = folder / "root"
        try:
            unpack(folder / name, root, {"": "here"}, Limits(free_bytes=1 << 22))
            found["unpacked"] += 1
        except PerpixelError:
            found["refused"] += 1
        assert [path.name for path in root.iterdir()] in ([], ["here"])
        shutil.rmtree(root)
        assert sorted(path.name for path in folder.iterdir()) == sorted({"outside", *(name for name, _ in seeds[: number + 1])})
    return found


def archives_of(folder: Path) -> list[tuple[str, bytes]]:
    files = {"set/a.json": b'{"shapes": []}' * 20, "set/b/c.png": bytes(range(256)), "set/no.txt": b"", "한글.txt": b"x" * 3000}
    stored = io.BytesIO()
    with zipfile.ZipFile(stored, "w") as archive:
        for number, (name, data) in enumerate(files.items()):
            kinds = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
            archive.writestr(name, data, kinds[number % 4])
    kinds: dict[str, tuple[int, Callable[[bytes], bytes]]] = {
        "pax.tar": (tarfile.PAX_FORMAT, bytes), "gnu.tar": (tarfile.GNU_FORMAT, bytes), "old.tar": (tarfile.USTAR_FORMAT, bytes),
        "a.tar.gz": (tarfile.PAX_FORMAT, gzip.compress), "a.tar.bz2": (tarfile.PAX_FORMAT, bz2.compress),
        "a.tar.xz": (tarfile.PAX_FORMAT, lzma.compress),
    }  # fmt: skip
    made = [("a.zip", stored.getvalue())]
    for name, (format, pack) in kinds.items():
        plain = io.BytesIO()
        with tarfile.open(fileobj=plain, mode="w", format=format) as tar:
            for path, data in files.items():
                info = tarfile.TarInfo(path + ("x" * 120 if format != tarfile.USTAR_FORMAT else ""))
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
        made.append((name, pack(plain.getvalue())))
    return made


@pytest.mark.thorough
class TestEveryRun:
    def test_mutated_annotations_are_read_or_refused_in_a_sentence(self, tmp_path: Path) -> None:
        found = annotations(FEW, 1, tmp_path)
        assert found["converted"] > 5
        assert min(found["read"], found["refused"]) > FEW / 20

    def test_mutated_archives_are_unpacked_or_refused_in_a_sentence(self, tmp_path: Path) -> None:
        found = archives(FEW, 2, tmp_path)
        assert sum(found.values()) == FEW
        assert found["refused"] > FEW / 2


@pytest.mark.slow
class TestAll:
    def test_25000_mutated_annotations(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        found = annotations(ANNOTATIONS, 3, tmp_path)
        with capsys.disabled():
            print(f"\n{ANNOTATIONS} mutated annotations: {dict(found)}")
        assert min(found["read"], found["read in part"], found["refused"]) > ANNOTATIONS / 20

    def test_3000_mutated_archives(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        found = archives(ARCHIVES, 4, tmp_path)
        with capsys.disabled():
            print(f"\n{ARCHIVES} mutated archives: {dict(found)}")
        assert sum(found.values()) == ARCHIVES
