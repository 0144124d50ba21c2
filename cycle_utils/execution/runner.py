"""The judge's end of the sandbox: starts the warm parent, starts children in it, hears them, ends them.

All limits are kept here, in a process that the candidate cannot touch. What counts against the limit is the
time a program would take on an idle machine: CPU time plus time asleep, that is wall time less the time it
was ready to run while others ran. So a sleeper cannot outlive its limit, and a busy machine fails nobody.
"""

from __future__ import annotations

import array
import contextlib
import json
import marshal
import math
import os
import secrets
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic

from cycle_utils.execution.inside import plain

INSIDE = Path(__file__).resolve().parent / "inside"
FILE_LIMIT = 32 << 20  # bytes of all answers of a child, or of one over the socket
LOADING = -1  # the index of the answer that says how loading the program went
WALL_FACTOR, WALL_EXTRA = 5, 5.0  # wall limit where the kernel does not tell waiting from sleeping
BUSY = 0.05  # share of its time that a program waited for a CPU, from which the machine counts as busy

# A second malloc arena would take 128 MiB of address space for each thread.
ENVIRONMENT = {"PYTHONHASHSEED": "0", "LANG": "C.UTF-8", "TZ": "UTC", "MALLOC_ARENA_MAX": "1"}
EXITED = "exited early"
_KINDS = ("value", "error", "object", "ask", "crashed")

_ENDING = struct.Struct("idq")


class SandboxDied(RuntimeError):
    """The warm parent is gone; a new one must be started."""


@dataclass(frozen=True)
class Settings:
    """Limits of one program.

    Attributes:
        time_limit: seconds a program may take, CPU and sleep together; a stdin program: for each test.
        memory_limit_mb: MiB of address space.
        packages: installed packages that candidates may import, besides the standard library.
        without: layers of isolation to leave out, to measure what they cost.
    """

    time_limit: float = 3.0
    memory_limit_mb: int = 1024
    packages: tuple[str, ...] = ("numpy",)
    without: tuple[str, ...] = ()


@dataclass(frozen=True)
class Answer:
    """What came back for a request: ``kind`` is ``value``, ``error``, ``object``, ``ask``, ``timeout`` or ``crashed``.

    ``payload`` is the value; ``[type name, message, source line]`` of an exception; the type name of a value that is
    not plain; what the program asks of an object of the tests; or a crash's reason. ``error`` is an exception
    as an object, where there is a border that it can cross (see :mod:`cycle_utils.execution.mirror`).
    """

    index: int
    kind: str
    payload: object = None
    printed: str = ""
    seconds: float = 0.0
    error: BaseException | None = None


@dataclass(frozen=True)
class Ending:
    """How a child ended: its wait status, the CPU seconds of all its processes, its peak memory in KiB."""

    status: int
    seconds: float
    peak: int

    @property
    def signal(self) -> str | None:
        """The name of the signal that killed it, if one did."""
        if not os.WIFSIGNALED(self.status):
            return None
        return signal.Signals(os.WTERMSIG(self.status)).name

    def explain(self, answer: Answer) -> Answer:
        """``answer``, or what a signal makes of it when the process had left without one."""
        if answer.kind != "crashed" or answer.payload != EXITED or self.signal is None:
            return answer
        if self.signal == "SIGXCPU":
            return replace(answer, kind="timeout", payload=None)
        return replace(answer, payload=f"killed by {self.signal}")


