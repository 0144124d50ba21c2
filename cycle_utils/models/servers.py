"""Models that run elsewhere: behind a server that speaks the OpenAI protocol, or in the vLLM engine.

``openai:NAME`` is the model NAME of a server (a hosted API, vLLM's server, Ollama); the server's address and key come
from the environment, ``OPENAI_BASE_URL`` and ``OPENAI_API_KEY``, and from nowhere else, so that no run and no notebook
can hold them. ``vllm:PLACE`` is a model folder or Hub ID in vLLM on this machine's GPUs. Both are optional extras of
the package, ``[api]`` and ``[vllm]``, and both only generate: they cannot be trained here.
"""

from __future__ import annotations

import importlib
import logging
import os
import random
import re
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any

from cycle_utils.models.sampling import END, LENGTH, NEUTRAL, Sampling

API, VLLM = "openai:", "vllm:"  # begin the names of such models
KEY, ADDRESS = "OPENAI_API_KEY", "OPENAI_BASE_URL"  # environment variables
AT_ONCE = 8  # requests under way at a time
RETRIES, PATIENCE = 6, 600.0  # of the client: after 429 or 5xx, with growing pauses; seconds for one answer
PAUSE = 1.0  # seconds before a first retry of what the client does not try again
EMPTY = 2  # how often a reply without choices is asked for again
FILTER = "filter"  # why a completion ended: a content filter ended it
# What is done where a server refuses an option, and which options go beside the protocol's own.
_WITHOUT = {
    "max_tokens": "max_completion_tokens goes instead", "max_completion_tokens": "its own limit ends answers",
    "temperature": "answers are sampled at its own temperature, not at the one that was asked for",
    "top_p": "answers are sampled with its own top-p", "seed": "the same request may be answered otherwise next time",
    "n": "answers are asked for one at a time",
}  # fmt: skip
_BESIDE = ("repetition_penalty", "top_k", "min_p")
_NAMED = {name: rf"(?<![\w-]){name}(?![\w-])" for name in (*_WITHOUT, *NEUTRAL)}
_NAMED["n"] = (
    r"""['"`]n['"`]|(?<![\w-])n (?:must|is|should|>|=|parameter)"""
    r"|(?:multiple|number of|one) (?:completion|choice|candidate)"
)
_UNKNOWN = (
    r"unsupported|not (?:\w+ )?support|n't support|unrecogni[sz]ed|unknown|unexpected|not permitted|not allowed|extra"
    r"|deprecated|instead|not enabled|not implemented"
)
_UNWANTED = rf"{_UNKNOWN}|must be|only |invalid|cannot be"  # these may also be about a value
_LONG = (
    r"context[ _-](?:length|size|window|limit)|(?:prompt|input|message)s? (?:is|are) too (?:long|large)"
    r"|input is too long|too many (?:input )?tokens|token count\b.*exceeds|maximum (?:input|model|prompt) length"
    r"|must be <= ?\d+\. given|must have less than \d+ tokens|too large for model|request too large"
)
_FILTERED = r"content[_ ](?:filter|management|policy)|responsible ?ai|inspection_failed|safety (?:filter|system)"
_PASSING = (408, 409, 429, 500, 502, 503, 504, 529)  # statuses of what passes by itself
_REASONS = {
    END: ("stop", "eos", "eos_token", "end_turn", "stop_sequence"), FILTER: ("content_filter", "safety", "refusal"),
    LENGTH: ("length", "max_tokens", "model_length", "max_output_tokens"),
}  # fmt: skip
log = logging.getLogger(__name__)


class ServerError(RuntimeError):
    """A server that cannot be asked, or did not answer as it should. The message says what to do."""


@dataclass(frozen=True)
class Answer:
    """The completions of one prompt, why each ended, and what they cost: ``prompt_tokens``, ``completion_tokens``.

    The cost also counts what a server did otherwise than asked: prompts that were ``too_long`` for its context,
    ``filtered`` or ``unanswered``, replies of ``unknown_cost`` and, as ``without_NAME``, those to requests from which
    the option NAME was left out, since the server refuses it.
    """

    texts: list[str]
    usage: Counter = field(default_factory=Counter)
    ended: list[str] = field(default_factory=list)


class _Nothing(Exception):
    """A prompt that this server will not answer; ``args[0]`` says why, as :class:`Answer` counts it."""


@dataclass(frozen=True)
class _Refusal:
    """A request that was refused: its status, what was said, the parameter if it names one, and the whole body."""

    status: int | None
    said: str
    parameter: str | None = None
    body: str = ""

    def says(self, pattern: str, flags: int = re.IGNORECASE) -> bool:
        return re.search(pattern, f"{self.said} {self.body}", flags) is not None


