"""convert on strangers' files: hostile names, one bad entry among good entries, no shape at all, kills and full disks."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tracemalloc
import unicodedata
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from exports import FORMATS as EXPORTS
from exports import HEIGHT, OF_SHAPES, WIDTH, export, region
from fakes import put_grey
from PIL import Image

from perpixel import files
from perpixel.classes import ClassTable
from perpixel.errors import DataError, PerpixelError, UsageError
from perpixel.formats import FORMATS, format_of
from perpixel.formats.convert import Report, convert
from perpixel.formats.exchange import Content, Notices, Shape, draw_shapes, shapes_of

every_export = pytest.mark.parametrize("source", EXPORTS)
every_target = pytest.mark.parametrize("target", FORMATS)
GOOD = {"a": ["cat"], "b": ["cat"], "c": ["cat"]}


def everything(folder: Path, but: Path) -> dict[str, bytes]:
    """The paths below a folder, except those below `but`."""
    return {
        str(path): path.read_bytes() if path.is_file() else b""
        for path in folder.rglob("*")
        if but not in (path, *path.parents)
    }


def written(out: Path) -> set[str]:
    """The names of the pictures that are read from a data set."""
    return {item.name for item in FORMATS[format_of(out)].read(out, None).items}


@pytest.mark.thorough
class TestNames:
    HOSTILE = (
        "../evil", "../../evil", "/evil", "a/../../evil", "..\\evil", "C:\\evil", "\\\\host\\evil", "C:/evil", "./evil",
        "a//evil", "~/evil", "..", "a\nb", "a\rb", "a\tb", "a\x1b[31mb", "a\x00b", "a\u2028b", "\udcff",
        ".cache/evil", ".evil", "a/.b/evil",
        "__MACOSX/evil", "evil ", " evil", "evil:x", "x:/evil", "-rf", "=1+1", "#x", '"x"', "a'b",
        "a,b", "a b", "CON", "." * 20,
        "x" * 250,
    )  # fmt: skip

    @every_export
    @every_target
    def test_whatever_names_say_nothing_outside_of_out_changes(self, source: str, target: str, tmp_path: Path) -> None:
        """Each name is tested in its own set, because a name that stops a set would hide the others."""
        for number, name in enumerate(self.HOSTILE[:: 1 if target == "folder" else 7]):
            home = tmp_path / str(number) / "home"
            for place in (home, home.parent, tmp_path):
                place.mkdir(exist_ok=True, parents=True)
                (place / "evil.png").write_bytes(b"mine")
            try:
                exported = export(source, home / "in" / "x", {name: ["person"], "fine": ["person"]})
            except (OSError, ValueError):
                continue  # a name that this system cannot keep
            before = everything(tmp_path, home / "out")
            try:
                report = convert(exported, home / "out", target, origin=source if source != "folder" else None)
            except PerpixelError:
                assert not (home / "out").exists()
            else:
                assert sum(report.pictures.values()) >= 1
            assert everything(tmp_path, home / "out") == before

    KEPT = (
        "a b", " a", "a ", '"a"', '"a', "a'b", "#a", "a#b", "a%20b", "a+b", "a&b=c", "a?b", "a;b", "a,b", "=1+1", "-rf", "@a",
        "~a", "a.", "a.b.c", "a:b", "0a1b2c3d-x", "사진 1", unicodedata.normalize("NFD", "é가"),
        "\u202fnarrow", "🙂", "(1)", "[x]",
        "{x}", "*", "!x", "null", "no", "1e5", "<x>", "x|y", "folder/a b", "images/a", "deep/er/a",
    )  # fmt: skip

    @every_target
    def test_every_name_that_is_written_is_read_again(self, target: str, tmp_path: Path) -> None:
        (tmp_path / "in" / "masks" / "train").mkdir(parents=True)
        for name in self.KEPT:
            put_grey(tmp_path / "in" / "images" / "train" / f"{name}.png")
            mask = tmp_path / "in" / "masks" / "train" / f"{name}.png"
            mask.parent.mkdir(exist_ok=True, parents=True)
            Image.fromarray(np.eye(*(HEIGHT, WIDTH), dtype=np.uint8)).save(mask)
        (tmp_path / "in" / "classes.csv").write_text("id,name\n0,road\n1,person\n")
        report = convert(tmp_path / "in", tmp_path / "out", target)
        assert report.failed == []
        back = convert(tmp_path / "out", tmp_path / "back")
        assert back.failed == []
        assert back.pictures == {"train": len(self.KEPT)}
        if target != "cityscapes":
            assert written(tmp_path / "out") == {unicodedata.normalize("NFC", name) for name in self.KEPT}

    def test_names_that_no_format_holds_are_reported_one_by_one(self, command, tmp_path: Path) -> None:
        names = ["a\nb", "a\x1b[31mb", "a\\b", "fine", os.fsdecode(b"\xff")]
        (tmp_path / "in" / "masks" / "train").mkdir(parents=True)
        for name in names:
            put_grey(tmp_path / "in" / "images" / "train" / f"{name}.png")
            Image.new("L", (WIDTH, HEIGHT), 1).save(tmp_path / "in" / "masks" / "train" / f"{name}.png")
        (tmp_path / "in" / "classes.csv").write_text("id,name\n0,road\n1,car\n")
        code, _, messages = command("convert", tmp_path / "in", tmp_path / "out", "--to", "voc")
        assert code == 3
        assert "\x1b" not in messages
        assert "1 pictures, read as folder, 4 left out" in messages
        assert (tmp_path / "out" / "ImageSets" / "Segmentation" / "train.txt").read_text() == "fine\n"

    def test_a_name_that_is_no_utf8_among_pictures_without_splits(self, tmp_path: Path) -> None:
        for kind, mode in (("images", "RGB"), ("masks", "L")):
            (tmp_path / "in" / kind).mkdir(parents=True)
            for name in (os.fsdecode(b"\xff"), "a", "b"):
                Image.new(mode, (WIDTH, HEIGHT), 1).save(tmp_path / "in" / kind / f"{name}.png")
        (tmp_path / "in" / "classes.csv").write_text("id,name\n0,road\n1,car\n")
        report = convert(tmp_path / "in", tmp_path / "out", "coco")
        assert sum(report.pictures.values()) == 2
        assert report.failed == ["\\xff: is no UTF-8 text, which not every format can hold; rename the picture."]

    LABELS = (
        "cat", "no", "yes", "on", "null", "~", "1", "1.0", "2024-01-01", "0x1F", "a: b", "a:b", "#a", "- a", "a & <b>", '"a"',
        "a'b", "=1+1", "'=x", "@a", "é가", "a  b", "void", "ignored", "__ignore__", "Background",
        "a\nforged:1,2,3::", "a\rb", "a\x07b",
        "a\x1b[31m", "\ufffe", "\ud800", "\u2028", "\u0085x", "🙂", "a,b", "]]>", "%s{x}", "\\n", " cat ",
    )  # fmt: skip

    @every_target
    @pytest.mark.parametrize("source", ["labelme", "coco", "label-studio"])
    def test_every_label_that_is_written_is_read_again(self, source: str, target: str, tmp_path: Path) -> None:
        if target == "cityscapes":
            pytest.skip("Cityscapes has its own labels.")
        held = 0
        for number, label in enumerate(self.LABELS):
            exported = export(source, tmp_path / f"{number}", {"a": [label], "b": ["dog"]})
            out = tmp_path / f"out{number}"
            try:
                convert(exported, out, target)
            except DataError as error:
                sentence = str(error)
            if not out.exists():
                assert sentence.isprintable()
                continue
            names = set(FORMATS[target].read(out, None).classes.names)
            label = label.strip()
            refused = label not in names
            assert not refused or label.lower() in ("", "void", "__ignore__", "background") or not label.isprintable()
            assert names <= {"background", "dog", label}
            held += not refused
        assert held > 20


class TestOneBadEntry:
    """The other pictures are written, and the bad picture is reported by its name."""

    @every_export
    def test_a_picture_that_is_missing(self, source: str, tmp_path: Path) -> None:
        exported = export(source, tmp_path / "in", GOOD)
        (exported / "b.png").unlink()
        self.require_failure(convert(exported, tmp_path / "out", "coco"), "b")

    @every_export
    def test_a_picture_that_is_a_pipe(self, source: str, tmp_path: Path) -> None:
        exported = export(source, tmp_path / "in", GOOD)
        (exported / "b.png").unlink()
        os.mkfifo(exported / "b.png")
        self.require_failure(convert(exported, tmp_path / "out", "coco"), "b")

    @every_export
    def test_a_picture_that_is_damaged(self, source: str, tmp_path: Path) -> None:
        exported = export(source, tmp_path / "in", GOOD)
        (exported / "b.png").write_bytes((exported / "b.png").read_bytes()[:45])
        self.require_failure(convert(exported, tmp_path / "out", "coco"), "b.png: cannot be read")

    @every_export
    @every_target
    def test_a_name_that_is_too_long_for_the_target_leaves_no_part_of_it(self, source: str, target: str, tmp_path: Path) -> None:
        """NAME.png has 255 bytes, NAME.json more."""
        long = "x" * 251
        exported = export(source, tmp_path / "in", {long: ["person"], "b": ["person"], "c": ["person"]})
        report = convert(exported, tmp_path / "out", target)
        written_paths = [path for path in (tmp_path / "out").rglob("*") if path.name.startswith("xxx")]
        assert sum(report.pictures.values()) == 3 - len(report.failed)
        named = source != "labelme"  # whose pictures are called as their JSON
        assert len(report.failed) == (named and target == "labelme")
        assert bool(written_paths) == (named and target not in ("labelme", "cityscapes"))

    @pytest.mark.parametrize(
        "bad", [b"", b"{", b'{"a": 1}', b"[" * 100_000, b"9" * 5000, b"\xff\xfe",
                b'{"shapes": [{"label": "x", "points": 1e400}], "imagePath": "b.png"}'])  # fmt: skip
    def test_a_file_of_labelme_among_others(self, bad: bytes, tmp_path: Path) -> None:
        exported = export("labelme", tmp_path / "in", GOOD)
        (exported / "b.json").write_bytes(bad)
        self.require_failure(convert(exported, tmp_path / "out", "coco", origin="labelme"), "b.json")

    def test_a_file_of_labelme_that_is_a_pipe(self, tmp_path: Path) -> None:
        exported = export("labelme", tmp_path / "in", GOOD)
        (exported / "b.json").unlink()
        os.mkfifo(exported / "b.json")
        self.require_failure(convert(exported, tmp_path / "out", "coco"), "b.json: is a pipe, not a file")

    @pytest.mark.parametrize("bad", [{}, {"data": {}}, {"data": {"image": ""}, "annotations": []}, 3, None,
                                     {"data": {"image": "b.png"}}, {"data": {"image": "b.png"}, "annotations": [{"result": 3}]},
                                     {"data": {"image": "b.png"}, "annotations": [{"result": [region("x") | {"value": {
                                         "polygonlabels": ["x", "y"]}}]}]}])  # fmt: skip
    def test_a_task_of_label_studio_among_others(self, bad: object, tmp_path: Path) -> None:
        exported = export("label-studio", tmp_path / "in", GOOD)
        tasks = json.loads((exported / "tasks.json").read_text())
        (exported / "tasks.json").write_text(json.dumps([tasks[0], bad, tasks[2]]))
        self.require_failure(convert(exported, tmp_path / "out", "coco"), "task 1")

    def test_a_picture_of_cvat_without_a_name(self, tmp_path: Path) -> None:
        exported = export("cvat", tmp_path / "in", GOOD)
        text = (exported / "annotations.xml").read_text()
        (exported / "annotations.xml").write_text(text.replace('name="b.png"', ""))
        report = convert(exported, tmp_path / "out", "coco")
        self.require_failure(report, "picture 1: the name of the picture is None, not a text")

    def test_two_pictures_of_one_name(self, tmp_path: Path) -> None:
        exported = export("cvat", tmp_path / "in", {"a": ["x"], "images/a": ["x"], "b": ["x"]})
        self.require_failure(convert(exported, tmp_path / "out", "coco"), "two pictures are called a; rename one of them")

    @pytest.mark.parametrize("format", OF_SHAPES)
    @pytest.mark.parametrize("label", [None, "", "  "])
    def test_a_shape_without_a_label_is_left_out_and_counted(self, format: str, label: str | None, tmp_path: Path) -> None:
        if format == "yolo" or (format in ("cvat",) and label is None):
            pytest.skip("its lines begin with the class.")
        exported = export(format, tmp_path / "in", {**GOOD, "b": ["cat", "twin"]})
        for file in (file for file in exported.iterdir() if file.suffix in (".json", ".xml")):
            text = file.read_text()
            stands = {"cvat": '"twin"', "label-studio": '["twin"]'}.get(format, '"twin"')
            gives = {"cvat": f'"{label}"', "label-studio": json.dumps([label] if label is not None else [])}.get(format)
            gives = gives or (json.dumps(label) if label is not None or format == "labelme" else '" "')
            file.write_text(text.replace(stands, gives))
        report = convert(exported, tmp_path / "out", "coco")
        assert report.failed == []
        assert report.pictures == {"": 3}
        assert [sentence.split(" left out")[0] for sentence in report.told] == ["1 shapes without a label are"]
        assert FORMATS["coco"].read(tmp_path / "out", None).classes.names == ("background", "cat")

    @pytest.mark.parametrize("format", [format for format in OF_SHAPES if format != "yolo"])
    def test_a_polygon_of_two_points_is_left_out_and_counted(self, format: str, tmp_path: Path) -> None:
        exported = export(format, tmp_path / "in", {**GOOD, "b": ["cat", "cat"]})
        files = [file for file in exported.iterdir() if file.suffix in (".json", ".xml")]
        (file,) = (file for file in files if file.name not in ("a.json", "c.json"))
        whole = {"cvat": "1,1;5,1;5,5;1,5", "coco": "[[1, 1, 5, 1, 5, 5, 1, 5]]"}.get(format, '"points": ')
        if format in ("cvat", "coco"):
            first, second, *rest = file.read_text().split(whole)
            line = {"cvat": "1,1;5,1", "coco": "[[1, 1, 5, 1]]"}[format]
            file.write_text(first + whole + second + line + whole.join(rest))
        else:
            document = json.loads(file.read_text())
            shapes = document["shapes"] if format == "labelme" else document[1]["annotations"][0]["result"]
            points = shapes[0] if format == "labelme" else shapes[0]["value"]
            points["points"] = points["points"][:2]
            file.write_text(json.dumps(document))
        report = convert(exported, tmp_path / "out", "coco")
        assert (report.failed, report.pictures) == ([], {"": 3})
        (sentence,) = report.told
        assert sentence.split(" are left out")[0] == "1 points, lines, boxes or other shapes without a mask"

    def test_an_object_of_coco_without_outline(self, tmp_path: Path) -> None:
        exported = export("coco", tmp_path / "in", {**GOOD, "b": ["cat", "cat"]})
        content = json.loads((exported / "instances.json").read_text())
        content["annotations"][1]["segmentation"] = None
        del content["annotations"][2]["segmentation"]
        (exported / "instances.json").write_text(json.dumps(content))
        report = convert(exported, tmp_path / "out", "folder")
        assert report.pictures == {"": 3}
        assert report.told[0].startswith("2 points, lines, boxes or other shapes without a mask are left out in reading")

    def test_memory_that_is_missing_for_one_picture(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        exported = export("labelme", tmp_path / "in", GOOD)
        whole = FORMATS["coco"].writer.add

        def add(self: Any, name: str, *rest: Any) -> Any:
            if name == "b":
                raise MemoryError
            return whole(self, name, *rest)

        monkeypatch.setattr(FORMATS["coco"].writer, "add", add)
        self.require_failure(convert(exported, tmp_path / "out", "coco"), "b: needs more memory than there is")

    def test_a_full_disk_stops_all_with_exit_code_5_and_leaves_nothing(self, command, tmp_path: Path, monkeypatch) -> None:
        exported = export("labelme", tmp_path / "in", GOOD)

        def full(*_: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(files.os, "replace", full)
        code, _, messages = command("convert", exported, tmp_path / "out")
        assert (code, "no space left" in messages) == (5, True)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["in"]

    def require_failure(self, report: Report, reason: str) -> None:
        assert [reason in sentence for sentence in report.failed] == [True], report.failed
        assert sum(report.pictures.values()) == 2


class TestNothingKept:
    """A set without any usable shape is an error: the sentence counts what was left out, and says what helps."""

    @pytest.mark.parametrize("format", OF_SHAPES)
    @every_target
    def test_no_shape_at_all(self, command, format: str, target: str, tmp_path: Path) -> None:
        exported = export(format, tmp_path / "in", {"a": [], "b": []})
        if format == "yolo":
            (exported / "data.yaml").write_text("train: train.txt\nnames: [person]\n")
        if target == "cityscapes" and format != "yolo":
            pytest.skip("no label of Cityscapes is in the source.")
        code, _, messages = command("convert", exported, tmp_path / "out", "--to", target)
        assert code == 3
        assert f"of 2 pictures, read as {format}, no shape was kept: nothing is marked on any" in messages
        assert sorted(path.name for path in tmp_path.iterdir()) == ["in"]

    def test_boxes_of_coco_alone(self, command, tmp_path: Path) -> None:
        exported = export("coco", tmp_path / "in", GOOD)
        content = json.loads((exported / "instances.json").read_text())
        for entry in content["annotations"]:
            entry["segmentation"], entry["bbox"] = [], [1, 1, 4, 4]
        (exported / "instances.json").write_text(json.dumps(content))
        code, _, messages = command("convert", exported, tmp_path / "out")
        assert code == 3
        assert "no shape was kept: 3 points, lines, boxes or other shapes without a mask are left out" in messages

    def test_boxes_of_yolo_alone(self, command, tmp_path: Path) -> None:
        exported = export("yolo", tmp_path / "in", GOOD)
        for name in GOOD:
            (exported / f"{name}.txt").write_text("0 0.5 0.5 0.2 0.2\n")
        code, _, messages = command("convert", exported, tmp_path / "out")
        assert code == 3
        assert "no shape was kept: 3 points, lines, boxes or other shapes without a mask" in messages
        assert f"into files such as {exported}/a.txt" in messages

    def test_no_file_of_labels(self, command, tmp_path: Path) -> None:
        exported = export("yolo", tmp_path / "in", GOOD)
        for name in GOOD:
            (exported / f"{name}.txt").unlink()
        code, _, messages = command("convert", exported, tmp_path / "out")
        assert code == 3
        assert "no shape was kept: 3 pictures have no file of labels" in messages
        assert f"into files such as {exported}/a.txt" in messages

    @pytest.mark.parametrize("format", ["labelme", "label-studio"])
    def test_no_label_on_any_shape(self, command, format: str, tmp_path: Path) -> None:
        exported = export(format, tmp_path / "in", {"a": [""], "b": [""]})
        code, _, messages = command("convert", exported, tmp_path / "out")
        assert code == 3
        assert "no shape was kept: 2 shapes without a label are left out" in messages


@pytest.mark.thorough
class TestWholeOrNothing:
    def test_what_a_killed_process_left_is_swept_even_of_an_archive(self, tmp_path: Path) -> None:
        exported = export("labelme", tmp_path / "in", GOOD)
        with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
            for path in exported.iterdir():
                archive.write(path, path.name)
        kill = ("import os, sys; from pathlib import Path; from perpixel.formats.convert import convert\n"
                "convert(sys.argv[1], Path(sys.argv[2]), progress=lambda done, total: os.kill(os.getpid(), 9))")  # fmt: skip
        done = subprocess.run([sys.executable, "-c", kill, str(tmp_path / "set.zip"), str(tmp_path / "out")], check=False)
        assert done.returncode == -9
        assert sorted(path.name for path in tmp_path.iterdir()) == [".out.partial", "in", "set.zip"]
        convert(tmp_path / "set.zip", tmp_path / "out")
        assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "out", "set.zip"]
        assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["classes.csv", "images", "instances", "masks"]

    def test_killed_at_any_touch_of_the_disk_out_is_whole_or_not_there(self, tmp_path: Path) -> None:
        exported = export("labelme", tmp_path / "in", GOOD)
        with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
            for path in exported.iterdir():
                archive.write(path, path.name)
        done = subprocess.run(
            [sys.executable, "-c", KILLED, str(tmp_path / "set.zip"), str(tmp_path / "out")], capture_output=True, text=True,
            check=True,
        )  # fmt: skip
        killed, wrong = json.loads(done.stdout)
        assert killed > 20
        assert wrong == []

    def test_two_at_once_end_in_a_sentence(self, tmp_path: Path) -> None:
        exported = export("labelme", tmp_path / "in", GOOD)
        notices = []

        def again(done: int, total: int) -> None:
            with pytest.raises(UsageError, match="out: another process is writing it") as caught:
                convert(exported, tmp_path / "out")
            notices.append(str(caught.value))

        assert convert(exported, tmp_path / "out", progress=again).pictures == {"": 3}
        assert len(notices) == 3


class TestFoldersOfStrangers:
    @pytest.mark.parametrize("origin", FORMATS)
    @pytest.mark.parametrize("source", [*EXPORTS, "nothing"])
    def test_a_source_of_another_format_is_a_sentence(self, command, source: str, origin: str, tmp_path: Path) -> None:
        exported = export(source, tmp_path / "in", GOOD) if source != "nothing" else tmp_path / "in"
        exported.mkdir(exist_ok=True)
        for given in [exported, *sorted(path for path in exported.iterdir() if source != origin and path.is_file())]:
            code, _, messages = command("convert", given, tmp_path / "out", "--from", origin)
            assert code == 0 if source == origin else code in (0, 2, 3)
            assert "Traceback" not in messages
            shutil.rmtree(tmp_path / "out", ignore_errors=True)

    @every_export
    def test_hidden_files_are_no_pictures(self, source: str, tmp_path: Path) -> None:
        exported = export(source, tmp_path / "in", GOOD)
        for path in [path for path in exported.rglob("*") if path.is_file()]:
            path.with_name(f"._{path.name}").write_bytes(b"\0\5\26\7")
            for folder in (".ipynb_checkpoints", "__MACOSX"):
                (path.parent / folder).mkdir(exist_ok=True)
                (path.parent / folder / path.name).write_bytes(path.read_bytes())
        report = convert(exported, tmp_path / "out", "coco")
        assert report.failed == []
        assert sum(report.pictures.values()) == 3

    @every_export
    def test_pictures_behind_a_link_are_found(self, source: str, tmp_path: Path) -> None:
        exported = export(source, tmp_path / "in", GOOD)
        if source in ("folder", "yolo", "voc"):
            pytest.skip("they say in which folder pictures lie.")
        (tmp_path / "elsewhere").mkdir()
        for name in GOOD:
            (exported / f"{name}.png").rename(tmp_path / "elsewhere" / f"{name}.png")
        (exported / "pictures").symlink_to(tmp_path / "elsewhere")
        (exported / "pictures" / "round").symlink_to(exported)
        assert convert(exported, tmp_path / "out", "coco").failed == []

    @every_export
    def test_both_unicode_forms_of_a_name_are_one(self, source: str, tmp_path: Path) -> None:
        for form, other in (("NFC", "NFD"), ("NFD", "NFC")):
            name = "가é"
            exported = export(source, tmp_path / form, {unicodedata.normalize(other, name): ["cat"], "b": ["cat"]})
            for path in [path for path in exported.rglob("*") if path.name == unicodedata.normalize(other, path.name)]:
                path.rename(path.with_name(unicodedata.normalize(form, path.name)))
            report = convert(exported, tmp_path / f"out{form}", "coco")
            assert report.failed == []
            assert name in written(tmp_path / f"out{form}")

    @every_export
    @pytest.mark.parametrize("mark", ["utf-8-sig", "utf-16"])
    def test_byte_order_marks_are_read(self, source: str, mark: str, tmp_path: Path) -> None:
        exported = export(source, tmp_path / "in", {"가": ["고양이"], "b": ["고양이"]})
        for path in exported.rglob("*"):
            if path.is_file() and path.suffix not in (".png",):
                path.write_text(path.read_text("utf-8"), mark)
        report = convert(exported, tmp_path / "out", "folder")
        assert report.failed == []
        assert sum(report.pictures.values()) == 2
        assert "고양이" in (tmp_path / "out" / "classes.csv").read_text()

    @pytest.mark.parametrize("format", ["coco", "labelme", "cvat", "label-studio", "yolo"])
    def test_suffixes_and_names_in_capitals(self, format: str, tmp_path: Path) -> None:
        exported = export(format, tmp_path / "in", GOOD)
        for path in list(exported.iterdir()):
            if path.suffix != ".png" and path.name != "train.txt":
                path.rename(path.with_name(path.name.upper()))
        report = convert(exported, tmp_path / "out", "coco")
        assert (report.format, report.failed, sum(report.pictures.values())) == (format, [], 3)

    @pytest.mark.parametrize("name", ["SET.ZIP", "Set.Zip", "set.TAR.GZ", "set.tar.bz2", "set.tar.xz"])
    def test_archives_by_any_suffix(self, name: str, tmp_path: Path) -> None:
        exported = export("labelme", tmp_path / "in", GOOD)
        flags = {".gz": "w:gz", ".bz2": "w:bz2", ".xz": "w:xz"}
        if name.lower().endswith(".zip"):
            with zipfile.ZipFile(tmp_path / name, "w") as archive:
                for path in exported.iterdir():
                    archive.write(path, path.name)
        else:
            with tarfile.open(tmp_path / name, flags[Path(name).suffix.lower()]) as tar:
                tar.add(exported, "set")
        assert sum(convert(tmp_path / name, tmp_path / "out").pictures.values()) == 3

    def test_an_archive_made_on_windows(self, tmp_path: Path) -> None:
        exported = export("labelme", tmp_path / "in", GOOD)
        with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
            for path in exported.iterdir():
                info = zipfile.ZipInfo("x")
                info.filename = f"set\\deep\\{path.name}"
                archive.writestr(info, path.read_bytes())
        assert sum(convert(tmp_path / "set.zip", tmp_path / "out").pictures.values()) == 3


# Converts SOURCE to OUT in forks that kill themselves at the first, second ... touch of the disk, and after each to the end.
# Prints how many were killed, and after which ones OUT was no whole data set, or something was left beside it.
KILLED = """
import json, os, shutil, signal, sys
from pathlib import Path
from perpixel.formats.convert import convert

