"""A run's key holds all that shapes it, and nothing else: published keys stay, equal numbers are equal."""

import json
import shutil
import typing
from dataclasses import fields, is_dataclass, replace
from pathlib import Path

import architectures
import pytest

from cycle_utils import study
from cycle_utils.analysis.attention import Attend
from cycle_utils.method import configs, runs, stages
from cycle_utils.method.configs import FineTune, Loop, Pretrain
from cycle_utils.method.masking import Masking
from cycle_utils.method.training import TrainSettings
from cycle_utils.models.sampling import Sampling
from cycle_utils.paths import ROOT

PUBLISHED = ROOT / "results" / "runs"


def rebuilt(config: type, plain: dict):
    """The config that a record holds as plain data; folders of runs are the published ones."""
    hints, given = typing.get_type_hints(config), {}
    for name in (one.name for one in fields(config) if one.name in plain):
        value = plain[name]
        if name == "after":  # of a further turn: a training, or an earlier turn
            value = rebuilt(configs.Turn if "practice" in value else configs.RefineTrain, value)
        elif name == "recurring":
            value = value and rebuilt(TrainSettings, value)
        elif is_dataclass(hints[name]):
            value = rebuilt(hints[name], value)
        elif name == "model" and str(value).startswith("runs/"):
            value = str(PUBLISHED / Path(value).name)
        given[name] = value
    return config(**given)


def test_each_published_run_is_found_by_its_config():
    names = {}
    for path in PUBLISHED.glob(f"*/{runs.RECORD}"):
        plain = json.loads(path.read_text(encoding="utf-8"))["config"]
        stage = Attend if plain["stage"] == "Attend" else getattr(configs, plain["stage"])
        names[path.parent.name] = runs.key_of(rebuilt(stage, plain))
    assert names and names == {name: name for name in names}


@pytest.fixture(scope="module")
def foreign(tmp_path_factory):
    return architectures.save("qwen2", tmp_path_factory.mktemp("foreign"), "def f(x):\n    return x\n" * 20)


def changed(folder: str, place: Path, name: str, **entries) -> str:
    """A copy of a model folder in which one file says something more, or which has one file more."""
    path = Path(shutil.copytree(folder, place)) / name
    path.parent.mkdir(exist_ok=True)
    before = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    path.write_text(json.dumps({**before, **entries}), encoding="utf-8")
    return str(place)


@pytest.mark.parametrize(
    ("name", "entries"),
    [
        ("chat_template.jinja", {"mended": 1}),
        ("additional_chat_templates/tools.jinja", {"mended": 1}),
        ("tokenizer_config.json", {"chat_template": "{{ messages }}"}),
        ("tokenizer.json", {"added": 1}),
        ("config.json", {"rope_theta": 5.0}),
        ("generation_config.json", {"eos_token_id": 7}),
    ],
)
def test_each_file_of_a_model_folder_counts(foreign, tmp_path, name, entries):
    same = shutil.copytree(foreign, tmp_path / "same")
    other = changed(foreign, tmp_path / "other", name, **entries)
    keys = [runs.key_of(Loop(model=str(one))) for one in (foreign, same, other)]
    assert keys[0] == keys[1] != keys[2]


def test_what_is_no_part_of_a_model_does_not_count(foreign, tmp_path):
    same = shutil.copytree(foreign, tmp_path / "same")
    (same / "README.md").write_text("a card", encoding="utf-8")
    assert runs.key_of(Loop(model=str(same))) == runs.key_of(Loop(model=foreign))


def test_a_finished_run_counts_by_its_weights_until_it_is_changed(tmp_path):
    tune = FineTune(model="tiny-0.2M", problems=4, train=TrainSettings(steps=1, batch_size=2))
    folder = stages.fine_tune(tune, progress=False).folder
    key = runs.key_of(Loop(model=str(folder)))
    (folder / "generation_config.json").unlink()
    assert runs.key_of(Loop(model=str(folder))) == key
    (folder / "chat_template.jinja").write_text("mended", encoding="utf-8")
    assert runs.key_of(Loop(model=str(folder))) != key


def test_a_run_from_a_foreign_model_counts_by_all_its_files(foreign, tmp_path, home):
    """Weights that do not depend on a chat template are trained alike; what is asked through it is not."""
    other = changed(foreign, tmp_path / "other", "chat_template.jinja", mended=1)
    once = TrainSettings(steps=1, batch_size=2)
    tunes = [FineTune(model=one, problems=4, train=once) for one in (foreign, other)]
    folders = [stages.fine_tune(tune, progress=False).folder for tune in tunes]
    assert runs.weights_digest(folders[0]) == runs.weights_digest(folders[1])
    keys = [runs.key_of(Loop(model=str(folder))) for folder in folders]
    assert keys[0] != keys[1]
    published = runs.publish(folders[0].name)
    assert runs.key_of(Loop(model=str(published))) == keys[0]


