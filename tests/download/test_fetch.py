"""Fetching from servers that break off, give wrong files, stall, redirect and change their files."""

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from urllib.request import Request

import pytest
from servers import Visit, serving

from perpixel.download.fetch import Patience, _AddressFailed, _Redirects, fetch
from perpixel.errors import ResourceError, UntrustedFile

DATA = random.Random(1).randbytes(200_000)
SHA256 = f"sha256:{hashlib.sha256(DATA).hexdigest()}"
OTHER = random.Random(2).randbytes(200_000)
QUICK = Patience(stall=0.2, slowest=1000, tries=3, enough=1 << 16, pause=0.01)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "set.zip"


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")


def whole(visit: Visit) -> None:
    visit.serve(DATA)


def left_over(target: Path) -> list[str]:
    return sorted(path.name for path in target.parent.iterdir())


MD5, SHA1 = f"md5:{hashlib.md5(DATA).hexdigest()}", f"sha1:{hashlib.sha1(DATA).hexdigest()}"


@pytest.mark.parametrize("digest", [None, SHA256, MD5, SHA1])
def test_a_file_comes_whole_and_its_sha256_is_reported(target: Path, digest: str | None) -> None:
    with serving(a=whole) as (at, _):
        fetched = fetch([at("a")], target, size=len(DATA), digest=digest, patience=QUICK)
        assert (fetched.size, f"sha256:{fetched.sha256}", fetched.url) == (len(DATA), SHA256, at("a"))
    assert target.read_bytes() == DATA
    assert left_over(target) == ["set.zip"]


def test_a_broken_line_is_taken_up_where_it_broke(target: Path) -> None:
    with serving(a=lambda visit: visit.serve(DATA, visit.start + 70_000)) as (at, asked):
        fetch([at("a")], target, digest=SHA256, patience=QUICK)
    assert target.read_bytes() == DATA
    assert [(wanted, condition) for _, wanted, condition in asked] == [
        (None, None), ("bytes=70000-", '"one"'), ("bytes=140000-", '"one"')]  # fmt: skip


def test_an_address_that_gives_too_little_each_time_is_left(target: Path) -> None:
    with serving(a=lambda visit: visit.serve(DATA, visit.start + 100), b=whole) as (at, asked):
        assert fetch([at("a"), at("b")], target, digest=SHA256, patience=QUICK).url == at("b")
    assert [path for path, _, _ in asked] == ["/a"] * 3 + ["/b"]
    assert asked[-1][1:] == ("bytes=300-", None)  # another address goes on, because the checksum will tell
    assert target.read_bytes() == DATA


def test_another_address_starts_anew_where_no_checksum_would_tell(target: Path) -> None:
    with serving(a=lambda visit: visit.serve(DATA, visit.start + 100), b=lambda visit: visit.serve(OTHER)) as (at, asked):
        fetch([at("a"), at("b")], target, patience=QUICK)
    assert asked[-1] == ("/b", None, None)
    assert target.read_bytes() == OTHER


def test_a_part_of_an_earlier_command_is_continued(target: Path) -> None:
    sentence = "The bytes so far are kept; the same command continues"
    with serving(a=lambda visit: visit.serve(DATA, 70_000)) as (at, _), pytest.raises(ResourceError, match=sentence):
        fetch([at("a")], target, patience=QUICK)
    assert left_over(target) == ["set.zip.part", "set.zip.part.json"]
    part = target.with_name("set.zip.part")
    with serving(a=whole) as (at, asked):
        about = json.loads(target.with_name("set.zip.part.json").read_bytes())
        target.with_name("set.zip.part.json").write_text(json.dumps({**about, "url": at("a")}))  # the port is another one
        assert part.stat().st_size == 70_000
        fetch([at("a")], target, patience=QUICK)
    assert asked == [("/a", "bytes=70000-", '"one"')]
    assert target.read_bytes() == DATA


def test_a_file_that_changed_meanwhile_starts_anew(target: Path) -> None:
    def answer(visit: Visit) -> None:
        visit.serve(OTHER, 70_000, '"old"') if len(asked) == 1 else visit.serve(DATA, None, '"new"')

    with serving(a=answer) as (at, asked):
        fetch([at("a")], target, patience=QUICK)
    assert asked[1] == ("/a", "bytes=70000-", '"old"')
    assert target.read_bytes() == DATA


