"""A training that failed says so: no numbers, examples that are too long, torn checkpoints, positions that move."""

import logging
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import architectures
import pytest
import torch
import transformers

from cycle_utils.method import mixture, runs, stages, training
from cycle_utils.method.configs import Distil, FineTune, RefineTrain
from cycle_utils.method.masking import Masking, PGMCollator, explicit_positions
from cycle_utils.method.training import Diverged, TrainSettings, encode, last_checkpoint, train
from cycle_utils.models import load_model, load_tokenizer
from cycle_utils.models.prompts import CUT, FIELDS, NoRoom
from cycle_utils.models.sampling import Sampling
from cycle_utils.problems import Problem

WILD = TrainSettings(steps=6, batch_size=4, learning_rate=1e30, warmup=0.0, save_steps=1)


# --- no numbers ---------------------------------------------------------------------------------------------


def test_a_training_that_diverges_ends_with_the_step_and_what_to_try(random_lm):
    config = FineTune(model=random_lm, problems=12, train=WILD)
    for _ in range(2):  # a rerun is not stopped by what the first one left
        with pytest.raises(Diverged, match=r"at step \d of 6\. Try it with a lower learning_rate than 1e\+30"):
            stages.fine_tune(config, progress=False)
    assert not (runs.runs_dir() / runs.key_of(config) / runs.RECORD).exists()
    mended = replace(config, train=replace(WILD, learning_rate=1e-3))
    assert len(stages.fine_tune(mended, progress=False).notes["losses"]) == 6


def test_the_last_step_is_looked_at_too(random_lm, tokenizer, tmp_path):
    examples = [encode(tokenizer, "def f():", "\n    return 1")] * 4
    once = replace(WILD, steps=1, learning_rate=1e39, save_steps=9)
    with pytest.raises(Diverged, match="holds values that are no numbers at step 1 of 1"):
        train(load_model(random_lm), examples, PGMCollator(tokenizer.pad_token_id), once, tmp_path, progress=False)


def test_weights_that_are_no_numbers_are_not_trained(random_lm, tokenizer, tmp_path):
    lm = load_model(random_lm)
    next(lm.parameters()).data.view(-1)[3] = float("nan")
    examples = [encode(tokenizer, "def f():", "\n    return 1")]
    with pytest.raises(Diverged, match=r"there is nothing to train: .* are no numbers before the first"):
        train(lm, examples, PGMCollator(tokenizer.pad_token_id), TrainSettings(steps=1), tmp_path, progress=False)


def test_a_checkpoint_of_no_numbers_is_not_written(random_lm, tokenizer, tmp_path):
    examples = [encode(tokenizer, "def f():", "\n    return 1")] * 4
    with pytest.raises(Diverged):
        train(load_model(random_lm), examples, PGMCollator(tokenizer.pad_token_id), replace(WILD, learning_rate=1e39),
              tmp_path, progress=False)  # fmt: skip
    assert last_checkpoint(tmp_path / "checkpoints") is None


# --- examples that are too long -----------------------------------------------------------------------------

LONG = Problem("t/long", 'def f(x):\n    """Describe."""', "f", canonical_solutions=["\n    return x"])


@pytest.fixture
def short(random_lm):
    """Something with a context, which is all that is asked of a model there."""
    return SimpleNamespace(config=SimpleNamespace(max_position_embeddings=200))


def test_the_middle_of_a_long_faulty_program_is_cut_and_told(tokenizer, short, caplog):
    code = "def f(x):\n" + "\n".join(f"    line_{i} = {i}" for i in range(100))
    row = {"kind": "refine", "code": code, "feedback": "the feedback", "target": "\n    return x"}
    whole = mixture.encode_example(tokenizer, LONG, row)
    with caplog.at_level(logging.WARNING):
        make = partial(mixture.encode_example, tokenizer, LONG, row, FIELDS, "cycle")
        (one,), notes = mixture.fitting([make], short)
    text = tokenizer.decode(one["input_ids"])
    assert len(whole["input_ids"]) > 200 >= len(one["input_ids"]) > 150
    assert "line_0 " in text and "line_99" in text and CUT in text and "line_50 " not in text
    assert "the feedback" in text and text.endswith("return x<|endoftext|>") and notes == {"cut_examples": 1}
    assert "1 of 1 training examples were longer than 200 tokens: in 1 the middle of the faulty program" in caplog.text
    start, end = one["spans"]["past_generation"]
    assert "line_99" in tokenizer.decode(one["input_ids"][start:end])


