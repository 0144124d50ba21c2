"""The border between candidate and judge where objects may be meant that stay on their own side.

Containers that may change are *shared*: each side has one of its own under the same number, and every message
carries what has changed since the last. Other objects are *kept* where they are: the other side knows them by
their number. The candidate's end is ``objects.Inside``, the judge's is ``mirror.Outside``.
"""

from __future__ import annotations

import json

if __package__:  # on the judge's side; the candidate's has these files at the top level
    from . import plain
else:
    import plain

# What may be asked of an object that the tests lend to the program, besides its attributes: by the names in operator.
_BINARY = "add sub mul truediv floordiv mod pow matmul and_ or_ xor lshift rshift"
LENT_REVERSED = tuple(_BINARY.split())
_IN_PLACE = (f"i{name}".rstrip("_") for name in LENT_REVERSED)
LENT_OPERATORS = (*LENT_REVERSED, *_IN_PLACE, "eq", "ne", "lt", "le", "gt", "ge")
SHARED_ITEMS = 2_000  # in all containers that are watched for changes; beyond, the oldest are dropped


class Border(plain.Flat):
    """One end: numbers for objects, and the containers that both ends have.

    Args:
        first: the first number that this end gives, 1 or 2: the one end has odd numbers, the other even ones.
    """

    def __init__(self, first: int):
        super().__init__(empties=False)
        self._next, self._turn, self._items = first, 0, 0
        self._numbers: dict[int, int] = {}  # by id; what has a number is kept, so that no other gets its id
        self._kept: dict[int, object] = {}
        self._told: dict[int, tuple[str, int, int]] = {}  # content as both ends know it, its size, the turn

    def keep(self, value: object, number: int | None = None) -> int:
        """The number of an object, which is kept from now on: its own, the other end's, or a new one."""
        if number is None and id(value) in self._numbers:
            return self._numbers[id(value)]
        if number is None:
            number, self._next = self._next, self._next + 2
        self._numbers[id(value)], self._kept[number] = number, value
        return number

    def number(self, value: object) -> int | None:
        """The number of an object that has one."""
        return self._numbers.get(id(value))

    def kept(self, number: int) -> object:
        """The object of a number.

        Raises:
            KeyError: there is none.
        """
        return self._kept[number]

    def share(self, value: object, depth: int) -> object:
        if id(value) in self._numbers:
            return {"shared": [self._numbers[id(value)]]}
        number = self.keep(value)
        return {"shared": [number, self.watch(number, value, plain.content(value, self, depth))]}

    def received(self, number: int, data: object = None) -> object:
        """The shared container of that number; ``data`` is what a new one holds."""
        if number in self._kept:
            return self._kept[number]
        kind = "list" if type(data) is list else next(iter(data))
        value = _EMPTY[kind](data) if kind in _EMPTY else plain.decode(data, self)
        self.keep(value, number)
        if kind in _EMPTY:
            fill(value, plain.decode(data, self))
        self.watch(number, value, data)
        return value

    def watch(self, number: int, value: object, data: object) -> object:
        """From now on, tell the other end of changes; ``data``, which it knows. Lets go of what has long been quiet."""
        self._forget(number)
        size = 1 + plain.size_of(value)
        self._told[number] = (json.dumps(data), size, self._turn)
        self._items += size
        for oldest in list(self._told) if self._items > SHARED_ITEMS else ():
            if self._items <= SHARED_ITEMS or self._told[oldest][2] >= self._turn - 1:
                break
            self._forget(oldest)
        return data

    def _forget(self, number: int) -> None:
        self._items -= self._told.pop(number, ("", 0, 0))[1]

    def changes(self) -> list:
        """``[number, content]`` of each shared container that has changed here; to go with a message, as its last."""
        found = []
        for number in list(self._told):
            value = self._kept[number]
            data = plain.content(value, self, 0, plain.base_of(type(value)))
            if number in self._told and json.dumps(data) != self._told[number][0]:
                found.append([number, self.watch(number, value, data)])
        self._turn += 1
        return found

    def apply(self, changes: list) -> None:
        """Make the changes of the other end here.

        Raises:
            ValueError: what is to change is no shared container.
        """
        for number, data in changes:
            value = self._kept[number]
            if not plain.is_mutable(type(value)):
                raise ValueError("not a shared container")
            fill(value, plain.decode(data, self))
            self.watch(number, value, data)


_EMPTY = {
    **{kind.__name__: lambda data, kind=kind: kind() for kind in plain.MUTABLE},
    "deque": lambda data: plain.deque(maxlen=data["deque"][0]),
}


def fill(value: object, content: object) -> None:
    """Replace what is in a container, without calling anything that a subclass defines."""
    kind = plain.base_of(type(value))
    if plain.is_array(kind):
        kind.__setitem__(value, ... if kind.__name__ == "ndarray" else slice(None), content)
        return
    if kind in (list, bytearray):
        kind.__setitem__(value, slice(None), content)
        return
    kind.clear(value)
    if kind is set:
        set.update(value, content)
    elif kind is plain.deque:
        plain.deque.extend(value, content)
    else:
        if kind is plain.defaultdict:
            value.default_factory = content.default_factory
        for key, item in kind.items(content):
            kind.__setitem__(value, key, item)
        plain.set_attributes(value, kind, plain.attributes(content, kind))
