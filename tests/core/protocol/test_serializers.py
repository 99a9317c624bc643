"""Objects that a serializer is for go by it, wherever they are; all others never notice."""

from __future__ import annotations

import pickle
import sys
import threading
import types

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mirai.errors import SerializationError
from mirai.protocol.serialize import OUT_OF_BAND, HookError, dumps, dumps_call, dumps_plain, joined, loads
from mirai.protocol.serializers import Entry, Serializers


class Handle:
    """Cannot be pickled."""

    def __init__(self, value):
        self.value = value
        self.lock = threading.Lock()

    def __eq__(self, other):
        return type(other) is type(self) and other.value == self.value

    def __hash__(self):
        return hash(self.value)


class Special(Handle):
    """Derives from one that has a serializer."""


class Maker:
    """Is made anew, out of a `Handle`, each time that it is pickled."""

    def __reduce__(self):
        return list, ((Handle("made"),),)


def dump(handle):
    return repr(handle.value).encode()


def load(data):
    return Handle(eval(bytes(data)))


def dump_all(handles):
    return [dump(handle) for handle in handles]


def load_all(data):
    return [load(one) for one in data]


def dump_view(handle):
    return memoryview(bytearray(handle.value))


NAME = f"{__name__}.Handle"


def configuration(dump=dump, load=load, names=(NAME,), **options):
    """The entry that `serial_config` comes to."""
    return Entry(names, (None, dump, load), **{"token": "t", **options})


def plugin(dump=dump, load=load, **options):
    return configuration(dump, load, token="", **options)


each_kind = pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda: configuration(), id="configuration"),
        pytest.param(lambda: configuration(dump_all, load_all, vec=True), id="configuration, vec"),
        pytest.param(lambda: plugin(), id="plugin"),
        pytest.param(lambda: plugin(dump_all, load_all, vec=True), id="plugin, vec"),
    ],
)


def over_there(value, *entries, **options):
    count, body = dumps(value, serializers=Serializers(entries), **options)
    return loads(count, bytearray(joined(body)))


# Where they are


@each_kind
@pytest.mark.parametrize(
    "place",
    [
        pytest.param(lambda h: h, id="alone"),
        pytest.param(lambda h: [h, {"k": (h, {h})}], id="in containers"),
        pytest.param(lambda h: types.SimpleNamespace(a=h), id="in an object"),
        pytest.param(lambda h: lambda: h, id="in a closure"),
        pytest.param(lambda h: lambda x=h: x, id="as a default"),
        pytest.param(lambda h: ValueError("with it", h), id="in an exception"),
        pytest.param(lambda h: type("Local", (), {"held": h})(), id="in a class that goes by value"),
    ],
)
def test_objects_arrive_wherever_they_are(make, place):
    """That it is nested is no reason to be told about pickling."""
    arrived = over_there(place(Handle(1)), make())

    assert Handle(1) in reached(arrived)


def reached(value):
    """The handles in a value."""
    if isinstance(value, Handle):
        return [value]
    if isinstance(value, types.FunctionType):
        return reached(value())
    parts = [*value.values()] if isinstance(value, dict) else value if isinstance(value, (list, tuple, set)) else []
    held = [getattr(value, name) for name in ("a", "args", "held") if hasattr(value, name)]
    return [handle for part in [*parts, *held] for handle in reached(part)]


values = st.integers() | st.text(max_size=5)
handles = st.builds(Handle, values) | st.builds(Special, values)
nested = st.recursive(
    values | handles,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3) | st.tuples(inner)
    ),
    max_leaves=12,
)


@settings(max_examples=60, deadline=None)
@given(nested, st.booleans(), st.booleans(), st.booleans())
def test_nested_structures_arrive(value, vec, by_value, is_plugin):
    """Whatever is around them, and whichever pickler it takes."""
    make = plugin if is_plugin else configuration
    entry = make(dump_all, load_all, vec=True) if vec else make()
    sent = (value, (lambda: value) if by_value else None)

    arrived, function = over_there(sent, entry)

    assert arrived == as_handles(value)
    assert function is None or function() == arrived


