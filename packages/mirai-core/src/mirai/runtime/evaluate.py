"""Run one task: call it, or its source text; describe what it raised."""

from __future__ import annotations

import builtins
import sys

from mirai.protocol import serialize
from mirai.protocol.messages import Status
from mirai.runtime import cleanup
from mirai.runtime.seeding import seed

TYPE_CHECKING = False  # not from typing, whose import is a good part of a daemon's start
if TYPE_CHECKING:
    import ast
    from collections.abc import Callable, Mapping
    from traceback import FrameSummary
    from types import CodeType, TracebackType
    from typing import Any

    from mirai.protocol.serialize import Place, Serialized
    from mirai.protocol.serializers import Serializers
    from mirai.protocol.wire import Buffer
    from mirai.runtime.tracing import Evaluation

FILENAME = "<mirai>"  # of source text, in tracebacks

evaluating = 0  # tasks in evaluation in this process, nested ones too
mapping = False  # whether the one in evaluation is an element of a map

NOTHING = (0, b"")
VALUE, ERROR, INTERRUPTED = Status.VALUE, Status.ERROR, Status.INTERRUPTED


class Interrupted(SystemExit):
    """Raised in a task that was cancelled.

    A `SystemExit`, since asyncio keeps to itself whatever else is raised in one of its callbacks. Not a
    `KeyboardInterrupt`, on which `subprocess.run` waits a quarter of a second for its child.
    """


class Leave(SystemExit):
    """Raised in a task whose daemon must leave."""


class Failure:
    """What a task raised, in plain values: a daemon need not import what the host makes of it."""

    def __init__(
        self,
        message: str,
        condition_class: tuple[str, ...],
        stack_trace: list[FrameSummary],
        remote_traceback: str,
        original: Serialized | None,
    ) -> None:
        self.message = message
        self.condition_class = condition_class
        self.stack_trace = stack_trace
        self.remote_traceback = remote_traceback
        self.original = original  # the exception itself, where it can be pickled


class Evaluator:
    """Evaluates serialized tasks in this process, one at a time."""

    def __init__(self, what: int) -> None:
        """`what` is put back after each task."""
        self.armed = 0  # the task that may be interrupted now, 0 for none
        self.target = 0  # the task that is to be interrupted
        self.serializers: Serializers | None = None  # those that values go by
        self.place: Place | None = None  # where large results are to be
        self._main = sys.modules["__main__"].__dict__
        # C code that imports looks there, as NumPy's does: a module made by hand has none.
        self._main.setdefault("__builtins__", builtins)
        self._blobs: dict[int, tuple[int, Buffer] | _Call | _Value] = {}
        self.baseline = cleanup.Baseline(what, sys.modules["__main__"])
        self._spans: dict[int, Evaluation] = {}  # of those that are traced, by how deep they are nested

    def keep(self, number: int, count: int, body: Buffer) -> None:
        """A call that many tasks share; deserialized by the first of them."""
        self._blobs[number] = (count, body)

    def shared(self, number: int) -> Any:
        """The value that many tasks share; deserialized by the first of them."""
        kept = self._blobs[number]
        if isinstance(kept, tuple):
            kept = self._blobs[number] = _Value(*kept)
        assert isinstance(kept, _Value)
        self._main.update(kept.names)
        return kept.value

    def forget(self, number: int) -> None:
        """No task needs it any more."""
        self._blobs.pop(number, None)

    def run(self, seq: int, count: int, blob: int, body: Buffer, everywhere: bool) -> tuple[int, Serialized]:
        """What became of a task (a `Status`), serialized.

        Raises:
            BaseException: what is none of the task's doing: `Interrupted` and `Leave`.
        """
        global evaluating, mapping
        outer = mapping  # of the task that this one is nested in, where it is evaluated at the call
        evaluating += 1
        depth = evaluating
        try:
            try:
                self.armed = seq
                if self.target == seq:
                    raise Interrupted  # wanted just before it was armed
                shared = self._shared(blob) if blob else None
                call = serialize.loads(count, body)
                if shared is not None:
                    value = shared(call, self)
                else:
                    if len(call) > 3:
                        self._prepare(call[3])
                    task, args, kwargs = call[:3]
                    value = task(*args, **kwargs) if callable(task) else run_source(task, kwargs, everywhere)
            finally:
                self.armed = 0
        except (Interrupted, Leave) as error:
            self._end_span(depth, "", "Canceled" if isinstance(error, Interrupted) else "ConnectionReset")
            raise
        except KeyboardInterrupt:
            self._end_span(depth, "", "MiraiInterrupt")
            return INTERRUPTED, NOTHING
        except BaseException as error:
            self._end_span(depth, error)
            return ERROR, serialize.dumps(vars(describe(error, self.serializers)))
        finally:
            evaluating -= 1
            mapping = outer
        try:
            reply = serialize.dumps(value, serializers=self.serializers, place=self.place)
            if self._spans:
                self._end_span(depth)
            return VALUE, reply
        except BaseException as error:
            self._end_span(depth, error)
            return ERROR, serialize.dumps(vars(_unserializable(value, error)))

    def _shared(self, blob: int) -> _Call:
        shared = self._blobs[blob]
        if isinstance(shared, tuple):
            shared = self._blobs[blob] = _Call(*shared)
        assert isinstance(shared, _Call)
        return shared

    def _prepare(self, extras: dict[str, Any]) -> None:
        """What a task finds when it begins: `globals` in `__main__`, random numbers from `seed` on, its span."""
        if "globals" in extras:
            self._main.update(extras["globals"])
        if "seed" in extras:
            seed(*extras["seed"])
        if "trace" in extras:
            from mirai.runtime.tracing import evaluation

            if (span := evaluation(*extras["trace"])) is not None:
                self._spans[evaluating] = span

    def _end_span(self, depth: int, error: BaseException | str | None = None, kind: str = "") -> None:
        if (span := self._spans.pop(depth, None)) is not None:
            span.end(error, kind)


