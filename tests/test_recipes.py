"""The recipes fit their notebooks, set all that shapes a result, share no file, and say what they cost."""

import ast
import importlib.util
import re
import sys
from dataclasses import replace

import nbformat
import pytest
import torch
from transformers import AutoModelForCausalLM, CodeGenConfig, GPTBigCodeConfig, LlamaConfig, Qwen2Config

from cycle_utils import study
from cycle_utils.paths import NOTEBOOKS, ROOT
from cycle_utils.problems.benchmarks import BENCHMARKS
from cycle_utils.study import check, costs, recipes
from cycle_utils.study.editions import TRAINED, notebook_of
from cycle_utils.study.recipes import FOLDER
from cycle_utils.study.recipes import read as recipe

FILES = recipes.files()
# What a recipe leaves to the notebook: where local copies are, what TinyPrograms alone knows, who else takes part.
LEFT = {"data", "train_data", "ambiguity", "seed", "seeds", "ladder", "other_models", "other_style"}
PAPER = (
    "Salesforce/codegen-350M-mono",
    "bigcode/starcoderbase-1b",
    "Salesforce/codegen-2B-mono",
    "bigcode/starcoderbase-3b",
)
BASE = recipes.whole(recipe(FOLDER / "codegen-350m-mono-humaneval.yaml"), recipes.BENCHMARKS)


def load_script():
    """recipes/estimate.py is a script, not a part of the package."""
    spec = importlib.util.spec_from_file_location("estimate", ROOT / "recipes" / "estimate.py")
    sys.modules["estimate"] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


estimate = load_script()
each_recipe = pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)


def test_there_is_one_for_each_row_of_the_paper():
    trained = [recipe(path) for path in FILES if recipes.notebook_of(path) == recipes.BENCHMARKS]
    assert {(m, b) for m in PAPER for b in ("humaneval", "mbpp", "apps")} <= {
        (one["model"], one["benchmark"]) for one in trained if not one["lora"]
    }
    figures = [recipe(path)["model"] for path in FILES if recipes.notebook_of(path) == recipes.DIAGNOSIS]
    assert sorted(figures) == ["Salesforce/codegen-2B-mono", "bigcode/starcoderbase-3b"]  # of which the paper has one


@each_recipe
def test_a_recipe_sets_all_that_shapes_its_result_and_nothing_else(path):
    notebook, given = recipes.notebook_of(path), recipe(path)
    assert set(given) == set(recipes.defaults(notebook)) - LEFT
    recipes.whole(given, notebook)  # of the right types, in their ranges
    learned = given.get("train_benchmark", given["benchmark"])
    assert learned in BENCHMARKS and ("train_benchmark" not in given or "train" in BENCHMARKS[learned].splits)


def suffix(path) -> str:
    """What the recipe's notebook itself adds to its files' names."""
    notebook = recipes.notebook_of(path)
    cells = nbformat.read(NOTEBOOKS / f"{notebook}.ipynb", 4).cells
    nodes = [node for cell in cells if "study.edition(" in cell.source for node in ast.parse(cell.source).body]
    (one,) = [node.value for node in nodes if isinstance(node, ast.Assign) and node.targets[0].id == "suffix"]
    return eval(ast.unparse(one), {"study": study, **recipes.whole(recipe(path), notebook)})


def test_no_two_recipes_share_a_file():
    names = [recipes.notebook_of(path) + suffix(path) for path in FILES]
    assert len(set(names)) == len(names) and all(name not in ("01_copy_rate", "07_benchmarks") for name in names)
    assert names == [recipes.result_name(recipe(path), recipes.notebook_of(path)) for path in FILES]
    assert [notebook_of(name) for name in names] == [recipes.notebook_of(path) for path in FILES]


def test_the_recipe_for_a_cpu_is_the_published_edition():
    (edition,) = (one for one in TRAINED.values() if one.parameters["benchmark"] == "mbpp")
    own = recipes.defaults(edition.notebook)
    assert recipes.whole(recipe(recipes.named("smollm2", "mbpp")), edition.notebook) == {
        **own, **edition.parameters, "rounds": 4,
    }  # fmt: skip


