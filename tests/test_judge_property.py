"""The judge agrees with Python: random programs and tests, judged, and run as one script, with the same verdict.

What the judge refuses on purpose is left out here: objects whose own comparison would have to be taken at its word
(``tests/test_judge_liars.py`` holds that they gain nothing). The same programs each time; with the environment variable
``CYCLE_PROPERTY_BATCHES``, that many batches of new ones.
"""

# ruff: noqa: E501 (a test a line reads best)

from __future__ import annotations

import os

import agreements
import pytest
import real_python
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from cycle_utils.execution import Judge
from cycle_utils.problems import Problem

BATCH = 40  # programs judged and run at a time
ASKED = os.environ.get("CYCLE_PROPERTY_BATCHES")
EXAMPLES = int(ASKED or 6)  # batches of each test

CLASSES = """
import array, collections, dataclasses, datetime, decimal, enum, fractions, functools, itertools, re, uuid
import numpy as np
from collections import Counter, OrderedDict, defaultdict, deque, namedtuple
from datetime import date, datetime as moment, timedelta, timezone
from decimal import Decimal
from fractions import Fraction

Pair = namedtuple("Pair", "first second")
class Color(enum.Enum):
    RED = 1
    BLUE = "b"
    def dark(self): return self is Color.BLUE
class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2
class Rights(enum.Flag):
    READ = 1
    WRITE = 2
class Name(str):
    def loud(self): return self.upper() + "!"
class Count(int):
    pass
class Stack(list):
    def push(self, item):
        self.append(item)
        return self
    @property
    def top(self): return self[-1]
class Table(dict):
    def __missing__(self, key): return 0
class Bag(set):
    pass
class Day(date):
    def next(self): return self + timedelta(1)
class Plain:
    kind = "plain"
    def __init__(self, value): self.value, self.log = value, []
    def add(self, item):
        self.log.append(item)
        return len(self.log)
    def twin(self): return Plain(self.value)
    def __repr__(self): return f"<{self.value!r}>"
class Same(Plain):
    def __eq__(self, other): return isinstance(other, Same) and self.value == other.value
    def __hash__(self): return hash(self.value)
    def __lt__(self, other): return self.value < other.value
    def __repr__(self): return f"Same({self.value!r})"
    def __len__(self): return 2
    def __getitem__(self, index): return [self.value, 7][index]
    def __add__(self, other): return Same(self.value + (other.value if isinstance(other, Same) else other))
    def __bool__(self): return bool(self.value)
    def __call__(self, x): return (self.value, x)
@dataclasses.dataclass(order=True)
class Record:
    number: int
    name: str = "n"
class Slotted:
    __slots__ = ("value",)
    def __init__(self, value): self.value = value
    def __eq__(self, other): return self.value == other.value
    def __repr__(self): return "slotted"
class TooSmall(ValueError):
    pass
class Coded(Exception):
    def __init__(self, code, text="?"):
        super().__init__(text)
        self.code = code
    def __str__(self): return f"[{self.code}] {self.args[0]}"
"""

# Expressions, by what they give.
ints = st.integers(-3, 12).map(repr) | st.sampled_from(["2**70", "-(10**30)", "True", "False"])
floats = st.sampled_from(["0.5", "-1.25", "1e300", "float('inf')", "float('nan')", "0.1"])
texts = st.sampled_from(["''", "'a'", "'é\\n'", "'abc'", "'\\udc80'", "b'ab'", "bytearray(b'ab')"])
numbers = ints | floats | st.sampled_from(
    ["1j", "Decimal('1.5')", "Decimal('NaN')", "Fraction(1, 3)", "Count(4)", "Level.HIGH", "np.float32(0.1)", "np.int64(3)",
     "np.bool_(True)", "np.float64(0.5)", "np.uint8(200)", "np.complex128(1+2j)"]
)  # fmt: skip
days = st.sampled_from(
    ["date(2020, 1, 2)", "moment(2020, 1, 2, 3, tzinfo=timezone.utc)", "timedelta(1, 5)", "Day(2020, 1, 2)", "datetime.time(3, 4)",
     "np.datetime64('2020-01-02')", "uuid.UUID(int=7)"]
)  # fmt: skip
own = st.sampled_from(
    ["Color.RED", "Rights.READ | Rights.WRITE", "Pair(1, 'x')", "Name('ab')", "Stack([3, 1])", "Table(a=1)", "Bag({1, 2})",
     "Plain(3)", "Same(3)", "Same(0)", "Record(1)", "Record(2, 'm')", "Slotted(1)", "TooSmall('s')", "Coded(5, 'c')", "Color", "Plain", "int",
     "Stack", "TooSmall", "len", "re.match('a', 'ab')", "re.compile('a')", "itertools.count(3)", "object", "...", "NotImplemented", "None",
     "(i for i in [1, 2])", "iter([1, 2])", "map(str, [1])", "zip([1], 'a')", "range(3)", "{'a': 1}.items()", "slice(1, 2)",
     "functools.partial(max, 3)", "collections.ChainMap({1: 2})", "np.arange(3)", "np.array(['b', 'a'])", "np.zeros((2, 2))",
     "np.array([1, None, 'x'], dtype=object)", "np.array([])", "array.array('i', [1, 2])"]
)  # fmt: skip
atoms = numbers | texts | days | own
hashable = ints | st.sampled_from(
    ["'a'", "'b'", "None", "(1, 2)", "Color.RED", "Pair(1, 2)", "Name('k')", "Same(3)", "0.5"]
)


