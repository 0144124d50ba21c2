"""The program in a chat model's answer, in the forms that models give it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cycle_utils.models.answers import answered

F = "`" * 3
WHOLE = "def mean(xs):\n    return sum(xs) / len(xs)"
HELPED = "def mean(xs):\n    return h()"
OTHER = "def mean(xs):\n    return 0"
IN_DOCSTRING = f'def mean(xs):\n    """Mean.\n\n    {F}\n    mean([1])\n    {F}\n    """\n    return sum(xs) / len(xs)'
INDENTED = WHOLE.replace("\n", "\n    ")
FORMS = {
    "one block": (f"Here:\n{F}python\n{WHOLE}\n{F}\nDone.", WHOLE),
    "no language": (f"{F}\n{WHOLE}\n{F}", WHOLE),
    "language with attributes": (f'{F}python title="mean.py"\n{WHOLE}\n{F}', WHOLE),
    "tildes": (f"~~~py\n{WHOLE}\n~~~", WHOLE),
    "tildes around backticks": (f"~~~python\n{IN_DOCSTRING}\n~~~", IN_DOCSTRING),
    "more backticks": (f"{F}``python\n{WHOLE}\n{F}``", WHOLE),
    "closed by more than opened": (f"{F}python\n{WHOLE}\n{F}``\nand so on", WHOLE),
    "fewer close nothing": (f"`{F}python\nx = '''\n{F}\n'''\n\n{WHOLE}\n`{F}", f"x = '''\n{F}\n'''\n\n{WHOLE}"),
    "a fence in the docstring": (f"{F}python\n{IN_DOCSTRING}\n{F}", IN_DOCSTRING),
    "in a list item": (f"1. So:\n    {F}python\n    {INDENTED}\n    {F}\n2. Done.", WHOLE),
    "behind text": (f"Like this: {F}python\n{WHOLE}\n{F}", WHOLE),
    "closed behind the code": (f"{F}python\n{WHOLE}{F}", WHOLE),
    "closed behind the code, another block": (f"{F}python\n{OTHER}{F}\nNo:\n{F}python\n{WHOLE}\n{F}", WHOLE),
    "on one line": (f"{F}python def mean(xs): return sum(xs) / len(xs){F}", "def mean(xs): return sum(xs) / len(xs)"),
    "cut off": (f"{F}python\n{WHOLE}", WHOLE),
    "carriage returns": (f"{F}python\r\n{WHOLE}\r\n{F}\r\n".replace("\n    ", "\r\n    "), WHOLE),
    "corrected": (f"{F}python\n{OTHER}\n{F}\nWrong. Better:\n{F}python\n{WHOLE}\n{F}", WHOLE),
    "corrected by what is no Python": (f"{F}python\n{WHOLE}\n{F}\nor\n{F}python\ndef mean(xs):\n    ...(\n{F}", WHOLE),
    "imports apart": (f"{F}python\nimport math\n{F}\nthen\n{F}python\n{WHOLE}\n{F}", f"import math\n\n\n{WHOLE}"),
    "helper after": (
        f"{F}python\n{HELPED}\n{F}\nwith\n{F}python\ndef h():\n    pass\n{F}",
        f"{HELPED}\n\n\ndef h():\n    pass",
    ),
    "no helper after": (f"{F}python\n{WHOLE}\n{F}\nwith\n{F}python\ndef h():\n    pass\n{F}", WHOLE),
    "example of its use": (
        f"{F}python\n{WHOLE}\n{F}\n{F}python\nprint(mean([1]))\n{F}\n{F}py\nx = mean([2])\n{F}",
        WHOLE,
    ),
    "shell first": (f"{F}bash\npip install x\n{F}\n{F}python\n{WHOLE}\n{F}\n{F}text\n1.0\n{F}", WHOLE),
    "tests in the block": (f"{F}python\n{WHOLE}\n\nassert mean([1]) == 1\n{F}", WHOLE),
    "bare": (WHOLE, WHOLE),
    "bare within prose": (f"The mean is:\n\n{WHOLE}\n\nfrom which we see it.", WHOLE),
    "bare with imports": (f"Code:\nimport math\n\n{WHOLE}\nThat is all.", f"import math\n\n{WHOLE}"),
    "[PYTHON]": (f"[PYTHON]\n{WHOLE}\n[/PYTHON]\nDone", WHOLE),
    "[BEGIN]": (f"[BEGIN]\n{WHOLE}\n[DONE]", WHOLE),
    "<answer> around a fence": (f"<answer>\n{F}python\n{WHOLE}\n{F}\n</answer>", WHOLE),
    "a session": (
        f"{F}pycon\n>>> def mean(xs):\n...     return sum(xs) / len(xs)\n...\n>>> mean([1])\n1.0\n{F}",
        WHOLE,
    ),
    "thinking": (f"<think>\n{F}python\n{OTHER}\n{F}\n</think>\n{F}python\n{WHOLE}\n{F}", WHOLE),
    "thinking that the prompt began": (f"{F}python\n{OTHER}\n{F}\n</think>\n{F}python\n{WHOLE}\n{F}", WHOLE),
    "thinking without end": (f"<think>\n{F}python\n{OTHER}\n{F}\nbut", ""),
    "class Solution": (
        f"{F}python\nclass Solution:\n    def mean(self, xs):\n        return 1\n{F}",
        "class Solution:\n    def mean(self, xs):\n        return 1",
    ),
    "assigned": (f"{F}python\nmean = lambda xs: 1\nprint(mean([1]))\n{F}", "mean = lambda xs: 1"),
}


@pytest.mark.parametrize("form", FORMS)
def test_the_program_in_an_answer(form):
    answer, program = FORMS[form]
    assert answered(answer, "mean").strip("\n") == program


def test_a_block_begins_with_a_newline_and_a_body_keeps_its_indentation():
    assert answered(f"{F}python\n{WHOLE}\n{F}", "mean") == f"\n{WHOLE}"
    assert answered(f"{F}python\n    return 1\n{F}", "mean") == "\n    return 1"
    assert answered("    return 1\nSo it is.", "mean") == "    return 1"


def test_programs_that_read_standard_input():
    first, second = "n = int(input())\nprint(n)", "import sys\nprint(sys.stdin.read())"
    assert answered(f"{F}python\n{first}\n{F}\nRun:\n{F}\n1\n{F}", None) == f"\n{first}"
    assert answered(f"{F}python\n{first}\n{F}\nBetter:\n{F}python\n{second}\n{F}", None) == f"\n{second}"
    assert answered(f"{first}\n", None) == first


LINES = st.lists(
    st.sampled_from(["x = 1", "", "    y", "text", F, "~~~", f"    {F}", "`" * 4, f"  {F}", "a `b` c"]), max_size=6
)


@given(LINES, st.sampled_from([F, "~~~", "`" * 4, "~" * 5]), st.integers(0, 3))
def test_blocks_are_those_of_commonmark(lines, fence, indent):
    """What is in a block is what a reader of CommonMark says; the opening fence names the language."""
    markdown_it = pytest.importorskip("markdown_it")
    text = "\n".join(["Text.", "", " " * indent + fence + "python", *lines, fence])
    tokens = [token for token in markdown_it.MarkdownIt("commonmark").parse(text) if token.type == "fence"]
    assert answered(text, None) == "\n" + tokens[0].content.rstrip()


@given(st.text(alphabet="`~ \n#>.d[]<>/thinkPYTHONef()x:", max_size=60))
def test_any_text_has_an_answer(text):
    assert isinstance(answered(text, "f"), str) and isinstance(answered(text, None), str)
