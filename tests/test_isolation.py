"""The report of isolation, and the layers it speaks of."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from cycle_utils.execution import isolation_report
from cycle_utils.execution.inside import filters
from cycle_utils.execution.isolation import ATTEMPTS, ESSENTIALS, IsolationReport, asked_once, missing_essentials
from cycle_utils.execution.runner import Runner, Settings

HEADERS = {
    0: Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"),
    1: Path("/usr/include/asm-generic/unistd.h"),  # what aarch64 uses
}
# Ends in 0 if all that was tried was held back, or the report says that it cannot be.
REPORTED = """\
import sys
from cycle_utils.execution import isolation_report
report = isolation_report()
print(report)
sys.exit(not (report.missing or all(report.contained.values())))
"""
NOBODY = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "env", "-i"]


@pytest.fixture(scope="module")
def report():
    return isolation_report()


def test_the_report_says_of_each_layer_whether_it_holds(report):
    text = str(report)
    for name, reason in report.layers.items():
        assert re.search(rf"{'NO ' if reason else 'yes'}  {name}", text)
    assert {name for layers in ESSENTIALS.values() for name in layers} <= set(report.layers)


def test_what_the_report_tries_is_held_back(report):
    if report.missing:
        pytest.skip(f"this machine lacks essential layers: {report.missing}")
    assert report.contained == dict.fromkeys(ATTEMPTS, True)


def test_an_essential_is_missing_only_without_all_its_layers():
    layers = dict.fromkeys(("namespaces", "mounts", "Landlock", "seccomp"), "")
    assert missing_essentials(layers) == {}
    assert missing_essentials({**layers, "namespaces": "no", "mounts": "no"}) == {}
    assert set(missing_essentials({**layers, "namespaces": "no", "seccomp": "no"})) == {"network", "process tree"}
    assert set(missing_essentials({**layers, "mounts": "no", "Landlock": "no"})) == {"file system"}


@pytest.mark.parametrize("column", [0, 1])
def test_the_numbers_of_system_calls_are_the_kernels(column):
    if not HEADERS[column].exists():
        pytest.skip(f"no kernel header {HEADERS[column]}")
    found = re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)", HEADERS[column].read_text())
    numbers = {name: int(number) for name, number in found}
    own = {**filters.CALLS, **filters.FORKS, **filters.OTHERS, "clone": filters.CLONE, "clone3": filters.CLONE3}
    for name, pair in own.items():
        assert numbers.get(name, pair[column]) == pair[column], name


def test_it_holds_for_a_user_without_privileges(tmp_path):
    """As root, the whole report is made again by ``nobody``, with an interpreter that ``nobody`` can read."""
    if os.getuid() != 0:
        pytest.skip("this run has no privileges anyway")
    python = next((p for p in (sys.executable, "/usr/bin/python3") if _readable_by_all(p)), None)
    if python is None:
        pytest.skip("no setpriv, or no Python of 3.11 or later that other users can read")
    package = Path(__file__).resolve().parents[1] / "cycle_utils"
    copy = Path("/tmp") / f"judge-unprivileged-{os.getpid()}"  # pytest's own folders are closed to others
    try:
        (copy / "cycle_utils").mkdir(parents=True)
        (copy / "cycle_utils" / "__init__.py").write_text("")
        shutil.copytree(package / "problems", copy / "cycle_utils" / "problems")
        shutil.copytree(package / "execution", copy / "cycle_utils" / "execution")
        subprocess.run(["chmod", "-R", "a+rX", str(copy)], check=True)
        code = f"import sys; sys.path.insert(0, {str(copy)!r})\n{REPORTED}"
        done = subprocess.run([*NOBODY, python, "-B", "-c", code], cwd="/", capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr
    finally:
        shutil.rmtree(copy)


# As in a container with its usual rights: no capability, and no user namespace to get some in.
CONTAINED = [
    "unshare", "--user", "--map-root-user", "sh", "-c",
    """echo 0 > /proc/sys/user/max_user_namespaces && exec setpriv --bounding-set=-all --inh-caps=-all "$@" """, "sh",
]  # fmt: skip


def test_it_holds_where_a_container_takes_the_namespaces_away():
    if not all(map(shutil.which, ("unshare", "setpriv"))) or subprocess.run([*CONTAINED, "true"]).returncode:
        pytest.skip("no user namespace can be made here to take namespaces away in")
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1])}
    command = [*CONTAINED, sys.executable, "-c", REPORTED]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and "NO   namespaces" in done.stdout, done.stdout + done.stderr


def _readable_by_all(python: str) -> bool:
    """Whether another user can run this interpreter, and it is new enough."""
    if shutil.which("setpriv") is None:
        return False
    check = "import sys; sys.exit(sys.version_info < (3, 11))"
    return subprocess.run([*NOBODY, python, "-S", "-c", check], capture_output=True, cwd="/").returncode == 0


def test_the_summary_is_short_only_where_all_is_well():
    layers = dict.fromkeys([name for either in ESSENTIALS.values() for name in either], "")
    assert "\n" not in IsolationReport(layers, {"fill the disk": True}).summary
    for report in (
        IsolationReport({**layers, "seccomp": "no"}, {"fill the disk": True}),
        IsolationReport(layers, {"fill the disk": False}),
    ):
        assert report.summary == str(report)


def test_the_mounts_hold_where_python_is_installed_in_tmp(monkeypatch):
    """Packages below /tmp can be imported, and the candidates' own /tmp is empty for each."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        packages = Path(folder) / "lib" / "site-packages"
        packages.mkdir(parents=True)
        (packages / "lonely.py").write_text("VALUE = 7\n")
        monkeypatch.setattr(sys, "path", [*sys.path, str(packages)])
        runner = Runner(Settings(packages=("lonely",)))
        try:
            assert runner.layers["mounts"] in ("", runner.layers["namespaces"])
            for source, answer in (
                ("def f():\n    open('/tmp/mine', 'w').close()\n    import lonely\n    return lonely.VALUE\n", 7),
                ("import os\ndef f():\n    return os.listdir('/tmp')\n", []),
                ("def f():\n    import lonely\n    open(lonely.__file__, 'a')\n", "OSError"),
            ):
                found = asked_once(runner, source, "f")
                assert (found.payload[0] if found.kind == "error" else found.payload) == answer
        finally:
            runner.close()
