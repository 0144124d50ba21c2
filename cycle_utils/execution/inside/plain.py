"""Plain data on the wire between candidate and judge.

A candidate's result crosses as JSON: what it is, never how it behaves. Types are checked exactly, so a
subclass (whose ``__eq__``, ``__repr__`` or ``__reduce__`` may lie) is not taken for the type it imitates.
JSON rather than pickle or marshal, because reading it runs no code and cannot damage the reader.

``None``, ``bool``, ``str``, ``float``, small ``int`` and ``list`` are themselves; anything else is an object
with one key, its kind: ``{"tuple": [1, 2]}``. Kinds outside the tables below cross as ``opaque``: a name and
a truth value, equal to nothing.
"""

from __future__ import annotations

import importlib
import json
import sys
from collections import Counter, OrderedDict, defaultdict, deque

MAX_DEPTH = 150  # containers within containers; json.loads recurses about twice as deep
MAX_ITEMS = 100_000  # taken from an iterator, which may have no end
_SMALL = 1 << 63

_SEQUENCES = {list: None, tuple: "tuple", set: "set", frozenset: "frozenset", deque: "deque"}
_MAPPINGS = {dict: "dict", OrderedDict: "OrderedDict", defaultdict: "defaultdict", Counter: "Counter"}
_VIEWS = {type({}.keys()): "keys", type({}.values()): "values"}
_ITERATORS = frozenset(
    [type(iter(x)) for x in ([], (), "", "é", b"", {}, set(), range(0), range(1 << 70), {}.values(), {}.items())]
    + [type(x for x in ()), map, filter, zip, enumerate, reversed, type(reversed([])), type(reversed({}))]
)


class Opaque:
    """Stands for a value that is not plain. Equal to nothing but itself; true or false as the candidate said."""

    def __init__(self, name: str, truth: bool):
        self.name, self.truth = name, truth

    def __bool__(self) -> bool:
        return self.truth

    def __repr__(self) -> str:
        return f"<{self.name} object>"


class Iterated:
    """Stands for an iterator: its items, once, then the end or the exception that cut it short."""

    def __init__(self, name: str, items: list, error: str | None):
        self.name, self.error, self._items = name, error, iter(items)

    def __iter__(self) -> Iterated:
        return self

    def __next__(self):
        for item in self._items:
            return item
        if self.error:
            raise RuntimeError(self.error)
        raise StopIteration

    def __repr__(self) -> str:
        return f"<{self.name} object>"


def encode(value: object, depth: int = 0) -> object:
    """``value`` as data that ``json.dumps`` takes. Never calls a method of a class that is not the library's."""
    kind = type(value)
    if kind is int:
        return value if -_SMALL < value < _SMALL else {"int": hex(value)}
    if value is None or kind is str or kind is bool or kind is float:
        return value
    if depth > MAX_DEPTH:
        return _opaque(value)
    if kind in _SEQUENCES:
        items = [encode(item, depth + 1) for item in value]
        return items if kind is list else {_SEQUENCES[kind]: items}
    if kind in _MAPPINGS:
        return {_MAPPINGS[kind]: [encode(part, depth + 1) for pair in kind.items(value) for part in pair]}
    return _encode_rare(value, kind, depth)


def _encode_rare(value: object, kind: type, depth: int) -> object:
    """The kinds that seldom occur, after :func:`encode` has ruled out the common ones."""
    if kind is bytes or kind is bytearray:
        return {kind.__name__: value.decode("latin-1")}
    if kind is complex:
        return {"complex": [value.real, value.imag]}
    if kind is range:
        return {"range": [encode(value.start), encode(value.stop), encode(value.step)]}
    if kind is _loaded("decimal", "Decimal"):
        return {"Decimal": str(value)}
    if kind is _loaded("fractions", "Fraction"):
        return {"Fraction": [encode(value.numerator), encode(value.denominator)]}
    if kind in _VIEWS:
        return {_VIEWS[kind]: [encode(item, depth + 1) for item in value]}
    if kind is type({}.items()):
        return {"items": [encode(part, depth + 1) for pair in value for part in pair]}
    if kind in _ITERATORS or kind.__module__ == "itertools":
        return _encode_iterator(value, kind, depth)
    if _is_namedtuple(kind):
        return {"tuple": [encode(item, depth + 1) for item in tuple.__iter__(value)]}
    return _encode_numpy(value, kind, depth)


