"""Which system calls a candidate may make: seccomp filters, written as BPF programs.

Two filters, because the kernel checks a new filter against every system call, which takes the longer the
longer the filter is. The long one is installed once, in the warm parent, which needs none of these calls
either; the short one in every child: no new processes and, where there is no PID namespace to see to it, no signals
or limits for other processes.
"""

from __future__ import annotations

import ctypes
import errno
import platform
import struct
from collections.abc import Callable

# number on x86_64, number on aarch64 (None: the machine has no such call)
CALLS = {
    "accept": (43, 202),
    "accept4": (288, 242),
    "acct": (163, 89),
    "add_key": (248, 217),
    "adjtimex": (159, 171),
    "bind": (49, 200),
    "bpf": (321, 280),
    "chmod": (90, None),
    "chown": (92, None),
    "chroot": (161, 51),
    "clock_adjtime": (305, 266),
    "clock_settime": (227, 112),
    "connect": (42, 203),
    "delete_module": (176, 106),
    "execve": (59, 221),
    "execveat": (322, 281),
    "fanotify_init": (300, 262),
    "fchmod": (91, 52),
    "fchmodat": (268, 53),
    "fchmodat2": (452, 452),
    "fchown": (93, 55),
    "fchownat": (260, 54),
    "finit_module": (313, 273),
    "fremovexattr": (199, 16),
    "fsconfig": (431, 431),
    "fsetxattr": (190, 7),
    "fsmount": (432, 432),
    "fsopen": (430, 430),
    "fspick": (433, 433),
    "futimesat": (261, None),
    "init_module": (175, 105),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "io_uring_setup": (425, 425),
    "ioperm": (173, None),
    "iopl": (172, None),
    "ioprio_set": (251, 30),
    "kcmp": (312, 272),
    "kexec_file_load": (320, 294),
    "kexec_load": (246, 104),
    "keyctl": (250, 219),
    "lchown": (94, None),
    "listen": (50, 201),
    "lremovexattr": (198, 15),
    "lsetxattr": (189, 6),
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    "migrate_pages": (256, 238),
    "mount": (165, 40),
    "mount_setattr": (442, 442),
    "move_mount": (429, 429),
    "move_pages": (279, 239),
    "mq_open": (240, 180),
    "msgget": (68, 186),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    "open_tree": (428, 428),
    "perf_event_open": (298, 241),
    "personality": (135, 92),
    "pidfd_getfd": (438, 438),
    "pidfd_open": (434, 434),
    "pidfd_send_signal": (424, 424),
    "pivot_root": (155, 41),
    "process_madvise": (440, 440),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "ptrace": (101, 117),
    "quotactl": (179, 60),
    "reboot": (169, 142),
    "removexattr": (197, 14),
    "request_key": (249, 218),
    "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240),
    "sched_setattr": (314, 274),
    "sched_setparam": (142, 118),
    "sched_setscheduler": (144, 119),
    "semget": (64, 190),
    "setdomainname": (171, 162),
    "sethostname": (170, 161),
    "setns": (308, 268),
    "setpriority": (141, 140),
    "settimeofday": (164, 170),
    "setxattr": (188, 5),
    "shmget": (29, 194),
    "socket": (41, 198),
    "swapoff": (168, 225),
    "swapon": (167, 224),
    "syslog": (103, 116),
    "tkill": (200, 130),
    "umount2": (166, 39),
    "unshare": (272, 97),
    "userfaultfd": (323, 282),
    "utime": (132, None),
    "utimensat": (280, 88),
    "utimes": (235, None),
    "vhangup": (153, 58),
}
FORKS = {"fork": (57, None), "vfork": (58, None)}
CLONE, CLONE3 = (56, 220), (435, 435)
OTHERS = {"kill": (62, 129), "tgkill": (234, 131), "prlimit64": (302, 261), "sched_setaffinity": (203, 122)}
FCNTL, IOCTL = (72, 25), (16, 29)
OWNER_COMMANDS = (8, 10, 15)  # F_SETOWN, F_SETSIG, F_SETOWN_EX: signals by way of a file descriptor
OWNER_REQUESTS = (0x8901, 0x8902, 0x5412)  # FIOSETOWN, SIOCSPGRP; TIOCSTI types into a terminal

_MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
_CLONE_THREAD = 0x00010000
_LOAD, _EQUAL, _AT_LEAST, _BITS, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_NUMBER, _ARCHITECTURE = 0, 4  # offsets in struct seccomp_data; arguments follow at 16, eight bytes each
_SECCOMP = {"x86_64": 317, "aarch64": 277}
_FILTER_MODE = 1


def _op(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("HBBI", code, if_true, if_false, value)


def _refuse(error: int) -> bytes:
    return _op(_RETURN, _ERRNO | error)


def _argument(index: int) -> bytes:
    """Load the lower half of a call's argument (all of ours are numbers of 32 bits)."""
    return _op(_LOAD, 16 + 8 * index)


class Filters:
    """The filters for this machine.

    Raises:
        OSError: the machine's numbering of system calls is not in the tables.
    """

    def __init__(self):
        machine = platform.machine()
        if machine not in _MACHINES:
            raise OSError(errno.ENOSYS, f"no table of system calls for {machine}")
        self._column, self._architecture = _MACHINES[machine]
        self._call = _SECCOMP[machine]
        self._syscall = ctypes.CDLL(None, use_errno=True).syscall

    def _number(self, numbers: tuple) -> int | None:
        return numbers[self._column]

    def _opening(self) -> list[bytes]:
        """Kill what speaks another architecture's calls (their numbers mean other things)."""
        opening = [_op(_LOAD, _ARCHITECTURE), _op(_EQUAL, self._architecture, 1, 0), _op(_RETURN, _KILL)]
        opening.append(_op(_LOAD, _NUMBER))
        if self._column == 0:  # the x32 numbering, on the same architecture
            opening += [_op(_AT_LEAST, 0x40000000, 0, 1), _refuse(errno.ENOSYS)]
        return opening

    def _when(self, numbers: tuple, body: list[bytes]) -> list[bytes]:
        """``body`` for one call; it must end in a return."""
        number = self._number(numbers)
        return [] if number is None else [_op(_EQUAL, number, 0, len(body)), *body]

    def lasting(self) -> bytes:
        """The long filter: what neither the warm parent nor any program needs."""
        program = self._opening()
        for numbers in CALLS.values():
            program += self._when(numbers, [_refuse(errno.EPERM)])
        for numbers, values in ((FCNTL, OWNER_COMMANDS), (IOCTL, OWNER_REQUESTS)):
            tests = [_op(_EQUAL, value, len(values) - i, 0) for i, value in enumerate(values)]
            program += self._when(numbers, [_argument(1), *tests, _op(_RETURN, _ALLOW), _refuse(errno.EPERM)])
        return b"".join([*program, _op(_RETURN, _ALLOW)])

    def for_child(self, pid: int | None) -> bytes:
        """The short filter: threads but no processes; unless ``pid`` is ``None``, itself but no other process."""
        program = self._opening()
        for numbers in FORKS.values():
            program += self._when(numbers, [_refuse(errno.EPERM)])
        program += self._when(CLONE3, [_refuse(errno.ENOSYS)])  # the library falls back to clone
        thread = [_argument(0), _op(_BITS, _CLONE_THREAD, 1, 0), _refuse(errno.EPERM), _op(_RETURN, _ALLOW)]
        program += self._when(CLONE, thread)
        for name, numbers in OTHERS.items() if pid is not None else ():
            own = [_op(_EQUAL, pid, 1, 0), _refuse(errno.EPERM), _op(_RETURN, _ALLOW)]
            if not name.endswith("kill"):  # there, 0 is the caller; with kill it is the process group
                own = [_op(_EQUAL, 0, 2, 0), *own]
            program += self._when(numbers, [_argument(0), *own])
        return b"".join([*program, _op(_RETURN, _ALLOW)])

    def install(self, program: bytes) -> None:
        """Bind this process and its future children to a filter.

        Raises:
            OSError: the kernel refused.
        """
        self.prepare(program)()

    def prepare(self, program: bytes) -> Callable[[], None]:
        """What :meth:`install` does, made ready: the call itself then touches little memory."""
        code = ctypes.create_string_buffer(program, len(program))
        prog = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(code)))
        syscall, number = self._syscall, self._call

        def bind(_keep=code) -> None:
            if syscall(number, _FILTER_MODE, 0, prog) != 0:
                raise OSError(ctypes.get_errno(), "seccomp")

        return bind
