"""Every value is what its key wants, or an error that says where, which and what instead."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import pytest

from mirai import plugins
from mirai.config.error import ConfigError
from mirai.config.profiles import read_profiles
from mirai.config.schema import DaemonOptions, Launch, Profile


@dataclass(frozen=True)
class Queue:
    """A launcher with options of many types."""

    name: ClassVar[str] = "queue"

    place: str
    options: str = ""
    args: Sequence[str] | Sequence[Sequence[str]] = ()
    headers: Mapping[str, str] | None = None
    limit: float = 1.0
    token: str | None = field(default=None, repr=False)
    extra: Any = None

    def __post_init__(self):
        if " " in self.place:
            raise ValueError(f"place={self.place!r}: a name has no spaces")

    def launch(self, commands):
        return []


@pytest.fixture(autouse=True)
def queue(monkeypatch):
    monkeypatch.setattr(plugins, "launchers", lambda: {"queue": Queue})


@pytest.fixture
def read(tmp_path, monkeypatch):
    """Reads a profile, the last part of the file, and returns it. There is a certificate with its key."""
    monkeypatch.chdir(tmp_path)
    for name in ("cert.pem", "key.pem"):
        (tmp_path / name).touch()

    def read(text: str) -> Profile:
        return read_file("profiles:\n  hpc:\n    " + text.replace("\n", "\n    "))["hpc"]

    def read_file(text: str) -> dict[str, Profile]:
        file = tmp_path / "mirai.yaml"
        file.write_text(text)
        return read_profiles(file)

    read.file = read_file
    return read


def test_a_profile_is_read(read):
    """The example of the documentation."""
    profile = read(
        """\
