"""Programs that read standard input run as ``python main.py`` runs them, in whatever style they are written."""
# ruff: noqa: E501 (a program a line reads best)

from __future__ import annotations

import pytest

from cycle_utils.execution import Judge
from cycle_utils.problems import Problem

SUM = Problem(
    "stdin/sum",
    "Read n, then n integers. Print their sum.",
    None,
    [
        {"input": "3\n1 2 3\n", "output": "6\n"},
        {"input": "2\n-5 5", "output": "0"},
        {"input": "1\n7\n", "output": "7\n"},
    ],
)
STYLES = {
    "input()": "n = int(input())\nprint(sum(map(int, input().split())))",
    "main guard": "def main():\n    input()\n    print(sum(map(int, input().split())))\nif __name__ == '__main__':\n    main()",
    "sys.stdin": "import sys\nnext(sys.stdin)\nfor line in sys.stdin: print(sum(map(int, line.split())))",
    "sys.stdin.read": "import sys\nn, *xs = map(int, sys.stdin.read().split())\nsys.stdout.write(str(sum(xs)))",
    "sys.stdin.buffer": "import sys\nd = sys.stdin.buffer.read().split()\nsys.stdout.buffer.write(b'%d' % sum(map(int, d[1:])))",
    "readline alias": "import sys\ninput = sys.stdin.readline\ninput()\nprint(sum(map(int, input().split())))",
    "readline lambda": "import sys\ninput = lambda: sys.stdin.readline().rstrip()\ninput()\nprint(sum(map(int, input().split())))",
    "open(0)": "n, *xs = map(int, open(0).read().split())\nprint(sum(xs))",
    "open(0) buffered": "n, *xs = map(int, open(0, 'rb').read().split())\nprint(sum(xs))",
    "os.read": "import os\nd = os.read(0, 10**6).split()\nprint(sum(map(int, d[1:])))",
    "/dev/stdin": "n, *xs = map(int, open('/dev/stdin').read().split())\nprint(sum(xs))",
    "fileinput": "import fileinput\nlines = list(fileinput.input())\nprint(sum(map(int, lines[1].split())))",
    "exit()": "input()\nprint(sum(map(int, input().split())))\nexit()\nprint('never')",
    "sys.exit(0)": "import sys\ninput()\nprint(sum(map(int, input().split())))\nsys.exit(0)",
    "quit in a function": "def main():\n    input()\n    print(sum(map(int, input().split())))\n    quit()\nmain()",
    "os._exit after a flush": "import os, sys\ninput()\nprint(sum(map(int, input().split())))\nsys.stdout.flush()\nos._exit(0)",
    "raise SystemExit": "input()\nprint(sum(map(int, input().split())))\nraise SystemExit",
    "thread with a deep stack": """
import sys, threading
sys.setrecursionlimit(1 << 20)
threading.stack_size(1 << 27)
def go(xs, i=0):
    return 0 if i == len(xs) else xs[i] + go(xs, i + 1)
def main():
    input()
    print(go(list(map(int, input().split())) + [0] * 20000))
t = threading.Thread(target=main)
t.start()
t.join()
""",
    "thread that is not joined": "import threading\ndef main():\n    input()\n    print(sum(map(int, input().split())))\nthreading.Thread(target=main).start()",
    "deep recursion with globals": """
import sys
sys.setrecursionlimit(10**6)
total = 0
xs = []
def go(i):
    global total
    if i == len(xs): return
    total += xs[i]
    go(i + 1)
input()
xs = list(map(int, input().split())) + [0] * 50000
go(0)
print(total)
""",
    "class": "class Main:\n    def __init__(self): self.n = int(input())\n    def run(self): return sum(map(int, input().split()))\nprint(Main().run())",
    "generator": "def tokens():\n    while True:\n        try: yield from input().split()\n        except EOFError: return\nt = tokens()\nn = int(next(t))\nprint(sum(int(next(t)) for _ in range(n)))",
    "until EOF": "xs = []\ntry:\n    while True: xs += input().split()\nexcept EOFError: pass\nprint(sum(map(int, xs[1:])))",
    "output at exit": "import atexit\nout = []\natexit.register(lambda: print(*out))\ninput()\nout.append(sum(map(int, input().split())))",
    "replaced stdout": "import io, os, sys, atexit\nsys.stdout = io.BytesIO()\natexit.register(lambda: os.write(1, sys.stdout.getvalue()))\ninput()\nsys.stdout.write(b'%d\\n' % sum(map(int, input().split())))",
    "file never closed": "import sys\nout = open(1, 'w')\ninput()\nout.write(str(sum(map(int, input().split()))))",
    "print with end and flush": "input()\nfor c in str(sum(map(int, input().split()))): print(c, end='', flush=True)\nprint()",
    "noise on stderr": "import sys\nprint('debug', file=sys.stderr)\ninput()\nprint(sum(map(int, input().split())))",
    "asyncio": "import asyncio\nasync def main():\n    input()\n    print(sum(map(int, input().split())))\nasyncio.run(main())",
    "dataclass and pickle in main": "import dataclasses, pickle\n@dataclasses.dataclass\nclass N:\n    n: int\ninput()\nprint(sum(pickle.loads(pickle.dumps(N(int(x)))).n for x in input().split()))",
    "temporary file": "input()\nwith open('out.txt', 'w') as f: f.write(str(sum(map(int, input().split()))))\nprint(open('out.txt').read())",
    "walrus": "n = int(input())\nwhile (line := input()): break\nprint(eval('+'.join(line.split())))",
}


