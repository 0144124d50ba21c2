"""The program in a chat model's answer.

Such a model was asked for one fenced block of Markdown. What it gives is read by CommonMark's rule for fences
(https://spec.commonmark.org, "Fenced code blocks"): three or more backticks or tildes, closed by as many or more of the
same at no more than three columns deeper, so that a fence in a docstring closes nothing. Beyond the rule are read: a
fence after text on its line, a closing one at the end of the last line of code, all of it on one line, tags such as
``[PYTHON]``, interactive sessions, and code without any fence. What a model thinks aloud is no part of its answer.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass, field

from cycle_utils.models.programs import is_defined, parsed, trim

_LANGUAGES = ("", "python", "py", "python3", "py3", "pycon", "python-repl", "{python}", "{.python}")
_THOUGHT = re.compile(r"<(think|thinking|thought|reasoning)>.*?(?:</\1>|\Z)", re.DOTALL)
_END_OF_THOUGHT = re.compile(r".*</(?:think|thinking|thought|reasoning)>", re.DOTALL)  # opened by the prompt itself
_TAGGED = re.compile(
    r"\[(PYTHON|ANSWER|CODE)\]\s*?\n?(.*?)(?:\[/\1\]|\Z)|\[BEGIN\]\s*?\n?(.*?)(?:\[DONE\]|\[END\]|\Z)"
    r"|<(answer|code|solution)>\s*?\n?(.*?)(?:</\4>|\Z)",
    re.DOTALL,
)
_FENCE = re.compile(r"(?P<indent>[ \t]*)(?P<fence>`{3,}|~{3,})[ \t]*(?P<info>.*?)[ \t]*\Z")
_BEHIND_TEXT = re.compile(r"[^`~]*\S[ \t]*(?P<fence>`{3,}|~{3,})[ \t]*(?P<info>[\w.{}-]*)[ \t]*\Z")
_ONE_LINE = re.compile(r"`{3,}(?:python3?|py)?[ \t]+(\S.*?)[ \t]*`{3,}[ \t]*\Z")
_READS = re.compile(r"\binput\s*\(|\bstdin\b|\bopen\s*\(\s*0\b|\bfileinput\b")
_CODE_LINE = re.compile(r"(?:def|class|import|from|async def)\s+\w|@\w")
_LONGEST_PROSE = 200  # lines of an answer without fences in which code is looked for
_PLAIN = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Assign, ast.AnnAssign)


def answered(answer: str, entry_point: str | None, prompt: str = "") -> str:
    """The program in a chat model's answer, as a completion: it begins with a newline where it stood in a block.

    Of several blocks, the last that defines the entry point counts, with those that only import and define what it may
    need; a program that reads standard input is the last block that does. Without a definition of the entry point it is
    the first block: a body that continues the prompt, or ``class Solution``.

    Args:
        entry_point: the function that is asked for; ``None`` for a program that reads standard input.
        prompt: of the problem; what it defines needs no definition in the answer.

    Returns:
        The program; ``""`` where the model was still thinking when its answer was cut off.
    """
    blocks = [block.code for block in _python_blocks(_said(answer))]
    if not blocks:
        return _bare(_said(answer), entry_point, prompt)
    if entry_point is None:
        reading = [block for block in blocks if _READS.search(block)]
        return "\n" + (reading[-1] if reading else blocks[0]).rstrip()
    return trim("\n" + _joined(blocks, entry_point), entry_point, prompt)


def is_answered(answer: str, entry_point: str | None, prompt: str = "") -> bool:
    """Whether an answer holds a closed block with a program: what a model says after it is seldom another one.

    A model that would correct itself after its first program is not waited for.
    """
    blocks = [block.code for block in _python_blocks(_said(answer)) if block.is_closed]
    if entry_point is None:
        return any(_READS.search(block) for block in blocks)
    return any(is_defined(block, entry_point) and parsed(block) for block in blocks)


def _said(answer: str) -> str:
    """An answer without what the model thought aloud."""
    return _END_OF_THOUGHT.sub("", _THOUGHT.sub("", answer.replace("\r\n", "\n")))


# -- blocks ------------------------------------------------------------------------------------------------------------


@dataclass
class _Block:
    """A fenced block that is being read."""

    indent: int
    fence: str
    info: str
    lines: list[str] = field(default_factory=list)
    is_closed: bool = False

    def is_closed_by(self, found: re.Match) -> bool:
        fence = found["fence"]
        is_like = fence[0] == self.fence[0] and len(fence) >= len(self.fence)
        deepest = 3 if self.indent <= 3 else self.indent + 3  # within a list item, counted from its own margin
        return is_like and not found["info"] and _width(found["indent"]) <= deepest

    def add(self, line: str) -> None:
        """A line of the block, less the indentation of its fence."""
        stripped = line.lstrip(" \t")
        self.lines.append(line[min(self.indent, len(line) - len(stripped)) :])

    @property
    def text(self) -> str:
        """The code; a closing fence at the end of its last line is not part of it."""
        text = "\n".join(self.lines)
        return text if self.is_closed else text.rstrip().removesuffix(self.fence)

    @property
    def code(self) -> str:
        """What was typed, where the code is an interactive session; any other code as it stands."""
        if not self.text.lstrip().startswith(">>>"):
            return self.text
        typed = [line.lstrip() for line in self.text.split("\n") if line.lstrip().startswith((">>>", "..."))]
        return "\n".join(line[4:] if line[3:4] == " " else line[3:] for line in typed)


def _width(indent: str) -> int:
    return len(indent.expandtabs(4))


def _python_blocks(answer: str) -> list[_Block]:
    """All blocks that are or may be Python, in order; those of that language only, where there are any."""
    tagged = [text for found in _TAGGED.finditer(answer) if (text := found[2] or found[3] or found[5])]
    blocks = [block for text in tagged for block in _fenced(text) or [_Block(0, "", "python", text.split("\n"), True)]]
    blocks = blocks or _fenced(answer)
    named = [block for block in blocks if block.info in _LANGUAGES[1:]]
    return named or [block for block in blocks if block.info in _LANGUAGES]


def _fenced(answer: str) -> list[_Block]:
    """The fenced blocks of an answer; the last may have been cut off."""
    blocks: list[_Block] = []
    current: _Block | None = None
    for line in answer.split("\n"):
        found = _FENCE.match(line)
        if current is not None:
            if found and current.is_closed_by(found):
                current.is_closed, current = True, None
            elif found and _is_language(found["info"]) and _width(found["indent"]) <= current.indent:
                current = _opened(blocks, found)  # the block before it was closed at the end of its last line, or never
            else:
                current.add(line)
        elif one := _ONE_LINE.search(line):
            blocks.append(_Block(0, "", "python", [one[1]], True))
        elif found and "`" not in found["info"]:
            current = _opened(blocks, found)
        elif behind := _BEHIND_TEXT.match(line):
            current = _Block(0, behind["fence"], behind["info"].lower())
            blocks.append(current)
    return blocks


def _opened(blocks: list[_Block], found: re.Match) -> _Block:
    info = (found["info"].split() or [""])[0].lower()
    blocks.append(_Block(_width(found["indent"]), found["fence"], info))
    return blocks[-1]


def _is_language(info: str) -> bool:
    return bool(info) and info.lower() in _LANGUAGES


# -- from blocks to a program ------------------------------------------------------------------------------------------


def _joined(blocks: list[str], entry_point: str) -> str:
    """One program of the blocks: the last that defines the entry point, and those that it may need."""
    defining = [i for i, block in enumerate(blocks) if is_defined(block, entry_point)]
    if not defining:
        return blocks[0]
    whole = [i for i in defining if parsed(blocks[i])]
    answer = (whole or defining)[-1]
    others = {i for i, block in enumerate(blocks) if i not in defining and _only_defines(block, entry_point)}
    kept = sorted({answer, *others})
    return "\n\n\n".join(blocks[i].strip("\n") for i in kept)


def _only_defines(block: str, entry_point: str) -> bool:
    """Whether a block imports and defines, and does nothing with the entry point: it is no example of its use."""
    tree = parsed(block)
    if tree is None or not tree.body or not all(isinstance(node, _PLAIN) for node in tree.body):
        return False
    return not any(isinstance(node, ast.Name) and node.id == entry_point for node in ast.walk(tree))


def _bare(answer: str, entry_point: str | None, prompt: str) -> str:
    """The program in an answer without fences: the longest piece that is Python and defines the entry point.

    Where there is none, the answer is taken as what continues the prompt, from its first line of code.
    """
    if entry_point is None:
        return answer.rstrip()
    lines = answer.split("\n")
    starts = [i for i, line in enumerate(lines) if _CODE_LINE.match(line)] if len(lines) <= _LONGEST_PROSE else []
    for start in starts:
        for end in range(len(lines), start, -1):
            piece = "\n".join(lines[start:end])
            if lines[end - 1].strip() and is_defined(piece, entry_point) and parsed(piece):
                return trim("\n" + piece if start else piece, entry_point, prompt)
    begin = next(iter(starts), 0) if is_defined(answer, entry_point) else 0
    return trim("\n".join(lines[begin:]), entry_point, prompt)
