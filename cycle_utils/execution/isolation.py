"""Which layers of isolation hold on this machine, and whether they are enough."""

from __future__ import annotations

import contextlib
import marshal
import os
import socket
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cycle_utils.execution import suite
from cycle_utils.execution.inside import plain
from cycle_utils.execution.program import compiled
from cycle_utils.execution.runner import LOADING, Answer, Child, Runner, Settings


class IsolationError(RuntimeError):
    """Untrusted programs cannot be confined on this machine."""


# An essential is met by any of its layers.
ESSENTIALS = {
    "network": ("namespaces", "seccomp"),
    "file system": ("mounts", "Landlock"),
    "process tree": ("namespaces", "seccomp"),
}


def missing_essentials(layers: dict[str, str]) -> dict[str, str]:
    """The essentials that no layer provides, each with the reasons."""
    return {
        name: "; ".join(f"{layer}: {layers[layer]}" for layer in needed)
        for name, needed in ESSENTIALS.items()
        if all(layers[layer] for layer in needed)
    }


def require(layers: dict[str, str]) -> None:
    """Raise unless all essentials are met.

    Raises:
        IsolationError: names what is missing, why, and the way out.
    """
    missing = missing_essentials(layers)
    if missing:
        reasons = ", ".join(f"{name} ({reason})" for name, reason in missing.items())
        raise IsolationError(
            f"This machine does not isolate {reasons}: judge on a Linux machine with user namespaces or with Landlock "
            "and seccomp, or run untrusted programs unconfined with Judge(allow_unisolated=True), in a notebook with "
            """the environment variable CYCLE_JUDGE='{"allow_unisolated": true}'."""
        )


@dataclass(frozen=True)
class IsolationReport:
    """What :func:`isolation_report` found; print it.

    Attributes:
        layers: by name, ``""`` where the machine has it, else why not.
        contained: by what a program tried, whether it was held back.
    """

    layers: dict[str, str]
    contained: dict[str, bool]

    @property
    def missing(self) -> dict[str, str]:
        """The essentials that no layer provides; empty where untrusted programs may be run."""
        return missing_essentials(self.layers)

    @property
    def summary(self) -> str:
        """One line where all is well; else the whole report."""
        if any(self.layers.values()) or not all(self.contained.values()):
            return str(self)
        tried = len(self.contained)
        return f"judge: all {len(self.layers)} layers of isolation hold; all {tried} attempts to escape were stopped"

    def __str__(self) -> str:
        lines = ["Layers of isolation on this machine:"]
        lines += [
            f"  {'yes' if not why else 'NO '}  {name}{f' ({why})' if why else ''}" for name, why in self.layers.items()
        ]
        lines.append("What a program tried, and was held back from:")
        lines += [f"  {'yes' if held else 'NO '}  {name}" for name, held in self.contained.items()]
        lines.append(f"Essentials missing: {', '.join(self.missing) or 'none'}.")
        return "\n".join(lines)

    __repr__ = __str__


# Each defines attempt(facts), which returns whether it got out; an exception is as good as a refusal.
ATTEMPTS = {
    "reach a server on this machine": """
import socket
def attempt(facts):
    socket.create_connection(("127.0.0.1", facts["port"]), 1)
    return True
""",
    "read a file outside its folder": """
def attempt(facts):
    return bool(open(facts["secret"]).read())
""",
    "write a file outside its folder": """
def attempt(facts):
    open(facts["target"], "w").write("x")
    return True
""",
    "see the judge's process": """
import os
def attempt(facts):
    os.kill(facts["pid"], 0)
    return True
""",
    "see the user's environment": """
import os
def attempt(facts):
    return facts["variable"] in os.environ
""",
    "take more memory than its limit": """
def attempt(facts):
    return bool(bytearray(facts["bytes"]))
""",
    "fill the disk": """
def attempt(facts):
    for number in range(100):
        with open(str(number), "wb") as file:
            for _ in range(100):
                file.write(bytes(1 << 20))
    return True
""",
    "leave a process behind": """
import os, time
def attempt(facts):
    if os.fork() == 0:
        os.setsid()
        time.sleep(60)
    return True
""",
    "run on for ever": """
def attempt(facts):
    while True:
        try:
            while True:
                pass
        except BaseException:
            pass
""",
}


def isolation_report(without: Sequence[str] = ()) -> IsolationReport:
    """Try each layer on this machine, and a number of ways out of them all. Takes about two seconds.

    Args:
        without: layers to leave out, to see whether the others hold by themselves.
    """
    runner = Runner(Settings(time_limit=1.0, memory_limit_mb=256, without=tuple(without)))
    with tempfile.TemporaryDirectory() as folder, socket.create_server(("127.0.0.1", 0)) as server:
        secret = Path(folder) / "secret"
        secret.write_text("not for candidates", encoding="utf-8")
        facts = {
            "port": server.getsockname()[1],
            "secret": str(secret),
            "target": str(Path(folder) / "target"),
            "pid": os.getpid(),
            "variable": "PATH",
            "bytes": 1 << 30,
        }
        try:
            contained = {name: not _gets_out(runner, source, facts) for name, source in ATTEMPTS.items()}
        finally:
            runner.close()
    return IsolationReport(runner.layers, contained)


def _gets_out(runner: Runner, source: str, facts: dict) -> bool:
    """Whether a program got out: it said so, and no process of its remained where that was the point."""
    before = descendants(runner.process.pid)
    answer = asked_once(runner, source, "attempt", facts)
    if "fork" in source:
        return bool(descendants(runner.process.pid) - before)
    return answer.kind == "value" and answer.payload is True


def asked_once(runner: Runner, source: str, entry: str, *arguments: object) -> Answer:
    """What one call of a program's function gives in the sandbox; for looking at the sandbox itself."""
    job = {
        "source": source,
        "code": compiled([source]).code,
        "prelude": b"",
        "setup": marshal.dumps(compile("", "<setup>", "exec")),
        "objects": True,
        "entry": entry,
        "asked": suite.NOTHING,
    }
    child = Child(runner, {**job, "calls": [(0, plain.dumps((list(arguments), {})))], "more": False})
    answer = child.gather([LOADING, 0], 1.0)[-1]
    child.end()
    child.ending()
    return answer


def descendants(pid: int) -> set[int]:
    """All processes that descend from ``pid``."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, IndexError, ValueError):
            parents[int(path.parent.name)] = int(path.read_text(encoding="utf-8").rpartition(")")[2].split()[1])
    found, new = set(), {pid}
    while new:
        found |= new
        new = {child for child, parent in parents.items() if parent in new} - found
    return found
