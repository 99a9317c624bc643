"""Another process with a `__main__` of its own, as a daemon is one: for scripts that are `__main__` themselves."""

from __future__ import annotations

import atexit
import pickle
import subprocess
import sys
from typing import Any

from mirai.protocol import serialize

_other: subprocess.Popen[bytes] | None = None


def call(task: Any, *args: Any, **kwargs: Any) -> Any:
    """Serialize a call, have the other process evaluate it, and return the value, or raise what it raised."""
    count, body = serialize.dumps_call(task, args, kwargs)
    return exchange(count, serialize.joined(body))


def exchange(count: int, body: Any) -> Any:
    global _other
    if _other is None:
        command = [sys.executable, "-c", "from tests.core.protocol.elsewhere import serve; serve()"]
        _other = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        atexit.register(_end, _other)
    assert _other.stdin is not None
    assert _other.stdout is not None
    pickle.dump((count, body), _other.stdin)
    _other.stdin.flush()
    failed, count, body = pickle.load(_other.stdout)
    value = serialize.loads(count, body)
    if failed:
        raise value
    return value


def serve() -> None:
    """In the other process: evaluate calls until there are no more."""
    sys.modules["__main__"] = type(sys)("__main__")
    out, sys.stdout = sys.stdout.buffer, sys.stderr
    while True:
        try:
            count, body = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        failed = False
        try:
            value = _evaluate(count, body)
        except Exception as error:
            failed, value = True, error
        count, reply = serialize.dumps(value)
        pickle.dump((failed, count, bytearray(serialize.joined(reply))), out)
        out.flush()


def names() -> dict[str, Any]:
    """For tasks: what `loads_main` said of the call that is evaluated."""
    return _names


def _evaluate(count: int, body: Any) -> Any:
    global _names
    (task, args, kwargs), _names = serialize.loads_main(count, bytearray(body))
    return task(*args, **kwargs)


def _end(other: subprocess.Popen[bytes]) -> None:
    other.communicate(timeout=10)


_names: dict[str, Any] = {}
