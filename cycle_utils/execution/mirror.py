"""What the tests see of objects that stay in the candidate's process.

A class of the program has a *mirror* here: a class of the same name and with mirrored bases, so that ``isinstance``,
``except`` and ``type(x).__name__`` work as written. Its instances ask the program for their attributes and methods
(:mod:`inside.objects` answers). Objects that hold plain data hold it here, too: a mirrored ``class Stack(list)`` is a
list, an ``IntEnum`` an integer.

Comparisons are made here, on plain data, so that an object that lies gains nothing by it:

- an object never equals plain data, but by the plain data that it holds itself;
- two objects of the program whose class defines ``==`` are equal when they say so *and* hold equal attributes;
- ``x in obj`` looks at the items that iteration gives, not at ``__contains__``;
- an operator with a plain operand (``obj - 5``) may give an object but no plain data: the operand could be the
  expected value, and the answer made from it.
"""

from __future__ import annotations

import collections
import dataclasses
import enum
import functools
import importlib
import io
import operator
import random
import re
import sys
import types
from collections.abc import Callable

from cycle_utils.execution.inside import plain
from cycle_utils.execution.inside.border import LENT_OPERATORS, LENT_REVERSED, Border, fill

_BORDER = "__border_of_the_judge__"


def cannot_carry(name: str, why: str = "") -> TypeError:
    """The exception that refuses a value of the program, in its own terms."""
    return TypeError(f"the judge cannot carry a value of type {name}{why}")


class Reference:
    """An object of the program by its number, where there is nothing here to stand for it."""

    def __init__(self, number: int):
        self.number = number


class Mirror(type):
    """The class of mirrored classes: calling one makes an object in the program's process."""

    def __new__(mirror, name, bases, space, **options):
        """A class that the tests derive from one of the program's."""
        border = next(type.__getattribute__(base, _BORDER) for base in bases if isinstance(base, Mirror))
        return border.derived(name, bases, space, options)

    def __init__(cls, name, bases, space, **options):
        type.__init__(cls, name, bases, space)

    def __call__(cls, *args, **kwargs):
        return _ask(cls, "call", cls, args, tuple(kwargs.items()))

    def __getattr__(cls, name):
        if name.startswith("__") and name.endswith("__") and name not in _CLASS_ATTRIBUTES:
            raise AttributeError(f"type object {cls.__name__!r} has no attribute {name!r}")
        return _ask(cls, "getattr", cls, name)

    def __setattr__(cls, name, value):
        if name.startswith("__") or name.startswith("_abc_"):
            type.__setattr__(cls, name, value)
        else:
            _ask(cls, "setattr", cls, name, value)

    def __getitem__(cls, key):
        return _ask(cls, "getitem", cls, key)

    def __iter__(cls):
        return _ask(cls, "iter", cls)

    def __len__(cls):
        return _ask(cls, "len", cls)


_CLASS_ATTRIBUTES = ("__annotations__", "__match_args__")


# Methods of plain data that compare it with their argument: the answer of an object would be taken at its word.
_COMPARING = frozenset(["startswith", "endswith", "issubset", "issuperset", "isdisjoint"])


class Kept:
    """What all mirrored objects do; see the module's text."""

    __slots__ = ()

    def __getattr__(self, name):
        if name in _COMPARING:
            raise cannot_carry(type(self).__name__)
        return _ask(type(self), "getattr", self, name)

    def __setattr__(self, name, value):
        _ask(type(self), "setattr", self, name, value)

    def __delattr__(self, name):
        _ask(type(self), "delattr", self, name)

    def __copy__(self):
        return _unary("copy")(self)

    def __deepcopy__(self, memo):
        return _unary("deepcopy")(self)


def _ask(mirror: type, what: str, *arguments: object) -> object:
    return type.__getattribute__(mirror, _BORDER).ask(what, *arguments)


def is_mirrored(value: object) -> bool:
    """Whether a value stands for an object of the program."""
    return hasattr(type(value), _BORDER) or isinstance(value, Mirror)


