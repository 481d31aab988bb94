"""One file from one of several addresses, whole and checked, or a sentence for each address that says why not.

What has come so far lies in `NAME.part`, with `NAME.part.json` beside it, which says where it came from. The next call continues
there, after a broken line, a stall, Ctrl-C or a kill: by `Range` with `If-Range`, so that a file that changed meanwhile starts
anew; from another address only where a checksum will tell. An address is left for the next one when it has another file: other
size, other checksum, a page instead of a file, endless redirects.

urllib is enough for this and brings no dependency; what matters here (resuming, mirrors, stalls, lies) no HTTP library does."""

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

OF_THE_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)

Progress = Callable[[int, int, str], None]
Say = Callable[[str], None]


@dataclass(frozen=True)
class Patience:
    """How long an address is believed in. Times in seconds.

    It may be silent for `stall`, and has to bring `slowest` bytes within as long. `tries` in a row may bring fewer than `enough`
    bytes; before the next one stands a pause of `pause`, doubled each time."""

    stall: float = 30.0
    slowest: int = 1024
    tries: int = 5
    enough: int = 1 << 16
    pause: float = 1.0


@dataclass(frozen=True)
class Fetched:
    """A file that is there as a whole: its SHA-256, and the address that gave the last of it (none where it was there before)."""

    path: Path
    size: int
    sha256: str
    url: str | None


class _Useless(Exception):
    """There is no use in asking this address again. `lied`: it gave something else than the file."""

    def __init__(self, sentence: str, lied: bool = True) -> None:
        super().__init__(sentence)
        self.lied = lied


class _Broken(Exception):
    """The line broke or stalled; the same address may do better. `wait`: seconds that the server asked for."""

    def __init__(self, sentence: str, wait: float = 0.0) -> None:
        super().__init__(sentence)
        self.wait = wait


@dataclass(frozen=True)
class _Wanted:
    """What `fetch` was asked for, and where it lies until it is whole."""

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
    def about(self) -> Path:
        return self.target.with_name(f"{self.target.name}.part.json")

    def length(self) -> int:
        return self.part.stat().st_size if self.part.exists() else 0

    def drop(self) -> None:
        for path in (self.part, self.about):
            path.unlink(missing_ok=True)

    def remember(self, url: str, headers: email.message.Message) -> None:
        known = {"url": url, "etag": headers.get("ETag"), "modified": headers.get("Last-Modified")}
        write_whole(self.about.parent, self.about.name, json.dumps(known).encode())

    def validator(self, url: str) -> str | None:
        """What `If-Range` may hold: the strong ETag or the date of the part, if it is of this address."""
        try:
            known = json.loads(self.about.read_bytes())
        except (FileNotFoundError, ValueError):
            return None
        if not isinstance(known, dict) or known.get("url") != url:
            return None
        etag, modified = known.get("etag"), known.get("modified")
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
    """The file of `urls` as `target`, of `size` bytes and with `digest` (`sha256:...`, `sha1:...`, `md5:...`) where known.

    A `target` that is there and fits is kept. Raises ResourceError when no address gave the file or the disk is too small,
    UntrustedFile when what they gave has another size or checksum; both name every address. KeyboardInterrupt leaves the part."""
    wanted = _Wanted(target, size, digest, patience or Patience(), progress, say or (lambda _: None))
    if target.is_file():
        return _kept(wanted)
    target.parent.mkdir(parents=True, exist_ok=True)
    failures, lied = [], False
    for url in urls:
        try:
            sha256 = _get_right(url, wanted)
        except (_Useless, _Broken) as error:
            lied = lied or (isinstance(error, _Useless) and error.lied)
            failures.append(f"{url} {error}")
            wanted.say(failures[-1])
        else:
            os.replace(wanted.part, target)
            sync_folder(target.parent)
            wanted.drop()
            return Fetched(target, target.stat().st_size, sha256, url)
    sentence = f"{target.name}: no address gave it ({'; '.join(failures)})."
    if lied:
        raise UntrustedFile(f"{sentence} Fetch it by hand into {target.parent}, then give the same command again.")
    raise ResourceError(f"{sentence} What has come is kept; the same command continues.")


