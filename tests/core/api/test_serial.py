"""Objects that cannot be pickled travel as their configuration says, in every kind of profile."""

from __future__ import annotations

import sys
import threading
import types

import pytest

from mirai import (
    MiraiError,
    SerializationError,
    daemons,
    everywhere,
    make_cluster,
    mirai,
    mirai_map,
    profiles,
    register_serial,
    serial_config,
    stop_cluster,
    with_daemons,
)
from mirai.api import serial
from mirai.runtime.profile import require
from tests.core import handles
from tests.core.handles import Carrier, Handle, Special

CONFIG = serial_config(Handle, handles.dump, handles.load)
BATCHED = serial_config(Handle, handles.dump_all, handles.load_all, vec=True)
DOTTED = serial_config("tests.core.handles.Handle", handles.dump, handles.load)

KINDS = {
    "daemons": lambda config: daemons(1, serial=config),
    "without a dispatcher": lambda config: daemons(1, dispatcher=False, serial=config),
    "synchronous": lambda config: daemons(sync=True, serial=config),
}


@pytest.fixture(params=KINDS, scope="module")
def profile(request):
    """A profile of each kind, with the class as it is."""
    with KINDS[request.param](CONFIG) as set_:
        yield set_.compute


@pytest.fixture(params=["class", "vec", "dotted"], scope="module")
def configured(request):
    """Daemons, with each kind of configuration."""
    with daemons(1, serial={"class": CONFIG, "vec": BATCHED, "dotted": DOTTED}[request.param]) as set_:
        yield set_.compute


@pytest.fixture
def unregistered():
    """What a test registers is forgotten."""
    yield
    serial._registered.clear()
    serial._default = None


def values(result):
    return result["first"].value, [handle.value for handle in result["all"]], result["first"] is result["all"][0]


# Where they go


def check_everywhere_in_a_task():
    handle = Handle(3)
    assert mirai(handles.value_of, handle).result() == 3
    assert mirai(handles.value_of, handle=handle).result() == 3
    assert mirai("handle.value", handle=handle).result() == 3
    assert mirai(lambda: handle.value).result() == 3
    assert mirai("held.value", _globals={"held": handle}).result() == 3
    assert mirai(handles.is_one, handle, handle, [handle, handle]).result()
    assert mirai(handles.value_of, Special(4)).result() == 4
    assert values(mirai(handles.twice, Handle(1), Special(2)).result()) == (2, [2, 4], True)
    with pytest.raises(Carrier) as caught:
        mirai(handles.raise_one, 5).result()
    assert caught.value.handle.value == 5
    assert mirai_map([Handle(1), Handle(2)], handles.add, Handle(10)).collect() == [11, 12]
    assert everywhere(handles.value_of, handle).collect() == [3]
    assert mirai(handles.value_of, mirai(handles.make, 7)).result() == 7


def test_in_every_kind_of_profile(profile):
    """Arguments, results, closures, globals, exceptions, a map's elements and constants, mirais as arguments."""
    check_everywhere_in_a_task()


def test_with_every_kind_of_configuration(configured):
    """A class, its name, and functions of lists."""
    check_everywhere_in_a_task()


def test_where_no_daemons_are_set(unregistered):
    """What is registered holds for ephemeral daemons."""
    register_serial(CONFIG)

    assert values(mirai(handles.twice, Handle(1)).result()) == (2, [2], True)


def test_a_cluster_takes_it():
    """It takes what `daemons()` takes."""
    cluster = make_cluster(1, serial=CONFIG)
    try:
        assert list(cluster.map(handles.value_of, [Handle(1), Handle(2)])) == [1, 2]
    finally:
        stop_cluster(cluster)


def test_large_objects_arrive():
    """Beside the pickle, both ways."""
    large = "x" * 1_000_000
    with daemons(1, serial=[BATCHED]):
        result = mirai(handles.twice, Handle(large)).result()

    assert result["first"].value == 2 * large