def _same(self, other) -> bool:
    if self is other:
        return True
    if not is_mirrored(other) or plain.base_of(type(other)):
        return NotImplemented
    said = _ask(type(self), "equal", self, other) is True
    if said and _ask(type(self), "attributes", self) != _ask(type(self), "attributes", other):
        raise cannot_carry(type(self).__name__, ": it is equal to what holds other data")
    return said


def _alike_hash(self) -> int:
    return hash(type(self).__name__)


def _ordered(what: str):
    def compare(self, other):
        if not is_mirrored(other):
            return NotImplemented
        return _ask(type(self), what, self, other) is True

    return compare


def _unary(what: str):
    def convert(self, *arguments):
        border = type.__getattribute__(type(self), _BORDER)
        if border.number(self) in border.tainted:
            raise cannot_carry(type(self).__name__, ", made by an operator,")
        return border.ask(what, self, *arguments)

    return convert


def _binary(what: str, is_reversed: bool = False):
    def operate(self, other):
        border = type.__getattribute__(type(self), _BORDER)
        result = border.ask(what, other, self) if is_reversed else border.ask(what, self, other)
        if not is_mirrored(other):
            if not is_mirrored(result):
                raise cannot_carry(type(self).__name__, f" through the operator {what!r}")
            border.tainted.add(border.number(result))
        return result

    return operate


def _by_name(name: str):
    """A special method that is asked for by its name and then called."""
    return lambda self, *args, **kwargs: _ask(type(self), "getattr", self, name)(*args, **kwargs)


def _leaving(name: str):
    """The end of a ``with`` block: its exception goes to the program, the traceback does not."""
    return lambda self, kind, error, _: _ask(type(self), "getattr", self, name)(kind, error, None)


def _awaited(self):
    return finished(type.__getattribute__(type(self), _BORDER), self).__await__()


def _no_membership(self, item):
    raise cannot_carry(type(self).__name__, " whose items cannot be listed")


_ORDERS = "lt le gt ge"
_QUESTIONS = (
    "len iter next str repr bool format bytes abs round int float complex reversed index neg pos invert getitem "
    "setitem delitem aiter"
)
_OPERATORS = "add sub mul truediv floordiv mod pow matmul and or xor lshift rshift divmod"
_CALLS = "enter aenter anext dir"
# How the special methods that a class of the program defines are answered here.
_SPECIALS: dict[str, Callable] = {
    "__call__": lambda self, *args, **kwargs: _ask(type(self), "call", self, args, tuple(kwargs.items())),
    "__eq__": _same,
    "__await__": _awaited,
    **{f"__{name}__": _ordered(name) for name in _ORDERS.split()},
    **{f"__{name}__": _unary(name) for name in _QUESTIONS.split()},
    **{f"__{name}__": _by_name(f"__{name}__") for name in _CALLS.split()},
    **{f"__{name}__": _leaving(f"__{name}__") for name in ("exit", "aexit")},
}
for _name in _OPERATORS.split():
    _what = f"{_name}_" if _name in ("and", "or") else _name
    _SPECIALS |= {f"__{_name}__": _binary(_what), f"__r{_name}__": _binary(_what, True)}
    if _name != "divmod":
        _SPECIALS[f"__i{_name}__"] = _binary(f"i{_name}")
# A mirror that holds plain data compares, counts and shows it by itself; of these it asks all the same.
_ASKED_OF_DATA = {"__call__", "__str__", "__repr__", "__format__", "__getitem__", "__enter__", "__exit__"}


class _Forward:
    """An attribute of a class that holds plain data, where the program's class has one of its own."""

    def __init__(self, name: str):
        self._name = name

    def __get__(self, instance, owner=None):
        return _ask(owner, "getattr", owner if instance is None else instance, self._name)


class _Above:
    """What a class that the tests derive inherits from the program's under a name; so ``super()`` finds it, too."""

    def __init__(self, name: str):
        self._name, self.kind = name, None

    def __get__(self, instance, owner=None):
        value = owner if instance is None else instance
        heirs = owner.__mro__[: owner.__mro__.index(self.kind) + 1]
        if any(self._name in vars(heir) for heir in heirs):  # overridden: somebody asks for what is above
            return _ask(owner, "above", self.kind, value, self._name)
        return _ask(owner, "getattr", value, self._name)