def _joined(items, opening, closing):
    return opening + ", ".join(items) + closing


def _containers(inner):
    few = st.lists(inner, max_size=3)
    keys = st.lists(hashable, max_size=3)
    pairs = st.lists(st.tuples(hashable, inner), max_size=3).map(lambda found: [f"{k}: {v}" for k, v in found])
    return st.one_of(
        few.map(lambda items: _joined(items, "[", "]")),
        few.map(lambda items: _joined([f"{item}," for item in items], "(", ")").replace(",, ", ", ")),
        pairs.map(lambda items: _joined(items, "{", "}")),
        keys.map(lambda items: _joined(items, "set([", "])")),
        keys.map(lambda items: _joined(items, "frozenset([", "])")),
        few.map(lambda items: _joined(items, "deque([", "])")),
        keys.map(lambda items: _joined(items, "Counter([", "])")),
        pairs.map(lambda items: _joined(items, "defaultdict(list, {", "})")),
        pairs.map(lambda items: _joined(items, "OrderedDict({", "})")),
        few.map(lambda items: _joined(items, "Stack([", "])")),
        pairs.map(lambda items: _joined(items, "Table({", "})")),
        inner.map(lambda item: f"Plain({item})"),
    )


values = st.recursive(atoms, _containers, max_leaves=6)
TYPES = ("int", "float", "str", "list", "dict", "tuple", "set", "bool", "object", "type", "BaseException", "ValueError", "date",
         "enum.Enum", "Color", "Plain", "Same", "Stack", "Pair", "Name", "Record", "TooSmall", "np.ndarray", "np.generic",
         "np.floating", "collections.abc.Iterator", "collections.abc.Iterable", "collections.abc.Mapping", "collections.abc.Sized",
         "collections.abc.Callable", "collections.abc.Hashable", "(int, str)", "re.Match", "Decimal", "range", "array.array")  # fmt: skip