def _loaded(module: str, name: str) -> type | None:
    """A type of a module that only a program which uses it has imported."""
    return getattr(sys.modules.get(module), name, None)


def _is_namedtuple(kind: type) -> bool:
    """A direct subclass of ``tuple`` with named fields, whose comparison and iteration are tuple's own."""
    if type(kind) is not type or kind.__bases__ != (tuple,):
        return False
    return "_fields" in kind.__dict__ and not {"__eq__", "__ne__", "__iter__"} & kind.__dict__.keys()


def _encode_iterator(value: object, kind: type, depth: int) -> object:
    """An iterator is used up here: its items cross, and what stopped it, should it not end by itself."""
    items, error = [], None
    try:
        for item in value:
            if len(items) == MAX_ITEMS:
                error = f"the judge takes at most {MAX_ITEMS} items from an iterator"
                break
            items.append(encode(item, depth + 1))
    except Exception as problem:
        error = f"{type(problem).__name__} while iterating"
    return {"iterator": [kind.__name__, items, error]}


def _encode_numpy(value: object, kind: type, depth: int) -> object:
    """numpy's scalars as Python's, its arrays by their nested lists; anything else is opaque."""
    numpy = sys.modules.get("numpy")
    if numpy is not None and kind.__module__ == "numpy":
        if kind is numpy.ndarray and value.dtype.kind in "biufc":
            return {"ndarray": [value.dtype.str, encode(value.tolist(), depth + 1)]}
        if issubclass(kind, numpy.generic) and value.dtype.kind in "biufcSU":
            return encode(value.item(), depth + 1)
    return _opaque(value)


def _opaque(value: object) -> object:
    try:
        truth = bool(value)
    except Exception:
        truth = True
    return {"opaque": [str(type(value).__name__), truth]}


def _pairs(flat: list) -> list:
    return list(zip(flat[::2], flat[1::2]))


def _exact_int(value: object) -> int:
    """``value``, if it is an integer: ``Fraction("1e999999999")`` would fill the judge's memory."""
    if type(value) is not int:
        raise ValueError("not an integer")
    return value


def _ndarray(payload: list) -> object:
    """An array where the judge has numpy, else an opaque value: numpy is no dependency of the judge."""
    try:
        import numpy
    except ImportError:
        return Opaque("ndarray", True)
    kind, nested = payload
    if not isinstance(kind, str) or len(kind) > 4 or kind[1:2] not in "biufc":
        raise ValueError("not the type of a plain array")
    return numpy.array(nested, dtype=kind)


_DECODERS = {
    "int": lambda payload: int(payload, 16),
    "tuple": tuple,
    "set": set,
    "frozenset": frozenset,
    "deque": deque,
    "dict": lambda payload: dict(_pairs(payload)),
    "OrderedDict": lambda payload: OrderedDict(_pairs(payload)),
    "defaultdict": lambda payload: defaultdict(None, _pairs(payload)),
    "Counter": lambda payload: Counter(dict(_pairs(payload))),
    "bytes": lambda payload: payload.encode("latin-1"),
    "bytearray": lambda payload: bytearray(payload.encode("latin-1")),
    "complex": lambda payload: complex(float(payload[0]), float(payload[1])),
    "range": lambda payload: range(*payload),
    "Decimal": lambda payload: importlib.import_module("decimal").Decimal(payload),
    "Fraction": lambda payload: importlib.import_module("fractions").Fraction(*map(_exact_int, payload)),
    "keys": lambda payload: dict.fromkeys(payload).keys(),
    "values": lambda payload: dict(enumerate(payload)).values(),
    "items": lambda payload: dict(_pairs(payload)).items(),
    "iterator": lambda payload: Iterated(str(payload[0]), list(payload[1]), payload[2]),
    "ndarray": _ndarray,
    "opaque": lambda payload: Opaque(str(payload[0]), bool(payload[1])),
}


def _decode_object(found: dict) -> object:
    ((kind, payload),) = found.items()
    return _DECODERS[kind](payload)


def dumps(value: object) -> str:
    """``value``, encoded, as JSON text."""
    return json.dumps(encode(value))


_read = json.JSONDecoder(object_hook=_decode_object).decode


def loads(text: str) -> object:
    """The value behind :func:`dumps`' text, rebuilt from plain types.

    Raises:
        ValueError, TypeError, KeyError, AttributeError, RecursionError: ``text`` is nothing that ``dumps`` makes.
    """
    return _read(text)