url: tls+tcp://:0
launcher: {kind: queue, n: 8, place: here, options: "#Q --mem=8G"}
daemon: {idletime: 600, maxtasks: 1000, autoexit: task}
serial: [arrow, torch]
memory: 2GB
retry: 2"""
    )

    assert profile == Profile(
        url="tls+tcp://:0",
        launcher=Launch(Queue("here", "#Q --mem=8G"), n=8),
        daemon=DaemonOptions(idletime=600.0, maxtasks=1000, autoexit="task"),
        serial=("arrow", "torch"),
        memory="2GB",
        retry=2,
    )


@pytest.mark.parametrize(
    ("text", "key", "value"),
    [
        ("memory: 1000", "memory", 1000),
        ("url: [tcp://:1, tcp://:2]", "url", ("tcp://:1", "tcp://:2")),
        ("password: 2024-01-01", "password", "2024-01-01"),
        ("tls: [cert.pem, key.pem]", "tls", ("cert.pem", "key.pem")),
        ("tls: '-----BEGIN CERTIFICATE-----'", "tls", "-----BEGIN CERTIFICATE-----"),
        ("seed:", "seed", None),
        ("daemon:\n  # idletime: 3", "daemon", None),
        ("daemon: {walltime: 1e3}", "daemon", DaemonOptions(walltime=1000.0)),
        ("daemon: {walltime: .inf}", "daemon", DaemonOptions(walltime=float("inf"))),
        ("daemon: {autoexit: 15}", "daemon", DaemonOptions(autoexit=15)),
        ("daemon: {autoexit: off, cleanup: 0}", "daemon", DaemonOptions(autoexit=False, cleanup=0)),
    ],
)
def test_a_value_may_be_of_any_type_that_its_key_wants(read, text, key, value):
    """Whatever way YAML has to write it."""
    assert getattr(read(f"n: 1\n{text}"), key) == value


@pytest.mark.parametrize(
    ("text", "place", "problem"),
    [
        # Keys
        ("n: 4\nretires: 2", (4, 5), "hpc has no key 'retires': did you mean 'retry'?"),
        ("n: 4\nidletime: 2", (4, 5), "hpc has no key 'idletime': it belongs under 'daemon'"),
        ("n: 4\nxyzzy: 2", (4, 5), "hpc has no key 'xyzzy': choose from n, url, "),
        ("n: 4\ndaemon: {idle_time: 2}", (4, 14), "daemon has no key 'idle_time': did you mean 'idletime'?"),
        ("n: 4\nretry: 1\nn: 5", (5, 5), "n stands there twice, first in line 3: keep one"),
        ("? [n]\n: 4", (3, 7), "a key of profiles.hpc is no text: give a name"),
        # Types
        ("n: two", (3, 8), "n is 'two' (a text): give a whole number of at least 1 or keys with values"),
        ("n: yes", (3, 8), "n is yes (true or false): give a whole number"),
        ("n: 1.5", (3, 8), "n is 1.5 (a number): give a whole number"),
        ('n: "4"', (3, 8), "n is '4' (a text): give a whole number"),
        ("n: [4]", (3, 8), "n is a list: give a whole number"),
        ("n: !!int x", (3, 8), "n is 'x', not a whole number: correct it"),
        ("n: !cores 2", (3, 8), "n is 2 (!cores): give a whole number"),
        ("url: 5555", (3, 10), "url is 5555 (a whole number): put it into quotation marks"),
        ("n: 1\nserial: arrow", (4, 13), "serial is 'arrow' (a text): give a list, such as [arrow, torch]"),
        ("n: 1\nserial: [arrow, 1]", (4, 21), "serial[1] is 1 (a whole number): put it into quotation"),
        ("n: 1\ntls: [a, b, c]", (4, 10), "tls is a list of 3: give a list of 2"),
        ("n: 1\ndaemon: 3", (4, 13), "daemon is 3 (a whole number): give keys with values"),
        ("n: 1\ndaemon: {autoexit: tusk}", (4, 24), "autoexit is 'tusk' (a text): give true or false or"),
        # Bounds
        ("n: 0", (3, 8), "n is 0 (a whole number): give a whole number of at least 1"),
        ("n: 1\nretry: -1", (4, 12), "retry is -1 (a whole number): give a whole number of at least 0"),
        ("n: 1\nmemory: lots", (4, 13), "memory is 'lots' (a text): give a whole number of at least 1 or"),
        ("n: 1\ndaemon: {cleanup: 16}", (4, 23), "of at least 0 and at most 15"),
        ("n: 1\ndaemon: {idletime: 0}", (4, 24), "give a number above 0 (seconds"),
        # What daemons() would find only when it is set
        ("url: here", (3, 10), "hpc.url: 'here' is not an address: it must begin with one of ipc://"),
        ("url: [tcp://:1, 'tcp://a']", (3, 21), "hpc.url[1]: 'tcp://a' has no port"),
        ("url: tcp://:${WORDS}", (3, 10), "hpc.url: 'tcp://:some words' has no port"),
        ("n: 1\nserial: [arrow, trch]", (4, 21), "serial[1]: no serializer 'trch' (there are: "),
        ("n: 1\nserial: [trch]", (4, 14), "): did you mean 'torch'?"),
        ("n: 1\nserial: [xyzzy]", (4, 14), "pip install 'mirai-core[serial]'"),
        ("n: 1\ntls: none.pem", (4, 10), "hpc.tls: there is no file 'none.pem' in "),
        ("n: 1\ntls: [cert.pem, /none/key.pem]", (4, 21), "hpc.tls[1]: there is no file '/none/key.pem': correct"),
        # Together
        ("seed: 1", (3, 5), "hpc: no daemons: add n"),
        # Variables
        ("n: 1\nurl: tcp://${NOWHERE}", (4, 10), "url: $NOWHERE is not set: set it, or write ${NOWHERE:-"),
        ("n: ${WORDS}", (3, 8), "n is 'some words' (a text): give a whole number"),
        # The launcher
        ("launcher: {n: 2}", (3, 15), "launcher has no 'kind': add the name of a launcher"),
        ("launcher: {kind: qeue}", (3, 22), "no launcher 'qeue' (there are: queue): did you mean 'queue'?"),
        ("launcher: {kind: pigeon}", (3, 22), "pip install 'mirai-core[launchers]'"),
        ("launcher: {kind: queue}", (3, 15), "launcher has no 'place': add it"),
        ("launcher: {kind: queue, n: 0, place: a}", (3, 32), "launcher.n is 0 (a whole number): give"),
        ("launcher: {kind: queue, plaice: a}", (3, 29), "has no key 'plaice': did you mean 'place'?"),
        ("launcher: {kind: queue, place: a b}", (3, 15), "launcher: place='a b': a name has no spaces"),
        ("launcher: {kind: queue, place: a, args: [b, 1]}", (3, 49), "launcher.args[1] is 1"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_an_error_with_its_place_and_a_way_out(read, monkeypatch, text, place, problem):
    """Line, column, key, and what to write instead."""
    monkeypatch.setenv("WORDS", "some words")

    with pytest.raises(ConfigError) as caught:
        read(text)

    assert (caught.value.line, caught.value.column) == place
    assert problem in caught.value.problem
    assert "profiles.hpc" in caught.value.problem


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("- n: 4", "the file is a list: give keys with values"),
        ("4", "the file is 4 (a whole number): give keys with values"),
        ("default: {n: 4}", "the file has no key 'default': choose from profiles"),
        ("profiles:", "profiles is empty: give keys with values"),
        ("profiles: {}", "no profile: write one"),
        ("profiles: {default: }", "profiles.default is empty: give keys with values"),
        ("{}", "the file has no 'profiles': add it"),
        ("profiles: {a: {n: 1}, a: {n: 2}}", "profiles.a stands there twice"),
        ("# nothing yet", "it is empty: write profiles, such as"),
    ],
)
def test_another_kind_of_file_is_an_error(read, text, problem):
    """Most often it is the wrong file."""
    with pytest.raises(ConfigError) as caught:
        read.file(text)

    assert problem in caught.value.problem


def test_a_variable_is_what_its_key_wants(read, monkeypatch):
    """The environment has no quotation marks; and a flow mapping needs them, as ${…} has braces."""
    monkeypatch.setenv("N", "3")

    profile = read('n: ${N}\nseed: "${N}"\npassword: ${N}\nurl: tcp://:${N}\nmemory: ${NO:-}\nretry: "${NO:-2}"')

    assert profile == Profile(n=3, seed=3, password="3", url="tcp://:3", memory=None, retry=2)


def test_a_variable_cannot_bring_structure(read, monkeypatch):
    """What is in the environment is data."""
    monkeypatch.setenv("X", "[a, b]\nn: 7")

    assert read("n: 1\npassword: ${X}").password == "[a, b]\nn: 7"


def test_options_of_a_launcher_may_be_of_any_type(read):
    """A plugin's dataclass says of which; what it does not say comes as YAML has it."""
    profile = read(
        """\
launcher:
  kind: queue
  place: here
  args: [[a, b], [c]]
  headers: {X-Key: v}
  limit: 3
  extra: {deep: [1, yes, ~, {x: 2.5}], when: 2024-01-01}"""
    )

    assert profile.launcher.launcher == Queue(
        "here",
        args=[["a", "b"], ["c"]],
        headers={"X-Key": "v"},
        limit=3.0,
        extra={"deep": [1, True, None, {"x": 2.5}], "when": "2024-01-01"},
    )


@pytest.mark.parametrize("text", ["n: 1\npassword: 31415", "launcher: {kind: queue, place: a, token: 31415}"])
def test_an_error_does_not_tell_a_secret(read, text):
    """It ends in a log."""
    with pytest.raises(ConfigError, match="a whole number") as caught:
        read(text)

    assert "31415" not in str(caught.value)


def test_a_value_within_itself_is_an_error(read):
    """YAML's anchors can make one."""
    with pytest.raises(ConfigError, match="nested too deeply"):
        read("launcher:\n  kind: queue\n  place: a\n  extra: &x [*x]")
