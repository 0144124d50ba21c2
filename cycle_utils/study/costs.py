"""What a recipe costs: its work, counted from its parameters, at speeds that are estimated or measured.

:func:`work` says how many tokens are trained on and how many programs are written and judged, at most;
:class:`Speeds` how fast. :func:`estimated` takes them from a model's shape and a machine's data sheet, and
``cycle_utils.study.check`` measures them; :func:`hours` is one by the other. Memory and disk follow from the shape.
All of it is for the notebooks 01, which trains nothing, and 07, whose ladder and loops without repeats are not counted.
:func:`fitted` changes a recipe for another card.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from cycle_utils.method.training import LONGEST, TrainSettings
from cycle_utils.models import sampling
from cycle_utils.models.gguf import is_gguf
from cycle_utils.models.loading import count_parameters, locate

GIB = 2**30
SHARE = 0.4  # of a data sheet's peak that is reached

# --- models and machines ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Shape:
    """A causal LM's shape; ``kv_width`` is how many keys (and as many values) a token has in each layer."""

    parameters: int
    layers: int
    width: int
    heads: int
    kv_width: int
    vocabulary: int


# Of the recipes' models, so that what they cost can be said where the Hub is out of reach.
SHAPES = {
    "Salesforce/codegen-350M-mono": Shape(356_712_448, 20, 1024, 16, 1024, 51_200),
    "bigcode/starcoderbase-1b": Shape(1_137_207_296, 24, 2048, 16, 128, 49_152),
    "Salesforce/codegen-2B-mono": Shape(2_779_356_160, 32, 2560, 32, 2560, 51_200),
    "bigcode/starcoderbase-3b": Shape(3_043_311_104, 36, 2816, 22, 128, 49_152),
    "Qwen/Qwen2.5-Coder-0.5B": Shape(494_032_768, 24, 896, 14, 128, 151_936),
    "smollm2": Shape(134_515_008, 30, 576, 9, 192, 49_152),
}


def shape_of(model: str) -> Shape:
    """The shape of a model, from :data:`SHAPES` or else from its configuration.

    Raises:
        FileNotFoundError, OSError: as :func:`~cycle_utils.models.loading.locate`; or the Hub does not give it.
    """
    return SHAPES[model] if model in SHAPES else _configured(model)


def _configured(model: str) -> Shape:
    from transformers import AutoConfig

    parameters = count_parameters(model)  # asks the Hub first, and says in a sentence if it cannot be had
    config = AutoConfig.from_pretrained(locate(model)).get_text_config()
    width, heads = config.hidden_size, config.num_attention_heads
    shared = 1 if getattr(config, "multi_query", False) else getattr(config, "num_key_value_heads", None) or heads
    head = getattr(config, "head_dim", None) or width // heads
    return Shape(parameters, config.num_hidden_layers, width, heads, shared * head, config.vocab_size)


@dataclass(frozen=True)
class Machine:
    """What a recipe is estimated for: memory in bytes, FLOP/s and bytes/s that are reached.

    ``layer_seconds`` is the least that a layer of a decoding step takes: launching kernels from Python.
    """

    name: str
    memory: float
    flops: float
    bandwidth: float
    layer_seconds: float = 1e-3


# GPUs by NVIDIA's data sheets, dense bfloat16; of the CPUs, what the published trainings of SmolLM2 reached.
CPU = Machine("machine with 2 CPU cores and 16 GB", 16e9, 1e11, 1e10, 0.0)
GPUS = (
    Machine("A10 24 GB", 24e9, SHARE * 125e12, SHARE * 0.6e12),
    Machine("A100 80 GB", 80e9, SHARE * 312e12, SHARE * 2.039e12),
)

# --- the work --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Length:
    """Tokens: of a mean prompt in a loop, of mean examples of plain generation and refinement, of the longest one."""

    prompt: int
    plain: int
    refine: int
    longest: int


