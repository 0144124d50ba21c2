"""Training: features, and one call of the Hugging Face Trainer.

An example is a prompt and a target; the loss is on the target only. *Spans* of prompt tokens may go with it, such as
that of the past generation, of which :mod:`~cycle_utils.method.masking` hides some.
"""

from __future__ import annotations

import inspect
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate.data_loader import SeedableRandomSampler
from torch.utils.data import Dataset as TorchDataset
from torch.utils.data import Sampler
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_pt_utils import LengthGroupedSampler

from cycle_utils.config import Checked, Count, NotNegative, Positive, Seed, Share, later
from cycle_utils.method import processes
from cycle_utils.method.masking import IGNORED, PGMCollator, explicit_positions
from cycle_utils.models.loading import context_length
from cycle_utils.models.wholeness import damaged

BLANK = -1  # index of an example without a target: it fills a batch and teaches nothing
LONGEST = 2048  # tokens of one example at most, whatever the model's context is [artifact: block size]
ORDER = "order.pt"  # in a checkpoint: the state of the random numbers from which the epoch's order was drawn

log = logging.getLogger(__name__)


class Diverged(RuntimeError):
    """A training whose losses or weights are no longer numbers. The message says at which step, and what to try."""


@dataclass(frozen=True)
class TrainSettings(Checked):
    """How to train; the defaults fit the tiny LM on two cores.

    ``steps`` counts optimiser steps, each on ``batch_size`` times ``accumulation`` examples, however many processes
    share them (:func:`per_process`); one process holds ``batch_size`` of them in memory.
    ``compiled`` trains through torch.compile in bfloat16: half as fast again on a CPU where all batches have
    one shape; it needs a C++ compiler. ``bf16`` computes in bfloat16 on a CPU too, with weights in float32: faster only
    where the processor has instructions for it. ``target_logits`` computes logits at the positions of targets alone:
    the same loss, in less time and memory where the vocabulary is large. ``lora`` trains low-rank
    adapters of every linear layer (rank ``lora_rank``, scaled by 2) instead of all weights; the run then keeps the
    whole model or, unless ``merged``, the adapters alone, which name the folder or Hub ID of their base.
    ``gradient_checkpointing`` computes activations twice to hold those of one layer only. Betas, weight decay and the
    cosine are the artifact's [artifact: the defaults of its training script].
    """

    steps: Count = 400
    batch_size: Count = 32
    accumulation: Count = 1
    learning_rate: Positive = 1e-3
    warmup: Share = 0.05
    weight_decay: NotNegative = 0.1
    seed: Seed = 0
    save_steps: Count = 200
    group_by_length: bool = True
    compiled: bool = False
    lora: bool = later(False)
    lora_rank: Count = later(16)
    gradient_checkpointing: bool = later(False)
    merged: bool = later(True)
    bf16: bool = later(False)
    target_logits: bool = later(False)


class Examples(TorchDataset):
    """A list of feature dictionaries as the Trainer wants it (see :func:`encode`), and the :data:`BLANK` one."""

    def __init__(self, features: Sequence[Mapping[str, Any]]) -> None:
        self.features = [{**f, "index": i} for i, f in enumerate(features)]

    def __len__(self) -> int:
        return len(self.features)

    def __getitem__(self, i: int) -> Mapping[str, Any]:
        if i == BLANK:
            return {"input_ids": self.features[0]["input_ids"][:2], "labels": [IGNORED] * 2}
        return self.features[i]


def encode(
    tokenizer, prompt: str, target: str, spans: Mapping[str, tuple[int, int]] | None = None, special: bool = True
) -> dict[str, Any]:
    """One training example.

    Args:
        spans: character spans of the prompt, by name (``past_generation``, ``template``).
        special: add the tokenizer's start token; a chat template has written its own.

    Returns:
        ``input_ids`` (the tokenizer's start token if it has one, prompt, target, end of text), ``labels``
        (:data:`IGNORED` on the prompt) and ``spans``: for each name the half-open range of the tokens that
        lie in it, at least in part.
    """
    encoded = tokenizer(prompt, return_offsets_mapping=True, add_special_tokens=special)
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


