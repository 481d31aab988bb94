"""One request and its answer, around the application: deadlines for both, refusals as JSON, headers of safety, counts.

The server below (granian) closes connections whose request heads do not come in time, and idle ones. It has no deadline for
bodies, and none for clients that do not read their answer; these are here. A body that is not wanted is read for a moment and
thrown away: a connection that is closed while the client still sends would lose the answer."""

from __future__ import annotations

import asyncio
import json
import time
import traceback
from collections.abc import Awaitable, Callable

from perpixel.serve.limits import RATE, ClientLeft, Limits, Message, Receive
from perpixel.serve.metrics import Metrics
from perpixel.terminal import say

Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]
PIECE = 1 << 16  # bytes that are sent at once; the server takes the next ones when the client has read
DISCARDED_SECONDS = 2.0
LEFT = 499  # the status under which a client that left is counted
FAILED = "perpixel failed; the person who serves sees where."
HEADERS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
}


class Exchange:
    """The application `app` with deadlines, as an ASGI application. `paths` are counted by name, all others as "other"."""

    def __init__(self, app: App, limits: Limits, metrics: Metrics, paths: frozenset[str]) -> None:
        self._app, self._limits, self._metrics, self._paths = app, limits, metrics, paths

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        one = _One(self._limits, receive, send)
        scope["state"] = {"receive": one.receive_within}
        try:
            await self._app(scope, one.receive, one.send)
        except ClientLeft:
            one.status = one.status or LEFT
        except Exception as error:  # a bug of ours: the person who serves sees where, the client that it is not its fault
            for line in "".join(traceback.format_exception(error)).splitlines():
                say(line)
            if not one.status:
                await one.answer(500, FAILED)
        path = scope["path"] if scope["path"] in self._paths else "other"
        self._metrics.answers[path, one.status or LEFT] += 1


class _One:
    """The state of one exchange. `status` is 0 until an answer begins."""

    def __init__(self, limits: Limits, receive: Receive, send: Send) -> None:
        self._limits, self._receive, self._send = limits, receive, send
        self._whole = False  # the body was received to its end
        self.status = 0
        self._deadline = 0.0

    async def receive(self) -> Message:
        message = await self._receive()
        self._whole |= message["type"] == "http.disconnect" or not message.get("more_body", False)
        return message

    async def receive_within(self, seconds: float) -> Message:
        """The next message. Raises TimeoutError."""
        return await asyncio.wait_for(self.receive(), seconds)

    async def send(self, message: Message) -> None:
        """Sends a message of ASGI, long bodies in pieces. Raises ClientLeft where the client does not take them in time."""
        if message["type"] == "http.response.start":
            if not self._whole:
                await self._discard()
            self.status = message["status"]
            headers = [*message.get("headers", ()), *((name.encode(), value.encode()) for name, value in HEADERS.items())]
            if not self._whole:
                headers.append((b"connection", b"close"))
            await self._send({**message, "headers": headers})
            self._deadline = time.monotonic() + self._limits.timeout
            return
        body = message.get("body", b"")
        self._deadline += len(body) / RATE
        for start in range(0, len(body), PIECE):
            piece = {"type": "http.response.body", "body": bytes(body[start : start + PIECE]), "more_body": True}
            await self._sent(piece)
        if not message.get("more_body", False):
            await self._sent({"type": "http.response.body", "body": b"", "more_body": False})

    async def _sent(self, piece: Message) -> None:
        async def sending() -> None:
            await self._send(piece)

        try:
            await asyncio.wait_for(sending(), max(self._deadline - time.monotonic(), 0.0))
        except TimeoutError:
            raise ClientLeft from None

    async def _discard(self) -> None:
        """Reads the rest of a body for a moment; a client that sends gets its answer where this reaches the end."""
        left, until = 4 * self._limits.bytes, time.monotonic() + min(DISCARDED_SECONDS, self._limits.timeout)
        while not self._whole and left > 0 and (seconds := until - time.monotonic()) > 0:
            try:
                left -= len((await self.receive_within(seconds)).get("body", b""))
            except TimeoutError:
                return

    async def answer(self, status: int, sentence: str) -> None:
        """Sends a refusal by itself."""
        body = refusal(sentence)
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        await self.send({"type": "http.response.start", "status": status, "headers": headers})
        await self.send({"type": "http.response.body", "body": body})


def refusal(sentence: str) -> bytes:
    """The body of every answer that is no success."""
    return json.dumps({"error": sentence}, ensure_ascii=False).encode()
