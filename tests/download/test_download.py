"""`perpixel download`: fakes in the official shape, packed and served on this machine, end as data sets that train."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from fakes import (
    make_ade20k,
    make_camvid,
    make_cell_tracking,
    make_cityscapes,
    make_context,
    make_isbi2012,
    make_nuclei2018,
    make_nyud,
    make_siftflow,
    make_voc,
)
from hidden_torch import HAS_TORCH
from servers import Visit, serving

from perpixel.cli import main
from perpixel.datasets import ON_DISK, open_dataset
from perpixel.download.download import check_download, choose_parts, download, find_set, places, rows, state
from perpixel.download.fetch import Patience
from perpixel.download.sources import SOURCES, Files, Lines, Part
from perpixel.errors import DataError, UnknownName, UntrustedFile, UsageError

QUICK = Patience(stall=0.5, tries=2, pause=0.01)
ALL_PARTS = [(key, part) for key, published in SOURCES.items() for part in published.parts]
every_part = pytest.mark.parametrize(
    "part", [part for _, part in ALL_PARTS], ids=[f"{key}-{part.name}" for key, part in ALL_PARTS]
)
FAKES: dict[str, Callable[[Path], object]] = {
    "voc2012": make_voc, "context": make_context, "siftflow": make_siftflow, "nyud": make_nyud,
    "isbi2012": lambda root: make_isbi2012(root / "isbi2012"), "phc_u373": make_cell_tracking, "dic_hela": make_cell_tracking,
    "ade20k": make_ade20k, "camvid": lambda root: make_camvid(root / "camvid"), "nuclei2018": make_nuclei2018,
}  # fmt: skip


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")


def pack(archive: Path, folder: Path, take: Mapping[str, str]) -> Path:
    """Packs the archive of the set's site: the files at the paths of `take` below `folder`, under their paths inside."""
    packing = "gz" if archive.suffix in (".gz", ".tgz") else ""
    with zipfile.ZipFile(archive, "w") if archive.suffix == ".zip" else tarfile.open(archive, f"w:{packing}") as opened:
        add = opened.write if isinstance(opened, zipfile.ZipFile) else opened.add
        for inside, where in take.items():
            whole = folder / where
            for path in sorted(whole.rglob("*")) if whole.is_dir() else [whole]:
                if path.is_file():
                    below = path.relative_to(whole).as_posix() if path != whole else ""
                    add(path, "/".join(filter(None, (inside.removeprefix("*/"), below))))
    return archive


def counted(rule: Files | Lines, root: Path) -> Files | Lines:
    """The same rule with the fake's own count."""
    if isinstance(rule, Files):
        return replace(rule, count=len(list(root.glob(rule.pattern))))
    return replace(rule, count=sum(bool(line.strip()) for line in (root / rule.path).read_text().splitlines()))


def data_of(part: Part, fake: Path, where: Path) -> bytes:
    """The bytes that the site gives for this part of the fake."""
    if part.put is not None:
        return (fake / part.put).read_bytes()
    for path, take in part.inner:
        (fake / path).parent.mkdir(parents=True, exist_ok=True)
        pack(fake / path, fake, take)
    return pack(where / part.file, fake, part.take).read_bytes()


