"""The program in a chat model's answer.

Such a model was asked for one fenced block of Markdown. What it gives is read by CommonMark's rule for fences
(https://spec.commonmark.org, "Fenced code blocks"): three or more backticks or tildes, closed by as many or more of the
same at no more than three columns deeper, so that a fence in a docstring closes nothing. Beyond the rule are read: a
fence behind text on its line, a closing one behind the last line of code, all of it on one line, tags such as
``[PYTHON]``, interactive sessions, and code without any fence. What a model thinks aloud is no part of its answer.
"""

from __future__ import annotations

import ast
import re
import warnings
from dataclasses import dataclass, field

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


def answered(answer: str, entry_point: str | None) -> str:
    """The program in a chat model's answer, as a completion: it begins with a newline where it stood in a block.

    Of several blocks, the last that defines the entry point counts, with those that only import and define what it may
    need; a program that reads standard input is the last block that does. Without a definition of the entry point it is
    the first block: a body that continues the prompt, or ``class Solution``.

    Args:
        entry_point: the function that is asked for; ``None`` for a program that reads standard input.

    Returns:
        The program; ``""`` where the model was still thinking when its answer was cut off.
    """
    answer = _THOUGHT.sub("", answer.replace("\r\n", "\n"))
    answer = _END_OF_THOUGHT.sub("", answer)
    blocks = [_unsessioned(block) for block in _python_blocks(answer)]
    if not blocks:
        return _bare(answer, entry_point)
    if entry_point is None:
        reading = [block for block in blocks if _READS.search(block)]
        return "\n" + (reading[-1] if reading else blocks[0]).rstrip()
    return "\n" + _joined(blocks, entry_point).rstrip()


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
        """The code; a closing fence behind its last line is none of it."""
        text = "\n".join(self.lines)
        return text if self.is_closed else text.rstrip().removesuffix(self.fence)


def _width(indent: str) -> int:
    return len(indent.expandtabs(4))


def _python_blocks(answer: str) -> list[str]:
    """The texts of all blocks that are or may be Python, in order; those of that language only, where there are any."""
    tagged = [text for found in _TAGGED.finditer(answer) if (text := found[2] or found[3] or found[5])]
    blocks = [block for text in tagged for block in _fenced(text) or [_Block(0, "", "python", text.split("\n"), True)]]
    blocks = blocks or _fenced(answer)
    named = [block.text for block in blocks if block.info in _LANGUAGES[1:]]
    return named or [block.text for block in blocks if block.info in _LANGUAGES]


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
                current = _opened(blocks, found)  # the block before it was closed behind its last line, or never
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


def _unsessioned(code: str) -> str:
    """What was typed in an interactive session; any other code as it stands."""
    if not code.lstrip().startswith(">>>"):
        return code
    typed = [line.lstrip() for line in code.split("\n") if line.lstrip().startswith((">>>", "..."))]
    return "\n".join(line[4:] if line[3:4] == " " else line[3:] for line in typed)


# -- from blocks to a program ------------------------------------------------------------------------------------------


def _tree(code: str) -> ast.Module | None:
    try:
        with warnings.catch_warnings(action="ignore"):
            return ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _defines(code: str, entry_point: str) -> bool:
    """Whether code defines the function: as one, by assignment, or as a method of ``class Solution``."""
    name = re.escape(entry_point)
    return re.search(rf"^(?:(?:async[ \t]+)?def[ \t]+{name}\b|{name}[ \t]*=)", code, re.MULTILINE) is not None or (
        re.search(rf"^class[ \t]+Solution\b.*^[ \t]+(?:async[ \t]+)?def[ \t]+{name}\b", code, re.MULTILINE | re.DOTALL)
        is not None
    )


def _joined(blocks: list[str], entry_point: str) -> str:
    """One program of the blocks: the last that defines the entry point, and those that it may need."""
    defining = [i for i, block in enumerate(blocks) if _defines(block, entry_point)]
    if not defining:
        return _body(blocks[0]) if blocks[0][:1].isspace() else blocks[0]
    whole = [i for i in defining if _tree(blocks[i]) is not None]
    answer = (whole or defining)[-1]
    others = {i for i, block in enumerate(blocks) if i not in defining and _only_defines(block, entry_point)}
    kept = sorted({answer, *others})
    return "\n\n\n".join(_without_rest(blocks[i], entry_point).strip("\n") for i in kept)


def _only_defines(block: str, entry_point: str) -> bool:
    """Whether a block imports and defines, and does nothing with the entry point: it is no example of its use."""
    tree = _tree(block)
    if tree is None or not tree.body or not all(isinstance(node, _PLAIN) for node in tree.body):
        return False
    return not any(isinstance(node, ast.Name) and node.id == entry_point for node in ast.walk(tree))


def _body(block: str) -> str:
    """A body that continues the prompt: it ends before the first line that is not indented."""
    lines = block.split("\n")
    end = next((i for i, line in enumerate(lines) if i and line.strip() and not line[0].isspace()), len(lines))
    return "\n".join(lines[:end])


def _without_rest(code: str, entry_point: str) -> str:
    """A program without what follows the definitions: examples, tests, a main part."""
    tree = _tree(code)
    if tree is None:
        return code
    found = [i for i, node in enumerate(tree.body) if _binds(node, entry_point)]
    rest = tree.body[found[-1] + 1 :] if found else []
    end = next((node.lineno for node in rest if not isinstance(node, _PLAIN)), None)
    return code if end is None else "\n".join(code.split("\n")[: end - 1])


def _binds(node: ast.stmt, name: str) -> bool:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return node.name == name
    if isinstance(node, ast.ClassDef):
        return any(_binds(inner, name) for inner in node.body)
    targets = node.targets if isinstance(node, ast.Assign) else []
    return any(isinstance(target, ast.Name) and target.id == name for target in targets)


def _bare(answer: str, entry_point: str | None) -> str:
    """The program in an answer without fences: the longest piece that is Python and defines the entry point.

    Where there is none, the answer is taken as what continues the prompt.
    """
    if entry_point is None:
        return answer.rstrip()
    lines = answer.split("\n")
    if len(lines) <= _LONGEST_PROSE:
        starts = [i for i, line in enumerate(lines) if _CODE_LINE.match(line)]
        for start in starts:
            for end in range(len(lines), start, -1):
                piece = "\n".join(lines[start:end])
                if not lines[end - 1].strip() or not _defines(piece, entry_point):
                    continue
                if _tree(piece) is not None:
                    program = _without_rest(piece, entry_point).rstrip()
                    return "\n" + program if start else program
    if not _defines(answer, entry_point) and not _indented(answer):
        return answer.rstrip()
    return _body(answer).rstrip() if _indented(answer) else _cut_after_definition(answer)


def _indented(text: str) -> bool:
    """Whether the first line that holds something is indented."""
    first = next((line for line in text.split("\n") if line.strip()), "")
    return first[:1].isspace()


def _cut_after_definition(answer: str) -> str:
    """Code that is no Python as it stands, such as one that was cut off: kept from its first line of code."""
    lines = answer.split("\n")
    start = next((i for i, line in enumerate(lines) if _CODE_LINE.match(line)), 0)
    return "\n".join(lines[start:]).rstrip()
