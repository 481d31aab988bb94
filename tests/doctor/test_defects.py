"""Every kind of defect: a sound folder has no defect, and a folder with one defect has only this defect, at its place."""

import io
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes import make_instances, tiff_of
from PIL import Image
from places import ROOT, SHARED, TESTS

from perpixel import images
from perpixel.doctor.check import check
from perpixel.doctor.defects import KINDS
from perpixel.errors import DataError

TABLE = "id,name,r,g,b\n0,background,0,0,0\n1,car,0,0,142\n2,road,128,64,128\n255,void,224,224,192\n"
SIZE = (48, 64)


def texture(seed: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    """A picture of coloured blobs that differs from every other."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (6, 8, 3), np.uint8))
    return np.array(small.resize(size[::-1], Image.Resampling.BICUBIC))


def labels(seed: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    """Background, two rectangles, and some void at a border."""
    rng = np.random.default_rng(seed)
    mask = np.zeros(size, np.uint8)
    top, left = (int(number) for number in rng.integers(2, 12, 2))
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
    """A sound folder: four pictures to train with, two to judge by."""
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
    """Masks that look as if 0, 100 and 200 had been resized with interpolation."""
    small = Image.fromarray(mask).resize((60, 45), Image.Resampling.BILINEAR)
    return np.array(small.resize(SIZE[::-1], Image.Resampling.BILINEAR))


def by_hundreds(root: Path) -> None:
    (root / "classes.csv").write_text("id,name\n0,background\n100,car\n200,road\n")
    change(lambda mask: np.where(mask == 255, 0, mask).astype(np.uint8) * 100, every=True)(root)
    change(smoothed)(root)


def by_fours(root: Path) -> None:
    """Classes 0 to 8. The masks show 0, 4 and 8; the first mask is smoothed, so the other classes lie along its borders."""
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
    """A maker that adds instances/ to every mask: one object each. The first has the numbers that `numbers(mask)` returns."""

    def make(root: Path) -> None:
        for path in sorted((root / "masks").rglob("*.png")):
            mask = np.array(Image.open(path))
            object_numbers = numbers(mask) if path.name == "0.png" else (mask == 1).astype(np.uint8)
            put(root / "instances" / path.parent.name / path.name, object_numbers)

    return make


def dots(mask: np.ndarray) -> np.ndarray:
    objects = np.zeros_like(mask)
    objects[4:40:8, 4:60:8] = 7
    return objects


def a_third_each(mask: np.ndarray) -> np.ndarray:
    objects = np.zeros_like(mask)
    for value in (0, 1, 2):
        objects.ravel()[np.flatnonzero(mask == value)[:190]] = 3
    return objects


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


# kind -> its maker, the file that is named, and the pixel, value and count where the defect has them
def lossy_webp(root: Path) -> None:
    """Masks of few values, in WEBP as a tool writes it by default."""
    (root / "masks/train/0.png").unlink()
    Image.fromarray(labels(0)).save(root / "masks/train/0.webp", quality=80)


def four_bands(root: Path) -> None:
    """Red, green, blue and near infrared. No tag says that the last is alpha."""
    (root / "images/train/0.png").unlink()
    both = np.concatenate([texture(0), texture(9)[..., :1]], 2)
    (root / "images/train/0.tif").write_bytes(tiff_of(both, extra=(0,)))


def banded(rows: str, change: Callable[[np.ndarray, int], np.ndarray] = lambda bands, number: bands) -> Callable[[Path], None]:
    """A maker that names the bands of the pictures in `bands.csv`, after a change of each: red, green and blue, as TIFF."""

    def make(root: Path) -> None:
        (root / "bands.csv").write_text("name,low,high,nodata\n" + rows)
        for path in sorted((root / "images").rglob("*.png")):
            path.with_suffix(".tif").write_bytes(tiff_of(change(np.array(Image.open(path)), int(path.stem))))
            path.unlink()

    return make


RGB_ROWS = "red,,,\ngreen,,,\nblue,,,\n"


def with_hole(bands: np.ndarray, number: int) -> np.ndarray:
    values = bands.astype(np.float32)
    if number == 0:
        values[7, 5:9, 1] = np.nan
    return values


def flat_green(bands: np.ndarray, number: int) -> np.ndarray:
    return np.stack([bands[..., 0], np.full_like(bands[..., 0], 90), bands[..., 2]], 2)


def background_alone(root: Path) -> None:
    change(np.zeros_like, every=True)(root)


MAKERS: dict[str, tuple[Callable[[Path], Any], str, tuple[Any, Any, Any]]] = {
    "unpaired": (lambda root: put(root / "images/train/9.png", texture(9)), "9.png", (None, None, None)),
    "doubly paired": (lambda root: put(root / "images/train/0.bmp", texture(9)), "0.bmp", (None, None, None)),
    "unused files": (lambda root: put(root / "images/other/9.png", texture(9)), "other", (None, None, 1)),
    "not a picture": (lambda root: (root / "images/train/9.heic").write_bytes(b"x"), "9.heic", (None, None, 1)),
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
    "further bands": (four_bands, "0.tif", (None, None, None)),
    "wrong bands": (banded(RGB_ROWS, lambda bands, number: bands[..., : 2 if number == 0 else 3]), "0.tif", (None, "2", None)),
    "pixels without data": (banded(RGB_ROWS, with_hole), "0.tif", ((7, 5), "nan", 4)),
    "constant band": (banded(RGB_ROWS, flat_green), "bands.csv", (None, "green", 6)),
    "12 bits in 16": (banded("red,0,65535,\ngreen,,,\nblue,,,\n", lambda bands, _: bands.astype(np.uint16) * 16),
                      "bands.csv", (None, "4080", None)),
    "clipped band": (banded("red,,,\ngreen,,,\nblue,0,50,\n"), "bands.csv", None),
    "mixed types": (banded(RGB_ROWS, lambda bands, number: bands.astype(np.uint16) if number == 0 else bands), "0.tif",
                    (None, "uint16", 1)),
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
    "nothing to tell apart": (background_alone, "classes.csv", (None, None, None)),
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
# Further defects that come with a defect, because they are true as well.
BESIDE = {
    "nothing to tell apart": {"nothing but background", "empty class"},
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
    defects = check(root).problems
    assert {defect.kind for defect in defects} - BESIDE.get(kind, set()) == {kind}, [defect.message for defect in defects]
    first = next(defect for defect in defects if defect.kind == kind)
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
def test_a_name_that_is_no_utf8_is_reported_and_can_be_printed(root: Path) -> None:
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
    defects = [problem for problem in check(root).problems if problem.kind == "unknown value"]
    assert len(defects) == 9
    assert "22 more values" in defects[-1].message


def test_sound_instances_have_no_defect(tmp_path: Path) -> None:
    assert check(make_instances(tmp_path)).problems == ()


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["camvid", "nuclei"])
def test_real_sets_have_no_defect(name: str) -> None:
    if not (SHARED / name).is_dir():
        pytest.skip(f"the pictures of {name} are not at ../shared/data.")
    assert check(SHARED / name).problems == ()


def test_the_documents_table_is_that_of_the_code() -> None:
    rows = [f"| {name} | {kind.severity} | {kind.means} | {kind.repair} |" for name, kind in KINDS.items()]
    text = (ROOT / "docs/check.md").read_text()
    assert [line for line in text.splitlines() if line.startswith("| ")][1:] == rows


def test_every_kind_is_made_by_a_test() -> None:
    names = (TESTS / "doctor/test_coco_defects.py").read_text()
    assert [kind for kind in KINDS if kind not in MAKERS and f'"{kind}"' not in names] == ["unreadable name", "case twins"]


def test_the_readme_counts_the_kinds() -> None:
    assert f"[{len(KINDS)} kinds of defect](docs/check.md)" in (ROOT / "README.md").read_text()


def of_kind(root: Path, kind: str) -> list[Any]:
    return [defect for defect in check(root).problems if defect.kind == kind]


class TestNothingToTellApart:
    def test_a_table_of_one_class(self, root: Path) -> None:
        (root / "classes.csv").write_text("id,name\n0,cup\n")
        change(np.zeros_like, every=True)(root)
        (defect,) = check(root).problems
        assert (defect.kind, defect.severity) == ("nothing to tell apart", "warning")
        assert "there is one class alone, 'cup', and nothing to tell apart" in defect.message

    def test_a_class_that_is_not_background(self, root: Path) -> None:
        change(np.ones_like, every=True)(root)
        (defect,) = of_kind(root, "nothing to tell apart")
        assert "all masks show one class alone, 'car'" in defect.message

    def test_two_classes_in_one_mask_are_enough(self, root: Path) -> None:
        background_alone(root)
        put(root / "masks/val/4.png", np.minimum(labels(4), 1))
        assert of_kind(root, "nothing to tell apart") == []

    def test_masks_with_strange_values_may_show_more(self, root: Path) -> None:
        change(lambda mask: np.where(mask == 1, 7, 0).astype(np.uint8), every=True)(root)
        assert of_kind(root, "nothing to tell apart") == []


class TestLossyMasks:
    """WEBP without the word lossless, JPEG under any name, and TIFF with JPEG inside."""

    @pytest.mark.parametrize("options", [{}, {"quality": 100}, {"exif": b"Exif\0\0II*\0\x08\0\0\0\0\0\0\0"}])
    @pytest.mark.parametrize("values", ["grey", "colours"])
    def test_a_lossy_webp_is_one(self, root: Path, options: dict[str, Any], values: str) -> None:
        (root / "masks/train/0.png").unlink()
        mask = labels(0) if values == "grey" else coloured(labels(0), OURS)
        Image.fromarray(mask).save(root / "masks/train/0.webp", **options)
        (defect,) = check(root).problems
        assert defect.kind == "JPEG mask"
        assert "is a lossy WEBP of" in defect.message

    def test_one_with_alpha_is_one(self, root: Path) -> None:
        (root / "masks/train/0.png").unlink()
        alpha = np.where(labels(0) == 1, 255, 0).astype(np.uint8)
        Image.fromarray(np.dstack([coloured(labels(0), OURS), alpha])).save(root / "masks/train/0.webp")
        (defect,) = check(root).problems
        assert defect.kind == "JPEG mask"

    def test_one_in_an_animation_is_one(self, root: Path) -> None:
        (root / "masks/train/0.png").unlink()
        frames = [Image.fromarray(coloured(labels(i), OURS)) for i in range(2)]
        frames[0].save(root / "masks/train/0.webp", save_all=True, append_images=frames[1:])
        assert of_kind(root, "JPEG mask")

    def test_a_lossless_webp_is_none(self, root: Path) -> None:
        (root / "masks/train/0.png").unlink()
        Image.fromarray(coloured(labels(0), OURS)).save(root / "masks/train/0.webp", lossless=True)
        assert {defect.kind for defect in check(root).problems} == {"palette expanded"}

    def test_a_tiff_of_jpeg_is_one(self, root: Path) -> None:
        (root / "masks/train/0.png").unlink()
        Image.fromarray(labels(0)).save(root / "masks/train/0.tif", compression="jpeg")
        (defect,) = check(root).problems
        assert (defect.kind, "is a TIFF compressed as JPEG of" in defect.message) == ("JPEG mask", True)


class TestWhatReadingDrops:
    @pytest.mark.parametrize(
        ("bands", "extra", "clause"),
        [
            (5, (0, 0), "has 5 bands, of which the first 3 are read"),
            (4, (), "has 4 bands, of which the first 3 are read"),
            (2, (0,), "has 2 bands, of which the first is read"),
        ],
    )
    def test_further_bands(self, root: Path, bands: int, extra: tuple[int, ...], clause: str) -> None:
        (root / "images/train/0.png").unlink()
        values = np.concatenate([texture(0), texture(9)], 2)[..., :bands]
        (root / "images/train/0.tif").write_bytes(tiff_of(values, extra=extra))
        (defect,) = of_kind(root, "further bands")
        assert clause in defect.message
        assert of_kind(root, "transparent picture") == []

    def test_a_band_that_is_said_to_be_alpha_is_no_further_one(self, root: Path) -> None:
        (root / "images/train/0.png").unlink()
        alpha = np.full((*SIZE, 1), 255, np.uint8)
        (root / "images/train/0.tif").write_bytes(tiff_of(np.concatenate([texture(0), alpha], 2), extra=(2,)))
        assert check(root).problems == ()

    @pytest.mark.parametrize("kind", ["grey", "colours"])
    def test_twelve_bits_in_sixteen_are_nearly_black(self, root: Path, kind: str) -> None:
        values = texture(0).astype(np.uint16) * 16
        values[0, 0] = 4095
        (root / "images/train/0.png").unlink()
        (root / "images/train/0.tif").write_bytes(tiff_of(values if kind == "colours" else values[..., :1]))
        (defect,) = of_kind(root, "16-bit picture")
        clause = (
            "its greatest value 4095 of 65535 becomes 16 of 255" if kind == "grey" else "its greatest value becomes 15 of 255"
        )
        assert f"{clause}, nearly black" in defect.message

    def test_a_second_page_of_a_mask(self, root: Path) -> None:
        (root / "masks/train/0.png").unlink()
        pages = [Image.fromarray(labels(i)) for i in range(2)]
        pages[0].save(root / "masks/train/0.tif", save_all=True, append_images=pages[1:])
        (defect,) = check(root).problems
        assert "0.tif: holds 2 pictures, of which the first is read" in defect.message


class TestOneBadFileAmongMany:
    """A file that cannot be read is named, and the others are checked."""

    def others(self, root: Path) -> None:
        assert check(root).pictures == {"train": 4, "val": 2}

    @pytest.mark.parametrize("folder", ["images", "masks"])
    def test_a_pipe(self, root: Path, folder: str) -> None:
        path = root / folder / "train/0.png"
        path.unlink()
        os.mkfifo(path)
        (defect,) = check(root).problems
        assert (defect.kind, defect.message) == ("unreadable", f"{path}: is a pipe, not a file; give a file.")
        self.others(root)

    def test_a_pipe_of_another_name(self, root: Path) -> None:
        os.mkfifo(root / "images/train/notes")
        (defect,) = check(root).problems
        assert (defect.kind, "notes: is a pipe" in defect.message) == ("unreadable", True)

    @pytest.mark.parametrize("error", [OSError(5, "Input/output error"), MemoryError(), RuntimeError("out of memory")])
    @pytest.mark.parametrize("reader", ["read_image", "read_labels"])
    def test_whatever_reading_one_raises(
        self, root: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, reader: str
    ) -> None:
        place = "perpixel.doctor.picture_defects.read_image" if reader == "read_image" else "perpixel.doctor.check.read_labels"
        real = images.read_image if reader == "read_image" else images.read_labels

        def broken(source: Path) -> Any:
            if source.name == "0.png":
                raise error
            return real(source)

        monkeypatch.setattr(place, broken)
        (defect,) = [defect for defect in check(root).problems if defect.severity == "error"]
        assert (defect.kind, Path(defect.file).name) == ("unreadable", "0.png")
        self.others(root)

    def test_our_own_bugs_are_not_reported_as_bad_files(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("perpixel.doctor.picture_defects.read_image", lambda _: [][0])
        with pytest.raises(IndexError):
            check(root)

    def test_a_second_page_that_is_damaged(self, root: Path) -> None:
        (root / "images/train/0.png").unlink()
        whole = tiff_of(texture(0))
        (root / "images/train/0.tif").write_bytes(tiff_of(texture(0), following=len(whole)) + b"\xff\xff" + bytes(4))
        (defect,) = check(root).problems
        assert (defect.kind, Path(defect.file).name) == ("damaged", "0.tif")
        self.others(root)

    def test_names_of_255_bytes(self, root: Path) -> None:
        name = "\ud55c" * 83 + "aa"
        for folder in ("images", "masks"):
            (root / folder / "train/0.png").rename(root / folder / f"train/{name}.png")
        assert check(root).problems == ()

    def test_a_row_whose_name_is_too_long(self, root: Path) -> None:
        rows = [f"images/train/{i}.png,masks/train/{i}.png,train" for i in range(4)]
        rows += [f"images/val/{i}.png,masks/val/{i}.png,val" for i in (4, 5)]
        rows += [f"images/{'x' * 300}.png,masks/train/0.png,train"]
        (root / "pairs.csv").write_text("\n".join(["image,mask,split", *rows]))
        unreadable = [defect for defect in check(root).errors if defect.kind == "unreadable"]
        assert "cannot be read (File name too long)" in unreadable[0].message


class TestOtherFormats:
    def test_they_are_named_and_counted(self, root: Path) -> None:
        for i in range(3):
            (root / f"masks/train/{i}x.jp2").write_bytes(b"")
        (defect,) = check(root).problems
        assert (defect.kind, defect.count) == ("not a picture", 3)
        assert "0x.jp2: is the first of 3 JPEG 2000 files here, which are not read; save it as PNG" in defect.message

    @pytest.mark.parametrize(
        ("values", "options", "clause"),
        [
            (np.zeros((4, 4, 5), np.uint16), {}, "is a TIFF of 5 bands of 16 bits, which is not read"),
            (np.zeros((4, 4, 3), np.float32), {}, "is a TIFF of 3 bands of float32, which is not read"),
            (np.zeros((4, 4, 3), np.uint8), {"compression": 34712}, "is a TIFF of 3 bands of 8 bits, compressed as JPEG 2000"),
            (np.zeros((4, 4, 1), np.int16), {"compression": 34887}, "is a TIFF of 1 band of int16, compressed as LERC, which"),
        ],
    )
    @pytest.mark.parametrize("order", ["<", ">"])
    def test_a_tiff_that_is_not_read_is_described(
        self, root: Path, values: np.ndarray, options: dict[str, int], clause: str, order: str
    ) -> None:
        (root / "images/train/0.png").unlink()
        (root / "images/train/0.tif").write_bytes(tiff_of(values, order=order, **options))
        (defect,) = check(root).problems
        assert (defect.kind, clause in defect.message) == ("unreadable", True), defect.message

    def test_one_under_the_name_of_another_format(self, root: Path) -> None:
        (root / "masks/train/0.png").write_bytes(b"\0\0\0\x0cjP  \r\n\x87\n")
        (defect,) = check(root).problems
        assert (defect.kind, "0.png: is a JPEG 2000 file, which is not read" in defect.message) == ("unreadable", True)


class TestNames:
    def test_hidden_files_and_what_archives_add_are_left_out(self, root: Path) -> None:
        for name in (".ipynb_checkpoints/0-checkpoint.png", "._0.png", ".DS_Store", "__MACOSX/0.png"):
            for folder in ("images/train", "masks/train"):
                (root / folder / name).parent.mkdir(exist_ok=True)
                (root / folder / name).write_bytes(b"no picture")
        assert check(root).problems == ()

    def test_two_unicode_forms_of_one_name_are_a_pair(self, root: Path) -> None:
        (root / "images/train/0.png").rename(root / "images/train/\u00e9t\u00e9.png")
        (root / "masks/train/0.png").rename(root / "masks/train/e\u0301te\u0301.png")
        assert check(root).problems == ()

    def test_two_files_of_one_name_in_two_forms(self, root: Path) -> None:
        put(root / "images/train/\u00e9.png", texture(7))
        put(root / "images/train/e\u0301.png", texture(8))
        put(root / "masks/train/\u00e9.png", labels(7))
        (defect,) = check(root).problems
        assert (defect.kind, "in another Unicode form" in defect.message) == ("doubly paired", True)

    def test_a_row_finds_its_files_in_either_form(self, root: Path) -> None:
        (root / "images/train/0.png").rename(root / "images/train/\u00e9.png")
        rows = [f"images/train/{i}.png,masks/train/{i}.png,train" for i in range(1, 4)]
        rows += [f"images/val/{i}.png,masks/val/{i}.png,val" for i in (4, 5)]
        rows += ["images/train/e\u0301.png,masks/train/0.png,train"]
        (root / "pairs.csv").write_text("\n".join(["image,mask,split", *rows]))
        assert check(root).problems == ()

    def test_masks_called_after_the_whole_name_of_a_picture(self, root: Path) -> None:
        (root / "masks/train/0.png").rename(root / "masks/train/0.png.png")
        assert check(root).problems == ()

    def test_no_character_of_a_name_is_obeyed(self, root: Path) -> None:
        put(root / "images/train/a\x1b[2Jb\nerror: all is lost.png", texture(9))
        (root / "classes.csv").write_text(TABLE + '3,"bus\x1b[31m\nerror: x",1,2,3\n')
        for defect in check(root).problems:
            assert "".join((defect.message, defect.file, defect.value or "")).isprintable(), defect


class TestWhatIsNoFolder:
    """One sentence each."""

    @pytest.mark.parametrize(
        ("make", "words"),
        [
            (lambda path: path.write_text("x"), "there is no such folder, but a file of this name"),
            (lambda path: path.symlink_to(path), "Too many levels of symbolic links"),
            (lambda path: None, "there is no such folder"),
        ],
    )
    def test_in_place_of_the_set(self, tmp_path: Path, make: Callable[[Path], Any], words: str) -> None:
        make(tmp_path / "set")
        with pytest.raises(DataError, match=words):
            check(tmp_path / "set")

    def test_a_name_that_is_too_long(self, tmp_path: Path) -> None:
        for data in (tmp_path / ("x" * 300), tmp_path / ("x" * 300 + ".json")):
            with pytest.raises(DataError, match=r"cannot be read \(File name too long\)"):
                check(data)

    @pytest.mark.parametrize("name", ["classes.csv", "pairs.csv"])
    @pytest.mark.parametrize("kind", ["folder", "pipe"])
    def test_in_place_of_a_table(self, root: Path, name: str, kind: str) -> None:
        (root / name).unlink(missing_ok=True)
        (os.mkdir if kind == "folder" else os.mkfifo)(root / name)
        with pytest.raises(DataError, match=rf"{name}: is a {kind}, not a file; give a file"):
            check(root)

    @pytest.mark.parametrize(
        ("rows", "words"),
        [
            (f'1,"{"x" * 200_000}"', "field larger than field limit"),
            (f"{'9' * 5000},car", "expected `id,name,r,g,b` with whole numbers"),
            ("\n".join(f"{i},c" for i in range(1, 65537)), "more than 65536 rows"),
        ],
    )
    def test_a_table_of_impossible_size(self, root: Path, rows: str, words: str) -> None:
        (root / "classes.csv").write_text(f"id,name\n0,background\n{rows}\n")
        with pytest.raises(DataError, match=words) as raised:
            check(root)
        assert len(str(raised.value)) < 400

    def test_a_folder_below_that_may_not_be_read(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        real = os.scandir
        (root / "images/secret").mkdir()

        def scandir(path: Any) -> Any:
            if str(path).endswith("secret"):
                raise PermissionError(13, "Permission denied", str(path))
            return real(path)

        monkeypatch.setattr(os, "scandir", scandir)
        unreadable = [defect for defect in check(root).problems if defect.kind == "unreadable"]
        assert [Path(defect.file).name for defect in unreadable] == ["secret"]