def split_name(model: str | Path) -> tuple[str, str]:
    """:data:`API`, :data:`VLLM` or nothing, and the rest of a model's name."""
    prefix = next((p for p in (API, VLLM) if str(model).startswith(p)), "")
    return prefix, str(model).removeprefix(prefix)


class ServedLM:
    """A chat model behind a server.

    Its context is not known here: a prompt that is too long for it is refused by the server, and answered by an empty
    text.

    Raises:
        ImportError: the package ``openai`` is not installed.
        ServerError: no key in the environment.
    """

    context = None  # tokens

    def __init__(self, name: str) -> None:
        self.name, self._openai = name, _package("openai", API, "api")
        if not os.environ.get(KEY):
            raise ServerError(
                f"{API}{name} needs a key: set the environment variable {KEY} (any text will do for a server of your "
                f"own that asks for none), and {ADDRESS} to its address unless it is OpenAI's"
            )
        address = os.environ.get(ADDRESS) or ""
        self._is_openai = not address or "api.openai.com" in address
        self._left_out: set[str] = set()  # options that this server refuses
        self._told: set[str] = set()
        self._saying, self._has_answered = Lock(), False
        self._client = self._openai.OpenAI(
            api_key=os.environ[KEY], base_url=address or None, max_retries=RETRIES, timeout=PATIENCE
        )

    def __repr__(self) -> str:
        return f"ServedLM({self.name!r})"

    def complete(
        self, requests: Mapping[int, Sequence[Mapping[str, str]]], sampling: Sampling, samples: int, seed: int
    ) -> Iterator[tuple[int, Answer]]:
        """Answers to conversations as they come, each with its number; :data:`AT_ONCE` are under way at a time.

        After an error, requests that have not gone out are dropped; what is under way is waited for and handed out.

        Raises:
            ServerError: the server cannot be reached, or refuses a request.
        """
        pool, failure = ThreadPoolExecutor(AT_ONCE), None
        try:
            asked = {pool.submit(self._answer, messages, sampling, samples, seed, i): i
                     for i, messages in requests.items()}  # fmt: skip
            for future in as_completed(asked):
                if future.cancelled():
                    continue
                if error := future.exception():
                    failure = failure or error
                    for other in asked:
                        other.cancel()
                else:
                    yield asked[future], future.result()
        finally:
            pool.shutdown(cancel_futures=True)
        if failure:
            raise failure

    def _answer(self, messages, sampling: Sampling, samples: int, seed: int, number: int) -> Answer:
        """One prompt's completions: in one request, or in more if the server gives fewer than it is asked for."""
        answer = Answer([])
        while (missing := samples - len(answer.texts)) > 0:
            try:
                reply, left_out = self._request(
                    messages=[{**one, "content": whole_text(one["content"])} for one in messages], n=missing,
                    temperature=sampling.temperature, top_p=sampling.top_p, max_tokens=sampling.max_new_tokens,
                    seed=request_seed(seed, number, len(answer.texts)), **({} if sampling.own_options else NEUTRAL),
                )  # fmt: skip
            except _Nothing as why:
                ended = FILTER if str(why) == "filtered" else ""
                return Answer([""] * samples, Counter({str(why): 1}), [ended] * samples)
            choices = reply.choices[:missing]
            answer.texts.extend(map(_said, choices))
            answer.ended.extend(_ended(getattr(choice, "finish_reason", None)) for choice in choices)
            answer.usage.update(_cost(reply, left_out, sum(one == FILTER for one in answer.ended[-len(choices) :])))
        return answer

    def _request(self, **options: Any) -> tuple[Any, set[str]]:
        """The server's reply, and what had to be left out of the request.

        Errors are raised without their cause: its text comes from the server and may repeat the key.

        Raises:
            _Nothing: this prompt gets no answer, for a reason that lies in it.
            ServerError: as :meth:`complete`.
        """
        empty = broken = 0
        while True:
            left_out = set(self._left_out)
            try:
                reply = self._client.chat.completions.create(**self._sent(options, left_out))
            except self._openai.APIStatusError as error:
                body = error.response.text[:2000]  # the client's own text may be the status alone
                said = str(error) if len(str(error)) > len(f"Error code: {error.status_code}") else body
                refusal = _Refusal(error.status_code, said, getattr(error, "param", None), body)
            except self._openai.APIError as error:
                raise ServerError(self._out_of_reach(error)) from None
            except ValueError:  # a body that is no JSON
                broken += 1
                if broken <= RETRIES:
                    time.sleep(PAUSE * broken)
                    continue
                raise ServerError(
                    f"the server of {self.name} answers with broken JSON, {broken} times in a row: look at its log and "
                    "at what lies between, and run again, which goes on from here"
                ) from None
            else:
                if getattr(reply, "choices", None):
                    self._has_answered = True
                    return reply, left_out
                refusal = _in_body(reply)
                if refusal and refusal.status in _PASSING and broken < RETRIES:
                    broken += 1
                    time.sleep(PAUSE * broken)
                    continue
                if refusal is None and empty < EMPTY:
                    empty += 1
                    continue
            self._decide(refusal, left_out)

    def _decide(self, refusal: _Refusal | None, left_out: set[str]) -> None:
        """After a refusal: go on with another request, or raise."""
        if refusal is None:
            if not self._has_answered:
                raise ServerError(
                    f"{self.name} gave no answer: check that {ADDRESS} ends as it should, mostly in /v1"
                ) from None
            self._say("unanswered", f"{self.name} gives no answer to a prompt, which counts as answered by nothing")
            raise _Nothing("unanswered") from None
        if _too_long(refusal):
            self._say("too_long", f"a prompt is too long for {self.name}, and counts as answered by nothing")
            raise _Nothing("too_long") from None
        if refusal.status in (400, 403, 422) and refusal.says(_FILTERED):
            self._say("filtered", f"a content filter of {self.name} refuses a prompt: it counts as answered by nothing")
            raise _Nothing("filtered") from None
        refused = _refused(refusal) - left_out if refusal.status in (400, 422, 501) else set()
        if not refused and refusal.status in (400, 422) and left_out.isdisjoint(NEUTRAL):
            refused = set(NEUTRAL)  # servers may refuse what they do not know without naming it
        if not refused:
            raise ServerError(self._advice(refusal)) from None
        for name in sorted(refused - set(NEUTRAL)):
            self._say(name, f"{self.name} refuses {name}: {_WITHOUT[name]}")
        self._left_out |= refused

    def _sent(self, options: Mapping[str, Any], left_out: set[str]) -> dict[str, Any]:
        """A request without what the server refuses; what the protocol does not have goes beside it."""
        kept = {name: value for name, value in options.items() if name not in left_out}
        if "max_tokens" in left_out and "max_completion_tokens" not in left_out:
            kept["max_completion_tokens"] = options["max_tokens"]
        beside = {name: kept.pop(name) for name in _BESIDE if name in kept}
        if self._is_openai:  # knows no others and refuses them
            beside = {}
        return {"model": self.name, **kept, **({"extra_body": beside} if beside else {})}

    def _say(self, what: str, text: str) -> None:
        """A warning, once for each kind."""
        with self._saying:
            if what not in self._told:
                self._told.add(what)
                log.warning("%s", text)

    def _out_of_reach(self, error) -> str:
        if isinstance(error, self._openai.APITimeoutError):
            return (
                f"the server of {self.name} did not answer within {PATIENCE:.0f} seconds: it is busy, or programs take "
                "it too long (max_new_tokens); run again, which goes on from here"
            )
        if not isinstance(error, self._openai.APIConnectionError):
            return f"the server of {self.name} gave an answer that the client cannot read ({type(error).__name__})"
        return (
            f"the server of {self.name} cannot be reached: start it, and set {ADDRESS} to its address (unset, it is "
            "OpenAI's own)"
        )

    def _advice(self, refusal: _Refusal) -> str:
        match refusal.status:
            case 401 | 403:
                return f"the server refuses the key: set {KEY} to one that may use {self.name}"
            case 404:
                return (
                    f"the server does not know the model {self.name}: check its spelling, load it there first, and "
                    f"check that {ADDRESS} ends as it should, mostly in /v1"
                )
            case 429:
                return (
                    f"the server still refuses after {RETRIES} retries, for requests come too fast or the quota is "
                    "used up: run again later, which goes on from here"
                )
            case status:
                said = refusal.said.replace(self._client.api_key, "...")
                return f"the server of {self.name} refuses a request with status {status}: {said}"


