"""One tree of nodes from several: files that others extend, later files, environment variables; the later wins.

Each node keeps its mark, so that an error, and `explain`, can say where a value came from.
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

import yaml

from mirai.config.document import TAG, error_at, parse, read_document, text_node
from mirai.config.error import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

PREFIX = "MIRAI__"
EXTENDS = "extends"


def read_layers(files: Sequence[Path], environment: Mapping[str, str]) -> yaml.Node | None:
    """The nodes of all `files`, then of the variables `MIRAI__KEY__KEY`; None where none says anything.

    A mapping is joined with the one below it, key by key; any other value replaces what is there, and so does
    a launcher of another `kind`. A profile's `extends` is resolved at the end.

    Raises:
        ConfigError: a file cannot be read, or extends what is not there, or itself.
    """
    root: yaml.Node | None = None
    for file in files:
        root = _joined(root, _read(file, ()))
    for name in sorted(environment):
        if name.startswith(PREFIX):
            root = _joined(root, _variable(name, environment[name], root))
    if root is not None:
        _extend_profiles(root)
    return root


def entry(node: yaml.Node | None, name: str) -> yaml.Node | None:
    """What a mapping holds under `name`; None where it is no mapping, or has no such key."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value == name:
                found: yaml.Node = value
                return found
    return None


def _read(file: Path, extending: tuple[Path, ...]) -> yaml.Node | None:
    """One file, on top of those that it extends."""
    root = read_document(file)
    extends = _take(root, EXTENDS)
    below: yaml.Node | None = None
    for name in _names(extends, "of a file"):
        other = file.parent / name.value
        if other.resolve() in (path.resolve() for path in (*extending, file)):
            raise error_at(name.start_mark, f"{EXTENDS}: {name.value} extends this file in turn: remove one of them")
        if not other.exists():
            problem = f"{EXTENDS}: there is no file {name.value!r} in {file.parent}: correct its name"
            raise error_at(name.start_mark, problem)
        below = _joined(below, _read(other, (*extending, file)))
    return _joined(below, root)


def _joined(below: yaml.Node | None, above: yaml.Node | None) -> yaml.Node | None:
    if not isinstance(below, yaml.MappingNode) or not isinstance(above, yaml.MappingNode):
        return below if above is None else above
    kinds = entry(below, "kind"), entry(above, "kind")
    if None not in kinds and kinds[0].value != kinds[1].value:  # type: ignore[union-attr]
        return above  # the options of another launcher are none of this one's
    over = {key.value: value for key, value in above.value if isinstance(key, yaml.ScalarNode)}
    kept = [(key, _joined(value, over[key.value]) if _is_in(key, over) else value) for key, value in below.value]
    joined = {key.value for key, _ in below.value if isinstance(key, yaml.ScalarNode)}
    added = []
    for key, value in above.value:
        if isinstance(key, yaml.ScalarNode) and key.value in joined:
            joined.discard(key.value)  # one that stands there twice is found when the tree is checked
        else:
            added.append((key, value))
    return yaml.MappingNode(above.tag, kept + added, above.start_mark, above.end_mark)


def _is_in(key: yaml.Node, names: Mapping[str, yaml.Node]) -> bool:
    return isinstance(key, yaml.ScalarNode) and key.value in names


def _take(node: yaml.Node | None, name: str) -> yaml.Node | None:
    """Take a key out of a mapping."""
    taken = entry(node, name)
    if taken is not None:
        assert node is not None
        node.value = [(key, value) for key, value in node.value if key.value != name]
    return taken


def _names(node: yaml.Node | None, of: str) -> list[yaml.ScalarNode]:
    if node is None:
        return []
    names = node.value if isinstance(node, yaml.SequenceNode) else [node]
    if not all(isinstance(name, yaml.ScalarNode) and name.value for name in names):
        raise error_at(node.start_mark, f"{EXTENDS}: give the name {of}, or a list of names")
    return list(names)


def _extend_profiles(root: yaml.Node) -> None:
    """Put each profile on top of those of the same tree that it extends."""
    profiles = entry(root, "profiles")
    if not isinstance(profiles, yaml.MappingNode):
        return  # it is found out when the tree is checked
    by_name = {key.value: value for key, value in profiles.value}
    whole: dict[str, yaml.Node] = {}

    def resolve(name: str, extending: tuple[str, ...]) -> yaml.Node:
        if name not in whole:
            node = by_name[name]
            below: yaml.Node | None = None
            for other in _names(_take(node, EXTENDS), "of a profile"):
                if other.value in (*extending, name):
                    chain = " extends ".join([*extending, name, other.value])
                    raise error_at(other.start_mark, f"profiles.{name}.{EXTENDS}: {chain}: remove one of them")
                if other.value not in by_name:
                    near = difflib.get_close_matches(other.value, by_name, n=1)
                    advice = f"did you mean {near[0]!r}?" if near else f"choose from {', '.join(by_name)}"
                    problem = f"profiles.{name}.{EXTENDS}: there is no profile {other.value!r}: {advice}"
                    raise error_at(other.start_mark, problem)
                below = _joined(below, resolve(other.value, (*extending, name)))
            resolved = _joined(below, node)
            assert resolved is not None
            whole[name] = resolved
        return whole[name]

    profiles.value = [(key, resolve(key.value, ())) for key, _ in profiles.value]


def _variable(name: str, text: str, root: yaml.Node | None) -> yaml.Node:
    """`MIRAI__PROFILES__HPC__RETRY=2` as the mapping that says so; of what is there the keys keep their spelling."""
    words = name.removeprefix(PREFIX).split("__")
    if not all(words):
        raise ConfigError("an empty name among its keys: write it as MIRAI__PROFILES__NAME__KEY", f"${name}")
    keys = []
    for word in words:
        known = [key.value for key, _ in root.value] if isinstance(root, yaml.MappingNode) else []
        keys.append(next((key for key in known if key.upper() == word.upper()), word.lower()))
        root = entry(root, keys[-1])
    node = parse(text, f"${name}") or text_node("", f"${name}", "null")
    for key in reversed(keys):
        node = yaml.MappingNode(f"{TAG}map", [(text_node(key, f"${name}"), node)], node.start_mark, node.end_mark)
    return node
