"""Models that others made: torn or missing files, tokenizers that do not fit, code that they bring, misspelt places."""

import json
import shutil
from pathlib import Path

import architectures
import pytest
from tokenizers import processors
from transformers import AutoTokenizer

from cycle_utils.method import stages
from cycle_utils.method.configs import FineTune
from cycle_utils.method.training import TrainSettings
from cycle_utils.models import load_model, load_tokenizer, loading
from cycle_utils.models.generation import generate
from cycle_utils.models.loading import count_parameters, locate
from cycle_utils.models.sampling import Sampling

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 988097824\n"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return architectures.save("llama", tmp_path_factory.mktemp("whole"), "def f(x):\n    return x\n" * 20)


@pytest.fixture
def folder(whole, tmp_path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "model"))


# --- files --------------------------------------------------------------------------------------------------


def half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize(
    ("harm", "name", "message"),
    [
        (half, "model.safetensors", r"model\.safetensors is cut off \(\d+ bytes of \d+\): fetch or write it again"),
        (lambda path: path.write_bytes(b"123"), "model.safetensors", r"model\.safetensors is cut off \(3 bytes\)"),
        (lambda path: path.write_text(POINTER), "model.safetensors",
         r"model\.safetensors is the pointer that git leaves without git-lfs.*git lfs pull"),
        (lambda path: path.write_text(POINTER), "tokenizer.json", r"tokenizer\.json is the pointer"),
        (half, "config.json", r"config\.json cannot be read as JSON"),
        (half, "tokenizer.json", r"tokenizer\.json cannot be read as JSON"),
    ],
)  # fmt: skip
def test_files_that_are_not_whole_are_named(folder, harm, name, message):
    harm(folder / name)
    for load in (load_model, load_tokenizer):
        with pytest.raises(OSError, match=f"the model folder .* is damaged or not whole: {message}"):
            load(folder)


def test_old_weights_that_are_cut_off_are_named(folder):
    import torch

    torch.save({"w": torch.zeros(1000)}, folder / "pytorch_model.bin")
    half(folder / "pytorch_model.bin")
    with pytest.raises(OSError, match=r"pytorch_model\.bin is cut off or no file of torch"):
        load_model(folder)


# --- tokenizers ---------------------------------------------------------------------------------------------


def test_a_tokenizer_larger_than_the_embedding_is_refused(folder):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens(["<more>", "<and more>"])
    tokenizer.save_pretrained(folder)
    with pytest.raises(ValueError, match=r"has \d+ tokens, the model's embedding \d+ rows: '<more>' and what comes"):
        load_tokenizer(folder)


@pytest.mark.parametrize("starts", [True, False])
def test_a_tokenizer_that_appends_its_end_token_is_kept_from_it(folder, starts, caplog, whole):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    backend, end = tokenizer.backend_tokenizer, ("<|endoftext|>", 0)
    single = f"{end[0]} $A {end[0]}" if starts else f"$A {end[0]}"
    backend.post_processor = processors.Sequence([
        processors.ByteLevel(trim_offsets=False), processors.TemplateProcessing(single=single, special_tokens=[end])
    ])  # fmt: skip
    tokenizer.save_pretrained(folder)
    assert AutoTokenizer.from_pretrained(folder)("def f():")["input_ids"][-1] == 0
    mended, usual = load_tokenizer(folder), load_tokenizer(whole)
    wanted = usual("def f():") if starts else usual("def f():", add_special_tokens=False)
    assert mended("def f():")["input_ids"] == wanted["input_ids"]
    assert f"puts {end[0]} behind each text; here it does not" in caplog.text
    offsets = mended("def f():\n    x", return_offsets_mapping=True)["offset_mapping"]
    usual_offsets = usual("def f():\n    x", return_offsets_mapping=True)["offset_mapping"]
    assert offsets == usual_offsets[0 if starts else 1 :]
    mended.save_pretrained(folder)  # as a training does
    assert load_tokenizer(folder)("def f():")["input_ids"] == wanted["input_ids"]
    how = Sampling(temperature=0, max_new_tokens=4)
    if starts:
        ours, theirs = (generate(load_model(f), t, ["def f():"], how, progress=False) for f, t in
                        ((folder, mended), (whole, usual)))  # fmt: skip
        assert ours == theirs


def test_usual_tokenizers_are_left_alone(whole, caplog):
    load_tokenizer(whole), load_tokenizer("tiny")
    assert "behind each text" not in caplog.text


# --- code that a model brings along ---------------------------------------------------------------------------


def bringing_code(folder: Path) -> Path:
    """A model folder whose classes are in files of its own."""
    sources = {
        "own_config": "from transformers import LlamaConfig\n\n\n"
        "class OwnLlamaConfig(LlamaConfig):\n    model_type = 'own-llama'\n",
        "own_model": "from transformers import LlamaForCausalLM\n\nfrom .own_config import OwnLlamaConfig\n\n\n"
        "class OwnLlamaForCausalLM(LlamaForCausalLM):\n    config_class = OwnLlamaConfig\n",
    }
    for name, source in sources.items():
        (folder / f"{name}.py").write_text(source, encoding="utf-8")
    path = folder / "config.json"
    auto = {"AutoConfig": "own_config.OwnLlamaConfig", "AutoModelForCausalLM": "own_model.OwnLlamaForCausalLM"}
    config = {**json.loads(path.read_text(encoding="utf-8")), "model_type": "own-llama", "auto_map": auto}
    path.write_text(json.dumps(config), encoding="utf-8")
    return folder


def test_code_runs_only_where_it_is_trusted(folder, monkeypatch, tmp_path):
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    bringing_code(folder)
    for load in (load_model, load_tokenizer, count_parameters):
        with pytest.raises(ValueError, match=f"brings Python code along.* the environment variable {loading.TRUST}=1"):
            load(folder)
    monkeypatch.setenv(loading.TRUST, "1")
    assert type(load_model(folder)).__name__ == "OwnLlamaForCausalLM" and load_tokenizer(folder) is not None
    assert count_parameters(folder) == load_model(folder).num_parameters()
    how = TrainSettings(steps=1, batch_size=1)
    run = stages.fine_tune(FineTune(model=str(folder), problems=4, train=how), progress=False)
    assert type(load_model(run.folder)).__name__ == "OwnLlamaForCausalLM"


# --- places ---------------------------------------------------------------------------------------------------


def test_a_misspelt_path_is_no_hub_id(folder, monkeypatch):
    monkeypatch.chdir(folder.parent.parent)
    wrong = f"{folder.parent.name}/modle"
    with pytest.raises(FileNotFoundError, match=rf"no model folder {wrong} \(there is .*/model\)"):
        locate(wrong)
    assert locate("bigcode/starcoder") == "bigcode/starcoder"
    for other in ("./modle", "a/b/c", "C:\\models\\x"):
        with pytest.raises(FileNotFoundError, match="no model folder"):
            locate(other)