class VllmLM:
    """A model in the vLLM engine, in the numerical type that vLLM chooses.

    This has not been run against the real package here, which needs a GPU: tests use a stand-in.

    Raises:
        ImportError: the package ``vllm`` is not installed.
    """

    def __init__(self, place: str, trust_remote_code: bool = False) -> None:
        self._vllm, self.place = _package("vllm", VLLM, "vllm"), place
        self.engine = self._vllm.LLM(model=place, **({"trust_remote_code": True} if trust_remote_code else {}))
        self.context = self.engine.llm_engine.model_config.max_model_len  # tokens

    def complete(
        self, requests: Mapping[int, list[int]], sampling: Sampling, samples: int, seed: int
    ) -> Iterator[tuple[int, Answer]]:
        """Answers to prompts given as token IDs, each with its number, ``sampling.batch_size`` prompts at a time."""
        numbers = list(requests)
        beyond = dict(NEUTRAL)
        if sampling.own_options:
            own = self.engine.get_default_sampling_params()
            beyond = {name: getattr(own, name) for name in NEUTRAL}
        for start in range(0, len(numbers), sampling.batch_size):
            batch = numbers[start : start + sampling.batch_size]
            how = [
                self._vllm.SamplingParams(
                    temperature=sampling.temperature, top_p=sampling.top_p, max_tokens=sampling.max_new_tokens,
                    n=samples, seed=request_seed(seed, i), **beyond,
                )
                for i in batch
            ]  # fmt: skip
            made = self.engine.generate([{"prompt_token_ids": requests[i]} for i in batch], how, use_tqdm=False)
            for i, one in zip(batch, made):
                new = sum(len(output.token_ids) for output in one.outputs)
                usage = Counter(prompt_tokens=len(requests[i]), completion_tokens=new)
                ended = [_ended(getattr(output, "finish_reason", None)) for output in one.outputs]
                yield i, Answer([output.text for output in one.outputs], usage, ended)


