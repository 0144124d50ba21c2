"""What confines candidates, layer by layer. Each layer is used where the machine has it; none needs root.

:meth:`Sandbox.enter` turns the calling process into the warm parent: in new namespaces, with a root folder
that holds Python's library and a small private /tmp and nothing else, without capabilities, bound by
Landlock, by a seccomp filter and by limits. Children inherit all that; :meth:`Sandbox.confine_child` adds what
must come after the fork.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import resource
import signal
import sys

import filters
import kernel

TMP_MB, TMP_FILES = 64, 2048  # room in a candidate's /tmp
FILE_MB = 32  # size of one file
OPEN_FILES = 64
PROCESSES = 256  # threads, in fact: processes are refused where there is seccomp
STACK_MB = 64  # of the main thread: what real judges give for deep recursion
FIRST_PROCESS = 1

_DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
_LINKS = {"fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1", "stderr": "/proc/self/fd/2"}


class Sandbox:
    """The layers around the warm parent.

    Attributes:
        layers: by name, ``""`` where the layer holds, else why it does not.
        folder: the candidates' private folder, as they see it.
    """

    def __init__(self, config: dict):
        self.config = config
        self.skip = set(config["without"])
        self.folder = config["folder"]
        self.layers: dict[str, str] = {}
        self._filters: filters.Filters | None = None
        self._bind_child = None
        self._alone = False  # first process of a PID namespace of its own

    def enter(self) -> None:
        """Confine this process. Under a PID namespace it forks: the caller goes on in the child only."""
        kernel.die_with_parent()
        self._try("namespaces", self._namespaces)
        if not self.layers["namespaces"]:
            self._fork_into_namespace()
        os.setsid()
        self._try("mounts", self._own_root)
        if self.layers["mounts"] and not self.layers["namespaces"]:
            with contextlib.suppress(OSError):
                _mount_processes("/proc")  # the outer one would show other processes under our numbers
        self._try("capabilities", kernel.drop_capabilities)
        kernel.die_with_parent()  # a change of rights clears it
        self._try("private memory", kernel.hide_memory)
        self._try("no new privileges", kernel.no_new_privileges)
        self._try("Landlock", self._landlock)
        self._try("seccomp", self._seccomp)
        self._try("orphans adopted", kernel.adopt_orphans)
        self._try("limits", self._limits)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)  # without a handler, no child can signal a first process
        os.chdir(self.folder)

    def _try(self, name: str, step) -> None:
        """Take a step; note why it could not be taken, or that it was not wanted."""
        self.layers[name] = "switched off"
        if name not in self.skip:
            try:
                step()
                self.layers[name] = ""
            except (OSError, KeyError, ValueError) as error:
                self.layers[name] = str(error)

    # -- namespaces ------------------------------------------------------------------------------

    def _namespaces(self) -> None:
        """User, PID, network, IPC, mount and host-name namespaces, all or none."""
        user, group = os.getuid(), os.getgid()
        kernel.unshare(
            kernel.NEW_USER | kernel.NEW_PID | kernel.NEW_NET | kernel.NEW_IPC | kernel.NEW_NS | kernel.NEW_UTS
        )
        for name, text in (("setgroups", "deny"), ("uid_map", f"1000 {user} 1"), ("gid_map", f"1000 {group} 1")):
            with open(f"/proc/self/{name}", "w") as file:
                file.write(text)

    def _fork_into_namespace(self) -> None:
        """Go on as the first process of the new PID namespace; the old process only waits for it."""
        pid = os.fork()
        if pid:
            os.closerange(3, 1024)
            os.waitpid(pid, 0)
            os._exit(0)
        kernel.die_with_parent()
        self._alone = os.getpid() == FIRST_PROCESS

    # -- file system -----------------------------------------------------------------------------

    def _readable(self) -> list[str]:
        """Folders that candidates may read: Python's library, shared libraries, time zones."""
        library = os.path.dirname(os.__file__)
        paths = [library, os.path.join(sys.base_prefix, "lib"), "/usr/lib", "/usr/lib64", "/lib", "/lib64"]
        paths += ["/usr/share/zoneinfo", "/etc/ld.so.cache", *_mapped_folders()]
        return list(dict.fromkeys(path for path in paths if os.path.exists(path)))

    def _packages(self) -> list[str]:
        """The installed packages that candidates may import, and the libraries that wheels put beside them."""
        folders = [os.path.join(path, name) for path in self.config["paths"] for name in self.config["packages"]]
        return [path + end for path in folders for end in ("", ".libs", ".py") if os.path.exists(path + end)]

    def _own_root(self) -> None:
        """A root folder of our own: bind mounts, read-only, and a small private /tmp."""
        if self.layers["namespaces"]:
            raise OSError("needs the namespaces")
        kernel.mount(None, "/", None, kernel.REC | kernel.PRIVATE)
        _mount_memory(self.folder, 1)
        try:
            self._furnish(self.folder)
            kernel.change_root(self.folder)
        except OSError:
            kernel.unmount(self.folder)
            raise
        _make_read_only("/")
        self.folder = "/tmp"
        self.config["paths"] = list(map(self._moved, self.config["paths"]))

    def _furnish(self, root: str) -> None:
        """Everything that candidates find under ``root``; their own ``/tmp`` holds nothing of the machine's."""
        for path in self._readable():
            _bind(root, path)
        hidden = [root + path for path in self.config["paths"] if os.path.isdir(root + path)]
        for path in hidden:  # installed packages inside a bound folder: all but the wanted ones vanish
            _mount_memory(path, 1)
        for path in self._packages():
            _bind(root, path, at=self._moved(path))
        for path in hidden:
            _make_read_only(path)
        self._devices(root)
        os.mkdir(root + "/tmp")
        _mount_memory(root + "/tmp", TMP_MB, f",nr_inodes={TMP_FILES}")

    @staticmethod
    def _moved(path: str) -> str:
        """Where candidates find a package: as on the machine, but not in ``/tmp``, which is theirs."""
        return f"/packages{path}" if path.startswith("/tmp/") else path

    def _devices(self, root: str) -> None:
        os.mkdir(root + "/dev")
        for path in _DEVICES:
            _bind(root, path, read_only=False)
        for name, target in _LINKS.items():
            os.symlink(target, f"{root}/dev/{name}")
        os.mkdir(root + "/proc")
        with contextlib.suppress(OSError):  # some containers forbid it: then /dev/stdin does not open
            _mount_processes(root + "/proc")

    def _landlock(self) -> None:
        """Reading where :meth:`_readable` says, writing in the private folder, devices; nothing else."""
        rules = kernel.Landlock()
        for path in (*self._readable(), *self._packages(), "/proc"):
            rules.allow(path, rules.READ)
        for path in self.config["paths"]:
            rules.allow(path, rules.READ_DIR)  # the import system looks for a package by listing its folder
        for path in _DEVICES:
            rules.allow(path, rules.READ_FILE | rules.WRITE_FILE)
        rules.allow(self.folder, rules.all & ~rules.EXECUTE)
        rules.enforce()

    # -- system calls and limits -----------------------------------------------------------------

    def _seccomp(self) -> None:
        self._filters = filters.Filters()
        self._filters.install(self._filters.lasting())
        self._bind_child = self._filters.prepare(self._filters.for_child(None))

    def _limits(self) -> None:
        """Limits that hold for the warm parent as well as for each child."""
        memory = self.config["memory_mb"] << 20
        limits = [
            (resource.RLIMIT_AS, memory),
            (resource.RLIMIT_CORE, 0),
            (resource.RLIMIT_FSIZE, FILE_MB << 20),
            (resource.RLIMIT_NOFILE, OPEN_FILES),
            (resource.RLIMIT_MEMLOCK, 0),
            (resource.RLIMIT_MSGQUEUE, 0),
        ]
        if not self.layers["namespaces"]:  # elsewhere, all of the user's processes would count
            limits.append((resource.RLIMIT_NPROC, PROCESSES))
        for kind, value in limits:
            _, hard = resource.getrlimit(kind)
            value = value if hard == resource.RLIM_INFINITY else min(value, hard)
            resource.setrlimit(kind, (value, value))
        _, hard = resource.getrlimit(resource.RLIMIT_STACK)
        stack = STACK_MB << 20
        resource.setrlimit(resource.RLIMIT_STACK, (stack if hard == resource.RLIM_INFINITY else min(stack, hard), hard))

    def confine_child(self, cpu: int) -> None:
        """What each child adds: its limit of CPU seconds, the short filter, and a session to be killed by.

        A namespace is killed without one; and a session costs, since Linux makes a scheduling group of each.
        """
        if not self._alone:
            os.setsid()
        if "limits" not in self.skip:
            resource.setrlimit(resource.RLIMIT_CPU, (cpu, cpu))
        if self._filters is not None and not self._alone:
            self._filters.install(self._filters.for_child(os.getpid()))
        elif self._filters is not None:
            self._bind_child()

    # -- the end of a program --------------------------------------------------------------------

    def kill_children(self) -> list[tuple[int, int, resource.struct_rusage]]:
        """Kill all that descends from this process and wait for it; number, status and usage of each."""
        ended = []
        while True:
            self._signal_children()
            try:
                ended.append(os.wait4(-1, 0))
            except ChildProcessError:
                return ended

    def _signal_children(self) -> None:
        """SIGKILL to every other process of our namespace, or to our children and their sessions."""
        if self._alone:
            with contextlib.suppress(ProcessLookupError):
                os.kill(-1, signal.SIGKILL)
            return
        for pid in _children(os.getpid()):
            for kill in (os.killpg, os.kill):  # orphans become our children, and have their turn next time
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    kill(pid, signal.SIGKILL)

    def clean(self) -> None:
        """Empty the private folder, however deep a program has nested it.

        Raises:
            OSError: it cannot be emptied; the warm parent must be replaced.
        """
        numbers = itertools.count()
        while names := os.listdir(self.folder):
            for name in names:
                self._remove(os.path.join(self.folder, name), numbers)

    def _remove(self, path: str, numbers) -> None:
        """Remove a file or a folder; folders inside are moved up first, so that depth costs nothing."""
        if os.path.islink(path) or not os.path.isdir(path):
            os.unlink(path)
            return
        with contextlib.suppress(OSError):
            os.rmdir(path)
            return
        for entry in list(os.scandir(path)):
            if entry.is_dir(follow_symlinks=False):
                os.rename(entry.path, os.path.join(self.folder, f".moved-{next(numbers)}"))
            else:
                os.unlink(entry.path)
        os.rmdir(path)


