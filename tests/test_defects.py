"""Every kind of defect: a sound folder has none, and a folder with one defect has that one alone, with its place."""

import io
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes import make_instances
from PIL import Image

from perpixel.check import check
from perpixel.defects import KINDS

TABLE = "id,name,r,g,b\n0,background,0,0,0\n1,car,0,0,142\n2,road,128,64,128\n255,void,224,224,192\n"
SIZE = (48, 64)
SHARED = Path(__file__).parents[2] / "shared/data"


def texture(seed: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    """A picture like no other: blobs of colour."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (6, 8, 3), np.uint8))
    return np.array(small.resize(size[::-1], Image.Resampling.BICUBIC))


def labels(seed: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    """Background, two rectangles, and some void at a border."""
    rng = np.random.default_rng(seed)
    mask = np.zeros(size, np.uint8)
    top, left = (int(one) for one in rng.integers(2, 12, 2))
    mask[top : top + 12, left : left + 16] = 1
    mask[30:46, 5 + left : 40 + left] = 2
    mask[30, 5 + left : 40 + left] = 255
    mask[47, seed % 64] = 1  # so that no two are alike
    return mask


def put(path: Path, values: np.ndarray, **options: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path, **options)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Sound: four pictures to train with, two to judge by."""
    (tmp_path / "classes.csv").write_text(TABLE)
    for i in range(6):
        split = "train" if i < 4 else "val"
        put(tmp_path / f"images/{split}/{i}.png", texture(i))
        put(tmp_path / f"masks/{split}/{i}.png", labels(i))
    return tmp_path


def change(mask: Callable[[np.ndarray], np.ndarray], every: bool = False) -> Callable[[Path], None]:
    """A maker that replaces the first mask, or all."""

    def make(root: Path) -> None:
        for path in sorted((root / "masks").rglob("*.png"))[: None if every else 1]:
            put(path, mask(np.array(Image.open(path))))

    return make


def exif(orientation: int, turn: int = 0) -> Callable[[Path], None]:
    def make(root: Path) -> None:
        tag = Image.Exif()
        tag[0x0112] = orientation
        put(root / "images/train/0.png", np.rot90(texture(0), turn), exif=tag)

    return make


def coloured(mask: np.ndarray, colours: list[tuple[int, int, int]]) -> np.ndarray:
    palette = np.zeros((256, 3), np.uint8)
    palette[[0, 1, 2, 255]] = colours
    return palette[mask]


OURS = [(0, 0, 0), (0, 0, 142), (128, 64, 128), (224, 224, 192)]
OTHERS = [(9, 9, 9), (200, 0, 0), (0, 200, 0), (224, 224, 192)]


def smoothed(mask: np.ndarray) -> np.ndarray:
    """As if 0, 100 and 200 had been resized with interpolation."""
    small = Image.fromarray(mask).resize((60, 45), Image.Resampling.BILINEAR)
    return np.array(small.resize(SIZE[::-1], Image.Resampling.BILINEAR))


def by_hundreds(root: Path) -> None:
    (root / "classes.csv").write_text("id,name\n0,background\n100,car\n200,road\n")
    change(lambda mask: np.where(mask == 255, 0, mask).astype(np.uint8) * 100, every=True)(root)
    change(smoothed)(root)


def by_fours(root: Path) -> None:
    """Classes 0 to 8, of which masks show 0, 4 and 8; the first is smoothed, and has the others along its borders."""
    (root / "classes.csv").write_text("id,name\n" + "".join(f"{i},class {i}\n" for i in range(9)))
    change(lambda mask: np.where(mask == 255, 0, mask).astype(np.uint8) * 4, every=True)(root)
    change(smoothed)(root)


def cut(root: Path) -> None:
    path = root / "masks/train/0.png"
    path.write_bytes(path.read_bytes()[:-12])


def one_left_empty(root: Path) -> None:
    (root / "classes.csv").write_text(TABLE.replace("background", "sky"))
    for i in range(6, 12):
        put(root / f"images/train/{i}.png", texture(i))
        put(root / f"masks/train/{i}.png", labels(i))
    change(np.zeros_like)(root)


def jpeg(name: str) -> Callable[[Path], None]:
    def make(root: Path) -> None:
        grey = Image.fromarray(labels(0))
        grey.save(root / "masks/train/0.png", "JPEG")
        if name != "0.png":
            (root / "masks/train/0.png").rename(root / "masks/train" / name)

    return make


def only(names: str) -> Callable[[Path], None]:
    """A table of background, car and void; masks of 0, and 1 or 255."""

    def make(root: Path) -> None:
        (root / "classes.csv").write_text("id,name\n0,background\n1,car\n" + names)
        change(lambda mask: np.where(mask == 1, 255, 0).astype(np.uint8), every=True)(root)

    return make


def beside(numbers: Callable[[np.ndarray], np.ndarray]) -> Callable[[Path], None]:
    """A maker that adds instances/ to every mask: one object, and in the first what `numbers` makes of the mask."""

    def make(root: Path) -> None:
        for path in sorted((root / "masks").rglob("*.png")):
            mask = np.array(Image.open(path))
            found = numbers(mask) if path.name == "0.png" else (mask == 1).astype(np.uint8)
            put(root / "instances" / path.parent.name / path.name, found)

    return make


def dots(mask: np.ndarray) -> np.ndarray:
    found = np.zeros_like(mask)
    found[4:40:8, 4:60:8] = 7
    return found


def a_third_each(mask: np.ndarray) -> np.ndarray:
    found = np.zeros_like(mask)
    for value in (0, 1, 2):
        found.ravel()[np.flatnonzero(mask == value)[:190]] = 3
    return found


def checkerboard(mask: np.ndarray) -> np.ndarray:
    rows, columns = np.indices(mask.shape)
    return np.where((rows + columns) % 2 == 0, mask, (mask + 1) % 3).astype(np.uint8)


def write(name: str, content: bytes | None = None, stop: int | None = None) -> Callable[[Path], None]:
    def make(root: Path) -> None:
        path = root / name
        path.write_bytes(path.read_bytes()[:stop] if content is None else content)

    return make


def copy_mirrored(root: Path) -> None:
    put(root / "images/val/4.png", texture(0)[:, ::-1])


def copy_of(source: str, target: str) -> Callable[[Path], None]:
    return lambda root: (root / target).write_bytes((root / source).read_bytes()) and None


def sixteen(root: Path) -> None:
    put(root / "images/train/0.png", (texture(0)[..., 0].astype(np.uint16) * 257))
    for i in range(1, 6):  # grey as well, so that channels do not differ
        path = root / f"images/{'train' if i < 4 else 'val'}/{i}.png"
        put(path, texture(i)[..., 0])


def see_through(root: Path) -> None:
    alpha = np.full((*SIZE, 1), 255, np.uint8)
    alpha[7, 5:9] = 0
    put(root / "images/train/0.png", np.concatenate([texture(0), alpha], 2))


def pages(root: Path) -> None:
    (root / "images/train/0.png").unlink()
    both = [Image.fromarray(texture(i)) for i in (0, 9)]
    both[0].save(root / "images/train/0.tif", save_all=True, append_images=both[1:])


def one_grey(root: Path) -> None:
    for i in range(6, 12):  # a tenth is few
        put(root / f"images/train/{i}.png", texture(i))
        put(root / f"masks/train/{i}.png", labels(i + 20))
    put(root / "images/train/0.png", texture(0)[..., 0])


def cmyk(root: Path) -> None:
    (root / "images/train/0.png").unlink()
    Image.fromarray(texture(0)).convert("CMYK").save(root / "images/train/0.jpg", quality=95)


def swapped(root: Path) -> None:
    (root / "images").rename(root / "other")
    (root / "masks").rename(root / "images")
    (root / "other").rename(root / "masks")


def flat(root: Path) -> None:
    for kind in ("images", "masks"):
        for path in (root / kind / "val").iterdir():
            path.unlink()
        (root / kind / "val").rmdir()


# kind -> what makes it, the file that is named, and its pixel, value and count where it has them
MAKERS: dict[str, tuple[Callable[[Path], Any], str, tuple[Any, Any, Any]]] = {
    "unpaired": (lambda root: put(root / "images/train/9.png", texture(9)), "9.png", (None, None, None)),
    "doubly paired": (lambda root: put(root / "images/train/0.bmp", texture(9)), "0.bmp", (None, None, None)),
    "unused files": (lambda root: put(root / "images/other/9.png", texture(9)), "other", (None, None, 1)),
    "not a picture": (lambda root: (root / "images/train/9.heic").write_bytes(b"x"), "9.heic", (None, None, None)),
    "broken link": (lambda root: (root / "images/train/9.png").symlink_to("nowhere.png"), "9.png", (None, None, None)),
    "swapped folders": (swapped, "", (None, None, 6)),
    "no split to judge": (flat, "", (None, None, None)),
    "empty file": (write("images/train/0.png", b""), "0.png", (None, None, None)),
    "damaged": (write("masks/train/0.png", stop=60), "0.png", (None, None, None)),
    "unreadable": (write("masks/train/0.png", b"no picture"), "0.png", (None, None, None)),
    "cut short": (cut, "0.png", (None, None, None)),
    "wrong extension": (
        lambda root: Image.fromarray(texture(0)).save(root / "images/train/0.png", "JPEG"), "0.png", (None, None, None)),
    "size mismatch": (change(lambda mask: mask[:40]), "0.png", (None, None, None)),
    "rotated picture": (exif(6), "0.png", (None, None, None)),
    "mirrored picture": (exif(3), "0.png", (None, None, None)),
    "16-bit picture": (sixteen, "0.png", (None, None, None)),
    "transparent picture": (see_through, "0.png", ((7, 5), "0", 4)),
    "CMYK picture": (cmyk, "0.jpg", (None, None, None)),
    "several pages": (pages, "0.tif", (None, None, None)),
    "one colour": (lambda root: put(root / "images/train/0.png", np.full((*SIZE, 3), 90, np.uint8)), "0.png",
                   ((0, 0), "(90, 90, 90)", 48 * 64)),
    "mixed channels": (one_grey, "0.png", (None, None, 1)),
    "unknown value": (change(lambda mask: np.where(mask == 2, 7, mask).astype(np.uint8)), "0.png", ((31, 13), "7", 525)),
    "0/255 mask": (only(""), "0.png", ((10, 8), "255", 193)),
    "foreground is void": (only("255,void\n"), "classes.csv", (None, "255", 6 * 193)),
    "scaled mask": (change(lambda mask: np.where(mask == 255, 0, mask.astype(np.uint16) * 257)), "0.png", ((10, 8), "257", 193)),
    "interpolated mask": (by_hundreds, "0.png", None),
    "smoothed mask": (by_fours, "0.png", None),
    "16-bit mask": (change(lambda mask: mask.astype(np.uint16)), "0.png", (None, None, None)),
    "JPEG mask": (jpeg("0.png"), "0.png", None),
    "palette expanded": (change(lambda mask: coloured(mask, OURS)), "0.png", ((0, 0), "(0, 0, 0)", None)),
    "colour-coded mask": (change(lambda mask: coloured(mask, OTHERS)), "0.png", ((31, 13), "(0, 200, 0)", 525)),
    "three equal channels": (change(lambda mask: np.repeat(mask[..., None], 3, 2)), "0.png", ((0, 0), "0", None)),
    "alpha mask": (change(lambda mask: np.stack([np.zeros_like(mask), mask], 2)), "0.png", ((10, 8), "1", None)),
    "photo as mask": (change(lambda mask: texture(99)), "0.png", (None, None, 48 * 64)),
    "all void": (change(lambda mask: np.full_like(mask, 255)), "0.png", ((0, 0), "255", 48 * 64)),
    "nothing but background": (change(lambda mask: np.zeros_like(mask)), "0.png", ((0, 0), "0", 48 * 64)),
    "one class alone": (one_left_empty, "0.png", (None, None, 48 * 64)),
    "speckled mask": (change(checkerboard), "0.png", None),
    "objects share a number": (beside(dots), "0.png", None),
    "object of several classes": (beside(a_third_each), "0.png", None),
    "object on void": (beside(lambda mask: (mask == 255).astype(np.uint8)), "0.png", ((30, 13), "1", 35)),
    "leak": (copy_of("images/train/0.png", "images/val/4.png"), "4.png", (None, None, None)),
    "near leak": (copy_mirrored, "4.png", (None, "0.000", None)),
    "duplicate": (copy_of("images/train/0.png", "images/train/1.png"), "1.png", (None, None, None)),
    "contradiction": (copy_of("images/train/0.png", "images/train/1.png"), "1.png", (None, None, None)),
    "same mask": (copy_of("masks/train/0.png", "masks/train/1.png"), "1.png", (None, None, None)),
    "empty class": (lambda root: (root / "classes.csv").write_text(TABLE + "3,bus,0,0,70\n"), "classes.csv", (None, "bus", None)),
    "class in one split": (
        lambda root: [put(path, np.minimum(np.array(Image.open(path)), 1)) for path in sorted((root / "masks/val").iterdir())],
        "classes.csv", (None, None, None)),
    "class called void": (lambda root: (root / "classes.csv").write_text(TABLE.replace("road", "Unlabeled")), "classes.csv",
                          (None, "2", None)),
    "mostly void": (
        change(lambda mask: np.choose(np.minimum(mask, 3), [255, 1, 2, 0]).astype(np.uint8), every=True), "classes.csv", None),
    "colours alike": (lambda root: (root / "classes.csv").write_text(TABLE.replace("128,64,128", "0,0,142")), "classes.csv",
                      (None, "(0, 0, 142)", None)),
}  # fmt: skip
# What comes with a defect, because it is true as well.
BESIDE = {
    "swapped folders": {"near leak"}, "0/255 mask": {"empty class"}, "JPEG mask": {"wrong extension"},
    "smoothed mask": {"class in one split"},
    "leak": {"contradiction"}, "duplicate": {"contradiction"}, "contradiction": {"duplicate"},
}  # fmt: skip


def test_a_sound_folder_has_no_defect(root: Path) -> None:
    assert check(root).problems == ()


@pytest.mark.parametrize("kind", MAKERS)
def test_a_defect_is_found_and_nothing_else(root: Path, kind: str) -> None:
    make, file, where = MAKERS[kind]
    make(root)
    found = check(root).problems
    assert {one.kind for one in found} - BESIDE.get(kind, set()) == {kind}, [one.message for one in found]
    first = next(one for one in found if one.kind == kind)
    assert Path(first.file).name == (file or root.name)
    assert first.severity == KINDS[kind].severity
    assert first.message.startswith(f"{first.file}: ")
    assert first.message.endswith(".")
    if where is not None:
        assert (first.pixel, first.value, first.count) == where


def test_a_mapping_is_proposed_for_colours(root: Path) -> None:
    MAKERS["colour-coded mask"][0](root)
    (problem,) = check(root).problems
    rows = "0,class_0,0,200,0; 1,class_1,9,9,9; 2,class_2,200,0,0; 3,void,224,224,192"
    assert problem.message.endswith(f"write values for the colours, such as id,name,r,g,b: {rows}.")


@pytest.mark.parametrize("flip", [1, -1])
@pytest.mark.parametrize("change", ["brighter", "JPEG", "smaller"])
def test_a_picture_saved_anew_is_a_near_leak(root: Path, change: str, flip: int) -> None:
    picture = np.array(Image.fromarray(texture(0)).resize((320, 240), Image.Resampling.BICUBIC))[:, ::flip]
    put(root / "images/train/0.png", picture[:, ::flip])
    put(root / "masks/train/0.png", labels(0, (240, 320)))
    if change == "brighter":
        put(root / "images/val/4.png", np.clip(picture.astype(int) + 5, 0, 255).astype(np.uint8))
    elif change == "smaller":
        put(root / "images/val/4.png", np.array(Image.fromarray(picture).resize((200, 150), Image.Resampling.BICUBIC)))
    else:
        buffer = io.BytesIO()
        Image.fromarray(picture).save(buffer, "JPEG", quality=80)
        put(root / "images/val/4.png", np.array(Image.open(buffer)))
    put(root / "masks/val/4.png", labels(4, (150, 200) if change == "smaller" else (240, 320)))
    (problem,) = check(root).problems
    assert problem.kind == "near leak"


@pytest.mark.skipif(sys.platform != "linux", reason="names that are no UTF-8 are possible on Linux alone.")
def test_a_name_that_is_no_utf8_is_told_and_can_be_printed(root: Path) -> None:
    name = os.fsdecode(b"im\xffage.png")
    put(root / "images/train" / name, texture(9))
    put(root / "masks/train" / name, labels(9))
    picture, mask = check(root).problems
    assert picture.kind == mask.kind == "unreadable name"
    assert "im\\xffage.png: has a name" in picture.message
    picture.message.encode()


@pytest.mark.skipif(sys.platform != "linux", reason="two names that differ in case need a file system that tells them apart.")
def test_names_that_differ_in_case_alone(root: Path) -> None:
    for name in ("a.png", "A.png"):
        put(root / "images/train" / name, texture(ord(name[0])))
        put(root / "masks/train" / name, labels(ord(name[0])))
    assert {problem.kind for problem in check(root).problems} == {"case twins"}


def test_more_unknown_values_than_one_reads_are_summed_up(root: Path) -> None:
    change(lambda mask: np.random.default_rng(5).integers(3, 33, mask.shape, np.uint8))(root)
    found = [problem for problem in check(root).problems if problem.kind == "unknown value"]
    assert len(found) == 9
    assert "22 more values" in found[-1].message


def test_sound_instances_have_no_defect(tmp_path: Path) -> None:
    assert check(make_instances(tmp_path)).problems == ()


@pytest.mark.parametrize("name", ["camvid", "nuclei"])
def test_real_sets_have_no_defect(name: str) -> None:
    if not (SHARED / name).is_dir():
        pytest.skip(f"the pictures of {name} are not at ../shared/data.")
    assert check(SHARED / name).problems == ()


def test_the_documents_table_is_that_of_the_code() -> None:
    rows = [f"| {name} | {kind.severity} | {kind.means} | {kind.repair} |" for name, kind in KINDS.items()]
    text = (Path(__file__).parents[1] / "docs/check.md").read_text()
    assert [line for line in text.splitlines() if line.startswith("| ")][1:] == rows


def test_every_kind_is_made_by_a_test() -> None:
    names = (Path(__file__).parent / "test_coco_defects.py").read_text()
    assert [kind for kind in KINDS if kind not in MAKERS and f'"{kind}"' not in names] == ["unreadable name", "case twins"]
