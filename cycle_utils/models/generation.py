"""Batched sampling from a causal LM, here or elsewhere."""

from __future__ import annotations

import base64
import hashlib
import json
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tqdm.auto import tqdm
from transformers import GenerationConfig, set_seed

from cycle_utils.models.decoding import BatchDraws, Choose, Made, OwnDraws, decode, greedy
from cycle_utils.models.loading import context_length
from cycle_utils.models.loading import decode as text_of
from cycle_utils.models.own_options import Shaped, own_options
from cycle_utils.models.prompts import NoRoom, Prompt
from cycle_utils.models.sampling import Sampling
from cycle_utils.models.servers import ServedLM, VllmLM, whole_text

LOOK_EVERY = 16  # tokens between two looks at whether a program is finished
_told: set[tuple[str, bool]] = set()  # models of which this process has said what their folders ask for
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Completion:
    """A model's text, and why it ended: ``end``, ``length`` or ``program``, see :class:`~.decoding.Made`.

    Of a server also ``filter``, by its content filter, and nothing where it does not say.
    """

    text: str
    ended: str = ""


def room(model, sampling: Sampling) -> int | None:
    """The most tokens that a prompt may have; none if the model's context is not known."""
    context = context_length(model)
    return None if context is None else context - sampling.max_new_tokens


def generate(
    model, tokenizer, prompts: Sequence[str | Prompt], sampling: Sampling, samples: int = 1, seed: int = 0,
    progress: bool = True, finished: Callable[[int, str], bool] | None = None, stream: Path | None = None,
    usage: Counter | None = None, names: Sequence[str] | None = None,
) -> list[list[Completion]]:  # fmt: skip
    """``samples`` completions for each prompt, in the order of the prompts.

    Short prompts come first, so that little is padding. The same arguments give the same completions on the same
    machine; with draws by batch, another batch size may not. A served model is given seeds too, but what it makes of
    them is up to its server.

    Args:
        model: an LM, or one that runs elsewhere (:mod:`cycle_utils.models.servers`); a served one has no tokenizer.
        finished: for the index of a prompt and the text so far, whether more of it is of no use; asked every
            :data:`LOOK_EVERY` tokens.
        stream: a file to which completions are written as they come. What it holds already is not made again, and the
            rest comes out as if there had been no interruption.
        usage: is increased by the ``prompt_tokens`` and ``completion_tokens`` of all completions, as the server
            counts them or, here, without those that only end a text; what ``stream`` held already counts too.
        names: of the prompts, by which each draws its own random numbers; their indices if not given.

    Raises:
        NoRoom: a prompt that leaves no room for the new tokens.
        ValueError: a served model is to continue text.
        ServerError: see :class:`~cycle_utils.models.servers.ServedLM`.
    """
    usage = Counter() if usage is None else usage
    _tell_options(model, sampling)
    if isinstance(model, ServedLM):
        return _elsewhere(model, _conversations(model, prompts), sampling, samples, seed, progress, stream, usage)
    chat = any(isinstance(prompt, Prompt) and prompt.messages for prompt in prompts)
    ids = _fitting(model, tokenizer, prompts, sampling, chat)
    if isinstance(model, VllmLM):
        return _elsewhere(model, ids, sampling, samples, seed, progress, stream, usage)
    model.eval()
    order = [(i, s) for i in sorted(range(len(ids)), key=lambda i: len(ids[i])) for s in range(samples)]
    found = _read_stream(stream, usage)
    bar = tqdm(total=len(order), initial=len(found), desc="generate", disable=not progress, leave=False)
    make = _in_batches if sampling.draws == "batch" else _in_company
    for jobs, completions, states in make(model, tokenizer, ids, order, found, sampling, seed, finished, names):
        spent = {
            "prompt_tokens": sum(len(ids[i]) for i, _ in jobs),
            "completion_tokens": sum(len(made.tokens) for made, _ in completions),
        }
        fresh = [(*job, Completion(text, made.why)) for job, (made, text) in zip(jobs, completions)]
        _write_stream(stream, fresh, spent, states)
        usage.update(spent)
        found += fresh
        bar.update(len(fresh))
    bar.close()
    return _arranged(found, len(ids), samples)


_Job = tuple[int, int]  # the index of a prompt, and which of its samples
_Fresh = Iterator[tuple[Sequence[_Job], Sequence[tuple[Made, str]], list[str]]]  # with the random numbers' state


def _in_batches(model, tokenizer, ids, order, found, sampling: Sampling, seed: int, finished, names) -> _Fresh:
    """One batch after the other, each with one stream of random numbers that goes on from the last one's."""
    if not found:  # else the stream has restored the state after its last batch
        set_seed(seed)
    for start in range(len(found), len(order), sampling.batch_size):
        jobs = order[start : start + sampling.batch_size]
        choose = greedy if sampling.temperature == 0 else BatchDraws(sampling.temperature, sampling.top_p, len(jobs))
        yield jobs, list(_decoded(model, tokenizer, ids, jobs, choose, sampling, finished)), _random_states()


def _in_company(model, tokenizer, ids, order, found, sampling: Sampling, seed: int, finished, names) -> _Fresh:
    """All at once, each with random numbers of its own."""
    there = {(i, s) for i, s, _ in found}
    jobs = [job for job in order if job not in there]
    choose: Choose = greedy
    if sampling.temperature > 0:
        seeds = [_own_seed(seed, names[i] if names else str(i), s) for i, s in jobs]
        choose = OwnDraws(sampling.temperature, sampling.top_p, seeds, sampling.max_new_tokens)
    for made, text in _decoded(model, tokenizer, ids, jobs, choose, sampling, finished, ordered=False):
        yield [jobs[made.number]], [(made, text)], []


