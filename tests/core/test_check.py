"""`mirai check`: real daemons, step by step, until one fails."""

from __future__ import annotations

import json
import sys

import pytest

from mirai import daemons_set, launch

PYTHON = f"python: {sys.executable}"


@pytest.fixture
def check(tmp_path, monkeypatch, capsys):
    """Checks a profile: the exit status, and the steps."""
    monkeypatch.chdir(tmp_path)

    def check(profile: str) -> tuple[int, list[dict]]:
        (tmp_path / "mirai.yaml").write_text(f"profiles: {{a: {{{profile}}}}}")
        status = launch.main(["check", "--json", "--timeout", "20"])
        return status, json.loads(capsys.readouterr().out)

    return check


@pytest.mark.parametrize(
    ("profile", "steps"),
    [
        ("n: 2", ["daemon started", "task done", "reset"]),
        ("n: 2, url: 'tcp://127.0.0.1:0'", ["daemon started", "task done", "reset"]),
        ("sync: true", ["set", "task done", "reset"]),
        ("url: 'tcp://127.0.0.1:0'", ["listening"]),
        (
            f"url: 'tcp://127.0.0.1:0', launcher: {{kind: remote_config, n: 3, command: env, args: [.], {PYTHON}}}",
            ["plugin found", "listening", "launched", "connected", "task done", "reset"],
        ),
    ],
)
def test_a_profile_that_works_passes_each_step(check, profile, steps):
    """And nothing of it stays."""
    status, done = check(profile)

    assert [step["step"] for step in done] == steps
    assert [step["ok"] for step in done] == [True] * len(steps), done
    assert status == 0
    assert not daemons_set("check a")


@pytest.mark.parametrize(
    ("profile", "step", "detail"),
    [
        (
            "url: 'tcp://127.0.0.1:0', launcher: {kind: remote_config, command: sh, args: [-c, 'echo full >&2; exit 4', .]}",
            "connected",
            "ended with status 4: full",
        ),
        (
            "url: 'tcp://127.0.0.1:0', launcher: {kind: remote_config, command: no-such-command}",
            "launched",
            "no-such-command",
        ),
        (
            f"url: 'tcp://127.0.0.1:0', launcher: {{kind: remote_config, command: env, {PYTHON}-none}}",
            "connected",
            "-none",
        ),
        ("url: 'tcp://192.0.2.1:0'", "listening", "tcp://192.0.2.1:0"),
        ("n: 1, memory: 2..0GB", "daemon started", "2..0GB"),
    ],
)
def test_the_first_step_that_fails_says_why_and_is_the_last(check, profile, step, detail):
    """Which is what one wants to know of a site's settings."""
    status, done = check(profile)

    assert (done[-1]["step"], done[-1]["ok"]) == (step, False)
    assert detail in done[-1]["detail"]
    assert status == 1
    assert not daemons_set("check a")


def test_people_get_a_line_a_step(tmp_path, monkeypatch, capsys):
    """With its time, as it happens."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mirai.yaml").write_text("profiles: {a: {sync: true}, b: {n: 1, memory: 2..0GB}}")

    assert launch.main(["check"]) == 1

    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines] == [
        ["profile", "'a'"],
        ["ok", "set"],
        ["ok", "task"],
        ["ok", "reset"],
        ["profile", "'b'"],
        ["FAILED", "daemon"],
    ]
