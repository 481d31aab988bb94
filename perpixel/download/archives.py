"""Archives of strangers, unpacked safely: zip, tar, and tar packed by gzip, bzip2 or xz.

`unpack` writes into a folder of its own beside the target and renames what was asked for when all of it is there: a file or
folder appears whole or not at all. It is refused, by name, what could do harm: names that lead outside (absolute, `..`, drives),
links, devices and pipes, names that are no UTF-8 or that some system cannot keep, two names that are one on some system (case,
accents, final dots), encrypted files, more files or bytes than `Limits`, and archives that are damaged or cut off. Backslashes,
which some programs for Windows write, are slashes. Members that nobody asked for are not written, so their names are not judged.
Permissions, owners and times are not taken over."""

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
    """What an archive may hold at most, all members counted; `bytes_per_byte` of its own size beyond `free_bytes`."""

    files: int = 1_000_000
    free_bytes: int = 1 << 30
    bytes_per_byte: int = 20
    depth: int = 32

    def bytes_of(self, archive: Path) -> int:
        return self.free_bytes + self.bytes_per_byte * archive.stat().st_size


@dataclass(frozen=True)
class Member:
    """What one entry says of itself; `open` gives its bytes, `unsafe` says why it is no plain file or folder."""

    name: str
    folder: bool
    size: int
    open: Callable[[], IO[bytes]]
    unsafe: str = ""


def unpack(
    archive: Path, root: Path, take: Mapping[str, str], limits: Limits | None = None, progress: Progress | None = None
) -> list[Path]:
    """Puts parts of `archive` below `root`: `take` says which file or folder of it becomes which path below `root`.

    `""` takes everything, which goes into a new folder; `*/NAME` takes NAME, whether it lies in one outer folder or in none. What
    is already at its path is left as it is. Gives the paths that were put there. Raises UntrustedFile naming the member that is
    refused or the damage, ResourceError when the disk has too little space; then nothing of the archive is left behind. Raises
    UsageError while another process unpacks it there. What a killed process left is swept."""
    limits = limits or Limits()
    missing = {inside: where for inside, where in take.items() if not (root / where).exists()}
    if not missing:
        return []
    work = root / f".{archive.name[:60]}{PARTIAL}"
    work.mkdir(parents=True, exist_ok=True)
    with locked(work, UsageError(f"{archive}: another process unpacks it below {root}; wait for it.")):
        return _put(archive, root, work, missing, limits, progress)


def _put(
    archive: Path, root: Path, work: Path, missing: Mapping[str, str], limits: Limits, progress: Progress | None
) -> list[Path]:
    try:
        for left in work.iterdir():
            if left.is_dir():
                shutil.rmtree(left)
            elif left.name != LOCK:
                left.unlink()
        _write(archive, work, missing, limits, progress)
        for inside, where in missing.items():
            if not (work / where).exists():
                raise UntrustedFile(f"{archive}: holds no {inside or 'file'}; it is not the archive that was expected.")
        if hasattr(os, "sync"):
            os.sync()  # once, for what may be a hundred thousand files
        put = []
        for where in missing.values():
            (root / where).parent.mkdir(parents=True, exist_ok=True)
            os.rename(work / where, root / where)
            put.append(root / where)
        return put
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _write(archive: Path, work: Path, take: Mapping[str, str], limits: Limits, progress: Progress | None) -> None:
    allowed, places = limits.bytes_of(archive), _Places(archive, limits)
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
            where = _place(member.name, take)
            if where is None:
                continue
            if member.unsafe:
                raise UntrustedFile(f"{archive}: {_shown(member.name)} {member.unsafe}; {NOTHING}.")
            path = work.joinpath(*places.add(where, member))
            folder = path if member.folder else path.parent
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise _unwritten(error, archive, member) from error
            if member.folder:
                continue
            if shutil.disk_usage(work).free < member.size:
                raise ResourceError(f"{work.parent}: too little space for {_shown(member.name)}; free some and try again.")
            try:
                file = path.open("xb")
            except OSError as error:
                raise _unwritten(error, archive, member) from error
            with file, member.open() as source:
                shutil.copyfileobj(source, file, CHUNK)
                if file.tell() != member.size:
                    raise UntrustedFile(f"{archive}: {_shown(member.name)} is not as long as the archive says; it is damaged.")
            if progress is not None:
                progress(files, 0, member.name)
    except PerpixelError:
        raise
    except OSError as error:
        if error.errno in (None, errno.EINVAL):  # of a decompressor, or for a place before the beginning
            raise _damaged(archive, error) from error
        raise
    except Exception as error:  # for bytes that are no archive the parsers raise nearly everything
        raise _damaged(archive, error) from error


