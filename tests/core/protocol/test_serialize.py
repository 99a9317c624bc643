"""What goes to a daemon means the same there: by reference where it can, by value where it must."""

from __future__ import annotations

import functools
import pickle
import subprocess
import sys
import threading
import types
from pathlib import Path
from textwrap import dedent

import cloudpickle
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mirai.errors import SerializationError
from mirai.protocol import serialize
from mirai.protocol.serialize import OUT_OF_BAND, dumps, dumps_arguments, dumps_call, joined, loads
from mirai.protocol.wire import HEADER

ROOT = Path(__file__).parents[3]

LARGE = OUT_OF_BAND // 8 + 1  # floats


def over_there(value, **options):
    """What arrives of a value."""
    count, body = dumps(value, **options)
    return loads(count, bytearray(joined(body)))


@pytest.fixture
def script(tmp_path):
    """Run a text as `__main__`, with `call` to evaluate something in the `__main__` of another process; what it prints."""

    def run(text):
        path = tmp_path / "script.py"
        path.write_text("from tests.core.protocol.elsewhere import call\n" + dedent(text))
        command = [sys.executable, "-W", "error", str(path)]
        environment = {"PYTHONPATH": f"{ROOT}:{':'.join(filter(None, sys.path))}"}
        ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30, check=False)
        assert ended.stderr == ""
        return ended.stdout.splitlines()

    return run


# Values


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner, inner),
    max_leaves=10,
)


@settings(max_examples=50, deadline=None)
@given(plain, st.booleans())
def test_plain_values_arrive(value, to_daemon):
    """Most arguments and results are nothing else."""
    assert over_there(value, to_daemon=to_daemon) == value


def test_what_is_shared_stays_shared():
    """A list that two arguments are, or that holds itself, is one list there too."""
    shared = [1]
    shared.append(shared)
    task, (a, b), kwargs = over_there((max, (shared, shared), {"c": shared}))

    assert task is max
    assert a is b is kwargs["c"] is a[1]


def test_what_is_shared_with_a_closure_stays_shared():
    """The function and its arguments are one call."""
    shared = []
    function, (argument,), _ = over_there((lambda x: shared.append(x) or shared, (shared,), {}))

    assert function(1) is argument


def test_lambdas_and_closures_go_by_value():
    """They have no name that the daemon could import them by."""
    base = 40
    function = over_there(lambda x: base + x)

    assert function(2) == 42


@pytest.mark.parametrize("to_daemon", [True, False])
def test_code_that_goes_by_value_says_where_it_is_from(to_daemon):
    """Tracebacks name file and line, also of what is defined within; cloudpickle 3.1.3 leaves the file out."""

    def outer():
        return lambda: None

    there = over_there(outer, to_daemon=to_daemon)

    assert [there.__code__.co_filename, there().__code__.co_filename] == [__file__] * 2
    assert there().__code__.co_firstlineno == outer().__code__.co_firstlineno


def test_importable_functions_go_by_reference():
    """The daemon imports them itself: it may have another version of the library, or a faster one."""
    assert over_there(dedent) is dedent
    assert over_there(functools.partial(dedent, "x")).func is dedent
    assert len(joined(dumps(dedent)[1])) < 100


# Buffers


def test_large_arrays_travel_beside_the_pickle():
    """A pickle that contains them is copied three times more on its way."""
    array = np.arange(LARGE, dtype=float)
    count, body = dumps({"x": array, "n": 1})

    assert count == 1
    assert np.array_equal(loads(count, bytearray(joined(body)))["x"], array)


def test_small_arrays_travel_in_it():
    """A buffer of its own costs more than to copy so little."""
    count, body = dumps(np.arange(10))

    assert count == 0
    assert np.array_equal(loads(count, body), np.arange(10))


@pytest.mark.parametrize("size", [10, LARGE])
@pytest.mark.parametrize("function", [None, lambda: None])
def test_what_the_caller_changes_later_has_no_effect(size, function):
    """Everything is serialized at the call, however long it waits there."""
    array = np.zeros(size)
    count, body = dumps((function, array))
    array[:] = 1

    assert loads(count, bytearray(joined(body)))[1].sum() == 0


