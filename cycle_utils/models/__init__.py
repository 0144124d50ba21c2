"""What answers: language models here or behind a server, the prompts they are given, and sampling from them.

A model is loaded by name (``loading``), asked in a style (``prompts``), and sampled in batches (``generation``); the
tiny LM that the repository ships is made here too. Whether an answer is right is not known on this floor, and nothing
here is trained: that is the method's business.
"""

from cycle_utils.models.loading import load_model, load_tokenizer

__all__ = ["load_model", "load_tokenizer"]
