"""Pictures that lie in a store: fsspec's memory, and a web server on this machine."""

import functools
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from fakes import draw_sample, make_folder, make_model
from PIL import Image

import perpixel
from perpixel.errors import DataError, UsageError
from perpixel.images import PICTURE_SUFFIXES, encode_image, read_labels, write_image
from perpixel.prediction.stores import is_address, pictures_at, read_at

fsspec = pytest.importorskip("fsspec", reason="fsspec is not installed")


@pytest.fixture
def store() -> Iterator[object]:
    memory = fsspec.filesystem("memory")
    for place in ("/bucket/a.png", "/bucket/deep/b.png", "/bucket/notes.txt"):
        memory.pipe(place, encode_image(Image.fromarray(draw_sample(len(place))[0]), ".png"))
    yield memory
    memory.rm("/bucket", recursive=True)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    (tmp_path / "www").mkdir()
    write_image(tmp_path / "www", "street.png", draw_sample(5)[0])

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    served = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(tmp_path / "www")))
    threading.Thread(target=served.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{served.server_port}"
    served.shutdown()
    served.server_close()


def test_an_address_is_told_from_a_path() -> None:
    assert is_address("s3://bucket/a.png")
    assert is_address("https://host/a.png")
    assert not any(map(is_address, ("a.png", "C:\\a.png", "/a//b", "-", "a:b/c")))


def test_files_folders_and_patterns(store: object) -> None:
    def found(address: str) -> list[tuple[str, str]]:
        return list(pictures_at(address, PICTURE_SUFFIXES))

    assert found("memory://bucket") == [("memory:///bucket/a.png", "a"), ("memory:///bucket/deep/b.png", "deep/b")]
    assert found("memory://bucket/deep/b.png") == [("memory:///bucket/deep/b.png", "b")]
    assert found("memory://bucket/*.png") == [("memory:///bucket/a.png", "a")]
    with pytest.raises(DataError, match="holds no pictures"):
        found("memory://bucket/*.jpg")


def test_masks_are_those_of_the_files_here(store: object, tmp_path: Path, command) -> None:
    root = make_folder(tmp_path / "data", train=1, val=1)
    make_model(tmp_path / "run", perpixel.open_dataset(root, split="val").classes)
    for name in ("a", "deep/b"):
        write_image(tmp_path / "here", f"{name}.png", np.asarray(draw_sample(len(f"/bucket/{name}.png"))[0]))
    store.pipe("/bucket/broken.png", b"\x89PNG nothing")
    words = ("predict", tmp_path / "run", "--device", "cpu", "--out")
    assert command(*words, tmp_path / "one", tmp_path / "here")[0] == 0
    code, _, err = command(*words, tmp_path / "other", "memory://bucket")
    assert code == 3
    assert "memory:///bucket/broken.png" in err
    for name in ("a", "deep/b"):
        ours, theirs = (read_labels(tmp_path / f"{out}/masks/{name}.png") for out in ("one", "other"))
        assert np.array_equal(ours, theirs)
    code, _, err = command(*words, tmp_path / "other", "memory://bucket")
    assert "0 predicted, 2 done before, 1 failed" in err
    code, _, err = command(*words, "memory://bucket/out", "memory://bucket/a.png")
    assert (code, "name a folder, and copy it to the store" in err) == (2, True)


def test_a_web_server(server: str, tmp_path: Path, command) -> None:
    pytest.importorskip("aiohttp", reason="aiohttp, by which fsspec reads web servers, is not installed")
    assert list(pictures_at(f"{server}/street.png?size=full", PICTURE_SUFFIXES)) == [(f"{server}/street.png?size=full", "street")]
    assert read_at(f"{server}/street.png") == (tmp_path / "www/street.png").read_bytes()
    with pytest.raises(DataError, match="there is no such file"):
        read_at(f"{server}/none.png")
    root = make_folder(tmp_path / "data", train=1, val=1)
    make_model(tmp_path / "run", perpixel.open_dataset(root, split="val").classes)
    words = ("predict", tmp_path / "run", f"{server}/street.png", f"{server}/none.png", "--out", tmp_path / "out")
    code, _, err = command(*words, "--device", "cpu")
    assert (code, "none.png: there is no such file" in err) == (3, True)
    assert (tmp_path / "out/masks/street.png").exists()


def test_stores_that_cannot_be_read() -> None:
    with pytest.raises(UsageError, match="use s3://"):
        read_at("nosuch://bucket/a.png")
    with pytest.raises(DataError, match="there is no such file"):
        read_at("memory://bucket/none.png")
    with pytest.raises((UsageError, DataError)):
        read_at("s3://bucket/a.png")  # without its package, or without keys
