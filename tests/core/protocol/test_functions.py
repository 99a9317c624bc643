"""A function is serialized again whenever anything of it may have changed, and only then."""

from __future__ import annotations

import sys
import types
from textwrap import dedent

import cloudpickle
import pytest

from mirai.protocol.functions import KEPT, Functions
from mirai.protocol.serialize import joined, loads


@pytest.fixture
def module():
    module = types.ModuleType("mirai_test_functions")
    sys.modules[module.__name__] = module
    exec("def g(): return 1", module.__dict__)
    yield module
    del sys.modules[module.__name__]


def main_with(text):
    """The names of a script, whose function `f` is sent."""
    names = {"__name__": "__main__"}
    exec(compile(dedent(text), "script", "exec", dont_inherit=True), names)
    return types.SimpleNamespace(**names, names=names)


def sent(functions, function):
    """What goes to daemons for it, and what it returns there."""
    blob = functions.blob(function)
    assert blob is not None, "it can be kept"
    task, args, kwargs = loads(blob.count, joined(blob.body))
    return blob, task(*args, **kwargs)


SCRIPT = """
    import math
    from collections import Counter

    base = 1

    def helper(x=1):
        return (base, x)

    def f(a=2, b="b"):
        return helper(), a, b, math.floor(2.5), Counter("a")["a"]
"""


def test_what_has_not_changed_is_not_serialized_again():
    """That costs four times the rest of a task."""
    functions, main = Functions(), main_with(SCRIPT)

    assert sent(functions, main.f) == sent(functions, main.f)
    assert sent(functions, main.f)[1] == main.f() == ((1, 1), 2, "b", 2, 1)


def test_a_lambda_in_a_loop_is_the_same_each_time_round():
    """It is another object, made from the same code."""
    functions = Functions()
    blobs = {sent(functions, lambda: 42)[0] for _ in range(3)}

    assert len(blobs) == 1


def test_lambdas_of_a_loop_that_hold_its_variable_are_not():
    """Their closures differ."""
    functions = Functions()
    made = [lambda i=i: i for i in range(3)] + [(lambda i: lambda: i)(i) for i in range(3)]

    assert [sent(functions, function)[1] for function in made] == [0, 1, 2, 0, 1, 2]


@pytest.mark.parametrize(
    "change",
    [
        "main.names['base'] = 10",
        "del main.names['base']; main.names['helper'] = lambda: 'other'",
        "main.names['helper'] = main.helper.__get__(7)",
        "main.names['helper'] = lambda: 'other'",
        "main.helper.__code__ = (lambda x=1: x).__code__",
        "main.helper.__defaults__ = (10,)",
        "main.f.__defaults__ = (10, 'c')",
        "main.f.__code__ = (lambda a=2, b='b': a).__code__",
        "main.names['math'] = __import__('cmath'); main.names['math'].floor = lambda x: 'other'",
        "main.names['Counter'] = lambda text: {'a': 7}",
    ],
)
def test_what_has_changed_is_serialized_again(change):
    """Whatever it is that a call depends on: what was sent before would be the wrong program."""
    functions, main = Functions(), main_with(SCRIPT)
    before, _ = sent(functions, main.f)
    try:
        exec(change)
        blob = functions.blob(main.f)

        assert blob is not before
        if blob is not None and "math" not in change:
            assert sent(functions, main.f)[1] == main.f()
    finally:
        vars(__import__("cmath")).pop("floor", None)


def test_a_name_that_is_there_now_is_sent():
    """It was looked up in the daemon's `__main__` before."""
    functions, main = Functions(), main_with("def f():\n    return later")
    blob = functions.blob(main.f)
    main.names["later"] = 42

    assert functions.blob(main.f) is not blob
    assert sent(functions, main.f)[1] == 42


def test_a_closure_that_has_changed_is_sent_again():
    """`nonlocal` does it."""

    def make():
        count = 0

        def up():
            nonlocal count
            count += 1

        return up, lambda: count

    functions = Functions()
    up, f = make()
    assert sent(functions, f)[1] == 0
    up()
    assert sent(functions, f)[1] == 1


