"""Where things are, from this file's own place, so that the working directory never matters.

``CYCLE_HOME`` moves what is written (``runs/`` and ``results/``) to another folder: tests use it to
stay out of the published results, and users with a small home disk to write elsewhere.
"""

from __future__ import annotations

import os
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
ROOT = PACKAGE.parent
NOTEBOOKS = ROOT / "notebooks"
ASSETS = PACKAGE / "assets"  # the shipped LMs


def home() -> Path:
    """The folder under which ``runs/`` and ``results/`` are written: ``$CYCLE_HOME``, else the repository.

    Where the package was installed without its repository, the working directory.
    """
    repository = ROOT if (ROOT / "pyproject.toml").is_file() else Path.cwd()
    return Path(os.environ.get("CYCLE_HOME") or repository).resolve()


def runs_dir() -> Path:
    """What the stages leave behind: models, data, generations; one folder a run. Ignored by git."""
    return home() / "runs"


def results_dir() -> Path:
    """What is published: ``tables/``, ``figures/`` and executed ``notebooks/``."""
    return home() / "results"
