"""YAML nodes to the values that types ask for; an error says where one is wrong, and what belongs there."""

from __future__ import annotations

import difflib
import os
from dataclasses import MISSING, fields, is_dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, get_args, get_origin, get_type_hints

import yaml

from mirai import plugins
from mirai.config.document import TAG, Loader, error_at
from mirai.config.error import ConfigError
from mirai.config.hints import NOUNS, elements, is_allowed, kinds, members, wanted
from mirai.config.schema import Launch, Range
from mirai.config.variables import substitute

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from dataclasses import Field

    Entries = dict[str, tuple[yaml.Node, yaml.Node]]  # the nodes of a mapping's keys and values

NO_KEYWORDS: Mapping[str, Any] = MappingProxyType({})


class Checker:
    """Checks the nodes of a tree. Keys are named from its root: `profiles.hpc.retry`."""

    def __init__(self) -> None:
        self._yaml = Loader("")

    def check(self, node: yaml.Node, hint: Any, key: str = "", keywords: Mapping[str, Any] = NO_KEYWORDS) -> Any:
        """The value of `key`, made of `node`.

        Args:
            hint: its type; of a union, the first that will do.
            keywords: what else it must be, see `schema.option`.

        Raises:
            ConfigError: it, or something in it, is not what is wanted.
        """
        text, found = self.read(node, key)
        errors = []
        for member in members(hint):
            for kind in filter(kinds(member).__contains__, found):
                try:
                    value = self._make(node, text, kind, member, key, keywords)
                except ConfigError as error:
                    errors.append(error)
                    continue
                if is_allowed(value, member, keywords):
                    if kind == "str" and "check" in keywords:
                        self._accept(node, text, key, keywords["check"])
                    return value
        if errors:
            raise errors[0]
        what = NOUNS.get(found[0], found[0])
        if text and not keywords.get("writeOnly"):
            what = f"{text!r} ({what})" if found[0] == "str" else f"{text} ({what})"
        if text and any("str" in kinds(member) and is_allowed(text, member, keywords) for member in members(hint)):
            raise self._error(node, f"{key} is {what}: put it into quotation marks, to make it a text")
        raise self._error(node, f"{_named(key)} is {what}: give {wanted(hint, keywords)}")

    def read(self, node: yaml.Node, key: str) -> tuple[str, list[str]]:
        """The text of a scalar, variables put in; and the kinds of values that the node may be, the likeliest first."""
        if not isinstance(node, yaml.ScalarNode):
            return "", ["seq" if isinstance(node, yaml.SequenceNode) else "map"]
        try:
            text = substitute(node.value, os.environ)
        except ValueError as error:
            raise self._error(node, f"{key}: {error}") from None
        if text == node.value:
            return text, [_kind(node.tag)]
        # What a variable holds has no quotation marks to tell a text from a number: it is what is wanted.
        found = [self._resolve(text), "str"]
        return text, found if node.style is None else found[::-1]

    def _resolve(self, text: str) -> str:
        return _kind(self._yaml.resolve(yaml.ScalarNode, text, (True, False)))  # type: ignore[no-untyped-call]

    def _accept(self, node: yaml.Node, text: str, key: str, check: Callable[[str], object]) -> None:
        try:
            check(text)
        except ValueError as error:
            raise self._error(node, f"{key}: {error}") from None

    def _make(
        self, node: yaml.Node, text: str, kind: str, hint: Any, key: str, keywords: Mapping[str, Any] = NO_KEYWORDS
    ) -> Any:
        if hint is Launch:
            return self._launch(node, key)
        if is_dataclass(hint):
            return self._record(node, self._entries(node, key), hint, key)
        if kind == "map":
            _, value_hint = get_args(hint) or (str, Any)
            entries = self._entries(node, key)
            return {name: self.check(entry[1], value_hint, _join(key, name)) for name, entry in entries.items()}
        if kind == "seq":
            return self._list(node, hint, key, {name: keywords[name] for name in ("check",) if name in keywords})
        if kind == "str":
            return text
        try:
            value = self._yaml.construct_object(yaml.ScalarNode(TAG + kind, text))
        except (LookupError, ValueError):  # `!!int two`
            raise self._error(node, f"{key} is {text!r}, not {NOUNS[kind]}: correct it") from None
        return float(value) if hint is float else value

    def _list(self, node: yaml.Node, hint: Any, key: str, keywords: Mapping[str, Any]) -> Any:
        hints = elements(hint, len(node.value))
        if hints is None:
            raise self._error(node, f"{key} is a list of {len(node.value)}: give {wanted(hint, NO_KEYWORDS)}")
        values = [self.check(child, hints[i], f"{key}[{i}]", keywords) for i, child in enumerate(node.value)]
        return tuple(values) if get_origin(hint) is tuple else values

    def _launch(self, node: yaml.Node, key: str) -> Launch:
        """In YAML the options of a launcher stand beside its `kind` and `n`."""
        entries = self._entries(node, key)
        if "kind" not in entries:
            raise self._error(node, f"{key} has no 'kind': add the name of a launcher")
        _, kind_node = entries.pop("kind")
        kind = self.check(kind_node, str, f"{key}.kind")
        launchers = plugins.launchers()
        if kind not in launchers:
            names = ", ".join(sorted(launchers)) or "none"
            advice = _nearest(kind, launchers) or "pip install 'mirai-core[launchers]' brings ours"
            raise self._error(kind_node, f"{key}.kind: no launcher {kind!r} (there are: {names}): {advice}")
        n = None
        if "n" in entries:
            _, n_node = entries.pop("n")
            n = self.check(n_node, int | Range, f"{key}.n", {"minimum": 1})
        return Launch(self._record(node, entries, launchers[kind], key), n)

    def _record(self, node: yaml.Node, entries: Entries, cls: Any, key: str) -> Any:
        """An object of a dataclass, of the entries named as its fields."""
        hints, known = type_hints(cls), {field.name: field for field in fields(cls) if field.init}
        values = {}
        for name, (name_node, value) in entries.items():
            if name not in known:
                advice = _owner(name, hints) or _nearest(name, known) or f"choose from {', '.join(known)}"
                raise self._error(name_node, f"{_named(key)} has no key {name!r}: {advice}")
            field = known[name]
            keywords = {**field.metadata, "writeOnly": not field.repr}
            values[name] = self.check(value, hints.get(name, Any), _join(key, name), keywords)
        missing = [name for name, field in known.items() if name not in values and is_required(field)]
        if missing:
            raise self._error(node, f"{_named(key)} has no {missing[0]!r}: add it")
        try:
            return cls(**values)
        except (TypeError, ValueError) as error:
            raise self._error(node, f"{_named(key)}: {error}") from None

    def _entries(self, node: yaml.Node, key: str) -> Entries:
        entries: Entries = {}
        for name_node, value in node.value:
            if not isinstance(name_node, yaml.ScalarNode):
                raise self._error(name_node, f"a key of {_named(key)} is no text: give a name")
            name = name_node.value
            if name in entries:
                first = entries[name][0].start_mark.line + 1
                problem = f"{_join(key, name)} stands there twice, first in line {first}: keep one"
                raise self._error(name_node, problem)
            entries[name] = name_node, value
        return entries

    def _error(self, node: yaml.Node, problem: str) -> ConfigError:
        return error_at(node.start_mark, problem)


def _kind(tag: str) -> str:
    kind = tag.removeprefix(TAG)
    return "str" if kind == "timestamp" else kind  # no type wants a date


def _named(key: str) -> str:
    return key or "the file"


def _join(key: str, name: str) -> str:
    return f"{key}.{name}" if key else name


def _nearest(name: str, known: Iterable[str]) -> str:
    return "".join(f"did you mean {near!r}?" for near in difflib.get_close_matches(name, known, n=1))


def _owner(name: str, hints: Mapping[str, Any]) -> str:
    """Where a key belongs that is one of a key's own."""
    for key, hint in hints.items():
        for member in members(hint):
            if is_dataclass(member) and name in [field.name for field in fields(member)]:
                return f"it belongs under {key!r}"
    return ""


def type_hints(cls: Any) -> dict[str, Any]:
    """The types of a dataclass's fields; none where they cannot be told."""
    try:
        return get_type_hints(cls)
    except NameError:  # imported for type checkers only: the class checks what it is given
        return {}


def is_required(field: Field[Any]) -> bool:
    """Whether it has no default."""
    return field.default is MISSING and field.default_factory is MISSING
