"""Fetches one file from the first of several addresses that gives it, complete and checked.

The bytes so far lie in `NAME.part`, and `NAME.part.json` holds their address. After a broken connection, a stall, Ctrl-C or a
kill, the next call continues there. It asks by `Range` with `If-Range`, so a file that has changed since starts anew. Bytes from
another address are continued only where a checksum can show that the files are the same. The next address is tried when an
address has another file: another size or checksum, a page instead of a file, or endless redirects. If all fail, the error gives
the reason for each address.

urllib suffices and is part of Python. No HTTP library does the hard parts: resuming, mirrors, stalls and wrong files."""

from __future__ import annotations

import email.message
import errno
import hashlib
import http.client
import json
import os
import re
import shutil
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from perpixel.errors import ResourceError, UntrustedFile
from perpixel.files import sync_folder, write_whole
from perpixel.version import VERSION

CHUNK = 1 << 16
HEADERS = {"User-Agent": f"perpixel/{VERSION}", "Accept-Encoding": "identity"}
LONGEST_WAIT = 120.0  # seconds that a server may ask us to wait
RESERVE = 64 << 20  # bytes of the disk that are left free
PAGE = re.compile(rb"\s*<(!doctype html|html|head|\?xml[^>]*>\s*<!doctype html)", re.IGNORECASE)

DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)

Progress = Callable[[int, int, str], None]
Say = Callable[[str], None]


@dataclass(frozen=True)
class Patience:
    """When an address counts as failed, and how long to wait before each new try. Times are in seconds."""

    stall: float = 30.0  # the longest silence, and the time in which `slowest` bytes must come
    slowest: int = 1024  # bytes
    tries: int = 5  # tries in a row that may each bring fewer than `enough` bytes
    enough: int = 1 << 16  # bytes
    pause: float = 1.0  # before the second try. It doubles before each further try


@dataclass(frozen=True)
class Fetched:
    """A file that is complete and checked."""

    path: Path
    size: int  # in bytes
    sha256: str  # in hexadecimal
    url: str | None  # the address that gave its last bytes. None where the file was there before


class _AddressFailed(Exception):
    """A new try at this address would fail too. `wrong_file`: the address gave another file, or a page."""

    def __init__(self, sentence: str, wrong_file: bool = True) -> None:
        super().__init__(sentence)
        self.wrong_file = wrong_file


class _ConnectionBroken(Exception):
    """The connection broke or stalled. A new try at the same address may succeed. `wait`: seconds that the server asks for."""

    def __init__(self, sentence: str, wait: float = 0.0) -> None:
        super().__init__(sentence)
        self.wait = wait


@dataclass(frozen=True)
class _Download:
    """The arguments of `fetch`, and the two files that hold an unfinished download."""

    target: Path
    size: int | None
    digest: str | None
    patience: Patience
    progress: Progress | None
    say: Say

    @property
    def part(self) -> Path:
        return self.target.with_name(f"{self.target.name}.part")

    @property
    def origin_file(self) -> Path:
        return self.target.with_name(f"{self.target.name}.part.json")

    def length(self) -> int:
        return self.part.stat().st_size if self.part.exists() else 0

    def drop(self) -> None:
        for path in (self.part, self.origin_file):
            path.unlink(missing_ok=True)

    def remember(self, url: str, headers: email.message.Message) -> None:
        origin = {"url": url, "etag": headers.get("ETag"), "modified": headers.get("Last-Modified")}
        write_whole(self.origin_file.parent, self.origin_file.name, json.dumps(origin).encode())

    def validator(self, url: str) -> str | None:
        """The text for `If-Range`: the strong ETag or the date of the part. None where another address gave the part."""
        try:
            origin = json.loads(self.origin_file.read_bytes())
        except (FileNotFoundError, ValueError):
            return None
        if not isinstance(origin, dict) or origin.get("url") != url:
            return None
        etag, modified = origin.get("etag"), origin.get("modified")
        return etag if isinstance(etag, str) and etag.startswith('"') else modified if isinstance(modified, str) else None