@pytest.mark.parametrize("size", [10, LARGE])
def test_arrays_can_be_changed_there(size):
    """A task may work in place."""
    assert over_there(np.zeros(size)).flags.writeable


def test_arrays_can_be_changed_here():
    """With `sync`, too, whose tasks find what `joined` made."""
    count, body = dumps(np.zeros(LARGE))

    assert loads(count, joined(body)).flags.writeable


def test_read_only_arrays_stay_so():
    """Their owner meant it."""
    array = np.zeros(LARGE)
    array.flags.writeable = False

    assert not over_there(array).flags.writeable


@pytest.mark.parametrize(
    "array",
    [
        np.asfortranarray(np.arange(10_000.0).reshape(100, 100)),
        np.arange(10_000.0).reshape(100, 100).T,
        np.arange(20_000.0)[::2],
        np.arange(20_000.0)[::-1],
        np.zeros(5_000, dtype=[("a", "f8"), ("b", "i4")]),
        np.array(["text"] * 5_000),
        np.array([{}, None] * 5_000, dtype=object),
        np.array(1.0),
        np.zeros((0, 3)),
        np.arange(10_000).astype("datetime64[s]"),
    ],
    ids=lambda array: f"{array.dtype}, {array.shape}",
)
def test_arrays_of_any_layout_arrive(array):
    """Not all are one piece of memory in the usual order."""
    arrived = over_there([array, array])

    assert arrived[0] is arrived[1]
    assert arrived[0].dtype == array.dtype
    assert np.array_equal(arrived[0], array)


def test_large_arrays_beside_what_goes_by_value():
    """A closure over one, say."""
    array = np.arange(LARGE, dtype=float)
    count, body = dumps((lambda: array.sum(), array), to_daemon=True)
    function, arrived = loads(count, bytearray(joined(body)))

    assert count == 1
    assert function() == arrived.sum() == array.sum()


def test_any_number_of_arrays_arrives():
    """A list of small arrays is common, and may be long."""
    arrays = [np.array([float(i)]) for i in range(66_000)]
    count, body = dumps(arrays)

    assert HEADER.pack(5, 0, count, 0, 0, 0)
    assert len(loads(count, bytearray(joined(body)))) == len(arrays)


# What cannot be serialized


