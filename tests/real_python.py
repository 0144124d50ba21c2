"""What Python itself says of a program and its test: the two as one script, each run in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile

_RUNNER = """
import json, os, sys
sys.set_int_max_str_digits(0)
try:
    import numpy
except ImportError:
    pass
def main():
    null = os.open(os.devnull, os.O_RDWR)
    for source in json.loads(sys.stdin.readline()):
        pid = os.fork()
        if pid == 0:
            os.dup2(null, 1)
            os.dup2(null, 2)
            space = sys.modules["__main__"].__dict__
            leave, execute, program = os._exit, exec, compile(source, "main.py", "exec")
            space.clear()
            space.update(__name__="__main__")
            try:
                execute(program, space)
            except BaseException:
                leave(1)
            leave(0)
        print(os.waitpid(pid, 0)[1] == 0, flush=True)

main()
"""


def passes(sources: list[str]) -> list[bool]:
    """Of each script, whether it ends without an exception."""
    with tempfile.TemporaryDirectory() as folder:  # scripts write files
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", _RUNNER],
            input=json.dumps(sources) + "\n",
            capture_output=True,
            text=True,
            cwd=folder,
        )
    assert done.returncode == 0, done.stderr
    return [line == "True" for line in done.stdout.splitlines() if line in ("True", "False")]
