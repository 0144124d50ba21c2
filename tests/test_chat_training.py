"""Instruction-tuned models are trained as they are asked: in conversations, PGM on the turn with the faulty program."""

from dataclasses import replace
from functools import partial

import architectures
import pytest

from cycle_utils import study
from cycle_utils.method import stages
from cycle_utils.method.configs import FineTune, Loop
from cycle_utils.method.masking import IGNORED, Masking, PGMCollator
from cycle_utils.method.mixture import encode_example
from cycle_utils.models.loading import load_tokenizer, render_chat
from cycle_utils.models.prompts import one_time_prompt, refine_prompt
from cycle_utils.models.sampling import Sampling
from cycle_utils.problems import tinyprograms as tp
from cycle_utils.problems.benchmarks import load_problems

TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}[{{ m['role'] }}]{{ m['content'] }}{{ eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}"
)
FAULTY = {"kind": "refine", "code": "def f(x):\n    return  x + 1", "feedback": "Expected: 3", "target": "\n    return x"}


@pytest.fixture(scope="module")
def chatty(tmp_path_factory):
    text = "\n".join(p.prompt + p.canonical_solutions[0] for p in tp.generate("train", 200))
    folder = architectures.save("llama", tmp_path_factory.mktemp("chatty"), text)
    tokenizer = load_tokenizer(folder)
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)
    return str(folder)


def test_training_and_loop_see_the_same_tokens(chatty):
    tokenizer, problem = load_tokenizer(chatty), tp.generate("train", 1)[0]
    render = partial(render_chat, tokenizer)
    for example, prompt in (
        (FAULTY, refine_prompt(problem, FAULTY["code"], FAULTY["feedback"], "chat", render=render)),
        ({**FAULTY, "kind": "plain"}, one_time_prompt(problem, "chat", render)),
    ):
        features = encode_example(tokenizer, problem, example, style="chat")
        asked = tokenizer(prompt.text, add_special_tokens=False)["input_ids"]
        answer = [token for token in features["labels"] if token != IGNORED]
        assert features["input_ids"] == asked + answer and answer[-1] == tokenizer.eos_token_id
        text = tokenizer.decode(answer[:-1])
        assert text.startswith("```python\ndef ") and text.endswith("\n    return x\n```")


def test_the_mask_lies_on_the_turn_with_the_faulty_program(chatty):
    tokenizer, problem = load_tokenizer(chatty), tp.generate("train", 1)[0]
    features = encode_example(tokenizer, problem, FAULTY, style="chat")
    hidden = PGMCollator(0, Masking(ratio=1.0)).hidden(features)
    text = tokenizer.decode([t for t, h in zip(features["input_ids"], hidden) if h])
    assert text.strip() == FAULTY["code"]
    prompt = refine_prompt(problem, FAULTY["code"], FAULTY["feedback"], "chat", render=partial(render_chat, tokenizer))
    assert prompt.text[slice(*prompt.spans["past_generation"])] == FAULTY["code"]
    assert prompt.text[slice(*prompt.spans["feedback"])] == FAULTY["feedback"]
    assert prompt.text[slice(*prompt.spans["description"])] == prompt.messages[0]["content"]
    assert prompt.text[slice(*prompt.spans["template"])].startswith("```python\ndef f(x)")


def test_a_description_that_holds_the_faulty_program_is_not_taken_for_it(chatty):
    problem = load_problems("humaneval", limit=1)[0]
    code = problem.prompt.strip()
    prompt = refine_prompt(problem, code, "", "chat", render=partial(render_chat, load_tokenizer(chatty)))
    start, end = prompt.spans["past_generation"]
    assert prompt.text[start:end] == code and start > prompt.spans["description"][1]


def test_a_template_that_rewrites_messages_is_refused():
    problem = tp.generate("train", 1)[0]
    with pytest.raises(ValueError, match="template does not write messages as they are"):
        refine_prompt(problem, "x = 1", "", "chat", render=lambda messages: str(messages).upper())
    with pytest.raises(ValueError, match="unknown style of training 'plain'; choose one of cycle, chat"):
        FineTune(style="plain")


def test_all_stages_run_in_conversations(chatty):
    config = study.recipe(model=chatty, style="chat", problems=6, finetune_steps=2, steps=2, samples=1, batch_size=2)
    short = Sampling(temperature=0.8, max_new_tokens=12)
    config = replace(config, distil=replace(config.distil, sampling=short))
    where = Loop(limit=2, rounds=1, sampling=short)
    for table in study.run_loops(config, where, progress=False).values():
        assert table["prompt"].str.startswith("<|endoftext|>[user]").all()
    mistakes = stages.attempts_of(stages.distil(config.distil, progress=False))
    assert mistakes["prompt"].str.endswith("[assistant]").all()
