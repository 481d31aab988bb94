"""Unpacks strangers' archives safely: zip, tar, and tar compressed by gzip, bzip2 or xz.

`unpack` writes into a temporary folder beside the target. It renames the requested files and folders when all are complete, so
each appears whole or not at all. Members that could do harm are refused, and the error names the member:
- names that lead outside: absolute paths, `..`, drives;
- links, devices and pipes;
- names that are no UTF-8, or that some system cannot keep;
- two names that are the same on some system, because it ignores case, accents or final dots;
- encrypted files;
- more files or bytes than `Limits` allows;
- archives that are damaged or cut off.
Some programs for Windows write backslashes, which count as slashes. Members that were not requested are not written, so their
names are not checked. Permissions, owners and times are not restored."""

from __future__ import annotations

import bz2
import errno
import gzip
import io
import lzma
import os
import shutil
import stat
import tarfile
import unicodedata
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO, Any

from perpixel.errors import PerpixelError, ResourceError, UntrustedFile, UsageError, is_full, printable
from perpixel.files import JUNK, LOCK, PARTIAL, locked

CHUNK = 1 << 20
NOTHING = "nothing was unpacked; if you know who made it, unpack it yourself and give the folder"

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Limits:
    """The most that an archive may hold, over all its members."""

    files: int = 1_000_000
    free_bytes: int = 1 << 30  # unpacked bytes that each archive may hold
    bytes_per_byte: int = 20  # further unpacked bytes, for each byte of the archive
    depth: int = 32  # parts of a path

    def bytes_of(self, archive: Path) -> int:
        """The most bytes that `archive` may unpack to."""
        return self.free_bytes + self.bytes_per_byte * archive.stat().st_size


@dataclass(frozen=True)
class Member:
    """One entry of an archive."""

    name: str
    folder: bool
    size: int  # in bytes, as the archive states it
    open: Callable[[], IO[bytes]]  # opens its content
    unsafe: str = ""  # why it is no plain file or folder; empty where it is


def unpack(
    archive: Path, root: Path, take: Mapping[str, str], limits: Limits | None = None, progress: Progress | None = None
) -> list[Path]:
    """Unpacks files and folders of `archive` below `root`, and returns their new paths.

    `take` maps a path inside the archive to a path below `root`. `""` takes all members into a new folder. `*/NAME` takes NAME,
    whether it lies in an outer folder or not. A path that exists already stays as it is. The remains of a killed process are
    removed first.
    Raises UntrustedFile, which names the refused member or the damage, and ResourceError when the disk has too little space. Then
    nothing of the archive stays behind. Raises UsageError while another process unpacks the archive there."""
    limits = limits or Limits()
    missing = {inside: where for inside, where in take.items() if not (root / where).exists()}
    if not missing:
        return []
    work = root / f".{archive.name[:60]}{PARTIAL}"
    work.mkdir(parents=True, exist_ok=True)
    with locked(work, UsageError(f"{archive}: another process unpacks it below {root}; wait for it.")):
        return _unpack_into(archive, root, work, missing, limits, progress)


def _unpack_into(
    archive: Path, root: Path, work: Path, missing: Mapping[str, str], limits: Limits, progress: Progress | None
) -> list[Path]:
    try:
        for remains in work.iterdir():
            if remains.is_dir():
                shutil.rmtree(remains)
            elif remains.name != LOCK:
                remains.unlink()
        _write(archive, work, missing, limits, progress)
        for inside, where in missing.items():
            if not (work / where).exists():
                raise UntrustedFile(f"{archive}: holds no {inside or 'file'}; it is not the archive that was expected.")
        if hasattr(os, "sync"):
            os.sync()  # one call for all files: there may be a hundred thousand
        unpacked = []
        for where in missing.values():
            (root / where).parent.mkdir(parents=True, exist_ok=True)
            os.rename(work / where, root / where)
            unpacked.append(root / where)
        return unpacked
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _write(archive: Path, work: Path, take: Mapping[str, str], limits: Limits, progress: Progress | None) -> None:
    allowed, taken = limits.bytes_of(archive), _TakenPaths(archive, limits)
    files = total = 0
    try:
        for member in _members(archive, allowed):
            files, total = files + 1, total + member.size
            if member.size < 0:
                raise UntrustedFile(f"{archive}: {_shown(member.name)} has a size below 0; {NOTHING}.")
            if files > limits.files:
                raise UntrustedFile(f"{archive}: holds more than {limits.files:,} files; it may be made to fill the disk.")
            if total > allowed:
                raise UntrustedFile(
                    f"{archive}: unpacks to more than {allowed:,} bytes, {limits.bytes_per_byte} times its size and "
                    f"{limits.free_bytes:,} more; it may be made to fill the disk."
                )
            destination = _destination(member.name, take)
            if destination is None:
                continue
            if member.unsafe:
                raise UntrustedFile(f"{archive}: {_shown(member.name)} {member.unsafe}; {NOTHING}.")
            _write_member(archive, work, work.joinpath(*taken.add(destination, member)), member)
            if progress is not None and not member.folder:
                progress(files, 0, member.name)
    except PerpixelError:
        raise
    except OSError as error:
        if error.errno in (None, errno.EINVAL):  # from a decompressor, or for a seek before the beginning
            raise _damaged(archive, error) from error
        raise
    except Exception as error:  # for bytes that are no archive the parsers raise nearly everything
        raise _damaged(archive, error) from error


