"""check --fix: the copy is sound, the folder is unchanged, and the plan lists the steps."""

import csv
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from doctor.test_defects import MAKERS, OURS, change, coloured, labels, lossy_webp, put, root, texture  # noqa: F401
from fakes import make_folder
from PIL import Image

from perpixel.classes import ClassTable
from perpixel.cli import main
from perpixel.doctor import repair as repair_module
from perpixel.doctor.check import check
from perpixel.doctor.repair import LOST, MENDED, plan_repair, repair
from perpixel.errors import UsageError
from perpixel.images import read_image, read_labels

REPAIRED = [
    *MENDED, "empty file", "damaged", "unreadable", "size mismatch", "photo as mask", "all void", "duplicate", "leak",
    "near leak", "rotated picture", "wrong extension", "empty class", "unpaired",
]  # fmt: skip


def digests(folder: Path) -> dict[str, str]:
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("kind", REPAIRED)
def test_the_copy_is_sound_and_the_folder_untouched(root: Path, tmp_path_factory: pytest.TempPathFactory, kind: str) -> None:  # noqa: F811
    MAKERS[kind][0](root)
    before, report = digests(root), check(root)
    steps = plan_repair(root, report)
    out = tmp_path_factory.mktemp("fixed") / "copy"
    pairs = repair(root, steps, out).pairs
    assert digests(root) == before
    left = check(out)
    assert left.errors == ()
    assert kind not in {defect.kind for defect in left.problems}
    assert sum(left.pictures.values()) == pairs >= 5
    with (out / "plan.csv").open() as file:
        assert kind in {row["kind"] for row in csv.DictReader(file)}


@pytest.mark.parametrize("kind", ["palette expanded", "three equal channels", "alpha mask"])
def test_the_mask_is_the_same_as_before(root: Path, tmp_path_factory: pytest.TempPathFactory, kind: str) -> None:  # noqa: F811
    MAKERS[kind][0](root)
    out = tmp_path_factory.mktemp("fixed") / "copy"
    repair(root, plan_repair(root, check(root)), out)
    assert (read_labels(out / "masks/train/0.png") == labels(0)).all()


def test_the_picture_that_leaks_leaves_train_not_val(root: Path, tmp_path_factory: pytest.TempPathFactory) -> None:  # noqa: F811
    MAKERS["leak"][0](root)
    out = tmp_path_factory.mktemp("fixed") / "copy"
    repair(root, plan_repair(root, check(root)), out)
    assert check(out).pictures == {"train": 3, "val": 2}


def test_a_folder_that_is_there_is_not_overwritten(root: Path) -> None:  # noqa: F811
    with pytest.raises(UsageError, match="is there already"):
        repair(root, [], root)


def test_the_command(root: Path, tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]) -> None:  # noqa: F811
    MAKERS["0/255 mask"][0](root)
    out = tmp_path_factory.mktemp("fixed") / "copy"
    main(["check", str(root), "--fix", str(out)])
    printed = capsys.readouterr()
    assert "255 written as 1" in printed.out
    assert f"{out}: 6 pictures, 0 errors" in printed.err
    assert ClassTable.read_csv(out / "classes.csv").names == ("background", "car")


def fixed(root: Path, place: Path) -> tuple[Path, dict[str, str]]:  # noqa: F811
    """The copy, and the action of its plan for each file, by name."""
    out = place / "copy"
    repair(root, plan_repair(root, check(root)), out)
    with (out / "plan.csv").open(newline="") as file:
        return out, {Path(row["file"]).name: row["action"] for row in csv.DictReader(file)}


@pytest.fixture
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fixed")


