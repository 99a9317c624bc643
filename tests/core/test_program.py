"""A program is run as python would run it."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path
from textwrap import dedent

import pytest

import mirai

# Found from another directory, too, where PYTHONPATH is a relative one.
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(mirai.__file__).parents[1])}

PREPARE = "import sys; from mirai.program import prepare; prepare(sys.argv[1:])"
RUN = "import sys; from mirai.program import prepare, status; sys.exit(status(prepare(sys.argv[1:])))"

TELL = """
    import sys
    main = sys.modules["__main__"]
    print(__name__, __file__, __package__, type(__loader__).__name__, __spec__ and __spec__.name, __doc__)
    print(main.__dict__ is globals(), sys.argv, sys.path)
"""


@pytest.fixture(autouse=True)
def programs(tmp_path, monkeypatch):
    """Makes programs in a directory of their own, and goes there."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()

    def programs(text: str) -> None:
        source = '"""A program."""\n' + dedent(text)
        for path in ("script.py", "folder/__main__.py", "folder/script.py"):
            (tmp_path / path).write_text(source)
        (tmp_path / "link.py").symlink_to("folder/script.py")
        with zipfile.ZipFile(tmp_path / "archive.zip", "w") as archive:
            archive.writestr("__main__.py", source)

    return programs


def python(*words: str) -> tuple[int, str, str]:
    ran = subprocess.run([sys.executable, *words], capture_output=True, text=True, timeout=30, env=ENVIRONMENT)
    return ran.returncode, ran.stdout, ran.stderr


@pytest.mark.parametrize(
    "words",
    [
        ["script.py", "-c", "x"],
        ["folder/script.py"],
        ["link.py"],
        ["-m", "script", "-m", "x"],
        ["-m", "folder"],
        ["-m", "folder.script"],
    ],
    ids=" ".join,
)
def test_a_program_finds_what_it_would_find_under_python(programs, words):
    """Its name, its arguments, its modules: it cannot tell the difference."""
    programs(TELL)

    assert python("-c", RUN, *words) == python(*words)


@pytest.mark.parametrize("place", ["folder", "archive.zip"])
def test_a_directory_or_an_archive_is_a_program(programs, place):
    """As for python, if there is a `__main__.py` in it."""
    programs("import sys; print(__name__, sys.argv)")

    assert python("-c", RUN, place, "x") == python(place, "x") == (0, f"__main__ ['{place}', 'x']\n", "")


@pytest.mark.parametrize(
    "end",
    [
        "",
        "sys.exit(7)",
        "sys.exit('that was it')",
        "sys.exit()",
        "1 / 0",
        "f()",
        "raise SystemError from KeyError(1)",
        "sys.excepthook = lambda *error: print(error[0]); 1 / 0",
        "import threading; threading.Timer(0.01, lambda: print(sys.modules['__main__'].f)).start(); f = 1",
        "x = (",
    ],
)
def test_a_program_ends_as_it_would_under_python(programs, end):
    """Its status, and what it prints: no frame is ours."""
    programs(f"import sys\ndef f(): raise ValueError\n{end}\n")

    assert python("-c", RUN, "script.py") == python("script.py")


def test_an_interrupt_has_the_status_that_shells_give_it(programs):
    """Python ends itself by the signal, and so it is for who waits for a shell."""
    programs("raise KeyboardInterrupt")

    code, _, errors = python("-c", RUN, "script.py")

    assert code == 130
    assert errors.splitlines()[-1] == "KeyboardInterrupt"
    assert "mirai" not in errors


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ([], "name a SCRIPT, or -m MODULE"),
        (["-m"], "name a SCRIPT, or -m MODULE"),
        (["nowhere.py"], "No such file or directory"),
        (["-m", "nowhere.module"], "there is no module 'nowhere.module'"),
    ],
)
def test_a_program_that_is_not_there_is_an_error_before_anything_is_started(words, problem):
    """Daemons in a queue for hours would be a pity."""
    code, output, errors = python("-c", PREPARE, *words)

    assert (code, output) == (1, "")
    assert problem in errors
