"""A warning of mirai's is about a line of the user's, where there is one."""

from __future__ import annotations

import threading
import warnings

import pytest

from mirai.runtime import callers


def warn(depth=0):
    """As a function of mirai's does: its code is said to stand there."""
    if depth:
        warn(depth - 1)
    else:
        warnings.warn("so it is", RuntimeWarning, stacklevel=callers.stack_level())


@pytest.fixture
def ours():
    """`warn`, compiled as if it stood in mirai."""
    names = {"warnings": warnings, "callers": callers}
    with open(__file__) as file:
        text = file.read()
    source = text[text.index("def warn") : text.index("@pytest.fixture")]
    exec(compile(source, f"{callers._OURS}some/module.py", "exec"), names)
    return names["warn"]


@pytest.mark.parametrize("depth", [0, 3])
def test_it_is_the_nearest_line_that_is_not_in_mirai(ours, depth):
    """However deep in it that is found out."""
    with pytest.warns(RuntimeWarning) as warned:
        ours(depth)

    assert warned[0].filename == __file__


def test_a_thread_of_mirais_own_has_no_line_of_the_users(ours):
    """Nor is it one of Python's module of threads."""
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        thread = threading.Thread(target=ours, args=(3,))
        thread.start()
        thread.join()

    assert warned[0].filename.endswith("some/module.py")