def test_what_cannot_be_cut_is_left_out_and_told(tokenizer, short, caplog):
    def made(limit: int, solution: str):
        return mixture.plain_example(tokenizer, LONG, solution, limit=limit)

    makers = [lambda limit: made(limit, "\n    return x"), lambda limit: made(limit, "\n    x += 1" * 200)]
    examples, notes = mixture.fitting(makers, short)
    assert len(examples) == 1 and notes == {"too_long_examples": 1} and "1 were left out" in caplog.text
    with pytest.raises(NoRoom, match="t/long"):
        made(20, "\n    x += 1" * 20)


def test_no_example_is_longer_than_what_the_estimates_count_on(tokenizer, monkeypatch):
    seen = []
    large = SimpleNamespace(config=SimpleNamespace(max_position_embeddings=32_768))
    mixture.fitting([lambda limit: seen.append(limit) or {}], large)
    assert seen == [training.LONGEST] == [2048]


def test_a_long_example_that_reaches_the_training_is_named(random_lm, tokenizer, tmp_path):
    examples = [encode(tokenizer, "x = 1\n" * 2000, "\n    return 1")]
    with pytest.raises(ValueError, match=r"an example has \d+ tokens, more than the model's context of 1024"):
        train(load_model(random_lm), examples, PGMCollator(0), TrainSettings(steps=1), tmp_path, progress=False)


def test_a_whole_stage_with_long_examples(tmp_path, monkeypatch):
    """Of a model with a context of 64 tokens, where TinyPrograms' longer problems do not fit."""
    monkeypatch.setattr(architectures, "CONTEXT", 64)
    monkeypatch.setitem(architectures._MODERN, "max_position_embeddings", 64)
    text = "\n".join(p.prompt + p.canonical_solutions[0] for p in stages.training_problems(FineTune(problems=50)))
    for name in ("codegen", "llama"):
        folder = architectures.save(name, tmp_path / name, text)
        tune = FineTune(model=folder, problems=30, train=TrainSettings(steps=2, batch_size=4))
        notes = stages.fine_tune(tune, progress=False).notes
        assert 0 < notes["too_long_examples"] == 30 - notes["examples"] < 30


# --- torn checkpoints ---------------------------------------------------------------------------------------


@pytest.fixture
def torn(random_lm, cut_off):
    """A training that was cut off, and its checkpoints, to be torn."""
    config = FineTune(model=random_lm, problems=12, train=TrainSettings(steps=6, batch_size=4, save_steps=2))
    return config, cut_off(config) / "checkpoints"


def tear(path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth", "order.pt",
                                  "trainer_state.json", "config.json"])  # fmt: skip
def test_a_torn_checkpoint_is_passed_over_for_the_one_before(torn, caplog, name, home, monkeypatch):
    config, folder = torn
    assert {path.name for path in folder.iterdir()} == {"checkpoint-4", "checkpoint-6"}
    tear(folder / "checkpoint-6" / name)
    assert last_checkpoint(folder).name == "checkpoint-4"
    assert f"checkpoint-6 is passed over for the one before, if there is one: its {name}" in caplog.text
    resumed = stages.fine_tune(config, progress=False)
    monkeypatch.setenv("CYCLE_HOME", str(home / "whole"))
    whole = stages.fine_tune(config, progress=False)
    assert resumed.notes == whole.notes and runs.weights_digest(resumed.folder) == runs.weights_digest(whole.folder)


def test_where_all_are_torn_the_training_begins_anew(torn):
    config, folder = torn
    for checkpoint in folder.iterdir():
        tear(checkpoint / "model.safetensors")
    assert last_checkpoint(folder) is None
    assert len(stages.fine_tune(config, progress=False).notes["losses"]) == 6


