"""Decoding in slots: a sequence that ends leaves the batch at once, and a waiting one takes its place.

A batch that decodes to the length of its longest program spends most of its work on rows that are finished, and copies
the whole cache at every token. Here each row owns a slot of one preallocated cache, whose columns are time: all rows
end in the same column, a short one begins further right, and what lies left of its beginning is masked. A new row is
read alone, without padding, and laid into a free slot so that it ends where the others do.

    columns    ......aaaaaaaaaaaa|        a is long,
               ..........bbbbbbbb|        b and c are shorter;
               ............cccccc|        the next tokens of all are written at |

Prompts that are the same are read once, and so is the beginning that all prompts of a call share. What a row is given
does not depend on its neighbours, except for float noise, unless its random numbers do (:class:`BatchDraws`).
"""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
from transformers import TemperatureLogitsWarper, TopPLogitsWarper
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer

from cycle_utils.models.sampling import END, LENGTH, PROGRAM

SLACK = 128  # columns that are written before the rows are moved back to the left
READ_AT_ONCE = 2048  # prompt tokens of one forward pass, padding included
SHARED = 16  # the least number of tokens for which a common beginning is read apart
UNLIKELY = (1e-4, 1e-7, -1.0)  # chances of tokens that need not be looked at, if the others suffice


@dataclass
class Made:
    """The new tokens of one sequence.

    ``why`` it ended: the model ended it (:data:`END`, whose token is not among ``tokens``), it was cut at the most
    tokens allowed (:data:`LENGTH`), or the caller needed no more (:data:`PROGRAM`).
    """

    number: int
    tokens: list[int] = field(default_factory=list)
    why: str = ""


class Choose(Protocol):
    """How the next tokens are chosen: from logits (rows, vocabulary), for these sequences as far as they are made."""

    def __call__(self, logits: torch.Tensor, rows: Sequence[Made]) -> torch.Tensor: ...


def greedy(logits: torch.Tensor, rows: Sequence[Made]) -> torch.Tensor:
    """The most probable tokens."""
    return logits.argmax(-1)


class BatchDraws:
    """One stream of random numbers for a whole batch, as ``transformers`` draws them.

    Numbers are drawn for all of its ``count`` rows at each token, finished or not, and rows are numbered from 0.
    """

    def __init__(self, temperature: float, top_p: float, count: int) -> None:
        self.warpers = [TemperatureLogitsWarper(temperature)] + ([TopPLogitsWarper(top_p)] if top_p < 1 else [])
        self.count = count

    def __call__(self, logits: torch.Tensor, rows: Sequence[Made]) -> torch.Tensor:
        for warper in self.warpers:
            logits = warper(None, logits)
        noise = torch.empty(self.count, logits.shape[-1], device=logits.device).exponential_()
        return (logits.softmax(-1) / noise[[row.number for row in rows]]).argmax(-1)


class OwnDraws:
    """A stream of random numbers for each sequence, so that it comes out alike in any company and order.

    Args:
        seeds: of each sequence, by number.
        most: tokens of one sequence.
    """

    def __init__(self, temperature: float, top_p: float, seeds: Sequence[Sequence[int]], most: int) -> None:
        self.temperature, self.top_p, self.seeds, self.most = temperature, top_p, seeds, most
        self.streams: dict[int, np.ndarray] = {}

    def __call__(self, logits: torch.Tensor, rows: Sequence[Made]) -> torch.Tensor:
        drawn = [self._stream(row.number)[len(row.tokens)] for row in rows]
        return nucleus(logits / self.temperature, self.top_p, torch.tensor(drawn, device=logits.device))

    def _stream(self, number: int) -> np.ndarray:
        if number not in self.streams:
            self.streams[number] = np.random.default_rng(self.seeds[number]).random(self.most)
        return self.streams[number]