# HumanEval's and MBPP's as in the published runs of SmolLM2; the others assumed: 600 of description, 300 of a program.
_HUMANEVAL, _MBPP = Length(330, 300, 600, 1200), Length(220, 180, 330, 700)
LENGTHS = {
    "tinyprograms": Length(150, 120, 250, 320),
    **dict.fromkeys(("humaneval", "humanevalplus"), _HUMANEVAL),
    **dict.fromkeys(("mbpp", "mbppplus"), _MBPP),
    **dict.fromkeys(("apps", "codecontests"), Length(600, 900, 1300, LONGEST)),
}
PROBLEMS = {"tinyprograms": 300, "humaneval": 164, "humanevalplus": 164, "mbpp": 257, "mbppplus": 378, "apps": 5000,
            "codecontests": 165}  # fmt: skip
TRAINING_PROBLEMS = {"mbpp": 374, "apps": 5000}  # where a training split has few
RUNS = {"apps": 21, "codecontests": 2}  # runs that judging one program takes, on average; 1 where tests run together
DATA_GIB = {"apps": 1.2, "codecontests": 7.1}  # downloads; the others are small


@dataclass(frozen=True)
class Work:
    """What a recipe asks for, at most: tokens of the trainings, programs written, runs of programs judged."""

    tuning_tokens: float
    sampled: int
    refining_tokens: float
    evaluated: int
    judged: int


def work(given: Mapping[str, Any]) -> Work:
    """Count the work of a recipe.

    Args:
        given: all parameters of its notebook, see :func:`~cycle_utils.study.recipes.whole`. Those of 01 name no
            ``train_benchmark``.
    """
    evaluated = (given["limit"] or PROBLEMS[given["benchmark"]]) * (1 + given["rounds"]) * _protocols(given)
    judged = evaluated * RUNS.get(given["benchmark"], 1)
    if not trains(given):
        return Work(0, 0, 0, evaluated, judged)
    seeds, learned = given["seeds"], given["train_benchmark"]
    length, examples = LENGTHS[learned], given["batch_size"] * given["accumulation"]
    mixed = given["refine_share"] * length.refine + (1 - given["refine_share"]) * length.plain
    sampled = min(given["problems"], TRAINING_PROBLEMS.get(learned, given["problems"])) * given["samples"]
    return Work(
        tuning_tokens=seeds * examples * given["finetune_steps"] * length.plain,
        sampled=seeds * sampled,
        refining_tokens=seeds * examples * given["steps"] * mixed * (1 + given["unmasked"]),
        evaluated=seeds * evaluated,
        judged=seeds * (judged + sampled * RUNS.get(learned, 1)),
    )


def trains(given: Mapping[str, Any]) -> bool:
    """Whether a recipe's notebook trains: 01 does not."""
    return "train_benchmark" in given


def _protocols(given: Mapping[str, Any]) -> int:
    """Loops and controls. Of 01 two loops and the samples; of 07 those of each contender, and one blanked loop."""
    if not trains(given):
        return 3
    contenders = 3 + given["unmasked"] + len(given["other_models"])
    return contenders * (1 + given["with_greedy"]) + (len(given["budget_of"]) or contenders) + 1


# --- speed -----------------------------------------------------------------------------------------------

RUN_SECONDS, WORKERS = 0.02, 2  # one run of a program under the judge; the judge's default workers


@dataclass(frozen=True)
class Speeds:
    """In a second: tokens of both trainings, programs written of both benchmarks, runs of programs judged."""

    tuning: float
    sampling: float
    refining: float
    evaluating: float
    judging: float


def hours(work: Work, speeds: Speeds) -> dict[str, float]:
    """Hours of each stage at these speeds."""
    seconds = {
        "fine-tuning": work.tuning_tokens / speeds.tuning,
        "sampling": work.sampled / speeds.sampling,
        "refine training": work.refining_tokens / speeds.refining,
        "generation": work.evaluated / speeds.evaluating,
        "judging": work.judged / speeds.judging,
    }
    return {stage: value / 3600 for stage, value in seconds.items()}