def as_handles(value):
    """What `load` makes of it: it knows of no subclass."""
    if isinstance(value, Handle):
        return Handle(value.value)
    if isinstance(value, dict):
        return {key: as_handles(part) for key, part in value.items()}
    return type(value)(map(as_handles, value)) if isinstance(value, (list, tuple)) else value


@each_kind
@pytest.mark.parametrize("by_value", [False, True])
def test_an_object_that_occurs_twice_is_sent_once(make, by_value):
    """And is one object there, too."""
    calls = []
    entry = make()
    cls, real_dump, real_load = entry.functions()
    entry._functions = cls, lambda value: calls.append(value) or real_dump(value), real_load
    handle = Handle(1)

    a, [b], function = over_there((handle, [handle], (lambda: handle) if by_value else None), entry)

    assert a is b
    assert function is None or function() is a
    assert len(calls) == 1


@each_kind
def test_what_is_made_while_pickling_goes_by_it_too(make):
    """A `__reduce__` may make a new one each time that it is asked."""
    assert over_there([Maker(), Handle(1)], make()) == [[Handle("made")], Handle(1)]


def test_with_vec_one_call_takes_all():
    """One query, or one round trip to a device, for all of them."""
    calls = []

    def dump_counted(handles):
        calls.append(len(handles))
        return dump_all(handles)

    assert over_there([Handle(i) for i in range(5)], configuration(dump_counted, load_all, vec=True)) == [
        Handle(i) for i in range(5)
    ]
    assert calls == [5]


# Which serializer


def test_of_several_the_one_for_the_nearest_class_is_used():
    """A subclass may have one of its own; others go by that of their base."""

    class Other(Handle):
        pass

    for_special = configuration(lambda h: b"special", lambda data: data, names=[f"{__name__}.Special"], token="s")

    arrived = over_there([Handle(1), Special(2), Other(3)], configuration(), for_special)

    assert arrived == [Handle(1), b"special", Handle(3)]


def test_of_two_for_one_class_the_first_is_used():
    """A configuration goes before a plugin."""
    second = configuration(lambda h: b"second", bytes, token="2")

    assert over_there(Handle(1), configuration(lambda h: b"first", bytes, token="1"), second) == b"first"


def test_a_class_is_found_under_another_name():
    """Users know `polars.DataFrame`, which is defined elsewhere."""
    module = types.ModuleType("mirai_test_alias")
    module.Public = Handle
    entry = configuration(names=["mirai_test_alias.Public"])
    with pytest.raises(TypeError):
        over_there(Handle(1), entry)
    serializers = Serializers([entry])
    assert serializers.reduction() is None
    sys.modules[module.__name__] = module
    try:
        assert loads(*dumps(Handle(1), serializers=serializers)) == Handle(1)
    finally:
        del sys.modules[module.__name__]


def test_a_class_whose_module_is_being_imported_is_found_later():
    """Another thread may be in the middle of it, and no more modules may come."""
    module = types.ModuleType("mirai_test_slow")
    module.__spec__ = types.SimpleNamespace(_initializing=True)
    sys.modules[module.__name__] = module
    try:
        serializers = Serializers([configuration(names=["mirai_test_slow.Slow"])])
        assert serializers.reduction() is None
        module.Slow = Handle
        module.__spec__._initializing = False
        assert serializers.reduction() is not None
    finally:
        del sys.modules[module.__name__]


def test_a_class_that_goes_by_value_is_told_from_its_namesake():
    """Classes made in functions have one name, and may be many."""

    def make():
        class Local:
            def __init__(self):
                self.lock = threading.Lock()

        return Local

    first, second = make(), make()
    entry = configuration(
        lambda value: b"", lambda data: "first", names=[f"{__name__}.{first.__qualname__}"], by_value=True
    )
    entry._functions = (first, *entry._functions[1:])

    assert over_there(first(), entry) == "first"
    with pytest.raises(TypeError):
        over_there(second(), entry)


