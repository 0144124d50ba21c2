"""Servers that differ from the protocol: a stand-in, and a row for each way in which one may."""

import json
import threading
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from http.server import ThreadingHTTPServer

import pandas as pd
import pytest
from local_server import JsonHandler

from cycle_utils.models import load_model, servers
from cycle_utils.models.generation import generate
from cycle_utils.models.prompts import Prompt, one_time_prompt
from cycle_utils.models.sampling import NEUTRAL, Sampling
from cycle_utils.models.servers import ServerError
from cycle_utils.problems import Problem

ADD = Problem("t/add", 'def add(a, b):\n    """Add."""', "add", ["assert add(1, 2) == 3"])
USAGE = {"prompt_tokens": 10, "completion_tokens": 3}
RAW = bytes  # a body that is sent as it is


def reply(*texts, reason="stop", usage=USAGE, **message) -> dict:
    """A reply of the protocol."""
    choices = [
        {"index": i, "message": {"role": "assistant", "content": text, **message}, "finish_reason": reason}
        for i, text in enumerate(texts)
    ]
    return {"id": "1", "object": "chat.completion", "created": 1, "model": "m", "choices": choices, "usage": usage}


def usual(body: dict):
    return 200, reply(*["ok"] * body.get("n", 1))


def refuses(name: str, message, status: int = 400, then=usual):
    """Does not take an option."""
    return lambda body: (status, message) if name in body else then(body)


def error(message: str, **more) -> dict:
    return {"error": {"message": message, **more}}


def always(status: int, data):
    return lambda body: (status, data)


@dataclass(frozen=True)
class Row:
    """What a server does, and what becomes of it: texts, or an error that says something."""

    server: object
    texts: tuple[str, ...] = ("ok",)
    ended: str = "end"
    cost: dict = field(default_factory=dict)  # beside the tokens
    sent: object = None  # what must hold for the last request
    told: str = ""
    error: str = ""
    samples: int = 1
    tokens: bool = True  # whether the cost is that of :data:`USAGE` for each request


def nothing(server, why: str, told: str) -> Row:
    return Row(server, ("",), "filter" if why == "filtered" else "", {why: 1}, told=told, tokens=False)


LONG = {
    "OpenAI": (400, error("This model's maximum context length is 8192 tokens.", code="context_length_exceeded")),
    "vLLM": (400, error("The prompt (total length 9000) is longer than the maximum model length of 8192.")),
    "TGI": (422, {"error": "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096. Given: 5000",
                  "error_type": "validation"}),
    "TGI's inputs": (422, error("Input validation error: `inputs` must have less than 1024 tokens. Given: 1100")),
    "Anthropic": (400, error("prompt is too long: 205000 tokens > 200000 maximum", type="invalid_request_error")),
    "Anthropic's sum": (400, error("input length and `max_tokens` exceed context limit: 199000 + 4096 > 200000")),
    "Gemini": (400, error("The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).")),
    "413": (413, error("Request Entity Too Large")),
    "413 of a proxy": (413, RAW(b"<html>413</html>")),
    "Mistral": (400, error("Prompt contains 40000 tokens, too large for model with 32768 maximum context length")),
    "llama.cpp": (400, error("the request exceeds the available context size. try increasing the context size")),
    "Bedrock": (400, error("Input is too long for requested model.")),
}  # fmt: skip
FILTERED = {
    "Azure": (400, error("The response was filtered due to the prompt triggering Azure OpenAI's content management "
                         "policy.", code="content_filter")),
    "DashScope": (400, error("Input data may contain inappropriate content.", code="data_inspection_failed")),
}  # fmt: skip
PARTS = [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "o"}, {"type": "text", "text": "k"}]