# --- positions that depend on the attention mask --------------------------------------------------------------


def opt():
    return transformers.OPTForCausalLM(transformers.OPTConfig(
        vocab_size=600, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, ffn_dim=64,
        max_position_embeddings=1536, word_embed_proj_dim=32, bos_token_id=0, eos_token_id=0, pad_token_id=0,
        init_std=0.2))  # fmt: skip


def bloom():
    return transformers.BloomForCausalLM(transformers.BloomConfig(
        vocab_size=600, hidden_size=32, n_layer=2, n_head=4, bos_token_id=0, eos_token_id=0,
        initializer_range=0.2))  # fmt: skip


@pytest.mark.parametrize("name", architectures.MAKERS)
def test_models_whose_positions_are_those_of_tokens_need_not_be_told(name):
    transformers.set_seed(0)
    assert explicit_positions(architectures.MAKERS[name](600)) is False


def test_the_tiny_lm_need_not_be_told(random_lm):
    assert explicit_positions(load_model("tiny")) is False and explicit_positions(load_model(random_lm)) is False


def test_a_model_that_counts_visible_tokens_is_told_the_positions(tokenizer):
    transformers.set_seed(0)
    lm = opt()
    assert explicit_positions(lm) is True
    collator = PGMCollator(1, Masking(1.0))
    collator.tells_positions = True
    feature = {"input_ids": [5, 6, 7, 8, 9, 10], "labels": [-100] * 4 + [9, 10], "spans": {"past_generation": (1, 3)}}
    batch, moved = collator([feature]), PGMCollator(1, Masking(1.0))([feature])
    assert batch["position_ids"].tolist() == [[0, 1, 2, 3, 4, 5]] and "position_ids" not in moved
    shorter = {name: batch[name][:, [0, 3, 4, 5]] for name in ("input_ids", "attention_mask")}
    with torch.inference_mode():
        told, untold, short = (lm.eval()(**{n: t for n, t in one.items() if n != "labels"}).logits[0, -1]
                               for one in (batch, moved, shorter))  # fmt: skip
    assert torch.allclose(untold, short, atol=1e-5), "hidden tokens move the rest"
    assert not torch.allclose(told, short, atol=1e-3)


def test_one_that_cannot_be_told_is_refused(tokenizer, tmp_path):
    transformers.set_seed(0)
    with pytest.raises(ValueError, match=r"BloomForCausalLM counts the positions.*with mask_ratio 0"):
        explicit_positions(bloom())
    example = {**encode(tokenizer, "def f():", "\n    return 1"), "spans": {"past_generation": (0, 2)}}
    small = TrainSettings(steps=1, batch_size=1)
    with pytest.raises(ValueError, match="BloomForCausalLM counts the positions"):
        train(bloom(), [example], PGMCollator(1, Masking(0.1)), small, tmp_path, progress=False)
    train(bloom(), [example], PGMCollator(1, Masking(0.0)), small, tmp_path / "plain", progress=False)


def test_opt_is_trained_with_masking(tmp_path, monkeypatch):
    monkeypatch.setitem(architectures.MAKERS, "opt", lambda vocabulary: opt())
    text = "\n".join(p.prompt + p.canonical_solutions[0] for p in stages.training_problems(FineTune(problems=50)))
    folder, seen = architectures.save("opt", tmp_path / "opt", text), []
    real = PGMCollator.__call__
    monkeypatch.setattr(PGMCollator, "__call__", lambda self, f: seen.append(real(self, f)) or seen[-1])
    how = TrainSettings(steps=1, batch_size=4)
    tune = FineTune(model=folder, problems=8, train=how)
    config = RefineTrain(Distil(tune, sampling=Sampling(max_new_tokens=8)), Masking(0.3), train=how)
    stages.refine_train(config, progress=False)
    assert "position_ids" in seen[-1] and "position_ids" not in seen[0]
    assert load_tokenizer(folder) is not None
