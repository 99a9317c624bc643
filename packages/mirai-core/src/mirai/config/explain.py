"""Every value of a profile as it is in force, and where it came from: a file's line, or a variable."""

from __future__ import annotations

import json
import re
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, NamedTuple

import yaml

from mirai.config.check import Checker
from mirai.config.document import place
from mirai.config.layers import entry

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mirai.config.profiles import Read
    from mirai.config.schema import Profile

HIDDEN = "(hidden)"


class Value(NamedTuple):
    """One value of a profile.

    Attributes:
        key: its name, from the profile's own keys on: `launcher.n`.
        text: as YAML has it, environment variables put in; secrets are hidden.
        origin: `mirai.yaml:3`, or `$MIRAI__PROFILES__HPC__N`; and the variables that it was made with.
    """

    key: str
    text: str
    origin: str


def explain(found: Read, name: str) -> list[Value]:
    """The values that the profile `name` was made of, in the order in which they stand there."""
    node = entry(entry(found.tree, "profiles"), name)
    assert isinstance(node, yaml.MappingNode), "it was checked"
    return list(_values(node, "", _secrets(found.profiles[name])))


def _values(node: yaml.MappingNode, key: str, secrets: set[str]) -> Iterator[Value]:
    for name, value in node.value:
        inner = f"{key}.{name.value}" if key else name.value
        if isinstance(value, yaml.MappingNode):
            yield from _values(value, inner, secrets)
        else:
            yield Value(inner, HIDDEN if name.value in secrets else _text(value), _origin(value))


def _text(node: yaml.Node) -> str:
    if isinstance(node, yaml.SequenceNode):
        return f"[{', '.join(map(_text, node.value))}]"
    if isinstance(node, yaml.MappingNode):
        return f"{{{', '.join(f'{key.value}: {_text(value)}' for key, value in node.value)}}}"
    text = Checker().read(node, "")[0]
    return json.dumps(text, ensure_ascii=False) if "\n" in text else text  # on one line; YAML takes it, too


def _origin(node: yaml.Node) -> str:
    file, line, _ = place(node.start_mark)
    where = file if line is None else f"{file}:{line}"
    variables = re.findall(r"(?<!\$)\$\{(\w+)", str(node.value)) if isinstance(node, yaml.ScalarNode) else []
    return " ".join([where, *(f"${name}" for name in variables)])


def _secrets(profile: Profile) -> set[str]:
    """Names of the keys whose values are not to be shown."""
    launch = profile.launcher or profile.remote
    records = [profile, *([launch.launcher] if launch else [])]
    return {field.name for record in records if is_dataclass(record) for field in fields(record) if not field.repr}
