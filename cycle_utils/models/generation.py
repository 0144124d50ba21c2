"""Batched sampling from a causal LM, here or elsewhere."""

from __future__ import annotations

import base64
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from tqdm.auto import tqdm
from transformers import StoppingCriteria, StoppingCriteriaList, set_seed

from cycle_utils.models.loading import context_length, decode
from cycle_utils.models.prompts import NoRoom, Prompt
from cycle_utils.models.sampling import Sampling
from cycle_utils.models.servers import ServedLM, VllmLM

LOOK_EVERY = 16  # tokens between two looks at whether a program is finished


def room(model, sampling: Sampling) -> int | None:
    """The most tokens that a prompt may have; none if the model's context is not known."""
    context = context_length(model)
    return None if context is None else context - sampling.max_new_tokens


@torch.inference_mode()
def generate(
    model, tokenizer, prompts: Sequence[str | Prompt], sampling: Sampling, samples: int = 1, seed: int = 0,
    progress: bool = True, finished: Callable[[int, str], bool] | None = None, stream: Path | None = None,
    usage: Counter | None = None,
) -> list[list[str]]:  # fmt: skip
    """``samples`` completions for each prompt, in the order of the prompts.

    Prompts are sorted by length into batches, so that little is padding. The same arguments give the same
    completions on the same machine; another batch size may not. A served model is given seeds too, but what it makes
    of them is up to its server.

    Args:
        model: an LM, or one that runs elsewhere (:mod:`cycle_utils.models.servers`); a served one has no tokenizer.
        finished: for the index of a prompt and the text so far, whether more of it is of no use; asked every
            :data:`LOOK_EVERY` tokens.
        stream: a file to which each batch is written as it comes. What it holds already is not made again, and the
            rest comes out as if there had been no interruption.
        usage: is increased by the ``prompt_tokens`` and ``completion_tokens`` of all completions, as the server
            counts them or, here, without those that only end a text; what ``stream`` held already counts too.

    Raises:
        NoRoom: a prompt that leaves no room for the new tokens.
        ValueError: a served model is to continue text.
        ServerError: see :class:`~cycle_utils.models.servers.ServedLM`.
    """
    usage = Counter() if usage is None else usage
    if isinstance(model, ServedLM):
        return _elsewhere(model, _conversations(model, prompts), sampling, samples, seed, progress, stream, usage)
    chat = any(isinstance(prompt, Prompt) and prompt.messages for prompt in prompts)
    ids = _fitting(model, tokenizer, prompts, sampling, chat)
    if isinstance(model, VllmLM):
        return _elsewhere(model, ids, sampling, samples, seed, progress, stream, usage)
    order = [i for i in sorted(range(len(ids)), key=lambda i: len(ids[i])) for _ in range(samples)]
    completions: list[list[str]] = [[] for _ in ids]
    set_seed(seed)
    model.eval()
    done = _read_stream(stream, usage)
    for chosen, text in done:
        completions[chosen].append(text)
    batches = range(len(done), len(order), sampling.batch_size)
    for start in tqdm(batches, desc="generate", disable=not progress, leave=False):
        chosen = order[start : start + sampling.batch_size]
        stopping = _Stopping(tokenizer, chosen, finished) if finished else None
        texts, new = _batch(model, tokenizer, [ids[i] for i in chosen], sampling, stopping, chat)
        for i, text in zip(chosen, texts):
            completions[i].append(text)
        spent = {"prompt_tokens": sum(len(ids[i]) for i in chosen), "completion_tokens": new}
        _write_stream(stream, chosen, texts, spent, _random_states())
        usage.update(spent)
    return completions


def _fitting(model, tokenizer, prompts: Sequence[str | Prompt], sampling: Sampling, chat: bool) -> list[list[int]]:
    """Token IDs of the prompts. A chat template has written its special tokens itself: none are added to them."""
    texts = [prompt.text if isinstance(prompt, Prompt) else prompt for prompt in prompts]
    ids = tokenizer(texts, add_special_tokens=not chat)["input_ids"] if texts else []
    longest, limit = max(map(len, ids), default=0), room(model, sampling)
    if sampling.truncation == "left" and limit > 0:
        return [one[-limit:] for one in ids]
    if longest > limit:
        over = sum(len(one) > limit for one in ids)
        raise NoRoom(
            f"{over} of {len(ids)} prompts do not fit: the longest has {longest} tokens, and with "
            f"{sampling.max_new_tokens} new ones the model's context of {context_length(model)} is too short. Ask for "
            "fewer new tokens, use a model with a longer context, or cut prompts on the left (truncation)"
        )
    return ids


