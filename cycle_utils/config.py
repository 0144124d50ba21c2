"""What a stage's config may be: a frozen dataclass of plain values and of other configs.

A config names everything that a run depends on, and a run is found again by it. So an option that came after runs had
been published must not change the configs of before: it is declared with :func:`later`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, field, fields, is_dataclass
from typing import Any


def config_dict(config: Any) -> dict[str, Any]:
    """A config dataclass as plain JSON data, with the stage's name."""
    return {"stage": type(config).__name__, **json.loads(json.dumps(asdict(config), default=str))}


def later(default: Any) -> Any:
    """A dataclass field added after runs were published: it is left out of a run's key at its default."""
    return field(default=default, metadata={"later": True})


def without_defaults(config: Any, plain: Mapping[str, Any]) -> dict[str, Any]:
    """``plain``, which is ``config`` as data, without the :func:`later` fields that have their defaults."""
    kept = {"stage": plain["stage"]} if "stage" in plain else {}
    for one in fields(config):
        value = getattr(config, one.name)
        if not (one.metadata.get("later") and value == one.default):
            kept[one.name] = without_defaults(value, plain[one.name]) if is_dataclass(value) else plain[one.name]
    return kept