@contextmanager
def served(key: str, fake: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The published set `key` has the addresses, checksums and counts of the fake. Yields the paths that are requested."""
    site = tmp_path / "site"
    site.mkdir()
    files = {part.name: data_of(part, fake, site) for part in SOURCES[key].parts}
    answers = {name: (lambda visit, data=data: visit.serve(data)) for name, data in files.items()}
    with serving(**answers) as (at, asked):
        parts = tuple(
            replace(
                part,
                urls=(at(part.name),) if part.urls else (),
                size=len(files[part.name]),
                digest=f"sha256:{hashlib.sha256(files[part.name]).hexdigest()}" if part.digest else None,
                holds=tuple(counted(rule, fake) for rule in part.holds),
            )
            for part in SOURCES[key].parts
        )
        monkeypatch.setitem(SOURCES, key, replace(SOURCES[key], parts=parts))
        paths: list[str] = []
        yield paths
        paths += [path for path, _, _ in asked]


def yes(_: str) -> bool:
    return True


@pytest.mark.parametrize("key", FAKES)
def test_a_set_is_fetched_unpacked_checked_and_opened(key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake, root = tmp_path / "made", tmp_path / "root"
    FAKES[key](fake)
    names = [part.name for part in SOURCES[key].parts]
    with served(key, fake, tmp_path, monkeypatch) as asked:
        findings = download(key, root, accept=yes, parts=names, patience=QUICK)
        assert [finding for finding in findings if finding.problem] == []
        assert state(SOURCES[key], root) == "in place"
        assert download(key, root, accept=lambda _: False, parts=names) == findings  # nothing is left to do
    assert asked == [f"/{name}" for name in names]
    assert [path.name for path in (root / "downloads").iterdir() if path.name != ".lock"] == [f"{key}.json"]
    assert [path.name for path in root.iterdir() if path.name.endswith(".partial")] == []
    for data in SOURCES[key].datasets:
        for split in ON_DISK[data].judged:
            ours, theirs = (open_dataset(data, root=place, split=split) for place in (root, fake))
            assert [ours.name(i) for i in range(len(ours))] == [theirs.name(i) for i in range(len(theirs))]
            assert (ours.sample(0).image == theirs.sample(0).image).all()


def test_the_command_leads_from_the_terms_to_a_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fake, root = tmp_path / "made", tmp_path / "root"
    make_voc(fake)
    with served("voc2012", fake, tmp_path, monkeypatch):
        main(["download", "voc2012", "--root", str(root), "--accept-licence"])
        printed = capsys.readouterr()
        assert "Use of these images must respect the corresponding terms of use" in printed.err
        assert "Next: perpixel check voc2012 --root" in printed.err
        assert printed.out.count("as published") == 8
        main(["download", "voc2012", "--root", str(root), "--check", "--json"])
        assert {row["problem"] for row in json.loads(capsys.readouterr().out)} == {""}
        main(["download", "--root", str(root), "--json"])
        listed = {row["name"]: row["state"] for row in json.loads(capsys.readouterr().out)}
        assert (listed["voc2012"], listed["coco"]) == ("in place", "not there")
        main(["check", "voc2012", "--root", str(root)])
        if HAS_TORCH:
            main([
                "train", "--data", "voc2012", "--root", str(root), "--network", "unet", "--convolutions", "same",
                "--width", "0.05", "--batch", "2", "--crop", "16", "16", "--steps", "2", "--validations", "1", "--device", "cpu",
                "--out", str(tmp_path / "run"),
            ])  # fmt: skip
            assert (tmp_path / "run/scores.json").is_file()
        for place, sentence in (("SegmentationObject", "is not there, but"), ("SegmentationClass", "files instead of")):
            next((root / "VOCdevkit/VOC2012" / place).iterdir()).unlink()
            with pytest.raises(SystemExit) as left:
                main(["download", "voc2012", "--root", str(root), "--check"])
            assert left.value.code == 3
            printed = capsys.readouterr()
            assert sentence in printed.out
            assert "1 of 8 checks failed" in printed.err


def test_nothing_is_fetched_before_the_terms_are_accepted_and_they_are_asked_for_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_isbi2012(tmp_path / "made/isbi2012")
    shown: list[str] = []
    with served("isbi2012", tmp_path / "made", tmp_path, monkeypatch) as asked:
        with pytest.raises(UsageError, match="its terms were not accepted, nothing was fetched"):
            download("isbi2012", tmp_path / "root", accept=lambda terms: bool(shown.append(terms)))
        assert "non-commercial image segmentation software" in shown[0]
        download("isbi2012", tmp_path / "root", accept=yes, patience=QUICK)
        (tmp_path / "root/isbi2012/train-labels.tif").unlink()
        download("isbi2012", tmp_path / "root", accept=lambda _: False, patience=QUICK)
        assert (tmp_path / "root/isbi2012/train-labels.tif").is_file()
        monkeypatch.setitem(SOURCES, "isbi2012", replace(SOURCES["isbi2012"], licence="Other terms."))
        (tmp_path / "root/isbi2012/train-labels.tif").unlink()
        with pytest.raises(UsageError, match="were not accepted"):
            download("isbi2012", tmp_path / "root", accept=lambda _: False, patience=QUICK)
    assert asked == ["/stacks", "/stacks"]


def test_the_first_checksum_is_kept_where_none_is_published_and_a_change_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, lines = tmp_path / "root", []
    make_isbi2012(tmp_path / "made/isbi2012")
    with served("isbi2012", tmp_path / "made", tmp_path, monkeypatch):
        download("isbi2012", root, accept=yes, patience=QUICK, say=lines.append)
    record = json.loads((root / "downloads/isbi2012.json").read_bytes())["parts"]["stacks"]
    data = (tmp_path / "site/ISBI-2012-challenge.zip").read_bytes()
    assert record["sha256"] == hashlib.sha256(data).hexdigest()
    assert f"no checksum is published; its SHA-256 is {record['sha256']}." in " ".join(lines)
    (root / "isbi2012/test-volume.tif").unlink()
    (root / "downloads/ISBI-2012-challenge.zip").write_bytes(data + b"\0")  # put there by hand, and another
    monkeypatch.setitem(
        SOURCES, "isbi2012", replace(SOURCES["isbi2012"], parts=(replace(SOURCES["isbi2012"].parts[0], size=len(data) + 1),))
    )
    download("isbi2012", root, accept=yes, patience=QUICK, say=lines.append)
    assert f"not {record['sha256']} as the last time" in lines[-2]


@pytest.mark.skipif(os.name == "nt", reason="signals of Unix")
def test_control_c_leaves_with_75_and_the_same_command_continues(tmp_path: Path) -> None:
    make_isbi2012(tmp_path / "isbi2012")
    data = pack(tmp_path / "stacks.zip", tmp_path, SOURCES["isbi2012"].parts[0].take).read_bytes()
    half = len(data) // 2

    def answer(visit: Visit) -> None:
        visit.serve(data, None if visit.start else half)
        if not visit.start:
            visit.wfile.flush()
            visit.done.wait(20)

    script = """
import sys
from dataclasses import replace
from perpixel.cli import main
from perpixel.download.sources import SOURCES
part = replace(SOURCES["isbi2012"].parts[0], urls=(sys.argv[2],))
SOURCES["isbi2012"] = replace(SOURCES["isbi2012"], parts=(part,))
main(["download", "isbi2012", "--root", sys.argv[1], "--accept-licence"])
"""
    part = tmp_path / "root/downloads/ISBI-2012-challenge.zip.part"
    with serving(a=answer) as (at, asked):
        command = [sys.executable, "-c", script, str(tmp_path / "root"), at("a")]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        deadline = time.monotonic() + 30
        while (not part.exists() or not part.stat().st_size) and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, printed = process.communicate(timeout=30)
        assert (process.returncode, printed.splitlines()[-1]) == (75, "perpixel: stopped; the same command continues.")
        came = part.stat().st_size
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert asked[1][1:] == (f"bytes={came}-", '"one"')
    assert (tmp_path / "root/isbi2012/test-volume.tif").read_bytes() == (tmp_path / "isbi2012/test-volume.tif").read_bytes()


def test_a_wrong_archive_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def hostile(visit: Visit) -> None:
        visit.serve((tmp_path / "hostile.zip").read_bytes())

    with zipfile.ZipFile(tmp_path / "hostile.zip", "w") as archive:
        archive.writestr("train-volume.tif", "fine")
        archive.writestr("train-labels.tif/../../../up", "not fine")
    with serving(a=hostile) as (at, _):
        part = replace(SOURCES["isbi2012"].parts[0], urls=(at("a"),))
        monkeypatch.setitem(SOURCES, "isbi2012", replace(SOURCES["isbi2012"], parts=(part,)))
        with pytest.raises(UntrustedFile, match=r"leads outside with '\.\.'"):
            download("isbi2012", tmp_path / "root", accept=yes, patience=QUICK)
    assert [path.name for path in (tmp_path / "root").iterdir()] == ["downloads"]
    assert not (tmp_path / "up").exists()


def test_a_set_behind_a_login_has_steps_then_is_unpacked_and_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake, root = tmp_path / "made", tmp_path / "root"
    make_cityscapes(fake / "cityscapes")
    for kind in ("labelIds", "instanceIds"):  # the fake's lindau has polygons alone
        known = fake / f"cityscapes/gtFine/val/frankfurt/frankfurt_000000_000294_gtFine_{kind}.png"
        (fake / f"cityscapes/gtFine/val/lindau/lindau_000001_000019_gtFine_{kind}.png").write_bytes(known.read_bytes())
    with served("cityscapes", fake, tmp_path, monkeypatch) as asked:
        steps = r"needs a login.*2\. download leftImg8bit_trainvaltest\.zip and gtFine_trainvaltest\.zip"
        with pytest.raises(DataError, match=steps):
            download("cityscapes", root, accept=yes)
        for name in ("leftImg8bit_trainvaltest.zip", "gtFine_trainvaltest.zip"):
            (root / "downloads" / name).write_bytes((tmp_path / "site" / name).read_bytes())
        assert {finding.problem for finding in download("cityscapes", root, accept=yes)} == {""}
        assert [len(open_dataset("cityscapes", root=root, split=split)) for split in ("train", "val")] == [3, 2]
        assert (root / "downloads/gtFine_trainvaltest.zip").is_file()  # what a person put there stays
        (root / "cityscapes/gtFine/val/frankfurt/frankfurt_000000_000294_gtFine_instanceIds.png").unlink()
        (root / "cityscapes/leftImg8bit/test/berlin/berlin_000000_000019_leftImg8bit.png").write_bytes(b"")
        problems = [finding.problem for finding in check_download("cityscapes", root) if finding.problem]
        assert [problem.removeprefix(f"{root}/cityscapes/") for problem in problems] == [
            "leftImg8bit/test/berlin/berlin_000000_000019_leftImg8bit.png: is empty",
            "gtFine/val/frankfurt/frankfurt_000000_000294_gtFine_instanceIds.png: is not there, but "
            f"{root}/cityscapes/leftImg8bit/val/frankfurt/frankfurt_000000_000294_leftImg8bit.png is",
        ]
    assert asked == []


def test_a_login_archive_with_another_checksum_is_refused(tmp_path: Path) -> None:
    (tmp_path / "downloads").mkdir()
    for part in SOURCES["cityscapes"].parts[:2]:
        (tmp_path / "downloads" / part.file).write_bytes(b"half of it")
    with pytest.raises(UntrustedFile, match=r"leftImg8bit_trainvaltest\.zip: its sha1 is .* instead of 2c0b77ce"):
        download("cityscapes", tmp_path, accept=yes)


def test_archives_inside_an_archive_are_unpacked_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake, root = tmp_path / "made", tmp_path / "root"
    for split in ("train", "val"):
        for name in (
            f"annotations/panoptic_{split}2017.json", f"annotations/panoptic_{split}2017/1.png", f"{split}2017/1.jpg",
            f"annotations/instances_{split}2017.json", f"annotations/stuff_{split}2017.json",
            f"annotations/stuff_{split}2017_pixelmaps/1.png",
        ):  # fmt: skip
            (fake / name).parent.mkdir(parents=True, exist_ok=True)
            (fake / name).write_bytes(b"x")
    with served("coco", fake, tmp_path, monkeypatch):
        findings = download("coco", root, accept=yes, parts=["panoptic", "val", "stuff"], patience=QUICK)
    assert {finding.problem for finding in findings} == {""}
    assert sorted(path.name for path in (root / "annotations").iterdir()) == [
        "panoptic_train2017", "panoptic_train2017.json", "panoptic_val2017", "panoptic_val2017.json",
        "stuff_train2017.json", "stuff_train2017_pixelmaps", "stuff_val2017.json", "stuff_val2017_pixelmaps"]  # fmt: skip
    assert state(SOURCES["coco"], root) == "partly: val, panoptic, stuff"


def test_wrong_names_get_the_nearest_one() -> None:
    with pytest.raises(UnknownName, match="did you mean 'voc2012'"):
        find_set("voc2021")
    with pytest.raises(UnknownName, match="no part of coco 'panoptics'; did you mean 'panoptic'"):
        choose_parts(*find_set("coco_panoptic"), ["panoptics"])


def test_every_published_set_of_ours_can_be_downloaded() -> None:
    served_here = [name for published in SOURCES.values() for name in published.datasets]
    assert {*ON_DISK} <= {*served_here}
    assert len({*served_here}) == len(served_here)
    assert {row.name for row in rows()} == {*SOURCES}


@every_part
def test_the_table_is_sound(part: Part) -> None:
    assert part.holds
    assert (part.put is None) != (not part.take)
    assert all(url.startswith(("https://", "http://")) and " " not in url for url in part.urls)
    assert len({*part.urls}) == len(part.urls)
    if part.digest is not None:
        algorithm, _, value = part.digest.partition(":")
        assert len(value) == {"md5": 32, "sha1": 40, "sha256": 64}[algorithm]
        assert int(value, 16)
        assert part.digest_source
    here = places(part)
    assert here
    for rule in part.holds:  # the counted files lie below a path that the part fills
        path = rule.pattern if isinstance(rule, Files) else rule.path
        if not path.startswith("cityscapes/leftImg8bit/"):  # labels are counted by the pictures that they belong to
            assert any(path == where or path.startswith(f"{where}/") for where in here)
