"""Starts the warm parent: ``python -S inside CONFIG``, with the settings as JSON."""

from __future__ import annotations

import _socket
import gc
import json
import os
import site
import sys
import time

import sandbox
import server

OWN = ("border", "child", "filters", "kernel", "objects", "plain", "sandbox", "server")
# Few: what a child inherits, it must copy and let go.
COMMON = (
    "bisect", "collections.abc", "copy", "functools", "heapq", "itertools", "json", "math", "operator", "random", "re",
    "string", "time", "typing",
)  # fmt: skip


def preload() -> None:
    """Import what programs commonly import, and compile once, so that no child pays for it."""
    for name in COMMON:
        __import__(name)
    compile("def f(x):\n    return [y for y in x]\n", "<warm>", "exec")
    site.setquit()
    site.sethelper()
    site.setcopyright()


def forget_ourselves(paths: list[str]) -> None:
    """Leave no trace of our own modules for programs to import, and the installed packages in their place."""
    sys.path[:] = [path for path in sys.path if path != os.path.dirname(os.path.abspath(__file__))] + paths
    for name in OWN:
        del sys.modules[name]


def bare_environment(folder: str) -> None:
    """Nothing of the user's: fixed locale and time zone, the private folder as home, one thread in BLAS."""
    os.environ.clear()
    os.environ.update(LANG="C.UTF-8", TZ="UTC", HOME=folder, TMPDIR=folder, OMP_NUM_THREADS="1")
    os.environ["OPENBLAS_NUM_THREADS"] = "1"  # its threads' buffers would fill the address space
    time.tzset()


def main() -> None:
    """Confine this process, tell the judge how far that went, and serve."""
    config = json.loads(sys.argv[1])
    sys.set_int_max_str_digits(0)  # programs written before Python 3.11 know of no such limit
    preload()
    box = sandbox.Sandbox(config)
    box.enter()
    bare_environment(box.folder)
    forget_ourselves(config["paths"])
    control = _socket.socket(fileno=config["control"])
    control.send(json.dumps(box.layers).encode())
    gc.collect()
    gc.freeze()
    server.Server(control, box).serve()


main()
