"""joblib evaluates on daemons: what its own backends promise, this one does too."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import time

import pytest

joblib = pytest.importorskip("joblib", reason="joblib is not installed; `tox run -e libraries` has it")

import mirai.joblib  # noqa: E402
from mirai import MiraiError, NoDaemonsError, daemons, info, local_url, mirai_map  # noqa: E402
from tests.core import tasks  # noqa: E402
from tests.waiting import wait_until  # noqa: E402

delayed, parallel_config, Parallel = joblib.delayed, joblib.parallel_config, joblib.Parallel


@pytest.fixture
def two():
    with daemons(2), parallel_config(backend="mirai"):
        yield


def ratio(x):
    return 1 / x


def backend_of_nested():
    from joblib.parallel import get_active_backend

    return type(get_active_backend()[0]).__name__, Parallel(n_jobs=2)(delayed(tasks.double)(i) for i in range(3))


def test_calls_are_evaluated_on_the_daemons_that_are_set(two):
    """In their order, and nowhere else."""
    before = info().completed
    values = Parallel()(delayed(tasks.double)(i) for i in range(100))

    assert values == [2 * i for i in range(100)]
    assert info().completed > before
    assert os.getpid() not in Parallel()(delayed(tasks.pid)() for _ in range(10))


def test_short_calls_share_a_task(two):
    """By itself: nobody has to choose how many."""
    assert Parallel(batch_size="auto")(delayed(tasks.double)(i) for i in range(5000)) == [2 * i for i in range(5000)]
    assert info().completed < 1000


def test_without_daemons_there_are_some_for_the_call(tmp_path):
    """As many as are asked for; afterwards they are gone, as no test may leave any."""
    with parallel_config(backend="mirai", n_jobs=2):
        pids = Parallel(batch_size=1, pre_dispatch="all")(delayed(tasks.meet)(tmp_path, i, 2) for i in range(2))

    assert len(set(pids)) == 2
    assert os.getpid() not in pids
    assert info() is None


def test_a_block_of_parallel_keeps_its_daemons():
    """Their start is paid once."""
    with parallel_config(backend="mirai", n_jobs=2), Parallel() as parallel:
        first = set(parallel(delayed(tasks.pid)() for _ in range(20)))
        second = set(parallel(delayed(tasks.pid)() for _ in range(20)))

    assert len(first | second) <= 2


def test_a_profile_can_be_named():
    """Code that calls joblib need not know."""
    with daemons(1, compute="default"), daemons(1, compute="named"), parallel_config(backend="mirai", compute="named"):
        Parallel()(delayed(tasks.double)(i) for i in range(4))
        assert (info("named").completed > 0, info("default").completed) == (True, 0)
    with parallel_config(backend="mirai", compute="none of this name"), pytest.raises(NoDaemonsError):
        Parallel(n_jobs=2)(delayed(tasks.double)(i) for i in range(4))


@pytest.mark.parametrize(("n_jobs", "expected"), [(-1, 3), (-2, 2), (-9, 1), (2, 2), (8, 3), (None, 1)])
def test_how_many_jobs_there_are(n_jobs, expected):
    """-1 is every daemon, wherever it is, not every processor of this machine."""
    with daemons(3):
        assert mirai.joblib.MiraiBackend().effective_n_jobs(n_jobs) == expected


def test_daemons_that_may_come_count():
    """Of an elastic profile none may be here yet."""
    with daemons({"min": 0, "max": 5}, idletime=60):
        assert mirai.joblib.MiraiBackend().effective_n_jobs(-1) == 5
    with daemons(url=local_url()):
        assert mirai.joblib.MiraiBackend().effective_n_jobs(-1) == 1
    with daemons(sync=True):
        assert mirai.joblib.MiraiBackend().effective_n_jobs(-1) == 1


def test_no_jobs_are_refused(two):
    """As everywhere in joblib."""
    with pytest.raises(ValueError, match="n_jobs=0"):
        Parallel(n_jobs=0)(delayed(tasks.double)(i) for i in range(4))


def test_one_job_is_evaluated_here(two):
    """As everywhere in joblib: it is how one debugs."""
    assert set(Parallel(n_jobs=1)(delayed(tasks.pid)() for _ in range(3))) == {os.getpid()}


def test_calls_within_calls(two):
    """Threads of the daemon do them: neither a deadlock, nor processes times processes."""
    assert Parallel()(delayed(backend_of_nested)() for _ in range(4)) == [("ThreadingBackend", [0, 2, 4])] * 4


def test_joblib_within_a_map():
    """Each element would start daemons of its own: they are evaluated there one after the other."""
    with daemons(1):
        (values,) = mirai_map([3], nested_in_map).collect()

    assert values == [0, 2, 4]


def nested_in_map(n):
    import joblib

    import mirai.joblib  # noqa: F401

    with joblib.parallel_config(backend="mirai"):
        return joblib.Parallel(n_jobs=2)(joblib.delayed(tasks.double)(i) for i in range(n))


def test_a_failure_ends_the_others(two, tmp_path):
    """It is raised as it is, and daemons are free at once."""
    calls = [delayed(tasks.begin)(tmp_path / "running"), delayed(ratio)(0), *[delayed(time.sleep)(300)] * 20]

    with pytest.raises(ZeroDivisionError) as raised:
        Parallel(batch_size=1)(calls)

    assert type(raised.value.__cause__).__name__ == "RemoteTraceback"
    wait_until(lambda: info().executing == 0 and info().awaiting == 0, "the daemons to be free")


def test_a_call_that_takes_too_long_ends_all(two):
    """`timeout=` is for the result of each."""
    with pytest.raises((TimeoutError, joblib.parallel.TimeoutError)):
        Parallel(timeout=0.2)(delayed(time.sleep)(300) for _ in range(4))

    wait_until(lambda: info().executing == 0 and info().awaiting == 0, "the daemons to be free")


def test_a_daemon_that_dies_fails_the_call(two):
    """Rather than to hang."""
    with pytest.raises(ConnectionResetError):
        Parallel(batch_size=1)(delayed(os._exit)(3) for _ in range(2))


def test_results_as_they_come(two):
    """`return_as=` gives a generator, in order or not."""
    ordered = Parallel(return_as="generator")(delayed(tasks.double)(i) for i in range(20))
    assert next(ordered) == 0
    assert list(ordered) == [2 * i for i in range(1, 20)]
    unordered = Parallel(return_as="generator_unordered")(delayed(tasks.double)(i) for i in range(20))
    assert sorted(unordered) == [2 * i for i in range(20)]


def test_a_generator_that_is_left_cancels_the_rest(two):
    """Who takes the first one only does not pay for all."""
    generator = Parallel(return_as="generator", batch_size=1)(delayed(time.sleep)(t) for t in [0, *[300] * 20])
    next(generator)
    with pytest.warns(UserWarning, match="have been cancelled"):
        generator.close()

    wait_until(lambda: info().executing == 0 and info().awaiting == 0, "the daemons to be free")


def test_what_cannot_be_serialized_is_told(two):
    """By its name, at the call."""
    with pytest.raises(mirai.errors.SerializationError):
        Parallel()(delayed(id)(sys._getframe()) for _ in range(4))


def test_threads_of_libraries_are_those_of_the_daemons(two):
    """They are set when the daemons are; for those of joblib's own call they can be chosen there."""
    with (
        parallel_config(backend="mirai", inner_max_num_threads=3),
        pytest.raises(ValueError, match=r"daemons\(n, threads=3\)"),
    ):
        Parallel(n_jobs=2)(delayed(tasks.double)(i) for i in range(2))


