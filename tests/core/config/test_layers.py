"""Files on top of files, profiles on top of profiles, variables on top of all."""

from __future__ import annotations

from pathlib import Path

import pytest

from mirai.config.error import ConfigError
from mirai.config.layers import read_layers
from mirai.config.profiles import read_profiles
from mirai.config.schema import DaemonOptions, Profile


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Writes files in the working directory, by their name without `.yaml`."""
    monkeypatch.chdir(tmp_path)

    def write(**texts: str) -> None:
        for name, text in texts.items():
            (tmp_path / f"{name}.yaml").write_text(text)

    return write


def test_a_later_file_wins_key_by_key(write):
    """A site's file, and what one user changes of it."""
    write(
        site="profiles: {hpc: {n: 8, retry: 2, daemon: {idletime: 600, maxtasks: 9}}, other: {n: 1}}",
        mine="profiles: {hpc: {n: 2, daemon: {idletime: 60}}, third: {n: 3}}",
    )

    assert read_profiles(["site.yaml", "mine.yaml"]) == {
        "hpc": Profile(n=2, retry=2, daemon=DaemonOptions(idletime=60.0, maxtasks=9)),
        "other": Profile(n=1),
        "third": Profile(n=3),
    }


def test_a_variable_may_name_several_files(write, monkeypatch):
    """As $PATH does."""
    write(site="profiles: {a: {n: 8}}", mine="profiles: {a: {n: 2}}")
    monkeypatch.setenv("MIRAI_CONFIG", "site.yaml:mine.yaml")

    assert read_profiles() == {"a": Profile(n=2)}


def test_a_file_extends_others(write, tmp_path):
    """Found beside it, wherever the program runs."""
    (tmp_path / "deep").mkdir()
    write(site="profiles: {a: {n: 8, retry: 2}}", team="extends: site.yaml\nprofiles: {a: {retry: 3}, b: {n: 1}}")
    (tmp_path / "deep" / "mine.yaml").write_text("extends: [../team.yaml]\nprofiles: {a: {seed: 1}}")

    assert read_profiles("deep/mine.yaml") == {"a": Profile(n=8, retry=3, seed=1), "b": Profile(n=1)}


def test_a_profile_extends_others(write):
    """Those named later go on top of those named first."""
    write(
        mirai="""
profiles:
  large: {extends: [small, sure], n: 64}
  small: {n: 2, memory: 1GB, daemon: {threads: 1, idletime: 5}}
  sure: {n: 1, retry: 3, daemon: {idletime: 60}}
"""
    )

    read = read_profiles("mirai.yaml")

    assert read["large"] == Profile(n=64, memory="1GB", retry=3, daemon=DaemonOptions(threads=1, idletime=60.0))
    assert list(read) == ["large", "small", "sure"]


def test_what_is_emptied_is_as_if_it_were_not_there(write):
    """So a key of a file below can be taken back."""
    write(site="profiles: {a: {n: 8, retry: 2}}", mine="profiles: {a: {retry: }}")

    assert read_profiles(["site.yaml", "mine.yaml"]) == {"a": Profile(n=8)}


def test_another_launcher_takes_nothing_from_the_one_below(write):
    """The options of one kind are unknown to another."""
    write(
        site="profiles: {a: {url: 'tcp://:0', launcher: {kind: slurm, options: '#SBATCH -p x'}}}",
        mine="profiles: {a: {launcher: {kind: ssh, remotes: [ssh://b]}}}",
        more="profiles: {a: {launcher: {kind: ssh, n: 3}}}",
    )
    files = [path.resolve() for path in map(Path, ["site.yaml", "mine.yaml", "more.yaml"])]

    launcher = as_plain(read_layers(files, {}))["profiles"]["a"]["launcher"]

    assert launcher == {"kind": "ssh", "remotes": ["ssh://b"], "n": "3"}


