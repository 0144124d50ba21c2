"""The check before the hours says what is missing, measures what is there, and ends in go or no-go."""

from pathlib import Path

import pytest
from packaging.requirements import Requirement

from cycle_utils.execution.isolation import IsolationReport
from cycle_utils.execution.judge import OPTIONS
from cycle_utils.study import check, costs, recipes

SMALL = {"batch_size": 2, "generation_batch": 2, "max_new_tokens": 12, "problems": 8, "limit": 4, "style": "cycle"}


@pytest.fixture
def given(random_lm) -> dict:
    return recipes.whole({**SMALL, "model": random_lm}, recipes.BENCHMARKS)


def test_all_stages_are_measured_and_kept(given, capsys):
    assert check.kept(given) is None
    found = check.check(given)
    assert [one for one in found if not one.good] == []
    names = [one.name for one in found]
    stages = ["fine-tuning", "refine training", "sampling", "generation", "judging", "memory"]
    assert [name for name in names if name in stages] == stages and names[-1] == "hours"
    assert capsys.readouterr().out.splitlines() == [str(one) for one in found]
    kept = check.kept(given)
    assert all(speed > 0 for speed in vars(kept.speeds).values()) and kept.memory > 1e7
    expected = sum(costs.hours(costs.work(given), kept.speeds).values())
    assert f"all: at most {expected:.1f} (estimate" in found[-1].said
    assert check.kept({**given, "batch_size": 4}) is None  # what was measured is of these parameters


def test_too_many_hours_are_a_no_go(given):
    slow = costs.Speeds(*[1e-3] * 5)
    *stages, last = check.hours(given, slow, most=10)
    assert all(one.good for one in stages) and len(stages) == 5
    assert not last.good and "more than --hours 10" in last.said


def test_what_cannot_be_had_is_said_and_nothing_is_measured(capsys, monkeypatch):
    monkeypatch.setattr(check, "steps", lambda *args: pytest.fail("steps were tried"))
    assert check.main(["--model", "Salesforce/codegen-350M-mono", "--benchmark", "humaneval"]) == 1
    *lines, last = capsys.readouterr().out.splitlines()
    assert lines[0] == "07_benchmarks by codegen-350m-mono-humaneval.yaml"
    assert any(line.startswith("NO  model") and "is not in the cache" in line for line in lines)
    assert any(line.startswith("NO  data") and "code_contests" in line for line in lines)
    assert last.startswith("no-go: ") and "model: " in last


def test_a_package_of_another_version_is_named():
    assert check._missing(Requirement("torch>=99")).startswith("torch ")
    assert check._missing(Requirement("no-such-package")) == "no-such-package is not installed"
    assert check._missing(Requirement("torch>=2")) == ""


def test_too_little_memory_or_disk_is_a_no_go_and_what_would_fit_is_said(monkeypatch):
    given = recipes.whole(recipes.read(recipes.named("Salesforce/codegen-2B-mono", "humaneval")), recipes.BENCHMARKS)
    found = {}
    for gib in (75, 23, 5):
        monkeypatch.setattr(check, "memory_at_hand", lambda gib=gib: gib * costs.GIB)
        found[gib] = check.device(given, costs.SHAPES[given["model"]])
    assert [one.good for one in found.values()] == [True, False, False] and "fits" not in found[75].said
    assert "what fits it: -p lora True -p learning_rate 0.0002 -p generation_batch 8" in found[23].said
    assert "needs about" in found[5].said and "with adapters alone" in found[5].said
    assert not check.space(1e18).good and check.space(0).good


def test_what_cannot_be_checked_is_said_in_a_sentence(capsys):
    for asked, said in {
        ("nowhere.yaml",): "no-go: there is no recipe nowhere.yaml",
        ("-p", "mask_rate", "1"): "no-go: unknown parameter 'mask_rate'",
        ("--model", "Salesforce/codegen-2B-mono", "--benchmark", "apps", "--card", "8"): "needs about",
    }.items():
        assert check.main(asked) == 1 and said in capsys.readouterr().out


