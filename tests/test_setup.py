"""environment.yml, pyproject.toml, Makefile, CI, CITATION.cff and README say the same things, and true ones."""

import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
MAKEFILE = (ROOT / "Makefile").read_text()
PYTHON = re.fullmatch(r">=(\d+\.\d+)", PROJECT["requires-python"])[1]
# What a clone does not hold: made by runs, or standing for the reader's own files.
NOT_SHIPPED = re.compile(r"(\.\./|~|/|runs/|\.venv|path/to/)")
# A path by its look: folders, or a file of a kind that the repository holds.
PATH = re.compile(r"(?:[\w.-]+/)+[\w.-]*|[\w-]+\.(?:ipynb|toml|yml|cff|md)|Makefile|LICENSE")


@pytest.fixture(scope="module")
def readme() -> str:
    return (ROOT / "README.md").read_text(encoding="utf-8")


def targets() -> set[str]:
    return set(re.findall(r"^([a-z][\w-]*):", MAKEFILE, re.MULTILINE))


def code_of(text: str) -> list[str]:
    """Words in fenced blocks and in backquotes."""
    fenced = re.findall(r"^```[^\n]*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    inline = re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL))
    return [word.strip("\"'(),;:") for part in [*fenced, *inline] for word in part.split()]


def paths_named(text: str) -> set[str]:
    """Links into the repository, and words of code that name one of its files or folders."""
    links = re.findall(r"\]\(([^)\s#]+)", text) + re.findall(r'src="([^"]+)"', text)
    local = {link for link in links if not link.startswith(("http:", "https:", "mailto:"))}
    tops = {entry.name for entry in ROOT.iterdir()}
    words = {word for word in code_of(text) if PATH.fullmatch(word) and not NOT_SHIPPED.match(word)}
    # A model on the Hub has a slash too: a path begins in the repository, or is a file of a kind it holds.
    return local | {word for word in words if word.split("/")[0] in tops or re.search(r"\.(ipynb|py|ya?ml)$", word)}


def test_the_readme_says_how_to_test_and_ci_does_just_that(readme):
    assert "make test" in readme
    lines = (ROOT / ".ci" / "run").read_text().splitlines()
    assert lines[0] == "#!/usr/bin/env bash" and lines[-1].startswith("make test")
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


def test_each_make_command_exists(readme):
    named = set(re.findall(r"\bmake ([a-z][\w-]*)", " ".join(code_of(readme))))
    assert {"study", "test"} <= named <= targets()


def test_each_path_in_the_readme_exists(readme):
    ours = paths_named(readme) - {"out.ipynb"}  # what the reader makes
    assert {path for path in ours if not any((base / path).exists() for base in (ROOT, ROOT / "notebooks"))} == set()


def test_each_notebook_is_in_the_readme(readme):
    assert [book.name for book in sorted((ROOT / "notebooks").glob("*.ipynb")) if book.name not in readme] == []


def test_paths_are_found_in_prose():
    text = "See [a](docs/a.md), `notebooks/x.ipynb`, `Salesforce/codegen-350M-mono`, `runs/x` and [b](https://x.y/z)."
    assert paths_named(text) == {"docs/a.md", "notebooks/x.ipynb"}
    assert "cycle_utils/paths.py" in paths_named("```bash\npython cycle_utils/paths.py --fast\n```\n")


def test_one_python(readme):
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    assert f"python={PYTHON}" in environment["dependencies"]
    assert f"sys.version_info < ({PYTHON.replace('.', ', ')})" in MAKEFILE
    assert f"Python {PYTHON}" in readme


def test_the_environment_lists_no_package_of_its_own():
    *conda, pip = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    assert pip == {"pip": ["-e .[test]"]} and {re.split("[=<>]", name)[0] for name in conda} == {"python", "pip"}
    assert "pip install -e '.[test]'" in MAKEFILE and "test" in PROJECT["optional-dependencies"]


def test_every_dependency_is_bounded():
    extras = [name for group in PROJECT["optional-dependencies"].values() for name in group]
    assert [d for d in PROJECT["dependencies"] + extras if not re.search(r"(>=|==|~=)\d", d)] == []


def test_the_pinned_torch_is_one_that_the_project_takes():
    version = re.search(r"^TORCH \?= torch==(\d+)\.(\d+)\.\d+$", MAKEFILE, re.MULTILINE)
    low, high = re.search(r"torch>=(\d+\.\d+),<(\d+)", " ".join(PROJECT["dependencies"])).groups()
    assert tuple(map(int, low.split("."))) <= (int(version[1]), int(version[2])) < (int(high), 0)


def test_the_citation_is_of_this_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == PROJECT["version"] and citation["license"] == PROJECT["license"] == "MIT"
    assert citation["references"][0]["doi"] == "10.1145/3649825"
    assert citation["authors"][0]["name"] in (ROOT / "LICENSE").read_text()


def make(*arguments: str) -> str:
    return subprocess.run(["make", "-C", ROOT, *arguments], check=True, capture_output=True, text=True).stdout


def test_make_alone_explains_every_target():
    shown = make()
    assert set(re.findall(r"^make ([\w-]+) +\S", shown, re.MULTILINE)) == targets()


@pytest.mark.parametrize(
    "target",
    ["setup", "check", "smoke", "study", "ablations", "second-cycle", "results", "test", "lab", "bench-judge",
     "bench-training"],
)
def test_each_target_makes_the_environment_it_needs(target, tmp_path):
    """In a folder that has none: the plan installs torch, then the project, then runs."""
    (tmp_path / "Makefile").write_text(MAKEFILE)
    (tmp_path / "pyproject.toml").touch()
    plan = subprocess.check_output(["make", "-n", "-C", tmp_path, target], text=True)
    order = [plan.index(step) for step in ("-m venv --clear .venv", 'pip install "torch==', "pip install -e '.[test]'")]
    assert order == sorted(order)


def test_seeds_reach_the_study():
    assert "-m cycle_utils.study.publishing --seeds 0 1 2" in make("-n", "study", "SEEDS=0 1 2")


def test_an_old_python_is_refused_before_anything_is_made(tmp_path):
    old = tmp_path / "python"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    (tmp_path / "Makefile").write_text(MAKEFILE)
    (tmp_path / "pyproject.toml").touch()
    run = subprocess.run(["make", "-C", tmp_path, "test", f"PYTHON={old}"], capture_output=True, text=True)
    assert run.returncode != 0 and not (tmp_path / ".venv").exists()


def test_a_half_made_environment_is_made_again(tmp_path):
    for name in (".venv/bin/python", "python"):  # the first has no pip, the second makes environments
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text('#!/bin/sh\necho "$0 $@" >> made\ntest "$2" != pip\n')
        (tmp_path / name).chmod(0o755)
    (tmp_path / "Makefile").write_text(MAKEFILE)
    (tmp_path / "pyproject.toml").touch()
    subprocess.run(["make", "-C", tmp_path, "setup", f"PYTHON={tmp_path / 'python'}"], capture_output=True)
    assert f"{tmp_path / 'python'} -m venv --clear .venv" in (tmp_path / "made").read_text().splitlines()


def test_each_path_on_the_other_pages_exists():
    recipes = ("recipes/README.md", "recipes/slurm.md")
    for page in ("TROUBLESHOOTING.md", "results/README.md", "cycle_utils/README.md", *recipes):
        text = (ROOT / page).read_text(encoding="utf-8")
        links = {link for link in re.findall(r"\]\(([^)\s#]+)", text) if not link.startswith("http")}
        assert {link for link in links if not ((ROOT / page).parent / link).exists()} == set(), page
        assert set(re.findall(r"\bmake ([a-z][\w-]*)", " ".join(code_of(text)))) <= targets()