class _Fields:
    """The fields of a data class, as ``dataclasses`` looks for them: their names are the program's."""

    def __get__(self, instance, owner):
        names = [str(name) for name in _ask(owner, "getattr", owner, "__dataclass_fields__")]
        return dataclasses.make_dataclass("Fields", names).__dataclass_fields__


def finished(border: Outside, awaitable: object):
    """A coroutine that awaits one in the program's process; both event loops go on meanwhile, by turns."""

    async def wait():
        task = border.ask("start", awaitable)
        asyncio = sys.modules.get("asyncio")
        if asyncio is not None and asyncio._get_running_loop() is not None:
            await asyncio.sleep(0)
        return border.ask("finish", task)

    return wait()


async def _items(border: Outside, iterator: Reference):
    """An asynchronous generator over one in the program's process."""
    while True:
        try:
            item = border.ask("anext", iterator)
        except StopAsyncIteration:
            return
        yield item


def _generated(border: Outside, iterator: Reference):
    """A generator that has one in the program's process go on, step by step, never further than it is asked."""
    step = ("next", iterator)
    while True:
        try:
            value = border.ask(*step)
        except StopIteration as end:
            return end.value
        try:
            step = ("send", iterator, (yield value))
        except GeneratorExit:
            border.ask("close", iterator)
            raise
        except BaseException as error:
            step = ("throw", iterator, error)


_FLOWS = {types.GeneratorType: _generated, types.CoroutineType: finished, types.AsyncGeneratorType: _items}
_BEHIND_ITSELF = {"__border_of_the_judge__", "__class__", "__dict__", "__new__", "__init__", "__slots__", "__weakref__"}