def estimated(given: Mapping[str, Any], shape: Shape, machine: Machine) -> Speeds:
    """Speeds by the formulas below: a training is bound by arithmetic, decoding by it, by memory or by the layers."""
    training = machine.flops / (flops(given) * shape.parameters)
    learned = given.get("train_benchmark", given["benchmark"])
    return Speeds(
        tuning=training,
        sampling=_programs_a_second(given, learned, shape, machine),
        refining=training,
        evaluating=_programs_a_second(given, given["benchmark"], shape, machine),
        judging=WORKERS / RUN_SECONDS,
    )


def flops(given: Mapping[str, Any]) -> int:
    """FLOP of training on a token, for each parameter: forward, and backward to activations and to weights.

    Checkpointing runs the forward pass twice; frozen weights need no gradients.
    """
    return 6 + 2 * given.get("gradient_checkpointing", False) - 2 * given.get("lora", False)


def _programs_a_second(given: Mapping[str, Any], benchmark: str, shape: Shape, machine: Machine) -> float:
    """Of full length: a prompt is read at once, then each step reads the weights and the cache of the whole batch."""
    batch, prompt, new = given["generation_batch"], LENGTHS[benchmark].prompt, longest_program(given, benchmark)
    read = _width(given) * shape.parameters + batch * (prompt + new) * kv_bytes(given, shape)
    arithmetic = 2 * shape.parameters / machine.flops  # seconds of a token
    step = max(shape.layers * machine.layer_seconds, read / machine.bandwidth, batch * arithmetic)
    return batch / (batch * prompt * arithmetic + new * step)


def longest_program(given: Mapping[str, Any], benchmark: str) -> int:
    """Tokens that a program of a benchmark may take."""
    return given["max_new_tokens"] or sampling.LONGEST[benchmark]


# --- memory and disk -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Memory:
    """Bytes of the device's memory; training and generation do not run at the same time."""

    weights: float
    activations: float
    generation: float

    @property
    def training(self) -> float:
        return self.weights + self.activations

    @property
    def most(self) -> float:
        return max(self.training, self.generation)


def memory(given: Mapping[str, Any], shape: Shape) -> Memory:
    """What a recipe needs of a device's memory, at its longest examples."""
    weights = activations = 0.0
    if trains(given):
        weights = 4 * shape.parameters + 12 * trained(given, shape)  # float32; gradients and two Adam moments
        weights += 4 * trained(given, shape) * given["lora"]  # the adapters' own
        activations = _activations(given, shape)
    longest = max(LENGTHS[given[name]].longest for name in ("benchmark", "train_benchmark") if name in given)
    cache = given["generation_batch"] * longest * kv_bytes(given, shape)
    return Memory(weights, activations, max(4 * shape.parameters, _width(given) * shape.parameters + cache))


def trained(given: Mapping[str, Any], shape: Shape) -> float:
    """Parameters that are trained: all, or adapters of the four linear layers of a block, 16 widths together."""
    return 16 * TrainSettings.lora_rank * shape.width * shape.layers if given["lora"] else shape.parameters


def _activations(given: Mapping[str, Any], shape: Shape) -> float:
    """Bytes: a layer's own (Korthikanti et al. 2022, equation 2), the layers' inputs, and logits three times over."""
    longest = LENGTHS[given["train_benchmark"]].longest
    tokens = given["batch_size"] * longest
    layer = tokens * (34 * shape.width + 5 * shape.heads * longest)
    kept = layer + 4 * shape.layers * tokens * shape.width if given["gradient_checkpointing"] else layer * shape.layers
    return kept + 3 * 4 * tokens * shape.vocabulary


def kv_bytes(given: Mapping[str, Any], shape: Shape) -> int:
    """Bytes of key-value cache that a token takes."""
    return 2 * _width(given) * shape.layers * shape.kv_width