def test_a_closure_that_was_emptied_is_not_an_error_here():
    """It is one of the function's, if it is called."""

    def make():
        count = 0

        def down():
            nonlocal count
            del count

        return down, lambda: count

    functions = Functions()
    down, f = make()
    functions.blob(f)
    down()

    assert functions.blob(f) is None


@pytest.mark.parametrize(
    "text",
    [
        "state = []\ndef f(): return state",
        "state = {}\ndef f(): return state",
        "state = ([],)\ndef f(): return state",
        "state = object()\ndef f(): return state",
        "class State: pass\ndef f(): return State",
        "def f(state=[]): return state",
        "def f(*, state=1): return state",
        "def f(): return 1\nf.state = 1",
        "def helper(state=[]): return state\ndef f(): return helper()",
        "def helper(): return 1\nhelper.state = 1\ndef f(): return helper()",
        "state = []\ndef f(): return [state for _ in range(2)]",
        "state = []\ndef f():\n    def inner(): return lambda: state\n    return inner()()",
        "class State: pass\ndef f(x: State = 1): return x",
        "def outer():\n    state = []\n    return lambda: state\nf = outer()",
        "def outer():\n    f = lambda: state\n    return f\n    state = 1\nf = outer()",
        "import types\nstate = types.SimpleNamespace()\ndef f(): return state.x",
        "import functools\nstate = functools.partial(print)\ndef f(): return state",
    ],
)
def test_what_could_change_unseen_is_never_kept(text):
    """Comparing it would cost as much as to serialize it."""
    functions, main = Functions(), main_with(text)

    assert functions.blob(main.f) is None


def test_what_can_be_imported_is_sent_as_its_name(module):
    """Once; and no more once the name stands for something else, which pickle refuses."""
    functions = Functions()
    blob = functions.blob(module.g)
    before, module.g = module.g, len

    assert loads(blob.count, blob.body)[0] is len
    assert functions.blob(before) is None
    module.g = before
    assert functions.blob(before) is blob


def test_functions_that_call_each_other_are_kept():
    """The snapshot ends where it began."""
    functions = Functions()
    main = main_with("def f(n=3): return n if not n else g(n - 1)\ndef g(n): return f(n)")

    assert sent(functions, main.f) == sent(functions, main.f)
    assert sent(functions, main.f)[1] == 0


def test_only_so_many_are_kept():
    """A notebook makes functions all day."""
    functions = Functions()
    for i in range(KEPT + 10):
        functions.blob(main_with(f"def f(): return {i}").f)

    assert len(functions._kept) == KEPT


def test_modules_that_go_by_value_may_change(module):
    """They are registered so because somebody works on them."""
    functions, main = Functions(), main_with("def f(): return module.g()")
    main.names["module"] = module
    cloudpickle.register_pickle_by_value(module)
    try:
        blob = functions.blob(main.f)
        exec("def g(): return 2", module.__dict__)

        assert blob is None or sent(functions, main.f)[1] == 2
    finally:
        cloudpickle.unregister_pickle_by_value(module)


def test_modules_that_were_made_here_may_change():
    """They go by value, as nobody can import them."""
    functions, main = Functions(), main_with("import types\nmodule = types.ModuleType('m')\ndef f(): return module.x")
    main.module.x = 1
    blob = functions.blob(main.f)
    main.module.x = 2

    assert blob is None or sent(functions, main.f)[1] == 2


def test_a_module_that_is_registered_later_goes_by_value(module):
    """The first attempt has failed for want of it."""
    functions, main = Functions(), main_with("def f(): return g()")
    main.names["g"] = module.g
    before = functions.blob(main.f)
    cloudpickle.register_pickle_by_value(module)
    try:
        assert functions.blob(main.f) is not before
    finally:
        cloudpickle.unregister_pickle_by_value(module)
