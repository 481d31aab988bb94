"""The service: the bytes of `perpixel predict`, one sentence for each mistake, limits, deadlines, a line, stop and reload."""

from __future__ import annotations

import asyncio
import io
import json
import os
import random
import shutil
import signal
import struct
import subprocess
import sys
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fakes import draw_sample, make_model
from PIL import Image
from running_service import Client, head, received, serving

from perpixel.classes import ClassTable
from perpixel.cli import main
from perpixel.datasets import open_dataset
from perpixel.errors import Interrupted, UsageError
from perpixel.images import encode_labels
from perpixel.networks import build
from perpixel.prediction.inference import PLAIN
from perpixel.serve import service as service_module
from perpixel.serve.limits import Limits
from perpixel.serve.models import Models, ServedModel, names_of
from perpixel.serve.pairs import Pairs
from perpixel.serve.server import Running, address_of, listen
from perpixel.serve.service import Service
from perpixel.weights.model_file import ModelCard, load, save_model

CLASSES = ClassTable.of(["ground", "box", "disc"])


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two models, two pictures, and the files that `perpixel predict` and `perpixel convert` make of them."""
    root = tmp_path_factory.mktemp("place")
    make_model(root / "street", CLASSES, seed=0)
    make_model(root / "cells", CLASSES, seed=1)
    (root / "set/images").mkdir(parents=True)
    for number, name in enumerate(("a.png", "b.jpg")):
        Image.fromarray(draw_sample(number, (40, 56))[0]).save(root / "set/images" / name)
    for run in ("street", "cells"):
        main(["predict", str(root / run), str(root / "set/images"), "--scores", "--out", str(root / f"{run}-predicted")])
    CLASSES.write_csv(root / "set/classes.csv")
    os.symlink(root / "street-predicted/masks", root / "set/masks")
    main(["convert", str(root / "set"), str(root / "coco"), "--to", "coco"])
    return root


@pytest.fixture(scope="module")
def client(place: Path) -> Iterator[Client]:
    with serving([place / "street", place / "cells"], Limits(megabytes=0.2, megapixels=0.1, timeout=20)) as client:
        yield client


@pytest.fixture(scope="module")
def picture(place: Path) -> bytes:
    return (place / "set/images/a.png").read_bytes()


class TestAnswers:
    @pytest.mark.parametrize("run", ["street", "cells"])
    @pytest.mark.parametrize(("form", "folder", "suffix"), [
        ("mask", "masks", ".png"), ("overlay", "overlays", ".png"), ("scores", "scores", ".npy"),
    ])  # fmt: skip
    def test_they_are_the_files_of_predict(
        self, place: Path, client: Client, run: str, form: str, folder: str, suffix: str
    ) -> None:
        for name in ("a.png", "b.jpg"):
            answer = client.predict((place / "set/images" / name).read_bytes(), f"?model={run}&as={form}")
            expected = (place / f"{run}-predicted" / folder / name).with_suffix(suffix).read_bytes()
            assert (answer.status, answer.body) == (200, expected)

    def test_a_mask_of_the_first_model_without_a_query(self, place: Path, client: Client, picture: bytes) -> None:
        answer = client.predict(picture)
        assert answer.body == (place / "street-predicted/masks/a.png").read_bytes()
        assert answer.headers["content-type"] == "image/png"
        assert answer.headers["cache-control"] == "no-store"

    def test_coco_json_is_that_of_convert(self, place: Path, client: Client, picture: bytes) -> None:
        of_splits = [json.loads(path.read_text()) for path in (place / "coco/annotations").iterdir()]
        of_set, row = next((part, row) for part in of_splits for row in part["images"] if row["file_name"] == "a.png")
        entries = [entry for entry in of_set["annotations"] if entry["image_id"] == row["id"]]
        served = client.predict(picture, "?as=coco&name=a.png").json
        assert served["categories"] == of_set["categories"]
        assert served["images"] == [{**row, "id": 1}]
        assert [{**entry, "id": 0, "image_id": 0} for entry in served["annotations"]] == [
            {**entry, "id": 0, "image_id": 0} for entry in entries
        ]

    def test_the_models_tell_what_masks_hold(self, client: Client) -> None:
        first, second = client.ask("GET", "/models").json
        assert (first["name"], second["name"]) == ("street", "cells")
        assert [entry["name"] for entry in first["classes"]] == ["ground", "box", "disc"]
        assert first["classes"][1] == {"name": "box", "value": 1, "colour": "#008000"}
        assert (first["void"], first["forms"]) == (255, ["mask", "overlay", "coco", "scores"])

    def test_what_reading_leaves_out_is_told(self, client: Client) -> None:
        file = io.BytesIO()
        Image.new("RGBA", (20, 20), (9, 9, 9, 100)).save(file, "PNG")
        answer = client.predict(file.getvalue())
        assert answer.status == 200
        assert answer.headers["perpixel-left-out"].startswith("The picture is transparent at row 0, column 0 (400 pixels")

    def test_the_description_for_programs_names_every_address(self, client: Client) -> None:
        paths = client.ask("GET", "/openapi.json").json["paths"]
        assert paths.keys() == {"/predict", "/models", "/health", "/ready", "/metrics"}
        assert {"200", "400", "404", "408", "413", "415", "429", "503"} <= paths["/predict"]["post"]["responses"].keys()

    def test_counts_are_told_to_prometheus(self, client: Client, picture: bytes) -> None:
        client.predict(picture, "?model=nothing")
        before, after = (self._counts(client, picture) for _ in range(2))
        for name in ('perpixel_answers_total{path="/predict",status="200"}', 'perpixel_picture_seconds_count{model="street"}'):
            assert after[name] == before[name] + 1
        assert after['perpixel_answers_total{path="/predict",status="404"}'] >= 1
        assert after["perpixel_waiting"] == 0
        assert after["perpixel_seconds_a_picture"] > 0

    def _counts(self, client: Client, picture: bytes) -> dict[str, float]:
        client.predict(picture)
        lines = client.ask("GET", "/metrics").body.decode().splitlines()
        return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))}


def png(width: int, height: int, rows: bytes = b"") -> bytes:
    """A grey PNG whose header says this size, of these compressed rows."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows or zlib.compress(b"")) + chunk(b"IEND", b"")


