"""Training and generation against the artifact's way, and what the recipes' shapes take on a GPU.

    python benchmarks/bench_training.py --save training_speed      # ratios, any machine
    python benchmarks/bench_training.py --gpu --save training_gpu  # step time, memory and share of the peak; needs CUDA

The artifact pads every example to the block length, and every prompt to the longest that it allows. Ours groups
examples by length and pads each batch to its own longest. Both sides train and sample the same model on the same
examples, in turn, several times; a ratio is of medians, and counts real tokens alone. Training is timed between two
lengths of the same call, so that what starts it up counts on neither side.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import pandas as pd
import torch
import transformers
from tqdm.auto import tqdm

from cycle_utils import load_problems
from cycle_utils.analysis.figures import save_table
from cycle_utils.method import mutation, stages
from cycle_utils.method.masking import Masking, PGMCollator
from cycle_utils.method.runs import environment
from cycle_utils.method.training import TrainSettings, train
from cycle_utils.models import load_model, load_tokenizer
from cycle_utils.models.decoding import decode, greedy
from cycle_utils.models.generation import generate
from cycle_utils.models.gguf import SMOLLM2
from cycle_utils.models.loading import context_length
from cycle_utils.models.prompts import one_time_prompt, refine_prompt, shown_code
from cycle_utils.models.sampling import Sampling
from cycle_utils.study import costs, recipes

BLOCK = 2048  # tokens [artifact]
LONGEST_PROMPT = 1536  # tokens [artifact]
PROMPT, ROWS = 300, 64  # on a GPU: tokens of a prompt, and how many prompts are answered at a time
FEEDBACK = "Input: f([3, 1, 2])\nExpected: [1, 2, 3]\nActual: [3, 1, 2]"


class Padded(PGMCollator):
    """The artifact's way: every example as long as a block."""

    def __init__(self, pad_token_id: int, block: int) -> None:
        super().__init__(pad_token_id, Masking())
        self.block = block

    def __call__(self, features: Sequence[dict]) -> dict[str, torch.Tensor]:
        batch = super().__call__(features)
        wanted, empty = self.block - batch["input_ids"].shape[1], {"input_ids": self.pad, "labels": -100}
        return {
            name: torch.nn.functional.pad(tensor, (0, wanted), value=empty.get(name, 0))
            for name, tensor in batch.items()
        }


