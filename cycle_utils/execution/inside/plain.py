"""Plain data on the wire between candidate and judge.

A value crosses as JSON: what it is, never how it behaves. Types are checked exactly, so a subclass (whose
``__eq__``, ``__repr__`` or ``__reduce__`` may lie) is not taken for the type it imitates. JSON rather than pickle or
marshal, because reading it runs no code and cannot damage the reader.

``None``, ``bool``, ``str``, ``float``, small ``int`` and ``list`` are themselves; anything else is an object with one
key, its kind: ``{"tuple": [1, 2]}``. What no data can stand for is left to the *border* (:mod:`border`), the end of
the conversation that a value leaves or enters: :class:`Flat` knows such values by name only, equal to nothing.
"""

from __future__ import annotations

import base64
import importlib
import json
import re
import sys
from collections import Counter, OrderedDict, defaultdict, deque, namedtuple
from collections.abc import Callable
from functools import lru_cache

MAX_DEPTH = 150  # containers within containers; json.loads recurses about twice as deep
MAX_ITEMS = 100_000  # of an iterator over a container; a longer one is asked item by item
_SMALL = 1 << 63
_ATOMS = frozenset([int, float, str, bool, type(None)])

_SEQUENCES = {list: "list", tuple: "tuple", set: "set", frozenset: "frozenset"}
_MAPPINGS = {dict: "dict", OrderedDict: "OrderedDict", Counter: "Counter"}
_VIEWS = {type({}.keys()): "keys", type({}.values()): "values"}
_ATTRIBUTED = frozenset([OrderedDict, Counter])
MUTABLE = frozenset([list, set, dict, OrderedDict, Counter, defaultdict, deque, bytearray])
# Iterators that run no code of a program's: only over containers, of which they give what is there.
_ITERATORS = frozenset(type(iter(x)) for x in ([], (), "", "é", b"", {}, set(), range(0), range(1 << 70), {}.values()))
_SINGLETONS = {"Ellipsis": Ellipsis, "NotImplemented": NotImplemented}

# Library types and functions that cross by their names. None does anything when it is called but make a value.
_KNOWN = {
    "builtins": "bool bytearray bytes complex dict float frozenset int list object range set slice str tuple "
    "abs all any ascii bin callable chr divmod enumerate filter hex iter len map max min next oct ord pow repr "
    "reversed round sorted sum zip",
    "collections": "ChainMap Counter OrderedDict UserDict UserList UserString defaultdict deque",
    "collections.abc": "AsyncGenerator AsyncIterable AsyncIterator Awaitable Callable Collection Container Coroutine "
    "Generator Hashable ItemsView Iterable Iterator KeysView Mapping MappingView MutableMapping MutableSequence "
    "MutableSet Reversible Sequence Set Sized ValuesView",
    "datetime": "date datetime time timedelta timezone tzinfo",
    "decimal": "Decimal",
    "fractions": "Fraction",
    "enum": "Enum Flag IntEnum IntFlag StrEnum",
    "array": "array",
    "numbers": "Number Complex Real Rational Integral",
    "re": "Match Pattern",
    "types": "AsyncGeneratorType BuiltinFunctionType CoroutineType FunctionType GeneratorType MethodType ModuleType "
    "NoneType SimpleNamespace",
    "uuid": "UUID",
}


class Stranger:
    """Stands for a value that no data describe: a name, equal to nothing."""

    def __init__(self, name: str):
        self.name = name

    def __repr__(self) -> str:
        return f"<{self.name} object>"


class Flat:
    """A border that no object crosses.

    Attributes:
        met: the type name of an object that could not cross; ``None`` when there was none.
        empties: whether iterators over containers are used up, and cross by their items.
    """

    def __init__(self, empties: bool = True):
        self.met: str | None = None
        self.empties = empties

    def is_beyond(self, depth: int) -> bool:
        """Whether a container this deep is to :meth:`depart` as an object would."""
        return depth > MAX_DEPTH

    def share(self, value: object, depth: int) -> object:
        return content(value, self, depth)

    def depart(self, value: object, depth: int) -> object:
        """A value that is not plain: by its plain part, where it has one, else by the name of its type."""
        self.met = str(type(value).__name__)
        base = None if self.is_beyond(depth) else base_of(type(value))
        has_data = base is not None and base is not type(value)
        return content(value, self, depth, base) if has_data else {"object": self.met}

    def arrive(self, kind: str, payload: object) -> object:
        if kind == "object":
            return Stranger(str(payload))
        raise ValueError(f"no value is of the kind {kind!r}")


