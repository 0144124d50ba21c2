"""The recipes fit the notebook that they are for, say what they cost, and are what recipes/estimate.py writes."""

import ast
import dataclasses
import importlib.util
import re
import sys

import papermill
import pytest
import yaml

from cycle_utils.paths import NOTEBOOKS, ROOT
from cycle_utils.problems.benchmarks import BENCHMARKS

FOLDER = ROOT / "recipes"
FILES = sorted(FOLDER.glob("*.yaml"))


def load_script():
    """recipes/estimate.py is a script, not a part of the package."""
    spec = importlib.util.spec_from_file_location("estimate", FOLDER / "estimate.py")
    sys.modules["estimate"] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


estimate = load_script()


@pytest.fixture(scope="module")
def known() -> dict[str, dict]:
    """The notebook's own parameters, as papermill reads them."""
    return papermill.inspect_notebook(NOTEBOOKS / "07_benchmarks.ipynb")


def recipe(path) -> dict:
    return yaml.safe_load(path.read_text())


def test_there_is_one_for_each_row_of_the_paper_and_one_for_a_current_model():
    rows = {(r["model"], r["benchmark"]) for r in map(recipe, FILES)}
    paper = (
        "Salesforce/codegen-350M-mono",
        "bigcode/starcoderbase-1b",
        "Salesforce/codegen-2B-mono",
        "bigcode/starcoderbase-3b",
    )
    assert rows == {(m, b) for m in paper for b in ("humaneval", "mbpp", "apps")} | {
        ("Qwen/Qwen2.5-Coder-0.5B", "humaneval")
    }
    assert len(FILES) == 13


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_notebook_has_each_parameter_and_takes_its_value(path, known):
    for name, value in recipe(path).items():
        assert name in known, f"{path.name} sets {name}, which 07_benchmarks does not have"
        default = ast.literal_eval(known[name]["default"])
        assert default is None or type(value) is type(default), f"{name}: {value!r} for {default!r}"
    assert {recipe(path)["benchmark"], recipe(path)["train_benchmark"]} <= set(BENCHMARKS)
    assert "train" in BENCHMARKS[recipe(path)["train_benchmark"]].splits


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_header_carries_the_estimate(path):
    head = [line for line in path.read_text().splitlines() if line.startswith("#")]
    found = re.search(r"GPU memory (\d+) GiB, ([\d.]+) hours, disk (\d+) GiB", " ".join(head))
    (row,) = [r for r in estimate.ROWS if estimate.file_name(*r) == path.name]
    cost = estimate.cost(*row)
    assert [float(x) for x in found.groups()] == [round(cost.memory), round(cost.hours, 1), round(cost.disk)]
    assert f"-f ../recipes/{path.name}" in " ".join(head) and "not measured" in " ".join(head)
    assert all(len(line) <= 120 for line in head)


def test_the_files_and_the_table_are_what_the_script_writes():
    assert {path.name: path.read_text() for path in FILES} == {
        estimate.file_name(*row): estimate.recipe(*row) for row in estimate.ROWS
    }
    readme = (FOLDER / "README.md").read_text()
    assert estimate.table() in readme and estimate.filled(readme) == readme


def test_recipes_of_one_model_share_its_training():
    for model in {recipe(path)["model"] for path in FILES}:
        own = [recipe(path) for path in FILES if recipe(path)["model"] == model]
        kept = [{k: v for k, v in r.items() if k not in ("benchmark", "limit")} for r in own]
        assert all(r == kept[0] for r in kept)


@pytest.mark.parametrize("model", [*estimate.PAPER, estimate.QWEN], ids=lambda model: model.name)
def test_the_shapes_have_the_parameters_that_estimates_use(model):
    import torch
    from transformers import AutoModelForCausalLM, CodeGenConfig, GPTBigCodeConfig, Qwen2Config

    m, end = model, {"bos_token_id": 0, "eos_token_id": 0}
    shape = {"n_embd": m.width, "n_layer": m.layers, "n_head": m.heads, "vocab_size": m.vocabulary, **end}
    if "codegen" in m.id:
        config = CodeGenConfig(**shape)
    elif "starcoder" in m.id:
        config = GPTBigCodeConfig(**shape, n_positions=8192, n_inner=4 * m.width)
    else:
        config = Qwen2Config(
            hidden_size=m.width, num_hidden_layers=m.layers, num_attention_heads=m.heads, vocab_size=m.vocabulary,
            num_key_value_heads=2, intermediate_size=4864, tie_word_embeddings=True, **end,
        )  # fmt: skip
    with torch.device("meta"):
        assert AutoModelForCausalLM.from_config(config).num_parameters() == m.parameters


def test_every_recipe_fits_the_gpu_that_it_names():
    size = float(re.search(r"(\d+) GB", estimate.GPU)[1]) * 1e9 / estimate.GIB
    assert all(estimate.cost(*row).memory < size for row in estimate.ROWS)


def test_costs_follow_from_their_causes():
    small, large = estimate.CODEGEN_350M, estimate.CODEGEN_2B
    base = estimate.cost(small, "humaneval")
    assert base.weights * estimate.GIB == 16 * small.parameters
    assert estimate.cost(large, "humaneval").training_hours > base.training_hours * large.parameters / small.parameters
    assert estimate.cost(small, "apps").generation_hours > 10 * base.generation_hours
    thrifty = dataclasses.replace(small, checkpointing=True)
    assert estimate.activations(thrifty) < estimate.activations(small)
    assert estimate.flops(thrifty) * 6 == estimate.flops(small) * 8
    assert estimate.kv_bytes(small) == 2 * 20 * 1024 * 4
