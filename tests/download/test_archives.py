"""Strangers' archives: requested files come whole, harmful members are refused by name, and no file lands outside."""

import bz2
import gzip
import io
import lzma
import os
import shutil
import stat
import tarfile
import tempfile
import warnings
import zipfile
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perpixel.download.archives import Limits, unpack
from perpixel.errors import UntrustedFile, UsageError

Files = list[tuple[str, bytes]]
HONEST: Files = [("set/a.txt", b"one"), ("set/deep/b.txt", b"two" * 1000), ("more/c.txt", b""), ("__MACOSX/set/._a.txt", b"x")]


def make_zip(path: Path, files: Files) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files:
            archive.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)
    return path


def make_tar(path: Path, files: Files, **more: object) -> Path:
    with tarfile.open(path, "w", encoding="utf-8", errors="surrogateescape") as archive:
        for name, data in files:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            for key, value in more.items():
                setattr(info, key, value)
            archive.addfile(info, io.BytesIO(data))
    return path


def packed(pack: Callable[[bytes], bytes]) -> Callable[[Path, Files], Path]:
    def make(path: Path, files: Files) -> Path:
        path.write_bytes(pack(make_tar(path, files).read_bytes()))
        return path

    return make


MAKERS = {
    "zip": make_zip, "tar": make_tar, "gz": packed(gzip.compress), "bz2": packed(bz2.compress), "xz": packed(lzma.compress),
}  # fmt: skip
every_kind = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
both = pytest.mark.parametrize("make", [make_zip, make_tar], ids=["zip", "tar"])


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "root"


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return tmp_path / "archive"


def below(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir())


def refused(archive: Path, root: Path, match: str, take: dict[str, str] | None = None, limits: Limits | None = None) -> None:
    with pytest.raises(UntrustedFile, match=match):
        unpack(archive, root, {"": "here"} if take is None else take, limits)
    assert not list(root.iterdir())  # no file of the archive is left, and the temporary folder is gone


@every_kind
def test_what_is_asked_for_is_put_in_its_place_and_nothing_else(make, archive: Path, root: Path) -> None:
    put = unpack(make(archive, HONEST), root, {"set": "data/set", "more/c.txt": "c.txt"})
    assert put == [root / "data/set", root / "c.txt"]
    assert below(root) == ["c.txt", "data/set/a.txt", "data/set/deep/b.txt"]
    assert (root / "data/set/deep/b.txt").read_bytes() == b"two" * 1000


@every_kind
def test_everything_goes_into_a_new_folder_without_what_macos_adds(make, archive: Path, root: Path) -> None:
    unpack(make(archive, HONEST), root, {"": "here"})
    assert below(root) == ["here/more/c.txt", "here/set/a.txt", "here/set/deep/b.txt"]


@both
@pytest.mark.parametrize("outer", ["", "outer/", "./", "./outer/"])
def test_one_outer_folder_may_be_there_or_not(make, archive: Path, root: Path, outer: str) -> None:
    make(archive, [(f"{outer}set/a.txt", b"one"), (f"{outer}list.txt", b"a")])
    unpack(archive, root, {"*/set": "set", "*/list.txt": "list.txt"})
    assert below(root) == ["list.txt", "set/a.txt"]


def test_what_is_in_place_is_left_as_it_is(archive: Path, root: Path) -> None:
    make_zip(archive, HONEST)
    (root / "set").mkdir(parents=True)
    (root / "set/mine.txt").write_text("mine")
    assert unpack(archive, root, {"set": "set", "more": "more"}) == [root / "more"]
    assert below(root) == ["more/c.txt", "set/mine.txt"]


def test_another_archive_is_recognised_by_a_missing_file(archive: Path, root: Path) -> None:
    sentence = "holds no other; it is not the archive that was expected"
    refused(make_zip(archive, HONEST), root, sentence, {"set": "a", "other": "b"})


NAMES = {
    "../up.txt": "leads outside", "a/../../up.txt": "leads outside", "/etc/cron.d/up": "absolute path",
    "a\\..\\up.txt": "leads outside", "\\\\host\\up.txt": "absolute path",
    "C:/up.txt": "colon", "a\nb": "control", "a/.../b": "leads outside",
    "a/ /b": "dots and spaces", "x" * 256: "too long", "/".join("d" * 40): "too long",
}  # fmt: skip