def _damaged(archive: Path, error: Exception) -> UntrustedFile:
    reason = printable(str(error) or type(error).__name__)[:200]
    return UntrustedFile(f"{archive}: is damaged, or no archive ({reason}); delete it and fetch it again.")


def _unwritten(error: OSError, archive: Path, member: Member) -> OSError | UntrustedFile:
    """A full disk as it is; of others, such as a path that is too long for this system, the sentence."""
    if is_full(error):
        return error
    return UntrustedFile(f"{archive}: {_shown(member.name)} cannot be written ({error.strerror}); {NOTHING}.")


def _place(name: str, take: Mapping[str, str]) -> str | None:
    """Where the member of this name goes, as a path with slashes; none when nobody asked for it.

    The name is as the archive has it: what remains of it below the place is judged later."""
    clean = name[2:] if name.startswith("./") else name
    parts = clean.split("/")
    if not clean or any(part in JUNK or part == ".DS_Store" for part in parts):
        return None
    for inside, where in take.items():
        if not inside:
            return f"{where}/{clean}"
        for found in [inside[2:], f"{parts[0]}/{inside[2:]}"] if inside.startswith("*/") else [inside]:
            if clean == found or clean == f"{found}/":
                return where
            if clean.startswith(f"{found}/"):
                return f"{where}/{clean[len(found) + 1 :]}"
    return None


@dataclass
class _Places:
    """Every path that was given out so far, by what the most forgiving file system takes it for."""

    archive: Path
    limits: Limits
    spelt: dict[tuple[str, ...], tuple[tuple[str, ...], bool]] = field(default_factory=dict)

    def add(self, where: str, member: Member) -> tuple[str, ...]:
        """The parts of the path `where`. Raises UntrustedFile when one of them is unsafe, or the path is taken."""
        parts = tuple(part for part in where.split("/") if part not in ("", "."))
        if reason := _unsafe_name(member.name, where, self.limits.depth):
            raise UntrustedFile(f"{self.archive}: {_shown(member.name)} {reason}; {NOTHING}.")
        for length in range(1, len(parts) + 1):
            own, folder = parts[:length], length < len(parts) or member.folder
            key = tuple(unicodedata.normalize("NFC", unicodedata.normalize("NFC", part).casefold()).rstrip(". ") for part in own)
            other, was_folder = self.spelt.setdefault(key, (own, folder))
            known = other is not own  # setdefault gave what was there
            if known and (other != own or not (folder and was_folder)):
                raise UntrustedFile(
                    f"{self.archive}: {_shown(member.name)} is in the way of {_shown('/'.join(other))}: some systems, or all, "
                    f"cannot keep both; {NOTHING}."
                )
        return parts


def _unsafe_name(name: str, where: str, depth: int) -> str:
    """Why a member's name, or the path that it goes to, is refused; nothing when it is safe."""
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
    packed = next((opener for magic, opener in openers if start.startswith(magic)), None)
    return _tar_members(archive, packed, allowed)


def _zip_members(archive: Path) -> Iterator[Member]:
    with zipfile.ZipFile(archive) as opened:
        for info in opened.infolist():
            kind = stat.S_IFMT(info.external_attr >> 16)
            unsafe = ""
            if info.flag_bits & 0x1:
                unsafe = "is encrypted"
            elif kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                unsafe = "is a link" if kind == stat.S_IFLNK else "is a device or pipe"
            # ZipFile cuts a name at its first NUL; the whole of it is judged.
            name = info.orig_filename.replace("\\", "/")
            if not info.flag_bits & 0x800 and not name.isascii():
                try:  # macOS writes UTF-8 and does not mark it
                    name = name.encode("cp437").decode()
                except UnicodeError:
                    unsafe = "has a name that is not in UTF-8"
            folder = name.endswith("/") and info.file_size == 0
            yield Member(name, folder, info.file_size, lambda info=info: opened.open(info), unsafe)  # type: ignore[misc]


def _tar_members(archive: Path, packed: Any, allowed: int) -> Iterator[Member]:
    with (packed or io.FileIO)(archive) as raw:
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
                vars(opened)["members"].clear()  # it keeps every header for ever
            # tarfile takes a damaged header, and an end that is missing, for the end of the archive.
            file.seek(opened.offset)
            if file.read(tarfile.BLOCKSIZE).strip(b"\0"):
                raise tarfile.ReadError("a header is damaged")
            if file.tell() == opened.offset:
                raise tarfile.ReadError("it ends early")


class _Measured(io.RawIOBase):
    """Bytes of a tar: no more than `allowed` of them, and few at a time, as some headers ask tarfile to hold them in memory."""

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
    """A member's name for a sentence: quoted, without control characters, cut when long."""
    shown = ascii(name) if not name.isprintable() else repr(name)
    return shown if len(shown) <= 120 else f"{shown[:117]}..."
