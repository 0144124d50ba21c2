"""Where things are, from this file's own place, so that the working directory never matters.

What a reader makes goes to ``runs/`` and ``reproduction/``, which git ignores. ``results/`` holds what is published,
and only those who publish write to it (``CYCLE_PUBLISH=1``; ``make results`` sets it). ``CYCLE_HOME`` moves all three
to another folder: tests use it to stay out of the published results, users with a small home disk to write elsewhere.
``CYCLE_DATA`` names a folder of data files that cannot be fetched.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
ROOT = PACKAGE.parent
NOTEBOOKS = ROOT / "notebooks"
ASSETS = PACKAGE / "assets"  # the shipped LMs
HOME, PUBLISH, DATA = "CYCLE_HOME", "CYCLE_PUBLISH", "CYCLE_DATA"  # environment variables
REFUSED = (errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOSPC, errno.EDQUOT)  # of what cannot be written to


def home() -> Path:
    """The folder under which everything is written: ``$CYCLE_HOME``, else the repository.

    Where the package was installed without its repository, the working directory.
    """
    repository = ROOT if (ROOT / "pyproject.toml").is_file() else Path.cwd()
    return Path(os.environ.get(HOME) or repository).resolve()


def runs_dir() -> Path:
    """What the stages leave behind: models, data, generations; one folder a run. Ignored by git."""
    return home() / "runs"


def data_dir() -> Path:
    """Where upstream's own data files are looked for before the Hub is asked: ``$CYCLE_DATA``, else ``data/``."""
    return Path(os.environ.get(DATA) or home() / "data").expanduser()


def published_dir() -> Path:
    """What is published: ``tables/``, ``figures/``, executed ``notebooks/``, and the ``runs/`` behind them."""
    return home() / "results"


def results_dir() -> Path:
    """Where tables, figures and executed notebooks are written: ``reproduction/``, or where they are published."""
    return published_dir() if os.environ.get(PUBLISH) else home() / "reproduction"


@contextlib.contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Around whatever writes to a folder.

    Raises:
        OSError: it cannot be written to, or its disk is full; the message says where else one may write.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in REFUSED:
            raise
        advice = f"make room there, or set {HOME} to another folder"
        raise OSError(error.errno, f"cannot write to {folder} ({error.strerror}): {advice}") from error


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
