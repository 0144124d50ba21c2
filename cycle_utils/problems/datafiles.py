"""Rows of data files: JSON, JSON lines and Parquet, from a local copy or from the Hugging Face Hub.

Files of the Hub come through its own cache, at one commit, shard after shard and only as far as rows are asked
for: what was fetched once is there without a network. The ``datasets`` library is not asked, since it forgets
the commit where it falls back on its cache (issue 7928 of huggingface/datasets) and cannot name a broken line.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

BATCH = 16  # rows of a Parquet file decoded at a time: some rows of CodeContests have megabytes of tests

Row = tuple[str, dict[str, Any]]  # where it stands, for messages; and its fields


@dataclass(frozen=True)
class Source:
    """A data set on the Hub.

    Attributes:
        repo: its ID.
        revision: the commit that is read, always the same.
        files: the path of its files with ``{split}`` and, where there are several, ``{shard}``; ``*`` stands for
            a digest.
        shards: how many files a split has, if more than one.
    """

    repo: str
    revision: str
    files: str
    shards: Mapping[str, int] = field(default_factory=dict)

    def fetch(self, split: str) -> Iterator[Path]:
        """The files of a split, each downloaded when its turn comes.

        Raises:
            OSError: the Hub does not know the data set, keeps it behind terms of use, or cannot be reached while
                the file is not in the cache.
        """
        for shard in range(self.shards.get(split, 1)):
            pattern = self.files.format(split=split, shard=f"{shard:05d}")
            found = sorted(Path(self._snapshot(pattern)).glob(pattern))
            if not found:
                raise OSError(f"{self.repo} at {self.revision[:7]} holds no {pattern}; {_LOCAL}")
            yield from found

    def _snapshot(self, pattern: str) -> str:
        """The cache's folder of this commit, with the files of ``pattern`` in it."""
        from huggingface_hub import errors, snapshot_download

        try:
            return snapshot_download(self.repo, repo_type="dataset", revision=self.revision, allow_patterns=[pattern])
        except errors.GatedRepoError as error:
            where = f"https://huggingface.co/datasets/{self.repo}"
            raise OSError(f"{self.repo} is gated: accept its terms at {where} and run `hf auth login`") from error
        except errors.RepositoryNotFoundError as error:
            raise OSError(f"the Hub has no data set {self.repo}, or it is private: log in, or {_LOCAL}") from error
        except errors.RevisionNotFoundError as error:
            raise OSError(f"{self.repo} has lost its commit {self.revision[:7]}; {_LOCAL}") from error
        except (OSError, errors.HfHubHTTPError) as error:
            reason = type(error.__cause__ or error).__name__
            raise OSError(
                f"{self.repo} is not in the cache and cannot be had from the Hub ({reason}): connect once, or {_LOCAL}"
            ) from error

    def local(self, data: Path, split: str) -> Iterator[Path]:
        """The files of a split in a local copy: the file itself, or a folder laid out as the Hub's or flat.

        Raises:
            FileNotFoundError: the folder has none.
        """
        if data.is_file():
            yield data
            return
        pattern = self.files.format(split=split, shard="*")
        found = sorted(data.glob(pattern)) or sorted(data.glob(Path(pattern).name))
        if not found:
            raise FileNotFoundError(
                f"{data} holds no {Path(pattern).name}; give a folder as {self.repo} on the Hub has it"
            )
        yield from found

    def rows(self, data: Path | None, split: str, fields: Sequence[str], extra: Sequence[str] = ()) -> Iterator[Row]:
        """The rows of a split, from a local copy if ``data`` names one (see :func:`rows`)."""
        for path in self.fetch(split) if data is None else self.local(data, split):
            yield from rows(path, fields, extra)


_LOCAL = "give data= the path of a local copy"


def rows(path: Path, fields: Sequence[str], extra: Sequence[str] = ()) -> Iterator[Row]:
    """The rows of a .parquet, .json (a list), .jsonl or .jsonl.gz file, in their order.

    Args:
        fields: what each row must have; other columns of a Parquet file are not even read, but for ``extra``.

    Raises:
        ValueError: the file is damaged or in another format, or a row lacks a field; the message says which.
    """
    if path.suffix == ".parquet":
        found = _parquet_rows(path, fields, extra)
    elif path.suffix == ".json":
        found = _json_rows(path)
    else:
        found = _json_lines(path)
    for where, row in found:
        missing = [f for f in fields if row.get(f) is None] if isinstance(row, dict) else list(fields)
        if missing:
            raise ValueError(f"{where} lacks {', '.join(missing)}; give a file in upstream's format")
        yield where, row


def _parquet_rows(path: Path, fields: Sequence[str], extra: Sequence[str]) -> Iterator[Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    number = 0
    try:
        with pq.ParquetFile(path) as file:
            columns = [name for name in file.schema_arrow.names if name in {*fields, *extra}]
            if missing := set(fields) - set(columns):
                raise ValueError(f"{path} lacks the columns {', '.join(sorted(missing))}; give upstream's file")
            for batch in file.iter_batches(BATCH, columns=columns):
                for row in batch.to_pylist():
                    number += 1
                    yield f"row {number} of {path}", row
    except (OSError, pa.ArrowException) as problem:
        reason = str(problem).split("\n")[0].rstrip(".")
        raise ValueError(f"{path} cannot be read after row {number} ({reason}); fetch it again") from problem


def _json_rows(path: Path) -> Iterator[Row]:
    try:
        problems = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as problem:
        raise ValueError(f"{path} is not a JSON file ({problem}); fetch it again") from problem
    if not isinstance(problems, list):
        raise ValueError(f"{path} is not a JSON list of problems; give upstream's file")
    for number, row in enumerate(problems, 1):
        yield f"problem {number} of {path}", row


def _json_lines(path: Path) -> Iterator[Row]:
    """Blank lines are passed over, and counted."""
    number = 0
    try:
        with (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    where = f"line {number} of {path}"
                    yield where, parsed(line, where)
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as problem:
        raise ValueError(f"{path} cannot be read after line {number} ({problem}); fetch it again") from problem


def parsed(text: str, where: str) -> Any:
    """The value of a JSON text that stands at ``where``."""
    try:
        return json.loads(text)
    except ValueError as problem:
        raise ValueError(f"{where} is not JSON ({problem}); mend it or fetch the file again") from problem
