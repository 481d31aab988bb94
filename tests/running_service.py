"""A service in a thread of the test, and a client that speaks HTTP as tests want it."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from perpixel.prediction.inference import PLAIN
from perpixel.serve.limits import Limits
from perpixel.serve.models import Models
from perpixel.serve.server import Running, listen
from perpixel.serve.service import Service
from perpixel.weights.model_file import load


@dataclass(frozen=True)
class Answer:
    status: int
    body: bytes
    headers: dict[str, str] = field(repr=False)

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> str:
        """The sentence of a refusal."""
        assert set(self.json) == {"error"}
        sentence: str = self.json["error"]
        return sentence


@dataclass
class Client:
    """Asks a service. `started` is the service in its thread."""

    port: int
    started: Running | None = None
    service: Service | None = None
    said: list[str] = field(default_factory=list)

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
            answer = connection.getresponse()
            return Answer(answer.status, answer.read(), {name.lower(): value for name, value in answer.getheaders()})
        finally:
            connection.close()

    def predict(self, picture: bytes, query: str = "", **headers: str) -> Answer:
        return self.ask("POST", f"/predict{query}", picture, Content_Type="image/png", **headers)

    def connect(self) -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", self.port))
        connection.settimeout(30)
        return connection


def head(length: int, path: str = "/predict") -> bytes:
    """The head of a request with a body of `length` bytes."""
    return f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\nContent-Length: {length}\r\n\r\n".encode()


def received(connection: socket.socket) -> bytes:
    """All bytes until the other side closes."""
    data = b""
    try:
        while piece := connection.recv(1 << 16):
            data += piece
    except ConnectionResetError:
        pass
    return data


@contextmanager
def serving(runs: Sequence[Path | str], limits: Limits | None = None, **settings: Any) -> Iterator[Client]:
    """Serves runs on a free port, until the block ends."""
    limits = limits or Limits()
    models = Models([str(run) for run in runs], load, PLAIN)
    listener = listen("127.0.0.1", 0, limits.timeout)
    client = Client(listener.getsockname()[1])
    begun, loops = threading.Event(), list[asyncio.AbstractEventLoop]()

    async def run() -> None:
        client.service = Service(models, limits, **settings)
        client.started = Running(client.service, listener, client.said.append)
        loops.append(asyncio.get_running_loop())
        begun.set()
        await client.started.run()

    thread = threading.Thread(target=asyncio.run, args=(run(),))
    thread.start()
    begun.wait()
    try:
        yield client
    finally:
        assert client.started is not None
        loops[0].call_soon_threadsafe(client.started.stop)
        thread.join(60)
        assert not thread.is_alive(), "the service does not stop"
