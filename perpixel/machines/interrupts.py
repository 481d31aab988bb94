"""Ctrl-C: it is answered at once, and told as what it is."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from perpixel.errors import Interrupted

ANSWER = "stopping after this step; once more stops at once."
STOPPED = "stopped; the same command continues."
PATIENCE = 1.0  # seconds in which Python reacts, unless torch computes
_own_process = False


def own_process() -> None:
    """Says that this process is a command of perpixel and nobody else's: the second Ctrl-C may then end it from any thread."""
    global _own_process
    _own_process = True


@contextmanager
def stop_after_step(say: Callable[[str], None]) -> Iterator[list[int]]:
    """A list that SIGINT and SIGTERM are added to, so that a loop can stop after its step; the second one raises
    KeyboardInterrupt. The first is answered by `say` at once.

    Python reacts only between its own instructions, and a step of torch may take many seconds. So a thread listens too: it
    answers, and ends the process of a command whose second signal Python does not come to."""
    caught: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        if caught:
            raise KeyboardInterrupt
        caught.append(number)

    if threading.current_thread() is not threading.main_thread():  # whoever started it handles signals
        yield caught
        return
    left = threading.Event()
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    listener = threading.Thread(target=_listen, args=(ours, say, left), daemon=True)
    listener.start()
    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    told = signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
    try:
        yield caught
    finally:
        left.set()
        signal.set_wakeup_fd(told)
        for number, handler in before.items():
            signal.signal(number, handler)
        theirs.close()
        listener.join()
        ours.close()


def _listen(signals: socket.socket, say: Callable[[str], None], left: threading.Event) -> None:
    """Answers the numbers of signals as they come, until the other end is closed."""
    count = 0
    while numbers := signals.recv(1):
        if numbers[0] not in (signal.SIGINT, signal.SIGTERM):
            continue
        count += 1
        with suppress(OSError, ValueError):  # nobody listens any more
            if count == 1:
                say(ANSWER)
            elif _own_process and not left.wait(PATIENCE):
                say(f"perpixel: {STOPPED}")
        if count > 1 and _own_process and not left.is_set():
            os._exit(Interrupted.exit_code)  # files appear whole or not at all, so nothing saved is lost


@contextmanager
def interruptible() -> Iterator[None]:
    """Raises KeyboardInterrupt for Ctrl-C, also where code below turns it into an error of its own, as safetensors does, and
    torch and extension modules while they are imported; in the end also where that error was caught. Other errors pass."""
    before = signal.getsignal(signal.SIGINT)
    if not callable(before) or threading.current_thread() is not threading.main_thread():  # only that one gets signals
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

    signal.signal(signal.SIGINT, note)
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
        signal.signal(signal.SIGINT, before)
