"""Pictures in object stores and on web servers, by the address that fsspec has for them: `s3://bucket/folder`, `gs://...`,
`https://host/picture.jpg`. A store of another kind than fsspec's own needs its package, such as s3fs, and that finds the keys."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from perpixel.errors import DataError, UsageError, printable

MOST_BYTES = 2**30  # of a picture's file
WEB = frozenset({"http", "https"})  # without folders and patterns; behind ? stands what the server is asked
ADDRESS = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)


def is_address(text: str) -> bool:
    """Whether a text is an address, such as `s3://bucket/a.png`, and no path of this machine."""
    return ADDRESS.match(text) is not None


def pictures_at(address: str, suffixes: frozenset[str]) -> Iterator[tuple[str, str]]:
    """The pictures at an address of a file, of a folder, or with * and ?: the address of each, and its name.

    Names are those that files of this machine would have: below a folder the path without suffix, else the name alone.
    Raises DataError where there is none, UsageError where fsspec or the store's package is not installed."""
    with _errors(address):
        store, path = _opened(address)
        if address.split(":")[0].lower() in WEB:
            name = _stem(posixpath.basename(urlsplit(address).path))
            names = {path: name} if name else {}
        elif "*" in path or "?" in path:
            names = {place: _stem(posixpath.basename(place)) for place in sorted(store.glob(path)) if not store.isdir(place)}
        elif store.isdir(path):
            root = path.rstrip("/") + "/"
            names = {place: _stem(place.removeprefix(root)) for place in sorted(store.find(path)) if _suffix(place) in suffixes}
        else:
            names = {path: _stem(posixpath.basename(path))}
        if not names:
            raise DataError(f"{printable(address)}: holds no pictures; name another folder or pattern.")
    yield from ((str(store.unstrip_protocol(place)), name) for place, name in names.items())


def read_at(address: str) -> bytes:
    """The bytes of a file. Raises DataError where it cannot be read, or is larger than a picture may be."""
    with _errors(address):
        store, path = _opened(address)
        with store.open(path, "rb") as file:
            content = bytes(file.read(MOST_BYTES + 1))
    if len(content) > MOST_BYTES:
        raise DataError(f"{printable(address)}: has more than {MOST_BYTES / 1e6:.0f} MB, and is not read as a picture.")
    return content


def _opened(address: str) -> tuple[Any, str]:
    try:
        from fsspec.core import url_to_fs
    except ImportError as error:
        raise UsageError(f"{printable(address)}: addresses are read by fsspec; pip install fsspec.") from error
    store, path = url_to_fs(address)
    return store, path


@contextmanager
def _errors(address: str) -> Iterator[None]:
    """What a store raises becomes one sentence. Each has errors of its own kinds."""
    where = printable(address)
    try:
        yield
    except (DataError, UsageError):
        raise
    except FileNotFoundError as error:
        raise DataError(f"{where}: there is no such file.") from error
    except ImportError as error:
        raise UsageError(f"{where}: {str(error).rstrip('.')}; install that package.") from error
    except PermissionError as error:
        raise DataError(f"{where}: may not be read ({error}); give the store's package your keys.") from error
    except ValueError as error:  # a scheme that fsspec does not know
        raise UsageError(f"{where}: {str(error).rstrip('.')}; use s3://, gs://, https:// ...") from error
    except Exception as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise DataError(f"{where}: cannot be read ({reason}); try again, or copy it to this machine.") from error


def _suffix(path: str) -> str:
    return posixpath.splitext(path)[1].lower()


def _stem(path: str) -> str:
    return posixpath.splitext(path)[0]