def _own_seed(seed: int, name: str, sample: int) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}/{name}/{sample}".encode()).digest()[:8])


def _decoded(
    model, tokenizer, ids, jobs: Sequence[_Job], choose: Choose, sampling: Sampling, finished, ordered: bool = True
) -> Iterator[tuple[Made, str]]:
    """What :func:`~cycle_utils.models.decoding.decode` makes of some jobs, with its text, as it comes or in order."""

    def enough(made: Made) -> bool:
        looked_at = len(made.tokens) % LOOK_EVERY == 0
        return looked_at and finished(jobs[made.number][0], text_of(tokenizer, made.tokens))

    prompts, stop = [ids[i] for i, _ in jobs], enough if finished else None
    if sampling.own_options and (options := options_of(model)):
        choose = Shaped(choose, prompts, options, sampling.temperature)
    ends = _ends(model, tokenizer)
    all_made = decode(model, prompts, choose, ends, sampling.max_new_tokens, sampling.batch_size, stop)
    for made in sorted(all_made, key=lambda one: one.number) if ordered else all_made:
        yield made, text_of(tokenizer, made.tokens)


def options_of(model) -> dict[str, Any]:
    """What a model folder's generation config asks for beyond a :class:`Sampling`; nothing of a served model."""
    if isinstance(model, ServedLM):
        return {}
    if isinstance(model, VllmLM):
        return own_options(_generation_config(model.place))
    return own_options(model.generation_config)


def _generation_config(place: str) -> GenerationConfig | None:
    try:
        return GenerationConfig.from_pretrained(place)
    except OSError:
        return None  # a folder need not have one


def _tell_options(model, sampling: Sampling) -> None:
    """Say once for each model what its folder asks for."""
    options, name = options_of(model), str(getattr(model, "name_or_path", model))
    if options and (name, sampling.own_options) not in _told:
        _told.add((name, sampling.own_options))
        asked = ", ".join(f"{option} {value}" for option, value in options.items())
        done = "is done" if sampling.own_options else "is not done (own_options does it)"
        log.warning("the generation config of %s asks for %s, which %s", name, asked, done)


def _arranged(found: Sequence[tuple[int, int, Completion]], prompts: int, samples: int) -> list[list[Completion]]:
    by_job = {(i, s): completion for i, s, completion in found}
    return [[by_job[i, s] for s in range(samples)] for i in range(prompts)]


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
) -> list[list[Completion]]:  # fmt: skip
    """:func:`generate` for a model that runs elsewhere: a line of the stream is the answer to one prompt."""
    found = _read_stream(stream, usage)
    there = {i for i, _, _ in found}
    missing = {i: request for i, request in enumerate(requests) if i not in there}
    answers = model.complete(missing, sampling, samples, seed)
    for i, answer in tqdm(answers, desc="generate", total=len(missing), disable=not progress, leave=False):
        ended = answer.ended or [""] * samples
        fresh = [(i, s, Completion(text, why)) for s, (text, why) in enumerate(zip(answer.texts, ended, strict=True))]
        _write_stream(stream, fresh, answer.usage, [])
        usage.update(answer.usage)
        found += fresh
    return _arranged(found, len(requests), samples)


def _ends(model, tokenizer) -> list[int]:
    """Tokens that end a text: all special ones, as nothing after one belongs to it, and those of the model folder."""
    turn = model.generation_config.eos_token_id
    return sorted({*tokenizer.all_special_ids, *(turn if isinstance(turn, list) else [turn])} - {None})


def _random_states() -> list[str]:
    states = [torch.get_rng_state(), *(torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [])]
    return [base64.b64encode(state.numpy().tobytes()).decode() for state in states]


def _write_stream(
    stream: Path | None, made: Sequence[tuple[int, int, Completion]], usage: Mapping[str, int], states: Sequence[str]
) -> None:
    """One line: completions with their jobs, what they cost, and the state of the random numbers after them."""
    if stream:
        rows = [[i, s, one.text, one.ended] for i, s, one in made]
        with stream.open("a", encoding="utf-8") as file:
            print(json.dumps({"made": rows, "usage": usage, "random": list(states)}), file=file)


def _read_stream(stream: Path | None, usage: Counter) -> list[tuple[int, int, Completion]]:
    """What an interrupted call has written, and the random numbers as they were then, up to a torn line."""
    found: list[tuple[int, int, Completion]] = []
    if stream is None or not stream.is_file():
        return found
    whole, states = [], []
    for line in stream.read_text(encoding="utf-8").splitlines(keepends=True):
        if not line.endswith("\n"):
            break
        try:
            row = json.loads(line)
        except ValueError:
            break  # what comes after a damaged line is made again
        whole.append(line)
        found += [(i, s, Completion(whole_text(text), ended)) for i, s, text, ended in row["made"]]
        usage.update(row["usage"])
        states = row["random"]
    stream.write_text("".join(whole), encoding="utf-8")
    for number, state in enumerate(states):
        tensor = torch.frombuffer(bytearray(base64.b64decode(state)), dtype=torch.uint8)
        torch.cuda.set_rng_state(tensor, number - 1) if number else torch.set_rng_state(tensor)
    return found
