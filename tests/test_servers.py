"""Models that are not trained here: by chat template, behind a server of the OpenAI protocol, in vLLM."""

import json
import sys
import threading
import time
from collections import Counter
from dataclasses import replace
from http.server import ThreadingHTTPServer
from types import ModuleType, SimpleNamespace

import architectures
import pandas as pd
import papermill
import pytest
import yaml
from local_server import JsonHandler

from cycle_utils import load_problems, paths
from cycle_utils.method import runs, stages
from cycle_utils.method.loop import next_prompt
from cycle_utils.models import generation, load_model, load_tokenizer, servers
from cycle_utils.models.answers import answered
from cycle_utils.models.generation import generate
from cycle_utils.models.loading import context_length, render_chat
from cycle_utils.models.prompts import (
    CUT,
    FIELDS,
    NoRoom,
    one_time_prompt,
    refine_prompt,
    shown_code,
    transcript,
)
from cycle_utils.models.sampling import NEUTRAL, Sampling
from cycle_utils.problems import Problem
from cycle_utils.problems import tinyprograms as tp

ADD = Problem("t/add", 'def add(a, b):\n    """Add."""', "add", ["assert add(1, 2) == 3"])
ECHO = Problem("t/echo", "Print the line that you read.", None, [{"input": "x\n", "output": "x\n"}])
SECRET = "sk-secret-of-the-test"
SHORT = Sampling(max_new_tokens=16)


# --- conversations -----------------------------------------------------------------------------------------


def test_a_conversation_holds_task_program_and_feedback():
    first = one_time_prompt(ADD, "chat")
    assert [m["role"] for m in first.messages] == ["user"] and ADD.prompt in first.text
    later = refine_prompt(ADD, "def add(a, b):\n    return a", "Input: add(1, 2)", "chat")
    assert [m["role"] for m in later.messages] == ["user", "assistant", "user"]
    assert later.messages[0] == first.messages[0]
    assert later.messages[1]["content"] == "```python\ndef add(a, b):\n    return a\n```"
    assert "Input: add(1, 2)" in later.messages[2]["content"] and later.text == transcript(later.messages)
    assert (
        "reads standard input" in one_time_prompt(ECHO, "chat").text
        and ECHO.prompt in one_time_prompt(ECHO, "chat").text
    )


def test_fields_of_a_conversation_may_be_blank():
    no_code, no_feedback = refine_prompt(ADD, "", "Input: 1", "chat"), refine_prompt(ADD, "x = 1", "", "chat")
    assert [m["role"] for m in no_code.messages] == ["user", "assistant", "user"]
    assert no_code.messages[1]["content"] == "```python\n\n```" and "Input: 1" in no_code.text
    assert "x = 1" in no_feedback.text and "fails a test." in no_feedback.text


def test_a_long_faulty_program_is_cut_in_the_conversation():
    code, whole = "\n".join(f"line {i}" for i in range(100)), refine_prompt(ADD, "", "the feedback", "chat")
    limit = len(whole.text) + 200
    cut = refine_prompt(ADD, code, "the feedback", "chat", count=len, limit=limit)
    past = cut.messages[1]["content"]
    assert len(cut.text) <= limit and "line 0\n" in past and "line 99" in past and CUT in past and "line 50" not in past
    assert cut.messages[::2] == whole.messages[::2]
    with pytest.raises(NoRoom, match="t/add"):
        refine_prompt(ADD, code, "the feedback", "chat", count=len, limit=100)


WHOLE = "def add(a, b):\n    return a + b"


