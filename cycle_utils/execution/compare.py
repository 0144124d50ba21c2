"""When an answer is right: printed text by tokens, returned values by equality of plain data."""

from __future__ import annotations

import math
import re

REL_TOLERANCE = 1e-5  # of printed floats: APPS compares with numpy.allclose, whose defaults these are
ABS_TOLERANCE = 1e-8

_INTEGER = re.compile(r"[-+]?\d+\Z")
_FLOAT = re.compile(r"[-+]?(?:\d+\.\d*|\.\d+|\d+(?=[eE]))(?:[eE][-+]?\d{1,6})?\Z")


def same_output(actual: str, expected: str) -> bool:
    """Whether two outputs agree token by token, whatever the white space between the tokens."""
    left, right = actual.split(), expected.split()
    return len(left) == len(right) and all(map(_same_token, left, right))


def _same_token(left: str, right: str) -> bool:
    """Equal texts, equal integers (of any length, digit by digit), or floats within the tolerances."""
    if left == right:
        return True
    if _INTEGER.match(left) and _INTEGER.match(right):
        return _canonical(left) == _canonical(right)
    if _is_number(left) and _is_number(right):
        return math.isclose(float(left), float(right), rel_tol=REL_TOLERANCE, abs_tol=ABS_TOLERANCE)
    return False


def _is_number(token: str) -> bool:
    return bool(_FLOAT.match(token) or _INTEGER.match(token))


def _canonical(integer: str) -> tuple[bool, str]:
    """Sign and digits without leading zeros; zero has no sign."""
    digits = integer.lstrip("+-").lstrip("0")
    return integer[0] == "-" and digits != "", digits


def same_value(actual: object, expected: object) -> bool:
    """Equality for call-based tasks, whose tests come from JSON: tuples count as lists."""
    return bool(_listed(actual) == _listed(expected))


def _listed(value: object) -> object:
    if type(value) in (list, tuple):
        return [_listed(item) for item in value]
    if type(value) is dict:
        return {key: _listed(item) for key, item in value.items()}
    return value
