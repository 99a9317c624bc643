"""`mirai show`: what is in force and what would be submitted, word for word."""

from __future__ import annotations

import json
import sys
from textwrap import dedent

import pytest

from mirai import launch


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A working directory with a file of profiles."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MIRAI_CONFIG", raising=False)

    def place(text: str, name: str = "mirai.yaml") -> None:
        (tmp_path / name).write_text(dedent(text))

    return place


def test_a_launched_profile_is_shown_with_its_commands(place, capsys):
    """What would be run, so that it can be tried by hand; nothing is."""
    place("""\
        profiles:
          box:
            url: tcp://192.0.2.7:5555
            launcher: {kind: remote_config, n: 2, command: docker, args: [exec, box, .]}
            daemon: {idletime: 60, threads: 2}
            password: geheim
        """)

    assert launch.main(["show"]) == 0
    assert capsys.readouterr().out == dedent("""\
        profile 'box' of mirai.yaml
          url               tcp://192.0.2.7:5555
          launcher.kind     remote_config
          launcher.n        2
          launcher.command  docker
          launcher.args     [exec, box, .]
          daemon.idletime   60
          daemon.threads    2
          password          (hidden)

          Daemons to launch by remote_config: 2. Each has a ticket of its own, which is not shown.

        docker exec box python3 -m mirai.launch daemon tcp://192.0.2.7:5555 --idletime 60.0
        docker exec box python3 -m mirai.launch daemon tcp://192.0.2.7:5555 --idletime 60.0
        """)


@pytest.mark.parametrize(
    ("profile", "plan"),
    [
        (
            "n: 3",
            f"  Daemons that the host starts on this machine: 3.\n\n{sys.executable} -m mirai.launch daemon ipc://",
        ),
        ("sync: true", "  Tasks run in the host itself."),
        ("url: tcp://127.0.0.1:0", "  Daemons dial in: launch_remote() in the host returns commands"),
    ],
)
def test_every_kind_of_profile_says_where_its_daemons_come_from(place, capsys, profile, plan):
    """Also where nothing would be launched."""
    place(f"profiles: {{a: {{{profile}}}}}")

    assert launch.main(["show", "-p", "a"]) == 0
    assert plan in capsys.readouterr().out


def test_where_a_value_came_from_is_said_on_request(place, capsys, monkeypatch):
    """Of a site's file, one's own and the environment, the one to change."""
    place("profiles: {a: {n: 1, retry: 1, seed: 1}}", "site.yaml")
    place("profiles:\n  a:\n    retry: 2", "mine.yaml")
    monkeypatch.setenv("MIRAI__PROFILES__A__SEED", "3")

    assert launch.main(["show", "--explain", "-c", "site.yaml", "-c", "mine.yaml"]) == 0
    assert capsys.readouterr().out.splitlines()[:4] == [
        "profile 'a' of site.yaml, mine.yaml",
        "  n      1  # site.yaml:1",
        "  retry  2  # mine.yaml:3",
        "  seed   3  # $MIRAI__PROFILES__A__SEED",
    ]


def test_the_schema_is_printed(capsys):
    """For an editor; no file of profiles is needed for that."""
    assert launch.main(["show", "--schema"]) == 0
    assert "profiles" in json.loads(capsys.readouterr().out)["properties"]


@pytest.mark.parametrize("command", ["show", "check"])
@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["-p", "tow"], "there is no profile 'tow': choose from two"),
        (["-c", "nowhere.yaml"], "nowhere.yaml: there is no such file"),
        (["-c", "broken.yaml"], "broken.yaml:1:15: profiles.a"),
    ],
)
def test_what_is_wrong_is_one_line(place, capsys, command, words, problem):
    """Not a traceback."""
    place("profiles: {two: {n: 2}}")
    place("profiles: {a: 3}", "broken.yaml")

    assert launch.main([command, *words]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith(f"mirai {command}: ")
    assert problem in printed.err
