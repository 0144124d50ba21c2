"""Runs: one folder for each configuration of a stage, reused when the same configuration comes again.

A run is whole when its ``run.json`` is there, which is written last and lists every file with its digest.
A run that was cut off has none: it is built again, and a training goes on from its last checkpoint.

Runs behind published results are kept under ``results/runs``, without weights and prompts (:func:`publish`).
``CYCLE_STORED=only`` has stages take them from there and build nothing, so that tables and figures can be rebuilt
without any training. ``CYCLE_STORED=first`` has them take what is there and build the rest, so that a study of many
hours goes on from what others have published; by default they are left alone, and everything is built here.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import hashlib
import json
import logging
import os
import platform
import shutil
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from filelock import FileLock

from cycle_utils import paths
from cycle_utils.config import config_dict, without_defaults
from cycle_utils.execution.judge import from_environment, limits
from cycle_utils.method import processes
from cycle_utils.models.gguf import digest_of, is_gguf
from cycle_utils.models.loading import ADAPTER, SIZED, TINY, adapter_digest, base_of, locate
from cycle_utils.models.servers import split_name
from cycle_utils.paths import PACKAGE, ROOT, digest, runs_dir
from cycle_utils.problems.benchmarks import told_data

METHOD = 1  # raise it when what the stages make changes (publishing.check_method tells): older runs are not reused then
RECORD = "run.json"
ATTEMPTS = "attempts.parquet"
SITTINGS = "sittings.json"  # in an unfinished run's folder: seconds spent before the last sitting, and when that began
STORED, LEDGER = "CYCLE_STORED", "CYCLE_LEDGER"  # environment variables: see the module and :func:`build`
ONLY, FIRST = "only", "first"  # values of the former
_UNJUDGED = ("Pretrain", "FineTune")  # stages on which no verdict has a bearing
_WEIGHTS = (".safetensors", ".bin")
_TEMPLATES = "additional_chat_templates"  # a folder within a model's
_ABOUT = (RECORD, "origin.json")  # files of a model folder that say where it comes from, and shape nothing
_KEPT = (".parquet",)  # of a run's files, what is published with its record
_PACKAGES = ("torch", "transformers", "datasets", "peft", "numpy", "pandas")
_told: set[str] = set()  # runs of which this process has said that it built or reuses them
log = logging.getLogger(__name__)


class DamagedRun(RuntimeError):
    """A finished run whose files are missing or changed."""


class MissingRun(RuntimeError):
    """A run that is wanted from the published ones and is not among them."""


@dataclass(frozen=True)
class Run:
    """A finished run: its folder, its key and what was recorded (config, seconds, environment, notes)."""

    folder: Path
    key: str
    record: Mapping[str, Any]
    reused: bool

    def path(self, name: str) -> Path:
        return self.folder / name

    @property
    def notes(self) -> Mapping[str, Any]:
        """What the stage itself recorded: loss curve, counts, ..."""
        return self.record["notes"]


def key_of(config: Any) -> str:
    """Name of a config's folder: its stage and a digest of everything that it sets.

    A model folder counts by what is in it, not by its path: see :func:`model_digest`. A benchmark's local copy counts
    by what is in it too, and not at all where it is what the Hub would give. The name of a model that runs elsewhere
    counts as it is, a folder in it by its content. Equal numbers are equal, as configs hold them.
    A field declared with :func:`later` counts only where it is set: an option that came after runs were made
    leaves the names of those runs as they were. So does an environment that says nothing on the judge's limits.
    """
    text = json.dumps(_by_content(without_defaults(config, config_dict(config))), sort_keys=True)
    text += f"/{METHOD}" if METHOD > 1 else ""
    judged = {} if type(config).__name__ in _UNJUDGED else limits()
    text += f"/{json.dumps(judged, sort_keys=True)}" if judged else ""
    return f"{type(config).__name__.lower()}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def _by_content(config: dict[str, Any]) -> dict[str, Any]:
    def counted(name: str, value: Any) -> Any:
        if isinstance(value, dict):
            return _by_content(value)
        if name == "data" and value is not None:
            return told_data(config["benchmark"], Path(value).expanduser(), training="problems" in config)
        if name != "model":
            return value
        prefix, place = split_name(value)
        if is_gguf(place):
            return f"{prefix}gguf:{digest_of(place)}"
        folder = Path(place) if _is_stored(Path(place)) else Path(locate(value))
        return prefix + model_digest(folder) if folder.is_dir() else value

    return {name: counted(name, value) for name, value in config.items()}


def _is_stored(folder: Path) -> bool:
    return "published" in _record(folder)


def model_digest(folder: Path) -> str:
    """Digest of all in a model folder that shapes what the model does: weights, tokenizer, chat template, configs.

    What was made here of the shipped LMs or of a GGUF file counts by its weights alone, as its run's record says how
    all the rest came about; unless a file of it was changed since. So the names of published runs stay as they were.
    """
    made = _record(folder).get("files", {})
    places = [place for place in (folder, folder / _TEMPLATES) if place.is_dir()]
    names = [str(path.relative_to(folder)) for place in places for path in place.iterdir() if path.is_file()]
    there = made if _is_stored(folder) else {name: digest(folder / name) for name in names if _shapes(name)}
    shaping = {name: value for name, value in there.items() if _shapes(name)}
    weights, is_changed = weights_digest(folder), bool(shaping.items() - made.items())
    if not is_changed and not _is_foreign(folder):
        return weights
    adapters = shaping.pop(ADAPTER, None)  # they name the place of their base; a run's are as its config says
    if adapters and is_changed:
        base = Path(base_of(folder))
        shaping |= {ADAPTER: adapter_digest(folder), "": model_digest(base) if base.is_dir() else str(base)}
    return hashlib.sha256(json.dumps([weights, sorted(shaping.items())]).encode()).hexdigest()


def _shapes(name: str) -> bool:
    """Whether a file of a model folder, beside its weights, says something about how the model answers."""
    is_one = name.endswith((".json", ".jinja", ".txt", ".model", ".tiktoken", ".py")) and name not in _ABOUT
    return is_one and ("/" not in name or name.startswith(_TEMPLATES))


def _is_foreign(folder: Path) -> bool:
    """Whether a folder's files did not come about here, from a shipped LM or a GGUF file on."""
    config = _record(folder).get("config")
    if config is None:
        return True
    model = fine_tuning(config).get("model")  # none: pre-trained here, as the shipped LMs were
    if model is None or model == TINY or model.startswith(SIZED) or is_gguf(model):
        return False
    made = [place for place in (Path(model), runs_dir() / Path(model).name, published_dir() / Path(model).name)
            if (place / RECORD).is_file()]  # fmt: skip
    return not made or _is_foreign(made[0])