@both
@pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
def test_names_that_lead_outside_or_that_some_system_cannot_keep_are_refused(make, archive: Path, root: Path, name: str) -> None:
    refused(make(archive, [("fine.txt", b"1"), (name, b"2")]), root, NAMES[name])


def test_a_hostile_name_below_what_was_asked_for_is_refused(archive: Path, root: Path) -> None:
    refused(make_tar(archive, [("set/a", b""), ("set/../../up", b"")]), root, "'set/../../up' leads outside", {"set": "set"})


def test_what_nobody_asked_for_is_not_judged(archive: Path, root: Path) -> None:
    unpack(make_tar(archive, [("set/a", b""), ("code/../../up", b"")]), root, {"set": "set"})
    assert below(root.parent) == ["archive", "root/set/a"]


@both
@pytest.mark.parametrize(
    ("first", "second"), [("a/b", "a/b"), ("a/B", "a/b"), ("A/x", "a/y"), ("a", "a/b"), ("a/b", "a"), ("caf\u00e9", "cafe\u0301"),
                          ("a", "a."), ("stra\u00dfe", "STRASSE")])  # fmt: skip
def test_two_names_that_are_one_somewhere_are_refused(make, archive: Path, root: Path, first: str, second: str) -> None:
    with pytest.warns(UserWarning, match="Duplicate") if make is make_zip and first == second else nullcontext():
        make(archive, [(first, b"1"), (second, b"2")])
    refused(archive, root, "is in the way of")


@pytest.mark.parametrize(
    ("kind", "match"), [(tarfile.SYMTYPE, "is a link"), (tarfile.LNKTYPE, "is a link"), (tarfile.CHRTYPE, "is a device"),
                        (tarfile.BLKTYPE, "is a device"), (tarfile.FIFOTYPE, "pipe"), (b"?", "is a device, pipe")])  # fmt: skip
def test_links_devices_and_pipes_of_tar_are_refused(archive: Path, root: Path, kind: bytes, match: str) -> None:
    make_tar(archive, [("passwd", b"")], type=kind, linkname="/etc/passwd")
    refused(archive, root, f"'passwd' .*{match}")


@pytest.mark.parametrize(("kind", "match"), [(stat.S_IFLNK, "is a link"), (stat.S_IFCHR, "is a device"), (stat.S_IFIFO, "pipe")])
def test_links_devices_and_pipes_of_zip_are_refused(archive: Path, root: Path, kind: int, match: str) -> None:
    info = zipfile.ZipInfo("passwd")
    info.external_attr = (kind | 0o777) << 16
    with zipfile.ZipFile(archive, "w") as opened:
        opened.writestr(info, "/etc/passwd")
    refused(archive, root, f"'passwd' .*{match}")


def test_modes_are_not_taken_over(archive: Path, root: Path) -> None:
    unpack(make_tar(archive, [("tool", b"")], mode=0o6777), root, {"": "here"})
    assert not (root / "here/tool").stat().st_mode & (stat.S_ISUID | stat.S_ISGID | stat.S_IXUSR)


def test_encrypted_files_are_refused(archive: Path, root: Path) -> None:
    data = bytearray(make_zip(archive, [("secret", b"1")]).read_bytes())
    data[data.index(b"PK\x03\x04") + 6] |= 1
    data[data.index(b"PK\x01\x02") + 8] |= 1
    archive.write_bytes(data)
    refused(archive, root, "'secret' is encrypted")


def test_names_that_are_no_utf8_are_refused(archive: Path, root: Path) -> None:
    refused(make_tar(archive, [("caf\udce9", b"1")]), root, "is no UTF-8")
    data = make_zip(archive, [("cafe", b"1")]).read_bytes()
    archive.write_bytes(data.replace(b"cafe", b"caf\xe9"))
    refused(archive, root, "has a name that is not in UTF-8")


def test_names_in_utf8_that_is_not_marked_are_read_as_macos_means_them(archive: Path, root: Path) -> None:
    data = make_zip(archive, [("folder/cafe", b"1")]).read_bytes()
    archive.write_bytes(data.replace(b"cafe", "사x".encode()))
    unpack(archive, root, {"": "here"})
    assert below(root) == ["here/folder/사x"]