class Outside(Border):
    """The judge's end of the border.

    Args:
        ask: has the candidate do something: ``ask(what, *arguments)``, with the value that comes back.
        space: the tests' own names; functions and classes defined there may be handed to the program.

    Attributes:
        tainted: numbers of objects that an operator made from plain data of the tests.
    """

    def __init__(self, ask: Callable, space: dict):
        super().__init__(first=2)
        self.ask, self._space = ask, space
        self.tainted: set[int] = set()
        self._guests: set[int] = set()
        self._stand_ins: dict[type, type] = {}
        self._own: dict[type, list[str]] = {}  # of mirrored classes, the names that the program's class defines

    # -- in: what the program says is only believed as far as it builds something harmless -----------------------

    def arrive(self, kind: str, payload: object) -> object:
        if kind == "shared":
            return self.received(*payload)
        if kind in ("class", "type"):
            return self._class({kind: payload})
        if kind == "kept":
            return self._kept[payload[0]] if len(payload) == 1 else self._object(*payload)
        if kind == "exception":
            return self._kept[payload[0]] if len(payload) == 1 else self._exception(*payload)
        return super().arrive(kind, payload)

    def _new_number(self, number: object) -> int:
        if type(number) is not int or number % 2 == 0 or number in self._kept:
            raise ValueError("not a new number")
        return number

    def _object(self, number: int, class_data: dict, data: object) -> object:
        self._new_number(number)
        kind = self._class(class_data)
        if isinstance(kind, enum.EnumMeta):
            value = kind(plain.decode(data, self))
        elif kind in _FLOWS:
            value = _FLOWS[kind](self, Reference(number))
        elif not isinstance(kind, Mirror):
            value = object.__new__(self._stand_in(kind))
        else:
            value = self._filled(kind, number, data)
        self.keep(value, number)
        if data is not None and isinstance(kind, Mirror) and plain.is_mutable(kind):
            fill(value, plain.decode(data, self))
            self.watch(number, value, data)
        return value

    def _filled(self, kind: type, number: int, data: object) -> object:
        """An object of a mirrored class; with its plain data where that never changes."""
        base = plain.base_of(kind)
        if base is None:
            return object.__new__(kind)
        if base in plain.MUTABLE:
            return base.__new__(kind)
        value = plain.decode(data, self)
        if type(value) is not base:
            raise ValueError("not the data of its class")
        return base.__new__(kind, *plain.parts(base, value))

    def _class(self, data: dict) -> type:
        ((how, payload),) = data.items()
        if how == "type":
            return _library_type(*payload)
        if len(payload) == 1:
            return self._kept[payload[0]]
        number, name, bases, own, members = payload
        self._new_number(number)
        bases = [self._class(base) for base in bases]
        kind = self._mirrored(str(name), bases, [str(attribute) for attribute in own], members)
        self.keep(kind, number)
        return kind

    def _mirrored(self, name: str, bases: list[type], own: list[str], members: list | None) -> type:
        if members is not None:
            return self._enumeration(name, bases, own, members)
        abstract = [base for base in bases if type(base) is not type and not isinstance(base, Mirror)]
        concrete = [base for base in bases if base not in abstract and base is not object]
        if not any(isinstance(base, Mirror) for base in concrete):
            concrete = [Kept, *concrete]
        holds_data = any(plain.base_of(base) or issubclass(base, BaseException) for base in concrete)
        space = {_BORDER: self, "__slots__": (), "__module__": "__main__", **_attributes(own, holds_data)}
        space["__doc__"] = _Forward("__doc__")
        if "__dataclass_fields__" in own:
            space["__dataclass_fields__"] = _Fields()
        if any(issubclass(base, BaseException) for base in concrete):
            del space["__slots__"]
            space |= {"__setattr__": BaseException.__setattr__, "__str__": _message}
        kind = type.__new__(Mirror, name, tuple(concrete), space)
        for base in abstract:
            base.register(kind)
        self._own[kind] = own
        return kind

    def derived(self, name: str, bases: tuple[type, ...], space: dict, options: dict) -> type:
        """A class of the tests with bases of the program's, which has a class of its own over there.

        Its methods stay here. Between it and its bases is a layer through which ``super()`` asks the program.

        Raises:
            TypeError: it has a base or a member that cannot be there.
        """
        if not all(isinstance(base, Mirror) or _library_name(base) for base in bases):
            raise cannot_carry(name, ", of which not all bases are the program's")
        if "__new__" in space:
            raise cannot_carry(name, ", which makes its objects itself")
        known = (*_BEHIND_ITSELF, *_OF_EACH_CLASS)
        own = {key for base in bases for kind in base.__mro__ for key in self._own.get(kind, ())}
        above = {key for key in own if not key.startswith("__") or key in space} - set(known)
        layer = {key: _Above(key) for key in above | {"__init__"}}
        between = type.__new__(Mirror, name, bases, {_BORDER: self, "__slots__": (), **layer})
        kind = type.__new__(Mirror, name, (between,), space)
        for one in layer.values():
            one.kind = kind
        members = [
            (key, *_member(name, item))
            for key, item in space.items()
            if key not in _OF_EACH_CLASS and not (key == "__slots__" and not item)
        ]
        self.ask("derive", self.keep(kind), name, bases, members, tuple(options.items()))
        return kind

    def _enumeration(self, name: str, bases: list[type], own: list[str], members: list) -> type:
        """A real ``Enum`` of the same members; what methods it has are asked of the program."""
        base = next(base for base in reversed(bases) if isinstance(base, enum.EnumMeta))
        mixed = [kind for kind in bases if kind is not base]
        members = [(str(key), plain.decode(value, self)) for key, value in members]
        kind = base(name, members, module="__main__", **({"type": mixed[0]} if mixed else {}))
        type.__setattr__(kind, _BORDER, self)
        taken = {key for key, _ in members} | {attribute for attribute in own if attribute.startswith("_")}
        for attribute in set(own) - taken:
            type.__setattr__(kind, attribute, _Forward(attribute))
        for attribute in {"__str__", "__format__", "__call__"} & set(own):
            type.__setattr__(kind, attribute, _SPECIALS[attribute])
        return kind

    def _stand_in(self, real: type) -> type:
        """A mirrored class for objects of a library type, which pass for that type."""
        if real not in self._stand_ins:
            space = {_BORDER: self, "__slots__": (), **_attributes(dir(real), False)}
            space |= {"__class__": property(lambda self: real), "__doc__": _Forward("__doc__")}
            self._stand_ins[real] = type.__new__(Mirror, real.__name__, (Kept,), space)
        return self._stand_ins[real]

    def _exception(
        self, number: int, class_data: dict, args: object, message: str, attributes: object, cause: dict | None
    ) -> BaseException:
        self._new_number(number)
        kind, args = self._class(class_data), plain.decode(args, self)
        if not issubclass(kind, BaseException):
            raise ValueError("not an exception")
        error = _instance(kind, args)
        self.keep(error, number)
        for name, value in plain.decode(attributes, self).items():
            if type(name) is str and not name.startswith("__"):
                error.__dict__[name] = value
        if isinstance(kind, Mirror):
            error.__dict__[_MESSAGE] = str(message)
        if cause is not None:
            error.__cause__ = plain.decode(cause, self)
        return error

    # -- out -----------------------------------------------------------------------------------------------------

    def depart(self, value: object, depth: int) -> object:
        number = value.number if isinstance(value, Reference) else self.number(value)
        if number is not None and number not in self._guests:
            return {"kept": [number]}
        if isinstance(value, enum.Enum) and (number := self.number(type(value))) is not None:
            return {"member": [number, plain.encode(value.value, self)]}
        if isinstance(value, BaseException):
            kind = type(value)
            return {"error": [kind.__module__, kind.__name__, plain.encode(list(value.args), self)]}
        if name := _library_name(value):
            return {"function": name}
        what = self._guest_kind(value)
        if what is None:
            raise cannot_carry(type(value).__name__)
        number = self.keep(value)
        self._guests.add(number)
        return {"guest": [number, getattr(value, "__name__", type(value).__name__), what]}

    def _guest_kind(self, value: object) -> str | None:
        """What the program may do with an object of the tests; ``None`` where it is to have nothing of it."""
        if isinstance(value, types.FunctionType):
            return "function" if value.__globals__ is self._space else None
        if isinstance(value, types.BuiltinMethodType):
            return "function" if type(value.__self__) in plain.MUTABLE | _LENT else None
        if isinstance(value, _CALLABLE):
            return "function"
        if is_mirrored(value):
            return None
        if isinstance(value, types.MethodType):
            return "function" if self._guest_kind(value.__self__) == "object" else None
        if isinstance(value, type):
            return "function" if value.__module__ == self._space["__name__"] else None
        if type(value).__module__ == self._space["__name__"] or type(value) in _LENT:
            return "object"
        return "iterator" if hasattr(value, "__next__") else None

    def serve(self, number: int, what: str, arguments: list) -> object:
        """Do what the program asks of an object of the tests: no more than that kind of object allows.

        Raises:
            ValueError: it asks for something else.
        """
        if number not in self._guests:
            raise ValueError("not an object of the tests")
        value = self._kept[number]
        kind = self._guest_kind(value)
        allowed = {"function": ("call",), "iterator": ("next",), "object": tuple(_SERVICES)}[kind]
        if what not in allowed or (what.endswith("attr") and not _may_be_asked_for(arguments[0])):
            raise ValueError("not to be asked of an object of the tests")
        return _SERVICES[what](value, *arguments)


