"""Files of the Hugging Face Hub, through its own cache; where they cannot be had, one sentence says why and what to do.

``HF_ENDPOINT`` names a mirror, ``HF_HOME`` the folder of the cache, and with ``HF_HUB_OFFLINE=1`` the cache alone is
asked: all three are the Hub's own variables, which its library reads when it is imported.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from cycle_utils.paths import REFUSED, digest

MODEL, DATA_SET = "model", "dataset"  # kinds of repositories, as the Hub calls them
_PAGES = {MODEL: "https://huggingface.co/", DATA_SET: "https://huggingface.co/datasets/"}
_AGAIN = "run the same again (files that are whole are not fetched twice)"


def fetched(repo: str, kind: str, patterns: Sequence[str], instead: str, revision: str | None = None) -> Path:
    """The cache's folder of one commit of a repository, with its files that fit ``patterns``, whole.

    A commit that is named never changes, so the Hub is not asked for what the cache has of it.

    Args:
        instead: what else a reader can do who cannot have them, such as to name a local copy.
        revision: a commit; the head of ``main`` if none is named.

    Raises:
        OSError: the Hub does not know the repository, keeps it behind terms of use, or cannot be reached while the
            files are not in the cache; the download broke off, or what came is not what the Hub has.
    """
    import httpx
    from huggingface_hub import errors, snapshot_download

    what = {"repo_type": kind, "revision": revision, "allow_patterns": list(patterns)}
    try:
        folder = _in_cache(repo, what) if revision else None
        folder = folder or Path(snapshot_download(repo, **what))
    except (OSError, httpx.HTTPError, errors.HFValidationError, RuntimeError) as error:  # the last one is Xet's
        raise OSError(_refusal(repo, kind, revision, error, instead)) from error
    _check(repo, _files(folder, patterns))
    return folder


def _in_cache(repo: str, what: dict) -> Path | None:
    """The folder of a commit, if the cache has files for each pattern."""
    from huggingface_hub import errors, snapshot_download

    try:
        folder = Path(snapshot_download(repo, **what, local_files_only=True))
    except errors.LocalEntryNotFoundError:
        return None
    return folder if all(_files(folder, [pattern]) for pattern in what["allow_patterns"]) else None


def _files(folder: Path, patterns: Sequence[str]) -> list[Path]:
    return [path for pattern in patterns for path in sorted(folder.glob(pattern)) if path.is_file()]


def _check(repo: str, files: Sequence[Path]) -> None:
    """Hold large files against their digests, which are their names in the cache: the Hub's library looks at sizes."""
    for path in files:
        stored = path.resolve()
        if re.fullmatch("[0-9a-f]{64}", stored.name) and digest(stored) != stored.name:
            raise OSError(
                f"{path.name} of {repo} is not what the Hub has: it was torn or changed. Delete {stored} and run the "
                "same again"
            )


def _refusal(repo: str, kind: str, revision: str | None, error: Exception, instead: str) -> str:
    """What an error of the Hub's library means, and what to do."""
    import httpx
    from huggingface_hub import constants, errors

    is_unanswered = isinstance(error, errors.LocalEntryNotFoundError)  # the cache was asked instead, in vain
    cause = (error.__cause__ or error) if is_unanswered else error
    reason, endpoint = type(cause).__name__, constants.ENDPOINT
    status = getattr(getattr(cause, "response", None), "status_code", None)
    name = "data set" if kind == DATA_SET else kind
    if isinstance(cause, errors.GatedRepoError):
        return f"{repo} is gated: accept its terms at {_PAGES[kind]}{repo} and run `hf auth login`"
    if isinstance(cause, errors.RepositoryNotFoundError):
        return f"the Hub has no {name} {repo}, or it is private: check the spelling, log in, or {instead}"
    if isinstance(cause, errors.HFValidationError):
        return f"the Hub has no {name} {repo!r}, nor could it have one of that name: {instead}"
    if isinstance(cause, errors.RevisionNotFoundError):
        return f"{repo} has lost its commit {(revision or 'main')[:7]}; {instead}"
    if isinstance(cause, errors.OfflineModeIsEnabled):
        return f"{repo} is not in the cache, and HF_HUB_OFFLINE forbids to ask the Hub: unset it once, or {instead}"
    if status == 401:
        return f"the Hub does not take your token for {repo}: log in anew with `hf auth login`, or unset HF_TOKEN"
    if isinstance(cause, OSError) and cause.errno in REFUSED:
        where = f"{constants.HF_HUB_CACHE} ({cause.strerror})"
        return f"cannot write {repo} to {where}: make room there, or set HF_HOME to another folder"
    if isinstance(cause, errors.FileMetadataError):
        return f"what answers at {endpoint} for {repo} is no Hub: check HF_ENDPOINT, or {instead}"
    if "Consistency check failed" in str(cause):
        return f"{repo} came with another size than it has on the Hub, as by a proxy that ends downloads: {_AGAIN}"
    if isinstance(cause, httpx.ReadError | httpx.ReadTimeout | httpx.RemoteProtocolError) and not is_unanswered:
        return f"the download of {repo} broke off ({reason}): {_AGAIN}"
    if isinstance(cause, RuntimeError):
        return f"the download of {repo} broke off in Xet ({reason}): {_AGAIN}, with HF_HUB_DISABLE_XET=1 if need be"
    return f"{repo} is not in the cache and cannot be had from {endpoint} ({reason}): connect once, or {instead}"