def test_own_daemons_have_the_threads_that_are_asked_for():
    """BLAS in each of many processes would else want every core."""
    with parallel_config(backend="mirai", n_jobs=2, inner_max_num_threads=3):
        assert set(Parallel()(delayed(os.getenv)("OMP_NUM_THREADS") for _ in range(4))) == {"3"}


def test_functions_of_a_script(tmp_path):
    """Lambdas, closures and what stands in the script itself."""
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent("""
            import mirai.joblib
            from joblib import Parallel, delayed, parallel_config

            FACTOR = 3

            def triple(x):
                return FACTOR * x

            if __name__ == "__main__":
                offset = 1
                with parallel_config(backend="mirai", n_jobs=2):
                    print(Parallel()(delayed(triple)(i) for i in range(3)), end=" ")
                    print(Parallel()(delayed(lambda x: x + offset)(i) for i in range(3)))
        """)
    )
    ran = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=50)

    assert (ran.stdout, ran.stderr) == ("[0, 3, 6] [1, 2, 3]\n", "")


def test_a_grid_search_of_scikit_learn(two):
    """What most people have joblib for."""
    selection = pytest.importorskip("sklearn.model_selection")
    from sklearn.datasets import load_iris
    from sklearn.svm import SVC

    before = info().completed
    search = selection.GridSearchCV(SVC(), {"C": [0.1, 1, 10], "kernel": ["rbf", "linear"]}, cv=3, n_jobs=-1)
    search.fit(*load_iris(return_X_y=True))

    assert search.best_score_ > 0.95
    assert info().completed > before


def test_large_arrays_go_through_shared_memory(two):
    """Joblib's files for that are not needed."""
    np = pytest.importorskip("numpy")
    array = np.arange(1_000_000.0)

    assert Parallel(n_jobs=2)(delayed(np.sum)(array) for _ in range(4)) == [array.sum()] * 4


def test_an_error_of_a_task_is_no_error_of_ours(two):
    """One that cannot be pickled is described."""
    with pytest.raises(MiraiError, match="Odd"):
        Parallel(n_jobs=2)(delayed(raise_odd)() for _ in range(2))


def raise_odd():
    class OddError(Exception):
        def __init__(self, a, b):
            super().__init__(a)

    raise OddError(1, 2)