class _Value:
    """A value that many tasks share, and its names in `__main__`."""

    def __init__(self, count: int, body: Buffer) -> None:
        self.value, self.names = serialize.loads_main(count, body)


class _Call:
    """A call that many tasks share: a function, its last arguments, and its names in `__main__`."""

    def __init__(self, count: int, body: Buffer) -> None:
        (task, self._args, self._kwargs, *extras), self._names = serialize.loads_main(count, body)
        self._is_bare = not (self._args or self._kwargs)
        self._task = task
        self._mapping = bool(extras)  # an element of a map is what it is called for
        self._module, self._name = _found(task)

    def __call__(self, call: tuple[Any, ...], evaluator: Evaluator) -> Any:
        """`call` holds the first arguments, those by name, and what to prepare, if anything: see `dumps_plain`."""
        global mapping
        is_plain = not call or type(call[0]) is not tuple
        if not is_plain and len(call) > 2:
            evaluator._prepare(call[2])
        mapping = self._mapping
        if self._names:
            evaluator._main.update(self._names)
        if self._name and getattr(sys.modules.get(self._module), self._name, None) is not self._task:
            # Another task has put something else there, or had the module loaded again.
            __import__(self._module)
            self._task = getattr(sys.modules[self._module], self._name)
        if not is_plain:
            return self._task(*call[0], *self._args, **self._kwargs, **call[1])
        return self._task(*call) if self._is_bare else self._task(*call, *self._args, **self._kwargs)


def _found(task: object) -> tuple[str, str]:
    """The module and the name under which `task` can be imported; empty where it cannot."""
    module, name = getattr(task, "__module__", None), getattr(task, "__qualname__", None)
    if not isinstance(module, str) or not isinstance(name, str) or module == "__main__":
        return "", ""
    return (module, name) if getattr(sys.modules.get(module), name, None) is task else ("", "")


def call_each(calls: list[tuple[Any, ...]], task: Callable[..., Any]) -> list[Any]:
    """The values of several calls of one function: a chunk of `Executor.map`."""
    return [task(*args) for args in calls]


def call_with(call: Serialized, values: Mapping[int | str, Serialized]) -> Any:
    """The value of a serialized call, some of whose arguments (by position or name) are still serialized."""
    task, given, named = _loads(call)
    args, kwargs = list(given), dict(named)
    for where, value in values.items():
        if isinstance(where, int):
            args[where] = _loads(value)
        else:
            kwargs[where] = _loads(value)
    return task(*args, **kwargs) if callable(task) else run_source(task, kwargs)


def _loads(serialized: Serialized) -> Any:
    count, body = serialized
    return serialize.loads(count, serialize.joined(body))


def run_source(text: str, names: Mapping[str, Any], everywhere: bool = False) -> Any:
    """The value of the last expression of `text`, None where it ends in something else.

    The text runs as the body of a function of `__main__` whose parameters are `names`; or as part of
    `__main__` itself, where what it assigns is to stay.
    """
    import ast
    import linecache

    tree = ast.parse(text, FILENAME)
    linecache.cache[FILENAME] = (len(text), None, text.splitlines(keepends=True), FILENAME)
    main = sys.modules["__main__"].__dict__
    last = tree.body[-1] if tree.body else None
    if everywhere or _is_for_a_module(tree):
        value: ast.Expression | None = None
        if isinstance(last, ast.Expr):
            tree.body.pop()
            value = ast.Expression(last.value)
        hidden = {name: main[name] for name in names if name in main}
        main.update(names)
        try:
            exec(compile(tree, FILENAME, "exec"), main)
            return None if value is None else eval(compile(value, FILENAME, "eval"), main)
        finally:
            for name in names:
                main.pop(name, None)
            main.update(hidden)
    if isinstance(last, ast.Expr):
        tree.body[-1] = ast.copy_location(ast.Return(last.value), last)
    return _as_function(tree, list(names), main)(**names)