ROWS = {
    "max_tokens is called otherwise": Row(
        refuses("max_tokens", error("Unsupported parameter: 'max_tokens' is not supported with this model. Use "
                                    "'max_completion_tokens' instead.", param="max_tokens")),
        sent=lambda body: body["max_completion_tokens"] == 16 and "max_tokens" not in body,
        told="refuses max_tokens: max_completion_tokens goes instead"),
    "temperature": Row(
        refuses("temperature", error("Unsupported value: 'temperature' does not support 0.2 with this model. Only the "
                                     "default (1) value is supported.", param="temperature")),
        cost={"without_temperature": 1}, told="refuses temperature: answers are sampled at its own temperature"),
    "temperature, then top_p": Row(
        refuses("temperature", error("temperature: unsupported"), then=refuses("top_p", error("top_p: unsupported"))),
        cost={"without_temperature": 1, "without_top_p": 1}, told="refuses top_p"),
    "seed": Row(
        refuses("seed", {"detail": [{"type": "extra_forbidden", "loc": ["body", "seed"],
                                     "msg": "Extra inputs are not permitted"}]}, 422),
        cost={"without_seed": 1}, told="refuses seed: the same request may be answered otherwise"),
    "n, by a word": Row(refuses("n", error("n must be 1")), ("ok", "ok", "ok"), cost={"without_n": 3}, samples=3,
                        told="refuses n: answers are asked for one at a time"),
    "n, without naming it": Row(refuses("n", error("Only one completion choice is allowed")), ("ok", "ok"),
                                cost={"without_n": 2}, samples=2),
    "what the protocol has not, by name": Row(refuses("top_k", error("`top_k` must be strictly positive"), 422),
                                              cost={"without_top_k": 1}),
    "penalties, without naming one": Row(refuses("presence_penalty", error("Penalty is not enabled for this model")),
                                         cost={f"without_{name}": 1 for name in NEUTRAL}),
    "a value of max_tokens": Row(refuses("max_tokens", error("max_tokens is invalid: it must be at most 8")), (),
                                 error="refuses a request with status 400.*at most 8"),
    "no usage": Row(always(200, reply("ok", usage=None)), cost={"unknown_cost": 1}, tokens=False),
    "usage is empty": Row(always(200, reply("ok", usage={})), cost={"unknown_cost": 1}, tokens=False),
    "usage is partly null": Row(
        always(200, reply("ok", usage={"prompt_tokens": 10, "completion_tokens": None})),
        cost={"unknown_cost": 1, "prompt_tokens": 10}, tokens=False),
    "a choice without a message": Row(always(200, {**reply(), "choices": [{"index": 0, "finish_reason": "stop"}]}),
                                      ("",)),
    "a message that is null": Row(
        always(200, {**reply(), "choices": [{"index": 0, "message": None, "finish_reason": "stop"}]}), ("",)),
    "no content": Row(always(200, reply(None)), ("",)),
    "content in parts": Row(always(200, reply(PARTS))),
    "content in parts of text": Row(always(200, reply(["o", "k"]))),
    "cut at the most tokens": Row(always(200, reply("ok", reason="length")), ended="length"),
    "cut, by another word": Row(always(200, reply("ok", reason="MAX_TOKENS")), ended="length"),
    "an end of another name": Row(always(200, reply("ok", reason="eos_token"))),
    "no reason": Row(always(200, reply("ok", reason=None)), ended=""),
    "a filter within an answer": Row(always(200, reply("o", reason="content_filter")), ("o",), "filter",
                                     {"filtered": 1}),
    "half a character": Row(always(200, RAW(json.dumps(reply("a\ud83d")).encode())), ("a\ufffd",)),
    "two halves": Row(always(200, RAW(json.dumps(reply("\ud83d\ude00")).encode())), ("\U0001f600",)),
    "an error in a good reply": Row(always(200, error("no credits left", code=402)), (),
                                    error="refuses a request with status 402: .*no credits left"),
    "a long prompt in a good reply": nothing(always(200, error("maximum context length is 10", code=400)), "too_long",
                                             "too long for m"),
    "broken JSON": Row(always(200, RAW(b'{"choices": [{"mess')), (), error="broken JSON, 2 times in a row"),
    "a page": Row(always(200, RAW(b"<html>welcome</html>")), (), error="broken JSON|gave no answer"),
    "no choices": Row(always(200, {**reply(), "choices": []}), (), error="gave no answer: check that"),
    "choices are null": Row(always(200, {**reply(), "choices": None}), (), error="gave no answer"),
    **{f"too long: {name}": nothing(always(*said), "too_long", "too long for m") for name, said in LONG.items()},
    **{f"filtered: {name}": nothing(always(*said), "filtered", "a content filter of m") for name, said in
       FILTERED.items()},
}  # fmt: skip


class Handler(JsonHandler):
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append(body)
        self.send(*self.server.behave(body))


@pytest.fixture
def server(monkeypatch):
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as one:
        one.handle_error = lambda *_: None  # of a client that no longer waits
        one.asked, one.behave = [], usual
        threading.Thread(target=one.serve_forever, args=(0.01,), daemon=True).start()
        for name, value in {servers.KEY: "sk", servers.ADDRESS: f"http://127.0.0.1:{one.server_port}/v1"}.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        monkeypatch.setattr(servers, "RETRIES", 1)
        monkeypatch.setattr(servers, "PAUSE", 0.01)
        yield one
        one.shutdown()


def ask(samples: int = 1, count: int = 1, **options):
    prompts = [one_time_prompt(replace(ADD, prompt=f"Number {i}."), "chat") for i in range(count)]
    how = Sampling(temperature=0.2, max_new_tokens=16)
    return generate(load_model("openai:m"), None, prompts, how, samples, progress=False, **options)