def test_variables_go_before_files(write):
    """For one run, or one machine; a name is spelled as the file has it."""
    write(mirai="profiles: {myHPC: {n: 8, daemon: {idletime: 5}}}")
    environment = {
        "MIRAI__PROFILES__MYHPC__N": "2",
        "MIRAI__PROFILES__MYHPC__DAEMON__IDLETIME": "60",
        "MIRAI__PROFILES__MYHPC__SERIAL": "[arrow, torch]",
        "MIRAI__PROFILES__NEW__N": "1",
        "MIRAI_LAUNCH": "another one",
    }

    read = as_plain(read_layers([Path("mirai.yaml")], environment))

    assert read == {
        "profiles": {
            "myHPC": {"n": "2", "daemon": {"idletime": "60"}, "serial": ["arrow", "torch"]},
            "new": {"n": "1"},
        }
    }


def test_variables_alone_will_do(write, monkeypatch):
    """In a container there may be no file at all."""
    monkeypatch.delenv("MIRAI_CONFIG", raising=False)
    monkeypatch.setenv("HOME", "/nowhere")
    monkeypatch.setenv("MIRAI__PROFILES__DEFAULT__N", "2")

    assert read_profiles() == {"default": Profile(n=2)}


@pytest.mark.parametrize(
    ("files", "place", "problem"),
    [
        ({"a": "extends: b.yaml\nprofiles: {}"}, "a.yaml:1:10", "extends: there is no file 'b.yaml' in .*: correct"),
        ({"a": "extends: [b.yaml]", "b": "extends: a.yaml"}, "b.yaml:1:10", "a.yaml extends this file in turn"),
        ({"a": "extends: {b: c}"}, "a.yaml:1:10", "give the name of a file, or a list of names"),
        ({"a": "profiles: {x: {extends: y}}"}, "a.yaml:1:25", "no profile 'y': choose from x"),
        ({"a": "profiles: {x: {extends: lrge}, large: {n: 1}}"}, "a.yaml:1:25", "did you mean 'large'?"),
        (
            {"a": "profiles: {x: {extends: y}, y: {extends: x}}"},
            "a.yaml:1:42",
            "x extends y extends x: remove one of them",
        ),
        ({"a": "extends: b.yaml", "b": "profiles: {x: {rtry: 1}}"}, "b.yaml:1:16", "no key 'rtry': did you mean"),
        (
            {"a": "extends: b.yaml\nprofiles: {x: {n: 1, n: 2}}", "b": "profiles: {x: {n: 3}}"},
            "a.yaml:2:22",
            "n stands there twice",
        ),
    ],
)
def test_what_is_wrong_is_said_with_its_own_file(write, files, place, problem):
    """Of several files, the one to open."""
    write(**files)

    with pytest.raises(ConfigError, match=problem) as caught:
        read_profiles("a.yaml")

    assert str(caught.value).startswith(f"{place}: ")


@pytest.mark.parametrize(
    ("variable", "value", "problem"),
    [
        ("MIRAI__PROFILES__A__RETRY", "two", r"^\$MIRAI__PROFILES__A__RETRY: profiles.a.retry is 'two' \(a text\)"),
        ("MIRAI__PROFILES__A__RTRY", "2", r"^\$MIRAI__PROFILES__A__RTRY: profiles.a has no key 'rtry': did you mean"),
        ("MIRAI__PROFILES__A__RETRY", "[", r"^\$MIRAI__PROFILES__A__RETRY: this is not YAML"),
        ("MIRAI__PROFILES____N", "2", r"^\$MIRAI__PROFILES____N: an empty name"),
        ("MIRAI__PROFLES", "2", r"has no key 'profles': did you mean 'profiles'"),
    ],
)
def test_a_wrong_variable_is_named(write, monkeypatch, variable, value, problem):
    """It stands in no file that could be opened."""
    write(mirai="profiles: {a: {n: 8}}")
    monkeypatch.setenv(variable, value)

    with pytest.raises(ConfigError, match=problem):
        read_profiles("mirai.yaml")


def as_plain(node):
    """A tree of nodes as dicts, lists and texts."""
    if isinstance(node.value, str):
        return node.value
    if node.value and isinstance(node.value[0], tuple):
        return {key.value: as_plain(value) for key, value in node.value}
    return [as_plain(child) for child in node.value]
