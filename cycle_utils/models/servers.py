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
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cycle_utils.models.sampling import Sampling

API, VLLM = "openai:", "vllm:"  # begin the names of such models
KEY, ADDRESS = "OPENAI_API_KEY", "OPENAI_BASE_URL"  # environment variables
AT_ONCE = 8  # requests under way at a time
RETRIES, PATIENCE = 6, 600.0  # of the client: after 429 or 5xx, with growing pauses; seconds for one answer
log = logging.getLogger(__name__)


class ServerError(RuntimeError):
    """A server that cannot be asked, or did not answer as it should. The message says what to do."""


@dataclass(frozen=True)
class Answer:
    """The completions of one prompt, and what they cost: ``prompt_tokens``, ``completion_tokens``.

    ``too_long`` in the cost counts prompts that did not fit the server's context.
    """

    texts: list[str]
    usage: Counter = field(default_factory=Counter)


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
        self._client = self._openai.OpenAI(
            api_key=os.environ[KEY], base_url=os.environ.get(ADDRESS) or None, max_retries=RETRIES, timeout=PATIENCE
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
            reply = self._request(
                model=self.name, messages=list(messages), temperature=sampling.temperature, top_p=sampling.top_p,
                max_tokens=sampling.max_new_tokens, n=missing, seed=request_seed(seed, number, len(answer.texts)),
            )  # fmt: skip
            if reply is None:
                return Answer([""] * samples, Counter(too_long=1))
            answer.texts.extend([choice.message.content or "" for choice in reply.choices][:missing])
            if reply.usage:
                answer.usage["prompt_tokens"] += reply.usage.prompt_tokens
                answer.usage["completion_tokens"] += reply.usage.completion_tokens
        return answer

    def _request(self, **options: Any) -> Any:
        """The server's reply; nothing if the prompt is too long for it.

        Errors are raised without their cause: its text comes from the server and may repeat the key.
        """
        try:
            reply = self._client.chat.completions.create(**options)
        except self._openai.APIError as error:
            if _too_long(error):
                log.warning("a prompt is too long for %s, and counts as answered by nothing", self.name)
                return None
            raise ServerError(self._advice(error)) from None
        if not getattr(reply, "choices", None):
            raise ServerError(f"{self.name} gave no answer: check that {ADDRESS} ends as it should, mostly in /v1")
        return reply

    def _advice(self, error) -> str:
        match getattr(error, "status_code", None):
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
            case None:
                return (
                    f"the server of {self.name} cannot be reached: start it, and set {ADDRESS} to its address (unset, "
                    "it is OpenAI's own)"
                )
            case status:
                said = str(error).replace(self._client.api_key, "...")
                return f"the server of {self.name} refuses a request with status {status}: {said}"


class VllmLM:
    """A model in the vLLM engine, in the numerical type that vLLM chooses.

    This has not been run against the real package here, which asks for a GPU: tests use a stand-in.

    Raises:
        ImportError: the package ``vllm`` is not installed.
    """

    def __init__(self, place: str) -> None:
        self._vllm = _package("vllm", VLLM, "vllm")
        self.engine = self._vllm.LLM(model=place)
        self.context = self.engine.llm_engine.model_config.max_model_len  # tokens

    def complete(
        self, requests: Mapping[int, list[int]], sampling: Sampling, samples: int, seed: int
    ) -> Iterator[tuple[int, Answer]]:
        """Answers to prompts given as token IDs, each with its number, ``sampling.batch_size`` prompts at a time."""
        numbers = list(requests)
        for start in range(0, len(numbers), sampling.batch_size):
            batch = numbers[start : start + sampling.batch_size]
            how = [
                self._vllm.SamplingParams(
                    temperature=sampling.temperature, top_p=sampling.top_p, max_tokens=sampling.max_new_tokens,
                    n=samples, seed=request_seed(seed, i),
                )
                for i in batch
            ]  # fmt: skip
            made = self.engine.generate([{"prompt_token_ids": requests[i]} for i in batch], how, use_tqdm=False)
            for i, one in zip(batch, made):
                new = sum(len(output.token_ids) for output in one.outputs)
                usage = Counter(prompt_tokens=len(requests[i]), completion_tokens=new)
                yield i, Answer([output.text for output in one.outputs], usage)


def request_seed(seed: int, number: int, given: int = 0) -> int:
    """The seed of one request: trajectories that share a prompt would otherwise get the same completion.

    Args:
        number: of the prompt; given: completions of it that are there already.
    """
    return random.Random(f"{seed}/{number}/{given}").randrange(2**31)


def _too_long(error) -> bool:
    """Whether a request was refused because the model's context is too short; servers say so in several ways."""
    return getattr(error, "status_code", None) == 400 and bool(re.search(r"context[ _](length|size)", str(error)))


def _package(name: str, prefix: str, extra: str):
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(
            f"models named {prefix}... need the package {name}, an optional extra: pip install -e '.[{extra}]'"
        ) from error
