"""Ctrl-C is answered at once, arrives as KeyboardInterrupt, and loses nothing that was saved."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes import make_folder
from hidden_torch import HAS_TORCH, require_torch

from perpixel.errors import UntrustedFile
from perpixel.machines import interrupts
from perpixel.machines.interrupts import ANSWER, interruptible, stop_after_step

if HAS_TORCH:
    from safetensors import SafetensorError

    from perpixel.training import object_crops, states
    from perpixel.training.run import read_facts
    from perpixel.weights import model_file

SMALL = ["--network", "unet", "--convolutions", "same", "--width", "0.05", "--batch", "2", "--device", "cpu"]


def press() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def terminated() -> None:
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(5)


def swallowed(*_: object, **__: object) -> None:
    """What safetensors makes of Ctrl-C while its own code waits for Python's."""
    try:
        press()
        time.sleep(5)
    except KeyboardInterrupt as error:
        raise SafetensorError("Error while deserializing header: KeyboardInterrupt") from error


def turned_into(kind: type[Exception]) -> None:
    with interruptible():
        try:
            press()
            time.sleep(5)
        except KeyboardInterrupt:
            raise kind("it was Ctrl-C") from None


def pressed_twice(answers: list[str]) -> None:
    with stop_after_step(answers.append):
        press()
        press()


class TestInterruptible:
    def test_what_was_made_an_error_is_ctrl_c_again(self) -> None:
        before = signal.getsignal(signal.SIGINT)
        for kind in (*([SafetensorError] if HAS_TORCH else []), RuntimeError, OSError, ImportError):
            with pytest.raises(KeyboardInterrupt):
                turned_into(kind)
        assert signal.getsignal(signal.SIGINT) is before

    def test_sigterm_of_a_scheduler_is_ctrl_c(self) -> None:
        before = signal.getsignal(signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt), interruptible():
            terminated()
        assert signal.getsignal(signal.SIGTERM) is before is signal.SIG_DFL

    def test_sigterm_that_a_program_handles_stays_its_own(self) -> None:
        caught: list[int] = []
        before = signal.signal(signal.SIGTERM, lambda number, _: caught.append(number))
        try:
            with interruptible():
                os.kill(os.getpid(), signal.SIGTERM)
            assert caught == [signal.SIGTERM]
        finally:
            signal.signal(signal.SIGTERM, before)

    def test_other_errors_pass(self) -> None:
        with pytest.raises(ValueError, match="not Ctrl-C"), interruptible():
            raise ValueError("not Ctrl-C")

    def test_in_another_thread_nothing_changes(self) -> None:
        handlers = []

        def work() -> None:
            with interruptible():
                handlers.append(signal.getsignal(signal.SIGINT))

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        assert handlers == [signal.getsignal(signal.SIGINT)]

    @pytest.mark.needs_torch
    @pytest.mark.parametrize("reader", ["model", "state", "crops"])
    def test_while_tensors_are_read_it_is_no_damage(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reader: str
    ) -> None:
        for module in (model_file, states, object_crops):
            monkeypatch.setattr(module, "safe_open", swallowed)
        (tmp_path / "model.safetensors").write_bytes(b"x")
        states.save_state(tmp_path, 1, {"network": {}}, {"step": 1})
        read = {
            "model": lambda: model_file.load(tmp_path),
            "state": lambda: states.load_state(tmp_path),
            "crops": lambda: object_crops.read_examples(tmp_path / "model.safetensors", "key"),
        }[reader]
        with pytest.raises(KeyboardInterrupt):
            read()

    @pytest.mark.needs_torch
    def test_damage_is_damage(self, tmp_path: Path) -> None:
        (tmp_path / "model.safetensors").write_bytes(b"x")
        with pytest.raises(UntrustedFile):
            model_file.load(tmp_path)


