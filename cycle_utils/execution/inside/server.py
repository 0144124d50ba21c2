"""The warm parent: forks a fresh child for each program, and ends it with all it started.

It never sees a program or a test: those go over the child's own socket. It obeys one-letter commands on a
control socket that no child holds:

- ``f`` + its limit of CPU seconds + [socket, file]: fork a child for a function task;
- ``s`` + the same + [socket, file, stdin, stdout]: fork a child for a program that reads standard input;
- ``u``: reply with the child's CPU seconds and the seconds it waited for a free CPU (nan: unknown);
- ``e``: kill the child and everything it started, reply with its wait status, CPU seconds, peak KiB.
"""

from __future__ import annotations

import _socket
import array
import fcntl
import math
import os
import struct
import time

import child
import kernel
import sandbox

USAGE = struct.Struct("dd")
ENDING = struct.Struct("idq")
HIGH = 40  # the warm parent's own descriptors lie from here on
_ROOM = _socket.CMSG_SPACE(4 * 4)


class Server:
    """The loop of the warm parent; at most one child at a time."""

    def __init__(self, control: _socket.socket, box: sandbox.Sandbox):
        self.box, self.stage = box, child.Stage()
        # Out of the way, so that descriptors which come in get the numbers from 3 on, and children know them.
        self.control = _socket.socket(fileno=fcntl.fcntl(control.detach(), fcntl.F_DUPFD_CLOEXEC, HIGH))
        os.closerange(3, HIGH)
        os.dup2(1, 2)  # until here, what went wrong was to be seen; from here on, /dev/null
        self.pid = 0
        self.commands = {b"f": self.fork, b"s": self.fork, b"u": self.usage, b"e": self.end}
        child.rehearse(self.stage)

    def serve(self) -> None:
        """Obey until the judge closes the control socket; then leave nothing behind."""
        while True:
            letter, numbers = self._command()
            if not letter:
                break
            self.commands[letter](*numbers)
        self.box.kill_children()

    def _command(self) -> tuple[bytes, list[int]]:
        message, ancillary, _, _ = self.control.recvmsg(32, _ROOM)
        fds = array.array("i")
        for _, _, data in ancillary:
            fds.frombytes(data)
        return message[:1], [int(number) for number in (message[1:],) if number] + list(fds)

    def fork(self, cpu: int, *fds: int) -> None:
        """A child with that limit and these descriptors: socket, file with the job, perhaps standard streams."""
        self.pid = kernel.fork()
        if self.pid == 0:
            self._become_child(cpu, *fds)
        os.closerange(child.SOCKET, child.SOCKET + len(fds))

    def _become_child(self, cpu: int, channel: int, file: int, *streams: int) -> None:
        try:
            assert (channel, file) == (child.SOCKET, child.FILE)
            os.close(self.control.fileno())
            for number, stream in enumerate(streams):
                os.dup2(stream, number)
                os.close(stream)
            self.box.confine_child(cpu)
            child.main(self.stage)
        finally:
            os._exit(70)

    def usage(self) -> None:
        """Report the child's CPU time, and how long it was ready to run while others ran."""
        self.control.send(USAGE.pack(_cpu_seconds(self.pid), _seconds_waiting(self.pid)))

    def end(self) -> None:
        """Kill the child and all its descendants, wait for each, report how the child ended."""
        status, spent, peak = -1, 0.0, 0
        for pid, code, used in self.box.kill_children():
            spent += used.ru_utime + used.ru_stime
            if pid == self.pid:
                status, peak = code, used.ru_maxrss
        self.box.clean()
        self.pid = 0
        self.control.send(ENDING.pack(status, spent, peak))


def _cpu_seconds(pid: int) -> float:
    """User and system time of all threads of a process, by the clock that Linux derives from its number."""
    try:
        return time.clock_gettime((~pid << 3) | 2)
    except OSError:
        return math.nan


def _seconds_waiting(pid: int) -> float:
    """How long a process's first thread was runnable but not running; nan where the kernel does not say.

    Nor does it say where ``/proc`` is that of another PID namespace: it would answer for another process.
    """
    try:
        if os.readlink("/proc/self") != str(os.getpid()):
            return math.nan
        with open(f"/proc/{pid}/schedstat", "rb") as file:
            return int(file.read().split()[1]) / 1e9
    except (OSError, ValueError, IndexError):
        return math.nan
