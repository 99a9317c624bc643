"""`python -m mirai.launch`."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from textwrap import dedent

import pytest

from mirai import demo, launch, plugins
from mirai.plugins import Found
from mirai.runtime import daemon
from tests.core.test_program import ENVIRONMENT

LAUNCH = [sys.executable, "-m", "mirai.launch"]
PROGRAM = """
    import sys
    from mirai import daemons_set, mirai, status

    def where(x):
        return f"{__name__} {x}"

    print(mirai(where, "here").result(), status().connections, daemons_set("two"), sys.argv)
    sys.exit(len(sys.argv))
"""
WAITING = """
    from mirai import mirai

    m = mirai("import time; time.sleep(60)")
    print("waits", flush=True)
    m.result()
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A working directory with two profiles, and a program."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MIRAI_CONFIG", raising=False)
    (tmp_path / "mirai.yaml").write_text("profiles: {default: {n: 1}, two: {n: 2}}")

    def place(program: str) -> None:
        (tmp_path / "program.py").write_text(dedent(program))

    return place


def run(*words: str) -> tuple[int, str, str]:
    ran = subprocess.run([*LAUNCH, *words], capture_output=True, text=True, timeout=30, env=ENVIRONMENT)
    return ran.returncode, ran.stdout, ran.stderr


def test_a_program_runs_with_its_profiles(place):
    """Functions of the program go to daemons as they would from python."""
    place(PROGRAM)

    assert run("run", "program.py", "-p", "x") == (3, "__main__ here 1 True ['program.py', '-p', 'x']\n", "")


def test_a_profile_can_be_made_the_current_one(place):
    """The program names none, and need not be changed to use another one."""
    place(PROGRAM)

    code, output, _ = run("run", "-c", "mirai.yaml", "-p", "two", "-m", "program")

    assert (code, output.split()[:3]) == (1, ["__main__", "here", "2"])


def test_a_traceback_is_the_programs_own(place):
    """Who wrote the program is not interested in ours."""
    place("def f():\n    1 / 0\n\nf()")

    code, _, errors = run("run", "program.py")

    assert code == 1
    assert [line.split()[-1] for line in errors.splitlines() if "File" in line] == ["<module>", "f"]


def test_one_ctrl_c_is_enough(place):
    """Neither a second one nor a cup of coffee."""
    place(WAITING)
    process = subprocess.Popen(
        [*LAUNCH, "run", "program.py"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
    )

    assert process.stdout.readline() == "waits\n"
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=10)

    assert process.returncode == 130
    assert errors.splitlines()[-1] == "KeyboardInterrupt"


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ([], "mirai run: name a SCRIPT, or -m MODULE"),
        (["nowhere.py"], "mirai run: [Errno 2] No such file or directory"),
        (["-c", "nowhere.yaml", "program.py"], "mirai run: nowhere.yaml: there is no such file"),
        (["-p", "tow", "program.py"], "mirai run: there is no profile 'tow': choose from default, two"),
        (["-c", "broken.yaml", "program.py"], "mirai run: broken.yaml:1:15: profiles.a"),
        (["-c", "refused.yaml", "program.py"], "profile 'a' of refused.yaml"),
    ],
)
def test_what_hinders_a_program_is_said_before_it_begins(place, tmp_path, capsys, monkeypatch, words, problem):
    """One sentence, not a traceback; and not the program's own exit status."""
    place("raise AssertionError('it must not begin')")
    (tmp_path / "broken.yaml").write_text("profiles: {a: 3}")
    (tmp_path / "refused.yaml").write_text("profiles: {a: {n: 1, memory: 2..0GB}}")
    monkeypatch.setattr(sys, "argv", sys.argv)
    monkeypatch.setattr(sys, "path", [*sys.path])

    assert launch.main(["run", *words]) == 2
    assert problem in capsys.readouterr().err


@pytest.mark.parametrize("command", ["", "run", "daemon", "plugins", "demo"])
def test_help_is_at_hand(capsys, command):
    """Also for what a daemon's options are, which it does not read by argparse."""
    with pytest.raises(SystemExit) as left:
        launch.main([*command.split(), "--help"])

    assert left.value.code == 0
    assert f"usage: mirai {command}".strip() in capsys.readouterr().out


def test_the_package_is_the_command_too():
    """It is shorter, and what people try first."""
    ran = subprocess.run([sys.executable, "-m", "mirai", "-h"], capture_output=True, text=True, timeout=30)

    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.startswith("usage: mirai ")


@pytest.mark.parametrize("words", [[], ["dream"], ["daemon"], ["demo", "-n", "0"], ["demo", "-n", "x"]])
def test_wrong_arguments_are_an_error(capsys, words):
    """As every command line tool has it."""
    with pytest.raises(SystemExit) as left:
        launch.main(words)

    assert left.value.code == 2
    assert "error: " in capsys.readouterr().err


def test_a_daemon_gets_its_arguments_as_they_are(monkeypatch):
    """It has its own way to read them, for the sake of its start."""
    monkeypatch.setattr(daemon, "main", lambda argv: argv)

    assert launch.main(["daemon", "ipc:///x", "--maxtasks", "1"]) == ["ipc:///x", "--maxtasks", "1"]


def test_a_daemon_imports_only_what_it_needs():
    """Its first result waits for its imports."""
    code = "from mirai.launch import main; main(['daemon', 'ipc:///nowhere']); import sys; print(*sys.modules)"

    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30).stdout.split()

    assert "mirai.runtime.daemon" in loaded
    assert {"argparse", "dataclasses", "mirai.config", "runpy", "yaml"}.isdisjoint(loaded)


def test_plugins_are_listed_with_those_that_failed(monkeypatch, capsys):
    """Why one is missing is the question that brings people here."""
    rows = [
        Found("launcher", "slurm", "mirai-launchers", "1.0"),
        Found("plugin", "cold", "coldstore", "0.3.1", "ModuleNotFoundError: No module named 'ice'"),
    ]
    monkeypatch.setattr(plugins, "found", lambda: rows)

    assert launch.main(["plugins"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "kind      name   distribution     version",
        "launcher  slurm  mirai-launchers  1.0",
        "plugin    cold   coldstore        0.3.1    left out: ModuleNotFoundError: No module named 'ice'",
    ]


def test_no_plugins_are_no_riddle(monkeypatch, capsys):
    """An empty table would be one."""
    monkeypatch.setattr(plugins, "found", list)

    assert launch.main(["plugins"]) == 0
    assert "pip install 'mirai-core[launchers,serial]'" in capsys.readouterr().out


def test_an_interrupted_demo_has_the_status_of_an_interrupt(monkeypatch):
    """Without a traceback: nothing went wrong."""

    def interrupted(n):
        raise KeyboardInterrupt

    monkeypatch.setattr(demo, "demo", interrupted)

    assert launch.main(["demo"]) == 130


@pytest.mark.parametrize("words", [["show", "--schema"], ["plugins"]])
def test_who_reads_no_further_gets_no_traceback(words):
    """As `| head` does, in the middle of much text or before the little that is printed at the end."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        ran = subprocess.run(
            [*LAUNCH, *words], stdout=writer, stderr=subprocess.PIPE, text=True, timeout=30, env=ENVIRONMENT
        )
    finally:
        os.close(writer)

    assert (ran.returncode, ran.stderr) == (launch.UNREAD, "")