@pytest.mark.parametrize("how", ["1, ", "sync=True, "])
@pytest.mark.parametrize("vec", [False, True])
def test_classes_and_functions_of_main(how, vec, run_host):
    """As in every script: they go by value, and use what `__main__` has, also after a clean-up."""
    functions = "lambda hs: list(map(dump, hs)), lambda ds: list(map(load, ds)), True" if vec else "dump, load"
    text = """
            import threading

            class Handle:
                def __init__(self, value):
                    self.value = value
                    self.lock = threading.Lock()

            def dump(handle):
                return repr(handle.value).encode()

            def load(data):
                return Handle(eval(data))

            def twice(handle):
                return Handle(2 * handle.value), isinstance(handle, Handle)

            if __name__ == "__main__":
                with daemons(HOW serial=serial_config(Handle, FUNCTIONS)):
                    for i in range(3):
                        made, same = mirai(twice, Handle(i)).result()
                        print(made.value, same, type(made) is Handle)
                    print(mirai("x.value", x=Handle(5)).result())
                    print([made.value for made, same in mirai_map([Handle(1), Handle(2)], twice).collect()])
            """
    printed = run_host(text.replace("HOW ", how).replace("FUNCTIONS", functions)).splitlines()

    assert printed == ["0 True True", "2 True True", "4 True True", "5", "[2, 4]"]


def test_functions_are_those_of_the_time_when_daemons_are_set(run_host):
    """In a notebook helpers are defined again and again; what is registered stays registered."""
    assert run_host(
        """
            import threading

            class Handle:
                def __init__(self, value):
                    self.value = value
                    self.lock = threading.Lock()

            def helper(value):
                return value

            register_serial(Handle, lambda h: repr(h.value).encode(), lambda data: Handle(helper(eval(data))))
            shared = share(Handle(1))
            with daemons(1):
                print(mirai(lambda h: h.value, shared).result(), mirai(lambda h: h.value, Handle(1)).result())

            def helper(value):
                return value + 10

            with daemons(1):
                print(mirai(lambda h: h.value, shared).result(), mirai(lambda h: h.value, Handle(1)).result())
            """
    ).splitlines() == ["1 1", "11 11"]


# Two profiles


def test_two_profiles_have_configurations_of_their_own():
    """At the same time, from several threads: what is in use belongs to the profile."""
    other = serial_config(Handle, lambda h: repr(-h.value).encode(), handles.load)
    wrong = []

    def work(compute, sign):
        with with_daemons(compute):
            for i in range(1, 30):
                # Two ways, so that signs cancel out there, but not here.
                there = mirai(handles.value_of, Handle(i), _compute=compute).result()
                back = mirai(handles.make, i, _compute=compute).result().value
                if (there, back) != (sign * i, sign * i):
                    wrong.append((compute, i, there, back))

    with daemons(1, compute="plus", serial=CONFIG), daemons(1, compute="minus", serial=other):
        threads = [threading.Thread(target=work, args=args) for args in [("plus", 1), ("minus", -1)] * 2]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert wrong == []


def test_a_result_may_go_on_to_another_profile():
    """Whose daemons know nothing of the first one's configurations."""
    other = serial_config(Handle, lambda h: repr(h.value + 100).encode(), handles.load)
    with daemons(1, compute="first", serial=CONFIG), daemons(1, compute="second", serial=other):
        made = mirai(handles.make, 1, _compute="first")

        assert mirai(handles.value_of, made, _compute="second").result() == 101


def test_a_result_that_cannot_be_loaded_does_not_go_on_as_a_value():
    """The task that waits for it must not take the error for its argument."""
    here = serial_config(Handle, handles.dump, handles.fail_to_load)
    with daemons(1, compute="first", serial=here), daemons(1, compute="second", serial=CONFIG):
        made = mirai(handles.make, 1, _compute="first")

        with pytest.raises(MiraiError, match="load failed"):
            mirai(handles.value_of, made, _compute="second").result()


