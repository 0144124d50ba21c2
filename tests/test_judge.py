"""The judge's promises for honest programs: forms of task, results, feedback, limits, bad input, survival."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from pathlib import Path

import pytest

from cycle_utils.execution import Judge, Verdict
from cycle_utils.execution.compare import same_output, same_value
from cycle_utils.execution.feedback import FIELD_LIMIT, VALUE_LIMIT, show
from cycle_utils.execution.inside import plain
from cycle_utils.execution.isolation import IsolationError, descendants, require
from cycle_utils.problems import Problem

ADD = Problem("t/add", 'def add(a, b):\n    """Sum."""', "add", ["assert add(1, 2) == 3", "assert add(2, 2) == 4"])


@pytest.fixture(scope="module")
def judge():
    with Judge(workers=2, time_limit=2.0, memory_limit_mb=512) as judge:
        yield judge


def one(judge: Judge, completion: str, tests: list, prompt: str = "", entry_point: str | None = "f", setup: str = ""):
    return judge.run([Problem("t/1", prompt, entry_point, tests, setup=setup)], [completion])[0]


# -- how a program is made of prompt and completion -----------------------------------------------------------


@pytest.mark.parametrize(
    "completion",
    [
        "\n    return a + b",
        "    return a + b",
        "\n\n    return a + b\n\n\nprint('more')\n",
        "def add(a, b):\n    return a + b",
        "import operator\n\ndef add(a, b):\n    return operator.add(a, b)\n",
        "from operator import add\n\nadd = add",
        "# a comment\ndef add(a, b):\n  return a + b",
        'def add(a, b):\n    """Sum."""\n    return a + b',
        "\n\treturn a + b".replace("\t", "    "),
    ],
)
def test_a_completion_continues_the_prompt_or_stands_alone(judge, completion):
    assert judge.run([ADD], [completion])[0].passed


def test_a_whole_definition_keeps_the_prompts_imports_and_helpers(judge):
    prompt = 'import math\n\ndef helper(x):\n    return x + 1\n\ndef f(x):\n    """Doc."""'
    verdict = one(judge, "def f(x):\n    return helper(math.floor(x))", ["assert f(1.5) == 2"], prompt)
    assert verdict.passed, verdict


def test_a_prompt_in_plain_words_is_no_part_of_the_program(judge):
    assert one(judge, "def f(x):\n    return x", ["assert f(1) == 1"], "Write a function f.").passed


# -- forms of task ---------------------------------------------------------------------------------------------


def test_check_function_with_loops_and_helpers_of_the_prompt(judge):
    prompt = 'def enc(s):\n    return s[::-1]\n\n\ndef f(s):\n    """Undo enc."""'
    check = """
METADATA = {}
def check(candidate):
    from random import choice
    import string
    assert candidate("ab") == "ba", "message"
    assert True
    for _ in range(20):
        str = "".join(choice(string.ascii_lowercase) for _ in range(10))
        assert candidate(enc(str)) == str
