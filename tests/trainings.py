"""Trainings for test_launch.py: run there in one process and, as a script, in several that train together."""

import json
import os
import sys
from pathlib import Path

import torch
from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from accelerate.state import PartialState
from accelerate.utils import DistributedType
from accelerate.utils.launch import prepare_multi_gpu_env

from cycle_utils.method import processes
from cycle_utils.method.masking import Masking, PGMCollator
from cycle_utils.method.mixture import encode_example
from cycle_utils.method.training import TrainSettings, train, whole_weights
from cycle_utils.models import load_model, load_tokenizer
from cycle_utils.models.prompts import shown_code
from cycle_utils.paths import ROOT
from cycle_utils.problems import tinyprograms as tp

# 22 examples, 8 a step: an epoch ends in a step of 6, of which accumulation leaves a whole batch of one process empty.
EXAMPLES, STEP = 22, 8
ACCUMULATED = TrainSettings(steps=7, batch_size=2, accumulation=4, save_steps=5)
CASES = {
    "accumulated": ACCUMULATED,
    "cut": ACCUMULATED,
    "random": TrainSettings(steps=7, batch_size=8, group_by_length=False),
    "adapters": TrainSettings(steps=4, batch_size=4, accumulation=2, lora=True, gradient_checkpointing=True),
    "sharded": ACCUMULATED,  # from here on :func:`shard` holds
    "sharded, cut": ACCUMULATED,
}


class Cut(Exception):
    """An interruption."""


class Recording(PGMCollator):
    """Notes the epoch, index and hidden positions of each example that it batches, and may interrupt."""

    def __init__(self, *arguments, cut_at: int | None = None) -> None:
        super().__init__(*arguments)
        self.batches, self.cut_at = [], cut_at

    def __call__(self, features):
        if len(self.batches) == self.cut_at:
            raise Cut
        real = [f for f in features if "index" in f]
        self.batches.append(
            [[self.epoch, f["index"], self.hidden(f).nonzero().flatten().tolist()] for f in real] or [[self.epoch]]
        )
        return super().__call__(features)


def refine_examples(tokenizer) -> list[dict]:
    """Each problem taught from a wrong reading of itself."""
    rows = []
    for problem in tp.generate("train", EXAMPLES):
        faulty = shown_code(problem, problem.canonical_solutions[-1])
        row = {"kind": "refine", "code": faulty, "feedback": "Input: f()", "target": problem.canonical_solutions[0]}
        rows.append(encode_example(tokenizer, problem, row))
    return rows


def run(case: str, lm: str, folder: Path) -> tuple[list[float], list, dict[str, torch.Tensor]]:
    """Losses, batches of this process, and weights; a case that ends in ``cut`` is interrupted and goes on."""
    tokenizer = load_tokenizer(lm)
    examples, masking = refine_examples(tokenizer), Masking(0.3)
    if case.endswith("cut"):
        calls = 6 * CASES[case].accumulation // processes.count()
        interrupted = Recording(tokenizer.pad_token_id, masking, cut_at=calls)
        try:
            train(load_model(lm), examples, interrupted, CASES[case], folder / case, progress=False)
        except Cut:
            assert (folder / case / "checkpoints" / "checkpoint-5").is_dir()
    model, collator = load_model(lm), Recording(tokenizer.pad_token_id, masking)
    losses = train(model, examples, collator, CASES[case], folder / case, progress=False)
    weights = whole_weights(model)
    return [row["loss"] for row in losses], collator.batches, model.state_dict() if weights is None else weights


def fsdp_environment() -> dict[str, str]:
    """What ``accelerate launch --config_file fsdp2.yaml`` tells the processes that it begins."""
    path = ROOT / "recipes" / "accelerate" / "fsdp2.yaml"
    arguments, *_ = _validate_launch_command(launch_command_parser().parse_args(["--config_file", str(path), "none"]))
    given = prepare_multi_gpu_env(arguments)
    return {k: v for k, v in given.items() if k.startswith("FSDP_") or k == "ACCELERATE_USE_FSDP"}


def shard() -> None:
    """Let accelerate use ``fsdp2.yaml`` on CPUs too, where it would silently copy the model to each process instead."""
    os.environ.update(fsdp_environment())
    whole = PartialState.__init__

    def as_on_gpus(self, *args, **options) -> None:
        whole(self, *args, **options)
        if self.distributed_type == DistributedType.MULTI_CPU:
            self.distributed_type = DistributedType.MULTI_GPU  # which accelerate turns into FSDP

    PartialState.__init__ = as_on_gpus


def main(lm: str, folder: str) -> None:
    """All cases in this process and those beside it; what each saw goes to files."""
    processes.start()
    rank = "main" if processes.is_main() else "other"
    for case in CASES:
        if case == "sharded":
            shard()
        losses, batches, weights = run(case, lm, Path(folder))
        (Path(folder) / f"{case}-{rank}.json").write_text(json.dumps([processes.count(), losses, batches]))
        torch.save(weights, Path(folder) / f"{case}-{rank}.pt")
    processes.stop()


if __name__ == "__main__":
    main(*sys.argv[1:])