def test_a_result_outlives_its_profile():
    """It is deserialized when somebody asks for it."""
    with daemons(1, serial=CONFIG):
        made = mirai(handles.make, 1)
        mirai(handles.value_of, made).result()

    assert made.result().value == 1


# What goes wrong


@pytest.mark.parametrize(
    ("dump", "message"),
    [
        (handles.fail_to_dump, "raised ValueError: dump failed"),
        (handles.dump_text, "returned an object of type str: return bytes, or a memoryview"),
    ],
)
@pytest.mark.parametrize("vec", [False, True])
def test_one_that_cannot_be_dumped(dump, message, vec):
    """At the call an error that names the argument; of a result, the task's error. The daemon serves on."""
    function = (lambda hs: list(map(dump, hs))) if vec else dump
    with daemons(1, serial=serial_config(Handle, function, handles.load, vec)):
        with pytest.raises(SerializationError, match=rf"argument 1 \(of type list\) cannot .*Handle {message}"):
            mirai(print, 1, [Handle(1)])
        with pytest.raises(SerializationError, match=rf"argument 'x' \(of type Handle\) cannot .*Handle {message}"):
            mirai("1", x=Handle(1))
        with pytest.raises(SerializationError, match=rf"element 1 \(of type Handle\) cannot .*Handle {message}"):
            mirai_map([1, Handle(1)], print)
        pid = mirai("import os; os.getpid()").result()
        with pytest.raises(MiraiError, match=rf"the result \(of type Handle\) cannot .*Handle {message}"):
            mirai(handles.make, 1).result()
        with pytest.raises(MiraiError, match="Carrier"):
            mirai(handles.raise_one, 1).result()

        assert mirai("import os; os.getpid()").result() == pid


def test_one_that_cannot_be_loaded():
    """On the daemon the task's error, in the host an error value. The daemon serves on."""
    with daemons(1, serial=serial_config(Handle, handles.dump, handles.fail_to_load)):
        pid = mirai("import os; os.getpid()").result()
        with pytest.raises(ValueError, match="load failed") as caught:
            mirai(handles.value_of, Handle(1)).result()
        assert "ufunc of the serializer for tests.core.handles.Handle" in str(caught.value.__notes__)
        with pytest.raises(MiraiError, match="the result cannot be loaded here: ValueError: load failed"):
            mirai(handles.make, 1).result()

        assert mirai("import os; os.getpid()").result() == pid


def test_functions_that_cannot_be_sent_are_refused():
    """When the daemons are set, not with the first object."""
    lock = threading.Lock()
    with pytest.raises(
        SerializationError, match="serial='tests.core.handles.Handle' .*cannot pickle '_thread.lock'.* Give functions"
    ):
        daemons(1, serial=serial_config(Handle, lambda h: lock and b"", handles.load))


def test_functions_that_a_daemon_cannot_import():
    """An error where an object needs them; the rest works."""
    module = types.ModuleType("mirai_test_host_only")
    exec("def dump(h): return b''\ndef load(data): return data", module.__dict__)
    sys.modules[module.__name__] = module
    try:
        with daemons(1, serial=serial_config(Handle, module.dump, module.load)):
            assert mirai("1 + 1").result() == 2
            with pytest.raises(MiraiError, match="cannot be loaded here: ModuleNotFoundError: .*mirai_test_host_only"):
                mirai(handles.make, 1).result()
            assert mirai("1 + 1").result() == 2
    finally:
        del sys.modules[module.__name__]


