"""The peers, each made ready with 2 workers, behind one interface."""

from __future__ import annotations

import functools
import logging
import multiprocessing
import pickle
import socket
import warnings
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tasks import nothing

import mirai

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from contextlib import AbstractContextManager

WORKERS = 2


class Peer:
    """What every contender can do."""

    few = False  # so slow that a tenth of the tasks will do

    def __init__(self, submit: Callable[..., Any], result: Callable[[Any], Any], map_: Callable[..., Any]) -> None:
        self.submit = submit  # (task, *args): a handle
        self.result = result  # (handle): the value
        self.map = map_  # (task, xs): an iterable of the values, each element a task of its own


@contextmanager
def ours(**options: Any) -> Iterator[Peer]:
    """Local daemons, with default settings."""
    with mirai.daemons(WORKERS, **options):
        mirai.mirai_map(range(100), nothing).collect()
        yield Peer(mirai.mirai, mirai.Mirai.result, lambda task, xs: mirai.mirai_map(xs, task).collect())


@contextmanager
def executor() -> Iterator[Peer]:
    """The standard library's, as it comes."""
    with ProcessPoolExecutor(WORKERS) as pool:
        list(pool.map(nothing, range(100)))
        yield Peer(pool.submit, lambda future: future.result(), pool.map)


@contextmanager
def pool() -> Iterator[Peer]:
    """Multiprocessing's."""
    with multiprocessing.Pool(WORKERS) as workers:
        workers.map(nothing, range(100))
        yield Peer(
            lambda task, *args: workers.apply_async(task, args),
            lambda handle: handle.get(),
            lambda task, xs: workers.map(task, xs, chunksize=1),
        )


@contextmanager
def loky() -> Iterator[Peer]:
    from loky import ProcessPoolExecutor as Loky

    with Loky(WORKERS) as workers:
        list(workers.map(nothing, range(100)))
        yield Peer(workers.submit, lambda future: future.result(), workers.map)


@contextmanager
def mpire() -> Iterator[Peer]:
    from mpire import WorkerPool

    # One each: a pool that was given single tasks passes too many arguments when it maps.
    with WorkerPool(WORKERS) as workers, WorkerPool(WORKERS) as mapping:
        [handle.get() for handle in [workers.apply_async(nothing, (i,)) for i in range(100)]]
        mapping.map(nothing, range(100))
        yield Peer(
            lambda task, *args: workers.apply_async(task, args),
            lambda handle: handle.get(),
            lambda task, xs: mapping.map(task, xs, chunk_size=1),
        )


@contextmanager
def dask() -> Iterator[Peer]:
    from distributed import Client, LocalCluster

    options: dict[str, Any] = {"dashboard_address": None, "silence_logs": logging.CRITICAL}
    with (
        LocalCluster(n_workers=WORKERS, threads_per_worker=1, **options) as cluster,
        Client(cluster) as client,
    ):

        def submit(task: Any, *args: Any) -> Any:
            return client.submit(task, *args, pure=False)

        client.gather(client.map(nothing, range(100), pure=False))
        peer = Peer(
            submit, lambda future: future.result(), lambda task, xs: client.gather(client.map(task, xs, pure=False))
        )
        peer.few = True
        yield peer


@contextmanager
def ray() -> Iterator[Peer]:
    import ray as r

    r.init(num_cpus=WORKERS, include_dashboard=False, logging_level=logging.CRITICAL)
    try:
        remote = functools.cache(r.remote)  # it pickles a function each time that it is given it

        def submit(task: Any, *args: Any) -> Any:
            return remote(task).remote(*args)

        r.get([submit(nothing, i) for i in range(100)])
        peer = Peer(submit, r.get, lambda task, xs: r.get([submit(task, x) for x in xs]))
        peer.few = True
        yield peer
    finally:
        r.shutdown()


@contextmanager
def ipyparallel() -> Iterator[Peer]:
    import ipyparallel as ipp

    with warnings.catch_warnings(), ipp.Cluster(n=WORKERS, log_level=logging.CRITICAL) as client:
        warnings.simplefilter("ignore")
        view = client.load_balanced_view()
        view.map_sync(nothing, range(100))
        peer = Peer(
            view.apply_async, lambda handle: handle.get(), lambda task, xs: view.map_sync(task, xs, chunksize=1)
        )
        peer.few = True
        yield peer


@contextmanager
def parsl() -> Iterator[Peer]:
    import os
    import sys
    import tempfile

    import parsl as p
    from parsl.config import Config
    from parsl.executors import HighThroughputExecutor

    # There it looks for programs of its own, and its workers for the tasks.
    for name, place in {"PATH": sys.executable, "PYTHONPATH": __file__}.items():
        before = filter(None, [os.environ.get(name)])
        os.environ[name] = os.pathsep.join([os.path.dirname(os.path.abspath(place)), *before])
    with tempfile.TemporaryDirectory() as directory:
        workers = HighThroughputExecutor(max_workers_per_node=WORKERS, address="127.0.0.1")
        with p.load(Config(executors=[workers], run_dir=directory)):

            def submit(task: Any, *args: Any) -> Any:
                return workers.submit(task, {}, *args)

            [f.result() for f in [submit(nothing, i) for i in range(100)]]
            peer = Peer(
                submit,
                lambda future: future.result(),
                lambda task, xs: [f.result() for f in [submit(task, x) for x in xs]],
            )
            peer.few = True
            yield peer


@contextmanager
def executorlib() -> Iterator[Peer]:
    from executorlib import SingleNodeExecutor

    with SingleNodeExecutor(max_workers=WORKERS, block_allocation=True) as workers:
        [f.result() for f in [workers.submit(nothing, i) for i in range(100)]]
        peer = Peer(workers.submit, lambda future: future.result(), workers.map)
        peer.few = True
        yield peer


PEERS: dict[str, Callable[[], AbstractContextManager[Peer]]] = {
    "ProcessPoolExecutor": executor,
    "multiprocessing.Pool": pool,
    "loky": loky,
    "mpire": mpire,
    "Dask distributed": dask,
    "Ray": ray,
    "ipyparallel": ipyparallel,
    "Parsl": parsl,
    "executorlib": executorlib,
}


def each(measured: Callable[[Peer], Callable[[], float]]) -> dict[str, Callable[[], Iterator[Callable[[], float]]]]:
    """A contender for every peer, measured in the same way."""

    def contender(peer: Callable[[], AbstractContextManager[Peer]]) -> Callable[[], Iterator[Callable[[], float]]]:
        def steps() -> Iterator[Callable[[], float]]:
            with peer() as ready:
                yield measured(ready)

        return steps

    return {name: contender(peer) for name, peer in PEERS.items()}


@contextmanager
def ping_pong() -> Iterator[socket.socket]:
    """The floor: a process that unpickles a call, makes it, and pickles the result, over a Unix socket."""
    ours, theirs = socket.socketpair()
    process = multiprocessing.get_context("fork").Process(target=_answer, args=(theirs, ours), daemon=True)
    process.start()
    theirs.close()
    yield ours
    ours.close()
    process.join()


def _answer(sock: socket.socket, other: socket.socket) -> None:
    other.close()
    while data := sock.recv(65536):
        task, args = pickle.loads(data)
        sock.sendall(pickle.dumps(task(*args), 5))


def values(peer: Peer, task: Callable[[int], int], xs: Iterable[int]) -> list[int]:
    """Submitted one by one, then collected."""
    return [peer.result(handle) for handle in [peer.submit(task, x) for x in xs]]