_CALLABLE = (functools.partial, operator.itemgetter, operator.attrgetter, operator.methodcaller)
# Objects of the library that the tests may lend to the program: all that these can do is of no harm here.
_LENT = frozenset([re.Match, io.StringIO, io.BytesIO, random.Random, types.SimpleNamespace, collections.ChainMap])


def _may_be_asked_for(name: object) -> bool:
    return type(name) is str and not name.startswith("__")


def _swapped(operate: Callable, value: object, other: object) -> object:
    return operate(other, value)


_SERVICES: dict[str, Callable] = {
    "call": lambda value, args, pairs: value(*args, **dict(pairs)),
    "exit": lambda value, error: value.__exit__(None if error is None else type(error), error, None),
    "next": next, "getattr": getattr, "setattr": setattr, "len": len, "iter": iter, "str": str, "repr": repr,
    "bool": bool, "format": format, "abs": abs, "round": round, "int": int, "float": float, "hash": hash,
    "reversed": reversed, "enter": lambda value: value.__enter__(),
    "getitem": operator.getitem, "setitem": operator.setitem, "delitem": operator.delitem,
    "contains": operator.contains, "neg": operator.neg, "pos": operator.pos, "invert": operator.invert,
    **{name: getattr(operator, name) for name in LENT_OPERATORS},
    **{f"r{name}": functools.partial(_swapped, getattr(operator, name)) for name in LENT_REVERSED},
}  # fmt: skip