# Tests: {0} is what f returns, {1} another expression, {2} a type.
FORMS = (
    "assert f() == {0}", "assert f() == {1}", "assert not f() == {1}", "assert f() != {1}", "assert {0} == f()", "assert f() is f()",
    "assert f() in [{1}, {0}]", "assert {1} in f()", "assert isinstance(f(), {2})", "assert issubclass(type(f()), {2})",
    "assert sorted(f()) == sorted({0})", "assert sorted(f()) == [1, 3]", "assert len(f()) == len({0})", "assert len(f()) == 2", "assert f()[0] == ({0})[0]",
    "x = f()\nassert x[-1] == 1", "assert str(f()) == str({0})", "x = f()\nassert str(x) == str({0})", "assert repr(f()) == repr({0})",
    "assert list(f()) == list({0})", "x = f()\nassert list(x) == list({0})\nassert list(x) == []", "assert f()", "assert not f()",
    "assert f() is None", "assert type(f()) == type({0})", "assert type(f()).__name__ == type({0}).__name__", "assert f() < {1}", "assert f() >= {1}",
    "x, y = f(), f()\nassert x == y", "assert {{f(): 1}}[{0}] == 1", "assert hash(f()) == hash({0})", "assert f().value == 3",
    "x = f()\nassert x.add(5) == 1 and x.log == [5]", "x = f()\nx.value = 9\nassert x.value == 9 and x.twin().value == 9",
    "x = f()\nx.log.append(4)\nassert x.add(5) == 2", "assert f().top == 1", "x = f()\nassert x.push(4) is x and x[-1] == 4 and len(x) == 3",
    "assert f()['zz'] == 0", "assert f().loud() == 'AB!'", "assert f()(1) == (3, 1)", "assert f()('7') == 7", "assert (f() + Same(2)).value == 5",
    "assert f() + {0} == {0} + {0}", "assert abs(f() - {1}) < 1e-6", "assert round(f(), 1) == round({0}, 1)", "assert f().next() == date(2020, 1, 3)", "assert f().dark() is False",
    "assert f().name == 'n'", "assert f().name == 'RED' and f().value == 1", "assert f() == Record(1)", "assert f() < Record(2)", "assert f().code == 5",
    "assert next(f()) == 1", "x = f()\nassert next(x) == 1 and next(x) == 2 and next(x, 'end') == 'end'", "from itertools import islice\nassert list(islice(f(), 2)) == [3, 4]",
    "assert f().group() == 'a'", "assert bool((f() == {0}).all())", "assert f().tolist() == [0, 1, 2]", "assert f().dtype == ({0}).dtype", "assert f().shape == ({0}).shape",
    "a, b = f()\nassert a == 1", "first, *rest = f()\nassert first == 3", "for x in f():\n    assert x in (1, 2, 'a')", "assert max(f()) == 3", "assert ''.join(f()) == 'ba'",
    "import copy\nassert copy.deepcopy(f()) == {0}", "assert [*f()] == [*{0}]", "assert dict(f()) == dict({0})", "assert f'{{f()}}' == f'{{{0}}}'", "assert f() is {0}",
    "assert callable(f())", "assert all(x == y for x, y in zip(f(), {0}))", "assert any(f())", "assert f().copy() == {0}", "assert sum(f()) == 3", "assert reversed(f())",
    "match f():\n    case [a, b]:\n        pass\n    case _:\n        a = None\nassert a == 3", "assert hasattr(f(), 'value')", "assert getattr(f(), 'kind', 'no') == 'no'",
    "x = f()\ndel x[0]\nassert len(x) == 1", "assert f() <= {0}", "assert vars(f()) == vars({0})", "import dataclasses\nassert dataclasses.asdict(f()) == {{'number': 1, 'name': 'n'}}",
    "assert f()._fields == ('first', 'second')", "assert f().args == ('s',)", "assert str(f()) == '[5] c'", "with f() as x:\n    assert x", "assert f().__class__.__name__ == type({0}).__name__",
    "import json\nassert json.dumps(f()) == json.dumps({0})", "assert f().__doc__ is None", "assert Color(1) is f()", "assert f().value == 'b'", "assert list(Color) == [Color.RED, Color.BLUE] and f()",
)  # fmt: skip


@st.composite
def returned(draw):
    value, other = draw(values), draw(values)
    test = draw(st.sampled_from(FORMS)).format(value, other, draw(st.sampled_from(TYPES)))
    assume(not ("hash(" in test and "Plain(" in test))  # by its place in memory
    return f"{CLASSES}\ndef f():\n    return {value}\n", test


# Programs and tests of other kinds: exceptions, iterators, arguments changed in place, coroutines, functions handed over.
RAISED = st.sampled_from(
    ["ValueError('a', 1)", "KeyError('k')", "TooSmall('s')", "Coded(5, 'c')", "StopIteration(3)", "ZeroDivisionError()", "OSError(2, 'gone', 'x')",
     "UnicodeDecodeError('utf-8', b'x', 0, 1, 'bad')", "decimal.InvalidOperation('i')", "re.error('r')", "AssertionError('mine')", "SystemExit(3)",
     "KeyboardInterrupt()", "ExceptionGroup('g', [ValueError('v'), TooSmall('t')])", "Exception(Same(3), [1])", "NotImplementedError", "AttributeError('x', name='n')"]
)  # fmt: skip
CAUSES = st.sampled_from(["", " from KeyError('cause')", " from None"])
KINDS = st.sampled_from(["ValueError", "Exception", "TooSmall", "Coded", "KeyError", "LookupError", "(TypeError, ValueError)", "BaseException",
                         "ArithmeticError", "OSError", "FileNotFoundError", "StopIteration", "SystemExit", "RuntimeError"])  # fmt: skip
