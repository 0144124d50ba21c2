"""Whether the files of a model or a checkpoint are whole: what was cut off in writing looks like a file too."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

_POINTER = b"version https://git-lfs"  # begins the file that git leaves where git-lfs did not fetch


def damage(path: Path) -> str | None:
    """What is wrong with a file of weights, states or settings, in a few words; nothing if it looks whole."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(64)
    if head.startswith(_POINTER):
        return "is the pointer that git leaves without git-lfs, not the file itself: run `git lfs pull` there"
    if path.suffix == ".safetensors":
        wanted = _safetensors_size(path, size)
        if wanted is None or size < wanted:
            return f"is cut off ({size} bytes{f' of {wanted}' if wanted else ''}): fetch or write it again"
    if path.suffix in (".pt", ".pth", ".bin") and not zipfile.is_zipfile(path) and not head.startswith(b"\x80"):
        return f"is cut off or no file of torch ({size} bytes): fetch or write it again"
    if path.suffix == ".json":
        try:
            json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            return f"cannot be read as JSON ({error}): fetch or write it again"
    return None


def _safetensors_size(path: Path, size: int) -> int | None:
    """How large a file of safetensors must be, by its header; nothing if that is cut off itself."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > size:
            return None
        try:
            header = json.loads(file.read(length))
        except ValueError:
            return None
    ends = [one["data_offsets"][1] for name, one in header.items() if name != "__metadata__"]
    return 8 + length + max(ends, default=0)


def damaged(folder: Path) -> str | None:
    """The first damaged file of a folder, and what is wrong with it; nothing if all look whole."""
    kinds = (".safetensors", ".pt", ".pth", ".bin", ".json", ".model", ".txt")
    for path in sorted(path for path in folder.iterdir() if path.suffix in kinds and path.is_file()):
        if wrong := damage(path):
            return f"{path.name} {wrong}"
    return None
