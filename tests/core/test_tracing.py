"""Spans of OpenTelemetry: on host and daemon, in one trace; nothing where no tracer is set up."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor, wait
from contextvars import copy_context

import pytest

from mirai import call_mirai, collect_mirai, daemons, everywhere, local_url, make_cluster, mirai, mirai_map, saisei
from tests.core import tasks
from tests.waiting import wait_until

sdk = pytest.importorskip("opentelemetry.sdk.trace", reason="OpenTelemetry is not installed; `tox run -e libraries`")

from opentelemetry import baggage, context, propagate, trace  # noqa: E402
from opentelemetry.sdk.trace import sampling  # noqa: E402
from opentelemetry.sdk.trace.export import SimpleSpanProcessor  # noqa: E402
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter  # noqa: E402

DEADLINE = 20  # seconds; what takes longer hangs


@pytest.fixture
def use(monkeypatch):
    """Sets a provider of tracers up, for the time of a test; OpenTelemetry has no way back."""

    def put(provider):
        monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
        return provider

    return put


@pytest.fixture
def spans(use):
    """Those that have ended on the host, by name."""
    exporter = InMemorySpanExporter()
    use(sdk.TracerProvider()).add_span_processor(SimpleSpanProcessor(exporter))

    def named(name):
        return [span for span in exporter.get_finished_spans() if span.name == name]

    return named


def set_up():
    """On a daemon: as a program would."""
    global exporter
    exporter = InMemorySpanExporter()
    provider = sdk.TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)


def ended():
    return [json.loads(span.to_json()) for span in exporter.get_finished_spans()]


@pytest.fixture
def one(spans):
    with daemons(1):
        everywhere(set_up).collect()
        yield


def evaluations():
    """The spans of evaluations on the daemon, save of this one."""
    return [span for span in mirai(ended).result(DEADLINE) if span["name"] == "daemon eval"]


def id_of(span):
    return f"0x{span.context.span_id:016x}"


def links_of(span):
    return {link.context.span_id for link in span.links}


def ids(*spans):
    return {span.context.span_id for span in spans}


def fail():
    raise ValueError("no such thing")


def call_in_span(name):
    with trace.get_tracer("user").start_as_current_span(name) as span:
        call_mirai(mirai(tasks.double, 1))
    return span


# What there is


def test_a_task_is_a_span_on_the_host_and_one_on_its_daemon(one, spans):
    """In one trace, though in two processes."""
    m = mirai(tasks.double, 2)
    m.result(DEADLINE)

    (sent,) = spans("mirai")  # when the result is here, it has ended
    (evaluated,) = evaluations()
    assert sent.kind is trace.SpanKind.CLIENT
    assert dict(sent.attributes) == {
        "mirai.id": m.id, "mirai.compute": "default", "code.function.name": "tests.core.tasks.double"
    }  # fmt: skip
    assert (evaluated["kind"], evaluated["attributes"]) == (
        "SpanKind.SERVER", {"code.function.name": "tests.core.tasks.double"}
    )  # fmt: skip
    assert evaluated["parent_id"] == id_of(sent)
    assert evaluated["context"]["trace_id"] == f"0x{sent.context.trace_id:032x}"
    assert sent.status.status_code is trace.StatusCode.UNSET


def test_every_way_to_call_is_traced(one, spans):
    """Source text, closures, names of `__main__`, arguments that travel by themselves."""
    offset = 3
    calls = [mirai(lambda x: x + offset, 1), mirai(divmod, 7, 2), mirai("x + 1", x=1), mirai("q", _globals={"q": 1})]
    mirais = [*calls, mirai(tasks.digest, bytes(2_000_000))]

    assert collect_mirai(mirais)[:4] == [4, (3, 1), 2, 1]
    assert {span["parent_id"] for span in evaluations()} == {id_of(span) for span in spans("mirai")[:5]}


def test_a_map_is_a_span_with_one_for_each_element(one, spans):
    """It lasts until the last one is resolved."""
    mirai_map(range(5), tasks.double).collect()

    (whole,) = spans("mirai_map")
    elements = spans("mirai")
    assert {span.parent.span_id for span in elements} == ids(whole)
    assert len(elements) == whole.attributes["mirai.tasks"] == 5
    assert whole.end_time >= max(span.end_time for span in elements)
    assert {span["parent_id"] for span in evaluations()} == {id_of(span) for span in elements}


def test_a_map_over_nothing_ends(spans):
    """There is no last one."""
    with daemons(1):
        mirai_map([], tasks.double)

    assert len(spans("mirai_map")) == 1


def test_a_map_that_cannot_be_drawn_ends(spans):
    """With what was raised."""

    def drawn():
        yield 1
        raise ValueError("no more")

    with daemons(1), pytest.raises(ValueError, match="no more"):
        mirai_map(drawn(), tasks.double)

    (whole,) = spans("mirai_map")
    assert (whole.status.status_code, whole.status.description) == (trace.StatusCode.ERROR, "ValueError: no more")
    assert [span.attributes["error.type"] for span in spans("mirai")] in (["Canceled"], [])


def test_daemons_are_set_and_reset(spans):
    """And each that comes and goes is told of."""
    with daemons(2, compute="traced"):
        pass

    (set_,), (reset,) = spans("daemons set"), spans("daemons reset")
    assert set_.attributes["mirai.compute"] == reset.attributes["mirai.compute"] == "traced"
    assert (set_.attributes["mirai.daemons"], set_.attributes["mirai.dispatcher"]) == (2, True)
    assert set_.attributes["network.transport"] == "unix"
    assert set_.attributes["server.address"].endswith("/host")
    assert links_of(reset) == ids(set_)
    connects, disconnects = spans("daemon connect"), spans("daemon disconnect")
    assert sorted(span.attributes["mirai.daemon"] for span in connects) == [1, 2]
    assert all(links_of(span) == ids(set_) and span.parent is None for span in connects)
    assert [links_of(span) for span in disconnects] == [
        ids(set_, *[span for span in connects if span.attributes["mirai.daemon"] == gone.attributes["mirai.daemon"]])
        for gone in disconnects
    ]
    assert {span.status.status_code for span in disconnects} == {trace.StatusCode.UNSET}


def test_an_address_of_the_network_is_given_as_that(spans):
    """By OpenTelemetry's conventions."""
    with daemons(url=local_url(tcp=True)) as set_up_there:
        assert set_up_there

    (set_,) = spans("daemons set")
    assert (set_.attributes["server.address"], set_.attributes["network.transport"]) == ("127.0.0.1", "tcp")
    assert set_.attributes["server.port"] > 0


