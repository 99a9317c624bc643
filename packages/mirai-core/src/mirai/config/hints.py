"""Type hints and their JSON Schema keywords: what YAML makes such a value, and how to ask for it in words."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import is_dataclass
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

# What a node may be, as the last part of its tag has it.
NOUNS = {
    "bool": "true or false",
    "int": "a whole number",
    "float": "a number",
    "str": "a text",
    "seq": "a list",
    "map": "keys with values",
    "null": "empty",
}

_KINDS: dict[Any, tuple[str, ...]] = {
    bool: ("bool",),
    int: ("int",),
    float: ("float", "int"),
    str: ("str",),
    Literal: ("str",),
    NoneType: ("null",),
    list: ("seq",),
    tuple: ("seq",),
    Sequence: ("seq",),
    Collection: ("seq",),
    dict: ("map",),
    Mapping: ("map",),
    Callable: (),
}

_BOUNDS: dict[str, tuple[Callable[[Any, Any], bool], str]] = {
    "minimum": (operator.ge, "of at least"),
    "exclusiveMinimum": (operator.gt, "above"),
    "maximum": (operator.le, "at most"),
}


def members(hint: Any) -> tuple[Any, ...]:
    """The types of a union, or the one type."""
    return get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)


def kinds(member: Any) -> tuple[str, ...]:
    """The nodes that a type can be made of: any, for a type that is not known here."""
    return ("map",) if is_dataclass(member) else _KINDS.get(get_origin(member) or member, tuple(NOUNS))


def elements(member: Any, count: int) -> list[Any] | None:
    """The types of a list's elements; None where it must have another number of them."""
    types = get_args(member)
    if get_origin(member) is tuple and types[-1:] != (...,):
        return list(types) if len(types) == count else None
    return [types[0] if types else Any] * count


def is_allowed(value: Any, member: Any, keywords: Mapping[str, Any]) -> bool:
    """Whether a value of the type is one of those that the keywords, or its `Literal`, let through."""
    if get_origin(member) is Literal:
        return value in get_args(member)
    if isinstance(value, str):
        return re.fullmatch(keywords.get("pattern", ".*"), value, re.DOTALL) is not None
    if isinstance(value, int | float) and not isinstance(value, bool):
        return all(holds(value, keywords[name]) for name, (holds, _) in _BOUNDS.items() if name in keywords)
    return True


def wanted(hint: Any, keywords: Mapping[str, Any]) -> str:
    """What to give, in words."""
    nouns = [_noun(member, keywords) for member in members(hint) if kinds(member) not in ((), ("null",))]
    example = f", such as {keywords['examples'][0]}" if "examples" in keywords else ""
    meaning = f" ({keywords['description']})" if "description" in keywords else ""
    return " or ".join(nouns) + example + meaning


def _noun(member: Any, keywords: Mapping[str, Any]) -> str:
    if get_origin(member) is Literal:
        return " or ".join(map(repr, get_args(member)))
    if get_origin(member) is tuple and ... not in get_args(member):
        return f"a list of {len(get_args(member))}"
    if len(kinds(member)) == len(NOUNS):
        return "a value without a tag"
    noun = NOUNS[kinds(member)[0]]
    if noun not in (NOUNS["int"], NOUNS["float"]):
        return noun
    bounds = [f" {words} {keywords[name]}" for name, (_, words) in _BOUNDS.items() if name in keywords]
    return noun + " and".join(bounds)