def _attributes(own: list[str], holds_data: bool) -> dict:
    """What a mirror defines for the names that the program's class defines."""
    names = set(own) - _BEHIND_ITSELF
    if not holds_data:
        found = {name: _SPECIALS[name] for name in names & _SPECIALS.keys()}
        if "__eq__" in names:
            found["__hash__"] = _alike_hash
        if "__contains__" in names and not {"__iter__", "__getitem__"} & names:
            found["__contains__"] = _no_membership
        return found
    specials = {name: _SPECIALS[name] for name in names & _ASKED_OF_DATA}
    if "__missing__" in names:
        specials["__getitem__"] = _SPECIALS["__getitem__"]
    return specials | {name: _Forward(name) for name in names - _COMPARING if not name.startswith("__")}


# Entries of every class, which say nothing about it that the program needs.
_IN_EACH_CLASS = (
    "__module__ __qualname__ __doc__ __classcell__ __firstlineno__ __static_attributes__ __annotations__ __annotate__ "
    "__annotate_func__ __annotations_cache__ __orig_bases__"
)
_OF_EACH_CLASS = frozenset(_IN_EACH_CLASS.split())


def _member(name: str, item: object) -> tuple:
    """A member of a class as its kind and what is in it."""
    if isinstance(item, (staticmethod, classmethod)):
        return type(item).__name__, item.__func__
    if type(item) is property:
        return "property", item.fget, item.fset, item.fdel
    if hasattr(type(item), "__get__") and not isinstance(item, types.FunctionType):
        raise cannot_carry(name, f", with a {type(item).__name__} in it")
    return "", item


def _library_type(module: str, name: str) -> type:
    """A type that both sides know, or an exception of the library.

    Raises:
        ValueError: it is neither.
    """
    kind = getattr(sys.modules.get(module), name, None)
    if isinstance(kind, type) and issubclass(kind, BaseException):
        return kind
    try:
        return plain.known_type([module, name])
    except ValueError:
        if module in _ERROR_MODULES and name.isidentifier():
            kind = getattr(importlib.import_module(module), name, None)
            if isinstance(kind, type) and issubclass(kind, BaseException):
                return kind
        raise


# Modules whose exceptions programs raise; imported when one arrives.
_ERROR_MODULES = (
    "json.decoder",
    "decimal",
    "re",
    "sre_constants",
    "zipfile",
    "queue",
    "statistics",
    "asyncio.exceptions",
)


def _library_name(value: object) -> list[str] | None:
    """``[module, name]`` of a function or class of the library, by which the program's process finds its own."""
    owner = getattr(value, "__objclass__", None) or (
        value.__self__ if isinstance(getattr(value, "__self__", None), type) else value
    )
    module, name = getattr(owner, "__module__", None), getattr(value, "__qualname__", None)
    if not isinstance(module, str) or not isinstance(name, str) or module not in sys.modules:
        return None
    found = sys.modules[module]
    for part in name.split("."):
        found = getattr(found, part, None)
    return [module, name] if found is value or (found == value and callable(value)) else None


_MESSAGE = "__message_of_the_program__"


def _message(self) -> str:
    return self.__dict__.get(_MESSAGE, "")


def _instance(kind: type, args: list) -> BaseException:
    """An exception of that class and with these arguments, without running what the program's class defines."""
    base = next(base for base in kind.__mro__ if base.__module__ == "builtins")
    try:
        made = base(*args)
    except Exception:  # its class takes other arguments than it keeps
        made = None
    if kind is base and made is not None:
        return made
    error = base.__new__(kind, *args) if not issubclass(kind, BaseExceptionGroup) else base.__new__(kind, *made.args)
    error.args = tuple(args)
    for name in ("errno", "strerror", "filename", "name", "obj", "value", "code"):
        if made is not None and hasattr(made, name):
            try:
                setattr(error, name, getattr(made, name))
            except (AttributeError, TypeError):
                continue
    return error
