"""One task is run: its value, or what it raised, serialized."""

from __future__ import annotations

import random
import sys
import threading
import traceback
from types import ModuleType, SimpleNamespace

import pytest

from mirai.protocol import serialize
from mirai.protocol.messages import Status
from mirai.runtime import evaluate
from mirai.runtime.evaluate import Evaluator, Interrupted, Leave, describe, run_source, seed
from tests.core.tasks import Picky, Unpicklable, Unprintable, double


@pytest.fixture
def main(monkeypatch):
    """A `__main__` of the test's own."""
    module = ModuleType("__main__")
    monkeypatch.setitem(sys.modules, "__main__", module)
    return module.__dict__


@pytest.fixture
def evaluator(main):
    return Evaluator(0)


def run(evaluator, task, *args, extras=None, everywhere=False, **kwargs):
    """What becomes of a call, deserialized."""
    count, body = serialize.dumps_call(task, args, kwargs, extras)
    status, (count, reply) = evaluator.run(1, count, 0, serialize.joined(body), everywhere)
    loaded = serialize.loads(count, serialize.joined(reply)) if reply else None
    return status, SimpleNamespace(**loaded) if status == Status.ERROR else loaded


def test_a_value(evaluator):
    """Of a callable with its arguments, or of source text with its names."""
    assert run(evaluator, double, 4) == (Status.VALUE, 8)
    assert run(evaluator, lambda x, y: (x, y), 1, y=2) == (Status.VALUE, (1, 2))
    assert run(evaluator, "x + 1", x=1) == (Status.VALUE, 2)


def test_what_a_task_raises_is_described(evaluator):
    """As plain values, with frames of its own code only."""

    def fail():
        raise KeyError("here")

    status, failure = run(evaluator, fail)

    assert status == Status.ERROR
    assert failure.message == "KeyError: 'here'"
    assert failure.condition_class == ("KeyError", "LookupError", "Exception", "BaseException")
    assert [frame.name for frame in failure.stack_trace] == ["fail"]
    assert failure.remote_traceback.startswith("Traceback")
    assert "runtime/evaluate.py" not in failure.remote_traceback
    assert isinstance(serialize.loads(*flat(failure.original)), KeyError)


def test_source_text_stands_in_its_traceback(evaluator):
    """It has no file that could be looked up."""
    status, failure = run(evaluator, "x = 0\ndef f():\n    return 1 / x\nf()")

    assert status == Status.ERROR
    assert "line 3, in f\n    return 1 / x" in failure.remote_traceback
    assert "line 4, in <task>\n    f()" in failure.remote_traceback


def test_a_keyboard_interrupt_is_an_interrupt(evaluator):
    """A person, or another process, interrupted it."""
    assert run(evaluator, "raise KeyboardInterrupt") == (Status.INTERRUPTED, None)


@pytest.mark.parametrize("error", [Interrupted, Leave])
def test_what_is_none_of_the_tasks_doing_passes_through(evaluator, error):
    """The daemon raised it."""
    with pytest.raises(error):
        run(evaluator, "raise error", error=error)

    assert evaluator.armed == 0
    assert evaluate.evaluating == 0


def test_a_task_can_be_interrupted_only_while_it_is_run(evaluator):
    """`armed` names it."""
    seen = []
    evaluator._main["look"] = lambda: seen.append(evaluator.armed)
    count, body = serialize.dumps_call("look()", (), {})

    evaluator.run(7, count, 0, serialize.joined(body), False)

    assert seen == [7]
    assert evaluator.armed == 0


def test_a_result_that_cannot_be_serialized_is_the_tasks_error(evaluator):
    """It says what it was, and what to do."""
    status, failure = run(evaluator, lambda: Unpicklable())

    assert status == Status.ERROR
    assert "the result (of type Unpicklable) cannot be serialized: RuntimeError: not this one" in failure.message
    assert failure.original is None


def test_an_argument_that_cannot_be_loaded_is_the_tasks_error(evaluator):
    """The module that it is from may be missing here."""
    count, body = 0, b"\x80\x05cno_such_module\nThing\n."

    status, (count, reply) = evaluator.run(1, count, 0, body, False)

    assert status == Status.ERROR
    assert "no_such_module" in serialize.loads(count, serialize.joined(reply))["message"]


