"""A Hub on this machine: the part of its protocol that downloads use, tiny models and data under the recipes' own IDs.

``HF_ENDPOINT`` names it to processes that begin with it; :func:`turn_to` turns this process to it. As on the Hub, large
files lie elsewhere (a redirect says where) and go by their SHA-256, small ones by their git hash; data sets are at the
commits that the loaders pin, models at a ``main``. A gated repository gives its files to :data:`AGREED` alone.
"""

import contextlib
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import ThreadingHTTPServer
from pathlib import Path

import architectures
import torch
from huggingface_hub import constants
from local_server import JsonHandler
from safetensors.torch import load_file
from upstream_rows import APPS_ROW, MBPP_FULL_ROW, MBPP_PLUS_ROW, ROW, contest, lines, table

from cycle_utils.problems import benchmarks

AGREED, ENDED = "hf_agreed", "hf_ended"  # tokens: of somebody who has accepted all terms, and one of the past
HEAD = f"{'c0ffee':0<40}"  # the commit of each model's main
LARGE = (".bin", ".safetensors", ".parquet", ".jsonl")  # what git-lfs keeps upstream
# How IDs begin, the architecture, what tokenizer_config.json calls the tokenizer upstream, and whether there are terms.
MODELS = {
    "Salesforce/codegen-": ("codegen", "CodeGenTokenizer", False),
    "bigcode/": ("gpt_bigcode", "GPT2Tokenizer", True),
    "Qwen/": ("qwen2", "Qwen2Tokenizer", False),
}
CUT, CUT_ONCE, SHORT, OTHER, DOWN = "cut", "cut once", "short", "other", "down"  # faults, see :class:`Hub`


@dataclass(frozen=True)
class Repo:
    """The files of a model or a data set at its only commit."""

    folder: Path
    commit: str = HEAD
    gated: bool = False

    def files(self) -> dict[str, Path]:
        return {str(path.relative_to(self.folder)): path for path in sorted(self.folder.rglob("*")) if path.is_file()}


# --- what it holds ----------------------------------------------------------------------------------------


def architecture(model: str) -> str | None:
    """That of the model of this ID; none if there is no such model."""
    return next((kind for start, (kind, *_) in MODELS.items() if model.startswith(start)), None)


def model_repo(model: str, folder: Path) -> Repo:
    """A random model with the files that upstream has; CodeGen's weights are in torch's old format and in float16."""
    kind, tokenizer, gated = next(made for start, made in MODELS.items() if model.startswith(start))
    text = "".join(path.read_text(encoding="utf-8") for path in Path(benchmarks.__file__).parent.glob("*.py"))
    architectures.save(kind, folder, text)
    told = folder / "tokenizer_config.json"
    config = {**json.loads(told.read_text(encoding="utf-8")), "tokenizer_class": tokenizer}
    told.write_text(json.dumps(config), encoding="utf-8")
    if kind == "codegen":
        weights = folder / "model.safetensors"
        torch.save({name: value.half() for name, value in load_file(weights).items()}, folder / "pytorch_model.bin")
        weights.unlink()
    return Repo(folder, gated=gated)


def data_repos(folder: Path) -> dict[str, Repo]:
    """The data sets that the loaders know, in upstream's layout, with a few problems of each split."""
    plus = {**MBPP_PLUS_ROW, "source_file": "x"}
    sanitized = {name: value for name, value in plus.items() if name != "test"}
    contents = [
        *((benchmarks.CODE_CONTESTS, "train", i, [contest(f"{i}_{n}") for n in range(8)]) for i in range(2)),
        *((benchmarks.APPS, split, 0, [{**APPS_ROW, "id": n} for n in range(4)]) for split in ("train", "test")),
        (benchmarks.MBPP, "test", 0, [{**sanitized, "task_id": n} for n in range(11, 15)]),
        (benchmarks.MBPP_FULL, "train", 0, [{**MBPP_FULL_ROW, "task_id": n} for n in range(601, 605)]),
        (benchmarks.MBPP_PLUS, "test", 0, [{**plus, "task_id": n} for n in range(2, 6)]),
        (benchmarks.HUMANEVAL_PLUS, "test", 0, [{**ROW, "task_id": f"HumanEval/{n}"} for n in range(4)]),
    ]
    for source, split, shard, rows in contents:
        name = source.files.format(split=split, shard=f"{shard:05d}").replace("*", "00039-0ff1ce")
        path = folder / source.repo / name
        lines(path, *rows) if path.suffix == ".jsonl" else table(path, rows)
    return {source.repo: Repo(folder / source.repo, source.revision) for source, *_ in contents}


# --- how it answers ---------------------------------------------------------------------------------------