def nucleus(logits: torch.Tensor, top_p: float, drawn: torch.Tensor) -> torch.Tensor:
    """Tokens from the smallest set that holds ``top_p`` of the probability [Holtzman et al. 2020].

    Args:
        logits: (rows, vocabulary), divided by the temperature.
        drawn: a uniform random number from [0, 1) for each row.
    """
    chances, tokens = logits.softmax(-1), torch.zeros(len(logits), dtype=torch.long, device=logits.device)
    left = torch.arange(len(logits), device=logits.device)
    for least in UNLIKELY:
        found, is_enough = _among_likely(chances[left], top_p, drawn[left], least)
        tokens[left] = found
        left = left[~is_enough]
        if not len(left):
            break
    return tokens


def _among_likely(
    chances: torch.Tensor, top_p: float, drawn: torch.Tensor, least: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """:func:`nucleus` among the tokens with more than the ``least`` chance, and whether these hold ``top_p``.

    They are few, and sorting a whole vocabulary takes longer than the model.
    """
    row, token = (chances > least).nonzero(as_tuple=True)
    counts = torch.bincount(row, minlength=len(chances))
    column = torch.arange(len(row), device=row.device) - (counts.cumsum(0) - counts)[row]
    likely = chances.new_zeros(len(chances), max(int(counts.max()), 1), dtype=torch.float64)
    likely[row, column] = chances[row, token].double()
    tokens = torch.zeros_like(likely, dtype=torch.long)
    tokens[row, column] = token
    is_enough = (likely.sum(-1) >= top_p) | (least < 0)
    likely, order = likely.sort(dim=-1, descending=True, stable=True)
    kept = likely * (likely.cumsum(-1) - likely < top_p)
    below = kept.cumsum(-1) <= (drawn.double() * kept.sum(-1))[:, None]
    index = torch.minimum(below.sum(-1), (kept > 0).sum(-1) - 1).clamp(min=0)
    return tokens.gather(-1, order.gather(-1, index[:, None]))[:, 0], is_enough


# --- the cache -------------------------------------------------------------------------------------------


class _Frame:
    """Where all layers of a cache read and write: rows ``0 .. rows``, columns up to ``end``."""

    def __init__(self, width: int, columns: int) -> None:
        self.width, self.columns, self.end = width, columns, 0
        self.lengths: list[int] = []  # tokens of each row

    @property
    def rows(self) -> int:
        return len(self.lengths)

    @property
    def longest(self) -> int:
        return max(self.lengths, default=0)

    def mask(self, device) -> torch.Tensor:
        """Which columns each row may attend to, the one that is written next included: (rows, longest + 1)."""
        begins = self.longest - torch.tensor(self.lengths)
        return (torch.arange(self.longest + 1)[None] >= begins[:, None]).long().to(device)


class _Layer(DynamicLayer):
    """Keys and values of one layer, written in place where :class:`_Frame` says."""

    def __init__(self, frame: _Frame) -> None:
        super().__init__()
        self.frame = frame

    def get_seq_length(self, *_) -> int:
        return self.frame.longest

    def update(self, key_states, value_states, *args, **kwargs):
        frame, begin = self.frame, self.frame.end - self.frame.longest
        written = []
        for buffer, states in ((self.keys, key_states), (self.values, value_states)):
            buffer[: frame.rows, :, frame.end : frame.end + 1] = states
            written.append(buffer[: frame.rows, :, begin : frame.end + 1])
        return tuple(written)

    def lay(self, row: int, length: int, keys: torch.Tensor, values: torch.Tensor) -> None:
        """Put the states of a row that was read elsewhere, (heads, length, size), where they end at ``end``."""
        if not self.is_initialized:
            self.keys, self.values = (
                s.new_zeros(self.frame.width, s.shape[0], self.frame.columns, s.shape[-1]) for s in (keys, values)
            )
            self.is_initialized = True
        for buffer, states in ((self.keys, keys), (self.values, values)):
            buffer[row, :, self.frame.end - length : self.frame.end] = states

    def drop(self, row: int, last: int, length: int) -> None:
        """Fill the place of ``row`` with the ``last`` one, which has ``length`` tokens."""
        columns = slice(self.frame.end - length, self.frame.end)
        for buffer in (self.keys, self.values):
            buffer[row, :, columns] = buffer[last, :, columns]

    def move(self, end: int) -> None:
        frame = self.frame
        if self.is_initialized and frame.rows:
            for buffer in (self.keys, self.values):
                states = buffer[: frame.rows, :, frame.end - frame.longest : frame.end].clone()
                buffer[: frame.rows, :, end - frame.longest : end] = states


class _Slots:
    """The rows that are being decoded."""

    def __init__(self, model, width: int, most: int) -> None:
        self.model, self.frame = model, _Frame(width, most + SLACK)
        self.layers = [_Layer(self.frame) for _ in range(model.config.get_text_config().num_hidden_layers)]
        self.cache = Cache(layers=self.layers)
        self.made: list[Made] = []

    def _move(self, end: int) -> None:
        for layer in self.layers:
            layer.move(end)
        self.frame.end = end

    def add(self, made: Made, length: int, states: Sequence[tuple[torch.Tensor, torch.Tensor]]) -> None:
        """A row that was read: ``states`` are keys and values of each layer, both (heads, length, size)."""
        if self.frame.end < length:
            self._move(length)
        for layer, (keys, values) in zip(self.layers, states):
            layer.lay(self.frame.rows, length, keys, values)
        self.frame.lengths.append(length)
        self.made.append(made)

    def remove(self, row: int) -> Made:
        """Take a row out; the last one takes its place."""
        last = len(self.made) - 1
        if row < last:
            for layer in self.layers:
                layer.drop(row, last, self.frame.lengths[last])
        for rows in (self.made, self.frame.lengths):
            rows[row], rows[last] = rows[last], rows[row]
        self.frame.lengths.pop()
        return self.made.pop()

    def step(self, tokens: torch.Tensor) -> torch.Tensor:
        """Logits (rows, vocabulary) after one more token of each row."""
        frame, device = self.frame, tokens.device
        if frame.end == frame.columns:
            self._move(frame.longest)
        logits = _logits(
            self.model, self.cache, input_ids=tokens[:, None], attention_mask=frame.mask(device),
            position_ids=torch.tensor(frame.lengths, device=device)[:, None],
        )  # fmt: skip
        frame.end += 1
        frame.lengths = [length + 1 for length in frame.lengths]
        return logits


def _logits(model, cache: Cache, **inputs) -> torch.Tensor:
    """Logits of the last column, in float32: (rows, vocabulary)."""
    known = inspect.signature(model.forward).parameters
    name = "cache" if "cache" in known else "past_key_values"  # transformers renamed it
    keep = {"logits_to_keep": 1} if "logits_to_keep" in known else {}
    return model(**inputs, **{name: cache}, use_cache=True, **keep).logits[:, -1].float()


# --- reading prompts -------------------------------------------------------------------------------------


class _Reader:
    """Reads prompts: each distinct one once, and their common beginning once for all."""

    def __init__(self, model, prompts: Sequence[Sequence[int]]) -> None:
        self.model, self.device = model, model.device
        self.left = Counter(tuple(prompt) for prompt in prompts)  # how often each is still wanted
        self.read: dict[tuple[int, ...], tuple] = {}
        self.shared = _common_beginning(list(self.left))
        self.beginning = None
        if len(self.left) > 1 and self.shared >= SHARED:
            first = next(iter(self.left))[: self.shared]
            self.beginning = DynamicCache()
            _logits(model, self.beginning, input_ids=torch.tensor([first], device=self.device))
        else:
            self.shared = 0

    def take(self, prompts: Sequence[Sequence[int]]) -> list[tuple[torch.Tensor, list]]:
        """For each prompt the logits (vocabulary,) after it and its states, as :meth:`_Slots.add` wants them."""
        wanted = [tuple(prompt) for prompt in prompts]
        self._read(sorted({one for one in wanted if one not in self.read}, key=len))
        taken = []
        for one in wanted:
            self.left[one] -= 1
            taken.append(self.read[one] if self.left[one] else self.read.pop(one))
        return taken

    def _read(self, prompts: Sequence[tuple[int, ...]]) -> None:
        begin = 0
        while begin < len(prompts):  # ascending lengths: the last of a group is its longest
            end = begin + 1
            while end < len(prompts) and (end + 1 - begin) * (len(prompts[end]) - self.shared) <= READ_AT_ONCE:
                end += 1
            self._read_together(prompts[begin:end])
            begin = end

    def _read_together(self, prompts: Sequence[tuple[int, ...]]) -> None:
        rests = [prompt[self.shared :] for prompt in prompts]
        longest = max(map(len, rests))
        pads = [longest - len(rest) for rest in rests]
        ids = torch.tensor([[0] * pad + list(rest) for pad, rest in zip(pads, rests)], device=self.device)
        columns = torch.arange(self.shared + longest, device=self.device)[None]
        pad = torch.tensor(pads, device=self.device)[:, None]
        mask = (columns < self.shared) | (columns >= self.shared + pad)
        positions = (columns[:, self.shared :] - pad).clamp(min=0)
        cache = self._begun(len(prompts))
        logits = _logits(self.model, cache, input_ids=ids, attention_mask=mask.long(), position_ids=positions)
        for row, (prompt, skipped) in enumerate(zip(prompts, pads)):
            states = [tuple(self._whole(s[row], skipped) for s in (la.keys, la.values)) for la in cache.layers]
            self.read[prompt] = (logits[row], states)

    def _begun(self, rows: int) -> DynamicCache:
        cache = DynamicCache()
        for number, layer in enumerate(self.beginning.layers if self.beginning else ()):
            cache.update(layer.keys.expand(rows, -1, -1, -1), layer.values.expand(rows, -1, -1, -1), number)
        return cache

    def _whole(self, states: torch.Tensor, skipped: int) -> torch.Tensor:
        """States (heads, columns, size) without the padding after the common beginning."""
        if not skipped:
            return states
        return torch.cat([states[:, : self.shared], states[:, self.shared + skipped :]], 1)


def _common_beginning(prompts: Sequence[Sequence[int]]) -> int:
    """How many tokens all prompts begin with, leaving at least one of each."""
    low, high = min(prompts), max(prompts)  # what the first and the last in order share, all between share
    same = 0
    while same < min(len(low), len(high)) - 1 and low[same] == high[same]:
        same += 1
    return min([same, *(len(prompt) - 1 for prompt in prompts)])


# --- decoding --------------------------------------------------------------------------------------------


@torch.inference_mode()
def decode(
    model, prompts: Sequence[Sequence[int]], choose: Choose, ends: Sequence[int], most: int, width: int,
    enough: Callable[[Made], bool] | None = None,
) -> Iterator[Made]:  # fmt: skip
    """Continue each prompt; sequences come as they end, numbered in the order of ``prompts``.

    Args:
        prompts: token IDs; those that stand first begin first.
        ends: tokens that end a sequence.
        most: new tokens of one sequence.
        width: sequences under way at a time. Slots are filled again when an eighth of them is free.
        enough: whether a sequence needs no more tokens; asked after each token.
    """
    if not prompts:
        return
    reader = _Reader(model, prompts)
    slots = _Slots(model, width, max(map(len, prompts)) + most)
    waiting, logits, stop = 0, None, set(ends)
    while waiting < len(prompts) or slots.made:
        free = width - len(slots.made)
        if waiting < len(prompts) and (free >= max(width // 8, 1) or not slots.made):
            chosen = range(waiting, min(waiting + free, len(prompts)))
            waiting = chosen.stop
            fresh = reader.take([prompts[i] for i in chosen])
            for i, (_, states) in zip(chosen, fresh):
                slots.add(Made(i), len(prompts[i]), states)
            logits = torch.cat([*([] if logits is None else [logits]), torch.stack([first for first, _ in fresh])])
        tokens = choose(logits, slots.made)
        for made, token in zip(slots.made, tokens.tolist()):
            made.why = _extend(made, token, stop, most, enough)
        ended = [row for row, made in enumerate(slots.made) if made.why]
        for row in reversed(ended):
            yield slots.remove(row)
            tokens[row], tokens = tokens[-1].clone(), tokens[:-1]
        logits = slots.step(tokens) if slots.made else None


def _extend(made: Made, token: int, ends: set[int], most: int, enough: Callable[[Made], bool] | None) -> str:
    """Add a token to a sequence; why it ends, if it does."""
    if token in ends:
        return END
    made.tokens.append(token)
    if enough and enough(made):
        return PROGRAM
    return LENGTH if len(made.tokens) == most else ""
