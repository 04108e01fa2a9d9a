"""What may import what: the product stands alone, then come tools, benchmarks and workshop. Nobody imports tests."""

import ast
from pathlib import Path

import pytest

from tests.conftest import TEMPLATE

# Each may import those before it.
LAYERS = ["hooks", "tools", "benchmarks", "workshop", "tests"]


def arrows(folder: Path) -> list[tuple[str, str, str]]:
    """Return file, layer and imported layer of every import below a folder that leads from one layer to another."""
    found = []
    for layer in LAYERS:
        # What is built below the workshop is nobody's source.
        for file in sorted(set((folder / layer).rglob("*.py")) - set((folder / layer / "build").rglob("*"))):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                match node:
                    case ast.Import(names):
                        modules = [alias.name for alias in names]
                    case ast.ImportFrom(str(module)):
                        modules = [module]
                    case _:
                        continue
                to = {module.partition(".")[0] for module in modules} & set(LAYERS) - {layer}
                found += [(file.relative_to(folder).as_posix(), layer, name) for name in sorted(to)]
    return found


def running_back_up(folder: Path) -> list[str]:
    """Return the imports that lead to a later layer."""
    return [
        f"{file} imports {name}" for file, layer, name in arrows(folder) if LAYERS.index(name) > LAYERS.index(layer)
    ]


def test_imports_lead_in_one_direction() -> None:
    assert running_back_up(TEMPLATE) == []
    assert {(layer, name) for _, layer, name in arrows(TEMPLATE)} >= {("workshop", "benchmarks"), ("tests", "tools")}


@pytest.mark.parametrize("planted", ["import workshop.ladder", "from benchmarks import bench", "from tests import x"])
def test_an_import_that_leads_back_up_is_found(tmp_path: Path, planted: str) -> None:
    (tmp_path / "tools").mkdir()
    (tmp_path / "tools/engine.py").write_text(f"def late() -> None:\n    {planted}\n")

    assert running_back_up(tmp_path) == [f"tools/engine.py imports {planted.split()[1].partition('.')[0]}"]