@pytest.mark.parametrize(
    ("error", "message", "pickled"),
    [
        (ValueError("plain"), "ValueError: plain", True),
        (ValueError(), "ValueError", True),
        (Picky(1, 2), "Picky: 1 and 2", False),
        (Unprintable(), "Unprintable: <its __str__ raised ValueError>", True),
        (SystemExit(3), r"the task called sys\.exit\(3\)", False),
        (BaseException("base"), "BaseException: base", False),
        (ExceptionGroup("several", [ValueError(1)]), "several", True),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_any_exception_can_be_described(error, message, pickled):
    """Whatever its class does on being printed or pickled; the host must not exit because a task did."""
    failure = describe(error)

    with pytest.raises(ValueError, match=message):
        raise ValueError(failure.message)
    assert (failure.original is not None) == pickled


class Locked(Exception):
    def __init__(self, message):
        super().__init__(message)
        self.lock = threading.Lock()


class Changing(Exception):
    """Is another one once it was pickled."""

    def __reduce__(self):
        return ValueError, self.args


class Exits(Exception):
    """Ends whoever unpickles it."""

    def __reduce__(self):
        return sys.exit, (3,)


@pytest.mark.parametrize(
    ("error", "begins", "why"),
    [
        (Picky(1, 2), "Picky: 1 and 2 (", "it cannot be unpickled: TypeError: Picky.__init__() missing 1 required "),
        (Locked("busy"), "Locked: busy (", "it cannot be pickled: TypeError: cannot pickle '_thread.lock' object"),
        (Changing("x"), "Changing: x (", "unpickled, it is of type ValueError"),
        (Exits(), "Exits (", "it cannot be unpickled: SystemExit: 3"),
        (BaseException("base"), "BaseException: base (", "it is no Exception"),
        (GeneratorExit(), "GeneratorExit (", "it is no Exception"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_an_exception_that_cannot_be_raised_on_the_host_says_why(error, begins, why):
    """Else its handler there, `except Picky`, seems to be broken: it is a `MiraiError` that is raised."""
    failure = describe(error)

    assert failure.original is None
    assert failure.message.startswith(f"{begins}raised as a MiraiError, since {why}")
    assert failure.message.endswith(")")


def test_a_chain_of_exceptions_is_described_whole():
    """Causes, contexts and notes."""
    try:
        try:
            raise KeyError("first")
        except KeyError as first:
            raise ValueError("second") from first
    except ValueError as error:
        error.add_note("a note")
        failure = describe(error)

    assert "KeyError: 'first'" in failure.remote_traceback
    assert "direct cause" in failure.remote_traceback
    assert "a note" in failure.remote_traceback


def test_a_recursion_error_is_described(evaluator):
    """There is room on the stack again by then; its traceback does not fill the screen."""
    status, failure = run(evaluator, "def f(): f()\nf()")

    assert status == Status.ERROR
    assert failure.message.startswith("RecursionError")
    assert len(failure.remote_traceback) < 10_000


def test_names_for_main_are_set_before(evaluator, main):
    """And stay until the clean-up."""
    assert run(evaluator, "y + 1", extras={"globals": {"y": 2}}) == (Status.VALUE, 3)
    assert main["y"] == 2


def test_random_numbers_begin_where_the_seed_says(evaluator):
    """The same task gives the same numbers, another one other ones."""
    text = "import random; random.random()"

    _, first = run(evaluator, text, extras={"seed": (42, 0)})
    _, again = run(evaluator, text, extras={"seed": (42, 0)})
    _, other = run(evaluator, text, extras={"seed": (42, 1)})

    assert first == again != other


def test_numpys_random_numbers_are_seeded_where_it_is_loaded():
    """As `random`'s are."""
    numpy = pytest.importorskip("numpy")
    state, old = random.getstate(), numpy.random.get_state()
    try:
        seed(1, 2)
        first = numpy.random.random()
        seed(1, 2)
        assert numpy.random.random() == first
    finally:
        random.setstate(state)
        numpy.random.set_state(old)


def test_source_text_for_everywhere_runs_in_main(evaluator, main):
    """What it assigns stays; its own names do not, and hide nothing for good."""
    main["hidden"] = "before"

    status, value = run(evaluator, "z = x + 1\nhidden = 5\nz", x=1, hidden=0, everywhere=True)

    assert (status, value) == (Status.VALUE, 2)
    assert main["z"] == 2
    assert "x" not in main
    assert main["hidden"] == "before"


def test_source_text_of_a_task_leaves_nothing(main):
    """It runs like a function's body."""
    before = dict(main)

    assert run_source("a = 1\nb = [a for _ in range(2)]\nb", {}) == [1, 1]

    assert main == before


def test_source_text_that_raises_in_everywhere_leaves_no_names(main):
    """Of those that it was given."""
    with pytest.raises(ZeroDivisionError):
        run_source("y = 2\n1 / x", {"x": 0}, everywhere=True)

    assert "x" not in main


def test_a_call_that_many_tasks_share_is_loaded_once(evaluator):
    """By the first of them; forgotten when it is told to."""

    class Loaded:
        times = 0

        def __reduce__(self):
            return evaluate_load, ()

    evaluator.keep(5, *flat(serialize.dumps_call(lambda x, constant: (x, constant), (Loaded(),), {})))
    LOADED.clear()

    values = []
    for x in range(3):
        count, body = flat(serialize.dumps(((x,), {}), to_daemon=True))
        status, reply = evaluator.run(x + 1, count, 5, body, False)
        values.append((status, serialize.loads(*flat(reply))))

    assert values == [(Status.VALUE, (x, "constant")) for x in range(3)]
    assert len(LOADED) == 1
    evaluator.forget(5)
    evaluator.forget(5)
    assert evaluator._blobs == {}


def everything(*args, **kwargs):
    return args, kwargs


@pytest.mark.parametrize("constants", [(), ("constant",)])
@pytest.mark.parametrize("args", [(), (1,), (None, "text", b"bytes", 1.5), ((),), ((1,), {}), ([], {}), ({}, ())])
def test_the_arguments_of_a_shared_call_are_what_was_given(evaluator, args, constants):
    """Plain values go by themselves; others beside those by name, from which they must be told."""
    evaluator.keep(1, *flat(serialize.dumps_call(everything, constants, {})))
    plain = serialize.dumps_plain(args, {})
    ways = [flat(serialize.dumps_arguments(args, {}))] + ([] if plain is None else [(0, plain)])

    for count, body in ways:
        status, reply = evaluator.run(1, count, 1, body, False)
        assert (status, serialize.loads(*reply)) == (Status.VALUE, ((*args, *constants), {}))


def test_a_shared_call_that_cannot_be_loaded_is_each_tasks_error(evaluator):
    """Not only the first one's."""
    evaluator.keep(5, 0, b"\x80\x05cno_such_module\nThing\n.")
    count, body = flat(serialize.dumps(((1,), {}), to_daemon=True))

    for seq in (1, 2):
        status, reply = evaluator.run(seq, count, 5, body, False)
        assert status == Status.ERROR
        assert "no_such_module" in serialize.loads(*flat(reply))["message"]


def test_a_traceback_that_cannot_be_printed_is_said_to_be():
    """Libraries replace the printing of their exceptions."""

    class Odd(Exception):
        def __getattribute__(self, name):
            if name == "__notes__":
                raise RuntimeError("no notes")
            return super().__getattribute__(name)

    failure = describe(Odd("odd"))

    assert "Odd" in failure.message
    assert isinstance(failure.remote_traceback, str)
    assert isinstance(failure.stack_trace, list)
    assert all(isinstance(frame, traceback.FrameSummary) for frame in failure.stack_trace)


LOADED: list[int] = []


def evaluate_load():
    LOADED.append(1)
    return "constant"


def flat(serialized):
    count, body = serialized
    return count, serialize.joined(body)


def test_a_shared_function_is_what_its_name_stands_for_now(evaluator, monkeypatch):
    """`everywhere` may have put something else there; and a module may have been forgotten."""
    module = ModuleType("mirai_test_shared")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec("def f(x): return 'old', x", module.__dict__)
    count, body = serialize.dumps_call(module.f, (), {})
    evaluator.keep(1, count, body)
    _, argument = serialize.dumps_arguments((1,), {})

    def value():
        return serialize.loads(*evaluator.run(1, 0, 1, argument, False)[1])

    assert value() == ("old", 1)
    exec("def f(x): return 'new', x", module.__dict__)
    assert value() == ("new", 1)
    del sys.modules[module.__name__]
    status, (count, reply) = evaluator.run(1, 0, 1, argument, False)
    assert status == Status.ERROR
    assert "No module named 'mirai_test_shared'" in serialize.loads(count, reply)["message"]