@pytest.mark.parametrize(
    ("answer", "program"),
    [
        (f"Sure!\n\n```python\n{WHOLE}\n```\nDone.", f"\n{WHOLE}"),
        (f"```\nadd(1, 2)\n```\nhence\n```py\n{WHOLE}\n```\nand\n```\n{WHOLE}  # again\n```", f"\n{WHOLE}"),
        (f"```python\n{WHOLE}\n\nprint(add(1, 2))\n```", f"\n{WHOLE}"),
        (f"```python\n{WHOLE}", f"\n{WHOLE}"),  # cut off
        ("```python\n    return a + b\n```", "\n    return a + b"),
        ("```python\nclass Solution:\n    def add(self, a, b):\n        return a\n```",
         "\nclass Solution:\n    def add(self, a, b):\n        return a"),
        (f"<think>\n```python\n{WHOLE} - 1\n```\n</think>\n```python\n{WHOLE}\n```", f"\n{WHOLE}"),
        (WHOLE + "\nSo it is.", WHOLE),
        ("", ""),
    ],
)  # fmt: skip
def test_the_program_in_an_answer(answer, program):
    assert answered(answer, "add") == program


def test_the_program_in_an_answer_for_standard_input():
    assert answered("First:\n```python\nprint(input())\n```\n```\nx\n```", None) == "\nprint(input())"
    assert answered("print(input())\n", None) == "print(input())"


# --- models with a chat template ---------------------------------------------------------------------------

TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}[{{ m['role'] }}]{{ m['content'] }}{{ eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}"
)


@pytest.fixture(scope="module", params=["qwen2", "llama"])
def chatty(request, tmp_path_factory):
    """A random model whose tokenizer has a chat template; llama's also begins each text with a token of its own."""
    text = "\n".join(p.prompt + p.canonical_solutions[0] for p in load_problems("humaneval", limit=20))
    folder = architectures.save(request.param, tmp_path_factory.mktemp(request.param), text)
    tokenizer = load_tokenizer(folder)
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)
    return folder


def test_a_chat_template_writes_the_prompt_and_its_special_tokens_alone(chatty, monkeypatch):
    lm, tokenizer = load_model(chatty), load_tokenizer(chatty)
    seen, real = [], generation.decode
    monkeypatch.setattr(generation, "decode", lambda *args: seen.append(args[1]) or real(*args))
    table = stages.self_refine(lm, [ADD], tokenizer=tokenizer, rounds=1, style="chat", sampling=SHORT, progress=False)
    assert [tokenizer.decode(one[0]) for one in seen] == list(table["prompt"])
    assert all(one[0].count(tokenizer.bos_token_id) == 1 + turns for one, turns in zip(seen, (1, 3)))
    first, second = table["prompt"]
    assert first.startswith("<|endoftext|>[user]Complete") and first.endswith("<|endoftext|>[assistant]")
    assert f"[assistant]```python\n{table['code'][0]}\n```<|endoftext|>[user]" in second
    assert table["feedback"][0] in second


def test_a_long_program_is_cut_to_the_context_of_a_chat_model(chatty):
    tokenizer = load_tokenizer(chatty)
    last = {"code": "\n".join(f"line_{i} = {i}" for i in range(200)), "feedback": "the feedback"}

    def asked(context: int) -> tuple[str, int]:
        lm = SimpleNamespace(config=SimpleNamespace(max_position_embeddings=context))
        text = next_prompt(lm, tokenizer, ADD, last, "chat", FIELDS, SHORT).text
        return text, len(tokenizer(text, add_special_tokens=False)["input_ids"])

    whole, tokens = asked(10**6)
    assert last["code"] in whole and asked(tokens + SHORT.max_new_tokens) == (whole, tokens)
    text, tokens = asked(800)
    assert 700 < tokens <= 800 - SHORT.max_new_tokens and "the feedback" in text
    assert "line_0 " in text and "line_199 " in text and "line_100 " not in text


def test_a_turn_may_end_by_the_generation_config_alone(chatty):
    lm, tokenizer = load_model(chatty), load_tokenizer(chatty)
    prompts = [one_time_prompt(ADD, "chat", lambda messages: render_chat(tokenizer, messages))]
    greedy, usage = Sampling(temperature=0, max_new_tokens=12), Counter()
    text = generate(lm, tokenizer, prompts, greedy, progress=False, usage=usage)[0][0].text
    assert usage == {"prompt_tokens": len(tokenizer(prompts[0].text, add_special_tokens=False)["input_ids"]),
                     "completion_tokens": 12}  # fmt: skip
    lm.generation_config.eos_token_id = tokenizer(text, add_special_tokens=False)["input_ids"][:1]
    usage = Counter()
    generate(lm, tokenizer, prompts, greedy, progress=False, usage=usage)
    assert usage["completion_tokens"] == 0


