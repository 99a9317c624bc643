"""What becomes of an exception on its way from a daemon to who asks for the result."""

from __future__ import annotations

import pickle
import traceback

import pytest

from mirai import MiraiError, MiraiInterrupt, call_mirai, mirai, mirai_map
from tests.core.tasks import pid

DEADLINE = 20  # seconds; what takes longer hangs


class Detailed(Exception):
    def __init__(self, message, *, detail=None):
        super().__init__(message)
        self.detail = detail


class Exits(Exception):
    """Ends whoever prints it."""

    def __str__(self):
        raise SystemExit(3)


class ExitsWhenLoaded(Exception):
    """Ends whoever unpickles it, the daemon that makes sure that it can be unpickled first."""

    def __reduce__(self):
        return exec, ("raise SystemExit(3)",)


def inner():
    raise Detailed("broken", detail=[1, 2])


def outer():
    inner()


def frames(error):
    return [frame.name for frame in traceback.extract_tb(error.__traceback__)]


def test_an_exception_keeps_its_attributes_and_notes(shared):
    """Handlers look at them: `errno`, `response`, the notes of a framework."""

    def fails():
        error = Detailed("broken", detail={"line": 3})
        error.add_note("while reading the file")
        raise error

    error = mirai(fails).exception(DEADLINE)

    assert (str(error), error.detail, error.__notes__) == ("broken", {"line": 3}, ["while reading the file"])


def test_an_exception_group_can_be_split(shared):
    """`except*` works on what `result()` raises, as if the task had been called here."""

    def fails():
        raise ExceptionGroup("several", [ValueError("a"), ExceptionGroup("more", [KeyError("b"), OSError(2, "c")])])

    caught = []
    try:
        mirai(fails).result(DEADLINE)
    except* (KeyError, OSError) as group:
        caught += group.exceptions[0].exceptions
    except* ValueError as group:
        caught += group.exceptions

    assert [type(error) for error in caught] == [KeyError, FileNotFoundError, ValueError]


def test_a_base_exception_group_does_not_take_the_host_along(shared):
    """It may hold a `SystemExit`."""
    m = call_mirai(mirai("raise BaseExceptionGroup('several', [SystemExit(3), ValueError()])"))

    assert m.data.condition_class[0] == "BaseExceptionGroup"
    with pytest.raises(MiraiError, match="several"):
        m.result()


def test_endless_recursion_is_the_tasks_error(one):
    """It must end neither the daemon, nor who prints its thousand frames."""

    def again():
        return again()

    before = mirai(pid).result(DEADLINE)
    m = mirai(again)

    with pytest.raises(RecursionError):
        m.result(DEADLINE)
    assert "repeated" in m.data.remote_traceback
    assert mirai(pid).result(DEADLINE) == before


@pytest.mark.parametrize("kind", [Exits, ExitsWhenLoaded])
def test_an_exception_that_exits_when_it_is_handled_ends_nobody(one, kind):
    """Its daemon prints it and tries whether it can be pickled."""

    def fails():
        raise kind("x")

    before = mirai(pid).result(DEADLINE)

    data = call_mirai(mirai(fails)).data

    assert isinstance(data, MiraiError)
    assert data.condition_class[0] == kind.__name__
    assert mirai(pid).result(DEADLINE) == before


def test_the_stack_is_of_the_tasks_own_code(shared):
    """Frames of mirai or pickle tell the user nothing; in a map, and behind a mirai as an argument, there are more."""
    calls = {
        "alone": mirai(outer),
        "in a map": mirai_map([1], lambda x: outer())[0],
        "with an argument": mirai(lambda x: outer(), mirai("1")),
    }

    names = {way: [frame.name for frame in call_mirai(m).data.stack_trace] for way, m in calls.items()}

    assert names == {
        "alone": ["outer", "inner"],
        "in a map": ["<lambda>", "outer", "inner"],
        "with an argument": ["<lambda>", "outer", "inner"],
    }
    assert all("mirai/runtime" not in m.data.remote_traceback for m in calls.values())


def test_lines_of_what_goes_by_value_are_shown_in_the_traceback(shared):
    """Functions of a script, lambdas and closures are most of all tasks."""

    class Local:
        def method(self):
            raise ValueError("here")

    data = call_mirai(mirai(lambda: Local().method())).data

    assert [(frame.filename, frame.name) for frame in data.stack_trace] == [
        (__file__, "<lambda>"),
        (__file__, "method"),
    ]
    assert data.stack_trace[1].line == 'raise ValueError("here")'
    assert f'File "{__file__}", line {data.stack_trace[1].lineno}, in method' in data.remote_traceback
    assert 'raise ValueError("here")' in data.remote_traceback


def test_source_text_is_shown_in_the_traceback(shared):
    """It is in no file that the host could show."""
    data = call_mirai(mirai("x = 1\ny = 0\nx / y")).data

    assert [(frame.lineno, frame.line) for frame in data.stack_trace] == [(3, "x / y")]
    assert "x / y" in data.remote_traceback


def test_causes_are_printed_with_the_remote_traceback(shared):
    """What an exception was raised from is often what matters."""

    def fails():
        try:
            {}["missing"]
        except KeyError as error:
            raise RuntimeError("no such setting") from error

    with pytest.raises(RuntimeError) as caught:
        mirai(fails).result(DEADLINE)

    text = "".join(traceback.format_exception(caught.value))
    assert "KeyError: 'missing'" in text
    assert "direct cause" in text


def test_an_error_of_a_task_within_a_task_names_both(shared):
    """A task may itself wait for a mirai that fails: both tracebacks are needed to find the place."""

    def nested():
        from mirai import mirai

        return mirai("innermost = 0\n1 / innermost").result()

    data = call_mirai(mirai(nested)).data

    assert data.condition_class[0] == "ZeroDivisionError"
    assert "1 / innermost" in data.remote_traceback
    assert "in nested" in data.remote_traceback


def test_an_error_value_survives_pickling_whole(shared):
    """It may be stored, or sent on, as the value that it is."""
    data = call_mirai(mirai(outer)).data

    again = pickle.loads(pickle.dumps(data))

    assert (str(again), again.condition_class, again.stack_trace) == (str(data), data.condition_class, data.stack_trace)
    assert (again.original.detail, again.remote_traceback) == ([1, 2], data.remote_traceback)


def test_asking_again_raises_the_same(shared):
    """As a `concurrent.futures.Future` does; frames of each asking are not piled up on those of the daemon."""
    m = mirai(outer)
    first, second = m.exception(DEADLINE), m.exception(DEADLINE)

    with pytest.raises(Detailed) as caught:
        m.result()

    assert first is second is caught.value
    assert frames(first)[-1] == "result"


def test_a_keyboard_interrupt_that_a_task_raises_does_not_interrupt_the_host(shared):
    """Ctrl-C here means the host only."""
    with pytest.raises(MiraiInterrupt):
        mirai("raise KeyboardInterrupt").result(DEADLINE)
