"""The system calls that Python's library lacks: namespaces, mounts, capabilities, Landlock.

Each function raises ``OSError`` where the kernel refuses or does not know the call.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct

NEW_NS, NEW_UTS, NEW_IPC = 0x00020000, 0x04000000, 0x08000000
NEW_USER, NEW_PID, NEW_NET = 0x10000000, 0x20000000, 0x40000000
RDONLY, NOSUID, NODEV, NOEXEC, REMOUNT, BIND, REC, PRIVATE = 1, 2, 4, 8, 32, 4096, 16384, 1 << 18
_DETACH = 2
_DEATH_SIGNAL, _DUMPABLE, _SUBREAPER, _NO_NEW_PRIVS = 1, 4, 36, 38
_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_CAPABILITY_VERSION = 0x20080522

_libc = ctypes.CDLL(None, use_errno=True)


# The C library's own fork, with Python's lock held. ``os.fork`` also repairs locks and threads in the child, which
# a parent of one thread does not need, and which touches 170 pages of memory: half the cost of an idle child.
fork = ctypes.PyDLL(None).fork


def _check(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def _path(text: str | None) -> bytes | None:
    return None if text is None else os.fsencode(text)


def unshare(flags: int) -> None:
    """New namespaces for this process (a PID namespace: for its future children)."""
    _check(_libc.unshare(flags), "unshare")


def mount(source: str | None, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
    """``mount(2)``."""
    flags_type = ctypes.c_ulong(flags)
    _check(_libc.mount(_path(source), _path(target), _path(kind), flags_type, _path(data)), f"mount {target}")


def unmount(path: str) -> None:
    """Take a mount and all below it out of the tree."""
    _check(_libc.umount2(_path(path), _DETACH), f"umount {path}")


def change_root(folder: str) -> None:
    """Make ``folder``, a mount point, the root of this mount namespace, and let go of the old root."""
    os.chdir(folder)
    _check(_libc.syscall(_PIVOT_ROOT[platform.machine()], b".", b"."), "pivot_root")
    unmount(".")
    os.chdir("/")


def _prctl(option: int, value: int) -> None:
    zero = ctypes.c_ulong(0)
    _check(_libc.prctl(option, ctypes.c_ulong(value), zero, zero, zero), "prctl")


def die_with_parent() -> None:
    """Have this process killed when its parent ends."""
    _prctl(_DEATH_SIGNAL, 9)


def hide_memory() -> None:
    """Keep other processes of the same user from reading or tracing this one (and its future children)."""
    _prctl(_DUMPABLE, 0)


def adopt_orphans() -> None:
    """Become the parent of all descendants whose own parent ends."""
    _prctl(_SUBREAPER, 1)


def no_new_privileges() -> None:
    """Never gain rights by executing a file; seccomp and Landlock demand it."""
    _prctl(_NO_NEW_PRIVS, 1)


def drop_capabilities() -> None:
    """Give up all of root's rights, also those over the new namespaces."""
    header = struct.pack("Ii", _CAPABILITY_VERSION, 0)
    _check(_libc.capset(header, bytes(24)), "capset")


class Landlock:
    """File system rights, granted path by path; what is not granted is refused."""

    EXECUTE, WRITE_FILE, READ_FILE, READ_DIR, TRUNCATE, IOCTL_DEV = 1, 2, 4, 8, 1 << 14, 1 << 15
    READ = EXECUTE | READ_FILE | READ_DIR
    _FILE = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV

    def __init__(self):
        self.version = _check(_libc.syscall(_CREATE_RULESET, None, 0, 1), "landlock")
        bits = {1: 13, 2: 14, 3: 15, 4: 15}.get(self.version, 16)
        self.all = (1 << bits) - 1
        attributes = struct.pack("QQQ", self.all, 0b11, 0b11)  # files; TCP; abstract sockets and signals
        size = 8 if self.version < 4 else 16 if self.version < 6 else 24
        self._fd = _check(_libc.syscall(_CREATE_RULESET, attributes, size, 0), "landlock_create_ruleset")

    def allow(self, path: str, rights: int) -> None:
        """Grant rights at and below a path; paths that do not exist are passed over."""
        try:
            fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except OSError:
            return
        rights &= self.all if os.path.isdir(path) else self.all & self._FILE
        rule = struct.pack("=Qi", rights, fd)
        try:
            _check(_libc.syscall(_ADD_RULE, self._fd, 1, rule, 0), f"landlock_add_rule {path}")
        finally:
            os.close(fd)

    def enforce(self) -> None:
        """Bind this process and its future children."""
        _check(_libc.syscall(_RESTRICT_SELF, self._fd, 0), "landlock_restrict_self")
        os.close(self._fd)
