"""The hook: the serializers' names to the modules that are serializers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mirai.hookspecs import hookimpl
from mirai_serial import arrow, polars

if TYPE_CHECKING:
    from mirai.hookspecs import Serializer


@hookimpl
def mirai_serializers() -> dict[str, Serializer]:
    return {"arrow": arrow, "polars": polars}