def _width(given: Mapping[str, Any]) -> int:
    """Bytes of a number in generation."""
    return 2 if given.get("bf16") else 4


def disk(given: Mapping[str, Any], shape: Shape) -> float:
    """Bytes: the download, two trained LMs, three checkpoints with moments (one replaces the oldest), and the data.

    All of one seed in float32; another trained LM for ``unmasked``.
    """
    data = {given[name] for name in ("benchmark", "train_benchmark") if name in given}
    total = 4 * shape.parameters + GIB * sum(DATA_GIB.get(name, 0.0) for name in data)
    if trains(given):
        lms = given["seeds"] * (2 + given["unmasked"])
        total += 4 * lms * shape.parameters + 3 * 12 * trained(given, shape)
    return total


def machine_of(given: Mapping[str, Any], shape: Shape) -> Machine:
    """What a recipe is estimated for: the smallest GPU that holds it, or the largest; a CPU for GGUF files."""
    need = memory(given, shape).most
    return CPU if is_gguf(given["model"]) else next((one for one in GPUS if need < one.memory), GPUS[-1])


# --- another card ----------------------------------------------------------------------------------------

ROOM = 0.92  # of a card's memory that is planned with: the driver and what lies between blocks take the rest
MOST = 256  # a larger generation batch is not tried
FULL = 4  # examples of a training's batch that keep a card busy, where they are long: more are not faster
ADAPTERS = {"lora": True, "learning_rate": 2e-4}  # where all weights with their moments do not fit


def fitted(given: Mapping[str, Any], shape: Shape, memory_bytes: float) -> dict[str, Any]:
    """What to change in a recipe for a card of so many bytes: what is estimated to be fastest of what fits it.

    A step stays on as many examples. It is computed without gradient checkpointing where at least two of them fit at a
    time without, and on adapters alone where all weights do not fit; generation batches are as large as fit.

    Raises:
        ValueError: not even adapters fit, an example at a time.
    """
    for changed in _ways(given):
        found = {**changed, **_batches({**given, **changed}, shape, ROOM * memory_bytes)}
        if all(found.get(name, 1) for name in ("batch_size", "generation_batch")):
            return {name: value for name, value in found.items() if given[name] != value}
    need = memory({**given, **found, "batch_size": 1, "generation_batch": 1}, shape).most / GIB
    least = "with adapters alone and an example at a time" if trains(given) else "for a program at a time"
    raise ValueError(f"{given['model']} needs about {need:.1f} GiB {least}")


def _ways(given: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What the recipe trains, without checkpointing and with it, then adapters alone: fastest first."""
    if not trains(given):
        return [{}]
    return [{**way, "gradient_checkpointing": kept} for way in ({}, ADAPTERS) for kept in (False, True)]


def _batches(given: Mapping[str, Any], shape: Shape, room: float) -> dict[str, int]:
    """The largest batches that take less than ``room`` bytes; 0 where none does, or too few for a training."""

    def fits(which: str, stage: str) -> Callable[[int], bool]:
        return lambda batch: getattr(memory({**given, which: batch}, shape), stage) < room

    found = {"generation_batch": largest(fits("generation_batch", "generation"), given["generation_batch"], MOST)}
    if trains(given):
        batch, together = given["batch_size"], given["batch_size"] * given["accumulation"]
        batch = largest(fits("batch_size", "training"), batch, max(batch, min(FULL, together)))
        is_enough = batch > 1 or given["gradient_checkpointing"]
        found |= {"batch_size": batch, "accumulation": together // batch} if batch and is_enough else {"batch_size": 0}
    return found


def largest(fits: Callable[[int], bool], start: int, most: int) -> int:
    """The largest of ``start`` times or by a power of two that fits, up to ``most``; 0 if none does."""
    batch = start
    while batch and not fits(batch):
        batch //= 2
    while batch >= start and 2 * batch <= most and fits(2 * batch):
        batch *= 2
    return batch
