"""Parameters of notebooks and recipes: their types and ranges, and what each benchmark's programs may take."""

import ast
import json

import pandas as pd
import papermill
import pytest
import yaml

from cycle_utils import study
from cycle_utils.method import runs, stages
from cycle_utils.method.configs import Distil, Loop
from cycle_utils.models.sampling import LONGEST
from cycle_utils.paths import NOTEBOOKS, ROOT
from cycle_utils.problems.benchmarks import BENCHMARKS
from cycle_utils.study import launch, parameters
from cycle_utils.study.editions import EDITIONS
from cycle_utils.teaching import notebook

NAMES = sorted(path.stem for path in NOTEBOOKS.glob("*.ipynb"))


def cell_of(name: str) -> str:
    """The source of a notebook's parameters cell."""
    cells = json.loads((NOTEBOOKS / f"{name}.ipynb").read_text(encoding="utf-8"))["cells"]
    return "".join(next(c["source"] for c in cells if "parameters" in c["metadata"].get("tags", [])))


def begun(cell: str, **given) -> dict:
    """What a notebook would hold when it begins: its defaults, and what papermill put in their place."""
    names = {}
    exec(cell, names)
    injected = "# Parameters\n" + "".join(f"{name} = {value!r}\n" for name, value in given.items())
    return {**names, **given, "In": ["", cell, injected, "imports"]}


@pytest.mark.parametrize("name", NAMES)
def test_each_parameter_of_each_notebook_has_a_kind_and_each_size_of_the_tests_fits(name):
    defaults = notebook._defaults([cell_of(name)])
    assert set(defaults) <= set(parameters.KINDS)
    parameters.check(defaults, defaults)
    sizes = yaml.safe_load((ROOT / "tests" / "overrides.yaml").read_text(encoding="utf-8"))[name]
    parameters.check(sizes, defaults)


@pytest.mark.parametrize("path", sorted((ROOT / "recipes").glob("*.yaml")), ids=lambda path: path.stem)
def test_each_recipe_fits(path):
    parameters.check(yaml.safe_load(path.read_text(encoding="utf-8")), notebook._defaults([cell_of("07_benchmarks")]))


@pytest.mark.parametrize("name", EDITIONS)
def test_each_edition_fits(name):
    parameters.check(EDITIONS[name].parameters, notebook._defaults([cell_of(EDITIONS[name].notebook)]))


WRONG = [
    ({"lora": "false"}, "lora is 'false', a text; give True or False.*write False, or false in YAML"),
    ({"lora": 0}, "lora is 0; give True or False"),
    ({"learning_rate": "5e-4"}, r"learning_rate is '5e-4', a text; .*YAML takes 5e-4 for text.*5\.0e-4"),
    ({"learning_rate": 0}, "learning_rate is 0; give a number above 0"),
    ({"learning_rate": float("nan")}, "learning_rate is (nan|'NaN')"),
    ({"other_models": "org/lm"}, r"other_models is 'org/lm', a text; give a list of texts.*\['org/lm'\]"),
    ({"ladder": "tiny-0.2M"}, "ladder is 'tiny-0.2M', a text; give a list of texts"),
    ({"mask_ratio": None}, "mask_ratio is None; give a number from 0 to 1"),
    ({"mask_ratio": "None"}, "mask_ratio is 'None', a text.*write None, or null in YAML"),
    ({"mask_ratio": "5%"}, r"mask_ratio is '5%', a text.*Numbers are written as 0\.05"),
    ({"mask_ratio": "0,05"}, r"mask_ratio is '0,05', a text.*Numbers are written as 0\.05"),
    ({"refine_share": 1.2}, "refine_share is 1.2; give a number from 0 to 1"),
    ({"steps": 0}, "steps is 0; give a whole number, 1 or more"),
    ({"finetune_steps": -1}, "finetune_steps is -1; give a whole number, 1 or more"),
    ({"batch_size": 0}, "batch_size is 0"),
    ({"accumulation": -2}, "accumulation is -2"),
    ({"generation_batch": 0}, "generation_batch is 0"),
    ({"max_new_tokens": 1.5}, "max_new_tokens is 1.5"),
    ({"limit": 0}, "limit is 0"),
    ({"limit": "all"}, "limit is 'all', a text"),
    ({"seed": -1}, "seed is -1; give a whole number from 0 to 4294967295"),
    ({"seeds": 0}, "seeds is 0"),
    ({"rounds": -1}, "rounds is -1"),
    ({"samples": True}, "samples is True, a truth value"),
    ({"train_benchmark": "tinyprogams"}, "train_benchmark is 'tinyprogams', a text; give one of 'tinyprograms', 'huma"),
    ({"target": "nearest"}, "target is 'nearest'.*'bm25', 'random'"),
    ({"steps": 0, "lora": "no"}, "(?s)steps is 0.*lora is 'no'"),
]