def _kept(wanted: _Wanted) -> Fetched:
    found = wanted.target.stat().st_size
    wrong = "" if wanted.size in (None, found) else f"it has {found:,} bytes instead of {wanted.size:,}"
    sha256 = ""
    if not wrong:
        sha256, wrong = digests(wanted.target, wanted.digest)
    if wrong:
        raise UntrustedFile(f"{wanted.target}: {wrong}; delete it and give the same command again.")
    return Fetched(wanted.target, found, sha256, None)


def _get_right(url: str, wanted: _Wanted) -> str:
    """The SHA-256 of the part, brought to its end from one address. Raises _Useless or _Broken."""
    pieced = _get(url, wanted)
    sha256, wrong = digests(wanted.part, wanted.digest)
    if wrong and pieced:
        wanted.say(f"{url} does not fit what had come before; it is fetched anew.")
        wanted.drop()
        _get(url, wanted)
        sha256, wrong = digests(wanted.part, wanted.digest)
    if wrong:
        wanted.drop()
        raise _Useless(f"gave another file: {wrong}")
    return sha256


def _get(url: str, wanted: _Wanted) -> bool:
    """Brings the part to its end from one address; says whether it is of several pieces. Raises _Useless or _Broken."""
    patience = wanted.patience
    tries, pause, pieced = 0, patience.pause, False
    while True:
        before = wanted.length()
        unsure = wanted.digest is None and not wanted.validator(url)  # nothing would tell whether the pieces are of one file
        if before and (unsure or (wanted.size is not None and before > wanted.size)):
            wanted.drop()
            before = 0
        pieced = pieced or before > 0
        if wanted.size is not None and before == wanted.size:
            return pieced
        try:
            _once(url, wanted)
            return pieced
        except (OSError, http.client.HTTPException) as error:  # URLError, HTTPError and TimeoutError are OSErrors
            broken = _judge(error, wanted)
        except _Broken as error:
            broken = error
        gained = wanted.length() - before
        tries, pause = (0, patience.pause) if gained >= patience.enough else (tries + 1, pause * 2 if tries else pause)
        if tries >= patience.tries:
            raise broken
        wait = min(max(pause, broken.wait), LONGEST_WAIT)
        wanted.say(f"{url} {broken}; again in {wait:.0f} s, from byte {wanted.length():,}.")
        time.sleep(wait)


def _once(url: str, wanted: _Wanted) -> None:
    """One request, from where the part ends. Returns when the file is whole."""
    have = wanted.length()
    headers = dict(HEADERS)
    if have:
        headers["Range"] = f"bytes={have}-"
        if validator := wanted.validator(url):
            headers["If-Range"] = validator
    with closing(_OPENER.open(urllib.request.Request(url, headers=headers), timeout=wanted.patience.stall)) as answer:
        if answer.status == 206:
            total = _range_total(answer.headers, have, wanted)
        else:  # the whole file: it changed, or the server knows no ranges
            have, total = 0, _number(answer.headers.get("Content-Length"))
        if None not in (wanted.size, total) and total != wanted.size:
            raise _Useless(f"has a file of {total:,} bytes instead of {wanted.size:,}")
        if answer.headers.get_content_type() == "text/html":
            raise _Useless("gave a page instead of the file")
        expected = wanted.size if total is None else total
        _require_space(wanted.part, (expected or 0) - have)
        wanted.remember(url, answer.headers)
        with wanted.part.open("r+b" if have else "wb") as file:
            file.truncate(have)
            file.seek(have)
            came = _copy(answer, file, have, expected, wanted)
            file.flush()
            os.fsync(file.fileno())
    if expected is not None and came != expected:
        raise _Broken(f"broke off at byte {came:,} of {expected:,}")


