"""Runs one candidate, in a process of its own, and answers the judge's calls with plain data.

Everything the process sends is what the candidate determines anyway: actual values, printed text, exceptions.
Expected values never come here, so writing frames by itself gains a candidate nothing that returning a value
would not.

Two ways lead to the judge. Calls known beforehand come with the job, in a file in memory, and their answers are
added to that file: the judge need not wake up for each. Other calls come and are answered over a socket. Frames
are a length of four bytes and that many bytes:

- judge to child, first thing in the file: the job, a marshalled dictionary of ``nonce``; ``source`` and ``code`` of the
  program; ``setup`` (code); ``asked`` (code of a list of functions, one a question); ``entry`` (``None``: a program
  that reads standard input); ``calls`` (``(index, call)``); and ``more`` (whether calls follow on the socket: then all
  answers go there, too);
- judge to child, on the socket: marshalled ``(index, call)``;
- child to judge: JSON arrays ``[nonce, index, kind, payload, printed, seconds, arguments]``, where ``index``
  is the call's (-1: loading the program), ``kind`` is ``value``, ``error`` (payload: type name, message, source
  line) or ``crashed`` (payload: the reason).

Each page of memory that a child is the first to touch costs it microseconds, so what can be made ready is made
ready in the warm parent: :func:`rehearse`.
"""

from __future__ import annotations

import atexit
import builtins
import gc
import io
import json
import marshal
import os
import random
import sys
import threading
import types
from time import perf_counter

import plain

SOCKET, FILE = 3, 4  # the descriptors under which the warm parent receives them
FILENAME = "<candidate>"
FRAME_LIMIT = 8 << 20  # bytes of one answer
PRINTED_LIMIT = 10_000  # bytes of a call's printed output that are kept
TEXT_LIMIT = 2_000  # characters of an exception's message and source line


class Channel:
    """Frames to and from the judge, each of ours bound to the program's nonce."""

    def __init__(self, socket: int = SOCKET, file: int = FILE):
        self._read, self._write, self._encode = os.read, os.write, json.JSONEncoder().encode
        self._socket = socket
        size = int.from_bytes(os.pread(file, 4, 0), "big")
        self.job = marshal.loads(os.pread(file, size, 4))
        self._nonce = self.job["nonce"]
        self._target = socket if self.job["more"] else file
        os.lseek(file, 0, os.SEEK_END)

    def read(self) -> bytes | None:
        """The next frame on the socket, or ``None`` when the judge has closed it."""
        size = self._exactly(4)
        return self._exactly(int.from_bytes(size, "big")) if size else None

    def _exactly(self, count: int) -> bytes | None:
        parts = []
        while count:
            part = self._read(self._socket, count)
            if not part:
                return None
            parts.append(part)
            count -= len(part)
        return b"".join(parts)

    def write(self, index: int, kind: str, payload: object, *rest: object) -> None:
        """One frame to the judge. The fields are JSON-ready already."""
        data = self._encode([self._nonce, index, kind, payload, *rest]).encode()
        if len(data) > FRAME_LIMIT:
            return self.write(index, "crashed", "result too large", "", 0.0, None)
        data = len(data).to_bytes(4, "big") + data
        while data:
            data = data[self._write(self._target, data) :]


class Printed(io.RawIOBase):
    """Where a function task's standard output goes: its first bytes are kept, the rest is dropped."""

    def __init__(self):
        self.kept = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data) -> int:
        """Keep what still fits of ``data``; claim to have written it all."""
        size = memoryview(data).nbytes
        room = PRINTED_LIMIT - len(self.kept)
        if room > 0:
            self.kept += bytes(data[:room])
        return size

    def take(self) -> str:
        """What was printed since the last call."""
        text = self.kept.decode("utf-8", "replace")
        self.kept.clear()
        return text


def describe(error: BaseException, source: str) -> list[str]:
    """``[type name, message, the candidate's own line]`` of an exception; the line is empty when unknown.

    Kinds of ``SystemExit`` and ``MemoryError`` go by those names: they are no errors but crashes.
    """
    crash = next((kind for kind in (SystemExit, MemoryError) if isinstance(error, kind)), type(error))
    name = str(crash.__name__)
    try:
        message = str(error)
    except Exception:
        message = ""
    return [name, message[:TEXT_LIMIT], _line_of(error.__traceback__, source)[:TEXT_LIMIT]]


def _line_of(step: types.TracebackType | None, source: str) -> str:
    """The innermost line of the candidate's source that the exception went through."""
    number = 0
    while step is not None:
        if step.tb_frame.f_code.co_filename == FILENAME:
            number = step.tb_lineno
        step = step.tb_next
    lines = source.split("\n")
    return lines[number - 1].strip() if 0 < number <= len(lines) else ""


def _clean_module(name: str) -> types.ModuleType:
    module = types.ModuleType(name)
    module.__builtins__ = builtins
    return module


class Stage:
    """What a function task needs around it, set up once in the warm parent."""

    def __init__(self):
        self.module = sys.modules["candidate"] = _clean_module("candidate")
        self.printed = Printed()
        sys.stdout = sys.__stdout__ = io.TextIOWrapper(self.printed, encoding="utf-8", write_through=True)
        random.seed(0)