def test_a_containers_limit_counts(tmp_path, monkeypatch):
    limit, used = tmp_path / "max", tmp_path / "current"
    monkeypatch.setattr(check.torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(check, "CGROUP", (str(limit), str(used)))
    limit.write_text("max\n")
    whole = check.memory_at_hand()
    limit.write_text("5000\n")
    used.write_text("2000\n")
    own = check.psutil.Process().memory_info().rss
    assert check.memory_at_hand() == pytest.approx(3000 + own, rel=0.1) and check.memory_at_hand() < whole


def test_on_a_cpu_the_largest_batches_are_estimated_each_by_its_own_part(monkeypatch):
    monkeypatch.setattr(check.torch.cuda, "is_available", lambda: False)
    given = recipes.whole(recipes.read(recipes.named("smollm2", "mbpp")), recipes.BENCHMARKS)
    need = costs.memory(given, costs.SHAPES["smollm2"])
    monkeypatch.setattr(check, "memory_at_hand", lambda: need.training * 0.9)
    said = check._largest(given)
    assert "batch_size 4 x accumulation 2" in said and "generation_batch 256" in said


def test_where_programs_cannot_be_confined_the_remedy_is_told(monkeypatch):
    layers = {"namespaces": "EPERM", "seccomp": "absent", "mounts": "EPERM", "Landlock": "absent"}
    monkeypatch.setattr(check, "isolation_report", lambda: IsolationReport(layers, {"run on for ever": True}))
    found = check.isolation()
    assert not found.good and "--security-opt" in found.said and OPTIONS in found.said
    monkeypatch.setenv(OPTIONS, '{"allow_unisolated": true}')
    assert check.isolation().good


def test_the_largest_batch_that_fits():
    assert costs.largest(lambda batch: batch <= 20, 4, 64) == 16
    assert costs.largest(lambda batch: True, 4, 64) == 64
    assert costs.largest(lambda batch: batch <= 3, 16, 64) == 2
    assert costs.largest(lambda batch: False, 4, 64) == 0


class Card:
    """In place of a bench: a GPU that holds 4 examples of training, 2 without checkpointing, and 64 programs."""

    def __init__(self, given):
        self.given = given

    def training_batch(self, length):
        return self.given["batch_size"]

    def generation_batch(self, benchmark):
        return self.given["generation_batch"]

    def train(self, refines, length, batch):
        return self._speed(batch <= (4 if self.given["gradient_checkpointing"] else 2))

    def generate(self, benchmark, batch):
        return self._speed(batch <= 64)

    def judge(self):
        return 50.0

    def _speed(self, fits):
        if not fits:
            raise check.torch.cuda.OutOfMemoryError("out of memory")
        return 10.0


@pytest.mark.parametrize(("batch", "fits"), [(2, True), (8, False)])
def test_on_a_gpu_the_largest_batches_are_tried(given, batch, fits, monkeypatch):
    monkeypatch.setattr(check, "Bench", Card)
    monkeypatch.setattr(check, "free", lambda: None)
    cuda = {"is_available": True, "max_memory_reserved": 5 * costs.GIB, "get_device_name": "a card"}
    for name, value in cuda.items():
        monkeypatch.setattr(check.torch.cuda, name, lambda value=value: value)
    told = []
    batches = {"batch_size": batch, "accumulation": 64 // batch, "gradient_checkpointing": True}
    measured = check.steps({**given, **batches}, told.append)
    assert "the largest that fit: batch_size 4 x accumulation 16 (without" in told[-1].said
    assert "faster: batch_size 2 x accumulation 32), generation_batch 64" in told[-1].said
    assert told[-1].good == fits and told[-1].name == ("memory" if fits else "fine-tuning")
    speeds = costs.Speeds(tuning=10, sampling=10, refining=10, evaluating=10, judging=50)
    assert measured == (check.Measured("a card", 5 * costs.GIB, speeds) if fits else None)


def test_a_smoke_is_all_of_the_recipe_and_small_in_a_home_of_its_own(home, monkeypatch):
    made = []

    def execute(name, parameters, folder):
        made.append((name, parameters, folder))
        return {"minutes": 1.0, "peak_mb": 1.0}

    monkeypatch.setattr(recipes, "run_notebook", execute)
    path = recipes.named("smollm2", "mbpp")
    recipes.smoke(path, {"limit": 5})
    recipes.run(path, {})
    (name, small, there), (same, given, here) = made
    assert name == same == "07_benchmarks_smollm2_mbpp_chat" and given == recipes.read(path)
    assert there == home / "smoke" / "reproduction" / "notebooks" and here == Path(home) / "reproduction" / "notebooks"
    assert small == {**given, **recipes.SMOKE, "limit": 5}
