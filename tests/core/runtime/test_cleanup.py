"""What a task changed in its daemon is put back."""

from __future__ import annotations

import decimal
import gc
import os
import sys
import warnings
from types import ModuleType

import pytest

from mirai import daemons, everywhere, mirai
from mirai.runtime.cleanup import Baseline, Cleanup, parse

DEADLINE = 20  # seconds; what takes longer hangs


@pytest.fixture
def main(monkeypatch):
    """The names in a `__main__` of the test's own."""
    module = ModuleType("__main__")
    monkeypatch.setitem(sys.modules, "__main__", module)
    return module.__dict__


@pytest.fixture
def changed(tmp_path, monkeypatch):
    """Undoes what a test changes to this process."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "environ", os.environ)
    variables, path, context = dict(os.environ), list(sys.path), decimal.getcontext().copy()
    with warnings.catch_warnings():
        yield tmp_path
    for name in os.environ.keys() - variables.keys():
        del os.environ[name]
    os.environ.update(variables)
    sys.path[:] = path
    decimal.setcontext(context)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (True, Cleanup.NAMES | Cleanup.ENVIRONMENT),
        (False, 0),
        ("True", Cleanup.NAMES | Cleanup.ENVIRONMENT),
        ("false", 0),
        (0, 0),
        (1, Cleanup.NAMES),
        ("2", Cleanup.MODULES),
        (4, Cleanup.ENVIRONMENT),
        (8, Cleanup.COLLECT),
        (15, 15),
    ],
)
def test_what_to_clean_up(value, expected):
    """`True` is the default, 5; `1` is one bit."""
    assert parse(value) == expected


@pytest.mark.parametrize("value", [16, -1, "all", None, 1.5, ""], ids=repr)
def test_what_is_none_of_these_is_refused(value):
    """The error says what may be."""
    with pytest.raises(ValueError, match="sum of 1, 2, 4 and 8"):
        parse(value)


def test_names_are_put_back(main):
    """New ones are gone, old ones are what they were."""
    main.update(kept=[1], changed=1, deleted=2)
    before = dict(main)
    baseline = Baseline(Cleanup.NAMES, sys.modules["__main__"])

    main["new"] = 3
    main["changed"] = 4
    del main["deleted"]
    baseline.restore()

    assert main == before


def test_what_everywhere_leaves_is_the_new_baseline(main):
    """It is taken again."""
    baseline = Baseline(Cleanup.NAMES, sys.modules["__main__"])
    main["set_up"] = 1

    baseline.take()
    main["new"] = 2
    baseline.restore()

    assert main["set_up"] == 1
    assert "new" not in main


def test_names_stay_where_that_is_asked_for(main):
    """`cleanup=False` is for who wants to keep state."""
    baseline = Baseline(0, sys.modules["__main__"])

    main["new"] = 1
    baseline.restore()

    assert main["new"] == 1


def test_main_itself_is_put_back(main):
    """Some libraries replace it for a while."""
    module = sys.modules["__main__"]
    baseline = Baseline(0, module)

    del sys.modules["__main__"]
    baseline.restore()

    assert sys.modules["__main__"] is module


def test_the_environment_is_put_back(changed):
    """Variables, working directory, `sys.path`, warning filters, decimal context."""
    os.environ["CHANGED"] = "before"
    os.environ["DELETED"] = "before"
    (changed / "elsewhere").mkdir()
    filters = list(warnings.filters)
    path = list(sys.path)
    precision = decimal.getcontext().prec
    baseline = Baseline(Cleanup.ENVIRONMENT, ModuleType("__main__"))

    os.environ["NEW"] = "x"
    os.environ["CHANGED"] = "after"
    del os.environ["DELETED"]
    os.chdir(changed / "elsewhere")
    sys.path.append("somewhere")
    warnings.simplefilter("ignore")
    decimal.getcontext().prec = precision + 1
    baseline.restore()

    assert "NEW" not in os.environ
    assert (os.environ["CHANGED"], os.environ["DELETED"]) == ("before", "before")
    assert os.getcwd() == str(changed)
    assert sys.path == path
    assert list(warnings.filters) == filters
    assert decimal.getcontext().prec == precision


def test_the_environment_stays_where_that_is_asked_for(changed):
    """Each bit is for itself."""
    baseline = Baseline(Cleanup.NAMES, ModuleType("__main__"))

    os.environ["NEW"] = "x"
    baseline.restore()

    assert os.environ["NEW"] == "x"


def test_a_directory_that_is_gone_is_no_harm(changed):
    """There is nothing to go back to, or nothing to come from."""
    (changed / "gone").mkdir()
    baseline = Baseline(Cleanup.ENVIRONMENT, ModuleType("__main__"))

    os.chdir(changed / "gone")
    (changed / "gone").rmdir()
    baseline.restore()
    assert os.getcwd() == str(changed)

    (changed / "gone").mkdir()
    os.chdir(changed / "gone")
    (changed / "gone").rmdir()
    baseline.take()
    os.chdir(changed)
    baseline.restore()


def test_modules_are_put_back(changed, monkeypatch):
    """Pure Python ones that were imported since; compiled ones cannot be loaded twice."""
    monkeypatch.syspath_prepend(changed)
    (changed / "imported_before.py").write_text("")
    (changed / "imported_since.py").write_text("")
    (changed / "package_since").mkdir()
    (changed / "package_since" / "__init__.py").write_text("")
    (changed / "package_since" / "part.py").write_text("")
    import imported_before

    baseline = Baseline(Cleanup.MODULES, ModuleType("__main__"))

    import imported_since
    import package_since.part

    baseline.restore()

    assert {imported_since.__name__, package_since.part.__name__, "package_since"} & set(sys.modules) == set()
    assert sys.modules.pop("imported_before") is imported_before


def test_garbage_is_collected_where_that_is_asked_for():
    """What a task left in cycles."""
    baseline = Baseline(Cleanup.COLLECT, ModuleType("__main__"))
    collected = []
    gc.callbacks.append(lambda phase, info: collected.append(phase))
    try:
        baseline.restore()
    finally:
        gc.callbacks.pop()

    assert collected == ["start", "stop"]


# On a daemon

LOOK = "import os, sys; ('x' in globals(), os.environ.get('X'), os.getcwd() == '/', 'nowhere' in sys.path)"
CHANGE = "global x; x = 1; import os, sys; os.environ['X'] = 'x'; os.chdir('/'); sys.path.append('nowhere')"


@pytest.mark.parametrize(
    ("cleanup", "seen"),
    [
        (True, (False, None, False, False)),
        (1, (False, "x", True, True)),
        (4, (True, None, False, False)),
        (False, (True, "x", True, True)),
    ],
)
def test_a_task_finds_what_the_first_one_found(cleanup, seen, tmp_path, monkeypatch):
    """Unless it was asked for otherwise."""
    monkeypatch.chdir(tmp_path)

    with daemons(1, cleanup=cleanup):
        assert mirai(LOOK).result(DEADLINE) == (False, None, False, False)
        mirai(CHANGE).result(DEADLINE)
        assert mirai(LOOK).result(DEADLINE) == seen


@pytest.mark.parametrize(
    "end", ["1 / 0", "sys.exit()", "import threading; threading.Lock()", "import time; time.sleep(300)"]
)
def test_it_is_put_back_however_a_task_ends(one, end):
    """Failed, or interrupted."""
    m = mirai(f"{CHANGE}\n{end}", _timeout=0.3)
    assert m.exception(DEADLINE) is not None

    assert mirai(LOOK).result(DEADLINE) == (False, None, False, False)


def test_what_everywhere_sets_stays_and_can_be_changed_by_it(one):
    """All of it, not only names."""
    everywhere(CHANGE).collect()
    assert mirai(LOOK).result(DEADLINE) == (True, "x", True, True)
    mirai("import os; os.environ['X'] = 'y'; os.chdir('/tmp')").result(DEADLINE)
    assert mirai(LOOK).result(DEADLINE) == (True, "x", True, True)

    everywhere("import os; del os.environ['X']").collect()

    assert mirai(LOOK).result(DEADLINE) == (True, None, True, True)


def test_modules_are_imported_again_where_that_is_asked_for(tmp_path, monkeypatch):
    """For who changes them while daemons run."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "changing.py").write_text("value = 1")
    text = "import sys; sys.dont_write_bytecode = True; import changing; changing.value"

    with daemons(1, cleanup=7):
        assert mirai(text).result(DEADLINE) == 1
        (tmp_path / "changing.py").write_text("value = 2222")
        assert mirai(text).result(DEADLINE) == 2222