def test_no_library_no_question():
    """A message costs no more than without serializers, as long as their libraries are not loaded."""
    serializers = Serializers([plugin(names=["mirai_test_nowhere.Thing"])])

    assert serializers.reduction() is None
    assert dumps([1], serializers=serializers) == dumps([1])


@pytest.mark.parametrize("value", [None, True, 1, 1.5, "text", b"bytes"])
def test_plain_values_are_pickled_as_ever(value):
    """Most arguments and results are nothing else."""
    serializers = Serializers([configuration()])
    serializers.reduction = lambda: pytest.fail("it was asked")

    assert loads(*dumps(value, serializers=serializers)) == value
    assert loads(0, dumps_plain((value,), {})) == (value,)


# Buffers


@pytest.mark.parametrize("size", [10, OUT_OF_BAND + 1])
@pytest.mark.parametrize("vec", [False, True])
def test_load_is_given_what_dump_returned(size, vec):
    """Whether it travels beside the pickle must make no difference to who decodes it."""
    given = []

    def note(data):
        given.append(data)
        return Handle(len(data))

    for make in (lambda handle: bytes(size), lambda handle: memoryview(bytearray(size))):
        if vec:
            entry = configuration(lambda hs, make=make: list(map(make, hs)), lambda ds: list(map(note, ds)), vec=True)
        else:
            entry = configuration(make, note)
        assert over_there([Handle(1)], entry) == [Handle(size)]

    assert [type(data) for data in given] == [bytes, memoryview]


@pytest.mark.parametrize("vec", [False, True])
def test_large_ones_travel_beside_the_pickle(vec):
    """They are copied once, not three times."""
    handle = Handle(bytes(OUT_OF_BAND))
    entry = (
        configuration(lambda hs: [h.value for h in hs], lambda ds: [Handle(d) for d in ds], vec=True)
        if vec
        else configuration(lambda h: h.value, Handle)
    )

    count, body = dumps([handle, 1], serializers=Serializers([entry]))

    assert count == 1
    assert loads(count, bytearray(joined(body))) == [handle, 1]


def test_a_view_is_not_copied_on_arrival():
    """That is what a `memoryview` is for."""
    entry = configuration(dump_view, Handle)
    count, body = dumps(Handle(bytes(OUT_OF_BAND)), serializers=Serializers([entry]))
    frame = bytearray(joined(body))

    arrived = loads(count, frame)
    frame[-1] = 1

    assert arrived.value[-1] == 1


def test_a_view_of_any_layout_arrives():
    """Rows of another array, say."""
    view = memoryview(bytearray(range(200)))[::2]
    entry = configuration(lambda h: view, lambda data: Handle(bytes(data)))

    assert over_there(Handle(0), entry) == Handle(view.tobytes())


def test_a_plugin_may_return_parts():
    """Which may hold objects that have a serializer, and large buffers."""
    entry = plugin(
        lambda h: (h.value, pickle.PickleBuffer(bytes(OUT_OF_BAND))), lambda parts: Handle((parts[0], len(parts[1])))
    )

    assert over_there([Handle(1), Handle("x")], entry) == [Handle((1, OUT_OF_BAND)), Handle(("x", OUT_OF_BAND))]


@pytest.mark.parametrize("vec", [False, True])
def test_a_plugin_may_leave_an_object_to_pickle(vec):
    """It need not know what to do with each."""

    def left(handle):
        return NotImplemented if handle.value == "left" else dump(handle)

    entry = plugin((lambda hs: list(map(left, hs))) if vec else left, load_all if vec else load, vec=vec)

    assert over_there([Handle(1), Handle(2)], entry) == [Handle(1), Handle(2)]
    with pytest.raises(TypeError, match="cannot pickle"):
        over_there([Handle(1), Handle("left")], entry)


# What goes wrong