@pytest.fixture(scope="module")
def judge():
    with Judge(workers=2, time_limit=3.0, memory_limit_mb=512) as judge:
        yield judge


@pytest.fixture(scope="module")
def verdicts(judge):
    return dict(zip(STYLES, judge.run([SUM] * len(STYLES), list(STYLES.values()))))


@pytest.mark.parametrize("style", STYLES)
def test_style_passes(verdicts, style):
    assert verdicts[style].passed, verdicts[style]


@pytest.mark.parametrize(
    ("program", "status"),
    [
        ("input()\nprint(1)", "failed"),
        ("print(1 / 0)", "error"),
        ("input()\nprint(sum(map(int, input().split())))\nraise ValueError('late')", "error"),
        ("while True: pass", "timeout"),
        ("import os\nos._exit(0)", "failed"),
        ("import os\nos.abort()", "crashed"),
        ("x = bytearray(1 << 32)", "crashed"),
        ("while True: print('x' * 10000)", "crashed"),
        ("print(1", "error"),
        ("", "failed"),
    ],
)
def test_wrong_programs(judge, program, status):
    assert judge.run([SUM], [program])[0].status == status


def test_feedback_shows_texts_and_the_failing_line(judge):
    wrong, broken = judge.run([SUM] * 2, ["input()\nprint(len(input()))", "n = int(input())\nxs = {}\nprint(xs['a'])"])
    assert wrong.feedback() == "Input: 3\n1 2 3\n\nExpected: 6\n\nActual: 5\n"
    assert broken.feedback().endswith("Error: KeyError: 'a'\nLine: print(xs['a'])")


def test_a_completion_may_continue_the_prompt(judge):
    problem = Problem("stdin/c", "# Double it.\ndef main():", None, [{"input": "4", "output": "8"}])
    assert judge.run([problem], ["\n    print(2 * int(input()))\nmain()"])[0].passed


def test_integers_of_any_length(judge):
    digits = "7" * 9131
    problem = Problem("stdin/i", "", None, [{"input": digits, "output": digits}])
    source = "import sys\nsys.set_int_max_str_digits(0)\nprint(int(input()))"
    assert judge.run([problem], [source])[0].passed
    call = Problem("call/i", "", "f", [{"input": [int("7" * 4000) ** 2], "output": int("7" * 4000) ** 2 + 1}])
    assert judge.run([call], ["def f(x):\n    return x + 1"])[0].passed


def test_runs_do_not_see_each_other(judge):
    source = "import os\nprint(len(os.listdir('.')))\nopen('left', 'w').close()\ninput()"
    problem = Problem("stdin/l", "", None, [{"input": "a", "output": "0"}, {"input": "b", "output": "0"}])
    assert judge.run([problem], [source])[0].passed
