"""Files and folders: found by one walk, read with a sentence for whatever is wrong, and written whole or not at all.

A file is written to a temporary one in the same folder, brought to the disk, renamed, and the folder is brought to the disk."""

from __future__ import annotations

import codecs
import hashlib
import os
import shutil
import stat
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from perpixel.errors import DataError, UsageError, printable

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

PARTIAL = ".partial"
LOCK = ".lock"
JUNK = frozenset({"__MACOSX"})  # what macOS adds to archives


def write_whole(folder: Path, name: str, data: bytes | bytearray | memoryview, durable: bool = True) -> Path:
    """Writes `data` to `folder / name` and returns that path; missing folders are made. A crash at any instant leaves the old
    file or the new one, never a part.

    This is the one place through which files are written. `name` may come from a file of strangers: it never leads out of
    `folder`. Without `durable` the same holds for a killed process, but not for a power cut; it saves waiting for the disk.
    Raises DataError where `below` does, and UsageError where something other than a file has this name."""
    path = below(folder, name)
    require_file_or_nothing(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # The next writer of this file takes the temporary one that a kill left. The name is short: `name` may be as long as may be.
    temporary = path.with_name(f".{hashlib.sha256(os.fsencode(path.name)).hexdigest()[:16]}{PARTIAL}")
    try:
        with _held(temporary) as file:
            try:
                file.write(data)
                file.flush()
                if durable:
                    os.fsync(file.fileno())
                if fcntl is None:  # Windows renames closed files alone
                    file.close()
                os.replace(temporary, path)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
    except OSError as error:
        error.filename, error.filename2 = str(path), None  # the name that the user knows
        raise
    if durable:
        sync_folder(path.parent)
    return path


@contextmanager
def _held(temporary: Path) -> Iterator[BinaryIO]:
    """The file, empty, and no other writer's until it is closed or renamed; waits for one that has it (not on Windows)."""
    while True:
        with temporary.open("ab") as file:
            if fcntl is not None:
                fcntl.flock(file, fcntl.LOCK_EX)
            try:
                same = os.path.samestat(os.fstat(file.fileno()), os.stat(temporary))
            except FileNotFoundError:
                same = False
            if same:  # else the one that had it has renamed or removed it meanwhile
                file.truncate(0)
                yield file
                return


def below(folder: Path, name: str) -> Path:
    """`folder / name`, which lies below `folder`.

    Raises DataError for a name that is empty, begins at a root or drive, goes up by `..`, or holds a zero byte."""
    parts = Path(name).parts
    if not parts or ".." in parts or Path(name).anchor or "\0" in name:
        raise DataError(f"{name!r}: is no name of a file below {folder}; correct it.")
    return folder / name


def safe_name(path: str) -> str:
    """A path of strangers as a name that stays below whatever it is joined to: roots, drives, `.` and `..` are left out.

    Raises DataError where nothing is left."""
    parts = [part for part in path.split("/") if part not in ("", ".", "..") and not part.endswith(":")]
    if not parts or "\0" in path:
        raise DataError(f"{path!r}: is no name of a file; correct it.")
    return unicodedata.normalize("NFC", "/".join(parts))


def require_file_or_nothing(path: Path) -> None:
    """Raises UsageError where `path` is a folder, pipe or device: none of them is to be replaced by a file."""
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return
    if not stat.S_ISREG(mode):
        raise UsageError(f"{path}: is {_kind_of(mode)}; choose the name of a file.")


def read_bytes(path: Path | str) -> bytes:
    """What a file holds. Raises DataError where it is missing, no plain file (a pipe may never end), or cannot be read."""
    require_plain(path)
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}).") from error
    except MemoryError as error:
        raise DataError(f"{path}: is too large for the memory of this machine.") from error


def read_text(path: Path | str) -> str:
    """The text of a UTF-8 file, without its byte order mark; UTF-16 is read where a mark says so. Raises DataError."""
    data = read_bytes(path)
    encoding = "utf-16" if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: is not UTF-8 text (byte {error.start}); save it as UTF-8.") from error


def require_plain(path: Path | str) -> None:
    """Raises DataError where there is no such file, or it is a folder, pipe, socket or device."""
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError as error:
        raise DataError(f"{path}: there is no such file.") from error
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise DataError(f"{printable(path)}: cannot be read ({reason}).") from error
    if not stat.S_ISREG(mode):
        raise DataError(f"{path}: is {_kind_of(mode)}, not a file; give a file.")