def test_daemons_that_cannot_be_set(spans, monkeypatch):
    """The span has failed, and nothing was reset."""
    monkeypatch.setenv("PYTHONHOME", "/nonexistent")
    with pytest.raises(RuntimeError):
        daemons(1)

    assert [span.attributes["error.type"] for span in spans("daemons set")] == ["mirai.errors.DaemonStartError"]
    assert spans("daemons reset") == []


def test_tasks_and_maps_link_to_where_their_daemons_were_set(one, spans):
    """That is another trace, which may be hours old."""
    mirai_map([1], tasks.double).collect()
    mirai(tasks.double, 1).result(DEADLINE)

    (set_,) = spans("daemons set")
    assert {frozenset(links_of(span)) for span in [*spans("mirai"), *spans("mirai_map")]} == {frozenset(ids(set_))}


# Failures


def test_a_task_that_raises_is_an_error_on_both_sides(one, spans):
    """On the daemon with the exception itself; the host does not deserialize it for that."""
    call_mirai(mirai(fail))

    (sent,) = spans("mirai")
    (evaluated,) = evaluations()
    assert (sent.status.status_code, sent.attributes["error.type"]) == (trace.StatusCode.ERROR, "MiraiError")
    assert evaluated["status"] == {"status_code": "ERROR", "description": "ValueError: no such thing"}
    assert evaluated["attributes"]["error.type"] == "ValueError"
    (event,) = evaluated["events"]
    assert event["attributes"]["exception.type"] == "ValueError"
    assert "in fail" in event["attributes"]["exception.stacktrace"]