def _write_member(archive: Path, work: Path, path: Path, member: Member) -> None:
    """Makes the folder, or writes the file, at `path` below `work`."""
    folder = path if member.folder else path.parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritten(error, archive, member) from error
    if member.folder:
        return
    if shutil.disk_usage(work).free < member.size:
        raise ResourceError(f"{work.parent}: too little space for {_shown(member.name)}; free some and try again.")
    try:
        file = path.open("xb")
    except OSError as error:
        raise _unwritten(error, archive, member) from error
    with file, member.open() as content:
        shutil.copyfileobj(content, file, CHUNK)
        if file.tell() != member.size:
            raise UntrustedFile(f"{archive}: {_shown(member.name)} is not as long as the archive says; it is damaged.")


def _damaged(archive: Path, error: Exception) -> UntrustedFile:
    reason = printable(str(error) or type(error).__name__)[:200]
    return UntrustedFile(f"{archive}: is damaged, or no archive ({reason}); delete it and fetch it again.")


def _unwritten(error: OSError, archive: Path, member: Member) -> OSError | UntrustedFile:
    """The error for a member that cannot be written: `error` itself for a full disk, else a sentence that names the member.

    A path that is too long for this system is an example."""
    if is_full(error):
        return error
    return UntrustedFile(f"{archive}: {_shown(member.name)} cannot be written ({error.strerror}); {NOTHING}.")


def _destination(name: str, take: Mapping[str, str]) -> str | None:
    """The path below `root` for the member `name`, with slashes. None for a member that was not requested.

    `name` is unchanged from the archive. `_TakenPaths` checks the path later."""
    clean = name[2:] if name.startswith("./") else name
    parts = clean.split("/")
    if not clean or any(part in JUNK or part == ".DS_Store" for part in parts):
        return None
    for inside, where in take.items():
        if not inside:
            return f"{where}/{clean}"
        for wanted_path in [inside[2:], f"{parts[0]}/{inside[2:]}"] if inside.startswith("*/") else [inside]:
            if clean == wanted_path or clean == f"{wanted_path}/":
                return where
            if clean.startswith(f"{wanted_path}/"):
                return f"{where}/{clean[len(wanted_path) + 1 :]}"
    return None


@dataclass
class _TakenPaths:
    """All paths of members so far.

    The key of `spellings` is a path without the differences that some file system ignores: case, accents, final dots and spaces.
    Its value is the path itself, and whether it is a folder."""

    archive: Path
    limits: Limits
    spellings: dict[tuple[str, ...], tuple[tuple[str, ...], bool]] = field(default_factory=dict)

    def add(self, destination: str, member: Member) -> tuple[str, ...]:
        """Adds the path `destination` and returns its parts. Raises UntrustedFile when one is unsafe or the path is taken."""
        parts = tuple(part for part in destination.split("/") if part not in ("", "."))
        if reason := _unsafe_name(member.name, destination, self.limits.depth):
            raise UntrustedFile(f"{self.archive}: {_shown(member.name)} {reason}; {NOTHING}.")
        for length in range(1, len(parts) + 1):
            path, is_folder = parts[:length], length < len(parts) or member.folder
            key = tuple(unicodedata.normalize("NFC", unicodedata.normalize("NFC", part).casefold()).rstrip(". ") for part in path)
            earlier, earlier_is_folder = self.spellings.setdefault(key, (path, is_folder))
            known = earlier is not path  # `setdefault` returns an earlier value where there is one
            if known and (earlier != path or not (is_folder and earlier_is_folder)):
                raise UntrustedFile(
                    f"{self.archive}: {_shown(member.name)} is in the way of {_shown('/'.join(earlier))}: some systems, or all, "
                    f"cannot keep both; {NOTHING}."
                )
        return parts


