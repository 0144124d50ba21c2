"""What is asked of the Hub, against one that stands in: pinned commits, once; and one sentence for each fault."""

import re
import socket
from dataclasses import replace

import pytest
import standin_hub
from huggingface_hub import constants
from standin_hub import AGREED, CUT, CUT_ONCE, DOWN, ENDED, HEAD, OTHER, SHORT
from test_recipes import FILES, recipe

from cycle_utils.models import load_model, load_tokenizer, loading
from cycle_utils.models.loading import count_parameters
from cycle_utils.problems import benchmarks
from cycle_utils.problems.benchmarks import BENCHMARKS, load_problems, training_options

CODEGEN, STARCODER, QWEN = "Salesforce/codegen-350M-mono", "bigcode/starcoderbase-1b", "Qwen/Qwen2.5-Coder-0.5B"
ON_HUB = [name for name in BENCHMARKS if name not in ("tinyprograms", "humaneval", "codecontests")]


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    with standin_hub.running([CODEGEN, STARCODER, QWEN], tmp_path_factory.mktemp("hub")) as hub:
        yield hub


@pytest.fixture
def hub(running, tmp_path, monkeypatch):
    """The Hub, whole again and with nothing asked yet; the cache is empty, and nobody is logged in."""
    running.faults, running.asked, running.parts = {}, [], 0
    standin_hub.turn_to(running, tmp_path, monkeypatch)
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # between tries of the Hub's library
    loading.fetch.cache_clear()
    yield running
    loading.fetch.cache_clear()


def load(name: str):
    """A benchmark, a training set (``NAME/train``) or a model."""
    bench, _, split = name.partition("/")
    if bench in BENCHMARKS:
        return load_problems(bench, split=split or None)
    return load_tokenizer(name), load_model(name)


def test_the_stand_in_has_each_model_of_the_recipes():
    assert all(standin_hub.architecture(one["model"]) for one in map(recipe, FILES) if "/" in one["model"])


@pytest.mark.parametrize("name", [*ON_HUB, "apps/train", "mbpp/train", "codecontests/train"])
def test_data_come_at_the_pinned_commit_and_only_once(hub, name, monkeypatch, tmp_path):
    bench, _, split = name.partition("/")
    options = {"split": split or None, "limit": 12 if bench == "codecontests" else None}
    options |= training_options(bench) if split else {}
    found = load_problems(bench, **options)
    sources = [source for source in vars(benchmarks).values() if isinstance(source, benchmarks.Source)]
    (pinned,) = {one.revision for one in sources if any(one.repo in path for path in hub.asked)}
    asked = [path for path in hub.asked if "datasets/" in path and "/large/" not in path]
    assert asked and all(pinned in path for path in asked), "something else than the pinned commit"
    before = len(hub.asked)
    assert load_problems(bench, **options) == found and len(hub.asked) == before
    for trees in tmp_path.rglob("trees"):  # as a cache has none that another version filled
        trees.rename(tmp_path / "gone")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert load_problems(bench, **options) == found


@pytest.mark.parametrize("model", [CODEGEN, STARCODER, QWEN])
def test_a_model_comes_once_and_then_from_the_cache(hub, model, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", AGREED)
    tokenizer, found = load(model)
    assert found.name_or_path == tokenizer.name_or_path == model
    assert found.dtype.is_floating_point and found.dtype.itemsize == 4 and count_parameters(model) > 10_000
    files = [re.sub(r".*(resolve/\w+|large/models/[^/]+/[^/]+)/", "", path) for path in hub.asked if HEAD in path]
    weights = [name for name in files if name.endswith((".bin", ".safetensors"))]
    assert set(weights) == {"pytorch_model.bin" if model == CODEGEN else "model.safetensors"}
    loading.fetch.cache_clear()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    before = len(hub.asked)
    again = load(model)[1]
    assert all(value.equal(again.state_dict()[name]) for name, value in found.state_dict().items())
    assert len(hub.asked) == before


def test_a_download_that_breaks_off_once_goes_on_from_there(hub, monkeypatch):
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1000)  # what is counted as had
    hub.faults = {"pytorch_model.bin": CUT_ONCE}
    load(CODEGEN)
    assert sum("GET /large" in path for path in hub.asked) == 2 and hub.parts == 1