def _is_for_a_module(tree: ast.Module) -> bool:
    """Whether it imports what no function may: `*`, or from `__future__`."""
    import ast

    return any(
        isinstance(node, ast.ImportFrom)
        and (node.module == "__future__" or any(name.name == "*" for name in node.names))
        for node in ast.walk(tree)
    )


def _as_function(tree: ast.Module, names: list[str], main: dict[str, Any]) -> Callable[..., Any]:
    import ast
    from types import FunctionType

    signature = ast.arguments(
        posonlyargs=[], args=[ast.arg(name) for name in names], kwonlyargs=[], kw_defaults=[], defaults=[]
    )
    function = ast.FunctionDef("<task>", signature, tree.body or [ast.Pass()], [])
    if sys.version_info >= (3, 12):
        function.type_params = []
    module = ast.fix_missing_locations(ast.Module([function], []))
    code: CodeType = next(c for c in compile(module, FILENAME, "exec").co_consts if hasattr(c, "co_code"))
    return FunctionType(code, main, FILENAME)


def describe(error: BaseException, serializers: Serializers | None = None) -> Failure:
    """What the host is told of `error`, whatever its class does on being printed or pickled."""
    import traceback

    frames = _own_frames(error.__traceback__)
    try:
        text = "".join(traceback.format_exception(type(error), error, frames))
    except BaseException as broken:
        text = f"{type(error).__name__} (its traceback cannot be printed: {type(broken).__name__})\n"
    original, why_not = _pickled(error, serializers)
    if isinstance(error, SystemExit):
        message = f"the task called sys.exit({_shown(error.code)}); return a value instead, its daemon serves on"
    else:
        said = _text(error)
        message = f"{type(error).__name__}: {said}" if said else type(error).__name__
        message += f" (raised as a MiraiError, since {why_not})" if why_not else ""
    classes = tuple(cls.__name__ for cls in type(error).__mro__ if cls is not object)
    return Failure(message, classes, list(traceback.extract_tb(frames)), text, original)


def not_mapped(error: OSError) -> tuple[int, Serialized]:
    """What becomes of a task whose arguments are in shared memory that this process cannot map."""
    failure = describe(error)
    failure.message = f"its arguments are in shared memory that its daemon cannot map: {error}"
    failure.original = None
    return Status.ERROR, serialize.dumps(vars(failure))


def _own_frames(frames: TracebackType | None) -> TracebackType | None:
    """Without those of mirai that came before the task's."""
    while frames is not None and frames.tb_frame.f_globals.get("__name__", "").startswith("mirai."):
        frames = frames.tb_next
    return frames


def _unserializable(value: Any, error: BaseException) -> Failure:
    if isinstance(error, serialize.HookError):
        advice = "correct it, or return something else"
    else:
        advice = "return something that can, or register a serializer for it (serial_config)"
    message = f"the result (of type {type(value).__qualname__}) cannot be serialized: {_reason(error)}; {advice}"
    failure = describe(error)
    failure.message, failure.original = message, None
    return failure


def _shown(value: object) -> str:
    try:
        return repr(value)
    except BaseException as broken:
        return f"<its __repr__ raised {type(broken).__name__}>"


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except BaseException as broken:
        return f"<its __str__ raised {type(broken).__name__}>"


def _pickled(error: BaseException, serializers: Serializers | None) -> tuple[Serialized | None, str]:
    """None, and why, where it does not come back the same: many exceptions take other arguments than they keep."""
    if not isinstance(error, Exception):
        return None, "it is no Exception"  # the host must not exit, nor be interrupted, because a task did
    step = "printed"
    try:
        try:
            str(error)  # one that exits on being printed would end the host
        except Exception:
            pass
        step = "pickled"
        count, body = serialize.dumps(error, serializers=serializers)
        step = "unpickled"
        again = serialize.loads(count, serialize.joined(body))
    except BaseException as broken:
        return None, f"it cannot be {step}: {_reason(broken)}"
    if type(again) is not type(error):
        return None, f"unpickled, it is of type {type(again).__qualname__}"
    return (count, body), ""


def _reason(error: BaseException) -> str:
    return str(error) if isinstance(error, serialize.HookError) else f"{type(error).__name__}: {_text(error)}"