def test_a_value_that_cannot_be_serialized_is_an_error(one, spans):
    """It is not the task that failed, but what it was for."""
    call_mirai(mirai("import threading; threading.Lock()"))

    assert [span["attributes"]["error.type"] for span in evaluations()] == ["TypeError"]


def test_a_task_that_is_cancelled_is_an_error_on_both_sides(one, spans, tmp_path):
    """It was interrupted."""
    m = mirai(tasks.begin, tmp_path / "begun")
    wait_until((tmp_path / "begun").exists, "it to begin")
    m.cancel()

    assert [span.attributes["error.type"] for span in spans("mirai")] == ["Canceled"]
    assert [span["attributes"]["error.type"] for span in evaluations()] == ["Canceled"]


def test_a_task_that_times_out_is_an_error(one, spans):
    """The description says what to do."""
    call_mirai(mirai(time.sleep, 300, _timeout=0.05))

    (sent,) = spans("mirai")
    assert sent.attributes["error.type"] == "TimedOut"
    assert "not done within 0.05 s" in sent.status.description


def test_a_daemon_that_is_lost_is_an_error(spans):
    """Nobody else can tell: its own spans may be lost with it."""
    with daemons(1):
        call_mirai(mirai(os._exit, 3))

    (sent,), (left,) = spans("mirai"), spans("daemon disconnect")
    assert sent.attributes["error.type"] == left.attributes["error.type"] == "ConnectionReset"
    assert left.status.description == "ConnectionReset: exited with status 3"


def test_a_daemon_that_leaves_by_its_limit_is_no_error(spans):
    """It was told to."""
    with daemons(1, maxtasks=1):
        call_mirai(mirai(tasks.double, 1))
        wait_until(lambda: spans("daemon disconnect"), "the daemon to leave")

    assert [span.status.status_code for span in spans("daemon disconnect")] == [trace.StatusCode.UNSET]


def test_a_call_that_is_refused_is_an_error(one, spans):
    """Nothing was sent."""
    with pytest.raises(Exception, match="cannot be serialized"):
        mirai(id, sys._getframe())

    assert [span.attributes["error.type"] for span in spans("mirai")] == ["mirai.errors.SerializationError"]


def test_tasks_of_a_profile_that_is_reset_end(one, spans):
    """No span stays open."""
    mirais = [mirai(time.sleep, 300) for _ in range(3)]
    daemons(0)

    assert [span.attributes["error.type"] for span in spans("mirai")] == ["ConnectionReset"] * 3
    assert all(m.done() for m in mirais)


# Whose they are


def test_each_thread_has_its_own_parent(one, spans):
    """Contexts are of threads; an executor is handed one by who submits to it."""
    with ThreadPoolExecutor(3) as threads:
        parents = list(threads.map(call_in_span, "abc"))

    sent = spans("mirai")
    assert {span.parent.span_id for span in sent} == {parent.get_span_context().span_id for parent in parents}


def test_each_task_of_asyncio_has_its_own_parent(one, spans):
    """However they are interleaved."""

    async def ask(name):
        with trace.get_tracer("user").start_as_current_span(name) as span:
            await asyncio.sleep(0)
            await mirai(tasks.double, 1)
            await mirai(tasks.double, 2)
        return span.get_span_context().span_id

    async def main():
        return await asyncio.gather(*(ask(name) for name in "abc"))

    parents = asyncio.run(main())

    assert sorted(span.parent.span_id for span in spans("mirai")) == sorted(2 * parents)


def test_an_executor_has_the_parent_of_who_submits(spans):
    """It takes no thread of its own."""
    with make_cluster(1) as cluster, trace.get_tracer("user").start_as_current_span("user") as parent:
        wait([cluster.submit(tasks.double, 1)])
        assert list(cluster.map(tasks.double, [1])) == [2]

    assert {span.parent.span_id for span in [*spans("mirai_map"), spans("mirai")[0]]} == {
        parent.get_span_context().span_id
    }