def encode(value: object, border: Flat, depth: int = 0) -> object:
    """``value`` as data that ``json.dumps`` takes. Never calls a method of a class that is not the library's."""
    kind = type(value)
    if kind is int:
        return value if -_SMALL < value < _SMALL else {"int": hex(value)}
    if value is None or kind is str or kind is bool or kind is float:
        return value
    if border.is_beyond(depth):
        return border.depart(value, depth)
    if kind in MUTABLE or (is_array(kind) and _is_plain_array(value)):
        return border.share(value, depth)
    return content(value, border, depth)


def content(value: object, border: Flat, depth: int, kind: type | None = None) -> object:
    """What is in ``value``, read as a ``kind`` (its own type, or the library's type that it derives from)."""
    kind = kind or type(value)
    if kind in _SEQUENCES:
        items = [encode(item, border, depth + 1) for item in kind.__iter__(value)]
        return items if kind is list else {_SEQUENCES[kind]: items}
    if kind in _MAPPINGS:
        items = _pairs_of(kind.items(value), border, depth)
        if own := attributes(value, kind):  # behind the pairs, so that the length is odd
            items.append({"dict": _pairs_of(own.items(), border, depth)})
        return {_MAPPINGS[kind]: items}
    if kind is defaultdict or kind is deque:
        limit = value.default_factory if kind is defaultdict else value.maxlen
        items = _pairs_of(kind.items(value), border, depth) if kind is defaultdict else _all(value, border, depth)
        return {kind.__name__: [encode(limit, border, depth + 1), items]}
    if kind is bytes or kind is bytearray:
        return {kind.__name__: kind.decode(value, "latin-1")}
    return _rare(value, kind, border, depth)


def attributes(value: object, kind: type) -> dict[str, object]:
    """What was set on a container whose type takes attributes (``OrderedDict``, ``Counter``), by name.

    Attributes that hide one of the type's own (``x.items = ...``) are left out: the type's methods would take their
    word. An object of a derived class answers for its attributes itself, and gives none here.
    """
    if type(value) is not kind or kind not in _ATTRIBUTED:
        return {}
    return {name: item for name, item in vars(value).items() if type(name) is str and not hasattr(kind, name)}


def set_attributes(value: object, kind: type, own: dict[str, object]) -> None:
    """Make ``own`` what :func:`attributes` gives."""
    for name in attributes(value, kind):
        del vars(value)[name]
    for name, item in own.items():
        if type(name) is str and not hasattr(kind, name):
            vars(value)[name] = item


def size_of(value: object) -> int:
    """Items and attributes in a container, counted without asking a class that is not the library's."""
    base = base_of(type(value))
    items = base.size.__get__(value) if base.__name__ == "ndarray" else base.__len__(value)
    return items + len(attributes(value, base))


def _all(items, border: Flat, depth: int) -> list:
    return [encode(item, border, depth + 1) for item in items]


def _pairs_of(pairs, border: Flat, depth: int) -> list:
    return [encode(part, border, depth + 1) for pair in pairs for part in pair]


