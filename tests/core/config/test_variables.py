"""`${VAR}` and `${VAR:-default}`."""

from __future__ import annotations

import pytest

from mirai.config.variables import substitute

SET = {"HOST": "node1", "EMPTY": "", "TRICKY": "${HOST}"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("tcp://${HOST}:5555", "tcp://node1:5555"),
        ("${HOST}${HOST}", "node1node1"),
        ("${HOST:-other}", "node1"),
        ("${ABSENT:-other}", "other"),
        ("${ABSENT:-}", ""),
        ("${EMPTY}", ""),
        ("${EMPTY:-other}", "other"),
        ("${TRICKY}", "${HOST}"),
        ("$HOST costs 5$", "$HOST costs 5$"),
        ("$${HOST} $$$${HOST}", "${HOST} $${HOST}"),
    ],
)
def test_values_are_put_in(text, expected):
    """As a shell does; but `$HOST` is left for a job script's own shell."""
    assert substitute(text, SET) == expected


def test_a_variable_that_is_not_set_is_an_error():
    """An empty host name would be an error much later, and a riddle."""
    with pytest.raises(ValueError, match=r"\$ABSENT is not set: set it, or write \$\{ABSENT:-default\}"):
        substitute("a ${ABSENT} b", SET)


@pytest.mark.parametrize("text", ["${}", "${HOST", "${HOST%.*}", "${1}", "${HOST:-${OTHER}}"])
def test_what_only_begins_like_a_variable_is_an_error(text):
    """A job script may hold it: then it must be kept, not changed in silence."""
    with pytest.raises(ValueError, match=r"\$\$\{ keeps it"):
        substitute(text, SET)
