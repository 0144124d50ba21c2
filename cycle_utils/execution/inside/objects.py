"""The candidate's end of the border: describes objects that stay here, and does with them what the judge asks.

All that it says of an object is the candidate's own word. The judge compares nothing by it: equality is decided
over there, on plain data.
"""

from __future__ import annotations

import builtins
import operator
import sys
import types

import border
import plain


class Inside(border.Border):
    """Objects of the program by number.

    Args:
        space: the program's global names.
        ask_back: has the judge do something with an object of the tests, ``ask_back(number, what, *arguments)``.
    """

    def __init__(self, space: dict, ask_back):
        super().__init__(first=1)
        self._space, self._ask_back = space, ask_back

    # -- out -----------------------------------------------------------------------------------------------------

    def depart(self, value: object, depth: int) -> object:
        """An object by its number and, the first time, what it is."""
        if (number := self.number(value)) is not None:
            return {"class" if isinstance(value, type) else "kept": [number]}
        kind = type(value)
        if isinstance(value, type):
            return self._class(value)
        if issubclass(kind, BaseException):
            return self.exception(value)
        number, described = self.keep(value), self._class(kind)  # in the order in which the judge reads them
        base = plain.base_of(kind)
        data = None
        enum = sys.modules.get("enum")
        if enum is not None and isinstance(value, enum.Enum):
            data = plain.encode(value._value_, self)
        elif base is not None and base is not kind and depth <= plain.MAX_DEPTH:
            data = plain.content(value, self, depth, base)
            if plain.is_mutable(kind):
                self.watch(number, value, data)
        return {"kept": [number, described, data]}

    def _class(self, kind: type) -> object:
        """A class: by name where both sides know it, else by its bases and the names that it defines."""
        if name := plain.known_name(kind) or _exception_name(kind):
            return {"type": name}
        if (number := self.number(kind)) is not None:
            return {"class": [number]}
        number = self.keep(kind)
        bases = [self._class(base) for base in kind.__bases__ if base is not object]
        own = [name for name in vars(kind) if type(name) is str]
        return {"class": [number, str(kind.__name__), bases, own, self._members(kind)]}

    def _members(self, kind: type) -> list | None:
        """Names and values of an ``Enum``."""
        enum = sys.modules.get("enum")
        if enum is None or not isinstance(kind, enum.EnumMeta):
            return None
        return [[str(name), plain.encode(member._value_, self)] for name, member in kind.__members__.items()]

    def exception(self, error: BaseException) -> object:
        """An exception with its class, arguments, message, attributes and cause."""
        known = self.number(error) is not None
        number = self.keep(error)
        if known:
            return {"exception": [number]}
        described = self._class(type(error))
        attributes = {name: value for name, value in vars(error).items() if type(name) is str}
        args = OSError.__reduce__(error)[1] if isinstance(error, OSError) else error.args  # with the file's name
        parts = [plain.encode(list(args), self), message_of(error), plain.encode(attributes, self)]
        cause = None if error.__cause__ is None else self.exception(error.__cause__)
        return {"exception": [number, described, *parts, cause]}

    # -- in ------------------------------------------------------------------------------------------------------

    def arrive(self, kind: str, payload: object) -> object:
        if kind == "shared":
            return self.received(*payload)
        if kind == "kept":
            return self.kept(payload[0])
        if kind == "member":
            return self.kept(payload[0])(plain.decode(payload[1], self))
        if kind == "error":
            module, name, args = payload
            return raised(module, name, plain.decode(args, self))
        if kind == "function":
            return _library_function(*payload)
        if kind == "guest":
            number, name, what = payload
            if number not in self._kept:
                self.keep(_GUESTS[what](self._ask_back, number, name), number)
            return self.kept(number)
        return super().arrive(kind, payload)

    def do(self, what: str, arguments: list) -> object:
        """What the judge asks for: one of the operations below, or the value of a global name."""
        if what == "name":
            return self._space[arguments[0]]
        if what == "derive":
            return self._derive(*arguments)
        return OPERATIONS[what](*arguments)

    def _derive(self, number: int, name: str, bases: tuple, members: list, options: tuple) -> None:
        """Make the class that the tests derive from one of the program's; its methods are the tests'."""
        space = {key: _MEMBERS[how](*parts) for key, how, *parts in members}
        self.keep(types.new_class(name, bases, dict(options), lambda made: made.update(space)), number)


_MEMBERS = {"": lambda item: item, "staticmethod": staticmethod, "classmethod": classmethod, "property": property}


def raised(module: str, name: str, args: list) -> BaseException:
    """An exception of the tests' own code: one of the library's, or a ``RuntimeError``."""
    kind = getattr(sys.modules.get(module), name, None)
    return kind(*args) if isinstance(kind, type) and issubclass(kind, BaseException) else RuntimeError(*args)