def _rare(value: object, kind: type, border: Flat, depth: int) -> object:
    """The kinds that seldom occur, after the common ones are ruled out."""
    if kind is int or kind is float or kind is str:  # the plain part of a subclass
        return encode({int: int.__index__, float: float.__float__, str: str.__str__}[kind](value), border)
    if kind is complex:
        return {"complex": [complex.__dict__["real"].__get__(value), complex.__dict__["imag"].__get__(value)]}
    if kind is range:
        return {"range": _all((value.start, value.stop, value.step), border, depth)}
    if kind is slice:
        return {"slice": _all((value.start, value.stop, value.step), border, depth)}
    if kind in _VIEWS:
        return {_VIEWS[kind]: _all(value, border, depth)}
    if kind is type({}.items()):
        return {"items": _pairs_of(value, border, depth)}
    if border.empties and kind in _ITERATORS and kind.__length_hint__(value) <= MAX_ITEMS:
        return {"iterator": [kind.__name__, _all(value, border, depth)]}
    if value is Ellipsis or value is NotImplemented:
        return {"constant": str(value)}
    if is_namedtuple(kind):
        fields = [str(name) for name in kind._fields]
        return {"namedtuple": [str(kind.__name__), fields, _all(tuple.__iter__(value), border, depth)]}
    if type(value) in (type, type(len)) and (name := known_name(value)):
        return {"type": name}
    encoder = _LIBRARY.get((kind.__module__, kind.__name__)) if kind.__module__ in _LIBRARY_MODULES else None
    if encoder is not None and kind is _loaded(kind.__module__, kind.__name__):
        return {kind.__name__: _all(encoder(value), border, depth)}
    return _numpy(value, kind, border, depth)


def _loaded(module: str, name: str) -> type | None:
    """A type of a module that only a program which uses it has imported."""
    return getattr(sys.modules.get(module), name, None)


def _decimal_parts(value) -> tuple:
    return (_loaded("decimal", "Decimal").__str__(value),)


def _moment_parts(*names: str):
    return lambda value: tuple(getattr(value, name) for name in names)


_CLOCK = ("hour", "minute", "second", "microsecond", "tzinfo", "fold")
# Of types of the library, the arguments from which a value is rebuilt.
_LIBRARY = {
    ("decimal", "Decimal"): _decimal_parts,
    ("fractions", "Fraction"): _moment_parts("numerator", "denominator"),
    ("datetime", "date"): _moment_parts("year", "month", "day"),
    ("datetime", "time"): _moment_parts(*_CLOCK),
    ("datetime", "datetime"): _moment_parts("year", "month", "day", *_CLOCK),
    ("datetime", "timedelta"): _moment_parts("days", "seconds", "microseconds"),
    ("datetime", "timezone"): lambda value: value.__getinitargs__(),
    ("array", "array"): lambda value: (value.typecode, value.tobytes()),
    ("uuid", "UUID"): _moment_parts("int"),
    ("re", "Pattern"): _moment_parts("pattern", "flags"),
}


def parts(kind: type, value: object) -> tuple:
    """The arguments from which ``kind`` rebuilds its value."""
    make = _LIBRARY.get((kind.__module__, kind.__name__))
    if make is None:
        return (value,)
    arguments = make(value)
    return arguments[:-1] if kind.__name__ in ("time", "datetime") else arguments  # the fold has no place, only a name


_LIBRARY_MODULES = frozenset(module for module, _ in _LIBRARY)


def is_array(kind: type) -> bool:
    """Whether a type is an array of the library or of numpy: these change in place, too."""
    return kind.__name__ in ("array", "ndarray") and kind in (_loaded("array", "array"), _loaded("numpy", "ndarray"))


def _is_plain_array(array: object) -> bool:
    dtype = getattr(array, "dtype", None)  # of numpy's
    return dtype is None or dtype.kind == "O" or _PLAIN_DTYPE.match(dtype.str) is not None


def is_mutable(kind: type) -> bool:
    """Whether objects of a type hold plain data that may change."""
    base = base_of(kind)
    return base is not None and (base in MUTABLE or is_array(base))


def base_of(kind: type) -> type | None:
    """The type of plain data that a type is, or that a program's class derives from."""
    for base in type.__dict__["__mro__"].__get__(kind):
        name = (base.__module__, base.__name__)
        if base in _BASES or is_array(base) or (name in _LIBRARY and base is _loaded(*name)):
            return base
    return None


_BASES = frozenset([int, float, complex, str, bytes, *_SEQUENCES, *_MAPPINGS, *MUTABLE])


def known_name(kind: Callable) -> list[str] | None:
    """``[module, name]`` of a library type or function that both sides know."""
    module = kind.__module__
    for place in (module, "types") if module == "builtins" else (module,):
        for name in _KNOWN.get(place, "").split() if isinstance(place, str) else ():
            if _loaded(place, name) is kind:
                return [place, name]
    return None


