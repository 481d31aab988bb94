"""The service on a socket, by granian in this process: it reloads by SIGHUP, and stops by SIGTERM without a lost request."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import signal
import socket
import sys
from collections.abc import Awaitable, Callable
from typing import Any

from granian._granian import SocketHolder  # what its own server makes of a host and a port
from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.server.embed import Server

from perpixel.errors import Interrupted, PerpixelError, ResourceError, UsageError
from perpixel.serve.limits import RATE
from perpixel.serve.service import Service

BACKLOG = 1024
CONNECTIONS = 4096  # at most; each slow client holds one until its time is over
SPARE_FILES = 200  # file descriptors for all but connections


def listen(host: str, port: int, timeout: float = 30.0) -> socket.socket:
    """A socket that listens; port 0 takes a free one. Raises UsageError for an address that cannot be taken.

    Connections that it accepts are ended by the system where the other side takes nothing for `timeout` seconds, or is gone."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][0]
        listener = socket.create_server((host, port), family=family, backlog=BACKLOG)
    except (OSError, OverflowError) as error:
        number = getattr(error, "errno", None)
        remedy = "give another --port" if number == errno.EADDRINUSE else "correct --host or --port"
        raise UsageError(f"{host}:{port}: cannot be served ({getattr(error, 'strerror', None) or error}); {remedy}.") from error
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if sys.platform == "linux":
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(1000 * timeout))
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, max(1, int(timeout)))
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, max(1, int(timeout / 3)))
    listener.setblocking(False)
    return listener


def address_of(listener: socket.socket) -> str:
    """The address of a listening socket, such as http://127.0.0.1:8000."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class _Server(Server):
    """Granian on a socket that is open already, in this process and its event loop."""

    def __init__(self, listener: socket.socket, service: Service) -> None:
        self._listener = listener
        super().__init__(
            service.application, interface=Interfaces.ASGINL, http=HTTPModes.http1, websockets=False, log_enabled=False,
            backlog=BACKLOG, backpressure=_connections(),
            http1_settings=HTTP1Settings(header_read_timeout=max(1, int(1000 * service.limits.timeout))),
        )  # fmt: skip

    def _init_shared_socket(self) -> None:
        holder: Any = SocketHolder
        self._shd = holder(self._listener.detach(), False, BACKLOG)  # its stub lacks these arguments; it closes the socket


def _connections() -> int:
    """How many connections may be open, by what the system allows a process."""
    try:
        import resource
    except ImportError:  # Windows
        return CONNECTIONS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = CONNECTIONS + SPARE_FILES
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
        soft = most
    return CONNECTIONS if soft == resource.RLIM_INFINITY else max(64, min(CONNECTIONS, soft - SPARE_FILES))


class Running:
    """A service on a socket. `run` returns when `stop` was called and every request that had begun is answered."""

    def __init__(self, service: Service, listener: socket.socket, say: Callable[[str], None]) -> None:
        self._service, self._say = service, say
        self._server = _Server(listener, service)
        self._stop = asyncio.Event()
        self._again = asyncio.Event()
        self._reload = asyncio.Event()

    def stop(self) -> None:
        """Takes no further picture. A second call does not wait for answers."""
        (self._again if self._stop.is_set() else self._stop).set()
        self._service.stopping = True

    def reload(self) -> None:
        """Loads all models again, beside the requests."""
        self._reload.set()

    async def run(self) -> None:
        """Serves. Raises Interrupted where answers were not waited for."""
        serving = asyncio.ensure_future(self._server.serve())
        reloading = asyncio.ensure_future(self._reloads())
        stopping = asyncio.ensure_future(self._stop.wait())
        try:
            await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if serving.done():
                serving.result()
                raise PerpixelError("the server ended by itself; this is a fault of perpixel or granian.")
            await self._first_of(self._service.idle.wait(), self._again.wait())  # deadlines end every request
            self._server.signal_handler_interrupt()  # type: ignore[no-untyped-call]
            await self._first_of(serving, self._again.wait())  # the last bytes are read
        finally:
            if self._again.is_set():  # granian would report each task that is ended
                asyncio.get_running_loop().set_exception_handler(lambda *_: None)
            for task in (serving, reloading, stopping):
                task.cancel()
            self._service.close()
        if not self._service.idle.is_set():
            raise Interrupted("stopped; requests that had begun were not answered.")

    async def _first_of(self, *waits: Awaitable[Any]) -> None:
        """Waits for one of them, for at most as long as a client may take for an answer."""
        tasks = [asyncio.ensure_future(wait) for wait in waits]
        most = 3 * self._service.limits.timeout + self._service.limits.bytes / RATE
        await asyncio.wait(tasks, timeout=most, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()

    async def _reloads(self) -> None:
        while await self._reload.wait():
            self._reload.clear()
            failures = await asyncio.get_running_loop().run_in_executor(None, self._service.models.reload)
            self._service.metrics.reloads += 1
            for sentence in failures:
                self._say(sentence)
            count = len(self._service.models)
            self._say(f"{count - len(failures)} of {count} models were loaded again.")


async def serve(make: Callable[[], Service], listener: socket.socket, say: Callable[[str], None]) -> None:
    """Runs a service until SIGTERM or SIGINT; SIGHUP loads its models again. Call it on the main thread.

    `make` makes the service within the event loop. Raises Interrupted after a second signal, ResourceError without signals."""
    running = Running(make(), listener, say)
    loop = asyncio.get_running_loop()
    actions: dict[str, Any] = {"SIGTERM": running.stop, "SIGINT": running.stop, "SIGHUP": running.reload}
    numbers = [getattr(signal, name) for name in actions if hasattr(signal, name)]
    try:
        for name, action in actions.items():
            if hasattr(signal, name):
                loop.add_signal_handler(getattr(signal, name), action)
    except NotImplementedError as error:  # Windows
        raise ResourceError("`perpixel serve` needs the signals of Linux or macOS; run it there, or in WSL.") from error
    try:
        await running.run()
    finally:
        for number in numbers:
            with contextlib.suppress(ValueError):
                loop.remove_signal_handler(number)
