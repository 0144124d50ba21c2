"""Runs one candidate, in a process of its own, and answers the judge's calls with plain data.

Everything the process sends is what the candidate determines anyway: actual values, printed text, exceptions.
Expected values never come here, so writing frames by itself gains a candidate nothing that returning a value
would not.

Two ways lead to the judge. Calls known beforehand come with the job, in a file in memory, and their answers are
added to that file: the judge need not wake up for each. Where the tests want more than plain values, they *talk*
instead: requests come and are answered over a socket, and objects stay here, known by number (:mod:`objects`).
Frames are a length of four bytes and that many bytes:

- judge to child, first thing in the file: the job, a marshalled dictionary of ``nonce``; ``source`` and ``code`` of the
  program; ``prelude`` (code of names for programs that count on them), ``setup`` (code); ``asked`` (code of a list of
  functions, one a question); ``entry`` (``None``: a program that reads standard input); ``calls`` (``(index, call)``:
  a question's number or arguments as JSON); ``objects`` (whether a value that is not plain may cross, as its name);
  and ``more`` (whether requests follow on the socket: then all answers go there, too);
- judge to child, on the socket: JSON arrays ``[index, what, arguments, changes]``; see ``objects.OPERATIONS``, and
  ``question`` (its number) and ``reply``, the answer to what the child asked back (a value or an exception);
- child to judge: JSON arrays ``[nonce, index, kind, payload, printed, seconds, changes]``, where ``index`` is the
  request's (-1: loading the program) and ``kind`` is ``value``; ``error`` (payload: type name, message, source line
  and, in a talk, the exception); ``object`` (a value that is not plain: its type name); ``ask`` (payload: number of an
  object of the tests, what to do with it, arguments); or ``crashed`` (payload: the reason).

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

import objects
import plain

SOCKET, FILE = 3, 4  # the descriptors under which the warm parent receives them
FILENAME = "<candidate>"
ENTRY = 0  # the number of the function under test, known to both sides
LOADING = -1  # the index of the answer that says how loading the program went
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
            return self.write(index, "crashed", "result too large", "", 0.0, [])
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

    Kinds of ``SystemExit`` and ``MemoryError`` go by those names: they are not errors but crashes.
    """
    crash = next((kind for kind in (SystemExit, MemoryError) if isinstance(error, kind)), type(error))
    message = objects.message_of(error)
    return [str(crash.__name__), message[:TEXT_LIMIT], _line_of(error.__traceback__, source)[:TEXT_LIMIT]]


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
        """Load the program, then answer: the calls that came with the job, or what is asked over the socket."""
        if not self._reported(LOADING, self._load):
            return
        if self.job["more"]:
            Talk(self).run()
            return
        for index, call in self.job["calls"]:
            self._reported(index, self._call, call)

    def _load(self) -> tuple[str, object]:
        load(self.job, self.space)
        name = self.job["entry"]
        self.entry = self._method(name) or self.space.get(name)
        if self.entry is None:
            raise NameError(f"name {name!r} is not defined")
        names = self.space if self.space.get(name) is self.entry else {**self.space, name: self.entry}
        self.asked = eval(marshal.loads(self.job["asked"]), names)
        return "value", None

    def _method(self, name: str):
        """The function under test as a method of ``class Solution``, which is made afresh for each call."""
        solution = self.space.get("Solution")
        if isinstance(solution, type) and hasattr(solution, name):
            return lambda *args, **kwargs: getattr(solution(), name)(*args, **kwargs)
        return None

    def _call(self, call: int | str) -> tuple[str, object]:
        """The kind and the payload of the answer to a call: a question's number, or arguments as JSON."""
        flat = plain.Flat()
        if isinstance(call, int):
            value = self.asked[call]()
        else:
            args, kwargs = plain.loads(call)
            value = self.entry(*args, **kwargs)
        payload = plain.encode(value, flat)
        return ("value", payload) if flat.met is None or self.job["objects"] else ("object", flat.met)

    def _reported(self, index: int, work, *args) -> bool:
        """Do ``work``, report its value or its exception as answer ``index``; whether it had a value."""
        began = perf_counter()
        try:
            kind, payload = work(*args)
        except BaseException as error:
            payload, kind = describe(error, self.source), "error"
        self.channel.write(index, kind, payload, self.printed.take(), perf_counter() - began, [])
        return kind == "value"


