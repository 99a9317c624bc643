"""The host may be any kind of program: the REPL, a notebook, a zip file, a test, one that forks, or is interrupted."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import zipfile
from textwrap import dedent

import pytest

from tests.waiting import wait_until

DEADLINE = 30  # seconds that a program may take


def run(*words, stdin="", **options):
    """What a program prints; it must end well and say nothing on stderr."""
    ran = subprocess.run(
        [sys.executable, *words], input=stdin, capture_output=True, text=True, timeout=DEADLINE, **options
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    return ran.stdout


# Kinds of programs


def test_a_line_on_the_command_line():
    """It has no file, and its functions have no source."""
    text = "from mirai import *\ndef f(x): return x + y\ny = 3\nwith daemons(1): print(mirai(f, 1).result())"

    assert run("-c", text) == "4\n"


def test_a_program_on_stdin():
    """As above, and no file name either."""
    assert run("-", stdin="from mirai import *\nwith daemons(1): print(mirai(lambda: 2).result())") == "2\n"


def test_the_interactive_interpreter():
    """What is typed later is what later tasks see; classes stay those of the session."""
    session = dedent(
        """
        from mirai import *
        def f(x):
            return x + y

        y = 3
        d = daemons(2)
        mirai(f, 1).result()
        y = 4
        mirai(f, 1).result()
        class Point:
            x = 1

        isinstance(mirai(Point).result(), Point)
        def remember():
            global there
            there = 9

        d = everywhere(remember).collect()
        mirai(lambda: there).result()
        mirai("there + 1").result()
        """
    )

    ran = subprocess.run(
        [sys.executable, "-i", "-q"], input=session, capture_output=True, text=True, timeout=DEADLINE, check=True
    )

    assert ran.stdout.split() == ["4", "5", "True", "9", "10"]
    assert set(ran.stderr.split()) == {">>>", "..."}


def test_a_zip_file_with_a_main(tmp_path):
    """Its modules can be imported by the daemons, from the zip file; its `__main__` goes by value."""
    with zipfile.ZipFile(tmp_path / "program.zip", "w") as program:
        program.writestr("helper.py", "def times(x): return 100 * x")
        program.writestr(
            "__main__.py",
            "from mirai import *\nimport helper\ndef f(x): return helper.times(x)\n"
            "if __name__ == '__main__':\n    with daemons(1): print(mirai_map([1, 2], f).collect())",
        )

    assert run(str(tmp_path / "program.zip")) == "[100, 200]\n"


def test_a_module_that_is_run(tmp_path):
    """`python -m package` has relative imports."""
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__init__.py").touch()
    (tmp_path / "package" / "helper.py").write_text("def times(x): return 100 * x")
    (tmp_path / "package" / "__main__.py").write_text(
        "from mirai import *\nfrom . import helper\ndef f(x): return helper.times(x)\n"
        "with daemons(1): print(mirai(f, 3).result())"
    )

    assert run("-m", "package", cwd=tmp_path) == "300\n"


def test_the_tests_of_a_user(tmp_path):
    """Fixtures set daemons; functions and classes of the test module are tasks."""
    (tmp_path / "test_users.py").write_text(
        dedent(
            """
            import pytest
            from mirai import daemons, mirai, mirai_map

            OFFSET = 5

            class Result:
                def __init__(self, value):
                    self.value = value

            def shifted(x):
                return Result(x + OFFSET)

            @pytest.fixture(scope="module", autouse=True)
            def two_daemons():
                with daemons(2):
                    yield

            def test_a_task():
                assert type(mirai(shifted, 1).result()) is Result

            @pytest.mark.parametrize("n", [1, 2])
            def test_a_map(n):
                assert [r.value for r in mirai_map(range(n), shifted).collect()] == [5, 6][:n]

            def test_a_closure(tmp_path):
                assert mirai(lambda: tmp_path.exists()).result()
            """
        )
    )

    ran = run("-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error", "test_users.py", cwd=tmp_path)

    assert "4 passed" in ran


def test_a_program_without_standard_streams():
    """Started by a desktop, or as a service."""
    text = (
        "import os, sys\n"
        "out = os.dup(1)\n"
        "for fd in (0, 1, 2): os.close(fd)\n"
        "sys.stdin = sys.stdout = sys.stderr = None\n"
        "from mirai import *\n"
        "with daemons(2, output=True): values = mirai_map([1, 2], abs).collect(progress=True)\n"
        "os.write(out, str(values).encode())"
    )

    assert run("-c", text) == "[1, 2]"


def test_a_program_that_imports_mirai_in_a_thread():
    """The main thread may never hear of it."""
    text = """
        import threading

        def work():
            from mirai import daemons, mirai, mirai_map
            with daemons(2):
                print(mirai_map([1, 2], lambda x: 2 * x).collect())

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    """

    assert run("-c", dedent(text)) == "[2, 4]\n"


def test_loops_one_after_the_other():
    """`asyncio.run` closes its loop; the daemons stay for the next one."""
    text = """
        import asyncio
        from mirai import daemons, mirai

        async def main(x):
            return await mirai(abs, x)

        daemons(1)
        print([asyncio.run(main(x)) for x in (-1, -2)])
    """

    assert run("-c", dedent(text)) == "[1, 2]\n"


# Its end


def test_threads_may_need_their_daemons_after_the_main_one_has_ended():
    """The program ends when they have: only then do daemons leave."""
    text = """
        import threading
        from mirai import daemons, mirai

        daemons(1)
        main = threading.main_thread()

        def work():
            main.join()
            print(mirai("2").result())

        threading.Thread(target=work).start()
    """

    assert run("-c", dedent(text)) == "2\n"


def test_functions_for_the_exit_may_use_daemons():
    """They were registered after mirai was imported, so they run first."""
    text = "import atexit\nfrom mirai import *\ndaemons(1)\natexit.register(lambda: print(mirai('3').result()))"

    assert run("-c", text) == "3\n"


def test_a_program_may_end_with_tasks_running():
    """It does not wait for them, and keeps its exit status."""
    text = "from mirai import *\nimport time\ndaemons(2)\nm = mirai_map([300] * 9, time.sleep)\nraise SystemExit(5)"

    ran = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, timeout=DEADLINE)

    assert (ran.returncode, ran.stdout, ran.stderr) == (5, "", "")


# Fork


def test_a_child_of_a_fork_knows_what_is_lost_to_it(run_host):
    """Mirais of its parent fail there, those too that still wait for others; daemons of its own work."""
    text = """
        import os, time, warnings
        warnings.simplefilter("ignore", DeprecationWarning)  # of every fork where there are threads
        daemons(1)
        done = mirai("1")
        done.result()
        first = mirai(time.sleep, 300)
        second = mirai(str, first)
        pid = os.fork()
        if not pid:
            daemons(1)
            print(done.data, first.data.code, second.data.code, mirai("2").result(), flush=True)
            daemons(0)
            os._exit(0)
        print(os.waitpid(pid, 0)[1])
        stop_mirai(first)
        print(mirai("3").result())
    """

    assert run_host(text).split() == ["1", "19", "19", "2", "0", "3"]


def test_a_fork_in_the_middle_of_other_threads_work(run_host):
    """They hold locks which nobody in the child will ever release."""
    text = """
        import os, threading, warnings
        warnings.simplefilter("ignore", DeprecationWarning)
        daemons(2)
        stop, mirais = threading.Event(), []

        def work():
            while not stop.is_set():
                m = mirai("1")
                m.add_done_callback(lambda m: None)
                mirais.append(m)
                del mirais[:-100]
                m.result()

        threads = [threading.Thread(target=work) for _ in range(3)]
        [thread.start() for thread in threads]
        failed = 0
        for i in range(20):
            mirai("2").result()
            pid = os.fork()
            if not pid:
                for m in list(mirais):
                    m.add_done_callback(lambda m: None)
                    assert m.done()
                daemons(1)
                assert mirai("2").result() == 2
                daemons(0)
                os._exit(0)
            failed += os.waitpid(pid, 0)[1] != 0
        stop.set()
        [thread.join() for thread in threads]
        print(failed)
    """

    assert run_host(text) == "0"


def test_ctrl_c_reaches_a_child_that_a_thread_forked(run_host):
    """The main thread, in the middle of a wait, had kept the signal back; in the child it does not exist."""
    text = """
        import os, signal, threading, time, warnings
        warnings.simplefilter("ignore", DeprecationWarning)
        daemons(1)

        def work():
            pid = os.fork()
            if not pid:
                try:
                    os.kill(os.getpid(), signal.SIGINT)
                    time.sleep(20)
                except KeyboardInterrupt:
                    os._exit(7)
                os._exit(1)
            print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))

        threading.Timer(0.3, work).start()
        mirai("import time; time.sleep(1)").result()
    """

    assert run_host(text) == "7"


# Ctrl-C


@pytest.mark.parametrize(
    ("waiting", "running"),
    [
        ("mirai_map([300] * 4, nap).collect(progress=True)", 2),
        ("mirai_map([300] * 4, nap).collect(stop=True)", 2),
        ("next(iter(mirai_map([300] * 4, nap).as_completed()))", 2),
        ("daemons(sync=True); mirai_map([0.1] * 3000, nap)", 2),
        ("daemons(1, memory=1); [mirai(nap) for _ in range(9)]", 1),
        ("m = mirai(gate); m.add_done_callback(then); go.touch(); mirai(nap).result()", 2),
        ("m = mirai('1'); m.result(); m.add_done_callback(then)", 1),
    ],
    ids=["progress", "stop", "completed", "sync", "room", "callback", "at once"],
)
def test_one_ctrl_c_is_enough(waiting, running, tmp_path):
    """In a terminal it goes to every process of the group; the script ends at once, and nothing of it stays."""
    begun = tmp_path / "begun"
    text = f"""