class FunctionTask:
    """A program whose function the judge calls."""

    def __init__(self, channel: Channel, stage: Stage):
        self.channel, self.job, self.source = channel, channel.job, channel.job["source"]
        self.printed, self.space = stage.printed, stage.module.__dict__

    def run(self) -> None:
        """Load the program, answer the job's calls in order, then those that the judge asks for."""
        if not self._guarded(-1, self._load):
            return
        for index, call in self.job["calls"]:
            self._guarded(index, self._call, call)
        while self.job["more"] and (request := self.channel.read()):
            index, call = marshal.loads(request)
            self._guarded(index, self._call, call)

    def _load(self) -> tuple[object, object]:
        exec(marshal.loads(self.job["setup"]), self.space)
        exec(marshal.loads(self.job["code"]), self.space)
        name = self.job["entry"]
        self.entry = self.space.setdefault(name, self._method(name))
        if self.entry is None:
            raise NameError(f"name {name!r} is not defined")
        self.asked = eval(marshal.loads(self.job["asked"]), self.space)
        return None, None

    def _method(self, name: str):
        """The function under test as a method of ``class Solution``, which is made anew for each call."""
        solution = self.space.get("Solution")
        if isinstance(solution, type) and hasattr(solution, name):
            return lambda *args, **kwargs: getattr(solution(), name)(*args, **kwargs)
        return None

    def _call(self, call: int | str) -> tuple[object, object]:
        """Answer one call: a question's number, or arguments as JSON. The second value is what became of those."""
        if isinstance(call, int):
            return plain.encode(self.asked[call]()), None
        args, kwargs = plain.loads(call)
        result = plain.encode(self.entry(*args, **kwargs))
        after = plain.encode((args, kwargs))
        return result, (after if json.dumps(after) != call else None)

    def _guarded(self, index: int, work, *args) -> bool:
        """Do ``work``, report its value or its exception as answer ``index``; whether it had a value."""
        began = perf_counter()
        after = None
        try:
            payload, after = work(*args)
            kind = "value"
        except BaseException as error:
            payload, kind = describe(error, self.source), "error"
        seconds = perf_counter() - began
        self.channel.write(index, kind, payload, self.printed.take(), seconds, after)
        return kind == "value"


class StdinTask:
    """A program run as ``python main.py`` runs it, on the descriptors 0, 1 and 2 that it was given."""

    def __init__(self, channel: Channel):
        self.channel, self.job = channel, channel.job
        sys.stdin = sys.__stdin__ = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
        sys.stdout = sys.__stdout__ = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
        sys.stderr = sys.__stderr__ = open(2, "w", encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115
        sys.argv = ["main.py"]
        del sys.modules["candidate"]

    def run(self) -> None:
        """Run the program to its end, as the interpreter would end it, and report how it ended."""
        began, ending = perf_counter(), ["value", None]
        try:
            module = sys.modules["__main__"] = _clean_module("__main__")
            module.__file__ = "main.py"
            exec(marshal.loads(self.job["setup"]), module.__dict__)
            exec(marshal.loads(self.job["code"]), module.__dict__)
        except SystemExit:
            pass
        except BaseException as error:
            ending = ["error", describe(error, self.job["source"])]
        self._end()
        self.channel.write(0, *ending, "", perf_counter() - began, None)

    def _end(self) -> None:
        """What the interpreter does at exit: join threads, run exit functions, flush and close open files."""
        for step in (threading._shutdown, atexit._run_exitfuncs, self._flush, self._collect):
            try:
                step()
            except BaseException:
                continue

    def _flush(self) -> None:
        for stream in (sys.stdout, sys.__stdout__):
            if stream is not None and not stream.closed:
                stream.flush()

    def _collect(self) -> None:
        sys.modules["__main__"].__dict__.clear()
        gc.collect()


def main(stage: Stage) -> None:
    """Read the job, run it, and leave without the interpreter's own clean-up. Never returns."""
    try:
        channel = Channel()
        task = StdinTask(channel) if channel.job["entry"] is None else FunctionTask(channel, stage)
        task.run()
    finally:
        os._exit(0)


def rehearse(stage: Stage) -> None:
    """Go through a harmless function task, in the warm parent: first times cost more than later ones."""
    asked = marshal.dumps(compile("[lambda: f([1, 2.5], 'a')]", "<test>", "eval"))
    job = {
        "nonce": "0" * 32,
        "source": _REHEARSED,
        "setup": marshal.dumps(compile("", "<setup>", "exec")),
        "entry": "f",
        "asked": asked,
    }
    job["code"] = marshal.dumps(compile(_REHEARSED, FILENAME, "exec"))
    data = marshal.dumps({**job, "calls": [(0, 0), (1, plain.dumps(([[1], "a"], {})))], "more": False})
    for _ in range(20):  # the interpreter specializes code that has run a number of times
        reading, writing = os.pipe()
        os.close(reading)
        file = os.open(".rehearsal", os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        os.unlink(".rehearsal")
        os.write(file, len(data).to_bytes(4, "big") + data)
        FunctionTask(Channel(writing, file), stage).run()
        os.close(writing)
        os.close(file)
    stage.module.__dict__.clear()
    stage.module.__dict__.update(_clean_module("candidate").__dict__)


_REHEARSED = """
from typing import List

def f(numbers: List[float], name: str) -> dict:
    \"\"\"A little of everything.\"\"\"
    total = 0
    for number in sorted(numbers):
        if number > 1 and name:
            total += number
    return {"total": total, "squares": [n * n for n in numbers], "name": (name.upper(), len(name), f"{total}")}
"""