def test_a_chain_has_the_parent_of_its_call_and_links_to_what_it_waits_for(one, spans):
    """It is submitted later, by whichever thread has the last value."""
    with trace.get_tracer("user").start_as_current_span("user") as parent:
        first = mirai(tasks.double, 1)
        second = mirai(tasks.double, first)
    assert copy_context().run(second.result, DEADLINE) == 4

    earlier, later = spans("mirai")
    (set_,) = spans("daemons set")
    assert later.parent.span_id == earlier.parent.span_id == parent.get_span_context().span_id
    assert links_of(later) == ids(set_, earlier)
    assert [span["parent_id"] for span in evaluations()] == [id_of(earlier), id_of(later)]


def test_a_chain_whose_first_link_fails_fails(one, spans):
    """It is not evaluated."""
    call_mirai(mirai(tasks.double, mirai(fail)))

    assert [span.attributes["error.type"] for span in spans("mirai")] == ["MiraiError", "MiraiError"]
    assert len(evaluations()) == 1


def test_spans_that_a_task_begins_are_within_its_own(one, spans):
    """So are those of libraries that it uses."""
    call_mirai(mirai(call_in_span_there))
    (evaluated,) = evaluations()
    inner = next(span for span in mirai(ended).result(DEADLINE) if span["name"] == "inner")

    assert inner["parent_id"] == evaluated["context"]["span_id"]


def call_in_span_there():
    with trace.get_tracer("user").start_as_current_span("inner"):
        pass


def test_nothing_of_a_task_is_current_in_the_next_one(one, spans):
    """The daemon goes back to what it was."""
    with trace.get_tracer("user").start_as_current_span("user"):
        call_mirai([mirai(tasks.double, 1), mirai(fail)])

    is_valid, carried = mirai(current_after_detach).result(DEADLINE)
    assert is_valid
    assert carried is None


def current_after_detach():
    return trace.get_current_span().get_span_context().is_valid, baggage.get_baggage("who")


def test_baggage_travels_along(one):
    """It is part of the context."""
    token = context.attach(baggage.set_baggage("who", "me"))
    try:
        assert mirai(current_after_detach).result(DEADLINE) == (True, "me")
    finally:
        context.detach(token)


def test_with_sync_the_evaluation_is_within_the_task(spans):
    """One process, the same spans."""
    with daemons(sync=True):
        mirai(nest).result()

    assert {span.name for name in ("mirai", "daemon eval") for span in spans(name)} == {"mirai", "daemon eval"}
    parents = {span.context.span_id: span for name in ("mirai", "daemon eval") for span in spans(name)}
    (inner,) = [span for span in spans("daemon eval") if span.attributes["code.function.name"].endswith("double")]
    chain = [inner]
    while chain[-1].parent is not None:
        chain.append(parents[chain[-1].parent.span_id])
    assert [span.name for span in chain] == ["daemon eval", "mirai", "daemon eval", "mirai"]


def nest():
    return mirai(tasks.double, 1).result()


def test_a_process_for_one_task_is_no_daemon_that_connects(spans):
    """Its span is that of the task."""
    mirai(tasks.double, 1).result(DEADLINE)

    assert (len(spans("mirai")), spans("daemon connect"), spans("daemons set")) == (1, [], [])


# Where there is little to trace, or nothing


def test_what_is_not_sampled_is_not_sampled_there(use):
    """The daemon follows the host's decision."""
    use(sdk.TracerProvider(sampler=sampling.ALWAYS_OFF))
    with daemons(1):
        everywhere(set_up).collect()
        call_mirai([mirai(tasks.double, 1), *mirai_map([1], tasks.double)])

        assert mirai(ended).result(DEADLINE) == []


def test_a_daemon_without_a_tracer_evaluates_all_the_same(spans):
    """Nor does it import anything for that."""
    with daemons(1):
        assert mirai("import sys; 'opentelemetry' in sys.modules").result(DEADLINE) is False

    assert len(spans("mirai")) == 1


