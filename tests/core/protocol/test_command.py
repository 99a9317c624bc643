"""Every launcher starts daemons by the same command line."""

from __future__ import annotations

from mirai.protocol.command import daemon_command, option_words


def test_the_command_line_of_a_daemon():
    """It is printed to be pasted, so it names what it runs."""
    assert daemon_command("python3", "ipc:///tmp/a b", {"maxtasks": 1, "autoexit": False}) == [
        *("python3", "-m", "mirai.launch", "daemon", "ipc:///tmp/a b"),
        *("--maxtasks", "1", "--autoexit", "False"),
    ]


def test_no_options_no_words():
    """The defaults are the daemon's own."""
    assert option_words({}) == []


def test_options_are_pairs_of_words():
    """As `runtime/daemon.py` reads them, also where a value is empty or looks like an option."""
    assert option_words({"idletime": 60.5, "walltime": float("inf"), "tlscert": "--x"}) == [
        *("--idletime", "60.5"),
        *("--walltime", "inf"),
        *("--tlscert", "--x"),
    ]
