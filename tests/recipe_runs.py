"""The trainings of recipes and the loops of their contenders, in one process: what test_recipes_run.py runs.

Arguments: a file for what came of it, sizes that all recipes are given, as JSON, and the recipes.
"""

import json
import sys
import time
from pathlib import Path

import yaml

from cycle_utils import study
from cycle_utils.method import stages
from cycle_utils.study import launch


def trained_and_asked(recipe: Path, sizes: dict) -> dict:
    """What came of one recipe: seconds, the run of its last stage, and the programs of each contender."""
    began, given = time.monotonic(), {**yaml.safe_load(recipe.read_text(encoding="utf-8")), **sizes}
    (run,) = launch.main([str(recipe), *(word for name in sizes for word in ("-p", name, repr(sizes[name])))])
    (config,) = launch.configs(given)
    how = study.sampling(given["max_new_tokens"], given["generation_batch"], benchmark=given["benchmark"])
    where = {name: given[name] for name in ("benchmark", "limit", "rounds", "feedback_tests")}
    tables = study.run_loops(config, stages.Loop(**where, sampling=how), progress=False)
    programs = {name: table["code"].tolist() for name, table in tables.items()}
    return {"seconds": round(time.monotonic() - began, 1), "run": run.key, "programs": programs}


if __name__ == "__main__":
    out, sizes, *recipes = sys.argv[1:]
    done = {Path(one).name: trained_and_asked(Path(one), json.loads(sizes)) for one in recipes}
    Path(out).write_text(json.dumps(done), encoding="utf-8")
