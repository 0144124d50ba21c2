"""Training: features, Past Generation Masking, the mixture, and one call of the Hugging Face Trainer.

An example is a prompt and a target; the loss is on the target only. A *span* of prompt tokens (the past
generation) may go with it; :class:`PGMCollator` hides each of its tokens with probability ``mask_ratio`` by
setting its attention mask to 0: the token stays in place, nothing attends to it, the target is untouched.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Dataset as TorchDataset
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments

from cycle_utils.runs import later

IGNORED = -100  # label of a token that carries no loss
SPANS = ("past_generation", "template")
REDRAWS = ("every batch", "once")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainSettings:
    """How to train; the defaults fit the tiny LM on two cores.

    ``steps`` counts optimiser steps; ``batch_size`` examples a step and device, times ``accumulation``.
    ``compiled`` trains through torch.compile in bfloat16: half as fast again on a CPU where all batches have
    one shape; it needs a C++ compiler. ``lora`` trains low-rank adapters of every linear layer (rank
    ``lora_rank``, scaled by 2) instead of all weights. ``gradient_checkpointing`` computes activations twice
    to hold those of one layer only. Betas, weight decay and the cosine are the artifact's [artifact: the
    defaults of its training script].
    """

    steps: int = 400
    batch_size: int = 32
    accumulation: int = 1
    learning_rate: float = 1e-3
    warmup: float = 0.05
    weight_decay: float = 0.1
    seed: int = 0
    save_steps: int = 200
    group_by_length: bool = True
    compiled: bool = False
    lora: bool = later(False)
    lora_rank: int = later(16)
    gradient_checkpointing: bool = later(False)


@dataclass(frozen=True)
class Masking:
    """Past Generation Masking.

    Attributes:
        ratio: probability that a token of the span is hidden.
        span: ``past_generation`` hides the faulty code only [paper]; ``template`` everything from the
            template's first token to the end of the prompt [artifact].
        redraw: a new mask ``every batch`` (each time an example is seen), or one per example, ``once`` [artifact].
            An example that is in the training set several times, under one ``origin``, is one example.
    """

    ratio: float = 0.05
    span: str = "past_generation"
    redraw: str = "every batch"

    def __post_init__(self) -> None:
        if not 0 <= self.ratio <= 1:
            raise ValueError(f"mask_ratio is {self.ratio}; it is a probability: give a number from 0 to 1")
        if self.span not in SPANS:
            raise ValueError(f"unknown mask span {self.span!r}; choose one of {', '.join(SPANS)}")
        if self.redraw not in REDRAWS:
            raise ValueError(f"unknown mask redraw {self.redraw!r}; choose one of {', '.join(REDRAWS)}")


class Examples(TorchDataset):
    """A list of feature dictionaries as the Trainer wants it (see :func:`encode`)."""

    def __init__(self, features: Sequence[Mapping[str, Any]]) -> None:
        self.features = [{**f, "index": i} for i, f in enumerate(features)]

    def __len__(self) -> int:
        return len(self.features)

    def __getitem__(self, i: int) -> Mapping[str, Any]:
        return self.features[i]


def encode(tokenizer, prompt: str, target: str, spans: Mapping[str, tuple[int, int]] | None = None) -> dict[str, Any]:
    """One training example.

    Args:
        spans: character spans of the prompt, by name (``past_generation``, ``template``).

    Returns:
        ``input_ids`` (the tokenizer's start token if it has one, prompt, target, end of text), ``labels``
        (:data:`IGNORED` on the prompt) and ``spans``: for each name the half-open range of the tokens that
        lie in it, at least in part.
    """
    encoded = tokenizer(prompt, return_offsets_mapping=True)
    ids, offsets = encoded["input_ids"], encoded["offset_mapping"]
    answer = tokenizer(target, add_special_tokens=False)["input_ids"] + [tokenizer.eos_token_id]
    return {
        "input_ids": ids + answer,
        "labels": [IGNORED] * len(ids) + answer,
        "spans": {name: token_span(offsets, *chars) for name, chars in (spans or {}).items()},
    }


def token_span(offsets: Sequence[tuple[int, int]], start: int, end: int) -> tuple[int, int]:
    """The half-open range of tokens that overlap the characters ``start`` to ``end``; empty if none do."""
    inside = [i for i, (a, b) in enumerate(offsets) if a < end and b > start]
    return (inside[0], inside[-1] + 1) if inside else (0, 0)


class PGMCollator:
    """Pads a batch on the right and hides past-generation tokens.

    The mask of an example depends on ``seed``, its index and the epoch (or, drawn ``once``, its origin), never on
    what was drawn before: a run that goes on from a checkpoint draws what an uninterrupted one draws.
    """

    def __init__(self, pad_token_id: int, masking: Masking | None = None, seed: int = 0) -> None:
        self.pad, self.masking, self.seed, self.epoch = pad_token_id, masking, seed, 0

    def hidden(self, feature: Mapping[str, Any]) -> torch.Tensor:
        """Positions hidden in this example: a boolean tensor of its length."""
        hide = torch.zeros(len(feature["input_ids"]), dtype=torch.bool)
        if self.masking is None or self.masking.ratio == 0 or self.masking.span not in feature.get("spans", {}):
            return hide
        start, end = feature["spans"][self.masking.span]
        index = feature.get("index", 0)
        which = f"{self.epoch}/{index}" if self.masking.redraw == "every batch" else f"0/{feature.get('origin', index)}"
        digest = hashlib.sha256(f"{self.seed}/{which}".encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))
        hide[start:end] = torch.rand(end - start, generator=generator) < self.masking.ratio
        return hide

    def __call__(self, features: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        """A batch of (batch, longest) tensors: ``input_ids``, ``attention_mask``, ``labels``."""
        longest = max(len(f["input_ids"]) for f in features)
        shape = (len(features), longest)
        batch = {
            "input_ids": torch.full(shape, self.pad),
            "attention_mask": torch.zeros(shape, dtype=torch.long),
            "labels": torch.full(shape, IGNORED),
        }
        for row, feature in enumerate(features):
            n = len(feature["input_ids"])
            batch["input_ids"][row, :n] = torch.tensor(feature["input_ids"])
            batch["labels"][row, :n] = torch.tensor(feature.get("labels", feature["input_ids"]))
            batch["attention_mask"][row, :n] = (~self.hidden(feature)).long()
        return batch


class _TellEpoch(TrainerCallback):
    """Tells the collator which epoch begins, so that it draws new masks."""

    def __init__(self, collator: PGMCollator) -> None:
        self.collator = collator

    def on_epoch_begin(self, args, state, control, **kwargs) -> None:
        self.collator.epoch = int(state.epoch or 0)


def train(
    model, examples: Sequence[Mapping[str, Any]], collator: PGMCollator, settings: TrainSettings, folder: Path,
    progress: bool = True,
) -> list[dict[str, float]]:  # fmt: skip
    """Train ``model`` in place; checkpoints go to ``folder/checkpoints`` and a cut-off run goes on from the last.

    Under ``settings.lora`` the adapters are saved in ``folder/adapter`` and then merged into the model.

    Returns:
        the loss curve: ``step`` and ``loss`` (mean over the target tokens, in nats) for each logged step.

    Raises:
        ValueError: no examples.
    """
    if not len(examples):
        raise ValueError("there is nothing to train on: the set of examples is empty")
    checkpoints = Path(folder) / "checkpoints"
    arguments = TrainingArguments(
        output_dir=str(checkpoints),
        max_steps=settings.steps,
        per_device_train_batch_size=settings.batch_size,
        gradient_accumulation_steps=settings.accumulation,
        learning_rate=settings.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=settings.warmup,
        weight_decay=settings.weight_decay,
        adam_beta1=0.9,
        adam_beta2=0.95,
        seed=settings.seed,
        data_seed=settings.seed,
        train_sampling_strategy="group_by_length" if settings.group_by_length else "random",
        save_strategy="steps",
        save_steps=settings.save_steps,
        save_total_limit=1,
        logging_steps=max(1, settings.steps // 50),
        report_to="none",
        disable_tqdm=not progress,
        remove_unused_columns=False,
        dataloader_pin_memory=False,
        bf16=settings.compiled or (torch.cuda.is_available() and torch.cuda.is_bf16_supported()),
        torch_compile=settings.compiled,
        use_cpu=not torch.cuda.is_available(),
    )
    if settings.gradient_checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    adapted = _with_adapters(model, settings) if settings.lora else None
    trainer = Trainer(
        model=adapted or model,
        args=arguments,
        train_dataset=Examples(examples),
        data_collator=collator,
        callbacks=[_TellEpoch(collator)],
    )
    trainer.remove_callback(PrinterCallback)  # the losses are returned, and drawn by whoever wants to see them
    last = last_checkpoint(checkpoints)
    if last:
        log.info("going on from %s", last)
    trainer.train(resume_from_checkpoint=str(last) if last else None)
    if settings.gradient_checkpointing:
        model.gradient_checkpointing_disable()
    if adapted:
        adapted.save_pretrained(str(Path(folder) / "adapter"))
        adapted.merge_and_unload()  # in place: ``model`` has plain layers again
    return [{"step": row["step"], "loss": row["loss"]} for row in trainer.state.log_history if "loss" in row]


def _with_adapters(model, settings: TrainSettings):
    from peft import LoraConfig, TaskType, get_peft_model

    rank = settings.lora_rank
    config = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear", task_type=TaskType.CAUSAL_LM)
    torch.manual_seed(settings.seed)  # the adapters' own first values
    return get_peft_model(model, config)


def last_checkpoint(folder: Path) -> Path | None:
    """The newest whole checkpoint: the Trainer writes ``trainer_state.json`` last."""
    whole = [p for p in Path(folder).glob("checkpoint-*") if (p / "trainer_state.json").is_file()]
    return max(whole, key=lambda p: int(p.name.rsplit("-", 1)[1]), default=None)