def test_a_change_that_no_etag_shows_is_seen_by_the_checksum(target: Path) -> None:
    def answer(visit: Visit) -> None:
        visit.serve(OTHER, 70_000, None) if len(asked) == 1 else visit.serve(DATA, None, None)

    with serving(a=answer) as (at, asked):
        fetch([at("a")], target, digest=SHA256, patience=QUICK)
    assert [wanted for _, wanted, _ in asked] == [None, "bytes=70000-", None]
    assert target.read_bytes() == DATA


def test_a_server_without_ranges_gives_all_of_it_again(target: Path) -> None:
    with serving(a=lambda visit: visit.serve(DATA, 70_000 if len(asked) == 1 else None, ranges=False)) as (at, asked):
        fetch([at("a")], target, size=len(DATA), patience=QUICK)
    assert len(asked) == 2
    assert target.read_bytes() == DATA


def test_a_part_of_another_range_is_not_taken(target: Path) -> None:
    def answer(visit: Visit) -> None:
        if visit.start:
            rest = DATA[1000:]
            visit.send(206, rest, Content_Length=len(rest), Content_Range=f"bytes 1000-{len(DATA) - 1}/{len(DATA)}")
        else:
            visit.serve(DATA, 70_000 if len(asked) == 1 else None)

    with serving(a=answer) as (at, asked):
        fetch([at("a")], target, patience=QUICK)
    assert [wanted for _, wanted, _ in asked] == [None, "bytes=70000-", None]
    assert target.read_bytes() == DATA


def test_a_part_longer_than_the_file_is_fetched_anew(target: Path) -> None:
    target.with_name("set.zip.part").write_bytes(DATA + b"more")
    with serving(a=whole) as (at, asked):
        fetch([at("a")], target, digest=SHA256, patience=QUICK)
    assert [wanted for _, wanted, _ in asked] == ["bytes=200004-", None]
    assert target.read_bytes() == DATA


def silent(visit: Visit) -> None:
    visit.done.wait(5)


def half_then_silent(visit: Visit) -> None:
    visit.send(200, DATA[:100], Content_Length=len(DATA))
    visit.done.wait(5)


def dripping(visit: Visit) -> None:
    visit.send(200, Content_Length=len(DATA))
    for byte in range(500):
        visit.wfile.write(DATA[byte : byte + 1])
        if visit.done.wait(0.02):
            return


