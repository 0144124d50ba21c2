"""The recipes in this folder, and what each will cost: one home for their numbers.

``python recipes/estimate.py`` prints the table of recipes/README.md; with ``--write`` it writes that table and the
YAML files. Costs follow from the models' shapes by the formulas below. They are estimates, not measurements.
"""

from __future__ import annotations

import argparse
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from cycle_utils.method.training import LONGEST

FOLDER = Path(__file__).resolve().parent
GIB = 2**30

# --- what is assumed -------------------------------------------------------------------------------------

GPU, PEAK, BANDWIDTH = "A100 80 GB", 312e12, 2.039e12  # dense bfloat16 FLOP/s and bytes/s, by NVIDIA's data sheet
SHARE = 0.4  # of either that is reached
LAYER_SECONDS = 1e-3  # the least that a layer of a decoding step takes: launching kernels from Python
BLOCK = LONGEST  # tokens of the longest example, which training enforces
PLAIN, REFINE = 900, 1300  # tokens of a mean CodeContests example: 600 of description, 300 of each program, feedback
RUN_SECONDS, WORKERS = 0.02, 2  # one run of a program under the judge; the judge's default workers
RUNS = {"humaneval": 1, "mbpp": 1, "apps": 21, "codecontests": 2}  # runs that judging one program takes, on average
DATA_GIB = {"humaneval": 0.0, "mbpp": 0.0, "apps": 1.2, "codecontests": 7.1}  # download
PROTOCOLS = 10  # loops and controls in 07: three contenders x (loop, greedy loop, equal budget), and one blanked loop
ROUNDS = 4  # refinements, the notebook's default

# --- the recipes -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Model:
    """A causal LM's shape: heads, and kv_width (key and value numbers of a token and layer, each), decide memory.

    ``generation_batch`` is what the key-value cache leaves room for.
    """

    name: str
    id: str
    parameters: int
    layers: int
    width: int
    heads: int
    kv_width: int
    vocabulary: int
    checkpointing: bool
    generation_batch: int = 128


CODEGEN_350M = Model(
    "CodeGen-350M-mono", "Salesforce/codegen-350M-mono", 356_712_448, 20, 1024, 16, 1024, 51_200, False
)
STARCODER_1B = Model("StarCoderBase-1B", "bigcode/starcoderbase-1b", 1_137_207_296, 24, 2048, 16, 128, 49_152, True)
CODEGEN_2B = Model(
    "CodeGen-2B-mono (2.7B)", "Salesforce/codegen-2B-mono", 2_779_356_160, 32, 2560, 32, 2560, 51_200, True, 32
)
STARCODER_3B = Model("StarCoderBase-3B", "bigcode/starcoderbase-3b", 3_043_311_104, 36, 2816, 22, 128, 49_152, True)
QWEN = Model("Qwen2.5-Coder-0.5B", "Qwen/Qwen2.5-Coder-0.5B", 494_032_768, 24, 896, 14, 128, 151_936, False)

PAPER = (CODEGEN_350M, STARCODER_1B, CODEGEN_2B, STARCODER_3B)
LIMITS = {"humaneval": 164, "mbpp": 257, "apps": 5000}  # every test problem
ROWS = [(model, benchmark) for model in PAPER for benchmark in LIMITS] + [(QWEN, "humaneval")]

TRAINING = {
    "train_benchmark": "codecontests",
    "problems": 8000,  # at most; how many the paper used is unknown
    "finetune_steps": 375,  # 3 epochs [artifact] of one solution a problem
    "samples": 2,
    "steps": 750,  # 3 epochs of two examples a problem
    "batch_size": 4,
    "accumulation": 16,  # 64 examples a step [artifact: 2 processes x 32]
    "learning_rate": 5e-5,  # [artifact]
    "lora": False,
}
SAMPLING = {"max_new_tokens": 256, "feedback_tests": "all"}  # both as in the artifact


def parameters(model: Model, benchmark: str) -> dict[str, Any]:
    """What papermill hands to 07_benchmarks. The rows of one model differ in the benchmark alone: one training."""
    own = {"gradient_checkpointing": model.checkpointing, "generation_batch": model.generation_batch}
    return {"model": model.id, "benchmark": benchmark, "limit": LIMITS[benchmark], **TRAINING, **own, **SAMPLING}


def file_name(model: Model, benchmark: str) -> str:
    return f"{model.id.split('/')[1].lower()}-{benchmark}.yaml"


# --- what they cost --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Cost:
    """Memory in GiB of GPU memory and of disk, times in hours; for one seed, all of 07 included."""

    weights: float
    activations: float
    generation: float
    training_hours: float
    generation_hours: float
    judging_hours: float
    disk: float

    @property
    def memory(self) -> float:
        """Training and generation do not run at the same time."""
        return max(self.weights + self.activations, self.generation)

    @property
    def hours(self) -> float:
        return self.training_hours + self.generation_hours + self.judging_hours


def cost(model: Model, benchmark: str) -> Cost:
    """The estimate of one recipe, by the formulas of the functions below."""
    return Cost(
        weights=16 * model.parameters / GIB,  # float32: weights, gradients, two Adam moments
        activations=activations(model) / GIB,
        generation=(4 * model.parameters + model.generation_batch * BLOCK * kv_bytes(model)) / GIB,
        training_hours=training_tokens() * flops(model) / (SHARE * PEAK) / 3600,
        generation_hours=generation_seconds(model, benchmark) / 3600,
        judging_hours=sum(n * RUNS[name] for name, n in programs(benchmark).items()) * RUN_SECONDS / WORKERS / 3600,
        # float32: the download and the two trained LMs; three checkpoints with moments, while one replaces the oldest
        disk=(3 * 4 + 3 * 12) * model.parameters / GIB + DATA_GIB["codecontests"] + DATA_GIB[benchmark],
    )


