"""The history of a run for the pages of other programs, in a process of its own: a training knows nothing of it.

`follow` reads history.jsonl, which is replaced as a whole, so a reader finds it whole. A slow or broken destination can neither
slow nor end the training. Logging again adds nothing twice: TensorBoard shows the last of two logs of a run, and to MLflow's run
of the same folder only missing steps are added."""

from __future__ import annotations

import hashlib
import json
import math
import time
import tomllib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

from perpixel.errors import DataError, ResourceError, UsageError, did_you_mean, printable
from perpixel.files import HISTORY_FILE, RECIPE_FILE, SCORES_FILE, read_text

PAUSE = 2.0  # seconds between two looks at the history
Values = dict[str, float]


class Destination(Protocol):
    def log(self, step: int, values: Values) -> None: ...
    def close(self) -> None: ...


def follow(run: Path, destination: Destination, once: bool = False, wait: Callable[[float], object] = time.sleep) -> int:
    """Logs the history of a run until the run is done, or with `once` what there is now; returns the number of its entries.

    A run is done when it has scores.json, whose figures come last, as `kept/NAME`. A training that was stopped and goes on is
    followed further. Raises DataError for a history or scores that are damaged."""
    sent: list[tuple[int, Values]] = []
    try:
        while True:
            done = (run / SCORES_FILE).is_file()  # looked for first, so that the history read after it is complete
            entries = list(_history(run))
            known = next((place for place, pair in enumerate(zip(entries, sent, strict=False)) if pair[0] != pair[1]), len(sent))
            for step, values in entries[known:]:
                destination.log(step, values)
            sent = entries if len(entries) >= len(sent) or known < len(entries) else sent
            if done and sent:
                destination.log(sent[-1][0], _kept(run))
            if done or once:
                return len(sent)
            wait(PAUSE)
    finally:
        destination.close()


def require_run(run: Path) -> None:
    """Raises UsageError where a folder is no run folder."""
    if not (run / RECIPE_FILE).is_file():
        raise UsageError(f"{printable(run)}: is no run folder, it has no {RECIPE_FILE}; name the folder of `train --out`.")


def _history(run: Path) -> Iterator[tuple[int, Values]]:
    """The step and the values of each entry: `loss/NAME`, `lr`, and `val/NAME` of a validation."""
    path = run / HISTORY_FILE
    if not path.is_file():
        return
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        try:
            entry = json.loads(line)
            step, losses = entry.pop("step"), entry.pop("losses", {})
            values = {f"loss/{name}": value for name, value in losses.items()}
            values |= {name if name == "lr" else f"val/{name}": value for name, value in entry.items()}
            yield int(step), {name: float(value) for name, value in values.items() if value is not None}
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            wrong = f"{printable(path)}, line {number}: is no entry of a history"
            raise DataError(f"{wrong} ({str(error)[:100]}); the same `train` command writes it anew.") from None


def _kept(run: Path) -> Values:
    path = run / SCORES_FILE
    try:
        figures = json.loads(read_text(path))["figures"]
        return {f"kept/{name}": float(value) for name, value in figures.items() if isinstance(value, int | float)}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        wrong = f"{printable(path)}: holds no scores ({str(error)[:100]})"
        raise DataError(f"{wrong}; the same `train` command writes it anew.") from None


def _name(run: Path) -> str:
    return run.resolve().name


def _lacking(package: str, error: ModuleNotFoundError) -> Exception:
    if error.name is None or error.name.partition(".")[0] != package:
        return error
    return ResourceError(f"--to {package} needs {package}, which is not installed; pip install {package} brings it.")


class TensorBoard:
    """Event files in `out`/NAME of the run, by default in logs/NAME."""

    def __init__(self, run: Path, out: Path | None) -> None:
        try:
            from tensorboard.compat.proto.event_pb2 import Event, SessionLog
            from tensorboard.compat.proto.summary_pb2 import Summary
            from tensorboard.summary.writer.event_file_writer import EventFileWriter
        except ModuleNotFoundError as error:
            raise _lacking("tensorboard", error) from None
        self.place = (out or Path("logs")) / _name(run)
        self.writer = EventFileWriter(str(self.place))

        def write(step: int, **content: Any) -> None:
            self.writer.add_event(Event(wall_time=time.time(), step=step, **content))

        self.write, self.summary = write, Summary
        write(0, session_log=SessionLog(status=SessionLog.START))  # what an earlier log of this run says is not shown

    def log(self, step: int, values: Values) -> None:
        self.write(step, summary=self.summary(value=[{"tag": name, "simple_value": value} for name, value in values.items()]))
        self.writer.flush()

    def close(self) -> None:
        self.writer.close()


class MLflow:
    """A run of the experiment `perpixel`, with the settings of the recipe as parameters: in `out`/mlflow.db, by default where
    MLflow's own environment says."""

    def __init__(self, run: Path, out: Path | None) -> None:
        try:
            from mlflow import MlflowClient
            from mlflow.exceptions import MlflowException
        except ModuleNotFoundError as error:
            raise _lacking("mlflow", error) from None
        self.refusal: type[Exception] = MlflowException
        if out is not None:
            out.mkdir(parents=True, exist_ok=True)
        self.place = None if out is None else out / "mlflow.db"
        self.steps: dict[str, set[int]] = {}  # by name of a value, those that are logged
        with self._sentences():
            self.client = MlflowClient(None if self.place is None else f"sqlite:///{self.place.resolve()}")
            self.id = self._run(run)

    def _run(self, run: Path) -> str:
        """MLflow's id of the run of this folder, which is made where there is none."""
        experiment = self.client.get_experiment_by_name("perpixel")
        number = self.client.create_experiment("perpixel") if experiment is None else experiment.experiment_id
        key = hashlib.sha256(str(run.resolve()).encode(errors="surrogateescape")).hexdigest()[:16]
        for same in self.client.search_runs([number], f"tags.`perpixel.run` = '{key}'"):
            return str(same.info.run_id)
        made = self.client.create_run(number, run_name=_name(run), tags={"perpixel.run": key}).info.run_id
        for name, value in tomllib.loads(read_text(run / RECIPE_FILE)).items():
            self.client.log_param(made, name, value)
        return str(made)

    @contextmanager
    def _sentences(self) -> Iterator[None]:
        """What MLflow refuses is told in one sentence."""
        try:
            yield
        except self.refusal as error:
            reason = " ".join(str(error).split())[:200].rstrip(".")
            raise ResourceError(f"MLflow: {reason}; mend that, and the same command logs the rest.") from None

    def log(self, step: int, values: Values) -> None:
        with self._sentences():
            for name, value in values.items():
                if name not in self.steps:
                    self.steps[name] = {metric.step for metric in self.client.get_metric_history(self.id, name)}
                if step not in self.steps[name] and math.isfinite(value):
                    self.client.log_metric(self.id, name, value, step=step)
                    self.steps[name].add(step)

    def close(self) -> None:
        with suppress(self.refusal):  # its reason was told before
            self.client.set_terminated(self.id)


DESTINATIONS: Mapping[str, Callable[[Path, Path | None], TensorBoard | MLflow]] = {"tensorboard": TensorBoard, "mlflow": MLflow}


def destination_of(name: str, run: Path, out: Path | None) -> TensorBoard | MLflow:
    """Opens a destination. Raises UnknownName for another name, ResourceError where its package is not installed."""
    if name not in DESTINATIONS:
        raise did_you_mean("destination of --to", name, DESTINATIONS)
    return DESTINATIONS[name](run, out)
