"""Rows of data files: JSON, JSON lines and Parquet, from a local copy or from the Hugging Face Hub.

Files of the Hub come through its own cache, at one commit, shard after shard and only as far as rows are asked
for: what was fetched once is there without a network. The ``datasets`` library is not asked, since it forgets
the commit where it falls back on its cache (issue 7928 of huggingface/datasets) and cannot name a broken line.
"""

from __future__ import annotations

import gzip
import json
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cycle_utils import downloads

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
        config: the configuration to read where a local copy holds several.
    """

    repo: str
    revision: str
    files: str
    shards: Mapping[str, int] = field(default_factory=dict)
    config: str = "all"

    def fetch(self, split: str) -> Iterator[Path]:
        """The files of a split, each downloaded when its turn comes.

        Raises:
            OSError: as :func:`cycle_utils.downloads.fetched`, or the commit has no such file.
        """
        for shard in range(self.shards.get(split, 1)):
            pattern = self.files.format(split=split, shard=f"{shard:05d}")
            folder = downloads.fetched(self.repo, downloads.DATA_SET, [pattern], _LOCAL, self.revision)
            found = sorted(folder.glob(pattern))
            if not found:
                raise OSError(f"{self.repo} at {self.revision[:7]} holds no {pattern}; {_LOCAL}")
            yield from found

    def local(self, data: Path, split: str) -> Iterator[Path]:
        """The files of a split in a local copy: the file itself, or a folder laid out as the Hub's, flat or converted.

        Raises:
            FileNotFoundError: the folder has none.
            ValueError: it has those of several configurations, and not of the one wanted.
        """
        if data.is_file():
            yield data
            return
        pattern = self.files.format(split=split, shard="*")
        found = sorted(data.glob(pattern)) or sorted(data.glob(Path(pattern).name)) or self._converted(data, split)
        if not found:
            raise FileNotFoundError(
                f"{data} holds no {Path(pattern).name} and no other Parquet or JSON-lines files of split {split!r}; "
                f"give a folder as {self.repo} on the Hub has it"
            )
        yield from found

    def _converted(self, data: Path, split: str) -> list[Path]:
        """Files in another layout, such as the Hub's own conversion to Parquet: CONFIGURATION/SPLIT/0000.parquet."""
        files = [path for ending in ("parquet", "jsonl", "jsonl.gz") for path in sorted(data.rglob(f"*.{ending}"))]
        files = [path for path in files if split in re.split(r"[^a-z]+", str(path.relative_to(data)).lower())]
        by_config: dict[str, list[Path]] = {}
        for path in files:
            parts = [part for part in path.relative_to(data).parts[:-1] if part != split]
            by_config.setdefault("/".join(parts), []).append(path)
        if len(by_config) > 1 and self.config not in by_config:
            raise ValueError(
                f"{data} holds several configurations ({', '.join(sorted(by_config))}), and each has its own rows; "
                f"give the folder of one of them"
            )
        return by_config[self.config] if len(by_config) > 1 else files

    def rows(self, data: Path | None, split: str, fields: Sequence[str], extra: Sequence[str] = ()) -> Iterator[Row]:
        """The rows of a split, from a local copy if ``data`` names one (see :func:`rows`)."""
        for path in self.fetch(split) if data is None else self.local(data, split):
            yield from rows(path, fields, extra)


_UPSTREAM = "give a file in upstream's format"
_EVALPLUS = (
    "this is EvalPlus' own release (base_input, plus_input), without expected values; give the variant on the Hub "
    "(evalplus/humanevalplus or evalplus/mbppplus), whose column `test` holds them"
)
_LOCAL = "give data= the path of a local copy"


def rows(path: Path, fields: Sequence[str], extra: Sequence[str] = ()) -> Iterator[Row]:
    """The rows of a Parquet file, of JSON lines or of a JSON list, in order; the latter two may be compressed (.gz).

    Which of the two a file holds shows in its first character, whatever its name. A byte order mark is passed over.

    Args:
        fields: what each row must have; other columns of a Parquet file are not even read, except for ``extra``.

    Raises:
        ValueError: the file is damaged or in another format, or a row lacks a field; the message says which.
    """
    found = _parquet_rows(path, fields, extra) if path.suffix == ".parquet" else _json_rows(path)
    for where, row in found:
        if not isinstance(row, dict):
            raise ValueError(f"{where} is a {type(row).__name__}, not an object with {', '.join(fields)}; {_UPSTREAM}")
        if missing := [field for field in fields if row.get(field) is None]:
            if "base_input" in row:
                raise ValueError(f"{where} lacks {', '.join(missing)}: {_EVALPLUS}")
            raise ValueError(f"{where} lacks {', '.join(missing)}; it has {', '.join(map(str, row))}; {_UPSTREAM}")
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
    """Blank lines are passed over, and counted."""
    number, is_first = 0, True
    try:
        with (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding="utf-8-sig") as file:
            for number, line in enumerate(file, 1):
                if not line.strip():
                    continue
                if is_first and line.lstrip().startswith("["):
                    yield from _listed(path, line + file.read())
                    return
                is_first, where = False, f"line {number} of {path}"
                yield where, _line(line, where)
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as problem:
        raise ValueError(f"{path} cannot be read after line {number} ({problem}); fetch it again") from problem


def _listed(path: Path, text: str) -> Iterator[Row]:
    """The rows of a JSON list."""
    try:
        found = json.loads(text)
    except ValueError as problem:
        raise ValueError(f"{path} begins as a JSON list and is none ({problem}); fetch it again") from problem
    for number, row in enumerate(found, 1):
        yield f"problem {number} of {path}", row


def _line(line: str, where: str) -> Any:
    """The value of one of several JSON lines; a file that is one JSON object over many lines is named as that."""
    if line.strip() == "{":
        raise ValueError(
            f"{where} opens an object that ends on another line; give one problem a line, or a JSON list of problems"
        )
    return parsed(line, where)


def parsed(text: str, where: str) -> Any:
    """The value of a JSON text that stands at ``where``."""
    try:
        return json.loads(text)
    except ValueError as problem:
        raise ValueError(f"{where} is not JSON ({problem}); mend it or fetch the file again") from problem
