"""`${VAR}` and `${VAR:-default}` in a text, as a shell has them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

# A default holds neither a } nor a variable in turn.
_DOLLAR = re.compile(r"\$\$|\$\{(?P<name>[A-Za-z_]\w*)(?P<default>:-(?:(?!\$\{)[^}])*)?\}|\$\{", re.ASCII)


def substitute(text: str, environment: Mapping[str, str]) -> str:
    """Put in the values. `$$` is a `$`, and any other `$` is itself.

    Raises:
        ValueError: a variable is not set and has no default, or `${` begins something else.
    """

    def value(found: re.Match[str]) -> str:
        if found[0] == "$$":
            return "$"
        name, default = found["name"], found["default"]
        if name is None:
            raise ValueError("'${' begins neither ${NAME} nor ${NAME:-default}: $${ keeps it as it is")
        if default is not None:
            return environment.get(name) or default[2:]
        if name not in environment:
            raise ValueError(f"${name} is not set: set it, or write ${{{name}:-default}}")
        return environment[name]

    return _DOLLAR.sub(value, text)
