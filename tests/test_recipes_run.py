"""Every recipe runs to the letter, against a Hub that stands in: by the commands that are written, at other sizes.

All are trained and asked in one process; of each notebook and architecture one is run as a notebook, from the cache
that those left; and of each way to use several processes one is run on two. With the variable ``EVERY`` each recipe is
run as a notebook, and by ``accelerate launch`` on two processes.
"""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
import standin_hub
from test_notebooks import SMALL
from test_recipes import FILES, FOLDER, recipe

from cycle_utils.execution import cluster
from cycle_utils.method import runs
from cycle_utils.models import load_model
from cycle_utils.paths import NOTEBOOKS, ROOT

HERE = Path(__file__).parent
EVERY = os.environ.get("EVERY")
ON_HUB = [path for path in FILES if standin_hub.architecture(recipe(path)["model"])]


def command(path: Path) -> list[str]:
    """The command in a recipe's head."""
    line = re.search(rf"papermill \S+ \S+ -f \S*{re.escape(path.name)}.*", path.read_text(encoding="utf-8"))
    return shlex.split(line[0])


def sizes(notebook: str) -> dict:
    """Those at which a notebook is run here; what is no size stays as the recipe has it."""
    small = {**SMALL[Path(notebook).stem], "limit": 2, "max_new_tokens": 16}
    small.pop("redraws", None)
    return {**small, "seeds": 1} if "seeds" in small else small


def of_each_kind() -> list[Path]:
    """A recipe for each notebook and architecture, of another benchmark each as far as there are some."""
    kinds: dict[tuple, list[Path]] = {}
    for path in ON_HUB:
        kinds.setdefault((command(path)[1], standin_hub.architecture(recipe(path)["model"])), []).append(path)
    if EVERY:
        return ON_HUB
    chosen: list[Path] = []
    for paths in kinds.values():
        taken = [recipe(path)["benchmark"] for path in chosen]
        chosen.append(min(paths, key=lambda path, taken=taken: taken.count(recipe(path)["benchmark"])))
    return chosen


BENCHMARKS = "07_benchmarks.ipynb"
TRAINED = [path for path in ON_HUB if command(path)[1] == BENCHMARKS]


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """Where the cache and the runs of this file are."""
    return tmp_path_factory.mktemp("recipes")


@pytest.fixture(scope="module")
def hub(place):
    with standin_hub.running(sorted({recipe(path)["model"] for path in ON_HUB}), place / "hub") as hub:
        yield hub