def _unsafe_name(name: str, where: str, depth: int) -> str:
    """The reason to refuse a member's `name` or its destination `where`. Empty when both are safe."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return "is no UTF-8"
    if name.startswith("/") or PurePosixPath(where).is_absolute():
        return "is an absolute path"
    if any(character < " " or character in "\x7f:" for character in name):
        return "has a character that does not belong into a name: control or colon"
    parts = [part for part in where.split("/") if part not in ("", ".")]
    if any(part.strip(". ") == "" for part in parts):
        return "leads outside with '..', or has a part of dots and spaces alone"
    if not parts or len(parts) > depth or any(len(part.encode()) > 255 for part in parts):
        return f"is too long a path: {depth} parts of 255 bytes are allowed"
    return ""


def _members(archive: Path, allowed: int) -> Iterator[Member]:
    with archive.open("rb") as file:
        start = file.read(6)
    openers: tuple[tuple[bytes, Any], ...] = ((b"\x1f\x8b", gzip.open), (b"BZh", bz2.open), (b"\xfd7zXZ\0", lzma.open))
    if start[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
        return _zip_members(archive)
    opener = next((opener for magic, opener in openers if start.startswith(magic)), None)
    return _tar_members(archive, opener, allowed)


def _zip_members(archive: Path) -> Iterator[Member]:
    with zipfile.ZipFile(archive) as opened:
        for info in opened.infolist():
            kind = stat.S_IFMT(info.external_attr >> 16)
            unsafe = ""
            if info.flag_bits & 0x1:
                unsafe = "is encrypted"
            elif kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                unsafe = "is a link" if kind == stat.S_IFLNK else "is a device or pipe"
            # ZipFile cuts a name at its first NUL, but the whole name must be checked.
            name = info.orig_filename.replace("\\", "/")
            if not info.flag_bits & 0x800 and not name.isascii():
                try:  # macOS writes names in UTF-8 without the flag for UTF-8
                    name = name.encode("cp437").decode()
                except UnicodeError:
                    unsafe = "has a name that is not in UTF-8"
            folder = name.endswith("/") and info.file_size == 0
            yield Member(name, folder, info.file_size, lambda info=info: opened.open(info), unsafe)  # type: ignore[misc]


def _tar_members(archive: Path, opener: Any, allowed: int) -> Iterator[Member]:
    with (opener or io.FileIO)(archive) as raw:
        file = _Measured(raw, archive, allowed)
        with tarfile.open(fileobj=file, mode="r:", encoding="utf-8", errors="surrogateescape") as opened:
            while (info := opened.next()) is not None:
                unsafe = ""
                if info.issym() or info.islnk():
                    unsafe = "is a link"
                elif not (info.isreg() or info.isdir()) or info.issparse():
                    unsafe = "is a device, pipe or sparse file"

                def bytes_of(info: tarfile.TarInfo = info) -> IO[bytes]:
                    source = opened.extractfile(info)
                    assert source is not None, "only plain files are opened"
                    return source

                yield Member(info.name.replace("\\", "/"), info.isdir(), info.size, bytes_of, unsafe)
                vars(opened)["members"].clear()  # tarfile would keep every header in memory
            # tarfile takes a damaged header, and a missing end, for the end of the archive.
            file.seek(opened.offset)
            if file.read(tarfile.BLOCKSIZE).strip(b"\0"):
                raise tarfile.ReadError("a header is damaged")
            if file.tell() == opened.offset:
                raise tarfile.ReadError("it ends early")


class _Measured(io.RawIOBase):
    """The bytes of a tar, at most `allowed` of them.

    A single read may ask for few bytes only, because some headers make tarfile hold their bytes in memory."""

    def __init__(self, raw: IO[bytes], archive: Path, allowed: int) -> None:
        self.raw, self.archive = raw, archive
        self.allowed = allowed + (64 << 20)  # headers and padding come on top of the files

    def read(self, size: int = -1, /) -> bytes:
        if size < 0 or size > 16 * CHUNK:
            raise UntrustedFile(f"{self.archive}: a header asks for {size:,} bytes; it may be made to fill the memory.")
        return self.raw.read(size)

    def seek(self, offset: int, whence: int = 0, /) -> int:
        if offset > self.allowed:
            raise UntrustedFile(f"{self.archive}: unpacks to more than {self.allowed:,} bytes; it may be made to fill the disk.")
        return self.raw.seek(offset, whence)

    def tell(self) -> int:
        return self.raw.tell()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True


def _shown(name: str) -> str:
    """A member's name for a sentence: in quotation marks, without control characters, cut when it is long."""
    shown = ascii(name) if not name.isprintable() else repr(name)
    return shown if len(shown) <= 120 else f"{shown[:117]}..."
