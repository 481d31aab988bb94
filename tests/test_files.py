"""Names stay below their folder, `walk` lists all files, and folders appear whole or not at all."""

import os
import socket
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from perpixel.errors import DataError, UsageError
from perpixel.files import PARTIAL, below, in_either_form, new_folder, read_bytes, read_text, safe_name, walk, write_whole

PARTS = st.sampled_from(["..", ".", "", "a", "b.png", "...", "..a", "C:", "~", "\\", "..\\x", " ", "-", "\0"])


@given(st.lists(PARTS, max_size=5).map("/".join))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_a_name_says_it_is_written_below_its_folder_or_not_at_all(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "out"
    before = set(tmp_path.rglob("*")) if not folder.exists() else None
    try:
        path = write_whole(folder, name, b"x")
    except (DataError, UsageError, OSError):
        path = None
    assert path is None or folder.resolve() in path.resolve().parents
    assert before is None or {file for file in tmp_path.rglob("*") if folder not in (file, *file.parents)} == before


@given(st.lists(PARTS, max_size=5).map("/".join))
def test_a_safe_name_is_below_whatever_it_is_joined_to(name: str) -> None:
    nothing_left = "\0" in name or all(part in ("", ".", "..", "C:") for part in name.split("/"))
    if nothing_left:
        with pytest.raises(DataError, match="is no name of a file"):
            safe_name(name)
    else:
        assert below(Path("out"), safe_name(name)) == Path("out") / safe_name(name)


@pytest.mark.parametrize("name", ["../x", "a/../../x", "/etc/x", "", ".", "a\0b"])
def test_a_name_that_leads_outside_is_refused_by_name(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match="is no name of a file below"):
        write_whole(tmp_path, name, b"x")


def test_a_name_of_255_bytes_is_written(tmp_path: Path) -> None:
    name = "가" * 83 + ".png!!"[:6]
    assert len(name.encode()) == 255
    assert write_whole(tmp_path, name, b"x").read_bytes() == b"x"


def test_a_name_of_256_bytes_is_an_error_that_names_the_file_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="File name too long") as caught:
        write_whole(tmp_path, "a" * 256, b"x")
    assert caught.value.filename == str(tmp_path / ("a" * 256))
    assert list(tmp_path.iterdir()) == []


def test_neither_folder_nor_pipe_nor_device_is_replaced_by_a_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "null").symlink_to("/dev/null")
    for name, kind in (("pipe", "a pipe"), ("folder", "a folder"), ("null", "a device")):
        with pytest.raises(UsageError, match=f"{name}: is {kind}; choose the name of a file"):
            write_whole(tmp_path, name, b"x")


def test_only_plain_files_are_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.path.relpath(tmp_path / "socket"))
        for name, kind in (("pipe", "a pipe"), ("socket", "a socket"), ("", "a folder"), ("/dev/zero", "a device")):
            with pytest.raises(DataError, match=f"is {kind}, not a file"):
                read_bytes(tmp_path / name)
    (tmp_path / "loop").symlink_to("loop")
    for name, reason in (("none", "there is no such file"), ("loop", "levels of symbolic links"), ("a" * 300, "name too long")):
        with pytest.raises(DataError, match=reason):
            read_bytes(tmp_path / name)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "a.txt").write_bytes("é\n".encode(encoding))
    assert read_text(tmp_path / "a.txt") == "é\n"


def test_text_of_another_encoding_is_told_with_its_byte(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"ab\xe9")
    with pytest.raises(DataError, match=r"is not UTF-8 text \(byte 2\); save it as UTF-8"):
        read_text(tmp_path / "a.txt")


def test_the_walk_leaves_hidden_files_out_and_follows_links_once(tmp_path: Path) -> None:
    folder, behind = tmp_path / "in", tmp_path / "behind"
    for place in (folder / "b", folder / ".ipynb_checkpoints", folder / "__MACOSX", behind):
        place.mkdir(parents=True)
    for name in ("a.png", "._a.png", "b/c.png", ".ipynb_checkpoints/a.png", "__MACOSX/a.png"):
        (folder / name).touch()
    (behind / "d.png").touch()
    (folder / "link").symlink_to(behind)
    (behind / "back").symlink_to(folder)
    (folder / "nowhere.png").symlink_to("none")
    assert [path.relative_to(folder).as_posix() for path in walk(folder)] == ["a.png", "b/c.png", "link/d.png", "nowhere.png"]


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_a_name_is_found_in_either_unicode_form(tmp_path: Path, form: str) -> None:
    (tmp_path / unicodedata.normalize(form, "été.png")).touch()  # type: ignore[arg-type]
    assert in_either_form(tmp_path / "été.png").exists()


class TestNewFolder:
    def test_it_appears_when_it_is_whole(self, tmp_path: Path) -> None:
        with new_folder(tmp_path / "out") as partial:
            write_whole(partial, "a/b.txt", b"x")
            assert not (tmp_path / "out").exists()
        assert sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")) == ["out", "out/a", "out/a/b.txt"]

    def test_nothing_is_left_of_one_that_failed(self, tmp_path: Path) -> None:
        def stopped() -> None:
            with new_folder(tmp_path / "out") as partial:
                write_whole(partial, "a.txt", b"x")
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            stopped()
        assert list(tmp_path.iterdir()) == []

    def test_what_a_killed_process_left_is_swept(self, tmp_path: Path) -> None:
        script = (
            "import os, sys, pathlib\nfrom perpixel.files import new_folder, write_whole\n"
            "with new_folder(pathlib.Path(sys.argv[1])) as partial:\n"
            "    write_whole(partial, 'old.txt', b'x')\n    os.kill(os.getpid(), 9)"
        )
        done = subprocess.run([sys.executable, "-c", script, str(tmp_path / "out")], check=False)
        assert done.returncode == -9
        assert [path.name for path in tmp_path.iterdir()] == [f".out{PARTIAL}"]
        with new_folder(tmp_path / "out") as partial:
            write_whole(partial, "new.txt", b"x")
        assert [path.name for path in (tmp_path / "out").iterdir()] == ["new.txt"]
        assert [path.name for path in tmp_path.iterdir()] == ["out"]

    def test_two_at_once_end_in_a_sentence_and_the_first_goes_on(self, tmp_path: Path) -> None:
        with new_folder(tmp_path / "out") as partial:
            with pytest.raises(UsageError, match="another process is writing it"), new_folder(tmp_path / "out"):
                raise AssertionError("the second must not begin")
            write_whole(partial, "a.txt", b"x")
        assert (tmp_path / "out/a.txt").read_bytes() == b"x"

    @pytest.mark.parametrize("kind", ["folder", "file", "link"])
    def test_what_is_there_is_never_replaced(self, tmp_path: Path, kind: str) -> None:
        out = tmp_path / "out"
        {"folder": out.mkdir, "file": out.touch, "link": lambda: out.symlink_to("none")}[kind]()
        with pytest.raises(UsageError, match="exists already"), new_folder(out):
            raise AssertionError("it must not begin")
        assert [path.name for path in tmp_path.iterdir()] == ["out"]