AFTER = st.sampled_from(
    ["str(e) == str({0})", "e.args == ({0}).args", "repr(e) == repr({0})", "type(e).__name__ == type({0}).__name__", "isinstance(e, ValueError)", "e.code == 5",
     "e.errno == 2", "e.start == 0", "str(e.__cause__) == \"'cause'\"", "e.__cause__ is None", "e.exceptions[0].args == ('v',)", "type(e) is {1}", "e.args[0] == 'a'"]
)  # fmt: skip
RAISES = [
    "{0}",
    "int('x')",
    "[][1]",
    "{{}}['q']",
    "1 / 0",
    "None.x",
    "'a' + 1",
    "undefined",
    "'é'.encode('ascii')",
    "json.loads('{{')",
    "next(iter([]))",
]


@st.composite
def raised(draw):
    error, kind = draw(RAISED), draw(KINDS)
    body = draw(st.sampled_from([f"raise {error}{draw(CAUSES)}", draw(st.sampled_from(RAISES)).format(error)]))
    check = draw(AFTER).format(error, kind)
    test = draw(st.sampled_from([
        f"ok = False\ntry:\n    f()\nexcept {kind} as e:\n    ok = {check}\nassert ok",
        f"try:\n    f()\nexcept {kind}:\n    pass\nelse:\n    raise AssertionError\nassert True or f()",
        f"import contextlib\nwith contextlib.suppress({kind}):\n    assert f() == 1",
        f"def expects(call):\n    try:\n        call()\n    except {kind} as e:\n        return {check}\nassert expects(f)",
        f"assert f() == 1 or {check}",
    ]))  # fmt: skip
    return f"{CLASSES}\nimport json\ndef f():\n    {body}\n", test


STEPS = ("yield {0}", "yield from [{0}, {1}]", "x = yield {0}\n    yield x", "return {0}", "for i in range(3):\n        yield i",
         "try:\n        yield {0}\n    finally:\n        yield 'end'", "raise ValueError('mid')", "while True:\n        yield {1}",
         "try:\n        yield {0}\n    except ValueError as e:\n        yield str(e)")  # fmt: skip
TAKING = (
    "g = f()\nassert next(g) == {0}", "g = f()\nassert [next(g), next(g)] == [{0}, {1}]", "from itertools import islice\nassert list(islice(f(), 3)) == [{0}, {1}, {1}]",
    "g = f()\nnext(g)\nassert g.send(5) == 5", "g = f()\nnext(g)\nassert g.throw(ValueError('t')) == 't'", "g = f()\nnext(g)\ng.close()\nassert list(g) == []",
    "import types\nassert isinstance(f(), types.GeneratorType)", "for x in f():\n    break\nassert x == {0}", "a, b = zip(f(), 'ab')\nassert a[1] == 'a'",
    "g = f()\ntry:\n    while True:\n        next(g)\n        assert g.gi_frame is not None\n        break\nexcept (StopIteration, ValueError) as e:\n    pass",
    "def outer():\n    got = yield from f()\n    yield got\nfrom itertools import islice\nassert list(islice(outer(), 3))[-1] == {0}",
    "import inspect\nassert inspect.isgeneratorfunction(f)", "g = f()\nassert iter(g) is g", "assert next(f(), 9) == {0}",
)  # fmt: skip


@st.composite
def yielded(draw):
    first, second = draw(numbers | texts), draw(numbers | own)
    steps = draw(st.lists(st.sampled_from(STEPS), min_size=1, max_size=3))
    body = "\n    ".join(step.format(first, second) for step in steps)
    test = draw(st.sampled_from(TAKING)).format(first, second)
    return f"{CLASSES}\ndef f():\n    {body}\n", test


MUTATIONS = ("xs.append(5)", "xs.sort()", "xs[0] = 9", "xs.clear()", "xs[0].append(1)", "xs.update(a=2)", "xs.add(4)", "xs.pop()", "del xs[0]", "xs += [7]",
             "xs.reverse()", "xs['k'] = xs", "xs.append(xs)", "kept.append(xs)", "xs.extend(xs)", "xs[1:] = [0]", "xs.value = 4", "xs.push(6)", "xs.appendleft(2)")  # fmt: skip
