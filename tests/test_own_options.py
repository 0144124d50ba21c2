"""Sampling is what the config says: what a model folder asks for beyond is told, recorded, and done only on purpose."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import architectures
import pytest
import torch
from transformers import GenerationConfig

from cycle_utils.method import runs, stages
from cycle_utils.method.configs import Loop
from cycle_utils.models import generation, load_model, load_tokenizer
from cycle_utils.models.generation import generate
from cycle_utils.models.own_options import own_options
from cycle_utils.models.sampling import DRAWS, Sampling

PROMPTS = ["def f(x):", "def longer(numbers, more):"]
ASKED = {"repetition_penalty": 1.4, "top_k": 5, "no_repeat_ngram_size": 3}


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return architectures.save("qwen2", tmp_path_factory.mktemp("plain"), "def f(x):\n    return x\n" * 20)


@pytest.fixture
def wishing(plain, tmp_path):
    """The same weights in a folder that asks for more, as Qwen2.5's instruct models do."""
    return asking(plain, tmp_path / "wishing", temperature=0.7, top_p=0.8, **ASKED)


def asking(plain: str, folder: Path, **options) -> str:
    path = Path(shutil.copytree(plain, folder)) / "generation_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **options}), encoding="utf-8")
    return str(folder)


def texts(folder: str, **options) -> list[str]:
    how = Sampling(max_new_tokens=24, **options)
    return [one.text for (one,) in generate(load_model(folder), load_tokenizer(folder), PROMPTS, how, progress=False)]


@pytest.mark.parametrize("draws", DRAWS)
@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_a_folder_adds_nothing_unasked(plain, wishing, temperature, draws):
    assert texts(plain, temperature=temperature, draws=draws) == texts(wishing, temperature=temperature, draws=draws)


def test_it_is_told_once(wishing, caplog, monkeypatch):
    monkeypatch.setattr(generation, "_told", set())
    texts(wishing), texts(wishing)
    (said,) = [one.getMessage() for one in caplog.records if one.name == generation.log.name]
    assert "asks for repetition_penalty 1.4, no_repeat_ngram_size 3, top_k 5, which is not done" in said
    assert "temperature" not in said  # a config always says


def test_it_is_recorded(wishing, plain):
    short = Sampling(max_new_tokens=8)
    config = Loop(model=wishing, limit=2, rounds=0, sampling=short)
    assert stages.loop(config, progress=False).notes["options_not_done"] == ASKED
    done = replace(config, sampling=replace(short, own_options=True))
    assert stages.loop(done, progress=False).notes["own_options"] == ASKED
    assert runs.key_of(done) != runs.key_of(config)
    assert "options_not_done" not in stages.loop(replace(config, model=plain), progress=False).notes


def test_on_purpose_they_are_done_as_transformers_does_them(wishing):
    lm, tokenizer = load_model(wishing), load_tokenizer(wishing)
    ours = texts(wishing, temperature=0.0, own_options=True)
    for prompt, text in zip(PROMPTS, ours):
        ids = tokenizer(prompt, return_tensors="pt")["input_ids"]
        out = lm.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=24, do_sample=False)
        assert tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True) == text
    assert ours != texts(wishing, temperature=0.0)


@pytest.mark.parametrize("draws", DRAWS)
def test_a_top_k_of_one_leaves_nothing_to_draw(plain, tmp_path, draws):
    folder = asking(plain, tmp_path / "one", top_k=1)
    greedy = texts(plain, temperature=0.0)
    assert texts(folder, temperature=2.0, draws=draws, own_options=True) == greedy
    assert texts(folder, temperature=2.0, draws=draws) != greedy


def test_an_option_that_is_not_known_is_refused_on_purpose_only(plain, tmp_path):
    folder = asking(plain, tmp_path / "beams", num_beams=4)
    texts(folder)
    with pytest.raises(ValueError, match="asks for num_beams=4, which is not done here"):
        texts(folder, own_options=True)


def test_what_does_nothing_is_not_told():
    neutral = {"repetition_penalty": 1.0, "num_beams": 1, "typical_p": 1.0, "temperature": 0.7, "eos_token_id": 3}
    assert own_options(GenerationConfig(**neutral)) == {} == own_options(None)
