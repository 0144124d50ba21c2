"""A finished run as a model on the Hugging Face Hub, with a card that says only what its record says.

    python -m cycle_utils.study.hub RUN_FOLDER USER/NAME [--card-only] [--public]

The run's folder, ``runs/KEY``, gets the card as ``README.md``; with ``--card-only`` nothing is uploaded.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from cycle_utils.method.runs import Run, read_run
from cycle_utils.models.loading import TINY, base_of

CARD = "README.md"
HUB_ID = r"\w[\w.-]*/\w[\w.-]*"
METHODS = {
    "Pretrain": "A small code LM trained from random weights on generated programs.",
    "FineTune": "Stage 1(a) of CYCLE: fine-tuned on canonical solutions, from description to program.",
    "RefineTrain": "Stage 2 of CYCLE: trained to refine its own faulty programs from execution feedback, with Past "
    "Generation Masking, mixed with plain generation.",
    "Turn": "A further turn of CYCLE's stages: trained again on what went wrong when it practised.",
    "Grpo": "After CYCLE's stages, trained by GRPO on the verdicts on its own programs.",
}
CITATION = """```bibtex
@article{ding2024cycle,
  author  = {Ding, Yangruibo and Min, Marcus J. and Kaiser, Gail and Ray, Baishakhi},
  title   = {CYCLE: Learning to Self-Refine the Code Generation},
  journal = {Proceedings of the ACM on Programming Languages},
  volume  = {8},
  number  = {OOPSLA1},
  pages   = {392--418},
  year    = {2024},
  doi     = {10.1145/3649825}
}
```"""


def card(run: Run) -> str:
    """The model card: base model, data, method, losses, versions, config. Local folders stand in it by name only.

    Raises:
        ValueError: the run made no model.
    """
    record, config = run.record, run.record["config"]
    if config["stage"] not in METHODS:
        raise ValueError(
            f"the run {run.key} is a {config['stage']} and holds no model; give one of {', '.join(METHODS)}"
        )
    environment, notes = record["environment"], record["notes"]
    versions = ", ".join(f"{name} {value}" for name, value in environment.items() if name not in ("commit", "source"))
    facts = [
        f"- **base model:** {_base(config) or 'none'}",
        f"- **data:** {_data(config)}",
        *(f"- **{name}:** {_count(notes[name])}" for name in ("examples", "tokens") if name in notes),
        *_losses(notes.get("losses", ())),
        f"- **training took:** {record['seconds']} s",
        f"- **run:** `{run.key}`, made by commit `{environment['commit']}`, sources `{environment['source']}`",
        f"- **versions:** {versions}",
    ]
    return "\n".join([
        "---", yaml.safe_dump(_metadata(config)).strip(), "---", "",
        f"# {run.key}", "", METHODS[config["stage"]], "", *facts, "",
        "## Licence", "", _licence(config), "",
        "## Config", "", "```json", json.dumps(_named(config), indent=1), "```", "",
        "## Citation", "", "The method is not ours; cite its paper:", "", CITATION, "",
    ])  # fmt: skip


def push(folder: str | Path, repo_id: str, private: bool = True) -> str:
    """Upload the model of a finished run, and its card; it returns the address.

    Adapters that were merged into the model stay here, and so does the record, which names local folders.

    Args:
        repo_id: ``USER/NAME``; it is made if it is not there, private unless told otherwise.

    Raises:
        ValueError: no finished run, one without a model, or adapters whose base is not on the Hub.
        DamagedRun: a file of the run was lost or changed.
        PermissionError: no token, or one that may not write there.
        ConnectionError: the Hub is out of reach or refused the upload.
    """
    import httpx
    from huggingface_hub import HfApi, get_token
    from huggingface_hub.errors import HfHubHTTPError

    run = read_run(Path(folder))
    write_card(run)
    if not (run.path("config.json")).is_file() and Path(base_of(run.folder)).is_dir():
        raise ValueError(
            f"{run.folder} holds adapters for a base in a local folder, which nobody else has: merge them, with "
            "load_model(FOLDER).save_pretrained(...), or train with merged=True"
        )
    if not get_token():
        raise PermissionError(
            "no Hugging Face token: log in with `hf auth login`, or set HF_TOKEN to one that may write"
        )
    api, files = HfApi(), [name for name in run.record["files"] if "/" not in name]
    try:
        address = api.create_repo(repo_id, private=private, exist_ok=True)
        api.upload_folder(
            repo_id=repo_id, folder_path=run.folder, allow_patterns=[*files, CARD], commit_message=f"Run {run.key}"
        )
    except HfHubHTTPError as error:
        if error.response.status_code in (401, 403):
            raise PermissionError(f"the token may not write to {repo_id}: {error}") from error
        raise ConnectionError(f"the Hub refused {repo_id}: {error}") from error
    except (httpx.HTTPError, ConnectionError) as error:
        raise ConnectionError(f"the Hub cannot be reached ({error}); the card is written, push again later") from error
    return str(address)


def write_card(run: Run) -> Path:
    """Write the card into the run's folder, where it is no part of the record."""
    run.path(CARD).write_text(card(run), encoding="utf-8")
    return run.path(CARD)