def request_seed(seed: int, number: int, given: int = 0) -> int:
    """The seed of one request: trajectories that share a prompt would otherwise get the same completion.

    Args:
        number: of the prompt; given: completions of it that are there already.
    """
    return random.Random(f"{seed}/{number}/{given}").randrange(2**31)


def whole_text(text: str) -> str:
    """A text that any file can hold: halves of a character (lone surrogates), which JSON may bring, are replaced."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _said(choice) -> str:
    """The text of a choice. It may have no message, no content, or content in parts, of which thoughts are none."""
    content = getattr(getattr(choice, "message", None), "content", None) or getattr(choice, "text", None) or ""
    if isinstance(content, list):
        parts = [one if isinstance(one, Mapping) else {"text": one} for one in content]
        content = "".join(one["text"] for one in parts if isinstance(one.get("text"), str))
    return whole_text(content) if isinstance(content, str) else ""


def _ended(reason: str | None) -> str:
    """Why a completion ended, as :class:`~.decoding.Made` says it; empty if the server does not say."""
    return next((why for why, names in _REASONS.items() if str(reason).lower() in names), "")


def _cost(reply, left_out: set[str], filtered: int) -> Counter:
    """What a reply cost, as far as the server says, and what was not as it was asked for."""
    usage = getattr(reply, "usage", None)
    counts = {name: getattr(usage, name, None) for name in ("prompt_tokens", "completion_tokens")}
    cost = Counter({name: count for name, count in counts.items() if count})
    others = {f"without_{name}": 1 for name in left_out if name != "max_tokens"}
    others |= {"unknown_cost": 1} if None in counts.values() else {}
    return cost + Counter(others) + Counter(filtered=filtered)


def _in_body(reply) -> _Refusal | None:
    """An error that came with status 200, in a reply without choices."""
    error = getattr(reply, "error", None)
    if not error:
        return None
    error = error if isinstance(error, Mapping) else {"message": str(error)}
    code = str(error.get("code") or error.get("status") or "")
    return _Refusal(int(code) if code.isdigit() else 400, f"{code} {error.get('message', error)}", error.get("param"))


def _refused(refusal: _Refusal) -> set[str]:
    """The options that a server does not take, as it says."""
    named = {name for name in (*_WITHOUT, *NEUTRAL) if name == refusal.parameter or refusal.says(_NAMED[name], 0)}
    if "max_completion_tokens" in named and "max_tokens" in named:
        named.discard("max_completion_tokens")  # which is what it wants instead
    if "max_tokens" in named and not refusal.says(_UNKNOWN):
        named.discard("max_tokens")  # its value is refused
    return named if refusal.says(_UNWANTED) else set()


def _too_long(refusal: _Refusal) -> bool:
    """Whether a request was refused because the model's context is too short; servers say so in several ways."""
    return refusal.status == 413 or (refusal.status in (400, 422) and refusal.says(_LONG))


def _package(name: str, prefix: str, extra: str):
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(
            f"models named {prefix}... need the package {name}, an optional extra: pip install -e '.[{extra}]'"
        ) from error