GIVEN = ("[3, 1, 2]", "[[1], [2]]", "{{'a': 1}}", "{{1, 2}}", "bytearray(b'ab')", "Stack([1, 2])", "Table(a=1)", "Plain([1])", "[Plain(1), 2]", "deque([1, 2])", "(1, [2])",
         "np.array([3, 1])", "[y, y]", "OrderedDict(a=1, b=2)", "Counter('aab')", "defaultdict(list)")  # fmt: skip
SEEN = ("assert x == {0}", "assert f(x) is x", "assert x[0] == 9", "assert len(x) == 4", "assert x[-1] == 5", "f(x)\nassert len(x) == 5", "assert sorted(x) == [1, 2, 3]",
        "x.append(8)\nassert len(kept[0]) == len(x)", "assert y == [1]", "assert kept[0] is x", "assert x['k'] is x", "assert x[-1] is x", "assert x.value == 4",
        "kept[0].append('late')\nassert x[-1] == 'late'", "assert x == f(x)", "assert x[0] == [1, 1]", "x2 = f(x)\nx2.append(0)\nassert x[-1] == 0", "assert list(x) == [2, 1, 2]")  # fmt: skip


@st.composite
def changed(draw):
    given_value = draw(st.sampled_from(GIVEN)).replace("{{", "{").replace("}}", "}")
    body = "\n    ".join(draw(st.lists(st.sampled_from(MUTATIONS), min_size=1, max_size=2)))
    seen = draw(st.sampled_from(SEEN)).format(
        draw(st.sampled_from(["[1, 2, 3]", "[[1], [2]]", "{'a': 2}", "[2, 1, 3]", given_value]))
    )
    test = f"y = [1]\nx = {given_value}\nf(x)\n{seen}"
    return f"{CLASSES}\nkept = []\ndef f(xs):\n    {body}\n    return xs\n", test