def known_type(name: list) -> Callable:
    """The type or function behind :func:`known_name`.

    Raises:
        ValueError: there is none of that name.
    """
    module, name = name
    if name not in _KNOWN.get(module, "").split():
        raise ValueError("not a type that both sides know")
    return getattr(importlib.import_module(module), name)


def is_namedtuple(kind: type) -> bool:
    """A direct subclass of ``tuple`` with named fields, as ``collections.namedtuple`` makes it, and nothing more."""
    if type(kind) is not type or kind.__bases__ != (tuple,) or "_fields" not in kind.__dict__:
        return False
    fields = kind.__dict__["_fields"]
    own = {"_fields", "_make", "_replace", "_asdict", "_field_defaults", "__new__", "__repr__", "__getnewargs__"}
    own |= {"__doc__", "__slots__", "__match_args__", "__module__", "__orig_bases__", "__annotations__"}
    return type(fields) is tuple and kind.__dict__.keys() <= own | {name for name in fields if type(name) is str}


# -- numpy: scalars and arrays by type and bytes, so that they are on the other side what they are here ---------


_PLAIN_DTYPE = re.compile(r"[<>|=][biufcSUmM]\d+(\[\d*[a-zA-Zμ]+\])?\Z")


def _numpy(value: object, kind: type, border: Flat, depth: int) -> object:
    numpy = sys.modules.get("numpy")
    if numpy is not None and kind.__module__ == "numpy" and isinstance(kind, type):
        if kind is numpy.ndarray and value.dtype.kind == "O":
            return {"ndarray": ["O", list(value.shape), _all(value.ravel(), border, depth)]}
        if kind is numpy.ndarray or issubclass(kind, numpy.generic):
            name = value.dtype.str
            if _PLAIN_DTYPE.match(name):
                data = base64.b64encode(value.tobytes()).decode()
                return {"ndarray" if kind is numpy.ndarray else "scalar": [name, list(value.shape), data]}
    return border.depart(value, depth)


def _array(payload: list, border: Flat) -> object:
    """An array where there is numpy, else a value that cannot be carried: numpy is no dependency of the judge."""
    try:
        import numpy
    except ImportError:
        return Stranger("ndarray")
    name, shape, data = payload
    if name == "O":
        array = numpy.empty(len(data), dtype=object)
        array[:] = _fill(numpy, decode(data, border))
        return array.reshape(shape)
    if not isinstance(name, str) or not _PLAIN_DTYPE.match(name):
        raise ValueError("not the type of a plain array")
    return numpy.frombuffer(bytearray(base64.b64decode(data)), dtype=name).reshape(shape)


def _fill(numpy, items: list) -> object:
    """Items for an array of objects, however alike their lengths: numpy would take lists for more dimensions."""
    filled = numpy.empty(len(items), dtype=object)
    for index, item in enumerate(items):
        filled[index] = item
    return filled


def _scalar(payload: list, border: Flat) -> object:
    array = _array(payload, border)
    return array if isinstance(array, Stranger) else array[()]


# -- the other side ------------------------------------------------------------------------------------------------


def _pairs(flat: list, border: Flat) -> list:
    flat = decode(flat, border)
    return list(zip(flat[::2], flat[1::2]))