class Unserializable:
    def __reduce__(self):
        raise RuntimeError("made for this place only")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ((print, (1, threading.Lock()), {}), "argument 1 (of type lock) cannot be serialized: TypeError: "),
        ((print, (), {"end": threading.Lock()}), "argument 'end' (of type lock) cannot be serialized: TypeError: "),
        (
            (threading.Lock().acquire, (), {}),
            "the task (of type builtin_function_or_method) cannot be serialized: TypeError: ",
        ),
        ((print, ((i for i in ()),), {}), "argument 0 (of type generator) cannot be serialized: TypeError: "),
        (
            (print, ([Unserializable()],), {}),
            "argument 0 (of type list) cannot be serialized: RuntimeError: made for this place",
        ),
        (
            (print, (), {}, {"globals": {"x": threading.Lock()}}),
            "_globals (of type dict) cannot be serialized: TypeError: ",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_serialized_is_named(call, message):
    """A traceback out of a pickler does not say which of twenty arguments it was."""
    with pytest.raises(SerializationError) as caught:
        dumps_call(*call)

    assert str(caught.value).startswith(message)
    assert str(caught.value).endswith("Create it inside the task, or register a serializer for it (serial_config)")
    assert caught.value.__cause__ is not None
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_what_of_the_arguments_alone_cannot_be_serialized_is_named():
    """For an element of a map, whose function is there already."""
    with pytest.raises(SerializationError, match=r"argument 'x' \(of type lock\)"):
        dumps_arguments((1,), {"x": threading.Lock()})


def test_endless_nesting_is_named():
    """It is an error like any other, not the end of the host."""
    nested: list = []
    for _ in range(100_000):
        nested = [nested]

    with pytest.raises(
        SerializationError, match=r"argument 0 \(of type list\) cannot be serialized: (RecursionError|PicklingError)"
    ):
        dumps_call(len, (nested,), {})
    while nested:
        nested = nested.pop()  # taken apart here, where that needs no recursion


def test_extras_travel_only_where_there_are_some():
    """A task without them is shorter."""
    assert over_there_call(print, (1,), {}) == (print, (1,), {})
    assert over_there_call(print, (1,), {}, {"seed": (1, 2)}) == (print, (1,), {}, {"seed": (1, 2)})


def over_there_call(*call):
    count, body = dumps_call(*call)
    return loads(count, body)


# Modules by value


def test_modules_can_go_by_value():
    """`cloudpickle.register_pickle_by_value` is how one works on a library without installing it everywhere."""
    module = types.ModuleType("mirai_test_by_value")
    exec("base = 40\ndef add(x): return base + x\nclass Adder:\n    def add(self, x): return base + x", module.__dict__)
    sys.modules[module.__name__] = module
    cloudpickle.register_pickle_by_value(module)
    try:
        sent = [
            dumps(value, to_daemon=to_daemon) for value in (module.add, module.Adder()) for to_daemon in (True, False)
        ]
    finally:
        cloudpickle.unregister_pickle_by_value(module)
        del sys.modules[module.__name__]

    functions = [loads(*one) for one in sent]
    assert [getattr(function, "add", function)(2) for function in functions] == [42] * 4


# __main__


def test_functions_of_main_see_the_main_they_arrive_in(script):
    """What `everywhere` left there, `global` and all; and their own helpers come with them."""
    assert script(
        """
        base = 40

        def leave(value):
            global left
            left = value

        def helper():
            return base + left

        def use():
            return helper()

        call(leave, 2)
        print(call(use), "left" in globals())
        base = 50
        print(call(use), call(lambda: use()))
        """
    ) == ["42 False", "52 52"]


def test_the_names_that_a_function_of_main_brings(script):
    """Where it is called again later, they are to be set again before: a clean-up takes them away."""
    assert script(
        """
        from tests.core.protocol.elsewhere import names

        base = 40
        unused = 1

        def helper():
            return base

        def use():
            helper
            return sorted(names())

        print(call(use))
        print(call(len, [1, 2]), sorted(call(names)))
        """
    ) == ["['base', 'helper', 'names']", "2 []"]


def test_functions_of_main_leave_its_other_names_alone(script):
    """They bring what they refer to, not all of a script."""
    assert script(
        """
        import sys

        secret = 1
        print(call(lambda: sorted(name for name in vars(sys.modules["__main__"]) if not name.startswith("_"))))
        """
    ) == ["['sys']"]


def test_functions_that_come_back_keep_their_own_globals(script):
    """Bound to the host's `__main__`, they would change its variables."""
    assert script(
        """
        base = 40

        def make():
            global base
            base = 50
            return lambda: base

        made = call(make)
        print(made(), base)
        """
    ) == ["50 40"]


def test_classes_of_main_stay_the_same(script):
    """`isinstance`, `except` and `is` work on what comes back, for all kinds of classes."""
    assert script(
        """
        import abc, dataclasses, enum, typing

        @dataclasses.dataclass
        class Data:
            x: int

        class Named(typing.NamedTuple):
            x: int

        class Colour(enum.Enum):
            RED = 1

        class Bits(enum.Flag):
            A = 1
            B = 2

        class Base(abc.ABC):
            @abc.abstractmethod
            def f(self): ...

        class Derived(Base):
            def f(self):
                return "derived"

        class Wrong(Exception):
            pass

        def fail():
            raise Wrong("here")

        def check(data, named, colour, bits, derived):
            return (
                isinstance(data, Data), type(named) is Named, colour is Colour.RED, bits == Bits.A | Bits.B,
                isinstance(derived, Base) and derived.f(),
            )

        print(call(check, Data(1), Named(2), Colour.RED, Bits.A | Bits.B, Derived()))
        print(check(*call(lambda: (Data(1), Named(2), Colour.RED, Bits.A | Bits.B, Derived()))))
        try:
            call(fail)
        except Wrong as wrong:
            print(repr(wrong))
        """
    ) == ["(True, True, True, True, 'derived')"] * 2 + ["Wrong('here')"]


def test_what_comes_back_leaves_classes_of_main_alone(script):
    """A result must not turn back what the host has changed meanwhile, nor cut its methods off from its variables."""
    assert script(
        """
        counter = 0

        class Counted:
            limit = 1

            def count(self):
                global counter
                counter += 1

        def make():
            Counted.limit = 2
            return Counted()

        made = call(make)
        made.count()
        Counted().count()
        print(counter, Counted.limit, Counted.count.__globals__ is globals())
        """
    ) == ["2 1 True"]


def test_instances_of_classes_with_slots_come_back(script):
    """`dataclass(slots=True)` is an everyday result."""
    assert script(
        """
        import dataclasses

        @dataclasses.dataclass(slots=True)
        class Data:
            x: int

        print(call(Data, 1))
        """
    ) == ["Data(x=1)"]


def test_slots_are_the_same_on_the_other_side(script):
    """Also private ones, beside a `__dict__`, none at all, and those of a base."""
    assert script(
        """
        class Base:
            __slots__ = ("a", "__dict__")

        class Private:
            __slots__ = ("__secret",)

            def __init__(self):
                self.__secret = 1

            def tell(self):
                return self.__secret

        class Derived(Private):
            __slots__ = ()

        class Empty:
            __slots__ = ()

        def check(base, derived, empty):
            try:
                empty.x = 1
            except AttributeError:
                return sorted(vars(base)), base.a, derived.tell(), derived, empty

        base, derived = Base(), Derived()
        base.a, base.b = 2, 3
        *told, back, empty = call(check, base, derived, Empty())
        print(told, type(back) is Derived, back.tell(), type(empty) is Empty)
        """
    ) == ["[['b'], 2, 1] True 1 True"]


def test_a_class_that_came_back_may_come_back_changed(script):
    """It is not the host's own: the last that comes is what its daemon has now."""
    assert script(
        """
        def make(limit):
            global Made
            if limit == 1:
                class Made:
                    pass
            Made.limit = limit
            return Made()

        first = call(make, 1)
        print(first.limit, call(make, 2).limit, first.limit)
        """
    ) == ["1 2 2"]


def test_more_buffers_than_a_frame_can_count(monkeypatch):
    """What is too much goes within the pickle, in its place."""
    monkeypatch.setattr(serialize, "MOST_BUFFERS", 3)
    buffers = [bytearray([i]) * OUT_OF_BAND for i in range(5)]

    count, body = dumps([pickle.PickleBuffer(buffer) for buffer in buffers])

    assert count == 3
    assert [bytes(buffer) for buffer in loads(count, joined(body))] == list(map(bytes, buffers))


def test_methods_and_partials_of_main(script):
    """Whatever holds a function of `__main__` brings it along."""
    assert script(
        """
        import functools

        class Scale:
            def __init__(self, by):
                self.by = by

            def __call__(self, x):
                return self.by * x

            def scale(self, x):
                return self(x)

        def scale(by, x):
            return Scale(by)(x)

        print(call(Scale(2), 21), call(Scale(2).scale, 21), call(functools.partial(scale, 2), x=21))
        """
    ) == ["42 42 42"]


def test_recursion_in_main(script):
    """Functions that call themselves, and each other."""
    assert script(
        """
        def even(n):
            return n == 0 or odd(n - 1)

        def odd(n):
            return n != 0 and even(n - 1)

        print(call(even, 10), call(odd, 10))
        """
    ) == ["True False"]


def test_text_that_names_main_is_text(script):
    """It is only looked at more closely."""
    assert script(
        """
        print(call("{} {}".format, "__main__", b"__main__"))
        """
    ) == ["__main__ b'__main__'"]
