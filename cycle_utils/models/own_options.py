"""What a model folder's own generation config asks for, beyond what a :class:`~.sampling.Sampling` says.

Instruction-tuned models ship such wishes (a repetition penalty, a top-k), and ``transformers`` and servers follow them
unasked. Here they are reported and left out, since a penalty on repetition alone changes how much a model copies; with
``Sampling.own_options`` they are followed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from transformers import (
    GenerationConfig,
    LogitsProcessorList,
    MinPLogitsWarper,
    NoRepeatNGramLogitsProcessor,
    RepetitionPenaltyLogitsProcessor,
    TopKLogitsWarper,
    TypicalLogitsWarper,
)

from cycle_utils.models.decoding import Choose, Made
from cycle_utils.models.sampling import NEUTRAL

# On logits as they are, always; and on logits over the temperature, where tokens are drawn.
PENALTIES = {
    "repetition_penalty": RepetitionPenaltyLogitsProcessor, "no_repeat_ngram_size": NoRepeatNGramLogitsProcessor,
}  # fmt: skip
WARPERS = {"top_k": TopKLogitsWarper, "typical_p": TypicalLogitsWarper, "min_p": MinPLogitsWarper}
_OTHERS = (
    "num_beams", "num_beam_groups", "penalty_alpha", "diversity_penalty", "length_penalty", "min_length",
    "min_new_tokens", "bad_words_ids", "suppress_tokens", "begin_suppress_tokens", "forced_bos_token_id",
    "forced_eos_token_id", "sequence_bias", "exponential_decay_length_penalty", "epsilon_cutoff", "eta_cutoff",
    "top_h", "stop_strings", "guidance_scale", "encoder_repetition_penalty", "encoder_no_repeat_ngram_size",
    "watermarking_config", "dola_layers",
)  # fmt: skip
_DOES_NOTHING = {**NEUTRAL, "top_k": 0, "typical_p": 1.0, "no_repeat_ngram_size": 0, "num_beams": 1,
                 "num_beam_groups": 1, "length_penalty": 1.0, "min_length": 0, "min_new_tokens": 0}  # fmt: skip


def own_options(config: GenerationConfig | None) -> dict[str, Any]:
    """The options of a generation config that shape a completion and are neither temperature, top-p, length nor end."""
    asked = config.to_diff_dict() if config else {}
    wanted = {name: asked[name] for name in (*PENALTIES, *WARPERS, *_OTHERS) if asked.get(name) is not None}
    return {name: value for name, value in wanted.items() if value != _DOES_NOTHING.get(name)}


class Shaped:
    """A way to choose tokens from logits that a model folder's own options have shaped.

    Args:
        prompts: token IDs, by number of a sequence.
        temperature: with which ``choose`` draws; 0 if it takes the most probable.

    Raises:
        ValueError: an option that is not known here.
    """

    def __init__(
        self, choose: Choose, prompts: Sequence[Sequence[int]], options: Mapping[str, Any], temperature: float
    ) -> None:
        if unknown := sorted(set(options) - set(PENALTIES) - set(WARPERS)):
            raise ValueError(
                f"the model folder's generation config asks for {unknown[0]}={options[unknown[0]]!r}, which is "
                f"not done here (known are {', '.join((*PENALTIES, *WARPERS))}): take it out there, or leave "
                "own_options off"
            )
        self.choose, self.prompts, self.temperature = choose, prompts, temperature
        self.penalties = LogitsProcessorList(PENALTIES[name](options[name]) for name in PENALTIES if name in options)
        self.warpers = LogitsProcessorList(WARPERS[name](options[name]) for name in WARPERS if name in options)

    def __call__(self, logits: torch.Tensor, rows: Sequence[Made]) -> torch.Tensor:
        shaped = [self._shaped(one[None], row) for one, row in zip(logits, rows)]
        return self.choose(torch.cat(shaped), rows)

    def _shaped(self, logits: torch.Tensor, row: Made) -> torch.Tensor:
        ids = torch.tensor([[*self.prompts[row.number], *row.tokens]], device=logits.device)
        logits = self.penalties(ids, logits)
        return self.warpers(ids, logits / self.temperature) * self.temperature if self.temperature else logits
