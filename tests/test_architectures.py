"""Every architecture of the recipes, tiny and random, through the whole method on real problems."""

import os
from dataclasses import replace
from pathlib import Path

import architectures
import pytest
import torch

from cycle_utils import load_problems, study
from cycle_utils.method import loop, runs, stages
from cycle_utils.method.masking import IGNORED, PGMCollator
from cycle_utils.models import generation, load_model, load_tokenizer, loading
from cycle_utils.models.generation import generate
from cycle_utils.models.prompts import NoRoom, refine_prompt
from cycle_utils.models.sampling import DRAWS, Sampling

DATA = Path(os.environ.get("CYCLE_SHARED_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data")
SHORT = Sampling(max_new_tokens=16)


@pytest.fixture(scope="module")
def text():
    return "\n".join(p.prompt + p.canonical_solutions[0] for p in load_problems("humaneval", limit=40))


@pytest.fixture(scope="module", params=architectures.MAKERS)
def folder(request, tmp_path_factory, text):
    return architectures.save(request.param, tmp_path_factory.mktemp(request.param), text)


@pytest.fixture
def features(folder):
    problem = load_problems("humaneval", limit=1)[0]
    code, feedback = "def f(x):\n    return x + 1", "assert f(1) == 3\n1 != 3"
    example = {"kind": "refine", "code": code, "feedback": feedback, "target": problem.canonical_solutions[0]}
    return stages.encode_example(load_tokenizer(folder), problem, example)


def test_what_is_masked_cannot_be_seen(folder, features):
    """Another token in a masked place changes no logit from which the target is learned; unmasked, it does."""
    lm, tokenizer = load_model(folder), load_tokenizer(folder)
    start, end = features["spans"]["past_generation"]
    first = next(i for i, label in enumerate(features["labels"]) if label != IGNORED)
    place = (start + end) // 2

    def logits(token: int, visible: bool) -> torch.Tensor:
        batch = PGMCollator(tokenizer.pad_token_id)([features])
        batch["input_ids"][0, place], batch["attention_mask"][0, place] = token, int(visible)
        with torch.inference_mode():
            return lm(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits[0, first - 1 :]

    assert torch.equal(logits(40, visible=False), logits(41, visible=False))
    assert not torch.equal(logits(40, visible=True), logits(41, visible=True))


def test_a_batch_gives_what_each_prompt_gives_alone(folder):
    lm, tokenizer = load_model(folder), load_tokenizer(folder)
    prompts = ["def f(x):", "def longer(numbers, more):\n    '''Some more words here.'''", "x"]
    greedy = Sampling(temperature=0, max_new_tokens=8)
    together = generate(lm, tokenizer, prompts, greedy, progress=False)
    assert together == [generate(lm, tokenizer, [p], greedy, progress=False)[0] for p in prompts]


def recipe(folder: str, benchmark: str, lora: bool):
    data = str(DATA / "sanitized-mbpp.json")
    small = study.recipe(folder, "mbpp", data, problems=4, finetune_steps=1, steps=1, batch_size=2, max_new_tokens=16,
                         lora=lora, learning_rate=1e-3)  # fmt: skip
    where = stages.Loop(
        benchmark=benchmark, data=data if benchmark == "mbpp" else None, limit=2, rounds=1, sampling=SHORT
    )
    return small, where


@pytest.mark.skipif(not DATA.is_dir(), reason=f"no shared data at {DATA}")
@pytest.mark.parametrize("lora", [False, True], ids=["full", "lora"])
def test_all_stages_on_real_problems(folder, lora):
    """Fine-tune, distil, refine-train and loop: MBPP for training, HumanEval and MBPP to be solved."""
    small, where = recipe(folder, "humaneval", lora)
    tables = [study.run_loops(small, where, (study.CYCLE,), progress=False)[study.CYCLE]]
    if not lora:
        tables.append(
            study.run_loops(small, recipe(folder, "mbpp", lora)[1], (study.CYCLE,), progress=False)[study.CYCLE]
        )
    assert all(set(t["round"]) == {0, 1} and t["task_id"].nunique() == 2 for t in tables)
    trained = stages.refine_train(small, progress=False)
    assert (trained.path("adapter") / "adapter_model.safetensors").is_file() == lora
    assert loading.count_parameters(trained.folder) == load_model(folder).num_parameters()


def test_the_context_is_known(folder):
    assert loading.context_length(load_model(folder)) == architectures.CONTEXT


@pytest.fixture(scope="module")
def one(tmp_path_factory, text):
    return architectures.save("codegen", tmp_path_factory.mktemp("one"), text)


@pytest.fixture(scope="module")
def adapters(one, tmp_path_factory):
    """Adapters of that model, saved without it."""
    from peft import LoraConfig, get_peft_model

    place = tmp_path_factory.mktemp("adapters")
    lm = get_peft_model(load_model(one), LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False))
    lm.save_pretrained(str(place))
    return place


def test_a_folder_of_adapters_is_a_model(one, adapters):
    merged, base = load_model(adapters).state_dict(), load_model(one).state_dict()
    assert set(merged) == set(base) and any(not torch.equal(merged[name], base[name]) for name in base)
    assert len(load_tokenizer(adapters)) == len(load_tokenizer(one))
    assert runs.weights_digest(adapters) != runs.weights_digest(Path(one))


def test_adapters_of_another_base(adapters, tmp_path, text):
    import json
    import shutil

    shutil.copytree(adapters, tmp_path / "adapters")
    path = tmp_path / "adapters" / "adapter_config.json"
    config = json.loads(path.read_text())
    other = architectures.save("llama", tmp_path / "llama", text)
    path.write_text(json.dumps({**config, "base_model_name_or_path": other}))
    with pytest.raises(ValueError, match="made for another base"):
        load_model(tmp_path / "adapters")
    path.write_text(json.dumps({**config, "base_model_name_or_path": str(tmp_path / "gone")}))
    with pytest.raises(FileNotFoundError, match=r"were made for .*gone, which is not there"):
        load_model(tmp_path / "adapters")


def test_a_model_whose_context_is_shorter_than_the_prompts(one):
    before = set(runs.runs_dir().glob("*")) if runs.runs_dir().is_dir() else set()
    config = stages.Loop(model=one, benchmark="humaneval", limit=3, rounds=1, sampling=Sampling(max_new_tokens=1500))
    with pytest.raises(NoRoom, match=r"\d of 3 prompts do not fit: the longest has \d+ tokens"):
        stages.loop(config, progress=False)
    assert {p for p in runs.runs_dir().glob("*") if p.is_dir()} == before
    cut = replace(config, sampling=replace(config.sampling, truncation="left", max_new_tokens=1450), rounds=0, limit=1)
    assert len(stages.attempts_of(stages.loop(cut, progress=False))) == 1


def test_a_refinement_without_room_stays_unsolved_and_ends_nothing(one, caplog, monkeypatch):
    problems = load_problems("humaneval", limit=3)
    victim = problems[1].task_id

    def crowded(problem, *args, **options):
        if problem.task_id == victim:
            raise NoRoom(f"the refine prompt of {victim} is too long")
        return refine_prompt(problem, *args, **options)

    monkeypatch.setattr(loop, "refine_prompt", crowded)
    table = stages.self_refine(one, problems, rounds=1, sampling=SHORT, progress=False)
    assert table.groupby("task_id")["round"].max().to_dict() == {p.task_id: int(p.task_id != victim) for p in problems}
    assert f"{victim} is too long; it stays unsolved" in caplog.text


def test_the_middle_of_the_faulty_code_goes_first(one):
    tokenizer, problem = load_tokenizer(one), load_problems("humaneval", limit=1)[0]
    code = "def f():\n" + "\n".join(f"    line_{i} = {i}" for i in range(60))
    prompt = refine_prompt(problem, code, "the feedback", count=lambda t: len(tokenizer(t)["input_ids"]), limit=600)
    assert len(tokenizer(prompt.text)["input_ids"]) <= 600
    assert problem.prompt.rstrip() in prompt.text and "# the feedback" in prompt.text
    assert "line_0 " in prompt.text and "line_59 " in prompt.text and "line_30 " not in prompt.text


@pytest.mark.parametrize("draws", DRAWS)
def test_generations_are_streamed_and_resumed(one, draws, tmp_path, monkeypatch):
    lm, tokenizer = load_model(one), load_tokenizer(one)
    prompts, sampling = [f"def f{i}(x):" for i in range(6)], Sampling(max_new_tokens=6, batch_size=2, draws=draws)
    whole = generate(lm, tokenizer, prompts, sampling, progress=False)
    stream, written, real = tmp_path / "stream.jsonl", [], generation._write_stream

    def cut(*args):
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(1)
        real(*args)

    with monkeypatch.context() as patch:
        patch.setattr(generation, "_write_stream", cut)
        with pytest.raises(KeyboardInterrupt):
            generate(lm, tokenizer, prompts, sampling, progress=False, stream=stream)
    there = stream.read_text()
    stream.write_text(there + '{"made": [[1, 0, "te')  # a line that the interruption tore
    torch.rand(3)
    assert generate(lm, tokenizer, prompts, sampling, progress=False, stream=stream) == whole
    assert stream.read_text().startswith(there) and len(stream.read_text().splitlines()) == len(prompts) // (
        2 if draws == "batch" else 1
    )


