"""Files and folders: one function lists them, each failure to read has its sentence, and a file is written whole or not at all.

Writing takes four steps: write a temporary file in the same folder, bring it to the disk (fsync), rename it, and bring the folder
to the disk."""

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

MODEL_FILE, CARD_FILE = "model.safetensors", "model.json"  # in a run folder; the core looks for them without torch
EXPORTED = {".onnx": "onnx", ".xml": "openvino"}  # suffixes of files of `perpixel export`, with the engine that they are made for
PARTIAL = ".partial"
LOCK = ".lock"
JUNK = frozenset({"__MACOSX"})  # the folder that macOS adds to archives


def write_whole(folder: Path, name: str, data: bytes | bytearray | memoryview, durable: bool = True) -> Path:
    """Writes `data` to `folder / name` and returns that path. Missing folders are made.

    A crash at any instant leaves the old file or the new file, never a part of either. All files of perpixel are written here.
    `name` may come from a stranger's file, and never leads out of `folder`. Without `durable` a killed process still leaves a
    whole file, but a power cut may not; then the call need not wait for the disk.
    Raises DataError where `below` does. Raises UsageError where a folder, pipe or device has this name."""
    path = below(folder, name)
    require_file_or_nothing(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_of(path)
    try:
        with _locked_temporary(temporary) as file:
            try:
                file.write(data)
                file.flush()
                if durable:
                    os.fsync(file.fileno())
                if fcntl is None:  # Windows renames closed files only
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
def new_file(folder: Path, name: str) -> Iterator[Path]:
    """Yields the path of a temporary file in the same folder, to write by other means. It becomes `folder / name` when the block
    ends: whole, or not at all.

    For files that do not fit memory; `write_whole` writes all others. The caller keeps other writers of this file away.
    Raises what `write_whole` raises."""
    path = below(folder, name)
    require_file_or_nothing(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_of(path)
    temporary.unlink(missing_ok=True)
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def temporary_of(path: Path) -> Path:
    """The temporary file that becomes `path`. A kill leaves it, and the next writer of this file takes it over.

    Its name is a digest, because the name of `path` may already have the greatest length that the system allows."""
    return path.with_name(f".{hashlib.sha256(os.fsencode(path.name)).hexdigest()[:16]}{PARTIAL}")


@contextmanager
def _locked_temporary(temporary: Path) -> Iterator[BinaryIO]:
    """Opens the temporary file, empty, and locks it until it is closed or renamed.

    Waits while another writer holds the lock. Windows has no such lock."""
    while True:
        with temporary.open("ab") as file:
            if fcntl is not None:
                fcntl.flock(file, fcntl.LOCK_EX)
            try:
                still_there = os.path.samestat(os.fstat(file.fileno()), os.stat(temporary))
            except FileNotFoundError:
                still_there = False
            if still_there:  # else the writer before has renamed or removed the file since it was opened here
                file.truncate(0)
                yield file
                return


def below(folder: Path, name: str) -> Path:
    """`folder / name`, a path that lies below `folder`.

    Raises DataError for a name that is empty, begins at a root or drive, goes up by `..`, or holds a zero byte."""
    parts = Path(name).parts
    if not parts or ".." in parts or Path(name).anchor or "\0" in name:
        raise DataError(f"{name!r}: is no name of a file below {folder}; correct it.")
    return folder / name


def safe_name(path: str) -> str:
    """A stranger's path as a name that stays below each folder it is joined to. Roots, drives, `.` and `..` are left out.

    Raises DataError where nothing is left."""
    parts = [part for part in path.split("/") if part not in ("", ".", "..") and not part.endswith(":")]
    if not parts or "\0" in path:
        raise DataError(f"{path!r}: is no name of a file; correct it.")
    return unicodedata.normalize("NFC", "/".join(parts))


def require_file_or_nothing(path: Path) -> None:
    """Raises UsageError where `path` is a folder, pipe or device, because a file must not replace these."""
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return
    if not stat.S_ISREG(mode):
        raise UsageError(f"{path}: is {_kind_of(mode)}; choose the name of a file.")


def read_bytes(path: Path | str) -> bytes:
    """The bytes of a file. Raises DataError where it is missing, is no plain file (a pipe may never end), or cannot be read."""
    require_plain(path)
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}).") from error
    except MemoryError as error:
        raise DataError(f"{path}: is too large for the memory of this machine.") from error


