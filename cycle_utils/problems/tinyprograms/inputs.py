"""The inputs: how the arguments of a call are drawn, as source text."""

from __future__ import annotations

import ast
import random
from collections.abc import Mapping

from cycle_utils.problems.tinyprograms.slots import AMOUNT, LABEL

WORDS = (
    "ant", "apple", "bee", "bird", "boat", "cat", "clay", "cloud", "dog", "dust", "ear", "egg", "elm", "fig",
    "fish", "fox", "goat", "hen", "ice", "ink", "ivy", "jam", "kite", "lamp", "leaf", "mint", "moon", "nest",
    "oak", "owl", "pear", "pine", "rain", "rose", "sand", "snow", "star", "tree", "urn", "vine", "wolf", "yak",
)  # fmt: skip
_AMOUNTS = tuple(ast.literal_eval(v.code) for v in AMOUNT.values)
_LABELS = tuple(ast.literal_eval(v.code) for v in LABEL.values)


def _ints(rng: random.Random, low: int, high: int, count: tuple[int, int]) -> list[int]:
    return [rng.randint(low, high) for _ in range(rng.randint(*count))]


def _words(rng: random.Random, low: int, high: int) -> list[str]:
    return rng.sample(WORDS, rng.randint(low, high))


def _records(rng: random.Random, code: str, fillers: tuple[str, ...], draw, low: int) -> list[dict]:
    """Rows that hold the wanted key and one other field, in either order."""
    key = ast.literal_eval(code)
    other = rng.choice([f for f in fillers if f != key])
    rows = []
    for _ in range(rng.randint(low, 3)):
        fields = [(key, draw(rng)), (other, rng.choice(WORDS) if fillers is _LABELS else rng.randint(1, 19))]
        rng.shuffle(fields)
        rows.append(dict(fields))
    return rows


def _callback(rng: random.Random, code: str) -> str:
    """Source of a callback that takes the arguments which this call passes."""
    k = rng.randint(2, 9)
    parameters, body = {
        "$fn($x)": ("a", f"a + {k}"),
        "$fn($i, $x)": ("i, a", f"a - i * {k}"),
        "$fn($x, $i, $xs)": ("a, i, xs", f"a + i + {k} * len(xs)"),
        "$fn()": ("", str(k)),
    }[code]
    return f"lambda {parameters}: {body}".replace("lambda :", "lambda:")


def draw_arguments(kind: str, rng: random.Random, code: Mapping[str, str]) -> tuple[str, ...]:
    """Source of one call's arguments; ``code`` maps each slot to its code (records must hold the right key)."""
    match kind:
        case "numbers":
            return (repr(_ints(rng, -9, 19, (4, 6))),)
        case "few_numbers":
            return (repr(_ints(rng, 0, 9, (3, 4))),)
        case "many_numbers":
            return (repr(_ints(rng, 0, 9, (5, 8))),)
        case "numbers_or_few":
            return (repr(_ints(rng, -9, 19, (4, 5) if rng.random() < 0.6 else (0, 1))),)
        case "words":
            return (repr(_words(rng, 3, 4)),)
        case "text":
            return (repr("".join(rng.choice(WORDS) for _ in range(rng.randint(1, 2))) if rng.random() < 0.6
                         else rng.choice(("", "a", "e", "t", "zz", "b"))),)  # fmt: skip
        case "records":
            return (repr(_records(rng, code["key"], _AMOUNTS, lambda r: r.randint(1, 19), 2)),)
        case "records_or_none":
            low = 2 if rng.random() < 0.7 else 0
            rows = _records(rng, code["key"], _AMOUNTS, lambda r: r.randint(1, 19), low) if low else []
            return (repr(rows),)
        case "labels":
            return (repr(_records(rng, code["key"], _LABELS, lambda r: r.choice(WORDS), 2)),)
        case "matrix":
            return (repr([_ints(rng, 0, 9, (2, 3)) for _ in range(rng.randint(2, 3))]),)
        case "callback":
            return (repr(_ints(rng, -9, 19, (3, 5))), _callback(rng, code["call"]))
        case "dicts":
            keys = rng.sample("abcdefg", 4)
            return tuple(repr({k: rng.randint(1, 9) for k in chosen}) for chosen in (keys[:3], keys[1:]))
        case "integer":
            # Short numbers and repeated digits, so that now and then no digit is kept and the fallback shows. Never
            # 0, which has one digit as text and none by division.
            return (rng.choice((str(rng.randint(1, 99999)), str(rng.randint(1, 9)), str(rng.randint(1, 9)) * 3)),)
        case "table":
            words = _words(rng, 3, 3)
            known = rng.sample(words, rng.randint(1, 2))
            return (repr(words), repr({w: rng.randint(1, 9) for w in known}))
    raise ValueError(f"no way to draw arguments of kind {kind!r}")
