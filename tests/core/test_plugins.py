"""Plugins are found by entry point, imported late, and fail alone."""

from __future__ import annotations

import functools
import sys
from textwrap import dedent

import pytest

from mirai import hookspecs, plugins
from mirai.plugins import Found

LAUNCHERS = """
    from mirai.plugins import hookimpl, Launcher

    class Here(Launcher):
        name = "here"

        def __init__(self, room="any"):
            self.room = room

        def launch(self, commands):
            return []

    @hookimpl
    def mirai_launchers():
        return {"here": Here}
"""

SERIALIZERS = """
    from mirai.plugins import hookimpl

    @hookimpl
    def mirai_serializers():
        return {"ice": "a serializer of ice"}
"""


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Installs a plugin, given its name and source, beside those that are there anyway."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(plugins, "_provided", functools.cache(plugins._provided.__wrapped__))

    def install(name: str, source: str) -> None:
        (tmp_path / f"{name}_plugin.py").write_text(dedent(source))
        metadata = tmp_path / f"{name}-1.2.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\n")
        (metadata / "entry_points.txt").write_text(f"[mirai]\nthe-{name} = {name}_plugin\n")

    yield install
    for module in [name for name in sys.modules if name.endswith("_plugin")]:
        del sys.modules[module]


def test_what_a_plugin_provides_is_found(install):
    """One line of entry point adds a scheduler."""
    install("rooms", LAUNCHERS)
    install("cold", SERIALIZERS)

    assert plugins.launchers()["here"].name == "here"
    assert plugins.serializers()["ice"] == "a serializer of ice"
    assert Found("launcher", "here", "rooms", "1.2") in plugins.found()
    assert Found("serializer", "ice", "cold", "1.2") in plugins.found()


def test_a_launcher_is_made_by_its_name(install):
    """A third party's is made as ours are."""
    install("rooms", LAUNCHERS)

    assert plugins.launcher("here", room="big").room == "big"


def test_an_unknown_launcher_is_an_error_that_tells_what_there_is(install):
    """Most often it is a slip, or the plugin is not installed."""
    install("rooms", LAUNCHERS)

    with pytest.raises(ValueError, match=r"no launcher 'heer' \(there are: .*\bhere\b.*pip install"):
        plugins.launcher("heer")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"rom": "big"}, r"'here' has no option 'rom' \(there are: size, room\): did you mean 'room'\?"),
        ({"x": 1}, r"'here' has no option 'x' \(there are: size, room\): choose"),
        ({"room": "big"}, r"'here' needs size: add size="),
    ],
)
def test_wrong_options_of_a_launcher_are_an_error_that_tells_the_right_ones(install, options, said):
    """Whichever plugin it is of; that of Python names neither."""
    install("rooms", LAUNCHERS.replace('self, room="any"', 'self, size, room="any"'))

    with pytest.raises(TypeError, match=said):
        plugins.launcher("here", **options)


def test_a_launcher_may_take_any_option(install):
    """What it makes of them is its own."""
    install("rooms", LAUNCHERS.replace('self, room="any"', 'self, room="any", **others'))

    assert plugins.launcher("here", colour="red").room == "any"


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("import nonesuch", "ModuleNotFoundError: No module named 'nonesuch'"),
        ("def f(:", "SyntaxError"),
        (LAUNCHERS.replace("def mirai_launchers", "def mirai_lunches"), "mirai_lunches"),
        (LAUNCHERS.replace("return {", "return 1 / 0, {"), "ZeroDivisionError: division by zero"),
        (LAUNCHERS.replace('return {"here": Here}', "return [Here]"), "AttributeError"),
    ],
    ids=["import", "syntax", "misspelt hook", "hook", "not by name"],
)
def test_a_plugin_that_fails_is_reported_and_the_rest_work(install, source, reason):
    """A plugin must not take mirai with it."""
    install("broken", source)
    install("rooms", LAUNCHERS)

    with pytest.warns(RuntimeWarning, match=r"'the-broken' of broken 1.2 is left out") as warned:
        found = plugins.found()

    (failed,) = [row for row in found if row.distribution == "broken"]
    assert (failed.kind, failed.name) == ("plugin", "the-broken")
    assert reason in failed.error
    assert reason in str(warned[0].message)
    assert warned[0].filename == __file__  # where it was asked for, not where in mirai
    assert "here" in plugins.launchers()


def test_one_name_is_given_once(install):
    """Which of two is used must not depend on the order of a folder."""
    install("rooms", LAUNCHERS)
    install("alike", LAUNCHERS)

    with pytest.warns(RuntimeWarning, match="'here' of rooms 1.2 is left out: alike provides one of that name"):
        made = plugins.launcher("here")

    assert type(made).__module__ == "alike_plugin"


def test_the_hook_specifications_are_here():
    """What authors import must be what registers."""
    for name in ("LaunchCommand", "Launch", "Launcher", "Serializer", "hookimpl", "mirai_launchers"):
        assert getattr(plugins, name) is getattr(hookspecs, name)
