"""`perpixel --install-completion`, and the words that a shell offers at the Tab key: networks, data sets, recipes, runs, files.

The script that cyclopts writes for bash, zsh or fish holds verbs and flags. For their values it asks `perpixel __complete WORDS`,
and cyclopts asks `candidates`."""

from __future__ import annotations

import ast
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import App, Parameter

from perpixel.errors import UsageError
from perpixel.files import MODEL_FILE, RECIPE_FILE
from perpixel.terminal import say

Shell = Literal["bash", "zsh", "fish"]
RUN_FILES = (MODEL_FILE, RECIPE_FILE)  # one of these makes a folder a run
PLACES = ("", "runs/")  # where runs are looked for
PACKAGE = Path(__file__).parents[1]


def installer(app: App) -> Callable[..., None]:
    """The function of `--install-completion` for this command line."""

    def install(
        *, shell: Annotated[Shell | None, Parameter(help="bash, zsh or fish. [default: the shell that runs this command]")] = None
    ) -> None:
        """Let your shell complete verbs, flags, networks, data sets and runs, by a script and a line in its startup file."""
        chosen = shell or _own_shell()
        path = app.install_completion(shell=chosen)
        say(f"{path}: completes perpixel in {chosen}; begin a new shell.")

    return install


def _own_shell() -> Shell:
    """The shell that runs this command. Raises UsageError where it cannot be told, or is another one."""
    from cyclopts.completion.detect import ShellDetectionError, detect_shell

    try:
        shell = detect_shell()
    except ShellDetectionError:
        shell = None
    if shell is None or shell == "powershell":
        raise UsageError("--install-completion: your shell is not known to it; give --shell bash, zsh or fish.")
    return shell


def candidates(context: Any) -> list[str]:
    """The words that may stand at the cursor, by the name of the argument (`context` is cyclopts' CompletionContext)."""
    name, typed = context.argument.field_info.name.removeprefix("other_"), context.incomplete
    source = SOURCES.get(name, files if "Path" in str(context.argument.hint) else None)
    return [] if source is None else [word for word in source(typed) if word.startswith(typed)]


def networks(_: str) -> Iterable[str]:
    """The names of `networks.NETWORKS`, read from its source, because its import takes two seconds for torch."""
    tables = _literals(PACKAGE / "networks/__init__.py")
    others = _literals(PACKAGE / "networks/torchvision.py")
    return [*tables["NETWORKS"], *tables["YARDSTICKS"], *(others["PREFIX"] + name for name in others["ARCHITECTURES"])]


def _literals(file: Path) -> dict[str, Any]:
    """The constants of a module that are text, or a tuple of texts; and of its tables the keys that are text."""
    values: dict[str, Any] = {}
    for node in ast.parse(file.read_text()).body:
        target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
        value = getattr(node, "value", None)
        if isinstance(target, ast.Name) and isinstance(value, ast.Dict):
            values[target.id] = [key.value for key in value.keys if isinstance(key, ast.Constant)]
        elif isinstance(target, ast.Name) and isinstance(value, ast.Constant | ast.Tuple):
            try:
                values[target.id] = ast.literal_eval(value)
            except ValueError:  # names other values
                continue
    return values


def data_sets(typed: str) -> Iterable[str]:
    from perpixel.datasets import DATASETS, ON_DISK

    return (*DATASETS, *ON_DISK, *folders(typed))


def published_sets(_: str) -> Iterable[str]:
    from perpixel.datasets import ON_DISK

    return ON_DISK


def recipes(typed: str) -> Iterable[str]:
    return (*sorted(path.stem for path in (PACKAGE / "recipes").glob("*.toml")), *files(typed))


def runs(typed: str) -> Iterable[str]:
    """Run folders here and in runs/, then files and folders."""
    known = [f"{place}{name}" for place in PLACES for name in _names(place) if _is_run(f"{place}{name}")]
    return (*known, *(path for path in files(typed) if path.rstrip("/") not in known))


def files(typed: str) -> Iterable[str]:
    """Files and folders, in the folder that is typed so far; a folder ends with a slash."""
    place = typed[: typed.rfind("/") + 1]
    return [f"{place}{name}{'/' * os.path.isdir(place + name)}" for name in _names(place)]


def folders(typed: str) -> Iterable[str]:
    return [path for path in files(typed) if path.endswith("/")]


def _names(place: str) -> list[str]:
    try:
        return sorted(name for name in os.listdir(place or ".") if not name.startswith("."))
    except OSError:
        return []


def _is_run(folder: str) -> bool:
    return any(os.path.isfile(os.path.join(folder, name)) for name in RUN_FILES)


SOURCES: dict[str, Callable[[str], Iterable[str]]] = {  # by the name of an argument, in whatever verb
    **dict.fromkeys(("run", "sides", "ensemble", "objects_by", "predictions"), runs), "network": networks, "data": data_sets,
    "recipe": recipes, "name": published_sets, "folder": folders, "pictures": files,
}  # fmt: skip