FAULTS = {  # by name: the server's answer, and the reason that is reported
    "other bytes of the same length": (lambda visit: visit.serve(OTHER), "gave another file: its sha256 is"),
    "another length": (lambda visit: visit.serve(DATA[:-1]), "has a file of 199,999 bytes instead of 200,000"),
    "a page": (lambda visit: visit.send(200, b"<p>Log in", Content_Type="text/html"), "gave a page instead of the file"),
    "a page with the content type of a zip": (
        lambda visit: visit.send(200, b"\n <!DOCTYPE HTML><p>", Content_Type="application/zip"), "gave a page instead"),
    "more than it says": (lambda visit: visit.send(200, DATA + b"more"), "gave more than 200,000 bytes"),
    "less, without saying": (lambda visit: visit.send(200, DATA[:100]), "broke off at byte 100 of 200,000"),
    "not found": (lambda visit: visit.send(404), "says 404 Not Found"),
    "a login": (lambda visit: visit.send(401), "says 401 Unauthorized"),
    "out of order": (lambda visit: visit.send(503), "says 503 Service Unavailable"),
    "a loop": (lambda visit: visit.send(302, Location=visit.path), "says 302"),
    "another scheme": (lambda visit: visit.send(302, Location="file:///etc/passwd"), "'file:///etc/passwd' is not allowed"),
    "no HTTP": (lambda visit: visit.wfile.write(b"ready\r\n\r\n"), "cannot be reached, or broke off"),
    "nothing": (lambda visit: None, "cannot be reached, or broke off"),
    "a part that nobody asked for": (
        lambda visit: visit.send(206, DATA[5:], Content_Range="bytes 5-199999/200000"), "gave other bytes than"),
    "silence": (silent, "stalled: nothing came"),
    "silence in the middle": (half_then_silent, "stalled: nothing came"),
    "drops": (dripping, "stalled: "),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_the_next_address_helps_when_one_gives(target: Path, fault: str) -> None:
    answer, sentence = FAULTS[fault]
    lines: list[str] = []
    with serving(a=answer, b=whole) as (at, _):
        fetched = fetch([at("a"), at("b")], target, size=len(DATA), digest=SHA256, patience=QUICK, say=lines.append)
        assert fetched.url == at("b")
    assert any(sentence in line for line in lines), lines
    assert target.read_bytes() == DATA
    assert left_over(target) == ["set.zip"]


def test_all_addresses_and_their_reasons_are_named_when_none_helps(target: Path) -> None:
    with serving(a=lambda visit: visit.send(404), b=lambda visit: visit.serve(OTHER)) as (at, _):
        with pytest.raises(UntrustedFile, match=r"/a says 404 Not Found; .*/b gave another file: its sha256 is .* by hand"):
            fetch([at("a"), at("b")], target, digest=SHA256, patience=QUICK)
        with pytest.raises(ResourceError, match=r"no address gave it \(.*/a says 404 Not Found\)"):
            fetch([at("a")], target, digest=SHA256, patience=QUICK)
    assert left_over(target) == []


def test_nobody_listening_is_said(target: Path) -> None:
    with serving() as (at, _):
        closed = at("a")
    with pytest.raises(ResourceError, match=r"cannot be reached, or broke off .*refused"):
        fetch([closed], target, patience=QUICK)


def test_a_redirect_is_followed(target: Path) -> None:
    with serving(a=lambda visit: visit.send(302, Location="/b"), b=whole) as (at, _):
        assert fetch([at("a")], target, digest=SHA256, patience=QUICK).size == len(DATA)


def test_a_redirect_from_https_to_http_is_not_followed() -> None:
    with pytest.raises(_AddressFailed, match="leads to http://b/, which is less safe"):
        _Redirects().redirect_request(Request("https://a/"), None, 302, "Found", {}, "http://b/")


def test_a_file_that_is_there_is_kept_when_it_fits_and_refused_when_not(target: Path) -> None:
    target.write_bytes(DATA)
    assert fetch([], target, size=len(DATA), digest=SHA256).url is None
    target.write_bytes(OTHER)
    with pytest.raises(UntrustedFile, match=r"its sha256 is .*; delete it"):
        fetch([], target, digest=SHA256)
    with pytest.raises(UntrustedFile, match="has 200,000 bytes instead of 7"):
        fetch([], target, size=7)
    assert target.read_bytes() == OTHER


def test_too_small_a_disk_is_said_before_anything_comes(target: Path) -> None:
    huge = 1 << 60
    sentence = r"MB are still to come, .* MB are free"
    answer = {"a": lambda visit: visit.send(200, DATA, Content_Length=huge)}
    with serving(**answer) as (at, _), pytest.raises(ResourceError, match=sentence):
        fetch([at("a")], target, patience=QUICK)
    assert left_over(target) == []


def test_progress_is_shown_in_bytes(target: Path) -> None:
    seen: list[tuple[int, int, str]] = []
    with serving(a=lambda visit: visit.serve(DATA, visit.start + 150_000)) as (at, _):
        fetch([at("a")], target, patience=QUICK, progress=lambda *step: seen.append(step))
    assert seen[-1] == (200_000, 200_000, "")
    assert [done for done, _, _ in seen] == sorted(done for done, _, _ in seen)


@pytest.mark.skipif(os.name == "nt", reason="signals of Unix")
def test_control_c_keeps_the_part_and_the_next_call_continues(target: Path) -> None:
    script = f"""
import pathlib
from perpixel.download.fetch import Patience, fetch
fetch(["URL"], pathlib.Path({str(target)!r}), digest={SHA256!r}, patience=Patience(stall=20))
"""

    def answer(visit: Visit) -> None:
        if visit.start:
            visit.serve(DATA)
        else:
            visit.send(200, DATA[:90_000], Content_Length=len(DATA), ETag='"one"')
            visit.done.wait(20)

    with serving(a=answer) as (at, asked):
        process = subprocess.Popen([sys.executable, "-c", script.replace("URL", at("a"))], stderr=subprocess.DEVNULL)
        part = target.with_name("set.zip.part")
        deadline = time.monotonic() + 20
        while (not part.exists() or part.stat().st_size < 1) and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        assert process.wait(20) != 0
        came = part.stat().st_size
        assert came > 0
        fetch([at("a")], target, digest=SHA256, patience=QUICK)
    assert asked[-1] == ("/a", f"bytes={came}-", '"one"')
    assert target.read_bytes() == DATA
