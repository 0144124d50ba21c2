"""The tables of settings and of precision are made from trainings and loops as they say, on a small LM here."""

from types import MappingProxyType

import pandas as pd
from test_benchmarks import shared

from cycle_utils.method import stages
from cycle_utils.paths import results_dir
from cycle_utils.study import settings


def test_each_setting_is_tried_on_the_validation_split(random_lm, monkeypatch, tmp_path):
    (tmp_path / "mbpp.jsonl").write_bytes(shared("mbpp.jsonl").read_bytes())
    monkeypatch.setenv("CYCLE_DATA", str(tmp_path))
    monkeypatch.setattr(settings, "SMOLLM2", random_lm)
    given = {"train_benchmark": "mbpp", "finetune_steps": 1, "batch_size": 1, "bf16": False, "style": "cycle",
             "max_new_tokens": 2}  # fmt: skip
    monkeypatch.setattr(settings, "TRAINED", {"x": type("E", (), {"parameters": MappingProxyType(given)})})
    monkeypatch.setattr(settings, "TRIED", ({"learning_rate": 1e-4, "lora": False},))
    tried = []
    monkeypatch.setattr(settings, "loop", lambda config: tried.append(config) or stages.loop(config, progress=False))
    asked = {"benchmark": "tinyprograms", "style": "plain", "max_new_tokens": 8, "generation_batch": 4}
    monkeypatch.setattr(settings, "DIAGNOSIS", {"x": type("E", (), {"parameters": asked})})
    monkeypatch.setattr(settings, "Loop", lambda *given, **more: stages.Loop(*given, **{**more, "limit": 3}))
    settings.main(["real_settings", "real_precision"])
    assert [(one.split, one.rounds, one.benchmark) for one in tried[:2]] == [("validation", 0, "mbpp")] * 2
    assert [(one.sampling.bf16, one.temperatures) for one in tried[2:]] == [(False, (0, 0)), (True, (0, 0))]
    assert len((results_dir() / "tables" / "real_settings.csv").read_text().splitlines()) == 3
    assert "3 of 3" in (results_dir() / "tables" / "real_precision.csv").read_text()


def test_temperatures_are_tried_on_the_validation_split(random_lm, monkeypatch):
    tried = []

    def solved(config):
        tried.append(config)
        return config

    rows = pd.DataFrame({"task_id": ["a", "a", "b"], "passed": [False, True, False]})
    monkeypatch.setattr(settings, "loop", solved)
    monkeypatch.setattr(settings, "attempts_of", lambda run: rows)
    monkeypatch.setattr(settings.study, "contender", lambda name, config, where: where)
    table = settings.memory_temperatures(seed=1)
    assert {one.split for one in tried} == {"validation"} and all(one.redraws for one in tried)
    assert [one.temperatures for one in tried if one.checked] == [(0.2, t) for t in settings.WARMER]
    assert len(table) == len(tried) and set(table["solved"].str[:6]) == {"50.0 %"} and set(table["of"]) == {2}
