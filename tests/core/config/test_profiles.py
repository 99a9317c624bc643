"""read_profiles() and profiles()."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

import mirai
from mirai.config import profiles as module
from mirai.config.error import ConfigError
from mirai.config.profiles import profiles, read_profiles

CONFIGS = sorted((Path(__file__).parents[3] / "configs").glob("*.yaml"))


@pytest.fixture
def file(tmp_path):
    file = tmp_path / "mirai.yaml"
    file.write_text("profiles: {a: {n: 1}, b: {n: 2, retry: 1}, c: {sync: true}}")
    return file


@pytest.fixture
def calls(monkeypatch):
    """The calls of `daemons()`, in place of daemons; `c` fails."""
    calls = []

    def daemons(n=None, *, compute, **options):
        calls.append((compute, n, options))
        if compute == "c":
            raise RuntimeError("no daemon would start")

    monkeypatch.setattr(module, "daemons", daemons)
    return calls


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.name)
def test_the_files_that_come_with_us_can_be_read(config):
    """Users begin with a copy of one."""
    assert read_profiles(config)


def test_profiles_are_set_and_reset():
    """For real: the file that users begin with."""
    (local,) = (config for config in CONFIGS if config.name == "local.yaml")

    with profiles(local) as read:
        assert {name: mirai.status(name).connections for name in read} == {"default": 2, "tidy": 1}
        assert mirai.mirai(pow, 2, 10, _compute="tidy").result() == 1024

    assert not any(mirai.daemons_set(name) for name in read)


@pytest.mark.parametrize("text", ["n: {min: 1, max: 20}", "launcher: {kind: remote_config, n: {min: 1, max: 20}}"])
def test_daemons_may_come_with_work_and_leave_without(file, calls, text):
    """As `daemons()` has it."""
    file.write_text(f"profiles: {{a: {{{text}, url: 'tcp://:0', daemon: {{idletime: 60}}}}}}")

    with profiles(file):
        pass

    (name, n, options), *_ = calls
    assert (n, options["idletime"]) == ({"min": 1, "max": 20}, 60)


@pytest.mark.parametrize(
    ("n", "said"),
    [
        ("{min: 1}", "n has no 'max': add it"),
        ("{min: -1, max: 2}", "n.min is -1"),
        ("{max: 2, most: 1}", "no key 'most'"),
        ("many", "n is 'many'"),
    ],
)
def test_a_range_is_checked(file, n, said):
    """With its place."""
    file.write_text(f"profiles: {{a: {{n: {n}}}}}")

    with pytest.raises(ConfigError, match=said):
        read_profiles(file)


def test_where_one_fails_none_stays_set(file, calls):
    """Half of a program's profiles are of no use, and would have to be found and reset by hand."""
    with pytest.raises(RuntimeError, match="no daemon would start") as caught, profiles(file):
        pytest.fail("it is not set")  # pragma: no cover

    assert calls[3:] == [("b", 0, {}), ("a", 0, {})]
    assert caught.value.__notes__ == [f"profile 'c' of {file}"]


def test_nothing_is_set_from_a_file_that_is_wrong(file, calls):
    """All of it is read first."""
    file.write_text("profiles: {a: {n: 1}, b: {m: 2}}")

    with pytest.raises(ConfigError, match="no key 'm'"), profiles(file):
        pytest.fail("it is not set")  # pragma: no cover

    assert calls == []


def test_profiles_can_be_pickled(file):
    """What is plain data may be sent about."""
    read = read_profiles(file)

    assert pickle.loads(pickle.dumps(read)) == read