def require_folder(folder: Path, advice: str) -> None:
    """Raises DataError, which ends in `advice`, where there is no such folder, or it cannot be read."""
    try:
        os.scandir(folder).close()
    except FileNotFoundError:
        raise DataError(f"{folder}: there is no such folder; {advice}.") from None
    except NotADirectoryError:
        raise DataError(f"{folder}: there is no such folder, but a file of this name; {advice}.") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise DataError(f"{folder}: cannot be read ({reason}); {advice}.") from None


def _kind_of(mode: int) -> str:
    kinds = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}
    return kinds.get(stat.S_IFMT(mode), "a device")


def walk(folder: Path) -> list[Path]:
    """Everything below `folder` that is no folder, sorted: the one way in which folders are searched.

    Hidden files and folders, and what macOS adds to archives, are left out. Links to folders are followed; a folder that is
    reached twice counts once. Pipes, links that lead nowhere and folders that cannot be read are among the paths: who opens them
    says what is wrong."""
    paths, seen = list[Path](), set()

    def note(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError | NotADirectoryError):
            paths.append(Path(error.filename))

    for place, folders, names in os.walk(folder, onerror=note, followlinks=True):
        folders[:] = sorted(name for name in folders if not is_hidden(name))
        real = os.path.realpath(place)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        paths += [Path(place, name) for name in names if not is_hidden(name)]
    return sorted(paths)


def files_in(folder: Path, depth: int = 1) -> list[Path]:
    """The files directly in a folder, or so many folders deep, sorted; what `walk` leaves out is left out here too."""
    found = []
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if is_hidden(path.name):
            continue
        if not path.is_dir():
            found.append(path)
        elif depth > 1:
            found += files_in(path, depth - 1)
    return found


def is_hidden(name: str) -> bool:
    """Whether a file or folder of this name is hidden, or one that macOS adds to archives."""
    return name.startswith(".") or name in JUNK


def in_either_form(path: Path) -> Path:
    """The path as it is on this disk: a letter with an accent has two Unicode forms, and either names the same file."""
    if not os.path.exists(path):  # unlike Path.exists it raises nothing, whatever the name
        for form in ("NFC", "NFD"):
            other = Path(unicodedata.normalize(form, str(path)))
            if os.path.exists(other):
                return other
    return path


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """A folder to write into, which becomes `out` when the block ends: whole, or not at all.

    What a killed process left of it is swept. Raises UsageError where `out` is there, or another process is writing it."""
    if os.path.lexists(out):
        raise UsageError(f"{out}: is there already; name a folder that is not.")
    partial = out.with_name(f".{out.name[:60]}{PARTIAL}")  # one name for all processes, so that each sees what others left
    busy = UsageError(f"{out}: another process is writing it; wait for it, or choose another name.")
    partial.mkdir(parents=True, exist_ok=True)
    try:
        with locked(partial, busy):
            _empty(partial)
            try:
                yield partial
                sync_below(partial)
                if os.path.lexists(out):
                    raise busy
                os.replace(partial, out)
            except BaseException:
                _empty(partial)
                shutil.rmtree(partial, ignore_errors=True)
                raise
            (out / LOCK).unlink(missing_ok=True)
            sync_folder(out.parent)
    except FileNotFoundError as error:
        if Path(str(error.filename)) != partial / LOCK:
            raise
        raise busy from None  # which has just finished it


def _empty(partial: Path) -> None:
    for path in partial.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.name != LOCK:
            path.unlink()


def sync_below(folder: Path) -> None:
    """Brings everything below `folder` to the disk before its name does."""
    if hasattr(os, "sync"):
        os.sync()  # once, for what may be a hundred thousand files


def remove_partial(folder: Path) -> None:
    """Removes what killed processes left unfinished directly in `folder`. Call it only where no other process writes."""
    for path in folder.glob(f"*{PARTIAL}") if folder.is_dir() else ():
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


@contextmanager
def locked(folder: Path, busy: UsageError | None = None) -> Iterator[None]:
    """Holds `folder` against other processes while this one lives, where the system has such locks (not on Windows).

    Raises `busy`, by default a UsageError that names the folder, when another process holds it."""
    if fcntl is None:
        yield
        return
    with (folder / LOCK).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise busy or UsageError(
                f"{folder}: another process is writing here; wait for it, or choose another --out."
            ) from None
        yield


def sync_folder(folder: Path) -> None:
    """Makes renames inside `folder` survive a power cut, where the system can open folders (not on Windows)."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def digest(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