def test_a_name_with_a_nul_is_refused(archive: Path, root: Path) -> None:
    data = make_zip(archive, [("a.txtxevil", b"1")]).read_bytes()
    archive.write_bytes(data.replace(b"a.txtxevil", b"a.txt\0evil"))
    refused(archive, root, "control")


@every_kind
def test_budgets_of_files_and_bytes_hold(make, archive: Path, root: Path) -> None:
    make(archive, [(f"f{number}", bytes(1000)) for number in range(20)])
    refused(archive, root, "holds more than 19 files", limits=Limits(files=19))
    refused(archive, root, "unpacks to more than", limits=Limits(free_bytes=19_999, bytes_per_byte=0))
    assert len(below(unpack(archive, root, {"": "here"}, Limits(files=20, free_bytes=20_000, bytes_per_byte=0))[0])) == 20


@pytest.mark.parametrize("make", [make_zip, MAKERS["gz"], MAKERS["xz"]], ids=["zip", "gz", "xz"])
def test_a_bomb_is_refused_before_it_fills_the_disk(make, archive: Path, root: Path) -> None:
    make(archive, [("zeros", bytes(20_000_000))])
    assert archive.stat().st_size < 100_000
    refused(archive, root, "20 times its size and 1,000 more; it may be made to fill the disk", limits=Limits(free_bytes=1000))


def test_a_zip_that_lies_about_its_size_is_refused(archive: Path, root: Path) -> None:
    data = bytearray(make_zip(archive, [("zeros", bytes(100_000))]).read_bytes())
    place = data.index(b"PK\x01\x02") + 24
    data[place : place + 4] = (10).to_bytes(4, "little")
    archive.write_bytes(data)
    refused(archive, root, "is damaged")


def test_headers_of_tar_that_fill_the_memory_or_lead_back_are_refused(archive: Path, root: Path) -> None:
    header = tarfile.TarInfo("././@PaxHeader")
    header.type, header.size = tarfile.XHDTYPE, 1 << 32
    archive.write_bytes(header.tobuf() + bytes(10240))
    refused(archive, root, "a header asks for 4,294,967,.* bytes")
    back = tarfile.TarInfo("back")
    back.size = -1024
    archive.write_bytes(back.tobuf(tarfile.GNU_FORMAT) + bytes(10240))
    refused(archive, root, "has a size below 0|is damaged")


@every_kind
@pytest.mark.parametrize("share", [0.0, 0.2, 0.5, 0.7])
def test_what_ends_early_is_refused(make, archive: Path, root: Path, share: float) -> None:
    data = make(archive, [(f"set/{name}", os.urandom(3000)) for name in "abcd"]).read_bytes()
    archive.write_bytes(data[: int(len(data) * share)])
    refused(archive, root, "is damaged, or no archive")


def test_a_tar_without_its_end_mark_is_refused(archive: Path, root: Path) -> None:
    data = make_tar(archive, [("a", bytes(512)), ("b", bytes(512))]).read_bytes()
    archive.write_bytes(data[:2048])
    refused(archive, root, "it ends early")
    archive.write_bytes(data[:1024] + b"x" * 512 + data[1536:])
    refused(archive, root, "a header is damaged")


@pytest.mark.parametrize("data", [b"", b"<html>", b"PK\x03\x04", b"\x1f\x8b", bytes(512)], ids=range(5))
def test_what_is_no_archive_is_said_so(archive: Path, root: Path, data: bytes) -> None:
    archive.write_bytes(data)
    with pytest.raises(UntrustedFile, match=r"is damaged, or no archive|holds no "):
        unpack(archive, root, {"set": "set"})
    assert not list(root.iterdir())


PARTS = ("..", ".", "", "a", "A", "b", "a.", " ", "...", "~", "C:", "x\\y", "nul\0", "\u00e9", "e\u0301", "-", "set")
parts = st.sampled_from(PARTS)
hostile = st.lists(parts, min_size=1, max_size=5).map("/".join) | st.text(max_size=12)