@pytest.fixture(scope="module")
def run(hub, place):
    """Run a command against the Hub, or without it where ``offline``; its runs go to ``home``."""

    def run(words: list[str], home: str = "study", offline: bool = False, cwd: Path = HERE, **more: str) -> None:
        variables = {**os.environ, **standin_hub.told(hub, place / "cache"), "CYCLE_HOME": str(place / home)}
        variables |= {"PYTHONPATH": os.pathsep.join([str(ROOT), str(HERE)]), "CUDA_VISIBLE_DEVICES": "", **more}
        variables |= {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HUB_OFFLINE": "1"} if offline else {}
        done = subprocess.run(
            [sys.executable, *words], env=variables, cwd=cwd, capture_output=True, encoding="utf-8", timeout=1800
        )
        assert done.returncode == 0, done.stdout[-1500:] + done.stderr[-3000:]

    return run


def overrides(notebook: str = BENCHMARKS) -> list[str]:
    return [word for name, value in sizes(notebook).items() for word in ("-p", name, str(value))]


def runs_of(home: Path, stage: str) -> list[dict]:
    found = [json.loads(path.read_text(encoding="utf-8")) for path in home.glob(f"runs/*/{runs.RECORD}")]
    return [record for record in found if record["config"]["stage"] == stage]


def at_commits(asked: list[str]) -> bool:
    """Whether data sets were asked for at commits that are named, and never at a ``main``."""
    data = [path for path in asked if "datasets/" in path and "/large/" not in path]
    return bool(data) and all(re.search(r"/[0-9a-f]{40}\b", path) for path in data)


@pytest.fixture(scope="module")
def together(run, place) -> dict[str, dict]:
    """What came of each recipe that trains, by its file."""
    run(["recipe_runs.py", str(place / "told.json"), json.dumps(sizes(BENCHMARKS)), *map(str, TRAINED)])
    return json.loads((place / "told.json").read_text(encoding="utf-8"))


def test_each_recipe_is_trained_and_asked(together, place, hub):
    print({name: one["seconds"] for name, one in together.items()})
    assert at_commits(hub.asked)
    assert sorted(together) == sorted(path.name for path in TRAINED)
    assert all(len(one["programs"]) == 3 and all(one["programs"].values()) for one in together.values())
    trained = runs_of(place / "study", "RefineTrain")
    assert {record["key"] for record in trained} == {one["run"] for one in together.values()}
    models = {recipe(path)["model"] for path in TRAINED}
    assert {record["config"]["distil"]["fine_tune"]["model"] for record in trained} == models
    assert all(len(record["notes"]["losses"]) == sizes(BENCHMARKS)["steps"] for record in trained)


@pytest.mark.parametrize("path", of_each_kind(), ids=lambda path: path.stem)
def test_its_notebook_runs_by_its_own_command_from_the_cache(path, together, run, place):
    _, notebook, _, *rest = command(path)
    out, before = place / f"{path.stem}.ipynb", len(runs_of(place / "study", "RefineTrain"))
    run(["-m", "papermill", notebook, str(out), *rest, *overrides(notebook)], offline=True, cwd=NOTEBOOKS)
    assert all(cell.execution_count for cell in nbformat.read(out, 4).cells if cell.cell_type == "code")
    assert list((place / "study" / "reproduction" / "tables").glob(f"*{recipe(path)['benchmark']}*.csv"))
    assert len(runs_of(place / "study", "RefineTrain")) == before, "it trained what had been trained"


def test_a_recipe_is_fetched_where_there_is_a_network_for_where_there_is_none(run, place, hub):
    """To a cache of its own; what was fetched is enough, and asked for at the pinned commits."""
    path, cache, hub.asked = TRAINED[0], str(place / "other cache"), []
    launched = ["-m", "cycle_utils.study.launch", str(path), *overrides()]
    run([*launched, "--fetch"], home="fetched", HF_HOME=cache)
    assert not (place / "fetched").exists() and at_commits(hub.asked)
    run(launched, home="fetched", offline=True, HF_HOME=cache)
    assert len(runs_of(place / "fetched", "RefineTrain")) == 1


# --- several processes --------------------------------------------------------------------------------------


def written(start: str) -> list[str]:
    """The words of the first command in the recipes' README that begins so."""
    text = (FOLDER / "README.md").read_text(encoding="utf-8").replace("\\\n", " ")
    return shlex.split(next(line for line in text.splitlines() if line.strip().startswith(start)))


LAUNCHED = written("accelerate launch --num_processes")[2:]


@pytest.mark.parametrize("path", TRAINED if EVERY else [FOLDER / Path(LAUNCHED[-1]).name], ids=lambda path: path.stem)
def test_ddp_by_the_written_command(path, run, place):
    """``--multi_gpu`` is what accelerate adds by itself where there are several GPUs."""
    words, home = [*LAUNCHED[:-1], str(path)], f"ddp {path.stem}"
    words[words.index("--num_processes") + 1] = "2"
    asked = "--multi_gpu --num_machines 1 --mixed_precision no --dynamo_backend no --main_process_port 0"
    run(["-m", "accelerate.commands.launch", *shlex.split(asked), *words, *overrides()], home, cwd=NOTEBOOKS)
    (trained,) = runs_of(place / home, "RefineTrain")
    assert trained["processes"] == 2


def test_fsdp_by_the_written_recipe(run, place):
    words = written("accelerate launch --config_file")
    assert (NOTEBOOKS / words[words.index("--config_file") + 1]).is_file()
    start = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", str(HERE / "sharded_launch.py")]
    run([*start, words[-1], *overrides()], "fsdp", cwd=NOTEBOOKS)
    (trained,) = runs_of(place / "fsdp", "RefineTrain")
    assert trained["processes"] == 2
    assert load_model(place / "fsdp" / "runs" / trained["key"]).num_parameters() > 10_000


def test_a_dask_cluster_judges_a_recipe(together, run, place, cluster_of_two):
    address, _ = cluster_of_two
    out, path, where = place / "judged.json", TRAINED[0], {cluster.SCHEDULER: address}
    run(["recipe_runs.py", str(out), json.dumps(sizes(BENCHMARKS)), str(path)], "dask", offline=True, **where)
    (found,) = json.loads(out.read_text(encoding="utf-8")).values()
    assert found["programs"] == together[path.name]["programs"]
