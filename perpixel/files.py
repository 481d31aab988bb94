"""Files appear whole or not at all: temporary file in the same folder, fsync, rename, fsync the folder."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from perpixel.errors import UsageError

PARTIAL = ".partial"


def write_whole(path: Path, data: bytes | bytearray | memoryview, durable: bool = True) -> None:
    """Writes `data` to `path`; a crash at any instant leaves the old file or the new one, never a part.

    Without `durable` the same holds for a killed process, but not for a power cut; it saves waiting for the disk."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}{PARTIAL}")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if durable:
        sync_folder(path.parent)


def remove_partial(folder: Path) -> None:
    """Removes what killed processes left unfinished directly in `folder`. Call it only where no other process writes."""
    for path in folder.glob(f"*{PARTIAL}") if folder.is_dir() else ():
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Holds `folder` against other processes while this one lives, where the system has such locks (not on Windows).

    Raises UsageError when another process holds it."""
    try:
        import fcntl
    except ImportError:
        yield
        return
    with (folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(f"{folder}: another process is writing here; wait for it, or choose another --out.") from None
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