def test_a_tokenizer_without_a_chat_template(random_lm):
    with pytest.raises(ValueError, match=r"no chat template.*instruction-tuned version"):
        stages.self_refine(random_lm, [ADD], style="chat", progress=False)


def test_a_loop_of_a_local_model_tells_its_tokens(chatty):
    run = stages.loop(stages.Loop(model=chatty, limit=3, rounds=1, sampling=SHORT), progress=False)
    table, tokenizer = stages.attempts_of(run), load_tokenizer(chatty)
    assert run.notes["prompt_tokens"] == sum(len(ids) for ids in tokenizer(list(table["prompt"]))["input_ids"])
    assert 0 < run.notes["completion_tokens"] <= SHORT.max_new_tokens * len(table)


# --- a server ------------------------------------------------------------------------------------------------


class Server(ThreadingHTTPServer):
    """A server of the OpenAI protocol. ``answer`` gives a reply's texts; ``refusals`` are sent before anything else."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked, self.refusals, self.lock = [], [], threading.Lock()
        self.answer = lambda body: ["```python\npass\n```"] * body["n"]


class Handler(JsonHandler):
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            status, told = self._refusal(body)
            self.server.asked.append((status, body))
        if status != 200:
            return self.send(status, {"error": told}, {"retry-after-ms": "1"})
        choices = [
            {"index": i, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
            for i, text in enumerate(self.server.answer(body))
        ]
        usage = {"prompt_tokens": 10, "completion_tokens": 3, "total_tokens": 13}
        self.send(200, {"id": "1", "object": "chat.completion", "created": 1, "model": "m", "choices": choices,
                         "usage": usage})  # fmt: skip

    def _refusal(self, body) -> tuple[int, dict]:
        if self.path != "/v1/chat/completions" or body["model"] != "tiny-chat":
            return 404, {"message": "no such model", "code": "model_not_found"}
        if self.headers["Authorization"] != f"Bearer {SECRET}":
            return 401, {"message": f"wrong key: {self.headers['Authorization']}", "code": "invalid_api_key"}
        return self.server.refusals.pop(0) if self.server.refusals else (200, {})


@pytest.fixture
def server(monkeypatch):
    with Server() as one:
        threading.Thread(target=one.serve_forever, daemon=True).start()
        monkeypatch.setenv(servers.KEY, SECRET)
        monkeypatch.setenv(servers.ADDRESS, f"http://127.0.0.1:{one.server_port}/v1")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        monkeypatch.setattr(servers, "RETRIES", 2)
        yield one
        one.shutdown()


PROBLEMS = tp.generate("test", 4)
LOOP = stages.Loop(
    model="openai:tiny-chat", limit=4, rounds=2, style="chat", sampling=Sampling(temperature=0.6, max_new_tokens=99)
)


def right_at_last(body) -> list[str]:
    """A wrong program at first and the right one in a refinement, for whichever problem is asked."""
    task = body["messages"][0]["content"]
    problem = next(p for p in PROBLEMS if p.prompt.strip() in task)
    head = problem.prompt.split("(")[0]
    right = f"```python\n{shown_code(problem, problem.canonical_solutions[0])}\n```"
    return [right if len(body["messages"]) > 1 else f"So:\n```python\n{head}(*args):\n    return 'wrong'\n```"] * body[
        "n"
    ]


def loop_folders():
    return [path for path in runs.runs_dir().glob("loop-*") if path.is_dir()]


def test_a_loop_on_a_server(server):
    server.answer = right_at_last
    run = stages.loop(LOOP, progress=False)
    table = stages.attempts_of(run)
    assert list(table["task_id"]) == [p.task_id for p in PROBLEMS] * 2
    assert list(table["round"]) == [0] * 4 + [1] * 4 and list(table["passed"]) == [False] * 4 + [True] * 4
    assert "return 'wrong'" in table["code"][0] and table["feedback"][0] in table["prompt"][4]
    assert run.notes == {"problems": 4, "attempts": 8, "prompt_tokens": 80, "completion_tokens": 24}
    bodies = [body for _, body in server.asked]
    assert {(b["model"], b["temperature"], b["top_p"], b["max_tokens"], b["n"]) for b in bodies[:4]} == {
        ("tiny-chat", 0.2, 0.95, 99, 1)
    }
    assert {b["temperature"] for b in bodies[4:]} == {0.6} and len({b["seed"] for b in bodies}) == 8
    assert stages.loop(LOOP, progress=False).reused and len(server.asked) == 8


def test_the_key_and_the_address_are_nowhere_in_a_run(server, home, capsys, monkeypatch):
    server.answer = right_at_last
    run = stages.loop(LOOP, progress=False)
    lm = load_model(LOOP.model)
    monkeypatch.setenv(servers.KEY, "sk-another-secret")
    with pytest.raises(servers.ServerError) as refused:
        stages.loop(replace(LOOP, seed=1), progress=False)
    held = b"".join(path.read_bytes() for path in home.rglob("*") if path.is_file())
    said = [*capsys.readouterr(), repr(lm), str(vars(refused.value)), str(refused.value), str(run.record)]
    assert b"tiny-chat" in held and refused.value.__cause__ is None and refused.value.__suppress_context__
    for secret in (SECRET, "sk-another-secret", str(server.server_port)):
        assert secret.encode() not in held and not any(secret in one for one in said)


def test_a_message_of_the_server_is_told_without_the_key(server):
    server.refusals = [(422, {"message": f"no, {SECRET}, not top_p"})] * 9
    with pytest.raises(servers.ServerError, match=r"status 422: .*no, \.\.\., not top_p"):
        ask()


def ask(count: int = 1, samples: int = 1, **options):
    prompts = [one_time_prompt(replace(ADD, prompt=f"Number {i}."), "chat") for i in range(count)]
    found = generate(load_model(LOOP.model), None, prompts, SHORT, samples, progress=False, **options)
    return [[one.text for one in completions] for completions in found]


def number(body) -> int:
    return int(body["messages"][0]["content"].split("Number ")[1].split(".")[0])


def test_answers_come_in_the_order_of_the_prompts_and_few_at_a_time(server):
    under_way, most, gate = Counter(), [], threading.Event()

    def slow(body):
        with server.lock:
            under_way["now"] += 1
            most.append(under_way["now"])
        gate.wait(0.02 * (20 - number(body)) / 20)  # the first are the slowest
        with server.lock:
            under_way["now"] -= 1
        return [f"{number(body)}/{i}" for i in range(body["n"])]

    server.answer = slow
    assert ask(20, samples=2) == [[f"{i}/0", f"{i}/1"] for i in range(20)]
    assert 1 < max(most) <= servers.AT_ONCE
    assert {body["n"] for _, body in server.asked} == {2} and len(server.asked) == 20


def test_a_server_that_gives_one_answer_at_a_time_is_asked_again(server):
    server.answer = lambda body: [str(body["seed"])]
    (texts,) = ask(samples=3)
    assert len(set(texts)) == 3 and [body["n"] for _, body in server.asked] == [3, 2, 1]


def test_the_same_call_sends_the_same_seeds_and_another_seed_others(server):
    server.answer = lambda body: [str(body["seed"])]
    first = ask(3)
    assert ask(3) == first and ask(3, seed=1) != first


def test_a_server_that_asks_for_patience_is_asked_again(server):
    server.refusals = [(429, {"message": "slow down"})]
    assert ask() == [["```python\npass\n```"]]
    assert [status for status, _ in server.asked] == [429, 200]
    server.refusals = [(429, {"message": "slow down"})] * 9
    with pytest.raises(servers.ServerError, match=r"still refuses after 2 retries.*run again later"):
        ask()


def test_a_wrong_key(server, monkeypatch):
    monkeypatch.setenv(servers.KEY, "wrong")
    with pytest.raises(servers.ServerError, match=f"refuses the key: set {servers.KEY}"):
        stages.loop(LOOP, progress=False)
    assert loop_folders() == []


def test_an_unknown_model(server):
    with pytest.raises(servers.ServerError, match="does not know the model other: check its spelling"):
        stages.loop(replace(LOOP, model="openai:other"), progress=False)
    assert loop_folders() == []


def test_no_key(server, monkeypatch):
    monkeypatch.delenv(servers.KEY)
    with pytest.raises(servers.ServerError, match=f"set the environment variable {servers.KEY}"):
        stages.loop(LOOP, progress=False)
    assert loop_folders() == [] and server.asked == []


def test_a_server_out_of_reach(server, monkeypatch):
    server.shutdown()
    server.server_close()
    monkeypatch.setattr(servers, "RETRIES", 0)
    with pytest.raises(servers.ServerError, match=f"cannot be reached: start it, and set {servers.ADDRESS}"):
        stages.loop(LOOP, progress=False)
    assert loop_folders() == []


def test_no_client(server, monkeypatch):
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(ImportError, match=r"need the package openai.*pip install -e '\.\[api\]'"):
        stages.loop(LOOP, progress=False)
    assert loop_folders() == []


def test_an_answer_that_is_none(server):
    server.answer = lambda body: []
    with pytest.raises(servers.ServerError, match="gave no answer"):
        ask()
    server.answer = lambda body: [None]
    assert ask() == [[""]]


@pytest.mark.parametrize("style", ["cycle", "plain"])
def test_a_server_continues_no_text(server, style):
    with pytest.raises(ValueError, match="only answers conversations: use the style 'chat'"):
        stages.loop(replace(LOOP, style=style), progress=False)
    assert server.asked == [] and loop_folders() == []


def test_a_prompt_too_long_for_the_server_is_answered_by_nothing(server, caplog):
    server.refusals = [(400, {"message": "This model's maximum context length is 10 tokens."})]
    usage = Counter()
    assert ask(usage=usage) == [[""]] and usage == {"too_long": 1}
    assert "too long for tiny-chat" in caplog.text


@pytest.mark.parametrize("round_", [0, 1])
def test_a_loop_that_was_cut_off_asks_nothing_twice(server, round_, monkeypatch):
    server.answer = right_at_last
    whole = stages.attempts_of(stages.loop(LOOP, progress=False))
    folder = loop_folders()[0]
    for path in list(folder.iterdir()):
        path.unlink()
    server.asked.clear()
    broken = PROBLEMS[2].prompt.strip()

    def breaks(body):
        if len(body["messages"]) == 1 + 2 * round_ and broken in body["messages"][0]["content"]:
            server.refusals = [(401, {"message": "expired"})] * 9
            return []
        return right_at_last(body)

    server.answer = breaks
    monkeypatch.setattr(servers, "AT_ONCE", 1)
    with pytest.raises(servers.ServerError):
        stages.loop(LOOP, progress=False)
    before = [body for status, body in server.asked if status == 200]
    assert len(before) == 3 + 4 * round_  # the last of them was given nothing
    server.answer, server.refusals = right_at_last, []
    server.asked.clear()
    again = stages.loop(LOOP, progress=False)
    assert stages.attempts_of(again).equals(whole)
    assert server.asked[0][1] == before[-1]
    assert len(server.asked) == 8 - (len(before) - 1) and again.notes["prompt_tokens"] == 80


def test_what_is_under_way_when_a_request_fails_is_kept(server, tmp_path):
    arrived = threading.Event()

    def answer(body):
        if number(body) == 0:
            arrived.wait(5)
            return []  # fails while the second is under way
        if number(body) == 1:
            arrived.set()
            time.sleep(0.3)
        return [str(number(body))]

    server.answer = answer
    stream = tmp_path / "stream.jsonl"
    with pytest.raises(servers.ServerError):
        ask(2, stream=stream)
    server.asked.clear()
    server.answer = lambda body: [str(number(body))]
    assert ask(2, stream=stream) == [["0"], ["1"]] and [number(body) for _, body in server.asked] == [0]


def test_names_of_models_that_run_elsewhere_count_in_keys(random_lm, server):
    names = ["openai:tiny-chat", "openai:org/deep/name", f"vllm:{random_lm}", random_lm, "vllm:org/name"]
    assert len({runs.key_of(replace(LOOP, model=name)) for name in names}) == len(names)
    assert runs.key_of(replace(LOOP, model=f"vllm:{random_lm}")) == runs.key_of(
        replace(LOOP, model=f"vllm:{random_lm}/../{random_lm.rsplit('/', 1)[1]}")
    )
    assert server.asked == []


@pytest.mark.parametrize("name", ["openai:tiny-chat", "vllm:tiny"])
def test_models_that_run_elsewhere_cannot_be_trained(name):
    with pytest.raises(ValueError, match=f"{name} runs elsewhere and cannot be trained here"):
        stages.fine_tune(stages.FineTune(model=name), progress=False)


# --- vLLM ----------------------------------------------------------------------------------------------------


@pytest.fixture
def vllm(monkeypatch):
    """A stand-in that records what it is given and answers with a prompt's length and its seed."""
    module = ModuleType("vllm")
    module.SamplingParams, module.asked = lambda **options: options, []

    class LLM:
        def __init__(self, model):
            self.model = model
            self.llm_engine = SimpleNamespace(model_config=SimpleNamespace(max_model_len=700))

        def generate(self, prompts, sampling_params, use_tqdm):
            module.asked.append((self.model, prompts, sampling_params))
            return [
                SimpleNamespace(outputs=[
                    SimpleNamespace(text=f"{len(prompt['prompt_token_ids'])}/{how['seed']}/{i}", token_ids=[1, 2])
                    for i in range(how["n"])
                ])
                for prompt, how in zip(prompts, sampling_params)
            ]  # fmt: skip

    module.LLM = LLM
    monkeypatch.setitem(sys.modules, "vllm", module)
    return module