source, out = sys.argv[1], Path(sys.argv[2])
TOUCHES = ((os, "replace"), (os, "rename"), (os, "mkdir"), (shutil, "rmtree"), (os, "unlink"), (os, "rmdir"), (os, "sync"))


def files():
    return sorted(str(path.relative_to(out)) for path in out.rglob("*") if path.name != ".lock")


def killed_at(number):
    pid = os.fork()
    if pid == 0:
        touched = 0
        for module, name in TOUCHES:
            def touch(*arguments, function=getattr(module, name), **keywords):
                global touched
                touched += 1
                if touched == number:
                    os.kill(os.getpid(), signal.SIGKILL)
                return function(*arguments, **keywords)
            setattr(module, name, touch)
        globals()["touched"] = 0
        convert(source, out)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -9


convert(source, out)
whole, number, wrong = files(), 0, []
shutil.rmtree(out)
before = sorted(path.name for path in out.parent.iterdir())
while killed_at(number + 1):
    number += 1
    if not out.exists():
        convert(source, out)
    there = sorted(path.name for path in out.parent.iterdir())
    if files() != whole or there != sorted([*before, out.name]):
        wrong.append(number)
    shutil.rmtree(out)
print(json.dumps([number, wrong]))
"""


def test_hundreds_of_overlapping_objects_take_the_memory_of_what_they_cover() -> None:
    """300 squares on 12 megapixels: as masks 3.6 GB."""
    size = (3000, 4000)
    classes = ClassTable(("background", "cup"), ((0, 0, 0), (9, 9, 9)), ((0,), (1,)))
    tracemalloc.start()
    written_paths = []
    for number in range(300):
        mask = np.zeros(size, bool)
        mask[10:400, 10 + number : 400 + number] = True
        written_paths.append(Shape.of("cup", mask))
    labels, objects = draw_shapes(written_paths, classes, size, ordered=False)
    assert len(objects.class_ids) == 300
    content = Content(np.zeros((1, 1, 3), np.uint8), labels, objects)
    assert sum(1 for _ in shapes_of(content, classes, FORMATS["coco"].holds, Notices(), "a")) == 300
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 300 << 20