# What is given


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((1, bytes, bytes), TypeError, "cls=1: give a class, or its dotted name"),
        (("Table", bytes, bytes), ValueError, "cls='Table': give a class, or its dotted name"),
        (("a..B", bytes, bytes), ValueError, "cls='a..B': give a class, or its dotted name"),
        (("threading.Lokc", bytes, bytes), ValueError, "threading has no class of that name"),
        ((dict, bytes, bytes), ValueError, "pickled without asking anybody"),
        ((object, bytes, bytes), ValueError, "pickled without asking anybody"),
        ((Handle, "dump", bytes), TypeError, "sfunc='dump': give a callable"),
        ((Handle, bytes, None), TypeError, "ufunc=None: give a callable"),
        ((Handle, bytes, bytes, 1), TypeError, "vec=1: give True or False"),
    ],
)
def test_a_configuration_is_checked_when_it_is_made(arguments, error, message):
    """Not when the first object is met, which may be hours later."""
    with pytest.raises(error, match=message.replace("(", r"\(")):
        serial_config(*arguments)


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ("arow", ValueError, "serial='arow': no plugin provides it (there are: "),
        (["arrow", 1], TypeError, "serial=1: give names of plugins' serializers"),
        (1, TypeError, "serial=1: give names of plugins' serializers"),
    ],
)
def test_what_daemons_are_given_is_checked(given, error, message):
    """Nothing is set, or reset, by a call that is wrong."""
    with daemons(sync=True) as before:
        with pytest.raises(error) as caught:
            daemons(1, serial=given)
        assert message in str(caught.value)

        assert before


def test_a_file_of_profiles_names_them(tmp_path):
    """As `daemons(serial=…)` does; a name that nobody provides is an error that tells where it stands."""
    file = tmp_path / "mirai.yaml"
    file.write_text("profiles:\n  right: {n: 1, serial: [arrow, numpy]}\n")
    with profiles(file):
        used = require("right").service.serializers
        assert [entry.names[0] for entry in used.entries] == ["pyarrow.Table", "numpy.ndarray"]

    file.write_text("profiles:\n  wrong: {n: 1, serial: [arow]}\n")
    with pytest.raises(ValueError, match="did you mean 'arrow'") as caught, profiles(file):
        pass
    assert "profiles.wrong.serial[0]" in str(caught.value)


def test_none_at_all_can_be_asked_for(unregistered):
    """Plugins and what is registered are left out."""
    register_serial(CONFIG)
    with (
        daemons(sync=True, serial=[]),
        pytest.raises(
            SerializationError, match=r"argument 0 \(of type Handle\) cannot be serialized: TypeError: cannot pickle"
        ),
    ):
        mirai(handles.value_of, Handle(1))


def test_what_is_registered_holds_for_later_profiles(unregistered):
    """Those that are set keep theirs; a later one for the same class takes its place."""
    with daemons(1, compute="before"):
        register_serial(Handle, handles.fail_to_dump, handles.load)
        register_serial([serial_config(Handle, handles.dump, handles.load)])
        with daemons(1, compute="after"):
            assert mirai(handles.value_of, Handle(1), _compute="after").result() == 1
            with pytest.raises(SerializationError, match="cannot pickle"):
                mirai(handles.value_of, Handle(1), _compute="before")


@pytest.mark.parametrize("given", [(Handle, handles.dump), (1,), ([1],), (CONFIG, handles.dump, handles.load)])
def test_what_is_registered_is_checked(given, unregistered):
    """It holds for all that comes later."""
    with pytest.raises(TypeError):
        register_serial(*given)
    assert serial._registered == []


def test_a_dotted_name_is_not_imported(run_host):
    """Not by the configuration, not by setting daemons, not on a daemon, until the program imports it."""
    assert run_host(
        """
            import sys

            def dump(value):
                return str(value).encode()

            def load(data):
                import fractions
                return fractions.Fraction(data.decode())

            def here():
                import sys
                return "fractions" in sys.modules

            def half():
                from fractions import Fraction
                return Fraction(1, 2)

            if __name__ == "__main__":
                with daemons(1, serial=serial_config("fractions.Fraction", lambda v: str(v).encode(), load)):
                    print(mirai(here).result(), here())
                    print(mirai(len, [here]).result(), here())
                    print(mirai(half).result(), mirai(here).result(), here())
            """
    ).splitlines() == ["False False", "1 False", "1/2 True True"]
