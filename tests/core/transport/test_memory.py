"""Both ends in one process: what the contract does not say."""

from __future__ import annotations

from tests.core.transport.conftest import run


def test_forked_child_reaches_nobody_and_disturbs_nobody():
    """Its memory is a copy: whom it dials there cannot answer."""
    run("""
import os, select
from mirai.transport import memory

listener = memory.listen("memory://name")
if child := os.fork():
    assert os.waitpid(child, 0)[1] == 0
    assert not select.select([listener], [], [], 0)[0]
    memory.dial("memory://name", 1)
    assert listener.accept()
else:
    try:
        memory.dial("memory://name", 1)
    except ConnectionRefusedError:
        listener.close()
        os._exit(0)
    os._exit(1)
""")
