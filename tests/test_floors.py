"""The package's floors: imports go downwards, nothing goes in a circle, and every floor and room is explained."""

import ast
from pathlib import Path

import pytest
from importlinter.cli import lint_imports

from cycle_utils.paths import PACKAGE, ROOT

FLOORS = sorted(path.parent for path in PACKAGE.glob("*/__init__.py"))


def test_imports_go_downwards_and_in_no_circle(capfd, monkeypatch):
    monkeypatch.setattr("logging.config.dictConfig", lambda *_: None)  # it would silence all loggers of later tests
    code = lint_imports(config_filename=str(ROOT / "pyproject.toml"), no_cache=True)
    assert code == 0, capfd.readouterr().out


@pytest.mark.parametrize("floor", FLOORS, ids=lambda path: path.name)
def test_each_floor_and_room_says_what_it_is_for(floor: Path):
    readme = (PACKAGE / "README.md").read_text(encoding="utf-8")
    assert f"`{floor.name}/`" in readme
    assert len(ast.get_docstring(ast.parse((floor / "__init__.py").read_text())).split()) > 25
    for room in sorted(floor.glob("*.py")):
        assert ast.get_docstring(ast.parse(room.read_text())), f"{room.name} does not say what it is for"
        assert room.stem == "__init__" or f"`{room.stem}`" in readme or floor.name == "execution", room.name