@pytest.fixture
def adapters(foreign, home):
    tune = FineTune(model=foreign, problems=4, train=TrainSettings(steps=1, batch_size=2))
    base = stages.fine_tune(tune, progress=False).folder
    how = TrainSettings(steps=1, batch_size=2, lora=True, merged=False)
    return stages.fine_tune(FineTune(model=str(base), problems=4, train=how), progress=False).folder


def test_adapters_count_with_their_config_and_their_base(adapters, tmp_path):
    place = shutil.copytree(adapters, tmp_path / "adapters")
    (place / runs.RECORD).unlink()
    key = runs.key_of(Loop(model=str(place)))
    path = place / "adapter_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    base = Path(config["base_model_name_or_path"])
    elsewhere = shutil.copytree(base, tmp_path / "elsewhere" / base.name)
    path.write_text(json.dumps({**config, "base_model_name_or_path": str(elsewhere)}), encoding="utf-8")
    assert runs.key_of(Loop(model=str(place))) == key
    path.write_text(json.dumps({**config, "lora_alpha": 7}), encoding="utf-8")
    assert runs.key_of(Loop(model=str(place))) != key


def test_adapters_move_with_the_folder_of_runs(adapters, home, tmp_path):
    import torch

    from cycle_utils.models import load_model

    before, key = load_model(adapters).state_dict(), runs.key_of(Loop(model=str(adapters)))
    shutil.move(home / "runs", tmp_path / "moved")
    place = tmp_path / "moved" / adapters.name
    after = load_model(place).state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert runs.key_of(Loop(model=str(place))) == key


def test_equal_numbers_are_equal():
    pairs = [
        (Loop(ambiguity=0, limit=300.0, temperatures=(0, 1)), Loop(ambiguity=0.0, limit=300, temperatures=[0.0, 1.0])),
        (Masking(ratio=0), Masking(ratio=0.0)), (Masking(ratio=1), Masking(ratio=1.0)),
        (TrainSettings(steps=5.0, warmup=-0.0), TrainSettings(steps=5, warmup=0)),
        (Sampling(temperature=1), Sampling(temperature=1.0)),
        (study.recipe(mask_ratio=0, refine_share=1), study.recipe(mask_ratio=0.0, refine_share=1.0)),
    ]  # fmt: skip
    for one, other in pairs:
        assert one == other and runs.key_of(one) == runs.key_of(other)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: TrainSettings(lora="false"), "lora is 'false', a text; give True or False.* write False"),
        (lambda: TrainSettings(learning_rate="5e-4"), r"learning_rate is '5e-4', a text; .* above 0\..*5\.0e-4"),
        (lambda: TrainSettings(learning_rate=0), "learning_rate is 0; give a number above 0"),
        (lambda: Pretrain(recurring=800), "recurring is 800; give a TrainSettings or None"),
        (lambda: TrainSettings(steps=0), "steps is 0; give a whole number, 1 or more"),
        (lambda: TrainSettings(steps=-1), "steps is -1"),
        (lambda: TrainSettings(steps=2.5), "steps is 2.5"),
        (lambda: TrainSettings(batch_size=True), "batch_size is True, a truth value"),
        (lambda: TrainSettings(accumulation=0), "accumulation is 0"),
        (lambda: TrainSettings(seed=-1), "seed is -1; give a whole number from 0 to 4294967295"),
        (lambda: Loop(limit="5%"), "limit is '5%', a text; give a whole number, 1 or more, or None"),
        (lambda: Loop(limit=0), "limit is 0"),
        (lambda: Loop(ambiguity="0,05"), r"ambiguity is '0,05'.*Numbers are written as 0\.05"),
        (lambda: Loop(ambiguity=float("nan")), "ambiguity is nan"),
        (lambda: Loop(fields="code"), r"fields is 'code', a text; give a list of texts.*\['code'\]"),
        (lambda: Loop(rounds=None), "rounds is None"),
        (lambda: Loop(sampling=0.6), "sampling is 0.6; give a Sampling"),
        (lambda: Sampling(batch_size=0), "batch_size is 0"),
        (lambda: Sampling(max_new_tokens=0), "max_new_tokens is 0"),
        (lambda: Sampling(top_p=1.5), "top_p is 1.5; give a number above 0 to 1"),
    ],
)
def test_a_field_of_another_type_or_out_of_range_is_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_changed_config_is_checked_too():
    with pytest.raises(ValueError, match="steps is 0"):
        replace(TrainSettings(), steps=0)