class Hub(ThreadingHTTPServer):
    """The server. ``repos`` are by kind (``models``, ``datasets``) and ID; ``asked`` lists methods and paths.

    ``faults`` are by the end of a file's name: a body that breaks off, always (:data:`CUT`) or :data:`CUT_ONCE`; one
    that is :data:`SHORT`, though whole by its own header; :data:`OTHER` bytes than the digest says; or a server that is
    :data:`DOWN`.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.repos: dict[tuple[str, str], Repo] = {}
        self.faults: dict[str, str] = {}
        self.asked: list[str] = []
        self.parts = 0  # how many bodies did not begin at the file's begin

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def elsewhere(self) -> str:
        """Where large files are: another host, which is told no token and knows of no commits."""
        return f"http://localhost:{self.server_port}"

    def fault(self, name: str) -> str | None:
        return next((fault for end, fault in self.faults.items() if name.endswith(end)), None)


class Handler(JsonHandler):
    """Answers as the Hub does, where a client may tell the difference."""

    server: Hub

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        self.server.asked.append(f"{self.command} {self.path}")
        path = self.path.split("?")[0].strip("/")
        if found := re.fullmatch(r"api/(models|datasets)/([^/]+/[^/]+)(?:/(revision|tree)/([^/]+))?", path):
            self.describe(*found.groups())
        elif found := re.fullmatch(r"(datasets/)?([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            kind = "datasets" if found[1] else "models"
            self.resolve(kind, *found.groups()[1:])
        elif found := re.fullmatch(r"large/(models|datasets)/([^/]+/[^/]+)/(.+)", path):
            self.body(found[3], self.server.repos[found[1], found[2]].files()[found[3]], {})
        else:
            self.refuse(404, "")

    def repo(self, kind: str, name: str, revision: str | None) -> Repo | None:
        """The repository at a commit, or nothing, when that has been said."""
        found = self.server.repos.get((kind, name))
        if self.server.fault(name) == DOWN:
            self.refuse(503, "")
        elif self.token() == ENDED:
            self.refuse(401, "", {"X-Error-Message": "Invalid credentials in Authorization header"})
        elif found is None:  # a stranger is not told whether there is a private one
            self.refuse(404 if self.token() else 401, "RepoNotFound")
        elif revision not in (None, "main", found.commit):
            self.refuse(404, "RevisionNotFound")
        else:
            return found
        return None

    def describe(self, kind: str, name: str, what: str | None, revision: str | None) -> None:
        """What is known of a repository, or the list of its files."""
        if repo := self.repo(kind, name, revision):
            siblings = [{"rfilename": path} for path in repo.files()]
            about = {"id": name, "sha": repo.commit, "siblings": siblings, "private": False}
            self.send(200, [entry(*one) for one in repo.files().items()] if what == "tree" else about)

    def resolve(self, kind: str, name: str, revision: str, path: str) -> None:
        """A file, or where it is."""
        if (repo := self.repo(kind, name, revision)) is None:
            return
        told = {"X-Repo-Commit": repo.commit}
        if repo.gated and self.token() != AGREED:
            self.refuse(403 if self.token() else 401, "GatedRepo")
        elif path not in repo.files():
            self.refuse(404, "EntryNotFound", told)
        else:
            file = repo.files()[path]
            about = entry(path, file)
            if "lfs" not in about:
                return self.body(path, file, {**told, "ETag": f'"{about["oid"]}"'})
            told |= {"X-Linked-ETag": f'"{about["lfs"]["oid"]}"', "X-Linked-Size": about["size"]}
            self.send(302, b"", {**told, "Location": f"{self.server.elsewhere}/large/{kind}/{name}/{path}"})

    def body(self, name: str, file: Path, headers: dict) -> None:
        """A file's bytes, from where they were asked for, with its fault."""
        data, fault = file.read_bytes(), self.server.fault(name)
        start = int(re.match(r"bytes=(\d+)-", self.headers.get("Range", "bytes=0-"))[1])
        data = {SHORT: data[:-1], OTHER: data[::-1]}.get(fault, data)
        part = {"Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"} if start else {}
        sent = data[start:]
        self.server.parts += bool(start)
        self.send_response(206 if start else 200)
        for header, value in {**headers, **part, "Content-Length": len(sent)}.items():
            self.send_header(header, str(value))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(sent[: max(0, len(data) // 2 - start)] if fault in (CUT, CUT_ONCE) else sent)
            if fault == CUT_ONCE:
                self.server.faults = {}

    def refuse(self, status: int, code: str, headers: dict | None = None) -> None:
        self.send(status, b"", {**(headers or {}), **({"X-Error-Code": code} if code else {})})

    def token(self) -> str:
        return self.headers.get("Authorization", "").removeprefix("Bearer ")


def entry(name: str, file: Path) -> dict:
    """A file as the list of a repository's files has it."""
    data = file.read_bytes()
    git = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
    about = {"type": "file", "path": name, "size": len(data), "oid": git}
    large = {"lfs": {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 134}}
    return {**about, **(large if file.suffix in LARGE else {})}


@contextlib.contextmanager
def running(models: list[str], folder: Path) -> Iterator[Hub]:
    """A Hub with these models and all data sets, whose files go to ``folder``."""
    hub = Hub()
    hub.repos = {("datasets", name): repo for name, repo in data_repos(folder / "data").items()}
    hub.repos |= {("models", name): model_repo(name, folder / name) for name in models}
    thread = threading.Thread(target=hub.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    yield hub
    hub.shutdown()
    hub.server_close()
    thread.join()


def turn_to(hub: Hub, cache: Path, monkeypatch) -> None:
    """Let this process ask ``hub``, with an empty cache: its own variables were read long ago."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", hub.address)
    template = hub.address + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))


def told(hub: Hub, cache: Path) -> dict[str, str]:
    """The variables for a process that is to ask ``hub``, as somebody who has accepted all terms."""
    return {"HF_ENDPOINT": hub.address, "HF_HOME": str(cache), "HF_TOKEN": AGREED, "HF_HUB_OFFLINE": "0"}
