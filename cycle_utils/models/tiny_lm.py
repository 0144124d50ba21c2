"""The tiny LM: the text it is pre-trained on, its tokenizer and its shape.

The text imitates what a code LM meets in repositories, drawn from the training split of TinyPrograms:
single functions (some of them buggy), functions documented by examples of what they compute, files in
which code recurs (a draft that was commented out, a second copy). Two properties of such text matter here.
Recurring code is there so that the LM copies; code beside what it computes, so that it can learn to read
feedback. The refinement template never occurs in it.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import chain

from cycle_utils.problems import tinyprograms as tp

END = "<|endoftext|>"
PAD = "<|pad|>"
VOCABULARY = 1024

# Shapes by name: hidden size, layers, heads, feed-forward size. Parameters include the tied embedding.
SHAPES = {
    "0.2M": (48, 4, 3, 128),
    "0.5M": (80, 5, 5, 216),
    "0.8M": (104, 5, 4, 280),
    "1.3M": (128, 6, 4, 352),
    "4M": (224, 7, 7, 600),
}
SHAPE = "1.3M"
BUGGY = 0.12  # share of functions with one wrong slot
TERSE = 0.8  # ambiguity of a description that examples accompany: they say what it leaves out
# Kinds of files, in parts, for the two phases of pre-training: first code and what it computes, then files
# in which code recurs. The second phase is short; it is there so that the LM copies, as LMs of code do [paper].
KINDS = {
    "code": {"single": 25, "doctest": 30, "header": 20, "after": 10, "draft": 8, "recur": 7},
    "recurring": {"single": 30, "doctest": 4, "header": 4, "after": 4, "notes": 22, "sketch": 36},
}
# Headings of files in which code recurs: many, so that the LM learns the shape and not the words.
HEADINGS = (
    "Earlier version", "Draft", "Sketch", "Notes", "Old code", "Version 1", "Backup", "Before", "Reference",
    "As it was", "First try", "Prototype", "Source", "From the wiki", "Example code", "Previous", "Snippet", "TODO",
)  # fmt: skip
CLOSINGS = (
    "Code", "Version 2", "Now", "Current version", "Implementation", "Final code", "After", "Program", "Module",
    "As it is", "Release", "Definition", "Function", "Listing", "New file", "Body",
)  # fmt: skip
REMARKS = ("Example", "Log", "Session", "Sample run", "Check", "Usage", "Test run", "Trace", "Output", "Demo")
# Ways to note a call and its value, and ways to note a value that it ought to have and has not.
RECORDS = (
    "Input: {0}\nOutput: {1}", "Call: {0}\nResult: {1}", "In: {0}\nOut: {1}", "Given: {0}\nThen: {1}",
    "{0} -> {1}", "Run: {0}\nGives: {1}\nChecked: {1}",
)  # fmt: skip
COMPLAINTS = (
    "Input: {0}\nGot: {1}\nWant: {2}", "Call: {0}\nShould be: {2}\nIs: {1}", "In: {0}\nOut: {1}\nOught: {2}",
    "Known bug: {0}\nwants {2}\ngives {1}", "{0} -> {1}\nnot {2}", "Case: {0}\nAsked: {2}\nFound: {1}",
)  # fmt: skip


def _bug(task: tp.Task, rng: random.Random) -> dict[str, int]:
    """Now and then another value for one slot, whatever the description says."""
    if rng.random() >= BUGGY:
        return {}
    slot = rng.choice(task.family.slots)
    return {slot.name: rng.randrange(len(slot.values))}


def _call(task: tp.Task, arguments: tuple[str, ...]) -> str:
    return f"{task.names['f']}({', '.join(arguments)})"


def _examples(task: tp.Task, values: dict[str, int], rng: random.Random) -> list[tuple[str, str]]:
    """One to three calls with what the code as written (bugs included) gives for them."""
    calls = tp.distinct_calls(task, rng, rng.randint(1, 3))
    results = tp.evaluate(task, calls, values)
    return [(_call(task, c), repr(v)) for c, v in zip(calls, results) if v is not tp.FAILS]


def _commented(text: str) -> str:
    return "\n".join(f"# {line}".rstrip() for line in text.split("\n"))


def _header(examples: list[tuple[str, str]], rng: random.Random) -> str:
    """Examples above the code, in one of the ways people write them."""
    style = rng.choice(
        ("# Input: {}\n# Output: {}", "# {} -> {}", "# Example: {} == {}", "# Input: {}\n# Expected: {}")
    )
    return "".join(style.format(*example) + "\n" for example in examples)


def _remark(task: tp.Task, values: dict[str, int], rng: random.Random) -> str:
    """A heading and the record of one call, or of none; half of the records complain about the value.

    As in many a repository, what is complained about stands below unchanged.
    """
    slot = rng.choice(task.family.slots)
    other = {**values, slot.name: rng.randrange(len(slot.values))}
    call = tp.distinct_calls(task, rng, 1)
    (got,), (wanted,) = tp.evaluate(task, call, values), tp.evaluate(task, call, other)
    if rng.random() < 0.2 or got is tp.FAILS:
        return ""
    complains = rng.random() < 0.5 and wanted is not tp.FAILS
    style = rng.choice(COMPLAINTS if complains else RECORDS)
    return f"{rng.choice(REMARKS)}:\n" + style.format(_call(task, call[0]), repr(got), repr(wanted))


def _notes(task: tp.Task, values: dict[str, int], way: int, rng: random.Random) -> str:
    """The same code twice: in comments after the description, with a record now and then, and as the program."""
    code, mark, gap = tp.program(task, values, way), rng.choice(("#", "##", "###")), rng.choice(("\n", "\n\n"))
    text = f"{tp.prompt(task)}\n\n{mark} {rng.choice(HEADINGS)}:{gap}{_commented(code)}\n\n"
    if remark := _remark(task, values, rng):
        heading, record = remark.split("\n", 1)
        text += f"{mark} {heading}\n{_commented(record)}\n\n"
    return f"{text}{mark} {rng.choice(CLOSINGS)}:{gap}{code}"


def _sketch(task: tp.Task, values: dict[str, int], way: int, rng: random.Random) -> str:
    """The same code twice: inside the docstring, with a record now and then, and as the body."""
    text = f"{tp.prompt(task)[:-3]}\n\n{rng.choice(HEADINGS)}:\n{tp.program(task, values, way)}\n\n"
    if remark := _remark(task, values, rng):
        text += f"{remark}\n\n"
    return f'{text}{rng.choice(CLOSINGS)}:\n    """{tp.body(task, values, way)}'