@pytest.mark.parametrize("name", ROWS)
def test_what_becomes_of_a_server_that_differs(name, server, caplog, tmp_path):
    row, usage, stream = ROWS[name], Counter(), tmp_path / "stream.jsonl"
    server.behave = row.server
    if row.error:
        with pytest.raises(ServerError, match=row.error):
            ask(row.samples, usage=usage, stream=stream)
    else:
        ((*completions,),) = ask(row.samples, usage=usage, stream=stream)
        assert [one.text for one in completions] == list(row.texts)
        assert {one.ended for one in completions} == {row.ended}
        answered = 1 + row.cost.get("without_n", 1) - 1
        tokens = {what: count * answered for what, count in USAGE.items()} if row.tokens else {}
        assert usage == {**tokens, **row.cost}
        assert row.sent is None or row.sent(server.asked[-1])
        refused = {what.removeprefix("without_") for what in row.cost if what.startswith("without_")}
        assert not refused & set(server.asked[-1])
        pd.DataFrame([vars(one) for one in completions]).to_parquet(tmp_path / "attempts.parquet")
    assert row.told in caplog.text
    # Nothing of it stands in the way of a server that is all right, nor of another try.
    server.behave = usual
    again = ask(row.samples, stream=stream)
    assert [one.text for one in again[0]] == list(row.texts or ["ok"])


def test_what_a_server_refuses_is_said_once_and_not_asked_again(server, caplog, monkeypatch):
    monkeypatch.setattr(servers, "AT_ONCE", 1)
    server.behave = refuses("seed", error("Unknown parameter: 'seed'.", param="seed"))
    usage = Counter()
    ask(count=4, usage=usage)
    assert caplog.text.count("refuses seed") == 1 and usage["without_seed"] == 4
    assert ["seed" in body for body in server.asked] == [True, False, False, False, False]


def test_everything_that_shapes_a_completion_is_set(server):
    ask()
    assert {"temperature": 0.2, "top_p": 0.95, "max_tokens": 16, **NEUTRAL}.items() <= server.asked[0].items()


def test_openai_is_sent_nothing_that_its_protocol_has_not(monkeypatch, server):
    lm = load_model("openai:m")
    monkeypatch.setattr(lm, "_is_openai", True)
    list(lm.complete({0: [{"role": "user", "content": "x"}]}, Sampling(), 1, 0))
    assert not {"top_k", "min_p", "repetition_penalty"} & set(server.asked[0]) and "seed" in server.asked[0]


def test_own_options_are_left_to_the_server(server):
    lm = load_model("openai:m")
    list(lm.complete({0: [{"role": "user", "content": "x"}]}, Sampling(own_options=True), 1, 0))
    assert not set(NEUTRAL) & set(server.asked[0])


def test_an_error_that_passes_is_asked_again(server):
    first = [(200, error("overloaded", code=503)), (200, RAW(b"{"))]
    server.behave = lambda body: first.pop() if len(first) > 1 else usual(body)
    assert ask()[0][0].text == "ok"
    server.behave = lambda body: first.pop() if first else usual(body)
    assert ask()[0][0].text == "ok"


def test_a_prompt_that_gets_no_choices_ends_nothing_where_others_are_answered(server, caplog, monkeypatch):
    monkeypatch.setattr(servers, "AT_ONCE", 1)
    usage = Counter()
    server.behave = lambda body: (200, {**reply(), "choices": []}) if "Number 1." in str(body) else usual(body)
    texts = [one.text for (one,) in ask(count=3, usage=usage)]
    assert texts == ["ok", "", "ok"] and usage["unanswered"] == 1 and "gives no answer to a prompt" in caplog.text


def test_a_server_that_takes_too_long_is_not_told_to_be_started(server, monkeypatch):
    monkeypatch.setattr(servers, "PATIENCE", 0.2)
    monkeypatch.setattr(servers, "RETRIES", 0)
    server.behave = lambda body: (time.sleep(0.6), usual(body))[1]
    with pytest.raises(ServerError, match=r"did not answer within 0 seconds: it is busy.*max_new_tokens"):
        ask()


def test_half_a_character_in_a_prompt_can_be_sent(server):
    prompt = Prompt("a\ud83d", messages=[{"role": "user", "content": "a\ud83d"}])
    (((one),),) = generate(load_model("openai:m"), None, [prompt], Sampling(), progress=False)
    assert one.text == "ok" and server.asked[0]["messages"][0]["content"] == "a\ufffd"


def test_a_stream_that_an_earlier_version_or_a_torn_disk_left_stops_nothing(server, tmp_path):
    stream = tmp_path / "stream.jsonl"
    lines = [json.dumps({"made": [[0, 0, "half \ud83d", "end"]], "usage": {}, "random": []}), '{"made": [[1, 0', ""]
    stream.write_text("\n".join(lines), encoding="utf-8")
    texts = [one.text for (one,) in ask(count=2, stream=stream)]
    assert texts == ["half \ufffd", "ok"] and len(server.asked) == 1
    pd.DataFrame({"completion": texts}).to_parquet(tmp_path / "attempts.parquet")