def load(job: dict, space: dict) -> None:
    """Run a job's setup and program in ``space``.

    The prelude's names come after the builtins: they hide nothing, and do not belong to the program. Nor is what
    the setup may define under the name that is asked for.
    """
    if job["prelude"]:
        names: dict = {}
        exec(marshal.loads(job["prelude"]), names)
        for name, value in names.items():
            builtins.__dict__.setdefault(name, value)
    exec(marshal.loads(job["setup"]), space)
    space.pop(job["entry"], None)
    exec(marshal.loads(job["code"]), space)


class Talk:
    """Requests and answers over the socket, about values and objects. Either side may ask while it is asked."""

    def __init__(self, task: FunctionTask):
        self.task, self.channel = task, task.channel
        self.border = objects.Inside(task.space, self._ask_back)
        self.border.keep(task.entry, ENTRY)
        self._index = 0  # of the request that is being served

    def run(self) -> None:
        """Serve until the judge closes the socket."""
        while request := self.channel.read():
            self._serve(*json.loads(request))

    def _serve(self, index: int, what: str, arguments: object, changes: list) -> None:
        outer, self._index = self._index, index
        began = perf_counter()
        try:
            arguments = self._read(arguments, changes)
            value = self.task.asked[arguments[0]]() if what == "question" else self.border.do(what, arguments)
            kind, payload = "value", plain.encode(value, self.border)
        except BaseException as error:
            kind, payload = "error", self._described(error)
        self._index = outer
        printed, seconds = self.task.printed.take(), perf_counter() - began
        self.channel.write(index, kind, payload, printed, seconds, self.border.changes())

    def _read(self, data: list, changes: list) -> list:
        values = plain.decode(data, self.border)
        self.border.apply(changes)
        return values

    def _described(self, error: BaseException) -> list:
        try:
            exception = self.border.exception(error)
        except Exception:  # it has attributes that cannot be read
            exception = None
        return [*describe(error, self.task.source), exception]

    def _ask_back(self, number: int, what: str, *arguments) -> object:
        """Have the judge do something with an object of the tests, and serve what it asks meanwhile."""
        payload = [number, what, [plain.encode(argument, self.border) for argument in arguments]]
        self.channel.write(self._index, "ask", payload, self.task.printed.take(), 0.0, self.border.changes())
        while request := self.channel.read():
            index, what, arguments, changes = json.loads(request)
            if what != "reply":
                self._serve(index, what, arguments, changes)
                continue
            value, error = self._read(arguments, changes)
            if error is not None:
                raise error
            return value
        os._exit(0)


class StdinTask:
    """A program run as ``python main.py`` runs it, on the descriptors 0, 1 and 2 that it was given."""

    def __init__(self, channel: Channel):
        self.channel, self.job = channel, channel.job
        # As the interpreter opens them under LANG=C.UTF-8: line ends as they come, bytes that are no text kept.
        text = {"encoding": "utf-8", "errors": "surrogateescape", "closefd": False, "newline": "\n"}
        sys.stdin = sys.__stdin__ = open(0, **text)  # noqa: SIM115
        sys.stdout = sys.__stdout__ = open(1, "w", **text)  # noqa: SIM115
        sys.stderr = sys.__stderr__ = open(2, "w", encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115
        sys.argv = ["main.py"]
        del sys.modules["candidate"]

    def run(self) -> None:
        """Run the program to its end, as the interpreter would end it, and report how it ended."""
        began, ending = perf_counter(), ["value", None]
        try:
            module = sys.modules["__main__"] = _clean_module("__main__")
            module.__file__ = "main.py"
            load(self.job, module.__dict__)
        except SystemExit:
            pass
        except BaseException as error:
            ending = ["error", describe(error, self.job["source"])]
        self._end()
        self.channel.write(0, *ending, "", perf_counter() - began, [])

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
        "prelude": b"",
        "setup": marshal.dumps(compile("", "<setup>", "exec")),
        "objects": False,
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
