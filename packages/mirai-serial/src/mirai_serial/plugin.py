"""The hook: the serializers' names to the modules that are serializers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mirai.hookspecs import hookimpl
from mirai_serial import arrow, numpy, polars, torch

if TYPE_CHECKING:
    from mirai.hookspecs import Serializer


@hookimpl
def mirai_serializers() -> dict[str, Serializer]:
    return {"arrow": arrow, "numpy": numpy, "polars": polars, "torch": torch}