def fetch(
    urls: Sequence[str],
    target: Path,
    *,
    size: int | None = None,
    digest: str | None = None,
    patience: Patience | None = None,
    progress: Progress | None = None,
    say: Say | None = None,
) -> Fetched:
    """Fetches a file from the first of `urls` that gives it, into `target`.

    Where they are known, `size` is in bytes and `digest` is `sha256:...`, `sha1:...` or `md5:...` in hexadecimal. A `target` that
    exists and fits is kept. KeyboardInterrupt leaves the unfinished part, and the next call continues it.
    Raises ResourceError when no address gave the file, or the disk is too small. Raises UntrustedFile when an address gave a file
    of another size or checksum. Both sentences name every address."""
    download = _Download(target, size, digest, patience or Patience(), progress, say or (lambda _: None))
    if target.is_file():
        return _existing(download)
    target.parent.mkdir(parents=True, exist_ok=True)
    failures, wrong_file = [], False
    for url in urls:
        try:
            sha256 = _get_checked(url, download)
        except (_AddressFailed, _ConnectionBroken) as error:
            wrong_file = wrong_file or (isinstance(error, _AddressFailed) and error.wrong_file)
            failures.append(f"{url} {error}")
            download.say(failures[-1])
        else:
            os.replace(download.part, target)
            sync_folder(target.parent)
            download.drop()
            return Fetched(target, target.stat().st_size, sha256, url)
    sentence = f"{target.name}: no address gave it ({'; '.join(failures)})."
    if wrong_file:
        raise UntrustedFile(f"{sentence} Fetch it by hand into {target.parent}, then give the same command again.")
    raise ResourceError(f"{sentence} The bytes so far are kept; the same command continues.")


def _existing(download: _Download) -> Fetched:
    """The target that exists already, after a check of its size and digest. Raises UntrustedFile."""
    size = download.target.stat().st_size
    mismatch = "" if download.size in (None, size) else f"it has {size:,} bytes instead of {download.size:,}"
    sha256 = ""
    if not mismatch:
        sha256, mismatch = digests(download.target, download.digest)
    if mismatch:
        raise UntrustedFile(f"{download.target}: {mismatch}; delete it and give the same command again.")
    return Fetched(download.target, size, sha256, None)


def _get_checked(url: str, download: _Download) -> str:
    """Completes the part from one address, checks it, and returns its SHA-256.

    Raises _AddressFailed or _ConnectionBroken."""
    pieced = _get(url, download)
    sha256, mismatch = digests(download.part, download.digest)
    if mismatch and pieced:
        download.say(f"{url} gave another file than the bytes so far; it is fetched from the beginning.")
        download.drop()
        _get(url, download)
        sha256, mismatch = digests(download.part, download.digest)
    if mismatch:
        download.drop()
        raise _AddressFailed(f"gave another file: {mismatch}")
    return sha256


def _get(url: str, download: _Download) -> bool:
    """Completes the part from one address, in several tries. Returns whether the part consists of several pieces.

    Raises _AddressFailed or _ConnectionBroken."""
    patience = download.patience
    tries, pause, pieced = 0, patience.pause, False
    while True:
        offset = download.length()
        # Without a digest and a validator, nothing can show that the old and the new piece belong to the same file.
        unverifiable = download.digest is None and not download.validator(url)
        if offset and (unverifiable or (download.size is not None and offset > download.size)):
            download.drop()
            offset = 0
        pieced = pieced or offset > 0
        if download.size is not None and offset == download.size:
            return pieced
        try:
            _request(url, download)
            return pieced
        except (OSError, http.client.HTTPException) as error:  # URLError, HTTPError and TimeoutError are OSErrors
            reason = _retry_reason(error, download)
        except _ConnectionBroken as error:
            reason = error
        gained = download.length() - offset
        tries, pause = (0, patience.pause) if gained >= patience.enough else (tries + 1, pause * 2 if tries else pause)
        if tries >= patience.tries:
            raise reason
        wait = min(max(pause, reason.wait), LONGEST_WAIT)
        download.say(f"{url} {reason}; again in {wait:.0f} s, from byte {download.length():,}.")
        time.sleep(wait)


def _request(url: str, download: _Download) -> None:
    """Sends one request, for the bytes behind the end of the part. Returns when the file is complete."""
    offset = download.length()
    headers = dict(HEADERS)
    if offset:
        headers["Range"] = f"bytes={offset}-"
        if validator := download.validator(url):
            headers["If-Range"] = validator
    with closing(_OPENER.open(urllib.request.Request(url, headers=headers), timeout=download.patience.stall)) as answer:
        if answer.status == 206:
            total = _range_total(answer.headers, offset, download)
        else:  # the server sends the whole file: the file has changed, or the server knows no ranges
            offset, total = 0, _number(answer.headers.get("Content-Length"))
        if None not in (download.size, total) and total != download.size:
            raise _AddressFailed(f"has a file of {total:,} bytes instead of {download.size:,}")
        if answer.headers.get_content_type() == "text/html":
            raise _AddressFailed("gave a page instead of the file")
        expected = download.size if total is None else total
        _require_space(download.part, (expected or 0) - offset)
        download.remember(url, answer.headers)
        with download.part.open("r+b" if offset else "wb") as file:
            file.truncate(offset)
            file.seek(offset)
            length = _copy(answer, file, offset, expected, download)
            file.flush()
            os.fsync(file.fileno())
    if expected is not None and length != expected:
        raise _ConnectionBroken(f"broke off at byte {length:,} of {expected:,}")