class TestRefusals:
    @pytest.mark.parametrize(("query", "body", "headers", "status", "sentence"), [
        ("", b"", {}, 400, "the request has no body"),
        ("", b"hello", {}, 400, "the picture: is no PNG, JPEG, WEBP, TIFF, BMP or GIF picture"),
        ("", png(20, 20), {}, 400, "the picture: cannot be read"),
        ("", png(20, 0), {}, 400, "the picture: "),
        ("?as=mesk", b"x", {}, 400, "no form (as) 'mesk'; did you mean 'mask'?"),
        ("?as=instances", b"x", {}, 400, "no form (as) 'instances'"),
        (f"?name={'n' * 300}", b"x", {}, 400, "name: string should have at most 255 characters"),
        ("?model=stret", b"x", {}, 404, "no model 'stret'; did you mean 'street'? Known: cells, street."),
        ("", b"\x89PNG" + bytes(200_001), {}, 413, "the picture: is longer than the 0.2 MB that are served"),
        ("", png(401, 250), {}, 413, "the picture: 250x401 pixels are more than the 0.1 megapixels"),
        ("", png(2**31 - 1, 2**31 - 1), {}, 413, "pixels are more than"),
        ("", b"x", {"Content_Type": "text/plain"}, 415, "the Content-Type 'text/plain' is no picture"),
        ("", b"x", {"Content_Encoding": "gzip"}, 415, "the Content-Encoding 'gzip' is not read"),
        ("", b"x", {"Host": "evil.example"}, 403, "the host 'evil.example' is not served"),
        ("", b"x", {"Origin": "http://evil.example"}, 403, "requests of the page 'http://evil.example' are not answered"),
    ])  # fmt: skip
    def test_a_mistake_is_one_sentence(
        self, client: Client, query: str, body: bytes, headers: dict[str, str], status: int, sentence: str
    ) -> None:
        answer = client.ask("POST", f"/predict{query}", body, **{"Content_Type": "image/png", **headers})
        assert (answer.status, answer.headers["content-type"]) == (status, "application/json"), answer
        assert sentence in answer.error

    def test_pixels_are_judged_before_they_are_decoded(self, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
        decoded: list[Any] = []
        monkeypatch.setattr(service_module, "read_image", decoded.append)
        bomb = png(300, 400, zlib.compress(bytes(301 * 400)))
        assert (client.predict(bomb).status, decoded) == (413, [])

    def test_a_body_without_a_length_is_limited_too(self, client: Client) -> None:
        with client.connect() as connection:
            connection.sendall(head(0).replace(b"Content-Length: 0", b"Transfer-Encoding: chunked"))
            piece = b"10000\r\n" + bytes(0x10000) + b"\r\n"
            connection.sendall(piece * 4 + b"0\r\n\r\n")
            assert received_status(connection) == 413

    @pytest.mark.parametrize(("method", "path", "status"), [
        ("GET", "/nothing", 404), ("GET", "/predict", 405), ("PUT", "/models", 405),
    ])  # fmt: skip
    def test_other_addresses_and_methods(self, client: Client, method: str, path: str, status: int) -> None:
        answer = client.ask(method, path)
        assert answer.status == status
        assert answer.error.startswith(f"{method} {path}: is no")

    def test_broken_http_is_no_fault_of_the_server(self, client: Client) -> None:
        with client.connect() as connection:
            connection.sendall(head(0).replace(b"Content-Length: 0", b"Transfer-Encoding: chunked") + b"ZZ\r\n")
            assert received(connection).startswith(b"HTTP/1.1 400 ")

    def test_hostile_bodies_never_make_it_fail(self, client: Client, place: Path) -> None:
        """Random bytes, files cut short, and files with wrong bytes; the thousands are in benchmarks/serve.py."""
        chance, files = random.Random(1), [path.read_bytes() for path in sorted((place / "set/images").iterdir())]
        bodies = [chance.randbytes(chance.randrange(1, 300)) for _ in range(10)]
        for file in files:
            bodies += [file[: chance.randrange(1, len(file))] for _ in range(15)]
            for _ in range(25):
                wrong = bytearray(file)
                for _ in range(chance.randrange(1, 6)):
                    wrong[chance.randrange(len(wrong))] = chance.randrange(256)
                bodies.append(bytes(wrong))
        statuses = {client.predict(body, f"?as={chance.choice(['mask', 'overlay', 'coco'])}").status for body in bodies}
        assert statuses <= {200, 400, 413}
        assert 400 in statuses

    @pytest.mark.parametrize("size", [(1, 1), (1, 90), (90, 1), (3, 5)])
    def test_the_smallest_pictures_are_answered(self, client: Client, size: tuple[int, int]) -> None:
        file = io.BytesIO()
        Image.new("RGB", size).save(file, "PNG")
        mask = Image.open(io.BytesIO(client.predict(file.getvalue()).body))
        assert mask.size == size


def received_status(connection: Any) -> int:
    return int(connection.recv(4096).split(b" ", 2)[1])


class TestToken:
    def test_only_who_knows_it_is_answered(self, place: Path, picture: bytes) -> None:
        with serving([place / "street"], token="secret-token") as client:
            for headers in ({}, {"Authorization": "Bearer secret-tokem"}, {"Authorization": "Bearer \xe9"}):
                answer = client.predict(picture, **headers)
                assert (answer.status, answer.headers["www-authenticate"]) == (401, "Bearer")
                assert "Authorization: Bearer TOKEN" in answer.error
            assert client.predict(picture, Authorization="Bearer secret-token").status == 200
            open_to_all = {path: client.ask("GET", path).status for path in ("/health", "/ready", "/models", "/metrics")}
            assert open_to_all == {"/health": 200, "/ready": 200, "/models": 401, "/metrics": 401}

    @pytest.mark.parametrize("text", ["", "two words", "\u00e9"])
    def test_a_file_without_a_token_is_refused(self, tmp_path: Path, command: Any, text: str) -> None:
        (tmp_path / "token").write_text(text)
        code, _, err = command("serve", "run", "--token-file", tmp_path / "token", "--port", 0)
        assert (code, err.count("\n")) == (3, 1)
        assert "token: is no token; write one line" in err


class Gate:
    """Holds the network before each picture until the gate is opened."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.open, self.reached, self.pictures = threading.Event(), threading.Semaphore(0), 0
        begin = ServedModel.begin

        def gated(model: ServedModel, image: Any, form: str) -> Any:
            self.pictures += 1
            self.reached.release()
            assert self.open.wait(30)
            return begin(model, image, form)

        monkeypatch.setattr(ServedModel, "begin", gated)


class Asking(threading.Thread):
    """A client in a thread of its own; `result` waits for its answer."""

    def __init__(self, client: Client, picture: bytes) -> None:
        super().__init__()
        self._client, self._picture = client, picture
        self.start()

    def run(self) -> None:
        self._answer = self._client.predict(self._picture)

    @property
    def result(self) -> Any:
        self.join(60)
        return self._answer


def wait_until(true: Any) -> None:
    """Waits for a state of the service that no event tells."""
    for _ in range(3000):
        if true():
            return
        threading.Event().wait(0.01)
    raise AssertionError("it never came so far")


class TestLine:
    def test_who_finds_it_full_is_told_when_to_come_again(
        self, place: Path, picture: bytes, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with serving([place / "street"], Limits(queue=2)) as client:
            assert client.service is not None
            line = client.service._line
            gate = Gate(monkeypatch)
            first = Asking(client, picture)
            gate.reached.acquire()
            second = Asking(client, picture)
            wait_until(lambda: line.waiting == 2)
            line.seconds = 3.0
            refused = client.predict(picture)
            assert (refused.status, refused.headers["retry-after"]) == (429, "3")  # half of 2 pictures of 3 s
            gate.open.set()
            assert (first.result.status, second.result.status, client.predict(picture).status) == (200, 200, 200)

    def test_who_would_wait_longer_than_the_timeout_is_refused_at_once(self, place: Path, picture: bytes) -> None:
        with serving([place / "street"], Limits(timeout=5)) as client:
            assert client.service is not None
            line = client.service._line
            line.waiting, line.seconds = 2, 3.0
            assert client.predict(picture).status == 429
            line.waiting = 0

    def test_a_client_that_leaves_costs_no_network(self, place: Path, picture: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
        with serving([place / "street"]) as client:
            assert client.service is not None
            line = client.service._line
            gate = Gate(monkeypatch)
            first = Asking(client, picture)
            gate.reached.acquire()
            with client.connect() as connection:
                connection.sendall(head(len(picture)) + picture)
                wait_until(lambda: line.waiting == 2)
            wait_until(lambda: line.waiting == 1)
            gate.open.set()
            assert (first.result.status, client.predict(picture).status, gate.pictures) == (200, 200, 2)

    def test_an_answer_that_takes_too_long_is_given_up(
        self, place: Path, picture: bytes, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with serving([place / "street"], Limits(timeout=0.5)) as client:
            gate = Gate(monkeypatch)
            answer = client.predict(picture)
            gate.open.set()
            assert answer.status == 503
            assert "was not answered within 0.5 s" in answer.error


@pytest.fixture(scope="module")
def hasty(place: Path) -> Iterator[Client]:
    with serving([place / "street"], Limits(timeout=0.5)) as client:
        yield client


class TestSlowClients:
    @pytest.mark.parametrize(("sent", "answer"), [
        (b"", b""), (b"POST /predict HT", b""), (head(100)[:-10], b""), (head(100) + b"half", b"HTTP/1.1 408 "),
    ])  # fmt: skip
    def test_a_request_that_stops_in_the_middle_is_closed(self, hasty: Client, sent: bytes, answer: bytes) -> None:
        with hasty.connect() as connection:
            connection.sendall(sent)
            assert received(connection)[:13] == answer

    def test_a_connection_that_asks_nothing_more_is_closed(self, hasty: Client, picture: bytes) -> None:
        with hasty.connect() as connection:
            connection.sendall(head(len(picture)) + picture)
            assert received(connection).startswith(b"HTTP/1.1 200 ")

    def test_a_client_that_does_not_read_is_left(self, hasty: Client, picture: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
        assert hasty.service is not None
        monkeypatch.setattr(service_module, "encode_answer", lambda *_: bytes(20_000_000))
        monkeypatch.setattr("perpixel.serve.exchange.RATE", 1 << 30)
        with hasty.connect() as connection:
            connection.sendall(head(len(picture)) + picture)
            before = hasty.service.metrics.answers["/predict", 200]
            wait_until(lambda: hasty.service.metrics.answers["/predict", 200] > before)
            assert len(received(connection)) < 20_000_000

    def test_others_are_answered_beside_them(self, hasty: Client, picture: bytes) -> None:
        connections = [hasty.connect() for _ in range(40)]
        for connection in connections:
            connection.sendall(head(1000) + b"slowly")
        assert {hasty.predict(picture).status for _ in range(3)} == {200}
        for connection in connections:
            connection.close()

    def test_an_answer_that_comes_before_the_body_ended_arrives(self, hasty: Client) -> None:
        """A connection that is closed while the client still sends would lose it."""
        with hasty.connect() as connection:
            connection.sendall(head(2_000_000, "/predict?model=nothing") + bytes(2_000_000))
            assert received(connection).startswith(b"HTTP/1.1 404 ")


class TestProcess:
    """`perpixel serve` as a command."""

    def test_signals_reload_and_stop_it_without_a_lost_request(self, place: Path, tmp_path: Path, picture: bytes) -> None:
        run = tmp_path / "run"
        run.mkdir()
        (run / "model.safetensors").write_bytes((place / "street/model.safetensors").read_bytes())
        words = [sys.executable, "-m", "perpixel", "serve", str(run), "--port", "0", "--device", "cpu"]
        process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            line = process.stdout.readline()
            assert line.endswith(" serves run. Ctrl-C stops.\n")
            client = Client(int(line.split()[0].rpartition(":")[2]))
            assert client.predict(picture).body == (place / "street-predicted/masks/a.png").read_bytes()
            for content, sentences, of in (
                (b"damaged", ["run: the former model stays, because ", "0 of 1 models were loaded again."], "street"),
                ((place / "cells/model.safetensors").read_bytes(), ["1 of 1 models were loaded again."], "cells"),
            ):
                (run / "model.safetensors").write_bytes(content)
                process.send_signal(signal.SIGHUP)
                for sentence in sentences:
                    assert process.stderr.readline().startswith(sentence)
                assert client.predict(picture).body == (place / f"{of}-predicted/masks/a.png").read_bytes()
            with client.connect() as connection:
                connection.sendall(head(len(picture)) + picture[:100])
                wait_until(lambda: client.ask("GET", "/metrics").status == 200)
                process.send_signal(signal.SIGTERM)
                wait_until(lambda: client.ask("GET", "/ready").status == 503)
                assert client.predict(picture).status == 503
                connection.sendall(picture[100:])
                assert received(connection).startswith(b"HTTP/1.1 200 ")
            assert process.wait(60) == 0
            assert process.stderr.read() == "Stopped; every request that had begun was answered.\n"
        finally:
            process.kill()
            process.communicate()


def test_models_have_the_last_parts_of_their_paths_as_names() -> None:
    assert [*names_of(["runs/a", "runs/b/model.safetensors", "c.onnx"])] == ["a", "b", "c.onnx"]
    assert [*names_of(["x/best", "y/best", "z"])] == ["x/best", "y/best", "z"]
    with pytest.raises(UsageError, match="x: is given twice; name each run once"):
        names_of(["x", "x"])


def test_a_port_that_is_taken_is_told() -> None:
    listener = listen("127.0.0.1", 0)
    port = listener.getsockname()[1]
    assert address_of(listener) == f"http://127.0.0.1:{port}"
    with pytest.raises(UsageError, match=rf"127.0.0.1:{port}: cannot be served \(.*\); give another --port"):
        listen("127.0.0.1", port)
    listener.close()


@pytest.mark.parametrize("settings", [{"megabytes": 0}, {"megapixels": -1}, {"timeout": float("nan")}, {"queue": 0}])
def test_a_limit_that_lets_nothing_through_is_refused(settings: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="must be above 0"):
        Limits(**settings)


def test_objects_are_the_files_of_predict(place: Path, picture: bytes, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network, classes = build("mask_rcnn", 2, width=0.0625), ClassTable.of(["background", "cell"])
    card = ModelCard("mask_rcnn", {"width": 0.0625}, classes.to_json(), {}, 1.0, 0, {}, "", "")
    save_model(tmp_path / "objects", network.state_dict(), card)
    main(["predict", str(tmp_path / "objects"), str(place / "set/images/a.png"), "--out", str(tmp_path / "predicted")])
    with serving([tmp_path / "objects"]) as client:
        assert client.ask("GET", "/models").json[0]["forms"] == ["mask", "overlay", "coco", "instances"]
        for form, file in (("instances", "instances/a.json"), ("overlay", "overlays/a.png"), ("mask", "masks/a.png")):
            assert client.predict(picture, f"?as={form}").body == (tmp_path / "predicted" / file).read_bytes()
        assert client.predict(picture, "?as=coco").json["categories"] == [{"id": 2, "name": "cell", "supercategory": ""}]


@pytest.mark.slow
def test_an_exported_file_is_served_too(place: Path, picture: bytes, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="the extra export is not installed")
    shutil.copytree(place / "street", tmp_path / "street")
    main(["export", str(tmp_path / "street")])
    with serving([tmp_path / "street/model.onnx"]) as client:
        assert client.ask("GET", "/models").json[0]["forms"] == ["mask", "overlay", "coco"]
        assert client.predict(picture).body == (place / "street-predicted/masks/a.png").read_bytes()


def test_a_second_stop_waits_for_nobody(place: Path) -> None:
    async def stopped_twice() -> None:
        listener = listen("127.0.0.1", 0)
        port, service = listener.getsockname()[1], Service(models)
        running = Running(service, listener, print)
        run = asyncio.ensure_future(running.run())
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(head(100) + b"half")
        while service.idle.is_set():
            await asyncio.sleep(0.01)
        running.stop()
        await asyncio.sleep(0)
        assert not run.done()
        running.stop()
        with pytest.raises(Interrupted, match="stopped; requests that had begun were not answered"):
            await run
        writer.close()

    models = Models([str(place / "street")], load, PLAIN)
    asyncio.run(asyncio.wait_for(stopped_twice(), 30))


def test_a_reload_that_fails_in_any_way_keeps_the_former_models(place: Path, tmp_path: Path) -> None:
    opened: list[str] = []

    def load_once(run: str) -> Any:
        opened.append(run)
        if len(opened) > 1:
            raise [OSError(5, "Input/output error", run), ValueError("a bug"), MemoryError()][len(opened) - 2]
        return load(run)

    models = Models([str(place / "street")], load_once, PLAIN)
    former = models.named("street")
    for reason in ("street: Input/output error.", "perpixel failed (ValueError: a bug).", "needs more memory than there is"):
        (sentence,) = models.reload()
        assert sentence.startswith("street: the former model stays, because ")
        assert reason in sentence
        assert models.named(None) is former


class TestPairs:
    """Corrected masks, kept as a data set."""

    def test_a_kept_pair_is_a_data_set_to_train_on(self, place: Path, picture: bytes, tmp_path: Path) -> None:
        folder = tmp_path / "kept"
        mask = np.zeros((40, 56), np.uint8)
        mask[:, 20:] = 2
        with serving([place / "street"], pairs=Pairs(folder, CLASSES)) as client:
            assert client.ask("GET", "/models").json[0]["saves"]
            for name, kept in (("a.png", "a"), ("b.c.jpg", "b.c")):
                assert self._keep(client, name, picture, encode_labels(mask, CLASSES)).json == {"name": kept}
        dataset = open_dataset(str(folder), split="val")
        assert dataset.classes.names == CLASSES.names
        sample = next(dataset.sample(index) for index in range(len(dataset)))
        assert np.array_equal(sample.labels, mask)
        assert (folder / "images/a.png").read_bytes() == picture
        assert sorted(path.name for path in (folder / "masks").iterdir()) == ["a.png", "b.c.png"]

    def _keep(self, client: Client, name: str, picture: bytes, mask: bytes, query: str = "") -> Any:
        return client.ask("POST", f"/pairs?name={name}&picture={len(picture)}{query}", picture + mask, Content_Type="image/png")

    def test_nothing_is_replaced_and_mistakes_leave_nothing(self, place: Path, picture: bytes, tmp_path: Path) -> None:
        folder, sound = tmp_path / "kept", encode_labels(np.zeros((40, 56), np.uint8), CLASSES)
        with serving([place / "street"], pairs=Pairs(folder, CLASSES)) as client:
            assert self._keep(client, "a.jpg", picture, sound).status == 200
            before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
            for name, mask, query, status, sentence in (
                ("a.png", sound, "", 409, "the name 'a': a.png is there already; give another name."),
                ("..", sound, "", 400, "the name '..': is no file name"),
                (".hidden", sound, "", 400, "the name '.hidden': is no file name"),
                ("b", encode_labels(np.zeros((9, 9), np.uint8), CLASSES), "", 400, "the mask: is 9x9, and the picture 40x56"),
                ("b", encode_labels(np.full((40, 56), 255, np.uint8), CLASSES)[:-40], "", 400, "the picture: cannot be read"),
                ("b", encode_labels(np.full((40, 56), 9, np.uint8), ClassTable.of("abcdefghij")), "", 400, "the mask: value 9"),
                ("b", b"", "", 400, "so no mask follows; send both files."),
                ("b", sound, "&model=stret", 404, "no model 'stret'; did you mean 'street'?"),
            ):
                answer = self._keep(client, name, picture, mask, query)
                assert (answer.status, sentence in answer.error) == (status, True), answer
            assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before

    def test_a_folder_of_other_classes_is_refused(self, tmp_path: Path) -> None:
        ClassTable.of(["cat", "dog"]).write_csv(tmp_path / "classes.csv")
        with pytest.raises(UsageError, match="holds masks of the classes cat, dog, and the model has ground, box, disc"):
            Pairs(tmp_path, CLASSES)
        with pytest.raises(UsageError, match=r"classes.csv: is a file; name a folder for corrected masks"):
            Pairs(tmp_path / "classes.csv", CLASSES)

    def test_without_a_folder_none_are_taken(self, client: Client, picture: bytes) -> None:
        assert not client.ask("GET", "/models").json[0]["saves"]
        assert self._keep(client, "a", picture, picture).status == 404


def test_a_bug_is_told_as_such(
    place: Path, picture: bytes, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(*_: object) -> bytes:
        raise ValueError("a bug")

    with serving([place / "street"]) as client:
        monkeypatch.setattr(service_module, "encode_answer", fails)
        answer = client.predict(picture)
        assert (answer.status, answer.error) == (500, "perpixel failed; the person who serves sees where.")
    assert "ValueError: a bug" in capsys.readouterr().err