"""
    good, bad = judge.run([Problem("t/2", prompt, "f", [check])] * 2, ["\n    return s[::-1]", "\n    return s"])
    assert good.passed and len(good.tests) == 2
    assert [test.status for test in bad.tests] == ["failed", "failed"]
    assert bad.tests[1].input.startswith("f('")


def test_arguments_changed_in_place_are_seen_by_the_test(judge):
    tests = [
        "x = [[3, 1], 2]\nf(x)\nassert x == [[1, 3], 2]",
        "d = {'a': 1}\nassert f([d]) is None\nassert d == {'a': 2}",
    ]
    source = "def f(x):\n    if isinstance(x[0], dict):\n        x[0]['a'] += 1\n    else:\n        x[0].sort()\n"
    verdict = one(judge, source, tests)
    assert verdict.passed, verdict


def test_functions_and_own_classes_as_arguments(judge):
    source = "class Pair:\n    def __init__(self, a): self.a = a\n"
    source += "def f(xs, g):\n    return [g(getattr(x, 'a', x)) for x in xs]"
    tests = ["assert f([1, 2], lambda x: x + 1) == [2, 3]", "assert f([Pair(3)], str) == ['3']"]
    assert one(judge, source, tests).passed


def test_a_test_may_expect_an_exception(judge):
    test = "try:\n    f(-1)\n    ok = False\nexcept ValueError:\n    ok = True\nassert ok and f(1) == 1"
    assert one(judge, "def f(x):\n    if x < 0: raise ValueError(x)\n    return x", [test]).passed
    assert not one(judge, "def f(x):\n    return x", [test]).passed


@pytest.mark.parametrize(
    ("result", "test"),
    [
        ("(i * i for i in range(3))", "assert list(f()) == [0, 1, 4]"),
        ("map(str, [1])", "assert list(f()) == ['1']"),
        ("{1: 'a'}.keys()", "assert f() == {1}"),
        ("range(3)", "assert f() == range(0, 3)"),
        ("{1, 2}", "assert f() == {2, 1}"),
        ("frozenset([1])", "assert f() == {1}"),
        ("b'ab'", "assert f() == b'ab'"),
        ("1 + 2j", "assert f() == 1 + 2j"),
        ("10 ** 5000", "assert f() == 10 ** 5000"),
        ("float('nan')", "import math\nassert math.isnan(f())"),
        ("{(1, 2): [None, True, 'é']}", "assert f() == {(1, 2): [None, True, 'é']}"),
        ("__import__('collections').Counter('aab')", "assert f() == {'a': 2, 'b': 1}"),
        ("__import__('collections').deque([1])", "from collections import deque\nassert f() == deque([1])"),
        ("__import__('decimal').Decimal('1.5')", "assert f() == 1.5"),
        ("__import__('fractions').Fraction(1, 3) * 3", "assert f() == 1"),
        ("__import__('re').match('a', 'a')", "assert f()"),
        ("__import__('collections').namedtuple('P', 'a b')(1, 2)", "assert f() == (1, 2)"),
        ("None", "assert f() is None"),
        ("0", "assert not f()"),
    ],
)
def test_values_of_many_kinds_arrive(judge, result, test):
    verdict = one(judge, f"def f():\n    return {result}", [test])
    assert verdict.passed, verdict


def test_call_based_tasks(judge):
    tests = [{"input": [[3, 1], True], "output": [1, 3]}, {"input": [[], False], "output": []}]
    source = "class Solution:\n    def f(self, xs: List[int], flag) -> List[int]:\n        return tuple(sorted(xs))"
    assert one(judge, source, tests).passed
    failed = one(judge, "def f(xs, flag):\n    return xs", tests)
    assert failed.feedback() == "Input: f([3, 1], True)\nExpected: [1, 3]\nActual: [3, 1]"


def test_numpy_is_there_and_nothing_else_that_is_installed(judge):
    pytest.importorskip("numpy", reason="numpy is not installed here")
    tests = ["assert f(3) == 3", "assert list(f([1, 2])) == [1, 2]", "assert abs(f([1, 2]).sum() - 3) < 1e-9"]
    source = "import numpy as np\ndef f(x):\n    return np.array(x) if isinstance(x, list) else np.int64(x)"
    verdict = one(judge, source, tests)
    assert verdict.passed, verdict
    # Where the layers hide the folder it is not found, where they close it it may not be read.
    denied = one(judge, "import pytest\ndef f(x): return x", ["assert f(1) == 1"])
    assert not denied.passed and denied.error.startswith(("ModuleNotFoundError", "PermissionError")), denied


def test_printed_output_is_kept_apart_from_results(judge):
    verdict = one(judge, "def f(x):\n    print('hello', x)\n    return x", ["assert f(1) == 1", "assert f(2) == 3"])
    assert [test.stdout for test in verdict.tests] == ["hello 1\n", "hello 2\n"]


# -- statuses and feedback -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "status", "feedback"),
    [
        ("return [3, 1]", "failed", "Input: f([3, 1], 2)\nExpected: [1, 3]\nActual: [3, 1]"),
        (
            "return {}[xs[0]]",
            "error",
            "Input: f([3, 1], 2)\nExpected: [1, 3]\nError: KeyError: 3\nLine: return {}[xs[0]]",
        ),
        ("while True: pass", "timeout", "Input: f([3, 1], 2)\nExpected: [1, 3]\nError: time-out"),
        ("import os; os._exit(0)", "crashed", "Input: f([3, 1], 2)\nExpected: [1, 3]\nError: crashed (exited early)"),
        ("return (1", "error", "Error: SyntaxError: '(' was never closed\nLine: return (1"),
    ],
)
def test_feedback_forms(judge, body, status, feedback):
    verdict = one(judge, f"\n    {body}", ["assert f([3, 1], 2) == [1, 3]"], "def f(xs, n):")
    assert (verdict.status, verdict.feedback()) == (status, feedback)


def test_an_assertion_without_a_value_shows_its_expression(judge):
    verdict = one(judge, "def f(x):\n    return 2", ["assert abs(f(1) - 1) < 1e-6"])
    assert verdict.feedback() == "Input: abs(f(1) - 1) < 1e-06\nExpected: True\nActual: False"


def test_feedback_of_a_chosen_test(judge):
    verdict = judge.run([ADD], ["def add(a, b):\n    return 4"])[0]
    assert verdict.feedback(1) == ""
    assert verdict.feedback(0).startswith("Input: add(1, 2)")
    with pytest.raises(IndexError, match="2 tests"):
        verdict.feedback(2)


def test_tests_after_a_crash_or_a_hanging_one_still_run(judge):
    source = "import os\ndef f(x):\n    while x == 1: pass\n    if x == 3: os._exit(0)\n    return x"
    tests = [f"assert f({x}) == {x}" for x in range(6)]
    verdict = one(judge, source, tests)
    assert [test.status for test in verdict.tests] == ["passed", "timeout", "passed", "crashed", "passed", "passed"]
    assert verdict.status == "timeout"


def test_values_are_clipped(judge):
    verdict = one(judge, "def f():\n    return list(range(10**5))", ["assert f() == 'x' * 10**5"])
    assert len(verdict.tests[0].actual) == len(verdict.tests[0].expected) == FIELD_LIMIT
    assert all(len(line) <= VALUE_LIMIT + len("Expected: ") for line in verdict.feedback().splitlines())


@pytest.mark.parametrize(
    "value", [0, -1.5, "a'b\n", [], (1,), {1: [2, (3,)]}, {"a"}, set(), None, [True], b"x", 10**80]
)
def test_values_are_shown_as_repr_shows_them(value):
    assert show(value) == repr(value)
    assert plain.loads(plain.dumps(value)) == value


def test_a_class_with_a_base_of_the_tests_beside_the_programs_is_refused_by_its_name(judge):
    source = "class Base:\n    def hi(self): return 'd'\ndef f(x): return x.hi()"
    verdict = one(judge, source, ["class Mixin: pass\nclass Mine(Mixin, Base): pass\nassert f(Mine()) == 'd'"])
    assert verdict.status == "error"
    assert "cannot carry a value of type Mine, of which not all bases are the program's" in verdict.feedback()


def _within_itself(kind):
    value = kind([1])
    value.append(value)
    return [value, {"again": value}]


@pytest.mark.parametrize("kind", [list, deque])
def test_a_container_within_itself_is_shown_as_repr_shows_it(kind):
    assert show(_within_itself(kind)) == repr(_within_itself(kind))


@pytest.mark.parametrize("kind", [list, tuple, deque])
def test_showing_takes_no_longer_for_what_is_cut_off(kind):
    value = 1
    for _ in range(3_000 if kind is list else 100):
        value = kind([value, value])  # as text, 2 ** 100 of them
    assert len(show(deque([value]))) == FIELD_LIMIT


def test_verdicts_are_plain_data(judge):
    verdict = judge.run([ADD], ["\n    return a"])[0]
    assert Verdict.from_dict(json.loads(json.dumps(verdict.to_dict()))) == verdict
    assert pickle.loads(pickle.dumps(verdict)) == verdict


# -- comparing -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("actual", "expected", "same"),
    [
        ("1 2\n3\n", "1 2 3", True),
        ("1.0000001", "1.0", True),
        ("1.01", "1.0", False),
        ("3.0", "3", True),
        ("100000000000000000001", "100000000000000000002", False),
        ("1000001", "1000000", False),
        ("007", "7", True),
        ("-0", "0", True),
        ("1_0", "10", False),
        ("yes", "YES", False),
        ("", "1", False),
        ("nan", "nan", True),
        ("9" * 9131, "9" * 9131, True),
    ],
)
def test_printed_output_is_compared_by_tokens(actual, expected, same):
    assert same_output(actual, expected) is same


def test_returned_values_are_compared_with_tuples_as_lists():
    assert same_value(((1, 2), {"a": (3,)}), [[1, 2], {"a": [3]}])
    assert not same_value([1], 1)


# -- bad input -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("problem", "completion", "says"),
    [
        (Problem("b/1", "", "f", []), "def f(): pass", "no tests"),
        (Problem("b/2", "", "f", ["print(f(1))"]), "def f(x): pass", "asserts nothing"),
        (Problem("b/3", "", "f", ["assert f(1 =="]), "def f(x): pass", "no Python"),
        (Problem("b/4", "", "f g", ["assert f(1)"]), "def f(x): pass", "no name"),
        (Problem("b/5", "", "g", ["assert g(1) == 1"]), "def f(x): pass", "'g' is not defined"),
        (Problem("b/6", "", None, ["assert f(1)"]), "print(1)", "input"),
        (Problem("b/7", "", "f", [{"input": 1}]), "def f(x): pass", "list of arguments"),
        (ADD, b"\xff\xfe", "bytes"),
        (ADD, "def add(a, b): return '\ud800'", "UTF-8"),
        (ADD, None, "NoneType"),
        (Problem("b/8", "", "f", ["assert f(1) == 1"]), "", "'f' is not defined"),
        (Problem("b/9", "", "f", ["assert f(1) == 1"], setup="import ("), "def f(x): return x", "setup"),
    ],
)
def test_bad_input_gets_a_clear_verdict_and_the_rest_is_judged(judge, problem, completion, says):
    bad, good = judge.run([problem, ADD], [completion, "    return a + b"])
    assert bad.status == "error" and says in bad.error
    assert good.passed


@pytest.mark.parametrize(
    "arguments",
    [{"workers": 0}, {"time_limit": 0}, {"time_limit": -1}, {"time_limit": float("nan")}, {"memory_limit_mb": 1}],
)
def test_impossible_limits_are_refused(arguments):
    (name,) = arguments
    with pytest.raises(ValueError, match=name):
        Judge(**arguments)


def test_numbers_of_problems_and_completions_must_agree(judge):
    with pytest.raises(ValueError, match="1 problems and 0"):
        judge.run([ADD], [])


def test_a_machine_without_isolation_is_refused_with_the_way_out():
    layers = dict.fromkeys(("namespaces", "seccomp", "mounts", "Landlock"), "not here")
    with pytest.raises(IsolationError, match=r"network.*allow_unisolated=True"):
        require(layers)
    with pytest.raises(IsolationError, match="file system"):
        Judge(workers=1, without=("mounts", "Landlock"))


# -- batches ---------------------------------------------------------------------------------------------------


def test_identical_programs_are_judged_once(judge):
    problems = [Problem("t/d", "", "f", ["assert f() == 1"]) for _ in range(50)]
    verdicts = judge.run(problems, ["import time\ndef f():\n    time.sleep(0.2)\n    return 1"] * 50)
    assert all(verdict is verdicts[0] for verdict in verdicts) and verdicts[0].passed


def test_the_same_seed_hash_and_clock_for_all(judge):
    source = "import random, time\ndef f(x):\n"
    source += "    return [random.random(), hash('a'), time.tzname[0], list({'a', 'b', 'c'}), x * 0]"
    first = [
        verdict.tests[0].actual
        for verdict in judge.run([Problem(f"t/{i}", "", "f", [f"assert f({i}) == 1"]) for i in range(4)], [source] * 4)
    ]
    assert len(set(first)) == 1 and "UTC" in first[0]


def test_a_broken_off_batch_goes_on_where_it_stopped(judge, tmp_path):
    path = tmp_path / "verdicts.jsonl"
    programs = [f"    return a + b + {i}" for i in range(5)]
    first = judge.run([ADD] * 5, programs, save_to=path)
    lines = path.read_text().splitlines()
    assert len(lines) == 5
    path.write_text("\n".join(lines[:2]) + "\n" + lines[2][:30])
    second = judge.run([ADD] * 5, programs, save_to=path)
    assert second[:2] == first[:2]  # to the microsecond: they were not judged again
    assert [verdict.feedback() for verdict in second] == [verdict.feedback() for verdict in first]
    again = [json.loads(line) for line in path.read_text().splitlines() if line.endswith("}")]
    assert len({entry["key"] for entry in again}) == 5


def _referees() -> list[int]:
    pids = [pid for pid in descendants(os.getpid()) if pid != os.getpid()]
    return [pid for pid in pids if b"referee" in Path(f"/proc/{pid}/cmdline").read_bytes()]


@pytest.mark.parametrize("victim", ["referee", "warm parent"])
def test_a_killed_process_is_replaced_and_nothing_is_lost(victim):
    problems = [Problem(f"t/{i}", "", "f", [f"assert f({i}) == {i}"]) for i in range(24)]
    source = "import time\ndef f(x):\n    time.sleep(0.1)\n    return x"
    with Judge(workers=2, time_limit=2.0) as judge:
        referee = _referees()[0]
        target = referee if victim == "referee" else max(descendants(referee))
        threading.Timer(0.4, os.kill, (target, signal.SIGKILL)).start()
        verdicts = judge.run(problems, [source] * len(problems))
        assert all(verdict.passed for verdict in verdicts)


@pytest.mark.parametrize(("sleep", "status"), [(0.3, "passed"), (1.0, "timeout")])
def test_an_answer_that_was_read_late_is_no_answer_in_time(sleep, status):
    """The referee stands still while the program sleeps past its limit, or not; judged again, it shows which."""
    source = f"import time\ndef f(x):\n    time.sleep({sleep})\n    return x"
    with Judge(workers=1, time_limit=0.5) as judge:
        for seconds, what in ((0.1, signal.SIGSTOP), (1.6, signal.SIGCONT)):
            threading.Timer(seconds, os.kill, (_referees()[0], what)).start()
        assert judge.run([Problem("t/0", "", "f", ["assert f(1) == 1"])], [source])[0].status == status


def test_ctrl_c_leaves_no_process_and_no_file(tmp_path):
    script = """