def _attributed(kind: type):
    """A maker of mappings that take attributes, which come behind the pairs."""

    def made(flat: list, border: Flat) -> object:
        value = kind(dict(_pairs(flat[: len(flat) // 2 * 2], border)))
        set_attributes(value, kind, decode(flat[-1], border) if len(flat) % 2 else {})
        return value

    return made


def _exact_ints(payload: object) -> list:
    """Integers, and nothing but: ``Fraction("1e999999999")`` would fill the judge's memory."""
    numbers = decode(payload, Flat())
    if not all(type(number) is int or number is None for number in numbers):
        raise ValueError("not integers")
    return numbers


def _decimal(payload: list, border: Flat) -> object:
    (text,) = payload
    if type(text) is not str:
        raise ValueError("not a number's text")
    return importlib.import_module("decimal").Decimal(text)


def _moment(name: str):
    """A maker of dates, times and spans, which check their arguments themselves; a time zone comes last but one."""

    def made(payload: list, border: Flat) -> object:
        parts = decode(payload, border)
        fold = {"fold": parts.pop()} if name in ("time", "datetime") else {}
        return getattr(importlib.import_module("datetime"), name)(*parts, **fold)

    return made


def _typed_array(payload: list, border: Flat) -> object:
    code, data = decode(payload, border)
    if type(code) is not str or type(data) is not bytes:
        raise ValueError("not an array")
    return importlib.import_module("array").array(code, data)


@lru_cache(maxsize=1000)
def _namedtuple_type(name: str, fields: tuple[str, ...]) -> type:
    return namedtuple(name, fields)


def _namedtuple(payload: list, border: Flat) -> tuple:
    name, fields, items = payload
    return _namedtuple_type(name, tuple(fields))(*decode(items, border))


class Iterated:
    """An iterator over a container on the other side: its items, once."""

    def __init__(self, name: str, items: list):
        self.name, self._items = name, iter(items)

    def __iter__(self) -> Iterated:
        return self

    def __next__(self):
        return next(self._items)

    def __repr__(self) -> str:
        return f"<{self.name} object>"


_DECODERS = {
    "int": lambda payload, border: int(payload, 16),
    "list": lambda payload, border: decode(payload, border),
    "tuple": lambda payload, border: tuple(decode(payload, border)),
    "set": lambda payload, border: set(decode(payload, border)),
    "frozenset": lambda payload, border: frozenset(decode(payload, border)),
    "deque": lambda payload, border: deque(decode(payload[1], border), payload[0]),
    "dict": lambda payload, border: dict(_pairs(payload, border)),
    "OrderedDict": _attributed(OrderedDict),
    "defaultdict": lambda payload, border: defaultdict(decode(payload[0], border), _pairs(payload[1], border)),
    "Counter": _attributed(Counter),
    "bytes": lambda payload, border: payload.encode("latin-1"),
    "bytearray": lambda payload, border: bytearray(payload.encode("latin-1")),
    "complex": lambda payload, border: complex(float(payload[0]), float(payload[1])),
    "range": lambda payload, border: range(*_exact_ints(payload)),
    "slice": lambda payload, border: slice(*decode(payload, border)),
    "Decimal": _decimal,
    "Fraction": lambda payload, border: importlib.import_module("fractions").Fraction(*_exact_ints(payload)),
    "keys": lambda payload, border: dict.fromkeys(decode(payload, border)).keys(),
    "values": lambda payload, border: dict(enumerate(decode(payload, border))).values(),
    "items": lambda payload, border: dict(_pairs(payload, border)).items(),
    "iterator": lambda payload, border: Iterated(str(payload[0]), decode(payload[1], border)),
    "constant": lambda payload, border: _SINGLETONS[payload],
    "namedtuple": _namedtuple,
    "type": lambda payload, border: known_type(payload),
    "date": _moment("date"),
    "time": _moment("time"),
    "datetime": _moment("datetime"),
    "timedelta": _moment("timedelta"),
    "timezone": _moment("timezone"),
    "array": _typed_array,
    "UUID": lambda payload, border: importlib.import_module("uuid").UUID(int=_exact_ints(payload)[0]),
    "Pattern": lambda payload, border: importlib.import_module("re").compile(*decode(payload, border)),
    "ndarray": _array,
    "scalar": _scalar,
}


def decode(data: object, border: Flat) -> object:
    """The value that :func:`encode` wrote as ``data``, rebuilt from plain types.

    Raises:
        ValueError, TypeError, KeyError, AttributeError, RecursionError, ArithmeticError: ``data`` is nothing that
            ``encode`` makes.
    """
    if type(data) is list:
        return [item if type(item) in _ATOMS else decode(item, border) for item in data]
    if type(data) is not dict:
        return data
    ((kind, payload),) = data.items()
    decoder = _DECODERS.get(kind)
    return border.arrive(kind, payload) if decoder is None else decoder(payload, border)


def dumps(value: object) -> str:
    """``value``, encoded for a border that no object crosses, as JSON text."""
    return json.dumps(encode(value, Flat()))


def loads(text: str) -> object:
    """The value behind :func:`dumps`' text; raises as :func:`decode` does."""
    return decode(json.loads(text), Flat())
