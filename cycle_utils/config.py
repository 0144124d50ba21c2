"""What a stage's config may be: a frozen dataclass of plain values and of other configs, each of its stated type.

A config names everything that a run depends on, and a run is found again by it. So an option that came after runs had
been published must not change the configs of before: it is declared with :func:`later`. Equal numbers are one value,
however they are written, and what is not of a field's type is refused before anything is made of it.

The types below say what a field or a notebook's parameter may be; :func:`checked` holds a value against one of them.
"""

from __future__ import annotations

import functools
import json
import types
from collections.abc import Mapping
from dataclasses import asdict, field, fields, is_dataclass
from numbers import Real
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from annotated_types import Ge, Gt, Le
from pydantic import BeforeValidator, ConfigDict, TypeAdapter, ValidationError


def _whole(value: Any) -> Any:
    """``1.0`` as ``1``; what is no whole number as it is."""
    is_whole = isinstance(value, Real) and not isinstance(value, bool) and value == value // 1
    return int(value) if is_whole else value


def _real(value: Any) -> Any:
    """``1`` as ``1.0`` and ``-0.0`` as ``0.0``; what is no number as it is."""
    return float(value) + 0.0 if isinstance(value, Real) and not isinstance(value, bool) else value


def _rowed(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _text(value: Any) -> Any:
    return str(value) if isinstance(value, Path) else value


Whole = Annotated[int, BeforeValidator(_whole)]
Number = Annotated[float, BeforeValidator(_real)]
Count = Annotated[Whole, Ge(1)]
Natural = Annotated[Whole, Ge(0)]
Seed = Annotated[Whole, Ge(0), Le(2**32 - 1)]  # what numpy and torch both take
Share = Annotated[Number, Ge(0), Le(1)]
Positive = Annotated[Number, Gt(0)]
NotNegative = Annotated[Number, Ge(0)]
Place = Annotated[str, BeforeValidator(_text)]  # of a model or data: a name or a path
Texts = Annotated[tuple[str, ...], BeforeValidator(_rowed)]
Two = Annotated[tuple[NotNegative, NotNegative], BeforeValidator(_rowed)]
_WORDS = {int: "a whole number", float: "a number", str: "a text", bool: "True or False", types.NoneType: "None"}
_PLURAL = {int: "whole numbers", float: "numbers", str: "texts"}


class Checked:
    """Base of config dataclasses: each field is held against its type when a config is made."""

    def __post_init__(self) -> None:
        for name, hint in _hints(type(self)).items():
            object.__setattr__(self, name, checked(name, getattr(self, name), hint))


@functools.cache
def _hints(config: type) -> dict[str, Any]:
    hints = get_type_hints(config, include_extras=True)
    return {one.name: hints[one.name] for one in fields(config)}


def checked(name: str, value: Any, hint: Any) -> Any:
    """``value``, if it is of the type; a number as the type writes it.

    Raises:
        ValueError: it is not; the message names it, the value and what is allowed.
    """
    choices = get_args(hint) or (hint,)
    if any(isinstance(one, type) and is_dataclass(one) for one in choices):
        if isinstance(value, choices):
            return value
        given = ["None" if one is types.NoneType else f"a {one.__name__}" for one in choices]
        raise ValueError(f"{name} is {value!r}; give {' or '.join(given)}")
    try:
        return _adapter(hint).validate_python(value)
    except ValidationError:
        what = {str: ", a text", bool: ", a truth value", list: ", a list"}.get(type(value), "")
        raise ValueError(f"{name} is {value!r}{what}; give {allowed(hint)}{_hint_on(value, hint)}") from None


@functools.cache
def _adapter(hint: Any) -> TypeAdapter:
    return TypeAdapter(hint, config=ConfigDict(strict=True, allow_inf_nan=False))


def allowed(hint: Any) -> str:
    """A type in words."""
    if hint in _WORDS:
        return _WORDS[hint]
    inside = get_args(hint)
    if get_origin(hint) in (types.UnionType, Union):
        return ", or ".join(allowed(one) for one in inside)
    if get_origin(hint) is Literal:
        return "one of " + ", ".join(map(repr, inside))
    if get_origin(hint) in (list, tuple):
        several = "two" if len(inside) == 2 and inside[1] is not Ellipsis else "a list of"
        return f"{several} {_PLURAL[_base(inside[0])]}{_range(inside[0])}"
    return allowed(inside[0]) + _range(hint)


def _base(hint: Any) -> Any:
    return _base(get_args(hint)[0]) if get_origin(hint) is Annotated else hint


def _range(hint: Any) -> str:
    """Bounds in words; those of the types within are :func:`allowed`'s business."""
    bounds = hint.__metadata__ if get_origin(hint) is Annotated else ()
    low = next((one.ge for one in bounds if isinstance(one, Ge)), None)
    high = next((one.le for one in bounds if isinstance(one, Le)), None)
    above = next((f" above {one.gt}" for one in bounds if isinstance(one, Gt)), "")
    if low is not None:
        return f" from {low} to {high}" if high is not None else f", {low} or more"
    return f"{above} to {high}" if above and high is not None else above


def _hint_on(value: Any, hint: Any) -> str:
    """What may have been meant by a text that should be something else."""
    if not isinstance(value, str):
        return ""
    if "list" in allowed(hint):
        return f". One alone is a list too: [{value!r}]"
    if value.lower() in ("true", "false", "none"):
        null = "null" if value.lower() == "none" else value.lower()
        return f". As text it means something else: write {value.capitalize()}, or {null} in YAML"
    try:
        float(value.replace("_", ""))
    except ValueError:
        return ". Numbers are written as 0.05" if any(map(str.isdigit, value)) else ""
    return f". YAML takes {value} for text: write it with a point, as 5.0e-4" if "e" in value.lower() else ""


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