class TestWhatIsNotCertainIsNotRepaired:
    @pytest.mark.parametrize("make", [*(MAKERS[kind][0] for kind in sorted(LOST)), lossy_webp])
    def test_lost_values(self, root: Path, place: Path, make: Callable[[Path], Any]) -> None:  # noqa: F811
        make(root)
        before = check(root).errors
        out, plan = fixed(root, place)
        action = "copied as it is: lost values cannot be restored for certain; export it again"
        assert plan[Path(before[0].file).name] == action
        assert [defect.kind for defect in check(out).errors] == [defect.kind for defect in before]
        (source,) = (root / "masks/train").glob("0.*")
        (copy,) = (out / "masks/train").glob("0.*")
        assert copy.read_bytes() == source.read_bytes()

    def test_0_and_255_where_there_are_three_classes(self, root: Path, place: Path) -> None:  # noqa: F811
        (root / "classes.csv").write_text("id,name\n0,background\n1,car\n2,road\n")
        change(lambda mask: np.where(mask == 2, 255, 0).astype(np.uint8), every=True)(root)
        out, plan = fixed(root, place)
        assert "copied as it is: " in plan["0.png"]
        assert "255 may be any of the values [0, 1, 2]" in plan["0.png"]
        assert {defect.kind for defect in check(out).errors} == {"0/255 mask"}

    def test_a_mask_whose_own_factor_is_twice_that_of_the_others(self, root: Path, place: Path) -> None:  # noqa: F811
        """100 and 200 are classes 1 and 2; a mask of 200 alone seems to be class 1 times 200."""
        change(lambda mask: np.where(mask == 255, 0, mask).astype(np.uint8) * 100, every=True)(root)
        alone = np.where(labels(0) == 2, 200, 0).astype(np.uint8)
        put(root / "masks/train/0.png", alone)
        out, _ = fixed(root, place)
        assert (read_labels(out / "masks/train/0.png") == alone // 100).all()

    def test_a_factor_that_no_mask_tells(self, root: Path, place: Path) -> None:  # noqa: F811
        change(lambda mask: np.where(mask == 2, 200, 0).astype(np.uint8), every=True)(root)
        _, plan = fixed(root, place)
        assert "copied as it is: " in plan["0.png"]
        assert "several factors" in plan["0.png"]

    def test_a_colour_of_two_classes(self, root: Path, place: Path) -> None:  # noqa: F811
        (root / "classes.csv").write_text("id,name,r,g,b\n0,background,0,0,0\n1,car,0,0,142\n2,road,0,0,142\n255,void,9,9,9\n")
        change(lambda mask: coloured(mask, [(0, 0, 0), (0, 0, 142), (0, 0, 142), (9, 9, 9)]))(root)
        _, plan = fixed(root, place)
        assert "(0, 0, 142) is the colour of several classes" in plan["0.png"]

    def test_equal_channels_of_a_value_that_is_no_class(self, root: Path, place: Path) -> None:  # noqa: F811
        change(lambda mask: np.repeat(np.where(mask == 1, 7, mask).astype(np.uint8)[..., None], 3, 2))(root)
        _, plan = fixed(root, place)
        assert "value 7 at row 10, column 8" in plan["0.png"]

    def test_greys_that_are_values_of_one_class_and_the_colour_of_another(self, root: Path, place: Path) -> None:  # noqa: F811
        """White is the colour of the car, and as a value it is void."""
        (root / "classes.csv").write_text("id,name,r,g,b\n0,background,0,0,0\n1,car,255,255,255\n2,road,9,9,0\n255,void,9,0,9\n")
        change(lambda mask: np.repeat(np.where(mask == 1, 255, 0).astype(np.uint8)[..., None], 3, 2))(root)
        _, plan = fixed(root, place)
        assert "its greys are values of the table, and colours of other classes" in plan["0.png"]

    def test_colours_of_a_table_without_void(self, root: Path, place: Path) -> None:  # noqa: F811
        (root / "classes.csv").write_text("id,name,r,g,b\n0,background,0,0,0\n1,car,0,0,142\n2,road,128,64,128\n")
        change(lambda mask: np.where(mask == 255, 0, mask).astype(np.uint8), every=True)(root)
        truth = read_labels(root / "masks/train/0.png")
        change(lambda mask: coloured(mask, OURS))(root)
        out, plan = fixed(root, place)
        assert plan["0.png"] == "colours written as values"
        assert (read_labels(out / "masks/train/0.png") == truth).all()

    @pytest.mark.parametrize("alpha", [255, 0])
    def test_an_alpha_that_is_the_same_everywhere_says_nothing(self, root: Path, place: Path, alpha: int) -> None:  # noqa: F811
        change(lambda mask: np.stack([mask, np.full_like(mask, alpha)], 2))(root)
        out, _ = fixed(root, place)
        assert (read_labels(out / "masks/train/0.png") == labels(0)).all()

    def test_a_cut_out_is_no_class(self, root: Path, place: Path) -> None:  # noqa: F811
        change(lambda mask: np.stack([np.zeros_like(mask), np.where(mask == 1, 255, 0).astype(np.uint8)], 2))(root)
        _, plan = fixed(root, place)
        assert "its alpha is clear or opaque, which is no class" in plan["0.png"]


@pytest.mark.parametrize("mode", ["P", "CMYK", "LA"])
def test_a_turned_picture_keeps_its_colours(root: Path, place: Path, mode: str) -> None:  # noqa: F811
    tag = Image.Exif()
    tag[0x0112] = 6
    picture = Image.fromarray(texture(0)).convert("L" if mode == "LA" else "RGB").convert(mode)
    (root / "images/train/0.png").unlink()
    path = root / f"images/train/0.{'jpg' if mode == 'CMYK' else 'png'}"
    picture.save(path, exif=tag, **({"quality": 100} if mode == "CMYK" else {}))
    wanted = read_image(path, turn=False)
    out, _ = fixed(root, place)
    assert (read_image(out / "images/train/0.png") == wanted).all()


def test_names_of_255_bytes_are_copied(root: Path, place: Path) -> None:  # noqa: F811
    name = "\ud55c" * 83 + "aa"
    MAKERS["three equal channels"][0](root)
    for folder in ("images", "masks"):
        (root / folder / "train/0.png").rename(root / folder / f"train/{name}.png")
    out, plan = fixed(root, place)
    assert plan == {f"{name}.png": "one channel kept"}
    assert check(out).problems == ()


@pytest.mark.thorough
class TestWholeOrNothing:
    def test_one_pair_that_cannot_be_written_is_left_out_and_reported(
        self, root: Path, place: Path, monkeypatch: pytest.MonkeyPatch  # noqa: F811
    ) -> None:
        real = repair_module.write_whole

        def write(folder: Path, name: str, *rest: Any, **options: Any) -> Path:
            if name == "masks/train/1.png":
                raise OSError(36, "File name too long", name)
            return real(folder, name, *rest, **options)

        monkeypatch.setattr(repair_module, "write_whole", write)
        out, plan = fixed(root, place)
        assert plan == {"1.png": "left out, with its partner: masks/train/1.png: File name too long."}
        assert check(out).pictures == {"train": 3, "val": 2}

    def test_one_that_cannot_be_read_is_left_out_and_reported(
        self, root: Path, place: Path, monkeypatch: pytest.MonkeyPatch  # noqa: F811
    ) -> None:
        steps = plan_repair(root, check(root))
        (root / "masks/val/4.png").unlink()
        os.mkfifo(root / "masks/val/4.png")
        done = repair(root, steps, place / "copy")
        assert (done.pairs, done.steps[0].kind) == (5, "failed")
        assert "4.png: is a pipe, not a file" in done.steps[0].action

    def test_a_full_disk_leaves_nothing(
        self, root: Path, place: Path, monkeypatch: pytest.MonkeyPatch  # noqa: F811
    ) -> None:
        real, written = repair_module.write_whole, []

        def write(*arguments: Any, **options: Any) -> Path:
            written.append(arguments)
            if len(written) > 5:
                raise OSError(28, "No space left on device")
            return real(*arguments, **options)

        monkeypatch.setattr(repair_module, "write_whole", write)
        with pytest.raises(OSError, match="No space left"):
            repair(root, [], place / "copy")
        assert list(place.iterdir()) == []

    def test_a_kill_at_any_touch_of_the_disk_leaves_the_whole_copy_or_none(self, root: Path, place: Path) -> None:  # noqa: F811
        """And the same command then makes it."""
        MAKERS["three equal channels"][0](root)
        command = [sys.executable, "-c", KILLED, str(root), str(place)]
        process = subprocess.run(command, capture_output=True, text=True, check=True)
        touches, whole = json.loads(process.stdout)
        assert touches > 15
        assert 0 < whole < touches


KILLED = """
import json, os, signal, sys
from pathlib import Path
from perpixel.doctor.check import check
from perpixel.doctor.repair import plan_repair, repair

root, place = map(Path, sys.argv[1:])
steps = plan_repair(root, check(root))
repair(root, steps, place / "right")

def files(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}

def killed(out, at):
    touched = 0
    def counting(function):
        def touch(*arguments, **keywords):
            nonlocal touched
            touched += 1
            if touched == at:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*arguments, **keywords)
        return touch
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    for name in ("open", "replace", "mkdir", "unlink", "rmdir", "sync"):
        setattr(os, name, counting(getattr(os, name)))
    repair(root, steps, out)
    os._exit(0)

at = whole = 0
while True:
    at += 1
    out = place / str(at)
    code = killed(out, at)
    there = out.exists()
    assert not there or files(out).keys() >= files(place / "right").keys(), sorted(files(out))
    whole += there
    if not there:
        repair(root, steps, out)
    (out / ".lock").unlink(missing_ok=True)
    assert files(out) == files(place / "right")
    if code == 0:
        break
print(json.dumps([at, whole]))
"""


class TestTheCommand:
    def test_a_copy_that_is_there_is_refused_before_checking(self, root: Path, command: Callable[..., Any]) -> None:  # noqa: F811
        code, out, error = command("check", root, "--fix", root)
        assert (code, out) == (2, "")
        assert error == f"perpixel: {root}: exists already; name a new folder.\n"

    def test_lost_values_remain_an_error(self, root: Path, place: Path, command: Callable[..., Any]) -> None:  # noqa: F811
        lossy_webp(root)
        code, out, error = command("check", root, "--fix", place / "copy")
        assert code == 3
        assert "JPEG mask: copied as it is: lost values cannot be restored for certain" in out
        assert f"{place / 'copy'}: 6 pictures, 1 errors, 0 warnings." in error


@pytest.mark.parametrize("name", ["../victim/p.png", "{root}/victim/p.png", "./../victim/./p.png"])
def test_names_in_a_list_lead_nowhere_outside_of_the_copy(tmp_path: Path, name: str) -> None:
    """A list may name pictures outside of the folder. Their repaired files lie in the copy."""
    data, victim = tmp_path / "data", tmp_path / "victim"
    make_folder(data, train=2, val=2)
    victim.mkdir()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (24, 32, 3), np.uint8)).save(victim / "p.png")
    mask = "masks/train/p00.png"
    rows = [f"{name.format(root=tmp_path)},{mask},train", "images/val/p00.jpg,masks/val/p00.png,val"]
    (data / "pairs.csv").write_text("\n".join(["image,mask,split", *rows]))
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    repair(data, plan_repair(data, check(data)), tmp_path / "copy")
    after = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert {path: after[path] for path in before} == before
    assert {path for path in after.keys() - before.keys() if tmp_path / "copy" not in path.parents} == set()
    assert [path for path in after if path.name == "p.png" and tmp_path / "copy" in path.parents]
