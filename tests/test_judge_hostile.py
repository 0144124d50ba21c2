"""No hostile program passes, gets out, stays, or spoils the judge for those that come after it."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from hostile.programs import GROUPS

from cycle_utils.execution import Judge, isolation_report
from cycle_utils.execution.isolation import descendants
from cycle_utils.problems import Problem

SQUARE = Problem("hostile/1", "def f(x):\n", "f", ["assert f(2) == 5", "assert f(3) == 10"])
HONEST = "def f(x):\n    return x * x + 1\n"
NAMES = [(group, name) for group, programs in GROUPS.items() for name in programs]
TIMEOUTS = (
    "endless loop",
    "swallows every exception",
    "sleeps past the limit, then answers",
    "ignores all signals",
    "turns the clocks back",
    "spins in threads",
    "slow regular expression",
    "deadlock",
    "endless loop at import",
    "stops itself",
    "prints without end",
    "floods standard output",
)
CRASHES = (
    "exits with 0",
    "exits with 0 in the call",
    "SystemExit in the call",
    "SystemExit subclass",
    "memory at once",
    "crashes the interpreter",
    "aborts",
    "lifts its own limits",
)


@pytest.fixture(scope="module")
def outside(tmp_path_factory):
    """What the programs try to reach: a canary, a secret, a server that counts its visitors."""
    folder = tmp_path_factory.mktemp("outside")
    canary, secret = folder / "canary", folder / "secret"
    canary.write_text("alive")
    secret.write_text("secret")
    with socket.create_server(("127.0.0.1", 0)) as tcp, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.bind(("127.0.0.1", tcp.getsockname()[1]))
        tcp.setblocking(False)
        udp.setblocking(False)
        yield {"canary": canary, "secret": secret, "port": tcp.getsockname()[1], "tcp": tcp, "udp": udp}


@pytest.fixture(scope="module")
def judged(outside):
    """Every hostile program's verdict, that of an honest program after each, and the processes left over."""
    facts = {"{canary!r}": repr(str(outside["canary"])), "{secret!r}": repr(str(outside["secret"]))}
    facts |= {"{port}": str(outside["port"]), "{pid}": str(os.getpid())}
    others = descendants(os.getpid())  # what earlier tests left, such as joblib's resource tracker
    with Judge(workers=2, time_limit=0.5, memory_limit_mb=256) as judge:
        judge.run([SQUARE], [HONEST])
        before = descendants(os.getpid()) - others
        programs = []
        for number, (group, title) in enumerate(NAMES):
            source = GROUPS[group][title]
            for name, value in facts.items():
                source = source.replace(name, value)
            programs += [source, f"{HONEST}# {number}\n"]
        verdicts = judge.run([SQUARE] * len(programs), programs)
        after = descendants(os.getpid()) - others
        lost = len(before - after)
    names = [name for _, name in NAMES]
    return {
        "hostile": dict(zip(names, verdicts[::2])),
        "honest": dict(zip(names, verdicts[1::2])),
        "left": len(after) - len(before),
        "lost": lost,
        "gone": not descendants(os.getpid()) - others - {os.getpid()},
    }


def test_there_are_at_least_forty_programs_with_names_of_their_own():
    names = [name for _, name in NAMES]
    assert len(names) == len(set(names)) >= 40


@pytest.mark.parametrize("name", [name for _, name in NAMES])
def test_does_not_pass(judged, name):
    assert not judged["hostile"][name].passed, judged["hostile"][name]


@pytest.mark.parametrize("name", [name for _, name in NAMES])
def test_an_honest_program_passes_after(judged, name):
    assert judged["honest"][name].passed, judged["honest"][name]


@pytest.mark.parametrize("name", TIMEOUTS)
def test_is_a_time_out(judged, name):
    assert judged["hostile"][name].status == "timeout"


@pytest.mark.parametrize("name", CRASHES)
def test_is_a_crash(judged, name):
    assert judged["hostile"][name].status == "crashed"


def test_nothing_outside_was_touched(judged, outside):
    canary = outside["canary"]
    assert canary.read_text() == "alive"
    assert canary.stat().st_mode & 0o600 == 0o600
    assert sorted(path.name for path in canary.parent.iterdir()) == ["canary", "secret"]


def test_nobody_reached_the_network(judged, outside):
    with pytest.raises(BlockingIOError):
        outside["tcp"].accept()
    with pytest.raises(BlockingIOError):
        outside["udp"].recv(10)


def test_no_process_is_left(judged):
    assert judged["left"] == 0
    assert judged["gone"]


def test_no_secret_in_any_verdict(judged):
    assert not any("secret" in str(test.actual) for v in judged["hostile"].values() for test in v.tests)


def test_no_temporary_file_is_left(judged):
    assert not list(Path("/tmp").glob(f"cycle-judge-{os.getpid()}-*"))


@pytest.mark.parametrize("layer", ["namespaces", "mounts", "Landlock", "seccomp"])
def test_one_layer_less_still_holds(layer):
    """No single layer carries it all: without any one of them, nothing that the report tries gets out."""
    report = isolation_report(without=(layer,))
    if report.missing:
        pytest.skip(f"this machine lacks a second layer: {report.missing}")
    assert all(report.contained.values()), str(report)
