"""The notebooks of examples/: their cells are those of the script that executed them, and each cell ended without an error."""

import importlib.util
import json
from types import ModuleType
from typing import Any

import pytest
from places import ROOT

EXAMPLES = ROOT / "examples"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("write", EXAMPLES / "write.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_notebook_is_of_the_script(script: ModuleType) -> None:
    assert {path.stem for path in EXAMPLES.glob("*.ipynb")} == {*script.NOTEBOOKS}


@pytest.mark.parametrize("name", sorted(path.stem for path in EXAMPLES.glob("*.ipynb")))
def test_a_notebook_is_executed_as_the_script_has_it_and_is_small(script: ModuleType, name: str) -> None:
    data = (EXAMPLES / f"{name}.ipynb").read_bytes()
    cells: list[dict[str, Any]] = json.loads(data)["cells"]
    assert [(cell["cell_type"], "".join(cell["source"])) for cell in cells] == script.parts(script.NOTEBOOKS[name])
    codes = [cell for cell in cells if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in codes] == [*range(1, len(codes) + 1)]
    outputs = [output for cell in codes for output in cell["outputs"]]
    assert {output["output_type"] for output in outputs} <= {"stream", "execute_result", "display_data"}
    assert [output for output in outputs if output.get("name") == "stderr"] == []
    assert outputs
    assert len(data) < 300_000
