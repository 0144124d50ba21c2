"""The sentinel: a small study whose programs stay the same as long as the method does the same.

It distinguishes a rewording of the method, after which published runs may be kept, from a change, which voids them.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from dataclasses import replace

from cycle_utils import study
from cycle_utils.method import configs, runs, stages
from cycle_utils.paths import PACKAGE, PUBLISH, published_dir
from cycle_utils.study.stamps import method_hash

SENTINEL = "sentinel.json"


class Changed(RuntimeError):
    """The method does something else than when the published runs were made."""


@contextlib.contextmanager
def variables(**variables: str) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def sentinel_digest() -> str:
    """Digest of every program, verdict and feedback of a small study of all stages and options of the method."""
    with tempfile.TemporaryDirectory() as home, variables(CYCLE_HOME=home, **{runs.STORED: ""}):
        small = {"problems": 48, "finetune_steps": 4, "steps": 4, "batch_size": 8}
        where = configs.Loop(limit=12, rounds=2)
        whole, mutated = study.recipe(**small), study.recipe(**small, faults="mutated", mask_ratio=0.4)
        tables = [stages.attempts_of(stages.distil(c.distil, False)) for c in (whole, mutated)]
        tables += study.run_loops(whole, where, progress=False).values()
        for options in ({"shuffled": True}, {"fields": ("feedback",)}, {"feedback_tests": "public"}):
            tables += study.run_loops(mutated, replace(where, **options), (study.CYCLE,), progress=False).values()
    columns = ["task_id", "round", "completion", "status", "passed", "feedback", "behaviour"]
    return hashlib.sha256("".join(t[columns].to_csv() for t in tables).encode()).hexdigest()[:16]


def check_method() -> None:
    """Make sure that the method still does what it did when the published runs were made, if its code was changed.

    Raises:
        Changed: it does not.
    """
    path = published_dir() / SENTINEL
    saved = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    if saved.get("method") == method_hash() and saved.get("version") == runs.METHOD:
        return
    print("the code that makes runs was changed: trying whether it still makes the same ...", flush=True)
    digest = sentinel_digest()
    if saved and saved["version"] == runs.METHOD and saved["digest"] != digest:
        raise Changed(
            "stages do not make what they made when the published runs were made (or this machine computes "
            f"otherwise than theirs: {saved['machine']}). Raise METHOD in {PACKAGE / 'method' / 'runs.py'}, so that no "
            "run of before is reused, and train again: make study SEEDS=3 PUBLISH=1, make ablations SEEDS=3 PUBLISH=1"
        )
    if not os.environ.get(PUBLISH):
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    machine = runs.environment()["machine"]
    runs.write_json(path, {"version": runs.METHOD, "method": method_hash(), "digest": digest, "machine": machine})