def test_vllm_is_given_tokens_and_settings(vllm, chatty, tmp_path):
    name = f"vllm:{chatty}"
    lm, tokenizer, usage = load_model(name), load_tokenizer(name), Counter()
    assert context_length(lm) == 700
    how = Sampling(temperature=0.3, top_p=0.9, max_new_tokens=7, batch_size=2)
    prompts, stream = ["def f(x):", "def g(x, y):", "x"], tmp_path / "stream.jsonl"
    found = generate(lm, tokenizer, prompts, how, samples=2, seed=5, progress=False, stream=stream, usage=usage)
    ids = tokenizer(prompts)["input_ids"]
    assert [[p["prompt_token_ids"] for p in asked] for _, asked, _ in vllm.asked] == [ids[:2], ids[2:]]
    settings = [one for _, _, given in vllm.asked for one in given]
    seeds = [one.pop("seed") for one in settings]
    explicit = {"temperature": 0.3, "top_p": 0.9, "max_tokens": 7, "n": 2, **NEUTRAL}
    assert settings == [explicit] * 3 and len(set(seeds)) == 3
    texts = [[completion.text for completion in one] for one in found]
    assert texts == [[f"{len(one)}/{seed}/{i}" for i in range(2)] for one, seed in zip(ids, seeds)]
    assert usage == {"prompt_tokens": sum(map(len, ids)), "completion_tokens": 12}
    assert vllm.asked[0][0] == chatty
    lines = stream.read_text().splitlines(keepends=True)
    stream.write_text("".join(lines[:2]))
    assert generate(lm, tokenizer, prompts, how, samples=2, seed=5, progress=False, stream=stream) == found
    assert [p["prompt_token_ids"] for p in vllm.asked[-1][1]] == ids[2:]