@pytest.mark.parametrize(("given", "message"), WRONG, ids=[str(given) for given, _ in WRONG])
def test_a_wrong_value_is_named_when_a_notebook_begins_and_when_a_training_is_launched(given, message, tmp_path, home):
    with pytest.raises(ValueError, match=message):
        notebook.begin(begun(cell_of("07_benchmarks"), **given), 0)
    (tmp_path / "recipe.json").write_text(json.dumps(given), encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        launch.main([str(tmp_path / "recipe.json")])
    assert not (home / "runs").exists()


def test_text_that_yaml_1_1_makes_of_a_number_is_told(tmp_path):
    (tmp_path / "recipe.yaml").write_text("learning_rate: 5e-4\n", encoding="utf-8")
    with pytest.raises(ValueError, match="learning_rate is '5e-4', a text"):
        launch.main([str(tmp_path / "recipe.yaml")])
    with pytest.raises(ValueError, match="lora is 'false', a text"):
        launch.main([str(tmp_path / "recipe.yaml"), "-p", "learning_rate", "5.0e-4", "-p", "lora", "false"])


def test_a_value_that_was_typed_into_a_notebook_is_checked_too():
    cell = cell_of("07_benchmarks").replace("lora = False", 'lora = "no"')
    with pytest.raises(ValueError, match="lora is 'no', a text"):
        notebook.begin(begun(cell), 0)


def test_checks_stop_a_notebook_before_anything_is_trained(home, random_lm):
    with pytest.raises(papermill.PapermillExecutionError, match="lora is 'false', a text"):
        papermill.execute_notebook(
            NOTEBOOKS / "02_finetune_distill.ipynb", home / "out.ipynb", {"model": random_lm, "lora": "false"},
            progress_bar=False, kernel_name="python3",
        )  # fmt: skip
    assert not (home / "runs").exists()


# --- longest programs ---------------------------------------------------------------------------------------


def test_each_benchmark_has_a_longest_program():
    assert set(LONGEST) == set(BENCHMARKS)
    assert LONGEST["humaneval"] >= 512


@pytest.mark.parametrize("name", [name for name in NAMES if "max_new_tokens" in cell_of(name)])
def test_programs_are_as_long_as_the_benchmark_needs_unless_told_otherwise(name):
    assert notebook._defaults([cell_of(name)])["max_new_tokens"] is None
    for benchmark, longest in LONGEST.items():
        assert study.sampling(None, benchmark=benchmark).max_new_tokens == longest
        assert study.sampling(7, benchmark=benchmark).max_new_tokens == 7
    assert study.recipe(train_benchmark="mbpp").distil.sampling.max_new_tokens == LONGEST["mbpp"]
    cells = json.loads((NOTEBOOKS / f"{name}.ipynb").read_text(encoding="utf-8"))["cells"]
    source = "".join("".join(c["source"]) for c in cells if c["cell_type"] == "code")
    assert "study.sampling(max_new_tokens, generation_batch, benchmark=benchmark" in source


def test_the_defaults_of_tinyprograms_are_those_of_the_published_runs():
    assert study.recipe() == study.recipe(max_new_tokens=112)
    assert study.recipe().distil == Distil()
    assert runs.key_of(Loop(sampling=study.sampling(None, 128))) == runs.key_of(Loop())


# --- cut programs -------------------------------------------------------------------------------------------


def table(**ended) -> pd.DataFrame:
    return pd.DataFrame({"ended": [why for why, count in ended.items() for _ in range(count)]})


@pytest.fixture
def said(monkeypatch):
    texts = []
    monkeypatch.setattr(notebook, "say", texts.append)
    return texts


def test_few_cut_programs_are_counted(said):
    notebook.tell_cut({"a": table(end=98, length=2), "b": [table(program=100)]}, 112)
    assert said == ["2 of 200 programs (1.0 %) were cut at 112 tokens."]


def test_many_cut_programs_are_warned_of(said):
    result = type("Result", (), {"attempts": table(end=95, length=5)})
    notebook.tell_cut({("CYCLE", "greedy"): [result], "b": table(program=100)}, 512)
    assert said[0] == "5 of 200 programs (2.5 %) were cut at 512 tokens."
    assert "Warning: more than 2 % were cut (CYCLE, greedy: 5.0 %)" in said[1] and "`max_new_tokens`" in said[1]


def test_runs_that_did_not_keep_it_are_told(said):
    notebook.tell_cut({"a": pd.DataFrame({"passed": [True]})}, 112)
    assert "is not known" in said[0]


@pytest.mark.parametrize("name", [name for name in NAMES if not name.startswith("00")])
def test_every_notebook_that_generates_says_how_many_programs_were_cut(name):
    cells = json.loads((NOTEBOOKS / f"{name}.ipynb").read_text(encoding="utf-8"))["cells"]
    source = "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "code")
    assert "notebook.tell_cut(" in source
    ast.parse(source)


def test_a_run_notes_how_many_were_cut(random_lm):
    run = stages.loop(Loop(model=random_lm, limit=3, rounds=0, sampling=study.sampling(4)), progress=False)
    assert run.notes["cut"] == 3 and set(stages.attempts_of(run)["ended"]) == {"length"}
