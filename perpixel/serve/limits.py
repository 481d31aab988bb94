"""What a client may send and how long it may take, and the refusals: each has a status and one sentence."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any

from perpixel.errors import UsageError

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
RATE = 65536  # bytes a second: a client has the timeout, and as many seconds more as its bytes take at this rate
MEGABYTE = 1_000_000


class Refused(Exception):
    """A request that is not answered as asked. `retry_after`: seconds until another try may work."""

    def __init__(self, status: int, sentence: str, retry_after: float | None = None) -> None:
        super().__init__(sentence)
        self.status, self.sentence, self.retry_after = status, sentence, retry_after

    @property
    def headers(self) -> dict[str, str]:
        """The headers that belong to the status."""
        headers = {} if self.retry_after is None else {"Retry-After": str(max(1, math.ceil(self.retry_after)))}
        return headers | ({"WWW-Authenticate": "Bearer"} if self.status == 401 else {})


class ClientLeft(Exception):
    """The client closed its connection, or does not read, before its request was answered."""


@dataclass(frozen=True)
class Limits:
    """The limits of one request. Raises UsageError for a limit that lets nothing through.

    `timeout`: seconds to receive a picture, to answer it, and to send the answer. `queue`: pictures that may wait."""

    megabytes: float = 32.0
    megapixels: float = 50.0
    timeout: float = 30.0
    queue: int = 32

    def __post_init__(self) -> None:
        flags = {"megabytes": "max_megabytes", "megapixels": "max_megapixels"}
        for name, value in vars(self).items():
            if not (value > 0 and math.isfinite(value)):
                raise UsageError(f"{flags.get(name, name)} = {value:g}: must be above 0.")

    @property
    def bytes(self) -> int:
        """The longest body."""
        return int(self.megabytes * MEGABYTE)

    def require_size(self, height: int, width: int) -> None:
        """Raises Refused for a picture of too many pixels."""
        if height * width > self.megapixels * MEGABYTE:
            raise Refused(
                413, f"the picture: {height}x{width} pixels are more than the {self.megapixels:g} megapixels that are served; "
                "send a smaller one."
            )  # fmt: skip


class Bodies:
    """Receives bodies. All together may hold eight times the bytes of the longest one."""

    def __init__(self, limits: Limits, now: Callable[[], float]) -> None:
        self._limits, self._now, self._held = limits, now, 0

    async def receive(self, receive: Callable[[float], Awaitable[Message]], headers: Mapping[str, str]) -> bytes:
        """The body of a request. `receive` gives the next message within seconds, or raises TimeoutError.

        Raises Refused for a body that is empty, too long, or ends early, or comes too slowly."""
        limits = self._limits
        too_long = f"the picture: is longer than the {limits.megabytes:g} MB that are served; send a smaller file."
        if int(headers.get("content-length", 0)) > limits.bytes:
            raise Refused(413, too_long)
        body, began = bytearray(), self._now()
        try:
            more = True
            while more:
                left = began + limits.timeout + len(body) / RATE - self._now()
                try:
                    message = await receive(max(left, 0.0))
                except TimeoutError:
                    raise Refused(408, f"the picture: {len(body)} bytes came in {limits.timeout:g} s; send it faster.") from None
                if message["type"] == "http.disconnect":
                    raise Refused(400, f"the request ended after {len(body)} bytes, before its body did; send it again.")
                chunk = message.get("body", b"")
                body += chunk
                self._held += len(chunk)
                more = message.get("more_body", False)
                if len(body) > limits.bytes:
                    raise Refused(413, too_long)
                if self._held > 8 * limits.bytes:
                    raise Refused(429, "too many pictures are being received; try again later.", limits.timeout)
        finally:
            self._held -= len(body)
        if not body:
            raise Refused(400, "the request has no body; send the bytes of a picture.")
        return bytes(body)