def test_vllm_does_what_the_folder_asks_for_on_purpose_only(vllm, chatty):
    name, own = f"vllm:{chatty}", {**NEUTRAL, "repetition_penalty": 1.1, "top_k": 20}
    lm, tokenizer = load_model(name), load_tokenizer(name)
    lm.engine.get_default_sampling_params = lambda: SimpleNamespace(**own, temperature=0.7)
    for how, wanted in ((SHORT, NEUTRAL), (replace(SHORT, own_options=True), own)):
        generate(lm, tokenizer, ["def f(x):"], how, progress=False)
        ((given,),) = (settings for _, _, settings in vllm.asked[-1:])
        assert wanted.items() <= given.items() and given["temperature"] == SHORT.temperature


def test_vllm_refuses_what_does_not_fit(vllm, chatty):
    name = f"vllm:{chatty}"
    with pytest.raises(NoRoom, match="context of 700 is too short"):
        generate(load_model(name), load_tokenizer(name), ["x = 1\n" * 400], SHORT, progress=False)
    assert vllm.asked == []


@pytest.mark.parametrize("style", ["cycle", "chat"])
def test_a_loop_in_vllm(vllm, chatty, style):
    run = stages.loop(replace(LOOP, model=f"vllm:{chatty}", style=style, limit=2, rounds=1), progress=False)
    table, tokenizer = stages.attempts_of(run), load_tokenizer(chatty)
    given = [one["prompt_token_ids"] for _, asked, _ in vllm.asked for one in asked]
    assert given == tokenizer(list(table["prompt"]), add_special_tokens=style == "cycle")["input_ids"]
    assert run.notes["completion_tokens"] == 8