def broken(*_):
    raise ValueError("not this one")


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (lambda: configuration(broken), "raised ValueError: not this one"),
        (lambda: configuration(lambda h: "text"), "returned an object of type str: return bytes, or a memoryview"),
        (lambda: configuration(lambda h: None), "returned an object of type NoneType: return bytes, or a memoryview"),
        (
            lambda: configuration(lambda h: NotImplemented),
            "returned an object of type NotImplementedType: return bytes",
        ),
        (lambda: configuration(lambda h: (1,)), "returned an object of type tuple: return bytes"),
        (lambda: plugin(lambda h: [1]), "returned an object of type list: return bytes"),
        (lambda: configuration(broken, vec=True), "raised ValueError: not this one"),
        (
            lambda: configuration(lambda hs: b"", vec=True),
            "returned an object of type bytes for a list of 1: with vec, return a list",
        ),
        (
            lambda: configuration(lambda hs: [], vec=True),
            "returned a list of 0 for a list of 1: with vec, return a list",
        ),
        (
            lambda: configuration(lambda hs: ["text"], vec=True),
            "returned an object of type str: return bytes, or a memoryview",
        ),
    ],
)
@pytest.mark.parametrize("task", [len, lambda x: x], ids=["by name", "by value"])
def test_a_serializer_that_fails_is_an_error_at_the_call(entry, message, task):
    """It names the argument and the serializer."""
    with pytest.raises(SerializationError) as caught:
        dumps_call(task, (1, [Handle(1)]), {}, None, Serializers([entry()]))

    assert str(caught.value).startswith(
        f"argument 1 (of type list) cannot be serialized: the serializer for {NAME} {message}"
    )
    assert isinstance(caught.value.__cause__, HookError)


def test_what_a_serializer_raised_is_the_cause():
    """Its traceback is where its author will look."""
    with pytest.raises(HookError) as caught:
        dumps(Handle(1), serializers=Serializers([configuration(broken)]))

    assert isinstance(caught.value.__cause__, ValueError)


def test_an_error_on_arrival_says_whose_it_is():
    """Else it looks as if the task had raised it."""
    count, body = dumps(Handle(1), serializers=Serializers([entry := configuration(load=broken)]))

    with pytest.raises(ValueError, match="not this one") as caught:
        loads(count, body)

    assert caught.value.__notes__ == [f"raised by the ufunc of {entry!r}"]


@pytest.mark.parametrize("made", [lambda data: data[0], lambda data: []])
def test_with_vec_a_wrong_list_on_arrival_is_an_error(made):
    """Else objects would change places."""
    entry = configuration(dump_all, made, vec=True)
    count, body = dumps(Handle(1), serializers=Serializers([entry]))

    with pytest.raises(TypeError, match="with vec, return a list of as many"):
        loads(count, body)


def test_one_that_was_sent_by_another_profile_says_so():
    """Its functions are not known here."""
    entry = configuration(token="gone")
    count, body = dumps(Handle(1), serializers=Serializers([entry]))
    del entry

    with pytest.raises(LookupError, match="another profile"):
        loads(count, body)


# On their way to a daemon


@each_kind
def test_a_daemon_is_told_of_them(make):
    """By value where they must; the functions are loaded when an object needs them."""
    entry = make()
    encoded = pickle.loads(pickle.dumps(Serializers([entry]).encode()))
    there = Serializers.decode(encoded)
    assert there.entries[0]._functions is None

    assert over_there([Handle(1)], *there.entries) == [Handle(1)]


def test_functions_that_cannot_be_loaded_there_are_an_error_where_they_are_needed():
    """The daemon serves on: other tasks may need none of them."""
    names, vec, token, by_value, count, _ = configuration().encode()
    there = Serializers.decode([(names, vec, token, by_value, count, b"cmirai_test_nowhere\nfunction\n.")])

    assert over_there(1, *there.entries) == 1
    with pytest.raises(HookError, match=f"the serializer for {NAME} cannot be loaded here: ModuleNotFoundError"):
        over_there(Handle(1), *there.entries)


def test_threads_share_them():
    """Each message is its own."""
    serializers = Serializers([configuration(dump_all, load_all, vec=True)])
    wrong = []

    def work(i):
        for n in range(50):
            value = [Handle((i, n, k)) for k in range(n % 5)]
            if loads(*dumps(value, serializers=serializers)) != value:
                wrong.append(value)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert wrong == []