def codegen(width: int, layers: int, heads: int) -> Any:
    """CodeGen with random weights and its own vocabulary size."""
    transformers.set_seed(0)
    config = transformers.CodeGenConfig(n_embd=width, n_layer=layers, n_head=heads, rotary_dim=min(64, width // heads))
    return transformers.CodeGenForCausalLM(config)


def problems_of(name: str) -> list:
    """Problems with a description like a benchmark's."""
    return load_problems(name, **({"split": "train", "limit": 200} if name == "tinyprograms" else {}))


def examples_of(problems: Sequence, tokenizer) -> list[dict]:
    """Refinement and plain examples in equal parts; the faulty programs are mutants."""
    found = []
    for problem in problems:
        right = problem.canonical_solutions[0]
        faulty = next(mutation.mutants(shown_code(problem, right), random.Random(0)), "")
        refine = {"kind": "refine", "code": faulty, "feedback": FEEDBACK, "target": right}
        found += [stages.encode_example(tokenizer, problem, e) for e in (refine, {"kind": "plain", "target": right})]
    return found


def in_turn(sides: dict[str, Callable[[], float]], repeats: int, what: str) -> dict[str, list[float]]:
    """What each side gives, taken in turn ``repeats`` times."""
    found: dict[str, list[float]] = {name: [] for name in sides}
    for _ in tqdm(range(repeats), desc=what):
        for name, side in sides.items():
            found[name].append(side())
    return found


def training_rate(model, examples: list[dict], collator, grouped: bool, batch: int, steps: int) -> float:
    """Real tokens a second between a training of ``steps`` steps and one of a single step."""

    def seconds(count: int) -> float:
        settings = TrainSettings(steps=count, batch_size=batch, group_by_length=grouped, save_steps=10**6)
        begin = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            train(model, examples[: count * batch], collator, settings, Path(folder), progress=False)
        return time.perf_counter() - begin

    tokens = sum(len(e["input_ids"]) for e in examples[batch : steps * batch])
    return tokens / (seconds(steps) - seconds(1))


def padded_generation(model, tokenizer, prompts: Sequence[str], sampling: Sampling, longest: int) -> None:
    """The artifact's way: every prompt as long as the longest that is allowed."""
    for start in range(0, len(prompts), sampling.batch_size):
        batch = tokenizer(
            list(prompts[start : start + sampling.batch_size]), padding="max_length", max_length=longest,
            truncation=True, return_tensors="pt",
        ).to(model.device)  # fmt: skip
        with torch.inference_mode():
            model.generate(
                **batch, do_sample=True, temperature=sampling.temperature, top_p=sampling.top_p, top_k=0,
                max_new_tokens=sampling.max_new_tokens, pad_token_id=tokenizer.pad_token_id, tokenizer=tokenizer,
            )  # fmt: skip


def generation_rate(run: Callable[[], Any], prompts: int) -> float:
    """Prompts a second."""
    begin = time.perf_counter()
    run()
    return prompts / (time.perf_counter() - begin)


def ratios(repeats: int) -> pd.DataFrame:
    """One row for each model and task: ours, the artifact's way, and how many times as fast ours is."""
    tokenizer = load_tokenizer("tiny")
    cases = {
        "tiny LM (1.3 M)": (load_model("tiny"), "tinyprograms", 8, 64),
        "CodeGen shape (4 layers of 256)": (codegen(256, 4, 4), "humaneval", 4, 16),
    }
    rows = []
    for name, (model, benchmark, batch, together) in cases.items():
        problems = problems_of(benchmark)
        rates = training_rates(model, tokenizer, problems, batch, repeats, name)
        rows.append(_row(name, benchmark, "training, real tokens a second", rates))
        rates = generation_rates(model, tokenizer, problems, together, repeats, name)
        rows.append(_row(name, benchmark, "generation, prompts a second", rates))
    return pd.DataFrame(rows).assign(machine=environment()["machine"], commit=environment()["commit"])


def training_rates(model, tokenizer, problems: Sequence, batch: int, repeats: int, name: str) -> dict[str, list[float]]:
    block = min(BLOCK, context_length(model))
    examples = [e for e in examples_of(problems, tokenizer) if len(e["input_ids"]) <= block]
    ours, theirs = PGMCollator(tokenizer.pad_token_id, Masking()), Padded(tokenizer.pad_token_id, block)
    sides = {
        "ours": lambda: training_rate(model, examples, ours, True, batch, 6),
        "artifact": lambda: training_rate(model, examples, theirs, False, batch, 3),
    }
    return in_turn(sides, repeats, f"training, {name}")


def generation_rates(
    model, tokenizer, problems: Sequence, batch: int, repeats: int, name: str
) -> dict[str, list[float]]:
    sampling = Sampling(max_new_tokens=48, batch_size=batch)
    longest = min(LONGEST_PROMPT, context_length(model) - sampling.max_new_tokens)
    prompts = [one_time_prompt(p).text for p in problems[:batch]]
    prompts += [refine_prompt(p, shown_code(p, p.canonical_solutions[0]), FEEDBACK).text for p in problems[:batch]]
    prompts = [p for p in prompts if len(tokenizer(p)["input_ids"]) <= longest]
    few = random.Random(0).sample(prompts, batch)  # of the slow side, one batch is enough
    sides = {
        "ours": lambda: generation_rate(
            lambda: generate(model, tokenizer, prompts, sampling, progress=False), len(prompts)
        ),
        "artifact": lambda: generation_rate(
            lambda: padded_generation(model, tokenizer, few, sampling, longest), len(few)
        ),
    }
    return in_turn(sides, repeats, f"generation, {name}")


def _row(model: str, benchmark: str, task: str, rates: dict[str, list[float]]) -> dict[str, Any]:
    ours, theirs = (statistics.median(rates[side]) for side in ("ours", "artifact"))
    each = [a / b for a, b in zip(rates["ours"], rates["artifact"])]
    rates = {"ours": round(ours, 1), "padded": round(theirs, 1), "times as fast": round(ours / theirs, 1)}
    reach = {"least": round(min(each), 1), "most": round(max(each), 1)}
    return {"model": model, "examples": benchmark, "task": task, **rates, **reach}


# --- a GPU -----------------------------------------------------------------------------------------------


def on_gpu(models: Sequence[str], peak: float, steps: int) -> pd.DataFrame:
    """Step time, tokens a second, share of the bf16 peak and memory of shapes of :data:`costs.SHAPES`, alone on a GPU.

    Trained as the recipes of codecontests for 24 GB say, or in full where there is none; generation is ours, in
    bfloat16. All weights are random, which no time depends on.

    Args:
        peak: the device's dense bfloat16 FLOP/s.
    """
    known = {given["model"]: given for given in map(recipes.read, recipes.files()) if _is_known(given)}
    rows = []
    for name in models:
        given = known.get(name, {"model": name, "lora": False, "batch_size": 8, "gradient_checkpointing": False})
        about = {name: given[name] for name in ("model", "lora", "batch_size", "gradient_checkpointing")}
        for task, measured in (("training", _trained), ("generation", _generated)):
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
            row = {**about, "task": task} if task == "training" else {"model": name, "task": task}
            try:
                row |= measured(given, peak, steps)
                row["peak memory, GiB"] = round(torch.cuda.max_memory_allocated() / 2**30, 1)
            except torch.cuda.OutOfMemoryError:
                row |= {"ms a step": "out of memory"}
            rows.append(row)
            print(json.dumps(row), flush=True)
    return pd.DataFrame(rows).assign(device=torch.cuda.get_device_name(), commit=environment()["commit"])


def _trained(given: Mapping[str, Any], peak: float, steps: int) -> dict[str, Any]:
    model, batch = _shaped(given["model"]), given["batch_size"]
    block = min(BLOCK, context_length(model))
    features = [{"input_ids": torch.randint(5, 1000, (block,)).tolist()} for _ in range(steps * batch)]
    settings = TrainSettings(
        steps=steps,
        batch_size=batch,
        save_steps=10**6,
        lora=given["lora"],
        gradient_checkpointing=given["gradient_checkpointing"],
    )

    def seconds(count: int) -> float:
        begin = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            train(model, features[: count * batch], PGMCollator(0), replace(settings, steps=count), Path(folder), False)
        torch.cuda.synchronize()
        return time.perf_counter() - begin

    seconds(1)  # warms up
    a_step = (seconds(steps) - seconds(1)) / (steps - 1)
    return _rates(a_step, batch * block, 6, model, peak)


def _generated(given: Mapping[str, Any], peak: float, steps: int) -> dict[str, Any]:
    """Decoding in slots: a step is one token of each row; reading the prompts is not counted."""
    model = _shaped(given["model"]).to(torch.bfloat16).eval()
    prompts = [torch.randint(5, 1000, (PROMPT,)).tolist() for _ in range(ROWS)]

    def seconds(new: int) -> float:
        torch.cuda.synchronize()
        begin = time.perf_counter()
        list(decode(model, prompts, greedy, [], new, ROWS, None))
        torch.cuda.synchronize()
        return time.perf_counter() - begin

    with torch.inference_mode():
        seconds(2)  # warms up
        a_step = (seconds(2 + 16 * steps) - seconds(2)) / (16 * steps)
    return _rates(a_step, ROWS, 2, model, peak)


def _rates(seconds: float, tokens: int, flops: int, model, peak: float) -> dict[str, Any]:
    """What a step of so many ``tokens`` comes to that took ``seconds``, at so many FLOP a token and parameter."""
    rate = tokens / seconds
    return {
        "tokens": tokens, "ms a step": round(1000 * seconds, 1), "tokens a second": round(rate),
        "share of the peak, %": round(100 * rate * flops * model.num_parameters() / peak, 2),
    }  # fmt: skip


def _is_known(given: Mapping[str, Any]) -> bool:
    return given.get("train_benchmark") == "codecontests" and given["benchmark"] == "humaneval"


def _shaped(model: str):
    """A model with random weights and the shape of a recipe's, on the GPU."""
    shape = costs.SHAPES[model]
    if model == SMOLLM2:
        config = transformers.LlamaConfig(
            vocab_size=shape.vocabulary, hidden_size=shape.width, num_hidden_layers=shape.layers,
            num_attention_heads=shape.heads, num_key_value_heads=shape.heads * shape.kv_width // shape.width,
            intermediate_size=1536, tie_word_embeddings=True, max_position_embeddings=8192,
        )  # fmt: skip
    elif model.startswith("bigcode/"):
        config = transformers.GPTBigCodeConfig(
            vocab_size=shape.vocabulary, n_positions=8192, n_embd=shape.width, n_layer=shape.layers,
            n_head=shape.heads, multi_query=True,
        )  # fmt: skip
    else:
        config = transformers.CodeGenConfig(
            vocab_size=shape.vocabulary, n_embd=shape.width, n_layer=shape.layers, n_head=shape.heads,
            rotary_dim=min(64, shape.width // shape.heads),
        )  # fmt: skip
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        return transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--repeats", type=int, default=3, help="times that both sides are measured in turn")
    parser.add_argument("--gpu", action="store_true", help="shapes of real LMs on this machine's GPU")
    parser.add_argument("--models", nargs="+", default=list(costs.SHAPES), choices=costs.SHAPES, help="on the GPU")
    parser.add_argument("--peak", type=float, default=989e12, help="its dense bf16 FLOP/s (default: an H100)")
    parser.add_argument("--steps", type=int, default=6, help="steps timed on the GPU")
    parser.add_argument("--save", metavar="NAME", help="also write the table to reproduction/tables/NAME")
    options = parser.parse_args()
    if options.gpu and not torch.cuda.is_available():
        raise SystemExit("no CUDA device here: run this on a machine that has one")

    table = on_gpu(options.models, options.peak, options.steps) if options.gpu else ratios(options.repeats)
    print(table.to_string(index=False))
    if options.save:
        save_table(table, options.save)


if __name__ == "__main__":
    main()
