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

from collections.abc import Callable, Iterator

from cycle_utils.execution.inside import plain

VALUE_LIMIT = 200  # characters of a value in feedback
FIELD_LIMIT = 4_000  # characters of a value in a TestResult
TIME_OUT = "time-out"
BARE = "Error: a test fails"  # of a program that fails, with nothing about how
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
    """``repr(value)`` piece by piece, however deep; a named tuple as the tuple that it is."""
    levels = [(None, iter([(value,)]))]  # of each container that is open: its id, and what is left of it
    while levels:
        for part in levels[-1][1]:
            if type(part) is str:
                yield part
                continue
            (item,) = part
            kind = tuple if plain.is_namedtuple(type(item)) else type(item)
            if kind not in _BRACKETS or (kind is set and not item):
                yield _leaf(item)
            elif any(id(item) == opened for opened, _ in levels):
                yield _BRACKETS[kind][0] + "..." + _BRACKETS[kind][1]
            else:
                levels.append((id(item), _parts(item, kind)))
                break
        else:
            levels.pop()


def _parts(value, kind: type) -> Iterator[str | tuple[object]]:
    """A container's ``repr`` as text and, each as a tuple of one, what is to be shown in its place."""
    yield _BRACKETS[kind][0]
    separator = ""
    for item in value.items() if kind is dict else value:
        yield separator
        separator = ", "
        if kind is dict:
            yield item[:1]
            yield ": "
            item = item[1]
        yield (item,)
    yield ",)" if kind is tuple and len(value) == 1 else _BRACKETS[kind][1]


class _Cut:
    """In the place of a container within itself, and of what is cut off anyway."""

    def __repr__(self) -> str:
        return "[...]"


class _Shown(plain.Flat):
    """A border for showing: no container within itself, and no more of them than a text has characters."""

    def __init__(self):
        super().__init__(empties=False)
        self._left, self._open = FIELD_LIMIT, set()

    def is_beyond(self, depth: int) -> bool:
        self._left -= 1
        return self._left < 0 or super().is_beyond(depth)

    def share(self, value: object, depth: int) -> object:
        return self._once(super().share, value, depth)

    def depart(self, value: object, depth: int) -> object:
        return self._once(super().depart, value, depth)

    def _once(self, describe: Callable, value: object, depth: int) -> object:
        if self._left < 0 or id(value) in self._open:
            return {"cut": None}
        self._open.add(id(value))
        data = describe(value, depth)
        self._open.remove(id(value))
        return data

    def arrive(self, kind: str, payload: object) -> object:
        return _Cut() if kind == "cut" else super().arrive(kind, payload)


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
        border = _Shown()
        found = plain.decode(plain.encode(value, border), border)
        return repr(found.item() if type(found).__module__ == "numpy" and not hasattr(found, "__len__") else found)
    except Exception:
        return f"<{type(value).__name__} object>"


def of_test(input: str, expected: str, actual: str | None, exception: str | None, line: str | None) -> str:
    """The feedback text of one test that did not pass, from the fields of its result."""
    shown = f"Input: {clip(input)}\nExpected: {clip(expected)}\n"
    return shown + (f"Actual: {clip(actual or '')}" if exception is None else of_error(exception, line))


def of_error(exception: str, line: str | None) -> str:
    """The feedback text of an exception, and of the line that it came from if that is known."""
    return f"Error: {clip(exception)}" + (f"\nLine: {clip(line)}" if line else "")
