"""More than two gigabytes in one argument, and in one result: sizes that do not fit in 31 bits."""

from __future__ import annotations

import os

import psutil
import pytest

from mirai import daemons, mirai

SIZE = (2 << 30) + 4096
DEADLINE = 300  # seconds


@pytest.mark.timeout(2 * DEADLINE)
@pytest.mark.parametrize("scheme", ["tcp", "tls+tcp", "ws"])
def test_two_gigabytes_there_and_back(scheme):
    """Over each kind of stream."""
    if "MIRAI_TEST_LARGE" not in os.environ:
        pytest.skip("takes minutes and 10 GB of memory: set MIRAI_TEST_LARGE=1 to run it")
    if psutil.virtual_memory().available < 10e9:
        pytest.skip("takes 10 GB of memory")
    data = bytearray(SIZE)
    data[-1] = 7
    with daemons(1, url=f"{scheme}://127.0.0.1:0"):
        assert mirai(lambda x: (len(x), x[-1]), data).result(DEADLINE) == (SIZE, 7)
        back = mirai(lambda n: bytes(n - 1) + b"\7", SIZE).result(DEADLINE)
        assert (len(back), back[-1]) == (SIZE, 7)
