"""Tiny random models of the architectures that the paper and its successors use, with tokenizers of their kinds."""

from pathlib import Path

import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

CONTEXT = 1536


def _codegen(vocabulary: int):
    return transformers.CodeGenForCausalLM(transformers.CodeGenConfig(
        vocab_size=vocabulary, n_positions=CONTEXT, n_ctx=CONTEXT, n_embd=32, n_layer=2, n_head=4, rotary_dim=4,
        bos_token_id=0, eos_token_id=0))  # fmt: skip


def _gpt_bigcode(vocabulary: int):
    return transformers.GPTBigCodeForCausalLM(transformers.GPTBigCodeConfig(
        vocab_size=vocabulary, n_positions=CONTEXT, n_embd=32, n_layer=2, n_head=4, bos_token_id=0,
        eos_token_id=0))  # fmt: skip


_MODERN = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    "intermediate_size": 64, "max_position_embeddings": CONTEXT, "bos_token_id": 0, "eos_token_id": 0,
}  # fmt: skip


def _starcoder2(vocabulary: int):
    return transformers.Starcoder2ForCausalLM(transformers.Starcoder2Config(vocab_size=vocabulary, **_MODERN))


def _qwen2(vocabulary: int):
    return transformers.Qwen2ForCausalLM(transformers.Qwen2Config(vocab_size=vocabulary, **_MODERN))


def _llama(vocabulary: int):
    return transformers.LlamaForCausalLM(transformers.LlamaConfig(vocab_size=vocabulary, **_MODERN))


MAKERS = {
    "codegen": _codegen, "gpt_bigcode": _gpt_bigcode, "starcoder2": _starcoder2, "qwen2": _qwen2, "llama": _llama,
}  # fmt: skip
PADS = {"qwen2": "<|pad|>"}  # the others have none of their own
STARTS = ("llama",)  # begin each text with a token of their own


def save(name: str, folder: Path, text: str) -> str:
    """A folder with a random model of the architecture and a byte-level tokenizer trained on ``text``."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", *filter(None, [PADS.get(name)])]
    backend.train_from_iterator([text], trainers.BpeTrainer(
        vocab_size=600, special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False))  # fmt: skip
    if name in STARTS:
        backend.post_processor = processors.TemplateProcessing(
            single="<|endoftext|> $A", special_tokens=[("<|endoftext|>", 0)]
        )
    end = "<|endoftext|>"
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token=end,
        eos_token=end,
        unk_token=end,
        **({"pad_token": PADS[name]} if name in PADS else {}),
    )
    tokenizer.save_pretrained(folder)
    transformers.set_seed(0)
    MAKERS[name](len(tokenizer)).save_pretrained(folder)
    return str(folder)
