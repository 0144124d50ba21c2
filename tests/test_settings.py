"""The table of settings tried is made from trainings and loops on the validation split, on a small LM here."""

from types import MappingProxyType

from cycle_utils.method import stages
from cycle_utils.paths import results_dir
from cycle_utils.study import settings
from test_benchmarks import shared


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
    settings.main([])
    assert [(one.split, one.rounds, one.benchmark) for one in tried] == [("validation", 0, "mbpp")] * 2
    assert len((results_dir() / "tables" / "real_settings.csv").read_text().splitlines()) == 3