@given(st.lists(st.tuples(hostile, st.booleans()), min_size=1, max_size=5), st.booleans(), st.sampled_from(["", "set", "*/set"]))
def test_no_name_ever_lands_outside(entries: list[tuple[str, bool]], as_tar: bool, inside: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        top = Path(folder)
        (top / "untouched").write_text("as it was")
        buffer = io.BytesIO()
        if as_tar:
            with tarfile.open(fileobj=buffer, mode="w", errors="surrogateescape") as tar:
                for name, link in entries:
                    info = tarfile.TarInfo(name)
                    info.type, info.linkname = (tarfile.SYMTYPE, "..") if link else (tarfile.REGTYPE, "")
                    tar.addfile(info, io.BytesIO())
        else:
            with warnings.catch_warnings(), zipfile.ZipFile(buffer, "w") as archive:
                warnings.simplefilter("ignore")  # that names are there twice
                for name, link in entries:
                    zipped = zipfile.ZipInfo("x")
                    zipped.filename = name
                    zipped.external_attr = (stat.S_IFLNK if link else stat.S_IFREG) << 16
                    archive.writestr(zipped, b"..")
        (top / "archive").write_bytes(buffer.getvalue())
        root = top / "one/two/root"
        try:
            unpack(top / "archive", root, {inside: "here"})
        except UntrustedFile:
            assert not list(root.iterdir())
        else:
            assert [path.name for path in root.iterdir()] == ["here"]
        assert (top / "untouched").read_text() == "as it was"
        every = {path.relative_to(top).as_posix() for path in top.rglob("*") if not path.is_dir() or path.is_symlink()}
        assert {name for name in every if not name.startswith("one/two/root/here")} == {"archive", "untouched"}
        assert not any(path.is_symlink() for path in top.rglob("*"))


class TestStrangers:
    @both
    def test_an_archive_without_files_is_reported(self, make, archive: Path, root: Path) -> None:
        refused(make(archive, []), root, "archive: holds no file; it is not the archive that was expected")

    @both
    def test_backslashes_of_windows_are_slashes(self, make, archive: Path, root: Path) -> None:
        files: Files = [("set\\deep\\a.txt", b"1"), ("set\\b.txt", b"2")]
        folders: Files = [("set\\", b"")] if make is make_zip else []
        unpack(make(archive, folders + files), root, {"": "here"})
        assert below(root) == ["here/set/b.txt", "here/set/deep/a.txt"]

    @both
    def test_backslashes_are_judged_as_slashes(self, make, archive: Path, root: Path) -> None:
        refused(make(archive, [("a/b", b"1"), ("a\\b", b"2")]), root, "is in the way of")

    @pytest.mark.thorough
    @pytest.mark.parametrize("kind", ["gz", "bz2", "xz", "zip", "tar"])
    def test_every_flipped_byte_ends_in_a_sentence_or_whole(self, kind: str, archive: Path, root: Path) -> None:
        data = MAKERS[kind](archive, HONEST).read_bytes()
        for place in range(0, len(data), max(1, len(data) // 60)):
            archive.write_bytes(data[:place] + bytes([data[place] ^ 0x55]) + data[place + 1 :])
            try:
                unpack(archive, root, {"": "here"})
            except UntrustedFile:
                assert list(root.iterdir()) == []
            else:
                shutil.rmtree(root)

    def test_a_path_that_this_system_cannot_keep_is_reported(self, archive: Path, root: Path) -> None:
        make_zip(archive, [("/".join(["d" * 250] * 30), b"x")])
        refused(archive, root, r"cannot be written \(File name too long\); nothing was unpacked")

    def test_what_a_killed_process_left_is_swept(self, archive: Path, root: Path) -> None:
        left = root / ".archive.partial"
        (left / "here" / "x").mkdir(parents=True)
        (left / "c.txt").write_text("half")
        unpack(make_zip(archive, HONEST), root, {"": "here"})
        assert below(root) == ["here/more/c.txt", "here/set/a.txt", "here/set/deep/b.txt"]
        assert [path.name for path in root.iterdir()] == ["here"]

    def test_two_at_once_end_in_a_sentence(self, archive: Path, root: Path) -> None:
        make_zip(archive, HONEST)

        def again(*_: object) -> None:
            with pytest.raises(UsageError, match="another process unpacks it below"):
                unpack(archive, root, {"": "other"})

        assert unpack(archive, root, {"": "here"}, progress=again) == [root / "here"]