from mirai import *
from pathlib import Path
import time

go = Path({str(tmp_path / "go")!r})

def gate():
    while not go.exists():
        time.sleep(0.001)

def nap(seconds=300):
    with open({str(begun)!r}, "a") as file:
        file.write("x")
    time.sleep(seconds)

def then(m):
    try:
        mirai(nap).result()
    except ConnectionReset:
        pass  # another thread, which waited here, had the lead: this program has ended

daemons(2)
{waiting}
"""
    process = subprocess.Popen(
        [sys.executable, "-c", text],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        wait_until(lambda: begun.exists() and len(begun.read_text()) >= running, "its tasks to run", DEADLINE)
        os.killpg(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=10)
    finally:
        process.kill()
        process.communicate()

    assert process.returncode == -signal.SIGINT
    assert errors.splitlines()[-1] == "KeyboardInterrupt"
    assert "Exception ignored" not in errors


def test_progress_in_a_terminal_is_one_line():
    """Redrawn in place; in a terminal for real."""
    text = "from mirai import *\nwith daemons(1): mirai_map(range(9), abs).collect(progress='nine')"
    terminal, theirs = pty.openpty()
    with os.fdopen(terminal, "rb", buffering=0) as ours:
        process = subprocess.Popen([sys.executable, "-c", text], stderr=theirs, env={**os.environ, "TERM": "xterm"})
        os.close(theirs)
        shown = b""
        try:
            while data := ours.read(4096):
                shown += data
        except OSError:
            pass  # the end of a terminal is an error: pty(7)
        assert process.wait(DEADLINE) == 0

    assert shown.count(b"\n") == 1
    assert shown.count(b"\r") > 2
    assert b"nine: [##############################] 9/9" in shown


# A notebook


@pytest.fixture(scope="module")
def notebook():
    """Evaluates a cell in a kernel: what it displays, as pairs of what kind it is and what it is."""
    pytest.importorskip("ipykernel", reason="ipykernel is not installed")
    pytest.importorskip("jupyter_client", reason="jupyter_client is not installed")
    driver = subprocess.Popen(
        [sys.executable, "-m", "tests.core.semantics.notebook"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )

    def cell(text, interrupted_after=None):
        print(json.dumps([text, interrupted_after]), file=driver.stdin, flush=True)
        return [tuple(shown) for shown in json.loads(driver.stdout.readline())]

    cell("from mirai import *\nimport time\nd = daemons(2)")
    yield cell
    driver.communicate()


def value(shown):
    assert shown[-1][0] == "execute_result", shown
    return shown[-1][1]["text/plain"]


def test_functions_of_a_notebook_are_tasks(notebook):
    """They, and what they refer to, are changed from cell to cell."""
    notebook("def f(x):\n    return g(x) + y\ndef g(x):\n    return 10 * x\ny = 3")

    assert value(notebook("mirai(f, 1).result()")) == "13"
    assert value(notebook("y = 4\nmirai(f, 1).result()")) == "14"
    assert value(notebook("mirai_map([1, 2], lambda x: f(x)).collect()")) == "[14, 24]"


def test_classes_of_a_notebook_stay_the_same(notebook):
    """What comes back is an instance of what the notebook knows."""
    notebook("import dataclasses\n@dataclasses.dataclass\nclass Point:\n    x: int")

    assert value(notebook("mirai_map([Point(1)], lambda p: Point(p.x + 1)).collect()")) == "[Point(x=2)]"
    assert value(notebook("type(mirai(lambda: Point(1)).result()) is Point")) == "True"


def test_everywhere_sets_up_a_notebooks_daemons(notebook):
    """Its functions find there what it left."""
    notebook("def remember():\n    global there\n    there = 7\n_ = everywhere(remember).collect()")

    assert value(notebook("mirai(lambda: there).result(), mirai('there').result()")) == "(7, 7)"


def test_a_notebooks_cells_can_await(notebook):
    """They run in a loop already."""
    assert value(notebook("await mirai(lambda: 42), await mirai_map([1, 2], abs)")) == "(42, [1, 2])"


def test_promises_are_kept_in_a_notebook(notebook):
    """On the loop of its cells."""
    notebook("got = []\n_ = mirai_map([1, 2, 3], abs, _promise=got.append)")

    wait_until(lambda: value(notebook("sorted(got)")) == "[1, 2, 3]", "three promises to be kept")


def test_progress_in_a_notebook_is_a_bar(notebook):
    """One display, below the cell, updated; and no text on stderr."""
    shown = notebook("mirai_map([0.05] * 6, time.sleep).collect(progress='naps')")

    kinds = [kind for kind, _ in shown]
    assert kinds == ["display_data", *["update_display_data"] * (len(kinds) - 2), "execute_result"]
    assert 'value="6" max="6"' in shown[-2][1]["text/html"]
    assert "naps: " in shown[-2][1]["text/html"]


def test_a_notebook_can_be_interrupted(notebook):
    """The square button: the wait ends, the daemons stay."""
    pid = value(notebook("status().daemons[0].pid"))

    shown = notebook("m = mirai(time.sleep, 300)\nm.result()", interrupted_after=0.5)

    assert shown == [("error", "KeyboardInterrupt")]
    assert value(notebook("unresolved(m), stop_mirai(m), status().daemons[0].pid")) == f"(True, True, {pid})"


def test_status_is_a_table_in_a_notebook(notebook):
    """Not the inside of a dataclass."""
    assert value(notebook("status()")).splitlines()[0].startswith("2 daemons connected at ipc://")
    for cell in ("status()", "info()", "mp = mirai_map([1, 2], abs)\nmp.collect()\nmp.report()"):
        assert "<table" in notebook(cell)[-1][1]["text/html"]