import signal
from cycle_utils.execution import Judge
from cycle_utils.problems import Problem
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
problem = Problem("t/1", "", "f", ["assert f() == 1"])
with Judge(workers=2, time_limit=60.0) as judge:
    print("ready", flush=True)
    judge.run([problem] * 2, ["def f():\\n    while True: pass", "def f():\\n    while 1: pass"])
"""
    root = str(Path(__file__).resolve().parents[1])
    env = {**os.environ, "PYTHONPATH": root, "TMPDIR": str(tmp_path)}
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=env
    )
    process.stdout.readline()
    time.sleep(1.0)
    family = descendants(process.pid)
    assert len(family) > 4
    process.send_signal(signal.SIGINT)
    process.wait(20)
    process.stdout.close()
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and any(Path(f"/proc/{pid}").exists() for pid in family):
        time.sleep(0.05)
    assert not [pid for pid in family if Path(f"/proc/{pid}").exists()]
    assert not list(tmp_path.iterdir())


def test_the_candidates_side_imports_nothing_of_the_project():
    inside = Path(plain.__file__).parent
    for path in inside.glob("*.py"):
        if path.name != "__init__.py":
            assert "cycle_utils" not in [
                line.split()[1].split(".")[0]
                for line in path.read_text().splitlines()
                if line.startswith(("import ", "from "))
            ]
