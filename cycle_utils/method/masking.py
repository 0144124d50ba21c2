"""Past Generation Masking (PGM): tokens of the faulty program are hidden in training, to discourage copying.

A *span* of prompt tokens (the past generation) goes with an example; :class:`PGMCollator` hides each of them with
probability ``mask_ratio`` by setting its attention mask to 0: the token stays in place, nothing attends to it, the
target is untouched.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from cycle_utils.config import Checked, Number

IGNORED = -100  # label of a token that carries no loss
SPANS = ("past_generation", "template")
REDRAWS = ("every batch", "once")


@dataclass(frozen=True)
class Masking(Checked):
    """Past Generation Masking.

    Attributes:
        ratio: probability that a token of the span is hidden.
        span: ``past_generation`` hides the faulty code only [paper]; ``template`` everything from the
            template's first token to the end of the prompt [artifact].
        redraw: a new mask ``every batch`` (each time an example is seen), or one per example, ``once`` [artifact].
            An example that is in the training set several times, under one ``origin``, is one example.
    """

    ratio: Number = 0.05
    span: str = "past_generation"
    redraw: str = "every batch"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.ratio <= 1:
            raise ValueError(f"mask_ratio is {self.ratio}; it is a probability: give a number from 0 to 1")
        if self.span not in SPANS:
            raise ValueError(f"unknown mask span {self.span!r}; choose one of {', '.join(SPANS)}")
        if self.redraw not in REDRAWS:
            raise ValueError(f"unknown mask redraw {self.redraw!r}; choose one of {', '.join(REDRAWS)}")


def hidden_tokens(length: int, span: tuple[int, int], ratio: float, generator: torch.Generator) -> torch.Tensor:
    """Past Generation Masking itself: which tokens of an example of this length are hidden, as booleans (length,)."""
    hide, (start, end) = torch.zeros(length, dtype=torch.bool), span
    hide[start:end] = torch.rand(end - start, generator=generator) < ratio
    return hide


class PGMCollator:
    """Pads a batch on the right and hides past-generation tokens.

    The mask of an example depends on ``seed``, its index and the epoch (or, drawn ``once``, its origin), never on
    what was drawn before: a run that goes on from a checkpoint draws what an uninterrupted one draws.
    """

    def __init__(self, pad_token_id: int, masking: Masking | None = None, seed: int = 0) -> None:
        self.pad, self.masking, self.seed, self.epoch = pad_token_id, masking, seed, 0
        self.tells_positions = False  # see :func:`explicit_positions`

    @property
    def hides(self) -> bool:
        """Whether any token may be hidden."""
        return self.masking is not None and self.masking.ratio > 0

    def hidden(self, feature: Mapping[str, Any]) -> torch.Tensor:
        """Positions hidden in this example: a boolean tensor of its length."""
        length = len(feature["input_ids"])
        if not self.hides or self.masking.span not in feature.get("spans", {}):
            return torch.zeros(length, dtype=torch.bool)
        span = feature["spans"][self.masking.span]
        return hidden_tokens(length, span, self.masking.ratio, self._generator(feature))

    def _generator(self, feature: Mapping[str, Any]) -> torch.Generator:
        """The random numbers of one example in this epoch, or in all of them."""
        index = feature.get("index", 0)
        which = f"{self.epoch}/{index}" if self.masking.redraw == "every batch" else f"0/{feature.get('origin', index)}"
        digest = hashlib.sha256(f"{self.seed}/{which}".encode()).digest()
        return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))

    def __call__(self, features: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        """Tensors of (batch, longest): ``input_ids``, ``attention_mask``, ``labels``; maybe ``position_ids``."""
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
        if self.tells_positions:
            batch["position_ids"] = torch.arange(longest).repeat(len(features), 1)
        return batch


@torch.inference_mode()
def explicit_positions(model) -> bool:
    """Whether a model must be told the positions of its tokens, since it counts only those that are not hidden.

    There, a hidden token would move all that come after it: the model is asked whether ``a [hidden] b c`` gives it
    what ``a b c`` does.

    Raises:
        ValueError: it counts so, and takes no positions.
    """
    was_training = model.training
    model.eval()
    size = min(model.get_input_embeddings().num_embeddings, 64)
    ids = torch.arange(1, 5, device=model.device)[None] * 7 % size
    mask = torch.tensor([[1, 0, 1, 1]], device=model.device)
    takes_positions = "position_ids" in inspect.signature(model.forward).parameters

    def last(ids: torch.Tensor, mask: torch.Tensor | None = None, **positions: torch.Tensor) -> torch.Tensor:
        return model(input_ids=ids, attention_mask=mask, **positions).logits[0, -1].float()

    short = last(ids[:, [0, 2, 3]], torch.ones_like(ids[:, 1:]))
    counts_visible = torch.allclose(last(ids, mask), short, atol=1e-5)
    is_told = False
    if counts_visible and takes_positions:
        positions = torch.arange(4, device=model.device)[None]
        is_same = torch.allclose(last(ids, position_ids=positions), last(ids, torch.ones_like(ids)), atol=1e-5)
        is_told = is_same and not torch.allclose(last(ids, mask, position_ids=positions), short, atol=1e-5)
    model.train(was_training)
    if counts_visible and not is_told:
        raise ValueError(
            f"{type(model).__name__} counts the positions of tokens without those that Past Generation Masking hides, "
            "and cannot be told others: hiding would move the rest. Train another model, or with mask_ratio 0"
        )
    return is_told