def read_text(path: Path | str) -> str:
    """The text of a file in UTF-8, or in UTF-16 where its byte order mark says so. The mark is removed. Raises DataError."""
    data = read_bytes(path)
    encoding = "utf-16" if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: is not UTF-8 text (byte {error.start}); save it as UTF-8.") from error


def require_plain(path: Path | str) -> None:
    """Raises DataError where `path` does not exist, or is a folder, pipe, socket or device."""
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
    """Raises DataError where the folder does not exist or cannot be read. The sentence ends in `advice`."""
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
    """All paths below `folder` that are no folders, sorted. All of perpixel searches folders with this function.

    Hidden files, hidden folders and the folder that macOS adds to archives are left out. Links to folders are followed, and a
    folder that is reached twice counts once. The paths include pipes, links that lead nowhere and folders that cannot be read:
    the reader of such a path raises the error."""
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
    """The files in a folder, sorted. `depth` 1 lists the folder itself, 2 its subfolders too, and so on.

    Leaves out the same names as `walk`."""
    files = []
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if is_hidden(path.name):
            continue
        if not path.is_dir():
            files.append(path)
        elif depth > 1:
            files += files_in(path, depth - 1)
    return files


def is_hidden(name: str) -> bool:
    """Whether a file or folder of this name is hidden, or is the folder that macOS adds to archives."""
    return name.startswith(".") or name in JUNK


def in_either_form(path: Path) -> Path:
    """The path in the Unicode form that this disk has. A letter with an accent has two forms, and both mean the same file.

    Returns `path` unchanged where neither form exists."""
    if not os.path.exists(path):  # unlike Path.exists, it raises no error for a name that the system refuses
        for form in ("NFC", "NFD"):
            other = Path(unicodedata.normalize(form, str(path)))
            if os.path.exists(other):
                return other
    return path


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """Yields a temporary folder to write into. It becomes `out` when the block ends: whole, or not at all.

    The remains of a killed process are removed first.
    Raises UsageError where `out` exists, or while another process writes `out`."""
    if os.path.lexists(out):
        raise UsageError(f"{out}: exists already; name a new folder.")
    partial = out.with_name(f".{out.name[:60]}{PARTIAL}")  # the same name in all processes, so that each sees the remains
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
        raise busy from None  # the other process has just finished `out`


def _empty(partial: Path) -> None:
    for path in partial.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.name != LOCK:
            path.unlink()


def sync_below(folder: Path) -> None:
    """Brings all files below `folder` to the disk. Call it before the folder gets its final name."""
    if hasattr(os, "sync"):
        os.sync()  # one call for all files: there may be a hundred thousand


def remove_partial(folder: Path) -> None:
    """Removes the unfinished files and folders that killed processes left in `folder`, not deeper.

    Call it only where no other process writes."""
    for path in folder.glob(f"*{PARTIAL}") if folder.is_dir() else ():
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


@contextmanager
def locked(folder: Path, busy: UsageError | None = None, name: str = LOCK) -> Iterator[None]:
    """Locks `folder` against other processes until the block or this process ends. Windows has no such lock.

    Processes that work on different files of the folder give the lock of each another `name`.
    Raises `busy` when another process holds the lock. Its default is a UsageError that names the folder."""
    if fcntl is None:
        yield
        return
    with (folder / name).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise busy or UsageError(
                f"{folder}: another process is writing here; wait for it, or choose another --out."
            ) from None
        yield


def sync_folder(folder: Path) -> None:
    """Makes renames inside `folder` survive a power cut. Does nothing on Windows, which cannot open folders."""
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
