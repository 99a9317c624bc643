"""Types in the words of YAML."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import pytest

from mirai.config.hints import NOUNS, is_allowed, kinds, wanted


@pytest.mark.parametrize(
    ("hint", "keywords", "words"),
    [
        (int | None, {}, "a whole number"),
        (int, {"minimum": 0, "maximum": 15}, "a whole number of at least 0 and at most 15"),
        (float, {"exclusiveMinimum": 0, "description": "seconds"}, "a number above 0 (seconds)"),
        (
            int | str,
            {"minimum": 1, "examples": ["2GB"]},
            "a whole number of at least 1 or a text, such as 2GB",
        ),
        (bool | Literal["task"], {}, "true or false or 'task'"),
        (tuple[str, ...], {}, "a list"),
        (tuple[str, str], {}, "a list of 2"),
        (str | Callable[[], str], {}, "a text"),
        (Any, {}, "a value without a tag"),
    ],
)
def test_what_is_wanted_is_said_in_words(hint, keywords, words):
    """Nobody who writes YAML needs to know Python's types."""
    assert wanted(hint, keywords) == words


def test_a_type_that_is_not_known_takes_anything():
    """A plugin's options are its own: its class checks them."""
    assert set(kinds(Any)) == set(kinds(Path)) == set(NOUNS)
    assert kinds(Sequence[str]) == ("seq",)


@pytest.mark.parametrize(
    ("value", "keywords", "allowed"),
    [
        (0, {"minimum": 0}, True),
        (-1, {"minimum": 0}, False),
        (0.0, {"exclusiveMinimum": 0}, False),
        (float("nan"), {"exclusiveMinimum": 0}, False),
        (float("inf"), {"exclusiveMinimum": 0}, True),
        (16, {"maximum": 15}, False),
        (False, {"minimum": 1}, True),
        ("2GB", {"pattern": "[0-9]+GB"}, True),
        ("lots of 2GB", {"pattern": "[0-9]+GB"}, False),
    ],
)
def test_keywords_bound_values(value, keywords, allowed):
    """As in JSON Schema; a truth value is no number."""
    assert is_allowed(value, type(value), keywords) is allowed