def test_an_exporter_that_raises_harms_no_task(use):
    """It is logged, and the program goes on."""

    class Broken(SimpleSpanProcessor):
        def on_start(self, span, parent_context=None):
            raise RuntimeError("broken")

        def on_end(self, span):
            raise RuntimeError("broken")

    use(sdk.TracerProvider()).add_span_processor(Broken(InMemorySpanExporter()))
    with daemons(1):
        assert mirai(tasks.double, 1).result(DEADLINE) == 2
        assert mirai_map([1, 2], tasks.double).collect() == [2, 4]


def test_a_map_ends_whichever_threads_resolve_its_elements(one, spans):
    """They are resolved by who waits, who submits and the I/O thread, at the same time."""
    maps = [mirai_map(range(300), tasks.double) for _ in range(3)]
    with ThreadPoolExecutor(3) as threads:
        assert list(threads.map(lambda mp: mp.collect(), maps)) == [list(range(0, 600, 2))] * 3

    assert [span.attributes["mirai.tasks"] for span in spans("mirai_map")] == [300] * 3


def test_a_propagator_that_raises_harms_no_task(one, spans, monkeypatch):
    """As with an exporter."""

    class Broken:
        def inject(self, *args, **kwargs):
            raise RuntimeError("broken")

    monkeypatch.setattr(propagate, "propagator", Broken())

    assert mirai(tasks.double, 1).result(DEADLINE) == 2


def test_without_a_tracer_nothing_is_recorded_nor_sent(use):
    """OpenTelemetry may be imported by any library."""
    use(None)
    with daemons(1):
        m = mirai(tasks.double, 1)
        assert (m.result(DEADLINE), m._traced) == (2, None)
        assert propagate.get_global_textmap() is not None


def test_a_program_without_opentelemetry_does_not_import_it():
    """Its import takes longer than that of mirai."""
    program = (
        "import mirai, sys\nwith mirai.daemons(1): mirai.mirai(abs, 1).result(); mirai.mirai_map([1], abs).collect()"
    )
    program += "\nprint([name for name in sys.modules if name.startswith('opentelemetry')])"

    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=DEADLINE)

    assert (ran.stdout, ran.stderr) == ("[]\n", "")


def test_what_instruments_a_program_instruments_its_daemons(tmp_path):
    """As `opentelemetry-instrument` does: by a module that Python imports when it starts; theirs are local processes."""
    (tmp_path / "sitecustomize.py").write_text(
        textwrap.dedent("""
            from opentelemetry import trace
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter

            trace.set_tracer_provider(TracerProvider())
            trace.get_tracer_provider().add_span_processor(BatchSpanProcessor(ConsoleSpanExporter(
                formatter=lambda span: f"{span.name} {span.context.trace_id:x}\\n"
            )))
        """)
    )
    program = "import mirai\nwith mirai.daemons(1, output=True): mirai.mirai(abs, 1).result()"
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])

    ran = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True, text=True, timeout=DEADLINE, env={**os.environ, "PYTHONPATH": path},
    )  # fmt: skip

    traces = dict(line.rsplit(" ", 1) for line in ran.stdout.splitlines())
    assert traces["daemon eval"] == traces["mirai"], ran.stderr


def test_a_daemon_that_is_cut_off_is_no_error_of_its_own(spans):
    """Its ticket was revoked."""
    with daemons(url=local_url(tcp=True)):
        (command,) = launch(1)
        wait_until(lambda: spans("daemon connect"), "it to connect")
        saisei(1, force=True)
        wait_until(lambda: spans("daemon disconnect"), "it to be cut off")
        command.wait(DEADLINE)

    assert [span.status.status_code for span in spans("daemon disconnect")] == [trace.StatusCode.UNSET]


def launch(n):
    from mirai import launch_remote

    return [
        subprocess.Popen(command.argv, env={**os.environ, **command.env}, stderr=subprocess.DEVNULL)
        for command in launch_remote(n)
    ]
