"""Feedback as text: what a model is shown of one failing test.

The format is stable, since models are trained on it. One line each, in this order:

- wrong value: ``Input: f([3, 1], 2)``, ``Expected: [1, 3]``, ``Actual: [3, 1]``;
- exception: ``Input: ...``, ``Expected: ...``, ``Error: KeyError: 'price'``, ``Line: return row['price']``;
- time-out: ``Input: ...``, ``Expected: ...``, ``Error: time-out``;
- crash: ``Input: ...``, ``Expected: ...``, ``Error: crashed (out of memory)``;
- no test could run: ``Error: SyntaxError: invalid syntax``, ``Line: return (``.

Values are shown as ``repr`` shows them, from plain data, never by a candidate's own ``__repr__``. Texts of
stdin tasks stand as they are, on as many lines as they have. Each value is clipped at ``VALUE_LIMIT``
characters, ending in ``...``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from cycle_utils.execution.inside import plain

if TYPE_CHECKING:
    from cycle_utils.execution.verdict import TestResult, Verdict

VALUE_LIMIT = 200  # characters of a value in feedback
FIELD_LIMIT = 4_000  # characters of a value in a TestResult
TIME_OUT = "time-out"
TESTS = "tests"  # the name of the module that the tests' own code is in


def clip(text: str, limit: int = VALUE_LIMIT) -> str:
    """``text``, or its beginning and ``...``: at most ``limit`` characters."""
    return text if len(text) <= limit else text[: limit - 3] + "..."


def show(value: object, limit: int = FIELD_LIMIT) -> str:
    """``repr(value)``, clipped at ``limit`` characters, in time that does not grow with what is cut off."""
    if type(value) in (int, bool, float, type(None)) and not _is_long(value):
        return repr(value)
    parts, size = [], 0
    for part in _pieces(value):
        parts.append(part)
        size += len(part)
        if size > limit:
            break
    return clip("".join(parts), limit)


def _is_long(value: object) -> bool:
    return type(value) is int and value.bit_length() > 4 * FIELD_LIMIT


_BRACKETS = {list: "[]", tuple: "()", set: "{}", dict: "{}"}


def _pieces(value: object) -> Iterator[str]:
    """``repr(value)`` piece by piece; a named tuple as the tuple that it is."""
    kind = tuple if plain.is_namedtuple(type(value)) else type(value)
    if kind not in _BRACKETS or (kind is set and not value):
        yield _leaf(value)
        return
    opening, closing = _BRACKETS[kind]
    yield opening
    separator = ""
    for item in value.items() if kind is dict else value:
        yield separator
        separator = ", "
        if kind is dict:
            yield from _pieces(item[0])
            yield ": "
            item = item[1]
        yield from _pieces(item)
    yield ",)" if kind is tuple and len(value) == 1 else closing


def _leaf(value: object) -> str:
    """``repr`` of what holds no others; the beginning of it when it is long."""
    if type(value) in (str, bytes):
        return repr(value[:FIELD_LIMIT])
    if _is_long(value):
        return f"<integer of {value.bit_length()} bits>"
    if type(value) in (int, bool, float, type(None)):
        return repr(value)
    return _shown_plain(value)


def _shown_plain(value: object) -> str:
    """The plain data in a value, as ``repr`` shows them: no object of a program is asked how it looks."""
    if type(value).__module__ == TESTS:
        return repr(value)
    try:
        found = plain.decode(plain.encode(value, plain.Flat(empties=False)), plain.Flat())
        return repr(found.item() if type(found).__module__ == "numpy" and not hasattr(found, "__len__") else found)
    except Exception:
        return f"<{type(value).__name__} object>"


def of_test(test: TestResult) -> str:
    """The feedback text of one test that did not pass."""
    lines = [f"Input: {clip(test.input)}", f"Expected: {clip(test.expected)}"]
    if test.exception is None:
        lines.append(f"Actual: {clip(test.actual or '')}")
    else:
        lines += _error_lines(test.exception, test.line)
    return "\n".join(lines)


def of_verdict(verdict: Verdict, index: int | None = None) -> str:
    """The feedback text of test ``index`` (default: the first that did not pass); ``""`` if it passed.

    Raises:
        IndexError: the verdict has no test ``index``.
    """
    if verdict.error is not None:
        return "\n".join(_error_lines(verdict.error, verdict.line))
    if index is None:
        index = next((i for i, test in enumerate(verdict.tests) if not test.passed), None)
        if index is None:
            return ""
    if not -len(verdict.tests) <= index < len(verdict.tests):
        raise IndexError(f"test {index} of {verdict.task_id}: it has {len(verdict.tests)} tests, counted from 0.")
    return "" if verdict.tests[index].passed else of_test(verdict.tests[index])


def _error_lines(exception: str, line: str | None) -> list[str]:
    lines = [f"Error: {clip(exception)}"]
    if line:
        lines.append(f"Line: {clip(line)}")
    return lines