def message_of(error: BaseException) -> str:
    """The text of an exception, as far as it has one."""
    try:
        return str(str(error))
    except Exception:
        return ""


def _exception_name(kind: type) -> list[str] | None:
    """``[module, name]`` of an exception of the library."""
    module, name = kind.__module__, kind.__name__
    if not issubclass(kind, BaseException) or not isinstance(module, str) or module == "candidate":
        return None
    return [module, name] if getattr(sys.modules.get(module), name, None) is kind else None


def _library_function(module: str, name: str) -> object:
    value = __import__(module, fromlist=["_"])
    for part in name.split("."):
        value = getattr(value, part)
    return value


# -- what the judge may ask ------------------------------------------------------------------------------------------


def _attributes(value: object) -> dict:
    """All that an object holds, by name: what makes two objects of a class alike."""
    found = {}
    for kind in type(value).__mro__:
        slots = kind.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if hasattr(value, name):
                found[name] = getattr(value, name)
    return found | dict(getattr(value, "__dict__", {}))


def _loop():
    """The event loop in which the program's coroutines run, one and the same for all."""
    import asyncio

    if not hasattr(_loop, "loop"):
        _loop.loop = asyncio.new_event_loop()
        asyncio.set_event_loop(_loop.loop)
    return _loop.loop


def _start(awaitable: object) -> object:
    """Begin what is awaited, beside all else that has begun; its end is asked for by ``finish``."""
    import asyncio

    async def whole():
        return await awaitable

    return _loop().create_task(whole()) if not asyncio.isfuture(awaitable) else awaitable


def _finish(task: object) -> object:
    return _loop().run_until_complete(task)


def _finish_next(iterator: object) -> object:
    return _finish(_start(anext(iterator)))


_BUILTINS = "len iter next str repr bool format bytes abs round int float complex hash reversed divmod dir aiter"
_OPERATORS = (
    "getitem setitem delitem lt le gt ge add sub mul truediv floordiv mod pow matmul and_ or_ xor lshift rshift neg "
    "pos invert index iadd isub imul itruediv ifloordiv imod ipow imatmul iand ior ixor ilshift irshift"
)
OPERATIONS = {
    "call": lambda function, args, pairs: function(*args, **dict(pairs)),
    "getattr": getattr,
    "setattr": setattr,
    "delattr": delattr,
    "attributes": _attributes,
    "above": lambda kind, value, name: getattr(super(kind, value), name),
    "send": lambda generator, value: generator.send(value),
    "throw": lambda generator, error: generator.throw(error),
    "close": lambda generator: generator.close(),
    "start": _start,
    "finish": _finish,
    "anext": _finish_next,
    "copy": lambda value: __import__("copy").copy(value),
    "deepcopy": lambda value: __import__("copy").deepcopy(value),
    "equal": lambda left, right: left == right,
    **{name: getattr(builtins, name) for name in _BUILTINS.split()},
    **{name: getattr(operator, name) for name in _OPERATORS.split()},
}


# -- objects of the tests, seen from here -----------------------------------------------------------------------------


def _guest_function(ask_back, number: int, name: str):
    """Stands for a function of the tests."""

    def guest(*args, **kwargs):
        return ask_back(number, "call", args, tuple(kwargs.items()))

    guest.__name__ = guest.__qualname__ = name
    return guest


def _guest_iterator(ask_back, number: int, name: str):
    """Stands for an iterator of the tests."""
    while True:
        try:
            value = ask_back(number, "next")
        except StopIteration:
            return
        yield value


def _guest_object(ask_back, number: int, name: str):
    """Stands for an object of a class that the tests define."""

    class Guest:
        def __getattr__(self, attribute):
            if attribute.startswith("__"):
                raise AttributeError(attribute)
            return ask_back(number, "getattr", attribute)

        def __setattr__(self, attribute, value):
            ask_back(number, "setattr", attribute, value)

    for special in _LENT_SPECIALS:
        setattr(Guest, f"__{special.rstrip('_')}__", _special(ask_back, number, special))
    Guest.__name__ = Guest.__qualname__ = name
    return Guest()


_ASKED_OF_LENT = (
    "len iter next getitem setitem delitem str repr call bool contains format abs round int float hash reversed neg "
    "pos invert enter exit"
)
_LENT_SPECIALS = (
    *_ASKED_OF_LENT.split(),
    *border.LENT_OPERATORS,
    *(f"r{name}" for name in border.LENT_REVERSED),
)


def _special(ask_back, number: int, special: str):
    if special == "call":
        return lambda self, *args, **kwargs: ask_back(number, "call", args, tuple(kwargs.items()))
    if special == "exit":  # the traceback stays here
        return lambda self, kind, error, _: ask_back(number, "exit", error)
    return lambda self, *args: ask_back(number, special, *args)


_GUESTS = {"function": _guest_function, "iterator": _guest_iterator, "object": _guest_object}