def _metadata(config: Mapping[str, Any]) -> dict[str, Any]:
    base = _base(config)
    on_hub = {"base_model": base} if base and re.fullmatch(HUB_ID, base) else {}
    return {"library_name": "transformers", "pipeline_tag": "text-generation", "tags": ["code", "cycle"], **on_hub}


def _licence(config: Mapping[str, Any]) -> str:
    base = "the LM that the repository ships" if (base := _base(config)) == TINY else base
    weights = f"The weights derive from {base}: its licence and terms hold for them. " if base else ""
    return f"{weights}Mind the terms of the training data too. The code that made them is under the MIT licence."


def _base(config: Mapping[str, Any]) -> str | None:
    """The pre-trained LM that a run began with."""
    return next((_named(value) for name, value in _leaves(config) if name == "model"), None)


def _data(config: Mapping[str, Any]) -> str:
    found = {name: value for name, value in _leaves(config) if name in ("benchmark", "problems")}
    if not found:
        return "generated programs"
    return f"{found['benchmark']}, at most {found['problems']} problems of its training split"


def _count(number: Any) -> str:
    """A number, or several by kind."""
    return ", ".join(f"{n} {kind}" for kind, n in number.items()) if isinstance(number, Mapping) else str(number)


def _losses(losses: Any) -> Iterator[str]:
    phases = losses if isinstance(losses, Mapping) else {"training": losses}
    for phase, curve in phases.items():
        if curve:
            first, last = curve[0], curve[-1]
            yield (
                f"- **loss ({phase}):** {first['loss']:.4f} at step {first['step']}, {last['loss']:.4f} at step "
                f"{last['step']} (mean over target tokens, in nats)"
            )


def _leaves(config: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in config.items():
        if isinstance(value, Mapping):
            yield from _leaves(value)
        else:
            yield name, value


def _named(value: Any) -> Any:
    """A config with folders by their names: where they lie here is nobody's business."""
    if isinstance(value, Mapping):
        return {name: _named(inner) for name, inner in value.items()}
    return Path(value).name if isinstance(value, str) and Path(value).expanduser().is_absolute() else value


def main(arguments: Sequence[str] | None = None) -> None:
    """The command. Errors are those of :func:`push`."""
    parser = argparse.ArgumentParser(prog="cycle_utils.study.hub", description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path, help="of a finished run")
    parser.add_argument("repo_id", metavar="USER/NAME")
    parser.add_argument("--card-only", action="store_true", help="write the card and upload nothing")
    parser.add_argument("--public", action="store_true", help="let everybody see the model")
    options = parser.parse_args(arguments)
    if options.card_only:
        print(write_card(read_run(options.folder)))
    else:
        print(push(options.folder, options.repo_id, private=not options.public))


if __name__ == "__main__":
    main()