def fine_tuning(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Of a run's config as data, that of stage 1(a) on which it rests; else the config of what it is itself."""
    parts = ("fine_tune", "distil", "practice", "after", "loop")
    within = next((config[name] for name in parts if config.get(name)), None)
    return config if within is None else fine_tuning(within)


def _record(folder: Path) -> dict[str, Any]:
    path = folder / RECORD
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def weights_digest(folder: Path) -> str:
    """Digest of the weights in a model folder; of a published run, of those that it had."""
    if _is_stored(folder):
        files = _record(folder)["files"]
        found = [files[name] for name in sorted(files) if "/" not in name and name.endswith(_WEIGHTS)]
    else:
        found = [digest(path) for path in sorted(folder.iterdir()) if path.suffix in _WEIGHTS]
        base = base_of(folder)
        found += [] if Path(base) == folder.resolve() else [weights_digest(Path(base)) if Path(base).is_dir() else base]
    return hashlib.sha256("".join(found).encode()).hexdigest()


def build(
    config: Any, make: Callable[[Path], Mapping[str, Any]], title: str, whole: bool = False, together: bool = False
) -> Run:
    """The run of ``config``: the finished one if there is one, else made by ``make(folder)``.

    The key is noted in the file that ``CYCLE_LEDGER`` names, if it names one: what results rest on. Of several
    processes (see :mod:`~.method.processes`), which must all call this, the main one takes the lock and writes.

    Args:
        make: fills the folder and returns notes (JSON data). It may find what an interrupted run left there.
        title: what is said to be built or reused.
        whole: its weights are wanted, which a published run does not have.
        together: ``make`` is called in all processes, as a training must be; otherwise the others only wait.

    Raises:
        DamagedRun: a finished run lost a file or a file changed.
        MissingRun: under ``CYCLE_STORED=only``, the run is not among the published ones.
    """
    key = key_of(config)
    if (ledger := os.environ.get(LEDGER)) and processes.is_main():
        with open(ledger, "a", encoding="utf-8") as file:
            print(key, file=file)
    folder = runs_dir() / key
    if os.environ.get(STORED) == ONLY or (not whole and _published_first(key) and not (folder / RECORD).is_file()):
        return _stored(key, title)
    if not processes.is_main():
        return _followed(folder, make if together else None)
    with _to_itself(folder):
        finished = processes.told((folder / RECORD).is_file())
        verb = "reusing" if finished else "building"
        left = " (going on with what a cut-off run left)" if not finished and folder.is_dir() else ""
        if not finished or key not in _told:
            print(f"{title}: {verb} runs/{key}{left}")
        _told.add(key)
        record = _checked(folder) if finished else _made(config, key, folder, make)
    processes.told("the record is there")
    return Run(folder, key, record, finished)


@contextlib.contextmanager
def _to_itself(folder: Path) -> Iterator[None]:
    """Lock a run while it is made: two notebooks may want it at once. A finished one is only read."""
    if (folder / RECORD).is_file():
        yield
        return
    with paths.writing(folder.parent):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{folder}.lock"):
            yield


def _made(config: Any, key: str, folder: Path, make: Callable[[Path], Mapping[str, Any]]) -> dict[str, Any]:
    """The record of a run that is made now, under the lock."""
    folder.mkdir(exist_ok=True)
    begin, made_by = time.time(), environment()  # as it is now: sources may be edited meanwhile
    before = _earlier_sittings(folder, begin)
    try:
        notes = make(folder)
    except BaseException:
        if not any(path.is_file() and path.name != SITTINGS for path in folder.rglob("*")):
            shutil.rmtree(folder)  # nothing to go on from
        raise
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    (folder / SITTINGS).unlink()
    record = {
        "key": key,
        "config": config_dict(config),
        "notes": notes,
        "seconds": round(before + time.time() - begin, 1),
        "processes": processes.count(),
        "environment": made_by,
        "files": {str(p.relative_to(folder)): digest(p) for p in sorted(folder.rglob("*")) if p.is_file()},
    }
    write_json(folder / RECORD, record)
    return record


def _earlier_sittings(folder: Path, now: float) -> float:
    """Seconds that earlier sittings spent on a run, each up to the last file that it left; notes this one's start."""
    notes = folder / SITTINGS
    spent, begun = json.loads(notes.read_text(encoding="utf-8")) if notes.is_file() else (0.0, now)
    files = [path.stat().st_mtime for path in folder.rglob("*") if path.is_file()]
    spent += max(0.0, max(files, default=begun) - begun)
    write_json(notes, [spent, now])
    return spent


def _followed(folder: Path, make: Callable[[Path], Mapping[str, Any]] | None) -> Run:
    """What :func:`build` does in the other processes: wait for the main one's lock, help to make, read the record.

    An error of the main process is not told here: it ends that process, and the launcher then ends all.
    """
    finished = processes.told(None)
    if make and not finished:
        make(folder)
    processes.told(None)
    return Run(folder, folder.name, _checked(folder), finished)


def read_run(folder: Path) -> Run:
    """The finished run in a folder.

    Raises:
        ValueError: there is none.
        DamagedRun: it lost a file or a file changed.
    """
    folder = Path(folder)
    if not (folder / RECORD).is_file():
        raise ValueError(f"{folder} is no finished run: it has no {RECORD}, which a run gets when it is finished")
    record = _checked(folder)
    return Run(folder, record["key"], record, True)


def is_built(config: Any) -> bool:
    """Whether :func:`build` would find the run of ``config`` finished."""
    key = key_of(config)
    return (runs_dir() / key / RECORD).is_file() or _published_first(key)


def _published_first(key: str) -> bool:
    return os.environ.get(STORED) == FIRST and (published_dir() / key / RECORD).is_file()


def published_dir() -> Path:
    """Where the runs behind published results are kept."""
    return paths.published_dir() / "runs"


def publish(key: str, folder: Path | None = None) -> Path:
    """Copy a finished run to ``folder`` (:func:`published_dir`): its record and tables, without weights and prompts.

    One that was taken from there (``CYCLE_STORED=first``) is there already.
    """
    import pandas as pd

    source, target = runs_dir() / key, (folder or published_dir()) / key
    if not (source / RECORD).is_file() and (target / RECORD).is_file():
        return target
    record = _checked(source)
    target.mkdir(parents=True, exist_ok=True)
    kept = [name for name in record["files"] if name.endswith(_KEPT)]
    for name in kept:
        table = pd.read_parquet(source / name).drop(columns=["prompt"], errors="ignore")
        if record["config"]["stage"] == "Loop":
            table = table.drop(columns=["completion"])  # the program, ``code``, says it all
        table.to_parquet(target / name, compression="zstd", compression_level=19)
    record = json.loads(portable(json.dumps({**record, "config": _without_places(record["config"])})))
    write_json(target / RECORD, {**record, "published": {name: digest(target / name) for name in kept}})
    return target


def _without_places(config: Any) -> Any:
    """A config as data, in which a local copy of a benchmark stands as what it adds to the benchmark's name."""
    if not isinstance(config, dict):
        return config
    found = {name: _without_places(value) for name, value in config.items()}
    if found.get("data") and Path(found["data"]).expanduser().exists():
        found["data"] = told_data(found["benchmark"], Path(found["data"]).expanduser(), training="problems" in found)
    return found


def portable(text: str) -> str:
    """``text`` with the places of runs and results told from the study's own folder, not from this machine's root."""
    return text.replace(f"{paths.home()}/", "").replace(f"{ROOT}/", "")


def _stored(key: str, title: str) -> Run:
    folder = published_dir() / key
    if not (folder / RECORD).is_file():
        raise MissingRun(
            f"{title}: the run {key} is not among the published ones in {folder.parent}; unset {STORED} to build it, "
            "or publish it with `make study SEEDS=3 PUBLISH=1` and `make ablations SEEDS=3 PUBLISH=1`"
        )
    return Run(folder, key, _checked(folder, "published"), True)


def _checked(folder: Path, what: str = "files") -> dict[str, Any]:
    advice = f"delete {folder} and run again"
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        files = record[what]
    except (ValueError, KeyError) as error:
        raise DamagedRun(f"the record {folder / RECORD} cannot be read ({error}); {advice}") from error
    for name, expected in files.items():
        if not (folder / name).is_file():
            raise DamagedRun(f"the finished run {folder.name} lost its file {name}; {advice}")
        if digest(folder / name) != expected:
            raise DamagedRun(f"the file {name} of the finished run {folder.name} was changed or damaged; {advice}")
    if record["environment"]["source"] != source_hash():
        log.info("run %s was made by another state of cycle_utils (%s)", folder.name, record["environment"]["commit"])
    return record


def write_json(path: Path, data: Any) -> None:
    """Write whole or not at all."""
    fresh = path.with_name(path.name + ".part")
    fresh.write_text(json.dumps(data, indent=1, default=str), encoding="utf-8")
    os.replace(fresh, path)


def source_hash(files: Iterable[Path] | None = None) -> str:
    """Digest of the package's code, or of some of its files: lines without docstrings, comments and empty lines."""
    chosen = sorted(PACKAGE.rglob("*.py") if files is None else files)
    text = "".join(f"{p.relative_to(PACKAGE)}\n{_code(p, p.stat().st_mtime_ns)}" for p in chosen)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


@functools.cache  # a notebook reads hundreds of runs, and each is compared with the sources
def _code(path: Path, changed: int) -> str:
    """The code in a file, which was last changed at that time."""
    source = path.read_text(encoding="utf-8")
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    prose: set[int] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, kinds) and ast.get_docstring(node, clean=False) is not None:
            prose |= set(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    lines = [line for number, line in enumerate(source.splitlines(), 1) if number not in prose]
    return "\n".join(line for line in lines if line.strip() and not line.lstrip().startswith("#"))


def commit() -> str:
    """The repository's commit, with ``+`` when tracked files differ from it.

    ``unknown`` outside of one, or where this folder merely lies within another repository.
    """
    try:
        if Path(_git("rev-parse", "--show-toplevel")).resolve() != ROOT:
            return "unknown"
        head, status = _git("rev-parse", "--short", "HEAD"), _git("status", "--porcelain", "-uno")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head + ("+" if status else "")


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(ROOT), *arguments]
    return subprocess.run(command, capture_output=True, check=True, encoding="utf-8").stdout.strip()


def environment() -> dict[str, Any]:
    """What a number depends on beside its config: commit, sources, versions, machine."""
    return {
        "commit": commit(),
        "source": source_hash(),
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPU cores",
        **({"judge": told} if (told := from_environment()) else {}),
        **{name: metadata.version(name) for name in _PACKAGES},
    }
