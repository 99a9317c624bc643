"""`mirai top`, and `mirai daemons` for a program that runs."""

from __future__ import annotations

import os
import pty
import subprocess
import sys

import pytest

from mirai import daemons, launch, mirai, status
from tests.waiting import wait_until


@pytest.fixture
def file(tmp_path, monkeypatch):
    """The profiles of the program, which is this test."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mirai.yaml").write_text(
        f"""
profiles:
  launched:
    url: tcp://127.0.0.1:0
    launcher: {{kind: remote_config, n: 2, command: env, args: [.], python: {sys.executable}}}
  here: {{n: 1}}
"""
    )


def test_daemons_are_launched_for_a_program_that_runs(file, capsys):
    """By the program itself: it alone has tickets, and it is the one that watches them."""
    with daemons(url="tcp://127.0.0.1:0", compute="launched"):
        assert launch.main(["daemons", "-p", "launched"]) == 0
        assert capsys.readouterr().out.startswith("2 daemons launched by remote_config; ")
        wait_until(lambda: status("launched").connections == 2, lambda: f"two daemons: {status('launched')}")
        assert [row.state for row in status("launched").launches] == ["connected"] * 2

        assert launch.main(["daemons", "-p", "launched", "-n", "1"]) == 0
        wait_until(lambda: status("launched").connections == 3, lambda: f"three daemons: {status('launched')}")


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ([], "which profile? choose one with -p from launched, here"),
        (["-p", "here"], "no program of yours on this machine has set a profile 'here': start one first"),
        (["-p", "tehre"], "there is no profile 'tehre'"),
    ],
)
def test_where_no_daemons_can_be_launched_it_is_said(file, capsys, words, problem):
    """One line, and a status."""
    assert launch.main(["daemons", *words]) == 2
    assert problem in capsys.readouterr().err


def test_a_terminal_gets_a_live_view():
    """Until Ctrl-C, which ends the view and nothing else."""
    with daemons(1, compute="watched"):
        mirai("1", _compute="watched").result(10)
        near, far = pty.openpty()
        view = subprocess.Popen(
            [sys.executable, "-m", "mirai.launch", "top", "-p", "watched", "--interval", "0.05"],
            stdout=far,
            stderr=far,
            stdin=far,
            close_fds=True,
        )
        os.close(far)
        try:
            shown = b""
            while shown.count(b"profile 'watched'") < 3:  # ends with the test's time limit, if it does not
                shown += os.read(near, 4096)
            view.send_signal(2)
            assert view.wait(10) == 130
        finally:
            view.kill()
            view.wait()
            os.close(near)
        assert b"1 completed" in shown
        assert b"0 tasks/s" in shown
        assert mirai("2", _compute="watched").result(10) == 2
