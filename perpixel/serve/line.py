"""The line of pictures that wait for the network: how many may wait, and the three threads that read, compute and encode.

One thread computes, so that pictures do not slow each other down; beside it one reads the next picture and one encodes the last.
A picture is computed alone, not in a batch with others: on CPUs a batch is not faster (docs/serve.md has the figures), and an
answer then has the bytes that `perpixel predict` writes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from perpixel.serve.limits import Limits, Refused

Value = TypeVar("Value")
AHEAD = 2  # decoded pictures in memory
NEWEST = 0.2  # the weight of the newest picture in the mean of seconds


class Line:
    """`waiting` pictures are in the line; each takes `seconds`, the running mean, 0 before the first."""

    def __init__(self, limits: Limits, now: Callable[[], float]) -> None:
        self.limits, self.waiting, self.seconds = limits, 0, 0.0
        self._now, self._last = now, now()
        self._ahead = asyncio.Semaphore(AHEAD)
        self._reader, self._network, self._writer = (
            ThreadPoolExecutor(1, thread_name_prefix=name) for name in ("reader", "network", "writer")
        )

    def require_place(self) -> None:
        """Raises Refused where no further picture can wait, or it would wait for longer than an answer may take."""
        expected = self.waiting * self.seconds
        if self.waiting >= self.limits.queue or expected > self.limits.timeout:
            sentence = f"{self.waiting} pictures wait already; try again in some seconds."
            raise Refused(429, sentence, expected / 2)

    @contextmanager
    def place(self) -> Iterator[None]:
        """A place in the line, for the block. The time of a block that ends well counts for `seconds`."""
        self.require_place()
        self.waiting += 1
        entered = self._now()
        try:
            yield
            now = self._now()
            taken = now - max(entered, self._last)  # the picture before it was finished then
            self._last = now
            self.seconds = taken if not self.seconds else (1 - NEWEST) * self.seconds + NEWEST * taken
        finally:
            self.waiting -= 1

    async def read(self, work: Callable[[], Value]) -> Value:
        """Runs `work` on the thread that reads pictures."""
        return await asyncio.get_running_loop().run_in_executor(self._reader, work)

    async def write(self, work: Callable[[], Value]) -> Value:
        """Runs `work` on the thread that encodes, so that no two write at once. It is not cancelled once it has begun."""
        return await asyncio.shield(asyncio.get_running_loop().run_in_executor(self._writer, work))

    async def predicted(self, decode: Callable[[], Value], begin: Callable[[Value], Callable[[], bytes]]) -> bytes:
        """Decodes a picture, runs the network on it and encodes the answer, each on its thread. A task that is cancelled leaves
        the line at the next of these steps."""
        loop = asyncio.get_running_loop()
        async with self._ahead:
            picture = await self.read(decode)
            encode = await loop.run_in_executor(self._network, begin, picture)
        return await loop.run_in_executor(self._writer, encode)

    def close(self) -> None:
        """Ends the threads. Pictures that wait are left out."""
        for executor in (self._reader, self._network, self._writer):
            executor.shutdown(wait=False, cancel_futures=True)
