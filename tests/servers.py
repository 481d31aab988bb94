"""A web server on this machine whose answers a test writes: it breaks off, lies, stalls and redirects as real ones do."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Answer = Callable[["Visit"], None]


class Visit(BaseHTTPRequestHandler):
    """One request. `start` is the first byte that is asked for; `send` answers with a status, headers and some bytes."""

    answers: dict[str, Answer]
    asked: list[tuple[str, str | None, str | None]]
    done: threading.Event

    def do_GET(self) -> None:
        self.asked.append((self.path, self.headers.get("Range"), self.headers.get("If-Range")))
        self.close_connection = True
        with suppress(OSError):  # whoever asked may have left
            self.answers[self.path](self)

    @property
    def start(self) -> int:
        match = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        return int(match[1]) if match else 0

    def send(self, status: int, body: bytes = b"", **headers: object) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        self.wfile.write(body)

    def serve(self, data: bytes, upto: int | None = None, etag: str | None = '"one"', ranges: bool = True) -> None:
        """`data` as an honest server gives it, but the line breaks before byte `upto`."""
        start = self.start if ranges and self.headers.get("If-Range") in (None, etag) else 0
        tag = {} if etag is None else {"ETag": etag}
        if start >= len(data) > 0:
            self.send(416, Content_Range=f"bytes */{len(data)}")
        elif start:
            where = f"bytes {start}-{len(data) - 1}/{len(data)}"
            self.send(206, data[start:upto], Content_Length=len(data) - start, Content_Range=where, **tag)
        else:
            self.send(200, data[:upto], Content_Length=len(data), **tag)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving(**answers: Answer) -> Iterator[tuple[Callable[[str], str], list[tuple[str, str | None, str | None]]]]:
    """Serves `/NAME` by the answer of that name; gives the address of a name, and the list of what was asked."""
    asked: list[tuple[str, str | None, str | None]] = []
    done = threading.Event()
    handler = type("Handler", (Visit,), {"answers": {f"/{name}": answer for name, answer in answers.items()},
                                          "asked": asked, "done": done})  # fmt: skip
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield lambda name: f"http://127.0.0.1:{server.server_port}/{name}", asked
    finally:
        done.set()
        server.shutdown()
        server.server_close()
        thread.join()
