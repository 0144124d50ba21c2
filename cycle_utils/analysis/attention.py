"""Where a model looks while it writes: the attention that a target pays to the parts of its refine prompt."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from tqdm.auto import tqdm

from cycle_utils.config import Checked, Count, Place
from cycle_utils.method.configs import Loop
from cycle_utils.method.mixture import encode_example
from cycle_utils.method.runs import Run, build
from cycle_utils.method.stages import attempts_of, loop, loop_problems
from cycle_utils.models import load_model, load_tokenizer
from cycle_utils.models.loading import decode

PARTS = ("description", "past_generation", "feedback")
ATTENTION = "attention.parquet"


@dataclass(frozen=True)
class Attend(Checked):
    """Attention of ``model`` on the refine prompts of the first tries that failed in the loop ``tried``.

    All models of a comparison are given the same ``tried``, so that they look at the same prompts.
    """

    model: Place
    tried: Loop
    problems: Count = 100


def attend(config: Attend, progress: bool = True) -> Run:
    """Leaves ``attention.parquet``: one row per prompt with, for each of :data:`PARTS`, the share of attention on
    it (``past_generation``, ...) and its share of the prompt's tokens (``past_generation_tokens``, ...).

    The notes hold ``prompts`` (their number) and ``lines``, the first prompt :func:`by_line`. The target is a canonical
    solution: what a model that refines ought to write.
    """
    tried = attempts_of(loop(config.tried, progress))

    def make(folder: Path) -> dict[str, Any]:
        model, tokenizer = load_model(config.model), load_tokenizer(config.model)
        model.set_attn_implementation("eager")  # the only one that gives its weights
        problems = {p.task_id: p for p in loop_problems(config.tried)}
        failed = tried[(tried["round"] == 0) & ~tried["passed"].astype(bool)].head(config.problems)
        rows, lines = [], []
        for row in tqdm(failed.itertuples(), total=len(failed), desc="attention", disable=not progress, leave=False):
            problem = problems[row.task_id]
            example = {"kind": "refine", "code": row.code, "feedback": row.feedback}
            features = encode_example(tokenizer, problem, {**example, "target": problem.canonical_solutions[0]})
            weights = attention_on(model, features)
            rows.append({"task_id": row.task_id, **shares(weights, features)})
            lines = lines or by_line(tokenizer, weights, features)
        pd.DataFrame(rows, columns=["task_id", *PARTS, *(f"{p}_tokens" for p in PARTS)]).to_parquet(folder / ATTENTION)
        return {"prompts": len(rows), "lines": lines}

    return build(config, make, f"attention of {Path(config.model).name} on faulty programs")


def attention_of(run: Run) -> pd.DataFrame:
    """What :func:`attend` left."""
    return pd.read_parquet(run.path(ATTENTION))


def shares(weights: np.ndarray, features: Mapping[str, Any]) -> dict[str, float]:
    """Sums of attention (tokens,) over each part of a refine prompt, and each part's share of the prompt's tokens."""
    prompt = sum(label < 0 for label in features["labels"])
    found = {part: float(weights[slice(*features["spans"][part])].sum()) for part in PARTS}
    sizes = {f"{part}_tokens": (end - start) / prompt for part in PARTS for start, end in [features["spans"][part]]}
    return found | sizes


def by_line(tokenizer, weights: np.ndarray, features: Mapping[str, Any]) -> list[tuple[str, float]]:
    """The prompt's lines that are not blank, each with its share of attention; the first token is left out."""
    prompt = [i for i, label in enumerate(features["labels"]) if label < 0]
    found, text, share = [], "", 0.0
    for i in prompt[1:]:
        piece = decode(tokenizer, [features["input_ids"][i]])
        text, share = text + piece.replace("\n", ""), share + float(weights[i])
        if "\n" in piece or i == prompt[-1]:
            found += [(text.rstrip(), share)] if text.strip() else []
            text, share = ("", 0.0) if text.strip() else (text, share)
    return found


@torch.inference_mode()
def attention_on(model, features: Mapping[str, Any], hidden: Iterable[int] = ()) -> np.ndarray:
    """The share of the target's attention that each token gets: the mean over layers, heads and target tokens.

    Args:
        model: computes its attention eagerly (``model.set_attn_implementation("eager")``), else it gives none.

    Returns:
        floats (tokens,) that sum to 1.
    """
    ids = torch.tensor([features["input_ids"]], device=model.device)
    mask = torch.ones_like(ids)
    mask[0, list(hidden)] = 0
    first = next(i for i, label in enumerate(features["labels"]) if label >= 0)
    layers = model(input_ids=ids, attention_mask=mask, output_attentions=True).attentions
    return torch.stack(layers)[:, 0, :, first:].float().mean(dim=(0, 1, 2)).cpu().numpy()