def _copy(answer: Any, file: Any, have: int, expected: int | None, wanted: _Wanted) -> int:
    """Writes what comes; gives the length of the part then. Raises _Broken when it comes too slowly, _Useless for a page or
    more than was said."""
    since, then = have, time.monotonic()
    while data := answer.read1(CHUNK):
        if have == 0 and PAGE.match(data):
            raise _Useless("gave a page instead of the file")
        if expected is not None and have + len(data) > expected:
            file.truncate(0)
            raise _Useless(f"gave more than {expected:,} bytes")
        if expected is None:
            _require_space(wanted.part, len(data))
        file.write(data)
        have += len(data)
        if wanted.progress is not None:
            wanted.progress(have, expected or have + 1, "")
        now = time.monotonic()
        if now - then >= wanted.patience.stall:
            if have - since < wanted.patience.slowest:
                raise _Broken(f"stalled: {have - since} bytes in {now - then:.0f} s")
            since, then = have, now
    return have


def _judge(error: Exception, wanted: _Wanted) -> _Broken:
    """Why a request failed, where asking again may help. Raises _Useless where it does not, and errors of our own disk."""
    if isinstance(error, urllib.error.HTTPError):
        with closing(error):
            code, headers = error.code, error.headers
        if code == 416:  # the part is longer than the file: another file, or nobody knew that it was whole
            wanted.drop()
            return _Broken("says that the file ends before what had come; it is fetched anew")
        if code in (408, 425, 429) or code >= 500:
            return _Broken(f"says {code} {error.reason}", float(_number(headers.get("Retry-After")) or 0))
        raise _Useless(f"says {code} {error.reason}", lied=False) from error
    if isinstance(error, urllib.error.URLError):
        reason = error.reason
        if isinstance(reason, ssl.SSLCertVerificationError):
            raise _Useless(f"cannot prove who it is ({reason.verify_message})", lied=False) from error
    elif isinstance(error, OSError) and (error.filename is not None or error.errno in OF_THE_DISK):
        raise error
    else:
        reason = error
    if isinstance(reason, TimeoutError):
        return _Broken("stalled: nothing came")
    return _Broken(f"cannot be reached, or broke off ({reason or type(reason).__name__})")


def _range_total(headers: email.message.Message, have: int, wanted: _Wanted) -> int | None:
    """The length of the whole file by `Content-Range`. Raises _Broken when the range is not the one that was asked for."""
    match = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+|\*)", headers.get("Content-Range", "").strip())
    if match is None or int(match[1]) != have or not have:
        wanted.drop()
        raise _Broken(f"gave another part of the file than bytes {have:,} to the end; it is fetched anew")
    return None if match[3] == "*" else int(match[3])


def digests(path: Path, digest: str | None) -> tuple[str, str]:
    """SHA-256 of a file, and what is said when it has not the digest `algorithm:hexadecimal`; nothing when it has."""
    name, _, wanted = (digest or "sha256:").partition(":")
    sha256, other = hashlib.sha256(), hashlib.new(name, usedforsecurity=False)
    with path.open("rb") as file:
        while data := file.read(1 << 20):
            sha256.update(data)
            if name != "sha256":
                other.update(data)
    found = (sha256 if name == "sha256" else other).hexdigest()
    wrong = bool(wanted) and found != wanted.lower()
    return sha256.hexdigest(), f"its {name} is {found} instead of {wanted}" if wrong else ""


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
    """urllib ends loops by itself; it would also go from https to http, and to ftp."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        allowed = ("https://",) if req.full_url.startswith("https://") else ("http://", "https://")
        if not newurl.lower().startswith(allowed):
            raise _Useless(f"leads to {newurl}, which is less safe")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener() -> urllib.request.OpenerDirector:
    opener = urllib.request.OpenerDirector()
    kinds = (
        urllib.request.ProxyHandler, urllib.request.UnknownHandler, urllib.request.HTTPHandler, urllib.request.HTTPSHandler,
        urllib.request.HTTPDefaultErrorHandler, urllib.request.HTTPErrorProcessor, _Redirects,
    )  # fmt: skip
    for kind in kinds:
        opener.add_handler(kind())
    return opener


_OPENER = _opener()
