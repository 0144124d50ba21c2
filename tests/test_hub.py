"""The card says what the record says and no more; what is uploaded is the model; every refusal says what to do."""

import dataclasses
import json
import re
from types import SimpleNamespace

import httpx
import huggingface_hub
import pytest
import yaml
from huggingface_hub.errors import HfHubHTTPError

from cycle_utils.method import runs, stages
from cycle_utils.method.configs import FineTune
from cycle_utils.method.training import TrainSettings
from cycle_utils.models import load_model
from cycle_utils.paths import ROOT
from cycle_utils.study import hub


@pytest.fixture(scope="module")
def tuned(random_lm, tmp_path_factory):
    """A finished run, made once for all tests of this file."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CYCLE_HOME", str(tmp_path_factory.mktemp("made")))
        settings = TrainSettings(steps=3, batch_size=4)
        return stages.fine_tune(FineTune(model=random_lm, problems=12, train=settings), progress=False)


class StandIn:
    """Stands for HfApi: keeps what it is asked for, or fails."""

    def __init__(self, error=None):
        self.error, self.calls = error, []

    def create_repo(self, repo_id, **options):
        if self.error:
            raise self.error
        self.calls.append((repo_id, options))
        return f"https://hub/{repo_id}"

    def upload_folder(self, **options):
        self.calls.append(("upload", options))


@pytest.fixture
def api(monkeypatch):
    stand_in = StandIn()
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: stand_in)
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: "hf_token")
    return stand_in


def numbers(text: str) -> set[str]:
    return set(re.findall(r"(?<![\w.])\d+(?:\.\d+)*(?:[eE][-+]?\d+)?", text))


def test_the_card_has_no_number_that_the_record_does_not_have(tuned):
    text = hub.card(tuned).replace(hub.CITATION, "").replace(hub.METHODS["FineTune"], "")
    record = json.dumps(tuned.record)
    rounded = {f"{float(number):.4f}" for number in numbers(record) if number.count(".") == 1}
    assert numbers(text) <= numbers(record) | rounded
    curve = tuned.notes["losses"]
    assert f"{curve[-1]['loss']:.4f} at step {curve[-1]['step']}" in text and curve[-1]["step"] == 3


def test_the_card_names_what_the_model_rests_on(tuned, random_lm):
    text = hub.card(tuned)
    made_by = tuned.record["environment"]
    for part in (
        tuned.key,
        made_by["commit"],
        made_by["source"],
        f"torch {made_by['torch']}",
        "tinyprograms",
        "licence",
    ):
        assert part in text
    assert str(runs.Path(random_lm).parent) not in text, "a local path was published"
    head = yaml.safe_load(text.split("---")[1])
    assert head["pipeline_tag"] == "text-generation" and "base_model" not in head, (
        "a local folder is no base on the Hub"
    )
    config = {**tuned.record["config"], "model": "org/lm"}
    named = hub.card(dataclasses.replace(tuned, record={**tuned.record, "config": config}))
    assert yaml.safe_load(named.split("---")[1])["base_model"] == "org/lm" and "derive from org/lm" in named


def test_the_card_cites_the_paper_as_the_repository_does(tuned):
    (paper,) = yaml.safe_load((ROOT / "CITATION.cff").read_text())["references"]
    text = hub.card(tuned)
    for name in ("title", "doi", "journal", "volume", "issue", "year"):
        assert str(paper[name]) in text
    assert all(f"{a['family-names']}, {a['given-names']}" in text for a in paper["authors"])


def test_the_model_is_uploaded_and_the_record_is_not(tuned, api):
    assert hub.push(tuned.folder, "me/lm") == "https://hub/me/lm"
    (made, options), (_, sent) = api.calls
    assert made == "me/lm" and options["private"] and sent["folder_path"] == tuned.folder
    assert {"README.md", "config.json", "model.safetensors", "tokenizer.json"} <= set(sent["allow_patterns"])
    assert runs.RECORD not in sent["allow_patterns"]
    assert tuned.path("README.md").read_text() == hub.card(tuned)
    assert runs.read_run(tuned.folder).key == tuned.key, "the card damaged the run"


def test_the_command(tuned, api, capsys):
    hub.main([str(tuned.folder), "me/lm", "--card-only"])
    assert not api.calls and capsys.readouterr().out.strip() == str(tuned.path("README.md"))
    hub.main([str(tuned.folder), "me/lm", "--public"])
    assert api.calls[0][1]["private"] is False


def refused(status: int) -> HfHubHTTPError:
    response = httpx.Response(status, request=httpx.Request("POST", "https://hub"))
    return HfHubHTTPError("refused", response=response)


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (refused(403), PermissionError, "may not write to me/lm"),
        (refused(500), ConnectionError, "refused me/lm"),
        (httpx.ConnectError("no route"), ConnectionError, "cannot be reached.*no route"),
        (huggingface_hub.errors.OfflineModeIsEnabled("offline"), ConnectionError, "cannot be reached.*offline"),
    ],
)
def test_a_failing_hub(tuned, api, error, kind, message):
    api.error = error
    with pytest.raises(kind, match=message):
        hub.push(tuned.folder, "me/lm")


def test_no_token(tuned, api, monkeypatch):
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: None)
    with pytest.raises(PermissionError, match="hf auth login"):
        hub.push(tuned.folder, "me/lm")
    assert not api.calls


def test_what_is_no_model_run(tuned, api, tmp_path):
    with pytest.raises(ValueError, match="no finished run"):
        hub.push(tmp_path, "me/lm")
    data = dataclasses.replace(tuned, record={**tuned.record, "config": {"stage": "Distil"}})
    with pytest.raises(ValueError, match="holds no model"):
        hub.card(data)
    assert not api.calls


def test_adapters_alone_load_as_a_model_and_are_pushed_only_if_their_base_is_on_the_hub(random_lm, api, monkeypatch):
    settings = TrainSettings(steps=2, batch_size=4, lora=True, merged=False)
    config = FineTune(model=random_lm, problems=8, train=settings)
    alone = stages.fine_tune(config, progress=False)
    merged = stages.fine_tune(dataclasses.replace(config, train=dataclasses.replace(settings, merged=True)), False)
    assert not alone.path("config.json").exists() and alone.path("adapter_model.safetensors").is_file()
    expected = load_model(merged.folder).state_dict()
    found = load_model(alone.folder)
    assert all((value - expected[name]).abs().max() < 1e-6 for name, value in found.state_dict().items())
    second = stages.fine_tune(FineTune(model=str(alone.folder), problems=8, train=settings), progress=False)
    adapters = SimpleNamespace(**json.loads(second.path("adapter_config.json").read_text()))
    assert adapters.base_model_name_or_path == str(alone.folder), "adapters on adapters name the wrong base"
    before, after = load_model(alone.folder).state_dict(), load_model(second.folder).state_dict()
    assert any((after[name] - value).abs().max() > 0 for name, value in before.items())
    with pytest.raises(ValueError, match="merge them"):
        hub.push(second.folder, "me/lm")
    monkeypatch.setattr(hub, "base_of", lambda folder: "org/lm")
    hub.push(alone.folder, "me/lm")
    assert "adapter_model.safetensors" in api.calls[-1][1]["allow_patterns"]