def _conversations(model: ServedLM, prompts: Sequence[str | Prompt]) -> list[Sequence[Mapping[str, str]]]:
    found = [prompt.messages if isinstance(prompt, Prompt) else () for prompt in prompts]
    if not all(found):
        raise ValueError(f"{model.name} is behind a server that only answers conversations: use the style 'chat'")
    return found


def _elsewhere(
    model: ServedLM | VllmLM, requests: Sequence, sampling: Sampling, samples: int, seed: int, progress: bool,
    stream: Path | None, usage: Counter,
) -> list[list[str]]:  # fmt: skip
    """:func:`generate` for a model that runs elsewhere: a line of the stream is the answer to one prompt."""
    completions: list[list[str]] = [[] for _ in requests]
    for i, text in _read_stream(stream, usage):
        completions[i].append(text)
    missing = {i: requests[i] for i, texts in enumerate(completions) if not texts}
    answers = model.complete(missing, sampling, samples, seed)
    for i, answer in tqdm(answers, desc="generate", total=len(missing), disable=not progress, leave=False):
        completions[i] = answer.texts
        _write_stream(stream, [i] * samples, answer.texts, answer.usage, [])
        usage.update(answer.usage)
    return completions


def _batch(
    model, tokenizer, ids: list[list[int]], sampling: Sampling, stopping: _Stopping | None, chat: bool
) -> tuple[list[str], int]:
    """A completion of each prompt, and how many tokens they have together."""
    batch = tokenizer.pad({"input_ids": ids}, padding=True, padding_side="left", return_tensors="pt").to(model.device)
    greedy = sampling.temperature == 0
    options = {} if greedy else {"temperature": sampling.temperature, "top_p": sampling.top_p, "top_k": 0}
    if stopping:
        stopping.start = batch["input_ids"].shape[1]
        options["stopping_criteria"] = StoppingCriteriaList([stopping])
    out = model.generate(
        **batch,
        do_sample=not greedy,
        max_new_tokens=sampling.max_new_tokens,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=_ends(model, tokenizer) if chat else tokenizer.eos_token_id,
        **options,
    )
    made = out[:, batch["input_ids"].shape[1] :]
    ending = torch.tensor([*_ends(model, tokenizer), tokenizer.pad_token_id], device=made.device)
    return [decode(tokenizer, row) for row in made], int((~torch.isin(made, ending)).sum())


def _ends(model, tokenizer) -> list[int]:
    """Tokens that end a text. Those that end a chat model's turn may stand in its generation config alone."""
    turn = model.generation_config.eos_token_id
    return list({tokenizer.eos_token_id, *(turn if isinstance(turn, list) else [turn])} - {None})


class _Stopping(StoppingCriteria):
    """Ends the sequences of one batch whose text is finished."""

    def __init__(self, tokenizer, chosen: Sequence[int], finished: Callable[[int, str], bool]) -> None:
        self.tokenizer, self.chosen, self.finished, self.start = tokenizer, chosen, finished, 0
        self.ended = torch.zeros(len(chosen), dtype=torch.bool)

    def __call__(self, input_ids: torch.LongTensor, scores, **options) -> torch.Tensor:
        if (input_ids.shape[1] - self.start) % LOOK_EVERY == 0:
            for row, i in enumerate(self.chosen):
                if not self.ended[row]:
                    self.ended[row] = self.finished(i, decode(self.tokenizer, input_ids[row, self.start :]))
        return self.ended.to(input_ids.device)


def _random_states() -> list[str]:
    states = [torch.get_rng_state(), *(torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [])]
    return [base64.b64encode(state.numpy().tobytes()).decode() for state in states]


def _write_stream(
    stream: Path | None, chosen: Sequence[int], texts: Sequence[str], usage: Mapping[str, int], states: Sequence[str]
) -> None:
    """One line for a batch: its texts, what they cost, and the state of the random numbers behind it."""
    if stream:
        line = {"chosen": list(chosen), "texts": list(texts), "usage": usage, "random": list(states)}
        with stream.open("a") as file:
            print(json.dumps(line), file=file)


def _read_stream(stream: Path | None, usage: Counter) -> list[tuple[int, str]]:
    """What an interrupted call has written, and the random numbers as they were then; a torn last line is dropped."""
    found: list[tuple[int, str]] = []
    if stream is None or not stream.is_file():
        return found
    whole, states = [], []
    for line in stream.read_text().splitlines(keepends=True):
        if not line.endswith("\n"):
            break
        row = json.loads(line)
        whole.append(line)
        found += list(zip(row["chosen"], row["texts"]))
        usage.update(row.get("usage", {}))
        states = row["random"]
    stream.write_text("".join(whole))
    for number, state in enumerate(states):
        tensor = torch.frombuffer(bytearray(base64.b64decode(state)), dtype=torch.uint8)
        torch.cuda.set_rng_state(tensor, number - 1) if number else torch.set_rng_state(tensor)
    return found