def _mount_processes(path: str) -> None:
    """The processes of our PID namespace, without what else the kernel shows there."""
    kernel.mount("proc", path, "proc", kernel.NOSUID | kernel.NODEV | kernel.NOEXEC, "subset=pid")


def _bind(root: str, path: str, read_only: bool = True, at: str = "") -> None:
    """Show a file or folder of the machine under the new root, at the same path or ``at`` another."""
    target = root + (at or path)
    if os.path.islink(path) and os.path.dirname(path) == "/":  # /lib -> usr/lib
        if not os.path.lexists(target):
            os.symlink(os.readlink(path), target)
        return
    if os.path.isdir(path):
        if os.path.isdir(target) and os.path.samefile(path, target):
            return  # within a folder that is bound already
        os.makedirs(target, exist_ok=True)
    elif not os.path.exists(target):
        os.makedirs(os.path.dirname(target), exist_ok=True)
        open(target, "w").close()
    kernel.mount(path, target, None, kernel.BIND | kernel.REC)
    if read_only:
        _make_read_only(target)


def _mount_memory(path: str, megabytes: int, options: str = "") -> None:
    """An empty file system in memory, of limited size."""
    kernel.mount("tmpfs", path, "tmpfs", kernel.NOSUID | kernel.NODEV, f"size={megabytes}m,mode=700{options}")


def _make_read_only(path: str) -> None:
    """Remount read-only, with the flags kept that the machine's own mount has (they are locked)."""
    flags = os.statvfs(path).f_flag & (kernel.NOSUID | kernel.NODEV | kernel.NOEXEC)
    atime = os.statvfs(path).f_flag & (1024 | 2048 | 4096)
    keep = {1024: 1024, 2048: 2048, 4096: 1 << 21}
    for bit, flag in keep.items():
        flags |= flag if atime & bit else 0
    kernel.mount(None, path, None, kernel.REMOUNT | kernel.BIND | kernel.RDONLY | flags)


def _mapped_folders() -> list[str]:
    """The folders of the shared libraries that this interpreter has loaded."""
    with open("/proc/self/maps") as file:
        paths = {line.split(maxsplit=5)[5].strip() for line in file if line.count("/")}
    return sorted({os.path.dirname(path) for path in paths if ".so" in os.path.basename(path)})


def _children(pid: int) -> list[int]:
    """The processes whose parent is ``pid``."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError, IndexError, ValueError), open(f"/proc/{name}/stat") as file:
            if int(file.read().rpartition(")")[2].split()[1]) == pid:
                found.append(int(name))
    return found
