"""Public functions take what they promise, by name, position and default: programs are written against that."""

from __future__ import annotations

import inspect
from concurrent.futures import CancelledError
from math import inf

import pytest

import mirai
from mirai.api.daemons import UNSET

REST = "…"  # of keyword arguments, whatever their names
KEYWORD = inspect.Parameter.KEYWORD_ONLY

# The first ones by position too, those behind "*" by name only.
SIGNATURES = {
    "call_mirai": "m",
    "collect_mirai": "m * flat=False progress=False stop=False",
    "daemon": (
        "url * dispatcher=True asyncdial=False autoexit=True cleanup=True output=False idletime=inf walltime=inf "
        "maxtasks=inf timerstart=0 tlscert=None"
    ),
    "daemons": (
        "n=UNSET * url=None remote=None dispatcher=True sync=False seed=None serial=None tls=None password=None "
        f"memory=None retry=0 compute=None {REST}"
    ),
    "daemons_set": "compute=None",
    "everywhere": f"task * _min=1 _compute=None _globals=None {REST}",
    "host_url": "* tls=False port=0",
    "info": "compute=None",
    "launch_local": f"n=1 * compute=None {REST}",
    "launch_remote": f"n=1 * remote=None compute=None {REST}",
    "launcher": f"kind {REST}",
    "local_daemons": "compute",
    "local_url": "* tcp=False port=0",
    "make_cluster": f"n=None * url=None remote=None {REST}",
    "mirai": f"task * _timeout=None _compute=None _globals=None _retry=None {REST}",
    "mirai_map": f"xs fn * _compute=None _timeout=None _globals=None _promise=None _retry=None {REST}",
    "nextstream": "compute=None",
    "on_daemon": "",
    "profiles": "path=None",
    "race_mirai": "ms",
    "read_profiles": "path=None",
    "require_daemons": "compute=None",
    "saisei": "i * force=False compute=None",
    "serial_config": "cls sfunc ufunc vec=False",
    "status": "compute=None",
    "stop_cluster": "cl",
    "stop_mirai": "m",
    "try_mirai": f"task * {REST}",
    "unresolved": "m",
    "with_daemons": "compute",
}
MEMBERS = {
    mirai.Mirai: "add_done_callback cancel cancelled data done exception id result running stack",
    mirai.MiraiMap: "as_completed cancel collect keys report timeline",
    mirai.MiraiExecutor: "map shutdown submit",
    mirai.MiraiError: "condition_class message original stack_trace",
    mirai.Status: "connections daemons launches memory mirai to_dict url",
    mirai.Info: "awaiting completed connections cumulative executing",
}
DEFAULTS = {"False": False, "None": None, "True": True, "UNSET": UNSET, "inf": inf, "0": 0, "1": 1}


def promised(text):
    """Of each parameter its name, whether it is given by name only, and its default."""
    by_name = False
    for word in text.split():
        if word == "*":
            by_name = True
        elif word == REST:
            yield word, True, None
        else:
            name, given, default = word.partition("=")
            yield name, by_name, DEFAULTS[default] if given else inspect.Parameter.empty


@pytest.mark.parametrize("name", SIGNATURES)
def test_a_function_takes_what_it_promises(name):
    """More, by name, may come; nothing may go."""
    parameters = inspect.signature(getattr(mirai, name)).parameters
    positional = [p for p in parameters.values() if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]

    for place, (parameter, by_name, default) in enumerate(promised(SIGNATURES[name])):
        if parameter == REST:
            assert any(p.kind is p.VAR_KEYWORD for p in parameters.values())
        elif by_name:
            assert (parameters[parameter].kind, parameters[parameter].default) == (KEYWORD, default)
        else:
            assert positional[place].default == default
    assert len(positional) == sum(not by_name for _, by_name, _ in promised(SIGNATURES[name]))


@pytest.mark.parametrize("cls", MEMBERS, ids=lambda cls: cls.__name__)
def test_a_class_has_the_members_that_it_promises(cls):
    """Attributes of instances are among its annotations, or documented."""
    known = {*dir(cls), *getattr(cls, "__annotations__", ()), *inspect.signature(cls).parameters}

    assert [name for name in MEMBERS[cls].split() if name not in known and f"{name}:" not in (cls.__doc__ or "")] == []


@pytest.mark.parametrize(
    ("name", "code", "also"),
    [
        ("TimedOut", 5, TimeoutError),
        ("Closed", 7, mirai.ErrorValue),
        ("ConnectionReset", 19, ConnectionResetError),
        ("Canceled", 20, CancelledError),
    ],
)
def test_errors_are_what_they_are_caught_as(name, code, also):
    """By who knows Python's own errors, and by who knows R's codes."""
    error = getattr(mirai, name)()

    assert (error.code, isinstance(error, also), isinstance(error, mirai.ErrorValue)) == (code, True, True)