def _copy(answer: Any, file: Any, length: int, expected: int | None, download: _Download) -> int:
    """Writes the bytes of the answer behind the first `length` bytes of the part. Returns the new length.

    Raises _ConnectionBroken when they come too slowly, _AddressFailed for a page or for more bytes than `expected`."""
    mark, mark_time = length, time.monotonic()
    while data := answer.read1(CHUNK):
        if length == 0 and PAGE.match(data):
            raise _AddressFailed("gave a page instead of the file")
        if expected is not None and length + len(data) > expected:
            file.truncate(0)
            raise _AddressFailed(f"gave more than {expected:,} bytes")
        if expected is None:
            _require_space(download.part, len(data))
        file.write(data)
        length += len(data)
        if download.progress is not None:
            download.progress(length, expected or length + 1, "")
        now = time.monotonic()
        if now - mark_time >= download.patience.stall:
            if length - mark < download.patience.slowest:
                raise _ConnectionBroken(f"stalled: {length - mark} bytes in {now - mark_time:.0f} s")
            mark, mark_time = length, now
    return length


def _retry_reason(error: Exception, download: _Download) -> _ConnectionBroken:
    """The reason why a request failed, where a new try may help.

    Raises _AddressFailed where it cannot help, and the errors of our own disk."""
    if isinstance(error, urllib.error.HTTPError):
        with closing(error):
            code, headers = error.code, error.headers
        if code == 416:  # the part is not shorter than the file: it is of another file, or it was complete already
            download.drop()
            return _ConnectionBroken("says that the file is shorter than the bytes so far; it is fetched from the beginning")
        if code in (408, 425, 429) or code >= 500:
            return _ConnectionBroken(f"says {code} {error.reason}", float(_number(headers.get("Retry-After")) or 0))
        raise _AddressFailed(f"says {code} {error.reason}", wrong_file=False) from error
    if isinstance(error, urllib.error.URLError):
        reason = error.reason
        if isinstance(reason, ssl.SSLCertVerificationError):
            raise _AddressFailed(f"cannot prove who it is ({reason.verify_message})", wrong_file=False) from error
    elif isinstance(error, OSError) and (error.filename is not None or error.errno in DISK_ERRORS):
        raise error
    else:
        reason = error
    if isinstance(reason, TimeoutError):
        return _ConnectionBroken("stalled: nothing came")
    return _ConnectionBroken(f"cannot be reached, or broke off ({reason or type(reason).__name__})")


def _range_total(headers: email.message.Message, offset: int, download: _Download) -> int | None:
    """The length of the whole file, by `Content-Range`. None where the server does not know it.

    Raises _ConnectionBroken when the range is not the requested range."""
    match = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+|\*)", headers.get("Content-Range", "").strip())
    if match is None or int(match[1]) != offset or not offset:
        download.drop()
        raise _ConnectionBroken(f"gave other bytes than {offset:,} to the end; the file is fetched from the beginning")
    return None if match[3] == "*" else int(match[3])


def digests(path: Path, digest: str | None) -> tuple[str, str]:
    """The SHA-256 of a file, and a clause that says how it differs from `digest` (`algorithm:hexadecimal`).

    The clause is empty where the file has this digest, or where `digest` is None."""
    name, _, expected = (digest or "sha256:").partition(":")
    sha256, other = hashlib.sha256(), hashlib.new(name, usedforsecurity=False)
    with path.open("rb") as file:
        while data := file.read(1 << 20):
            sha256.update(data)
            if name != "sha256":
                other.update(data)
    actual = (sha256 if name == "sha256" else other).hexdigest()
    differs = bool(expected) and actual != expected.lower()
    return sha256.hexdigest(), f"its {name} is {actual} instead of {expected}" if differs else ""


def _require_space(part: Path, needed: int) -> None:
    folder = part.parent
    free = shutil.disk_usage(folder).free
    if needed > 0 and free < needed + RESERVE:
        raise ResourceError(
            f"{folder}: {needed / 1e6:,.0f} MB are still to come, {free / 1e6:,.0f} MB are free; free some and give the same "
            "command again, or choose another --root."
        )


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.strip().isdecimal() else None


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Redirects that stay as safe as the address: https never leads to http, and nothing leads to ftp. urllib ends loops."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        allowed = ("https://",) if req.full_url.startswith("https://") else ("http://", "https://")
        if not newurl.lower().startswith(allowed):
            raise _AddressFailed(f"leads to {newurl}, which is less safe")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener() -> urllib.request.OpenerDirector:
    opener = urllib.request.OpenerDirector()
    handlers = (
        urllib.request.ProxyHandler, urllib.request.UnknownHandler, urllib.request.HTTPHandler, urllib.request.HTTPSHandler,
        urllib.request.HTTPDefaultErrorHandler, urllib.request.HTTPErrorProcessor, _Redirects,
    )  # fmt: skip
    for handler in handlers:
        opener.add_handler(handler())
    return opener


_OPENER = _opener()
