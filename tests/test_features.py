"""docs/features.md tells the truth about which test shows what, and leaves no feature out."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
COLUMNS = ["ID", "feature", "here as", "test that shows it", "state"]
# How many there are of each: those of the inventory that concern local daemons.
HOW_MANY = {
    "MOD": 14, "MIR": 17, "GET": 11, "ERR": 21, "CAN": 13, "DMN": 22, "DAE": 19, "DSP": 11, "LAU": 18, "EVW": 11,
    "MAP": 21, "PRF": 11, "SYN": 6, "RNG": 8, "PRO": 8, "CLU": 8, "INF": 11, "PRT": 6, "DIV": 10,
    "SER": 8, "OTL": 6, "ENV": 5, "LEG": 23,
}  # fmt: skip


def cells(line):
    """Those of a table's row; an escaped bar is no border."""
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


LINES = [
    cells(line) for line in (ROOT / "docs/features.md").read_text(encoding="utf-8").splitlines() if line[:1] == "|"
]
ROWS = [line for line in LINES if line != COLUMNS and set(line) != {"---"}]


def test_every_feature_has_one_row():
    """One that is left out would never be missed."""
    expected = [f"{kind}-{i:02}" for kind, n in HOW_MANY.items() for i in range(1, n + 1)]

    assert sorted(row[0] for row in ROWS) == sorted(expected)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_a_row_is_whole_and_its_test_exists(row):
    """Tests are renamed, and take their proof along."""
    _, feature, _, test, state = row

    assert feature
    assert re.fullmatch(r"done|later \(.+\)|not here: .+", state)
    if test != "–":
        named = re.fullmatch(r"`(?P<path>tests/[\w/]+\.py)::(?P<name>test_\w+)`", test)
        assert named is not None, test
        assert named["name"] in functions(named["path"])


@cache
def functions(path):
    """Those that a file defines."""
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))}