class TestStopAfterStep:
    def test_the_first_is_answered_and_noted(self) -> None:
        answers: list[str] = []
        with stop_after_step(answers.append) as stop:
            press()
            deadline = time.monotonic() + 20
            while not answers and time.monotonic() < deadline:
                time.sleep(0.01)
            assert (answers, stop) == ([ANSWER.format("")], [signal.SIGINT])

    def test_the_answer_tells_how_long_the_step_takes(self) -> None:
        for seconds, told in ((3.4, "stopping after this step, 3 s;"), (0.2, "stopping after this step;")):
            answers: list[str] = []
            with stop_after_step(answers.append, lambda: seconds):  # noqa: B023 - called before the next turn
                press()
                deadline = time.monotonic() + 20
                while not answers and time.monotonic() < deadline:
                    time.sleep(0.01)
            assert answers[0].startswith(told)

    def test_the_second_stops_at_once(self) -> None:
        answers: list[str] = []
        before = signal.getsignal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            pressed_twice(answers)
        assert answers == [ANSWER.format("")]
        assert signal.getsignal(signal.SIGINT) is before
        assert signal.set_wakeup_fd(-1) == -1

    def test_who_cannot_be_told_is_no_error(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def closed(_: str) -> None:
            raise BrokenPipeError

        with stop_after_step(closed) as stop:
            press()
            assert stop == [signal.SIGINT]


BUSY = """
import hashlib
from perpixel.machines.interrupts import own_process, stop_after_step
own_process()
with stop_after_step(lambda text: print(text, flush=True)):
    print("busy", flush=True)
    hashlib.pbkdf2_hmac("sha256", b"", b"", 1 << 30)  # minutes of C, in which Python handles no signal
"""


def test_the_second_ends_a_command_that_computes_for_minutes() -> None:
    with subprocess.Popen([sys.executable, "-c", BUSY], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = iter(process.stdout.readline, "")
        assert next(lines) == "busy\n"
        process.send_signal(signal.SIGINT)
        assert next(lines) == f"{ANSWER.format('')}\n"
        process.send_signal(signal.SIGINT)
        assert next(lines) == f"perpixel: {interrupts.STOPPED}\n"
        assert process.wait(timeout=60) == 75


def test_while_the_command_line_is_imported(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from perpixel import __main__

    class Slow:
        def find_spec(self, name: str, *_: object) -> None:
            if name == "perpixel.cli":
                raise KeyboardInterrupt

    left: list[int] = []
    monkeypatch.setattr(os, "_exit", left.append)
    monkeypatch.delitem(sys.modules, "perpixel.cli")
    monkeypatch.setattr(sys, "meta_path", [Slow(), *sys.meta_path])
    __main__.main()
    assert left == [75]
    assert capsys.readouterr().err == "perpixel: stopped; the same command continues.\n"


class Training:
    """`perpixel train` as typed, and the lines that it prints to a pipe."""

    def __init__(self, *flags: str) -> None:
        self.began = time.monotonic()
        command = [sys.executable, "-m", "perpixel", "train", *flags]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
        assert self.process.stderr is not None
        self.lines: Iterator[str] = iter(self.process.stderr.readline, "")

    def until(self, words: str) -> str:
        return next(line for line in self.lines if re.search(words, line))

    def end(self) -> int:
        with self.process:
            return self.process.wait(timeout=120)


def test_a_training_that_is_stopped_says_so_and_leaves_what_can_be_used(tmp_path: Path, command) -> None:
    require_torch()
    data, out = make_folder(tmp_path / "data", train=4, val=2), tmp_path / "run"
    flags = ["--data", str(data), *SMALL, "--steps", "100000", "--validations", "1", "--out", str(out)]
    training = Training(*flags)
    training.until(r"step \d+/100000")
    training.process.send_signal(signal.SIGINT)
    assert re.fullmatch(ANSWER.format("(, [0-9]+ s)?") + "\n", training.until("stopping"))
    last = training.until("perpixel: ")
    assert training.end() == 75
    place, after = re.escape(str(out)), r"stopped after step (\d+) of 100000; the same command continues."
    sentence = rf"perpixel: {place}: {after} `perpixel predict .*` works on what is there: mIoU .* on val so far.\n"
    stopped = re.fullmatch(sentence, last)
    assert stopped is not None
    assert read_facts(out / "run.json")["sessions"][0]["to"] == int(stopped[1])
    code, out_text, err = command("evaluate", out)
    assert code == 0, err
    assert f"{out}: unfinished, step {stopped[1]} of 100000.\n" in err
    assert "mIoU" in out_text
    code, _, err = command("predict", out, data / "images/val", "--out", tmp_path / "masks")
    assert code == 0, err
    assert f"{out}: unfinished, step {stopped[1]} of 100000.\n" in err
