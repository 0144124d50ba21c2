"""Two processes train what one does: the same examples and masks a step, the same losses, the same runs.

Two processes on the CPU stand for two GPUs. Tolerances: 1e-5 nats for a loss, 1e-4 for a weight (the learning rate is
1e-3): sums are taken in another order, and Adam's first steps divide by what may be nearly nothing.
"""

import ast
import inspect
import json
import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import papermill
import pytest
import torch
import trainings
from accelerate.commands.config.config_args import load_config_from_file
from filelock import FileLock

from cycle_utils import study
from cycle_utils.method import runs, stages
from cycle_utils.method.training import TrainSettings, per_process
from cycle_utils.models import loading
from cycle_utils.paths import NOTEBOOKS, ROOT
from cycle_utils.study import launch

TIED = {"lm_head.weight"}  # one tensor with the embeddings: a model lists it twice, its file once
CONFIGS = ROOT / "recipes" / "accelerate"
TOGETHER = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(ROOT)}


@pytest.fixture(scope="module")
def two(random_lm, tmp_path_factory) -> Path:
    """The folder in which two processes have run all cases of trainings.py."""
    folder = tmp_path_factory.mktemp("two")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    done = subprocess.run(
        [*command, trainings.__file__, random_lm, str(folder)],
        env=TOGETHER,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


def seen(folder: Path, case: str) -> list:
    """Of both processes: how many there were, losses, batches and weights."""
    return [
        (*json.loads((folder / f"{case}-{rank}.json").read_text()), torch.load(folder / f"{case}-{rank}.pt"))
        for rank in ("main", "other")
    ]


def by_step(batches: list, a_step: int) -> list[list]:
    """The examples of each optimiser step, in no order; a step ends with its epoch, or after so many batches."""
    steps, began = [], None
    for number, batch in enumerate(batches):
        epoch = batch[0][0]
        if began is None or epoch != began[0] or number - began[1] == a_step:
            began = (epoch, number)
            steps.append([])
        steps[-1] += [example for example in batch if len(example) > 1]
    return steps


@pytest.mark.parametrize("case", ["accumulated", "random", "adapters", "sharded"])
def test_two_processes_train_as_one(random_lm, two, tmp_path, case):
    losses, batches, weights = trainings.run(case, random_lm, tmp_path)
    (main, other) = seen(two, case)
    assert main[0] == other[0] == 2 and len(losses) == trainings.CASES[case].steps
    assert main[1] == pytest.approx(losses, abs=1e-5)
    assert main[3].keys() | TIED == weights.keys() | TIED
    assert all((main[3][name] - weights[name]).abs().max() < 1e-4 for name in main[3])
    if case == "sharded":
        assert not other[3], "the other process has all weights: nothing was spread"
    else:
        assert all(torch.equal(main[3][name], other[3][name]) for name in weights), "the two drifted apart"

    settings, steps = trainings.CASES[case], trainings.CASES[case].steps
    own = by_step(batches, settings.accumulation)[:steps]
    parts = [by_step(one[2], per_process(settings, 2)[1])[:steps] for one in (main, other)]
    for alone, first, second in zip(own, *parts, strict=True):
        assert sorted(first + second) == sorted(alone), "another example or another mask in a step"
    assert [len(step) for step in own[:3]] == [8, 8, 6] and any(hidden for step in own for _, _, hidden in step)


@pytest.mark.parametrize(("case", "cut_off"), [("accumulated", "cut"), ("sharded", "sharded, cut")])
def test_two_processes_that_were_cut_off_go_on_exactly(two, case, cut_off):
    for whole, cut in zip(seen(two, case), seen(two, cut_off)):
        assert cut[1] == whole[1]
        assert all(torch.equal(cut[3][name], value) for name, value in whole[3].items())


def test_the_global_batch_is_shared_out():
    shares = {
        (32, 1, 1): (32, 1), (4, 16, 8): (4, 2), (4, 16, 16): (4, 1), (4, 16, 32): (2, 1), (4, 3, 2): (2, 3),
        (2, 6, 4): (1, 3),
    }  # fmt: skip
    for (batch_size, accumulation, count), share in shares.items():
        assert per_process(TrainSettings(batch_size=batch_size, accumulation=accumulation), count) == share
    for batch_size, accumulation, count in ((3, 1, 2), (4, 1, 8), (2, 3, 4), (1, 1, 2)):
        with pytest.raises(ValueError, match=f"{count} processes cannot share"):
            per_process(TrainSettings(batch_size=batch_size, accumulation=accumulation), count)


# --- the command ------------------------------------------------------------------------------------------


def test_the_command_knows_each_parameter_of_the_notebook():
    names = set(papermill.inspect_notebook(NOTEBOOKS / "07_benchmarks.ipynb"))
    assert {*launch.EVALUATION, "seeds", "ladder"} < names
    whole = papermill.inspect_notebook(NOTEBOOKS / "07_benchmarks.ipynb")
    defaults = {name: ast.literal_eval(whole[name]["default"]) for name in launch.EVALUATION}
    assert launch.configs(defaults) == [study.recipe()]
    with pytest.raises(ValueError, match="unknown parameter 'batchsize'"):
        launch.configs({"batchsize": 4})
    assert names <= {*inspect.signature(study.recipe).parameters, *launch.EVALUATION, "seeds", "ladder"}


def test_there_is_a_training_for_each_seed_and_rung():
    found = launch.configs({"seed": 3, "seeds": 2, "ladder": ["tiny-0.2M"], "steps": 7, "benchmark": "apps"})
    assert found == [study.recipe(model=m, seed=s, steps=7) for m in ("tiny", "tiny-0.2M") for s in (3, 4)]


def test_values_on_the_command_line(tmp_path, monkeypatch):
    (tmp_path / "r.yaml").write_text("steps: 5\nmodel: org/lm\n")
    monkeypatch.setattr(launch, "configs", lambda parameters: [parameters])
    monkeypatch.setitem(launch.STAGES, "distil", lambda parameters: parameters)
    given = ["-p", "steps", "9", "-p", "learning_rate", "5e-5", "-p", "target", "random", "-p", "lora", "True"]
    (found,) = launch.main([str(tmp_path / "r.yaml"), *given, "--until", "distil"])
    assert found == {"steps": 9, "model": "org/lm", "learning_rate": 5e-5, "target": "random", "lora": True}


def test_a_launched_study_is_the_one_that_the_notebooks_find(random_lm, home, tmp_path, monkeypatch):
    """Under a lock that another process holds at first; then against the study of one process."""
    options = {
        "model": random_lm, "problems": 8, "finetune_steps": 2, "steps": 3, "batch_size": 2, "accumulation": 4,
        "max_new_tokens": 24, "benchmark": "humaneval", "rounds": 1,
    }  # fmt: skip
    (config,) = launch.configs(options)
    recipe, ledger = tmp_path / "recipe.yaml", tmp_path / "ledger"
    recipe.write_text(json.dumps(options))
    command = "accelerate.commands.launch --multi_gpu --num_processes 2 --num_machines 1 --mixed_precision no"
    command += f" --dynamo_backend no --main_process_port 0 -m cycle_utils.study.launch {recipe}"
    first = runs.runs_dir() / runs.key_of(config.distil.fine_tune)
    first.parent.mkdir(parents=True)
    with open(tmp_path / "said", "w") as said:
        with FileLock(f"{first}.lock"):
            both = subprocess.Popen(
                [sys.executable, "-m", *command.split()], env={**TOGETHER, "CYCLE_HOME": str(home),
                runs.LEDGER: str(ledger)}, stdout=said, stderr=subprocess.STDOUT,
            )  # fmt: skip
            while both.poll() is None and not ledger.is_file():
                time.sleep(0.1)
            time.sleep(1)
            assert both.poll() is None and not first.exists(), "the lock was not heeded"
        assert both.wait(timeout=120) == 0, (tmp_path / "said").read_text()[-3000:]
    text = (tmp_path / "said").read_text()
    assert text.count("building runs/") == 3, "one process speaks, for each of three stages"
    assert Counter(ledger.read_text().split()).total() == len(text.split("building runs/")[1:]) + 1  # 1a is asked twice
    together = [stages.refine_train(config, False), stages.fine_tune(config.distil.fine_tune, False)]
    assert all(run.reused and run.record["processes"] == 2 for run in together)

    monkeypatch.setenv("CYCLE_HOME", str(home / "alone"))
    (alone,) = launch.main([str(recipe)])
    assert alone.key == together[0].key and alone.folder != together[0].folder and not alone.reused
    losses = [[row["loss"] for row in run.notes["losses"]] for run in (alone, together[0])]
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)
    ours, theirs = (loading.load_model(run.folder).state_dict() for run in (alone, together[0]))
    assert all((theirs[name] - value).abs().max() < 1e-4 for name, value in ours.items())


# --- configurations ---------------------------------------------------------------------------------------


def test_accelerate_reads_the_configuration():
    config = load_config_from_file(str(CONFIGS / "fsdp2.yaml"))
    assert config.distributed_type == "FSDP" and config.num_processes > 1 and config.mixed_precision == "bf16"
    assert "not run" in (CONFIGS / "fsdp2.yaml").read_text(encoding="utf-8").lower()
    told = trainings.fsdp_environment()
    assert told["FSDP_VERSION"] == "2" and told["FSDP_STATE_DICT_TYPE"] == "FULL_STATE_DICT"