def test_a_loop_that_was_cut_off_goes_on(one, monkeypatch):
    config = stages.Loop(model=one, benchmark="humaneval", limit=3, rounds=2, sampling=SHORT)
    whole = stages.attempts_of(stages.loop(config, progress=False))
    folder = runs.runs_dir() / runs.key_of(config)
    (folder / runs.RECORD).unlink()
    (folder / runs.ATTEMPTS).unlink()
    judged, real = [], loop.judged

    def cut(*args):
        judged.append(1)
        if len(judged) == 2:  # once a round
            raise KeyboardInterrupt
        return real(*args)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "judged", cut)
        with pytest.raises(KeyboardInterrupt):
            stages.loop(config, progress=False)
    asked, decoded = [], generation.decode
    monkeypatch.setattr(generation, "decode", lambda *args: asked.append(1) or decoded(*args))
    again = stages.attempts_of(stages.loop(config, progress=False))
    assert again.equals(whole) and len(asked) == 1  # rounds 0 and 1 were there, down to their generations


def test_stopping_early_keeps_what_would_be_kept(one):
    problems = load_problems("humaneval", limit=2)
    greedy = Sampling(temperature=0, max_new_tokens=40)
    tables = [
        stages.self_refine(one, problems, rounds=1, temperatures=(0, 0), sampling=s, progress=False)
        for s in (greedy, replace(greedy, stop_early=True))
    ]
    assert tables[0].drop(columns="ended").equals(tables[1].drop(columns="ended"))


def test_a_finished_program_ends_its_sequence(one):
    lm, tokenizer = load_model(one), load_tokenizer(one)
    asked = []
    long = Sampling(temperature=0, max_new_tokens=64)
    text = generate(lm, tokenizer, ["def f(x):"], long, finished=lambda i, t: asked.append(t) or True, progress=False)
    assert text[0][0].ended == "program" and len(tokenizer(text[0][0].text)["input_ids"]) <= 2 * generation.LOOK_EVERY and len(asked) == 1