def activations(model: Model) -> float:
    """Bytes: a layer's own (Korthikanti et al. 2022, equation 2), the layers' inputs, and logits three times over."""
    tokens = TRAINING["batch_size"] * BLOCK
    layer = tokens * (34 * model.width + 5 * model.heads * BLOCK)
    alive = layer + 4 * model.layers * tokens * model.width if model.checkpointing else layer * model.layers
    return alive + 3 * 4 * tokens * model.vocabulary


def kv_bytes(model: Model) -> int:
    """Bytes of key-value cache that a token takes, in float32."""
    return 2 * 4 * model.layers * model.kv_width


def flops(model: Model) -> int:
    """Of one token's forward and backward pass; checkpointing runs the forward pass twice."""
    return (8 if model.checkpointing else 6) * model.parameters


def training_tokens(refine_share: float = 0.75) -> float:
    """Tokens of stages 1(a) and 2 together; ``refine_share`` is the notebook's default."""
    examples = TRAINING["batch_size"] * TRAINING["accumulation"]
    mixed = refine_share * REFINE + (1 - refine_share) * PLAIN
    return examples * (TRAINING["finetune_steps"] * PLAIN + TRAINING["steps"] * mixed)


def programs(benchmark: str) -> dict[str, int]:
    """Programs generated and judged, at most: stage 1(b), then every loop and control."""
    return {
        "codecontests": TRAINING["problems"] * TRAINING["samples"],
        benchmark: LIMITS[benchmark] * (1 + ROUNDS) * PROTOCOLS,
    }


def generation_seconds(model: Model, benchmark: str) -> float:
    """Decoding steps, each of which reads the weights and the cache, or takes a layer's least time."""
    read = 4 * model.parameters + model.generation_batch * PLAIN * kv_bytes(model)
    step = max(model.layers * LAYER_SECONDS, read / (SHARE * BANDWIDTH))
    return sum(programs(benchmark).values()) / model.generation_batch * SAMPLING["max_new_tokens"] * step


# --- what is written -------------------------------------------------------------------------------------


def header(model: Model, benchmark: str) -> str:
    """The comment above a recipe: how to run it, what it needs, and how that was estimated."""
    c = cost(model, benchmark)
    billions = f"{model.parameters / 1e9:.2f} G parameters"
    kept = "one layer alive, gradient checkpointing" if model.checkpointing else "all layers alive"
    made = sum(programs(benchmark).values())
    tokens = f"{training_tokens() / 1e6:.0f} M tokens x {8 if model.checkpointing else 6} x {billions}"
    lines = [
        f"{model.name} on {benchmark}, trained on CodeContests. Written by recipes/estimate.py: change it there.",
        f"  cd notebooks && papermill 07_benchmarks.ipynb out.ipynb -f ../recipes/{file_name(model, benchmark)}",
        f"Expected on one {GPU}, one seed: GPU memory {c.memory:.0f} GiB, {c.hours:.1f} hours, disk {c.disk:.0f} GiB.",
        "Reckoned, not measured:",
        f"  memory: training {c.weights:.1f} GiB ({billions} x 16 bytes: weights, gradients, Adam moments in float32)",
        f"    + {c.activations:.1f} GiB (activations and logits of {TRAINING['batch_size']} x {BLOCK} tokens, {kept});",
        f"    generation {c.generation:.1f} GiB (weights, cache of {model.generation_batch} x {BLOCK} tokens)",
        f"  training: {tokens} / ({SHARE:.0%} of {PEAK / 1e12:.0f} TFLOP/s) = {c.training_hours:.1f} h",
        f"  generation: at most {made:,} programs x {SAMPLING['max_new_tokens']} tokens, {model.generation_batch} at a "
        f"time = {c.generation_hours:.1f} h; judging them on {WORKERS} cores = {c.judging_hours:.1f} h",
        f"  disk: {billions} x 48 bytes (3 LMs, 3 checkpoints with moments) + the data",
    ]
    return "".join(f"# {line}\n" for line in lines)


def recipe(model: Model, benchmark: str) -> str:
    """The text of a recipe's file."""
    return header(model, benchmark) + yaml.safe_dump(parameters(model, benchmark), sort_keys=False)


def table() -> str:
    """The table of recipes/README.md."""
    head = "| recipe | model | GPU memory, GiB | hours: training | generation | judging | disk, GiB |"
    lines = [head, "|---|---|" + "---:|" * 5]
    for model, benchmark in ROWS:
        c, name = cost(model, benchmark), file_name(model, benchmark)
        hours = f"{c.training_hours:.1f} | {c.generation_hours:.1f} | {c.judging_hours:.1f}"
        lines.append(f"| [{name}]({name}) | {model.name} | {c.memory:.0f} | {hours} | {c.disk:.0f} |")
    return "\n".join(lines) + "\n"


def filled(readme: str) -> str:
    """The README's text with the table in its place."""
    return re.sub(r"(<!-- table -->\n).*?(<!-- end -->)", lambda m: m[1] + table() + m[2], readme, flags=re.DOTALL)


def main() -> None:
    """Print the table; with ``--write``, write it and the recipes."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--write", action="store_true", help="write the YAML files and the table of README.md")
    if parser.parse_args().write:
        for model, benchmark in ROWS:
            (FOLDER / file_name(model, benchmark)).write_text(recipe(model, benchmark), encoding="utf-8")
        readme = FOLDER / "README.md"
        readme.write_text(filled(readme.read_text(encoding="utf-8")), encoding="utf-8")
    print(table(), end="")


if __name__ == "__main__":
    main()