def test_no_vllm(random_lm, monkeypatch):
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(ImportError, match=r"need the package vllm.*pip install -e '\.\[vllm\]'"):
        stages.loop(replace(LOOP, model=f"vllm:{random_lm}"), progress=False)
    assert loop_folders() == []


# --- the notebooks -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shared_home(tmp_path_factory):
    """One home for 04 and 07, so that the latter finds what the former trained."""
    return tmp_path_factory.mktemp("study")


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("01_copy_rate", {"model": "openai:tiny-chat", "style": "chat"}),
        ("04_self_refine", {"other_models": ["openai:tiny-chat"]}),
        ("07_benchmarks", {"other_models": ["openai:tiny-chat"], "seeds": 1}),
    ],
)
def test_notebooks_ask_a_server(name, options, server, random_lm, home, shared_home, monkeypatch):
    home = home if name == "01_copy_rate" else shared_home  # 04 would find what the server told 01
    monkeypatch.setenv("CYCLE_HOME", str(home))
    server.answer = lambda body: ["```python\ndef f(*args):\n    return None\n```"] * body["n"]
    sizes = yaml.safe_load((paths.ROOT / "tests" / "overrides.yaml").read_text())[name]
    papermill.execute_notebook(
        paths.NOTEBOOKS / f"{name}.ipynb", home / f"{name}.ipynb", {"model": random_lm, **sizes, **options},
        progress_bar=False, kernel_name="python3",
    )  # fmt: skip
    assert server.asked and {status for status, _ in server.asked} == {200}
    tables = {path.stem: pd.read_csv(path) for path in (home / "reproduction" / "tables").glob("*.csv")}
    if name == "01_copy_rate":
        copied = tables["01_copy_rate"].set_index(["model", "rounds", "kind"]).loc[("greedy", "first", "exact")]
        assert copied["copies"] == copied["attempts"] > 0  # this server says the same whatever it is asked
    else:
        copies = tables[f"{name[:2]}_copies"].query("model == 'openai:tiny-chat' and kind == 'exact'")
        assert len(copies) and (copies["value"] == 1).all()
    assert all(set(table.get("feedback_tests", ["all"])) == {"all"} for table in tables.values())
    assert SECRET not in (home / f"{name}.ipynb").read_text()
