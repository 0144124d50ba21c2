"""Batched sampling from a causal LM."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from tqdm.auto import tqdm
from transformers import set_seed

from cycle_utils.models import context_length, decode


@dataclass(frozen=True)
class Sampling:
    """How to sample: the artifact's top-p 0.95, no top-k; temperature 0 is greedy.

    ``max_new_tokens`` counts tokens; ``batch_size`` sequences at a time.
    """

    temperature: float = 0.6
    top_p: float = 0.95
    max_new_tokens: int = 112
    batch_size: int = 128

    def __post_init__(self) -> None:
        if self.temperature < 0:
            raise ValueError(f"temperature is {self.temperature}; give 0 (greedy) or more")


def room(model, sampling: Sampling) -> int:
    """The most tokens that a prompt may have."""
    return context_length(model) - sampling.max_new_tokens


@torch.inference_mode()
def generate(
    model, tokenizer, prompts: Sequence[str], sampling: Sampling, samples: int = 1, seed: int = 0,
    progress: bool = True,
) -> list[list[str]]:  # fmt: skip
    """``samples`` completions for each prompt, in the order of the prompts.

    Prompts are sorted by length into batches, so that little is padding. The same arguments give the same
    completions on the same machine; another batch size may not.

    Raises:
        ValueError: a prompt that leaves no room for the new tokens.
    """
    ids = tokenizer(list(prompts))["input_ids"] if prompts else []
    longest, limit = max(map(len, ids), default=0), room(model, sampling)
    if longest > limit:
        raise ValueError(
            f"a prompt of {longest} tokens and {sampling.max_new_tokens} new ones do not fit the model's context of "
            f"{context_length(model)} tokens; ask for fewer new tokens or use a model with a longer context"
        )
    order = [i for i in sorted(range(len(ids)), key=lambda i: len(ids[i])) for _ in range(samples)]
    completions: list[list[str]] = [[] for _ in ids]
    set_seed(seed)
    model.eval()
    batches = range(0, len(order), sampling.batch_size)
    for start in tqdm(batches, desc="generate", disable=not progress, leave=False):
        chosen = order[start : start + sampling.batch_size]
        for i, text in zip(chosen, _batch(model, tokenizer, [ids[i] for i in chosen], sampling)):
            completions[i].append(text)
    return completions


def _batch(model, tokenizer, ids: list[list[int]], sampling: Sampling) -> list[str]:
    batch = tokenizer.pad({"input_ids": ids}, padding=True, padding_side="left", return_tensors="pt").to(model.device)
    greedy = sampling.temperature == 0
    options = {} if greedy else {"temperature": sampling.temperature, "top_p": sampling.top_p, "top_k": 0}
    out = model.generate(
        **batch,
        do_sample=not greedy,
        max_new_tokens=sampling.max_new_tokens,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        **options,
    )
    return [decode(tokenizer, row) for row in out[:, batch["input_ids"].shape[1] :]]