@pytest.mark.parametrize(
    ("name", "faults", "token", "message"),
    [
        (STARCODER, {}, "", f"{STARCODER} is gated: accept its terms at https://huggingface.co/{STARCODER} and run"),
        (STARCODER, {}, "hf_other", f"{STARCODER} is gated: accept its terms"),
        ("Salesforce/codegen-momo", {}, "", "the Hub has no model Salesforce/codegen-momo, or it is private: check"),
        ("Salesforce/codegen-momo", {}, AGREED, "spelling, log in, or give a model folder .there is none at Sales"),
        (CODEGEN, {}, ENDED, f"the Hub does not take your token for {CODEGEN}: log in anew"),
        ("mbpp", {}, ENDED, "the Hub does not take your token for google-research-datasets/mbpp"),
        ("a b", {}, "", "the Hub has no model 'a b', nor could it have one"),
        (CODEGEN, {CODEGEN: DOWN}, "", r"not in the cache and cannot be had from http://\S+ \(HfHubHTTPError\): con"),
        ("apps", {"apps": DOWN}, "", r"not in the cache and cannot be had from http://\S+ .* give data= the path"),
        (CODEGEN, {"model.bin": CUT}, "", rf"the download of {CODEGEN} broke off \(RemoteProtocolError\): run the"),
        ("apps", {"test.jsonl": CUT}, "", "the download of codeparrot/apps broke off"),
        (QWEN, {".safetensors": SHORT}, "", f"{QWEN} came with another size than it has on the Hub"),
        ("mbpp", {".parquet": SHORT}, "", "google-research-datasets/mbpp came with another size"),
        (QWEN, {".safetensors": OTHER}, "", f"model.safetensors of {QWEN} is not what the Hub has.* Delete .* and run"),
        ("mbpp", {".parquet": OTHER}, "", r"parquet of google-research-datasets/mbpp is not what the Hub has"),
    ],
)  # fmt: skip
def test_what_goes_wrong_is_said_in_one_sentence(hub, name, faults, token, message, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", token)
    hub.faults = faults
    with pytest.raises(OSError, match=message) as caught:
        load(name)
    print(caught.value)
    assert "\n" not in str(caught.value)
    assert len(hub.asked) < 40, "it was tried again and again"


def test_nobody_answers(hub, monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}"
    monkeypatch.setattr(constants, "ENDPOINT", address)
    for name, instead in ((CODEGEN, "a model folder"), ("apps", "data=")):
        with pytest.raises(OSError, match=rf"cannot be had from {address} \(ConnectError\): .* or give {instead}"):
            load(name)


def test_what_is_in_the_cache_needs_nobody_to_answer(hub, monkeypatch):
    """Without being told that there is no network."""
    first = load("mbpp"), load(CODEGEN)[1].state_dict()
    loading.fetch.cache_clear()
    hub.faults = {CODEGEN: DOWN, "mbpp": DOWN}
    assert load("mbpp") == first[0]
    assert all(value.equal(first[1][name]) for name, value in load(CODEGEN)[1].state_dict().items())


def test_a_commit_that_is_gone_is_named(hub, monkeypatch):
    apps = hub.repos["datasets", "codeparrot/apps"]
    monkeypatch.setitem(hub.repos, ("datasets", "codeparrot/apps"), replace(apps, commit=HEAD))
    with pytest.raises(OSError, match=f"codeparrot/apps has lost its commit {apps.commit[:7]}; give data= the path"):
        load("apps")


def test_what_was_torn_in_the_cache_is_named_and_comes_again_once_it_is_deleted(hub, tmp_path):
    for name, kind in (("mbpp", ".parquet"), (QWEN, ".safetensors")):
        load(name)
        loading.fetch.cache_clear()
        (stored,) = {path.resolve() for path in tmp_path.rglob(f"*{kind}") if path.stat().st_size > 100}
        stored.write_bytes(stored.read_bytes()[:-7] + b"another")
        with pytest.raises(OSError, match=f"was torn or changed. Delete {stored} and run"):
            load(name)
        stored.unlink()
        load(name)


@pytest.mark.parametrize(("model", "name"), [(QWEN, "config.json"), (CODEGEN, "pytorch_model.bin")])
def test_what_was_cut_in_the_cache_is_named(hub, tmp_path, model, name):
    load(model)
    (path,) = tmp_path.rglob(name)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(OSError, match=rf"{model} in the cache \(delete \S+\) is damaged or not whole: {name} "):
        load(model)


def test_a_data_set_is_no_model(hub, monkeypatch):
    monkeypatch.setitem(hub.repos, ("models", "a/b"), hub.repos["datasets", "codeparrot/apps"])
    with pytest.raises(OSError, match="a/b on the Hub has neither config"):
        load("a/b")