class _TellEpoch(TrainerCallback):
    """Tells the collator which epoch begins, so that it draws new masks."""

    def __init__(self, collator: PGMCollator) -> None:
        self.collator = collator

    def on_epoch_begin(self, args, state, control, **kwargs) -> None:
        self.collator.epoch = int(state.epoch or 0)


def per_process(settings: TrainSettings, count: int) -> tuple[int, int]:
    """``batch_size`` and ``accumulation`` of each of ``count`` processes, which together make one global batch.

    Accumulation is divided first: it costs time, whereas the batch fills the device.

    Raises:
        ValueError: the global batch cannot be shared evenly.
    """
    from_accumulation = math.gcd(settings.accumulation, count)
    batch_size, rest = divmod(settings.batch_size, count // from_accumulation)
    if rest or not batch_size:
        raise ValueError(
            f"{count} processes cannot share a batch_size of {settings.batch_size} times an accumulation of "
            f"{settings.accumulation} evenly: launch another number, or change accumulation to a multiple of it"
        )
    return batch_size, settings.accumulation // from_accumulation


class _Order(Sampler):
    """The order of one epoch, whatever the number of processes, and how to draw it again.

    ``sampler`` may draw from torch's global random numbers, whose state is kept in ``drawn_from``. Several processes
    take the main one's order: dropout moves their own numbers apart. Blanks make its last global batch whole, so that
    accelerate, which deals the batches out in turn, has no need to repeat examples.
    """

    def __init__(self, sampler: Sampler, global_batch: int, collator: PGMCollator, again: torch.Tensor | None) -> None:
        self.sampler, self.global_batch, self.collator = sampler, global_batch, collator
        self.again = again  # the state from which the first order was drawn before an interruption
        self.drawn_from: torch.Tensor | None = None

    def _blanks(self) -> int:
        return -len(self.sampler) % self.global_batch if processes.count() > 1 else 0

    def __len__(self) -> int:
        return len(self.sampler) + self._blanks()

    def __iter__(self) -> Iterator[int]:
        if self.again is not None:
            torch.set_rng_state(self.again)
        self.drawn_from, self.again = torch.get_rng_state(), None
        if isinstance(self.sampler, SeedableRandomSampler):
            self.sampler.set_epoch(self.collator.epoch)
        return iter(processes.told(list(self.sampler)) + [BLANK] * self._blanks())


class _Trainer(Trainer):
    """The Trainer with an order of examples that depends neither on the number of processes nor on interruptions.

    Its own groups lengths within the batches of *one* process, each process from random numbers of its own; and a
    training that goes on in the middle of a later epoch draws the first epoch's order for it.
    """

    settings: TrainSettings
    order: _Order | None = None
    again: torch.Tensor | None = None  # see :class:`_Order`
    target_logits = False

    def compute_loss(self, model, inputs, *args, **kwargs):
        if self.target_logits:
            inputs = {**inputs, **at_targets(inputs["labels"])}
        return super().compute_loss(model, inputs, *args, **kwargs)

    def training_step(self, *args, **kwargs):
        loss = super().training_step(*args, **kwargs)
        if not torch.isfinite(loss):
            raise Diverged(_diverged(f"the loss is {loss.item()}", self.state.global_step + 1, self.settings))
        return loss

    def _save_checkpoint(self, *args, **kwargs) -> None:
        check_weights(self.model, self.state.global_step, self.settings)  # no use to go on from it
        super()._save_checkpoint(*args, **kwargs)

    def _get_train_sampler(self, train_dataset=None):
        arguments = self.args
        global_batch = arguments.train_batch_size * arguments.gradient_accumulation_steps * processes.count()
        if arguments.train_sampling_strategy == "group_by_length":
            sampler = LengthGroupedSampler(global_batch, self.train_dataset)
        elif processes.count() > 1:
            sampler = SeedableRandomSampler(self.train_dataset, data_seed=arguments.data_seed)
        else:
            return super()._get_train_sampler(train_dataset)  # accelerate seeds each epoch's order by its number
        self.order = _Order(sampler, global_batch, self.data_collator, self.again)
        return self.order

    def _save_rng_state(self, output_dir: str) -> None:
        super()._save_rng_state(output_dir)
        if self.order and self.args.should_save:
            torch.save(self.order.drawn_from, Path(output_dir) / ORDER)


def train(
    model, examples: Sequence[Mapping[str, Any]], collator: PGMCollator, settings: TrainSettings, folder: Path,
    progress: bool = True,
) -> list[dict[str, float]]:  # fmt: skip
    """Train ``model`` in place; checkpoints go to ``folder/checkpoints`` and an interrupted run goes on from the last.

    Under ``settings.lora`` the adapters are saved in ``folder/adapter``, or in ``folder`` itself where a run is to keep
    nothing else, and then merged into the model. Several processes (:mod:`cycle_utils.method.processes`) must all call
    this, with the same arguments.

    Returns:
        the loss curve: ``step`` and ``loss`` (mean over the target tokens, in nats) for each logged step.

    Raises:
        Diverged: losses or weights are no longer numbers.
        ValueError: no examples, one that is longer than the model's context, a global batch that the processes cannot
            share (:func:`per_process`), a model that PGM cannot hide tokens from (:func:`explicit_positions`), or what
            several processes cannot do: adapters under FSDP, and a model that cannot be told how many tokens its loss
            is over.
    """
    if not len(examples):
        raise ValueError("there is nothing to train on: the set of examples is empty")
    longest, context = max(len(one["input_ids"]) for one in examples), context_length(model)
    if longest > context:
        raise ValueError(f"an example has {longest} tokens, more than the model's context of {context}: cut it before")
    check_weights(model, 0, settings)
    if collator.hides:
        collator.tells_positions = explicit_positions(model)
    checkpoints = Path(folder) / "checkpoints"
    batch_size, accumulation = per_process(settings, processes.count())
    arguments = TrainingArguments(
        output_dir=str(checkpoints),
        max_steps=settings.steps,
        per_device_train_batch_size=batch_size,
        gradient_accumulation_steps=accumulation,
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
        save_total_limit=2,  # the one before stands in for one that was torn
        logging_nan_inf_filter=False,  # else the log would show the mean of before
        logging_steps=max(1, settings.steps // 50),
        report_to="none",
        disable_tqdm=not progress,
        remove_unused_columns=False,
        dataloader_pin_memory=False,
        bf16=settings.compiled or settings.bf16 or (torch.cuda.is_available() and torch.cuda.is_bf16_supported()),
        torch_compile=settings.compiled,
        use_cpu=not torch.cuda.is_available(),
        ddp_find_unused_parameters=False,
    )
    if arguments.n_gpu > 1:
        arguments._n_gpu = 1  # one process with several GPUs would multiply the batch: they take several processes
    if settings.gradient_checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    adapted = _with_adapters(model, settings) if settings.lora else None
    trainer = _Trainer(
        model=adapted or model,
        args=arguments,
        train_dataset=Examples(examples),
        data_collator=collator,
        callbacks=[_TellEpoch(collator)],
    )
    if adapted and trainer.is_fsdp_enabled:
        raise ValueError("adapters are not trained under FSDP: they are small enough without it; drop lora or FSDP")
    if processes.count() > 1 and not trainer.model_accepts_loss_kwargs:
        raise ValueError(f"{type(model).__name__} averages its loss over one process's tokens; train it in one process")
    trainer.settings = settings
    trainer.target_logits = settings.target_logits and _can_skip_logits(model)
    trainer.remove_callback(PrinterCallback)  # the losses are returned, and drawn by whoever wants to see them
    last = last_checkpoint(checkpoints)
    if last:
        log.info("going on from %s", last)
        steps_an_epoch = math.ceil(len(examples) / (settings.batch_size * settings.accumulation))
        if _step(last) % steps_an_epoch and (last / ORDER).is_file():
            trainer.again = torch.load(last / ORDER)
    trainer.train(resume_from_checkpoint=str(last) if last else None)
    check_weights(model, settings.steps, settings)
    if settings.gradient_checkpointing:
        model.gradient_checkpointing_disable()
    if adapted:
        if processes.is_main():
            adapted.save_pretrained(str(Path(folder) / "adapter" if settings.merged else folder))
        adapted.merge_and_unload()  # in place: ``model`` has plain layers again
    return [{"step": row["step"], "loss": row["loss"]} for row in trainer.state.log_history if "loss" in row]


def check_weights(model, step: int, settings: TrainSettings) -> None:
    """Make sure that a model's weights are numbers, after so many steps.

    Raises:
        Diverged: they are not.
    """
    for name, weights in model.named_parameters():
        own = weights.to_local() if hasattr(weights, "to_local") else weights  # FSDP gives each process a part
        if not torch.isfinite(own).all():
            raise Diverged(_diverged(f"{name} holds values that are no numbers", step, settings))


def _diverged(what: str, step: int, settings: TrainSettings) -> str:
    if step == 0:
        return f"there is nothing to train: {what} before the first step; take another model folder"
    lower = "without bf16 or compiled, or with " if settings.bf16 or settings.compiled else "with "
    return (
        f"the training diverged: {what} at step {step} of {settings.steps}. Try it {lower}a lower learning_rate than "
        f"{settings.learning_rate:g}, or a larger batch (batch_size, accumulation)"
    )


def at_targets(labels: torch.Tensor) -> dict[str, torch.Tensor]:
    """What a model of transformers is told so that it computes logits only where a row of the batch has a target.

    Args:
        labels: (batch, longest), :data:`IGNORED` where there is no target.

    Returns:
        ``logits_to_keep``, positions from which targets are predicted, and ``shift_labels`` (batch, kept), the targets.
    """
    shifted = torch.nn.functional.pad(labels, (0, 1), value=IGNORED)[:, 1:]
    kept = (shifted != IGNORED).any(dim=0).nonzero().squeeze(1)
    return {"logits_to_keep": kept, "shift_labels": shifted[:, kept]}


def _can_skip_logits(model) -> bool:
    return "logits_to_keep" in inspect.signature(type(model).forward).parameters


def whole_weights(model) -> dict[str, torch.Tensor] | None:
    """The weights of a model that FSDP spread over the processes, in the main one; None where each has them all.

    All processes must call this.
    """
    from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
    from torch.distributed.fsdp import FSDPModule

    if not isinstance(model, FSDPModule):
        return None
    weights = get_model_state_dict(model, options=StateDictOptions(full_state_dict=True, cpu_offload=True))
    return {name: value for name, value in weights.items() if name not in model.all_tied_weights_keys}


def _with_adapters(model, settings: TrainSettings):
    from peft import LoraConfig, TaskType, get_peft_model

    rank = settings.lora_rank
    config = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear", task_type=TaskType.CAUSAL_LM)
    torch.manual_seed(settings.seed)  # the adapters' own first values
    return get_peft_model(model, config)


def last_checkpoint(folder: Path) -> Path | None:
    """The newest whole checkpoint: the Trainer writes ``trainer_state.json`` last.

    One with files that were torn after that, as by a full disk or a power cut, is passed over, with a warning.
    """
    written = [p for p in Path(folder).glob("checkpoint-*") if (p / "trainer_state.json").is_file()]
    for checkpoint in sorted(written, key=_step, reverse=True):
        wrong = damaged(checkpoint)
        if wrong is None:
            return checkpoint
        log.warning("the checkpoint %s is passed over for the one before, if there is one: its %s", checkpoint, wrong)
    return None


def _step(checkpoint: Path) -> int:
    return int(checkpoint.name.rsplit("-", 1)[1])
