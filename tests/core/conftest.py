"""Daemons for tests, and hosts that are scripts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psutil
import pytest

from mirai import daemons, info, with_daemons
from tests.core.hosts import run_host, start_host
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["run_host", "start_host"]


@pytest.fixture(scope="module")
def daemons_of_module() -> Iterator[str]:
    """Two daemons, under a name of their own so that tests may set and reset the default profile."""
    daemons(2, compute="shared")
    yield "shared"
    daemons(0, compute="shared")


@pytest.fixture
def shared(daemons_of_module: str) -> Iterator[str]:
    """The current profile: two daemons, shared with other tests, for what does them no harm."""
    with with_daemons(daemons_of_module):
        yield daemons_of_module
    wait_until(
        lambda: info(daemons_of_module)[2:4] == (0, 0),
        lambda: f"the shared daemons to be idle: {info(daemons_of_module)}",
    )


@pytest.fixture
def one() -> Iterator[None]:
    """One daemon, this test's own."""
    with daemons(1):
        yield


@pytest.fixture
def two() -> Iterator[None]:
    """Two daemons, this test's own."""
    with daemons(2):
        yield


@pytest.fixture
def left() -> Callable[[], None]:
    """Waits until every process that the test has started is gone."""
    before = set(psutil.Process().children(recursive=True))

    def wait() -> None:
        wait_until(
            lambda: set(psutil.Process().children(recursive=True)) <= before,
            lambda: f"processes to leave: {set(psutil.Process().children(recursive=True)) - before}",
            timeout=10,
        )

    return wait