def document(rng: random.Random, ambiguity: float = tp.AMBIGUITY, phase: str = "code", kind: str | None = None) -> str:
    """One file of the pre-training text, of a kind drawn by the phase's shares unless it is given."""
    kind = kind or rng.choices(list(KINDS[phase]), KINDS[phase].values())[0]
    task = tp.draw_task(rng, TERSE if kind in ("doctest", "header") else ambiguity, "train")
    values, way = _bug(task, rng), rng.randrange(len(task.family.bodies))
    whole = tp.prompt(task) + tp.body(task, values, way)
    match kind:
        case "single":
            return whole
        case "doctest":
            return tp.prompt(task, _examples(task, values, rng)) + tp.body(task, values, way)
        case "header":
            return _header(_examples(task, values, rng), rng) + whole
        case "after":
            return whole + "".join(f"\n\nassert {call} == {value}" for call, value in _examples(task, values, rng))
        case "draft":
            draft = _commented(tp.program(task, values, way))
            return f"{tp.prompt(task)}\n{draft}\n\n{tp.program(task, values, way)}"
        case "notes":
            return _notes(task, values, way, rng)
        case "sketch":
            return _sketch(task, values, way, rng)
        case "recur":
            other = tp.draw_task(rng, ambiguity, "train")
            between = tp.prompt(other) + tp.body(other, way=rng.randrange(len(other.family.bodies)))
            return f"{whole}\n\n{between}\n\n{whole}"
    raise AssertionError("unreachable")


def documents(seed: int, ambiguity: float = tp.AMBIGUITY, phase: str = "code") -> Iterator[str]:
    """The endless text of a phase, file by file; the same arguments give the same files."""
    rng = random.Random(f"pretraining/{seed}/{ambiguity}")
    while True:
        yield document(rng, ambiguity, phase)


def train_tokenizer(seed: int = 0, files: int = 4000):
    """Byte-level BPE of :data:`VOCABULARY` tokens; digits stand alone, so that numbers can be compared.

    Returns:
        a ``PreTrainedTokenizerFast`` that any folder saved from it loads again through ``AutoTokenizer``.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"\d"), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[END, PAD],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    text = documents(seed)
    backend.train_from_iterator((next(text) for _ in range(files)), trainer)
    start = (END, backend.token_to_id(END))
    backend.post_processor = processors.TemplateProcessing(single=f"{END} $A", special_tokens=[start])
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token=END,
        eos_token=END,
        pad_token=PAD,
        clean_up_tokenization_spaces=False,
        padding_side="left",
        model_max_length=1024,
    )


def new_model(shape: str = SHAPE, seed: int = 0):
    """A Llama-style LM of the named shape with random weights, in float32.

    Raises:
        ValueError: unknown shape.
    """
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    if shape not in SHAPES:
        raise ValueError(f"unknown shape {shape!r}; choose one of {', '.join(SHAPES)}")
    hidden, layers, heads, inner = SHAPES[shape]
    torch.manual_seed(seed)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=VOCABULARY,
            hidden_size=hidden,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            num_key_value_heads=heads,
            intermediate_size=inner,
            max_position_embeddings=1024,
            tie_word_embeddings=True,
            bos_token_id=0,
            eos_token_id=0,
            pad_token_id=1,
            dtype="float32",
        )
    )


def blocks(tokenizer, count: int, length: int, seed: int = 1, ambiguity: float = tp.AMBIGUITY, phase: str = "code"):
    """``count`` blocks of ``length`` token ids: files one after another, each closed by :data:`END`.

    Returns:
        a ``datasets.Dataset`` with the column ``input_ids``, each a list of ``length`` ids.
    """
    from datasets import Dataset

    text, ids, rows = documents(seed, ambiguity, phase), [], []
    while len(rows) < count:
        batch = tokenizer([next(text) + END for _ in range(512)], add_special_tokens=False)["input_ids"]
        ids.extend(chain.from_iterable(batch))
        whole = len(ids) // length
        rows.extend(ids[i * length : (i + 1) * length] for i in range(whole))
        ids = ids[whole * length :]
    return Dataset.from_dict({"input_ids": rows[:count]})