class Runner:
    """One warm parent, and the children it forks one after another."""

    def __init__(self, settings: Settings):
        self.settings = settings
        self._folder = tempfile.TemporaryDirectory(prefix="sandbox-", ignore_cleanup_errors=True)
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        config = self._config(theirs.fileno())
        self.process = subprocess.Popen(
            [sys.executable, "-s", "-S", "-B", "-W", "ignore", "-X", "utf8", str(INSIDE), json.dumps(config)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
            env=ENVIRONMENT,
            cwd=self._folder.name,
        )
        theirs.close()
        self.layers = json.loads(self._reply(65536))

    def _config(self, control: int) -> dict:
        paths = [path for path in sys.path if path.endswith(("site-packages", "dist-packages"))]
        return {
            "without": list(self.settings.without),
            "control": control,
            "folder": self._folder.name,
            "memory_mb": self.settings.memory_limit_mb,
            "paths": paths,
            "packages": list(self.settings.packages),
        }

    def _reply(self, size: int) -> bytes:
        data = self._control.recv(size)
        if not data:
            raise SandboxDied("the sandbox's warm parent ended")
        return data

    def command(self, letter: bytes, fds: tuple[int, ...] = ()) -> None:
        """Send one command to the warm parent: a letter and perhaps a number."""
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        try:
            self._control.sendmsg([letter], ancillary)
        except OSError as error:
            raise SandboxDied("the sandbox's warm parent ended") from error

    def usage(self) -> tuple[float, float]:
        """CPU seconds of the child, and seconds it waited for a CPU (nan: unknown)."""
        self.command(b"u")
        cpu, waited = array.array("d", self._reply(16))
        return cpu, waited

    def ending(self) -> Ending:
        """How the child ended; to be read once after each ``e`` command."""
        return Ending(*_ENDING.unpack(self._reply(64)))

    def close(self) -> None:
        """End the warm parent and remove the temporary folder."""
        self._control.close()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._folder.cleanup()


class Child:
    """A running candidate.

    Attributes:
        busy: whether the machine was busy when the child hit its limit.
        spent: wall seconds during which it was waited for.
        output: what a program that reads standard input has printed.
    """

    def __init__(
        self,
        runner: Runner,
        job: dict,
        stdin: str | None = None,
        output_limit: int = 0,
        border: plain.Flat | None = None,
        time_limit: float = 0.0,
    ):
        self.runner, self.busy, self.spent, self._late = runner, False, 0.0, False
        self._border = border or plain.Flat()
        self._time_limit = time_limit or runner.settings.time_limit
        self.output, self._output_limit, self._output_fd = bytearray(), output_limit, None
        self._nonce = secrets.token_hex(16)
        self._buffer = bytearray()
        self._sock, theirs = socket.socketpair()
        self._poll = select.poll()
        self._poll.register(self._sock, select.POLLIN)
        self._file = _memory_file(_frame(marshal.dumps({**job, "nonce": self._nonce})))
        self._begin = os.lseek(self._file, 0, os.SEEK_CUR)
        fds = [] if stdin is None else self._streams(stdin)
        cpu = b"%d" % (math.ceil(self._time_limit) * 2 + 1)
        runner.command((b"f" if stdin is None else b"s") + cpu, (theirs.fileno(), self._file, *fds))
        theirs.close()
        for fd in fds:
            os.close(fd)

    def _streams(self, text: str) -> list[int]:
        """A file holding the program's input, and the writing end of a pipe for its output."""
        stdin = _memory_file(text.encode("utf-8", "surrogatepass"))
        os.lseek(stdin, 0, os.SEEK_SET)
        self._output_fd, stdout = os.pipe()
        os.set_blocking(self._output_fd, False)
        self._poll.register(self._output_fd, select.POLLIN)
        return [stdin, stdout]

    def ask(self, index: int, what: str, arguments: list, limit: float) -> Answer:
        """The answer to one more request over the socket; see :meth:`hear`.

        Raises:
            TypeError: an argument cannot be carried to the program.
        """
        data = [plain.encode(argument, self._border) for argument in arguments]
        request = json.dumps([index, what, data, self._border.changes()])
        self._sock.settimeout(self._time_limit)
        with contextlib.suppress(OSError):  # it is gone or does not listen: that will be its answer
            self._sock.sendall(_frame(request.encode()))
        return self.hear(index, limit)

    def hear(self, index: int, limit: float) -> Answer:
        """Answer ``index``, from the socket; a time-out when the child's time in all exceeds ``limit``; a crash."""
        frame = self._wait(limit, self._whole_frame)
        return self._answer(frame, index) if isinstance(frame, bytes) else replace(frame, index=index)

    def gather(self, indices: Sequence[int], limit: float) -> list[Answer]:
        """The answers that the job's own calls had, when the child has ended or its time in all exceeds ``limit``.

        Where not all of ``indices`` were answered, one more says why: it is a time-out or a crash.
        """
        reason = self._wait(limit, lambda: None)
        if self._late:
            return [replace(reason, index=indices[0])]
        data = memoryview(os.pread(self._file, FILE_LIMIT, self._begin))
        answers = []
        for index in indices:
            size = int.from_bytes(data[:4], "big")
            if len(data) < 4 + size or size == 0:
                return [*answers, replace(reason, index=index)]
            answers.append(self._answer(bytes(data[4 : 4 + size]), index))
            data = data[4 + size :]
            if answers[-1].kind == "crashed" or (index == LOADING and answers[-1].kind != "value"):
                break
        return answers

    def _wait(self, limit: float, done: Callable[[], bytes | None]) -> bytes | Answer:
        """Wait until ``done`` has something, or return the reason why it never will: a time-out or a crash."""
        began = monotonic()
        deadline = began + limit - self.spent
        try:
            while True:
                found = done()
                if found is not None:
                    return self._unless_late(found, limit, began)
                ready = self._poll.poll(max(0.0, deadline - monotonic()) * 1000 + 1)
                problem = self._read(ready)
                if problem:
                    return self._unless_late(Answer(0, "crashed", problem), limit, began)
                if not ready and monotonic() >= deadline:
                    left = self._time_left(limit, self.spent + monotonic() - began)
                    if left <= 0:
                        return Answer(0, "timeout")
                    deadline = monotonic() + max(left, 0.002)
        finally:
            self.spent += monotonic() - began

    def _unless_late(self, found: bytes | Answer, limit: float, began: float) -> bytes | Answer:
        """``found``, unless it was read only after the limit: then a time-out, on a machine that counts as busy.

        The program may have slept too long while this process, or the whole machine, stood still; or it was in
        time. Judged again alone, it shows which.
        """
        elapsed = self.spent + monotonic() - began
        if elapsed <= limit or self._time_left(limit, elapsed) > 0:
            return found
        self.busy = self._late = True
        return Answer(0, "timeout")

    def _time_left(self, limit: float, elapsed: float) -> float:
        """Seconds until the limit, were the child alone on the machine from now on."""
        cpu, waited = self.runner.usage()
        if elapsed > WALL_FACTOR * limit + WALL_EXTRA:
            return 0.0
        if math.isnan(waited):  # the kernel does not tell waiting from sleeping
            cpu = 0.0 if math.isnan(cpu) else cpu
            self.busy = elapsed - cpu > BUSY * elapsed
            return limit - cpu
        self.busy = waited > BUSY * elapsed
        return limit - max(cpu, elapsed - waited)

    def _read(self, ready: list[tuple[int, int]]) -> str | None:
        """Take what is there to read; the reason, when nothing more can come."""
        for fd, _ in ready:
            if fd == self._output_fd:
                if not self._read_output():
                    self._poll.unregister(fd)
                if len(self.output) > self._output_limit:
                    return "output limit"
                continue
            try:
                data = self._sock.recv(1 << 16)
            except OSError:
                data = b""
            if not data:
                return EXITED
            self._buffer += data
        return None

    def _read_output(self) -> bool:
        """Take some of what the program has printed; whether there may be more."""
        try:
            data = os.read(self._output_fd, 1 << 16)
        except BlockingIOError:
            return False
        self.output += data
        return bool(data)

    def _whole_frame(self) -> bytes | None:
        """The next frame from the socket, if all of it is there. An overlong one is cut: it will not be understood."""
        size = int.from_bytes(self._buffer[:4], "big")
        if len(self._buffer) < 4 or (size <= FILE_LIMIT and len(self._buffer) < 4 + size):
            return None
        frame = bytes(self._buffer[4 : 4 + size])
        del self._buffer[: 4 + size]
        return frame

    def _answer(self, frame: bytes, index: int) -> Answer:
        """A frame as an answer; anything but the expected one counts as a crash."""
        try:
            nonce, number, kind, payload, printed, seconds, changes = json.loads(frame)
            if nonce == self._nonce and number == index and kind in _KINDS:
                error = None
                if kind == "error":
                    error = plain.decode(payload[3], self._border) if len(payload) > 3 else None
                    payload = [str(part) for part in payload[:3]]
                elif kind != "crashed":
                    payload = plain.decode(payload, self._border)
                if changes:
                    self._border.apply(changes)
                return Answer(number, kind, payload, str(printed), float(seconds), error)
        except Exception:  # whatever there is in it: it is the program's doing
            pass
        return Answer(index, "crashed", "broken answer")

    def end(self) -> None:
        """Have the child and all it started killed. :meth:`ending` says how it had ended."""
        self._sock.close()
        os.close(self._file)
        self.runner.command(b"e")

    def ending(self) -> Ending:
        """Wait until nothing of the child is left; take the rest of its output."""
        ending = self.runner.ending()
        if self._output_fd is not None:
            while len(self.output) <= self._output_limit and self._read_output():
                pass
            os.close(self._output_fd)
        return ending


def _frame(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data


def _memory_file(data: bytes) -> int:
    """A descriptor of an unnamed file that holds ``data``, positioned at its end."""
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create("judge")
    else:
        with tempfile.TemporaryFile(buffering=0) as file:
            fd = os.dup(file.fileno())
    while data:
        data = data[os.write(fd, data) :]
    return fd
