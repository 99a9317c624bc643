"""The JSON Schema of a file of profiles, made from the same dataclasses that check it: editors complete keys by it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any, Literal, get_args, get_origin

from mirai import plugins
from mirai.config.check import is_required, type_hints
from mirai.config.hints import NOUNS, kinds, members
from mirai.config.schema import File, Launch, Range

_VARIABLE: dict[str, Any] = {"type": "string", "pattern": r"\$\{"}  # `${N}` is allowed wherever a number is
_TYPES = {"bool": "boolean", "int": "integer", "float": "number", "str": "string", "null": "null"}
_NUMERIC = ("minimum", "exclusiveMinimum", "maximum")
_EXTENDS: dict[str, Any] = {
    "description": "what this one is put on top of: a name, or a list of names",
    "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}],
}


def json_schema() -> dict[str, Any]:
    """The schema (draft 2020-12), with the launchers of the plugins that are installed.

    In VS Code: `# yaml-language-server: $schema=./mirai.schema.json` in the first line of the file.
    """
    schema = _record(File)
    schema["properties"]["extends"] = _EXTENDS
    schema["properties"]["profiles"]["additionalProperties"]["properties"]["extends"] = _EXTENDS
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "mirai: compute profiles",
        **schema,
    }


def _record(cls: Any) -> dict[str, Any]:
    """A mapping whose keys are the fields of a dataclass."""
    hints = type_hints(cls)
    known = [field for field in fields(cls) if field.init]
    schema: dict[str, Any] = {
        "type": "object",
        "additionalProperties": False,
        "properties": {field.name: _value(hints.get(field.name, Any), field.metadata) for field in known},
    }
    if required := [field.name for field in known if is_required(field)]:
        schema["required"] = required
    return schema


def _value(hint: Any, keywords: Mapping[str, Any]) -> dict[str, Any]:
    choices = [choice for member in members(hint) for choice in _member(member, keywords)]
    if not choices or {} in choices:
        choices = [{}]
    elif any(choice.get("type") in ("boolean", "integer", "number") for choice in choices):
        choices.append(_VARIABLE)
    notes = {name: keywords[name] for name in ("description", "examples") if name in keywords}
    return {**notes, **(choices[0] if len(choices) == 1 else {"anyOf": choices})}


def _member(member: Any, keywords: Mapping[str, Any]) -> list[dict[str, Any]]:
    if member is Launch:
        return [_launch()]
    if is_dataclass(member):
        return [_record(member)]
    if get_origin(member) is Literal:
        return [{"enum": list(get_args(member))}]
    found = kinds(member)
    if len(found) == len(NOUNS):
        return [{}]
    types = get_args(member)
    if found == ("seq",):
        if get_origin(member) is tuple and types[-1:] != (...,):
            items = [_value(each, {}) for each in types]
            return [{"type": "array", "prefixItems": items, "minItems": len(items), "maxItems": len(items)}]
        return [{"type": "array", "items": _value(types[0], {}) if types else {}}]
    if found == ("map",):
        return [{"type": "object", "additionalProperties": _value(types[1], {}) if types else {}}]
    schema: dict[str, Any] = {}
    for kind in found[:1]:
        schema["type"] = _TYPES[kind]
        if kind in ("int", "float"):
            schema |= {name: keywords[name] for name in _NUMERIC if name in keywords}
        if kind == "str" and "pattern" in keywords:
            schema["pattern"] = rf"^({keywords['pattern']})$|\$\{{"
    return [schema] if schema else []


def _launch() -> dict[str, Any]:
    """A mapping with `kind`, `n` and the options of the launcher of that kind."""
    choices = []
    for kind, cls in sorted(plugins.launchers().items()):
        record: dict[str, Any] = _record(cls) if is_dataclass(cls) else {"type": "object", "properties": {}}
        count = _value(int | Range, {"minimum": 1, "description": "daemons to launch"})
        record["properties"] = {"kind": {"const": kind}, "n": count, **record["properties"]}
        record["required"] = ["kind", *record.get("required", ())]
        choices.append(record)
    return {"oneOf": choices} if choices else {"type": "object", "required": ["kind"]}