def test_full_recipes_of_one_model_share_its_training():
    for model in PAPER:
        own = [recipe(path) for path in FILES if recipes.notebook_of(path) == recipes.BENCHMARKS]
        own = [one for one in own if one["model"] == model and not one["lora"]]
        kept = [{k: v for k, v in one.items() if k not in ("benchmark", "limit")} for one in own]
        assert len(kept) == 3 and all(one == kept[0] for one in kept)


def test_every_step_of_training_is_on_64_examples_as_in_the_artifact():
    learned = [recipe(path) for path in FILES if recipe(path).get("train_benchmark") == "codecontests"]
    assert {one["batch_size"] * one["accumulation"] for one in learned} == {64}


@each_recipe
def test_the_comment_above_a_recipe_and_the_table_are_what_the_script_writes(path):
    text = path.read_text(encoding="utf-8")
    assert estimate.written(path) == text, "run: python recipes/estimate.py --write"
    one, shape = estimate.given(path), costs.shape_of(recipe(path)["model"])
    memory, hours, disk = re.search(r"memory (\d+) GiB, ([\d.]+) hours, disk (\d+) GiB", text).groups()
    machine = costs.machine_of(one, shape)
    assert machine.name in text and int(memory) * costs.GIB < machine.memory
    expected = sum(costs.hours(costs.work(one), costs.estimated(one, shape, machine)).values())
    assert float(hours) == round(expected, 1) and int(disk) == round(costs.disk(one, shape) / costs.GIB)
    assert f"-f ../recipes/{path.name}" in text and all(len(line) <= 120 for line in text.splitlines())


def test_the_table_in_the_readme_is_what_the_script_writes():
    readme = (ROOT / "recipes" / "README.md").read_text(encoding="utf-8")
    assert estimate.filled(readme) == readme, "run: python recipes/estimate.py --write"


@each_recipe
def test_a_recipe_fits_its_card_and_another_by_what_its_head_says(path):
    one, text = estimate.given(path), path.read_text(encoding="utf-8")
    shape = costs.shape_of(one["model"])
    meant = costs.machine_of(one, shape)
    if meant not in costs.GPUS:
        return
    assert costs.fitted(one, shape, meant.memory) == {}, "it could be faster on its own card"
    ((card, changes),) = estimate.others(one)
    new = recipes.whole({**one, **changes}, recipes.notebook_of(path))
    assert costs.memory(new, shape).most < costs.ROOM * card.memory and changes
    assert f"# On one {card.name}: --card {card.memory / 1e9:.0f}, or\n#   {recipes.as_options(changes)}\n" in text
    if costs.trains(one):
        assert new["batch_size"] * new["accumulation"] == 64


def test_adapters_are_for_cards_that_do_not_hold_all_weights():
    lora = [recipe(path) for path in FILES if recipe(path).get("lora")]
    for small in lora:
        full = estimate.given(recipes.named(small["model"], small["benchmark"]))
        changes = costs.fitted(full, costs.shape_of(full["model"]), costs.GPUS[0].memory)
        assert {name: full[name] for name in small} | changes == small
    with pytest.raises(ValueError, match=r"needs about [\d.]+ GiB with adapters alone and an example at a time"):
        costs.fitted(BASE, costs.shape_of(BASE["model"]), 2e9)


def config(model: str):
    """The configuration of a recipe's model, as its shape gives it."""
    one, end = costs.SHAPES[model], {"bos_token_id": 0, "eos_token_id": 0}
    old = {"n_embd": one.width, "n_layer": one.layers, "n_head": one.heads, "vocab_size": one.vocabulary, **end}
    new = {
        "hidden_size": one.width, "num_hidden_layers": one.layers, "num_attention_heads": one.heads,
        "vocab_size": one.vocabulary, "num_key_value_heads": one.kv_width * one.heads // one.width,
        "tie_word_embeddings": True, **end,
    }  # fmt: skip
    if "codegen" in model:
        return CodeGenConfig(**old)
    if "starcoder" in model:
        return GPTBigCodeConfig(**old, n_positions=8192, n_inner=4 * one.width)
    return Qwen2Config(**new, intermediate_size=4864) if "Qwen" in model else LlamaConfig(**new, intermediate_size=1536)


