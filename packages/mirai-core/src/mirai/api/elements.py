"""What a map is over: elements, rows of a table, or rows of a 2-D array; by key, or in order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import TypeAlias

    Call: TypeAlias = tuple[tuple[Any, ...], dict[str, Any]]


FRAMES = {("pandas", "DataFrame"), ("polars", "DataFrame"), ("pyarrow", "Table"), ("pyarrow", "RecordBatch")}


def calls(xs: Any) -> tuple[list[Any] | None, Iterator[Call]]:
    """The keys where `xs` has some, and the arguments of each call: positional ones, and by name.

    Raises:
        TypeError: it is not iterable.
        ValueError: two have the same key, or two columns the same name.
    """
    kind = _kind(xs)
    if kind == "series":
        return _distinct(xs.index, "keys", "map over the series' to_list()"), (((x,), {}) for x in xs)
    if kind == "frame":
        return None, _rows(xs)
    if kind == "array" and xs.ndim == 2:
        return None, ((tuple(row), {}) for row in xs)
    if isinstance(xs, Mapping):
        return list(xs), (((x,), {}) for x in xs.values())
    if not isinstance(xs, Iterable):
        raise TypeError(f"xs is of type {type(xs).__qualname__} ({xs!r:.80}): give an iterable")
    return None, (((x,), {}) for x in xs)


def _kind(xs: Any) -> str:
    """By name, as these libraries are not to be imported for what is none of theirs."""
    for cls in type(xs).__mro__:
        package = cls.__module__.partition(".")[0]
        if package == "pandas" and cls.__name__ == "Series":
            return "series"
        if (package, cls.__name__) in FRAMES:
            return "frame"
        if package == "numpy" and cls.__name__ == "ndarray":
            return "array"
    return ""


def _rows(table: Any) -> Iterator[Call]:
    if hasattr(table, "iter_rows"):  # polars
        return (((), row) for row in table.iter_rows(named=True))
    if hasattr(table, "to_pylist"):  # Arrow
        _distinct(table.schema.names, "columns", "rename them")
        batches = table.to_batches() if hasattr(table, "to_batches") else [table]
        return (((), row) for batch in batches for row in batch.to_pylist())
    names = _distinct(map(str, table.columns), "columns", "rename them")
    columns = [table.iloc[:, i] for i in range(len(names))]
    return (((), dict(zip(names, row, strict=True))) for row in zip(*columns, strict=True))


def _distinct(names: Iterable[Any], what: str, remedy: str) -> list[Any]:
    """A list of them: where two are equal, one's value would be lost."""
    listed, seen = list(names), set()
    for name in listed:
        if name in seen:
            raise ValueError(f"xs has two {what} {name!r}: {remedy}")
        seen.add(name)
    return listed