HANDED = (
    ("def f(g):\n    return [g(i) for i in range(3)]", "def g(i):\n    return i * k\nk = 2\nassert f(g) == [0, 2, 4]"),
    ("def f(g):\n    def h(*a):\n        return g(*a) + 1\n    return h", "@f\ndef g(x):\n    return x * 2\nassert g(3) == 7"),
    ("def f(n):\n    def deco(g):\n        def h(*a, **k):\n            return [g(*a, **k) for _ in range(n)]\n        return h\n    return deco", "@f(2)\ndef g(x, y=1):\n    return x + y\nassert g(1, y=5) == [6, 6]"),
    ("import functools\ndef f(g):\n    @functools.wraps(g)\n    def h(*a):\n        return g(*a)\n    return h", "@f\ndef g():\n    return 1\nassert g.__name__ == 'g' and g() == 1"),
    ("import functools\ndef f(g):\n    seen = {}\n    def h(n):\n        if n not in seen:\n            seen[n] = g(n)\n        return seen[n]\n    return h", "calls = []\n@f\ndef fib(n):\n    calls.append(n)\n    return n if n < 2 else fib(n - 1) + fib(n - 2)\nassert fib(15) == 610 and len(calls) == 16"),
    ("def f(xs, key):\n    return sorted(xs, key=key)", "ks = {'a': 2, 'b': 1}\nassert f(['a', 'b'], ks.get) == ['b', 'a'] and f(['a', 'b'], key=lambda x: ks[x]) == ['b', 'a']"),
    ("def f(g):\n    try:\n        g()\n    except KeyError as e:\n        return e.args\n    except ZeroDivisionError:\n        return 'zero'", "def a():\n    raise KeyError('k', 1)\ndef b():\n    1 / 0\nassert f(a) == ('k', 1) and f(b) == 'zero'"),
    ("def f(it):\n    return [next(it), list(it)]", "it = iter(range(3))\ngen = (c for c in 'abc')\nassert f(it) == [0, [1, 2]] and f(gen) == ['a', ['b', 'c']]"),
    ("def f(node):\n    return 0 if node is None else 1 + f(node.next)", "class N:\n    def __init__(self, v, n=None):\n        self.v, self.next = v, n\nassert f(N(1, N(2))) == 2"),
    ("def f(node, v):\n    node.v = v\n    node.grow()\n    return node", "class N:\n    v = 0\n    def grow(self):\n        self.v += 1\nn = N()\nassert f(n, 4) is n and n.v == 5"),
    ("async def f(x):\n    return x + 1", "import asyncio\nasync def main():\n    return [await f(1), *await asyncio.gather(f(2), f(3))]\nassert asyncio.run(main()) == [2, 3, 4]"),
    ("import asyncio\nasync def f(x):\n    await asyncio.sleep(0.01)\n    if x < 0:\n        raise ValueError('low')\n    return x", "import asyncio\ntry:\n    asyncio.run(f(-1))\n    ok = False\nexcept ValueError as e:\n    ok = str(e) == 'low'\nassert ok and asyncio.run(f(2)) == 2"),
    ("async def f():\n    for i in range(3):\n        yield i", "import asyncio\nasync def main():\n    return [x async for x in f()]\nassert asyncio.run(main()) == [0, 1, 2]"),
    ("class A:\n    async def __aenter__(self):\n        return 5\n    async def __aexit__(self, *e):\n        return True\ndef f():\n    return A()", "import asyncio\nasync def main():\n    async with f() as x:\n        1 / 0\n    return x if False else 7\nassert asyncio.run(main()) == 7"),
    ("class M:\n    log = []\n    def __enter__(self):\n        self.log.append('in')\n        return self\n    def __exit__(self, kind, error, trace):\n        self.log.append(kind and kind.__name__)\n        return kind is KeyError\ndef f():\n    return M()", "with f() as m:\n    raise KeyError(1)\nassert m.log == ['in', 'KeyError']"),
    ("import contextlib\n@contextlib.contextmanager\ndef f():\n    yield 3", "with f() as x:\n    assert x == 3"),
    ("def f(x):\n    print('said', x)", "import io, contextlib\nout = io.StringIO()\nwith contextlib.redirect_stdout(out):\n    f(1)\nassert out.getvalue() == 'said 1\\n'"),
    ("count = 0\ndef f():\n    global count\n    count += 1", "f()\nf()\nassert count == 2"),
    ("class Node:\n    made = 0\n    def __init__(self, v, left=None):\n        Node.made += 1\n        self.v, self.left = v, left\n    def depth(self):\n        return 1 + (self.left.depth() if self.left else 0)\ndef f(n):\n    return n.depth()", "class Leaf(Node):\n    pass\nassert f(Node(1, Node(2))) == 2 and Node.made == 2"),
    ("def f(a, *, b=2, **k):\n    return a, b, k", "import inspect\nassert f(1, b=3, c=4) == (1, 3, {'c': 4}) and f.__name__ == 'f'"),
    ("def f(x: int) -> str:\n    'Doc.'\n    return str(x)", "assert f.__doc__ == 'Doc.' and f.__annotations__ == {'x': int, 'return': str}"),
)  # fmt: skip


@st.composite
def handed_over(draw):
    return draw(st.sampled_from(HANDED))


@pytest.fixture(scope="module")
def judge():
    with Judge(workers=2, time_limit=5.0) as judge:
        yield judge


def agree(judge: Judge, cases: list[tuple[str, str]]) -> None:
    """Each pair of program and test has the verdict that the two as one script have."""
    problems = [Problem(f"p/{i}", "", "f", [test]) for i, (_, test) in enumerate(cases)]
    verdicts = judge.run(problems, [program for program, _ in cases])
    real = real_python.passes([f"{program}\n{test}\n" for program, test in cases])
    wrong = [(case, verdict, truth) for case, verdict, truth in zip(cases, verdicts, real) if verdict.passed != truth]
    assert not wrong, _report(wrong)


def _report(wrong) -> str:
    lines = []
    for (program, test), verdict, truth in wrong:
        lines.append(f"\nPython says {'passed' if truth else 'failed'}, the judge {verdict.status}:")
        lines += [program.removeprefix(CLASSES), test, verdict.feedback()]
    return "\n".join(lines)


BATCHES = settings(max_examples=EXAMPLES, derandomize=not ASKED, deadline=None, suppress_health_check=list(HealthCheck))


@BATCHES
@given(st.lists(st.one_of(returned(), raised(), yielded(), changed()), min_size=BATCH, max_size=BATCH))
def test_the_judge_says_what_python_says(judge, cases):
    agree(judge, cases)


def test_what_is_handed_over_and_asked_for(judge):
    agree(judge, [*HANDED, *agreements.CASES])