@pytest.mark.parametrize("model", costs.SHAPES)
def test_a_shape_is_that_of_its_model(model, tmp_path):
    with torch.device("meta"):
        assert AutoModelForCausalLM.from_config(config(model)).num_parameters() == costs.SHAPES[model].parameters
    config(model).save_pretrained(tmp_path)
    assert costs.shape_of(str(tmp_path)) == costs.SHAPES[model]  # read from the configuration


def test_costs_follow_from_their_causes():
    shape, gpu = costs.SHAPES[BASE["model"]], costs.GPUS[0]
    assert costs.memory(BASE, shape).weights == 16 * shape.parameters
    assert costs.kv_bytes(BASE, shape) == 2 * 4 * 20 * 1024

    def changed(**more) -> dict:
        return {**BASE, **more}

    assert (
        costs.memory(changed(gradient_checkpointing=False), shape).activations > costs.memory(BASE, shape).activations
    )
    assert [costs.flops(changed(gradient_checkpointing=c, lora=a)) for c in (0, 1) for a in (0, 1)] == [6, 4, 8, 6]
    assert costs.memory(changed(lora=True), shape).weights < 5 * shape.parameters
    assert costs.disk(changed(lora=True), shape) < costs.disk(BASE, shape)
    assert costs.work(changed(seeds=3)).refining_tokens == 3 * costs.work(BASE).refining_tokens
    more, less = (costs.work(changed(refine_share=share)).refining_tokens for share in (0.75, 0.5))
    assert more / less == pytest.approx((0.75 * 1300 + 0.25 * 900) / (0.5 * 1300 + 0.5 * 900))
    slow = replace(gpu, flops=gpu.flops / 2)
    twice = [costs.hours(costs.work(BASE), costs.estimated(BASE, shape, one))["fine-tuning"] for one in (slow, gpu)]
    assert twice[0] == 2 * twice[1]
    batches = {4: costs.GPUS[0], 16: costs.GPUS[1], 640: costs.GPUS[1]}  # the last fits neither
    assert {batch: costs.machine_of(changed(batch_size=batch), shape) for batch in batches} == batches


def test_the_work_of_07_counts_each_contender_and_control():
    assert costs.work(BASE).evaluated == 164 * 5 * (3 * 2 + 3 + 1)  # loops and greedy ones, samples, one blanked
    assert costs.work({**BASE, "with_greedy": False, "budget_of": ["CYCLE"]}).evaluated == 164 * 5 * (3 + 1 + 1)
    assert costs.work({**BASE, "train_benchmark": "mbpp"}).sampled == 374 * BASE["samples"]


def test_a_recipe_is_found_by_model_and_benchmark_and_another_model_takes_its_pattern():
    parser = check.argparse.ArgumentParser()
    recipes.add_arguments(parser)

    def chosen(*arguments: str):
        path, changed = recipes.chosen(parser.parse_args(arguments))
        return path.name, changed

    assert chosen() == ("smollm2-mbpp.yaml", {})
    large = ("--model", "Salesforce/codegen-2B-mono", "--benchmark", "humaneval")
    assert chosen(*large, "-p", "lora", "True") == ("codegen-2b-mono-humaneval.yaml", {"lora": True})
    small = {"lora": True, "learning_rate": 2e-4, "generation_batch": 2, "batch_size": 2, "accumulation": 32}
    assert chosen(*large, "--card", "24", "-p", "generation_batch", "2")[1] == small
    other = ("--model", "some/other", "--benchmark", "apps")
    assert chosen(*other) == ("codegen-350m-mono-apps.yaml", {"model": "some/other"})
    with pytest.raises(FileNotFoundError, match="there is no recipe nowhere"):
        chosen("nowhere.yaml")


def test_an_unknown_parameter_is_refused():
    with pytest.raises(ValueError, match="unknown parameter 'mask_rate'"):
        recipes.whole({"mask_rate": 0.1}, recipes.BENCHMARKS)
