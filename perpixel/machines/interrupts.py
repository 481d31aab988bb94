"""Ctrl-C, and SIGTERM of a scheduler: a message answers it at once, and it arrives as KeyboardInterrupt, not as another error."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from perpixel.errors import Interrupted

ANSWER = "stopping after this step{}; once more stops at once."
STOPPED = "stopped; the same command continues."
PATIENCE = 1.0  # seconds that Python gets to react. It does not react while torch computes
_own_process = False


def own_process() -> None:
    """Declares that this process is a command of perpixel, not a host program. The second Ctrl-C may then end the process."""
    global _own_process
    _own_process = True


@contextmanager
def stop_after_step(say: Callable[[str], None], left: Callable[[], float] = lambda: 0.0) -> Iterator[list[int]]:
    """Yields a list to which the first SIGINT or SIGTERM is added, so that a loop can stop after its step.

    `say` answers the first signal at once, with the seconds that are `left` of the step, where they are known. The second signal
    raises KeyboardInterrupt. Python handles signals only between its own instructions, and a step of torch may take many seconds.
    So a thread also listens for signals: it answers them, and it ends the process of a command where Python does not handle the
    second signal in time."""
    caught: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        if caught:
            raise KeyboardInterrupt
        caught.append(number)

    if threading.current_thread() is not threading.main_thread():  # the program that started the thread handles signals
        yield caught
        return
    over = threading.Event()
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    listener = threading.Thread(target=_listen, args=(ours, say, over, left), daemon=True)
    listener.start()
    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    previous_wakeup = signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
    try:
        yield caught
    finally:
        over.set()
        signal.set_wakeup_fd(previous_wakeup)
        for number, handler in before.items():
            signal.signal(number, handler)
        theirs.close()
        listener.join()
        ours.close()


def _listen(
    signals: socket.socket, say: Callable[[str], None], over: threading.Event, left: Callable[[], float]
) -> None:  # fmt: skip
    """Answers each signal whose number arrives on the socket, until the other end is closed. `over` is set after the block."""
    count = 0
    while numbers := signals.recv(1):
        if numbers[0] not in (signal.SIGINT, signal.SIGTERM):
            continue
        count += 1
        with suppress(OSError, ValueError):  # the reader of the output is gone
            if count == 1:
                seconds = round(left())
                say(ANSWER.format(f", {seconds} s" if seconds >= 1 else ""))
            elif _own_process and not over.wait(PATIENCE):
                say(f"perpixel: {STOPPED}")
        if count > 1 and _own_process and not over.is_set():
            os._exit(Interrupted.exit_code)  # files appear whole or not at all, so nothing saved is lost


@contextmanager
def interruptible() -> Iterator[None]:
    """Makes sure that Ctrl-C during the block raises KeyboardInterrupt. So does SIGTERM, by which schedulers stop a process; the
    first process of a container would not even be ended by it.

    Some code turns it into another error: safetensors does, and torch and extension modules do during their import. Other code
    catches it: then KeyboardInterrupt is raised when the block ends. Other errors pass through."""
    before = signal.getsignal(signal.SIGINT)
    if not callable(before) or threading.current_thread() is not threading.main_thread():  # other threads get no signals
        yield
        return
    pressed = False

    def note(number: int, frame: FrameType | None) -> None:
        nonlocal pressed
        try:
            before(number, frame)
        except KeyboardInterrupt:
            pressed = True
            raise

    numbers = [signal.SIGINT, *([signal.SIGTERM] if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL else [])]
    handlers = {number: signal.signal(number, note) for number in numbers}
    try:
        yield
    except Exception as error:
        if pressed:
            raise KeyboardInterrupt from error
        raise
    else:
        if pressed:
            raise KeyboardInterrupt
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
