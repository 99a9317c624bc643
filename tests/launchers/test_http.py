"""A job server over HTTP: what is asked, what is answered, and Slurm's REST API where it is there."""

from __future__ import annotations

import json
import os
import pickle
import sys

import pytest

from mirai.hookspecs import LaunchCommand
from mirai.testing import FakeJobServer, LauncherSuite
from mirai_launchers import HttpConfig, http, http_config
from mirai_launchers.http import _id, _reason, _said
from mirai_launchers.jobs import Phase
from tests.launchers.backends import require
from tests.waiting import wait_until

COMMAND = LaunchCommand(("python3", "-m", "mirai.launch", "daemon", "tcp://node1:5555"), {"MIRAI_TICKET": "7c9e6679"})


class TestFake(LauncherSuite):
    tells_logs = True

    @pytest.fixture
    def launcher(self, at_once):
        with FakeJobServer() as server:
            yield http_config(server.url, job=server.url + "/%s", python=sys.executable)


def in_environment(job):
    return lambda command, secrets: {
        "script": f"#!/bin/sh\n{command}",
        "job": job | {"environment": job["environment"] | secrets},
    }


def in_script(job):
    return lambda command: {"script": f"#!/bin/sh\n{command}", "job": job}


class TestSlurm(LauncherSuite):
    """The one HTTP API that is here for real."""

    tells_logs = False

    @pytest.fixture(params=[in_environment, in_script])
    def data(self, request):
        return request.param

    @pytest.fixture
    def launcher(self, slurm, data):
        url = require("SLURM_REST_URL", "slurm")
        headers = {
            "X-SLURM-USER-NAME": os.environ["SLURM_REST_USER"],
            "X-SLURM-USER-TOKEN": os.environ["SLURM_REST_TOKEN"],
        }
        job = {"name": "mirai", "environment": {"PATH": os.environ["PATH"]}, "current_working_directory": "/tmp"}
        return http_config(
            f"{url}/job/submit",
            headers=lambda: headers,
            data=data(job | {"standard_output": "/dev/null"}),
            job=f"{url}/job/%s",
            python=sys.executable,
        )

    def test_a_python_that_is_not_there_is_told(self, launcher):
        """The log is not within reach, but the status is."""
        (one,) = launcher.launch([LaunchCommand(("python3", "-c", "import sys; sys.exit(3)"))])
        said = wait_until(one.failure, lambda: f"a failure to be told: {one.state()}")
        one.cancel()

        assert f"http job {one.id}: FAILED (NonZeroExitCode), exit status 3" in said

    def test_what_slurm_refuses_is_told(self, launcher):
        """Its answer has status 500, and a body that says why."""
        body = {"script": "#!/bin/sh", "job": {"partition": "nosuch", "environment": {"A": "b"}}}
        refused = http_config(launcher.url, headers=launcher.headers, data=lambda command: body)

        with pytest.raises(OSError, match="status 500: Invalid partition name specified"):
            refused.launch([COMMAND])


@pytest.fixture
def server():
    with FakeJobServer() as server:
        yield server


@pytest.fixture
def launch(server, at_once):
    launched = []

    def launch(n=1, **options):
        launches = http_config(**{"url": server.url, **options}).launch([COMMAND] * n)
        launched.extend(launches)
        return launches

    yield launch
    for one in launched:
        one.cancel()


def test_the_command_is_escaped_to_stand_inside_of_json(server, launch):
    """A word may hold quotation marks, and does where it is a certificate."""
    command = LaunchCommand(("true", '"a"', "b\\c", "d\ne", "f%sg"))

    http_config(server.url, data='{"command": "true; %s", "n": 1}', python="true").launch([command])

    ((method, path, body),) = server.requests
    assert (method, path, body["n"]) == ("POST", "/jobs", 1)
    assert body["command"] == f"true; exec {command}"


def test_unless_told_otherwise_the_ticket_is_beside_the_command(server, launch):
    """The command may be run as `sh -c COMMAND`."""
    launch(python="true")

    assert server.requests[0][2] == {
        "command": "exec true -m mirai.launch daemon tcp://node1:5555",
        "environment": {"MIRAI_TICKET": "7c9e6679"},
    }


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ('["%s", "%(MIRAI_TICKET)s"]', ["exec true -m mirai.launch daemon tcp://node1:5555", "7c9e6679"]),
        (
            lambda command, secrets: [command, secrets],
            ["exec true -m mirai.launch daemon tcp://node1:5555", {"MIRAI_TICKET": "7c9e6679"}],
        ),
        ('["%s"]', ["export MIRAI_TICKET=7c9e6679; exec true -m mirai.launch daemon tcp://node1:5555"]),
        (
            lambda command, indent=2: [command],
            ["export MIRAI_TICKET=7c9e6679; exec true -m mirai.launch daemon tcp://node1:5555"],
        ),
    ],
)
def test_where_the_ticket_has_a_place_it_is_in_no_command(data, said):
    """Else the command says it itself: a daemon without one is turned away."""
    body = http_config("http://node1/jobs", data=data)._body(COMMAND.run_by("true"))

    assert (json.loads(body) if isinstance(body, str) else body) == said


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (lambda command: {"command": "true " + command[:0]}, {"command": "true "}),
        (lambda command: b'{"command": "true"}', {"command": "true"}),
        (lambda command: '{"command": "true"}', {"command": "true"}),
    ],
)
def test_a_function_makes_the_body(server, launch, data, said):
    """Text, bytes, or what JSON can say."""
    launch(data=data)

    assert server.requests[0][2] == said


def test_fields_may_be_functions_that_are_called_at_launch(launch):
    """Tokens expire, and an address may be found out late."""
    called = []

    def field(name, value):
        def call():
            called.append(name)
            return value

        return call

    with FakeJobServer(token="fresh") as guarded:
        launcher = http_config(
            url=field("url", guarded.url),
            method=field("method", "PUT"),
            headers=field("headers", {"X-Mine": "1"}),
            cookie=field("cookie", "a=b"),
            token=field("token", "fresh"),
        )
        assert called == []
        launcher.launch([COMMAND])

    assert sorted(called) == ["cookie", "headers", "method", "token", "url"]
    assert guarded.requests[0][0] == "PUT"


def test_one_request_is_for_each_daemon(server, launch):
    """In their order."""
    launched = launch(3, data='{"command": "true; %s"}')

    assert [one.id for one in launched] == ["1", "2", "3"]


def test_a_refusal_is_an_error_with_its_reason(server, launch):
    """The server says it best."""
    server.reject(422, json.dumps({"errors": [{"description": "no such image: r-base", "error": "invalid"}]}))

    with pytest.raises(
        OSError, match=r"POST http://127.0.0.1:\d+/jobs is refused with status 422: invalid: no such image"
    ):
        launch(2)


def test_what_was_started_before_a_refusal_is_ended(server, at_once):
    """A launch that raises leaves nobody to cancel it."""
    bodies = iter(['{"command": "sleep 60"}', "no JSON"])

    with pytest.raises(OSError, match="status 400: no command"):
        http_config(server.url, data=lambda command: next(bodies), job=server.url + "/%s").launch([COMMAND] * 2)

    assert server.requests[-1][:2] == ("DELETE", "/jobs/1")


def test_a_redirection_is_refused(server, launch):
    """It would take the token and the ticket to another server."""
    server.reject(302, "elsewhere")

    with pytest.raises(OSError, match="status 302"):
        launch(token="secret")


def test_a_server_that_is_not_there_is_an_error_at_once(server):
    """Not after all retries that somebody could think of."""
    with pytest.raises(OSError, match="POST http://127.0.0.1:1/jobs failed: .*refused"):
        http_config("http://127.0.0.1:1/jobs").launch([COMMAND])


def test_a_job_that_is_lost_is_told(server, launch):
    """Else its tasks would wait for ever."""
    server.lose()
    (lost,) = launch(job=server.url + "/%s")

    failure = wait_until(lost.failure, "the loss to be told")

    assert failure == f"http job {lost.id}: is not known to the scheduler any more"


def test_an_answer_without_an_id_is_an_error_where_jobs_are_to_be_watched(server, launch):
    """A job that nobody can cancel must not seem launched."""
    server.reject(200, "created")

    with pytest.raises(OSError, match="is answered by 'created', in which is no job's id"):
        launch(job=server.url + "/%s")


def test_without_a_url_of_jobs_none_is_watched(server, launch):
    """Their daemons are missed all the same, by who waits for them."""
    (one,) = launch(data='{"command": "false; %s"}')

    assert (one.state(), one.failure()) == ("", None)


def test_what_is_shown_has_no_secrets(server):
    """People send it to their site's support."""
    launcher = http_config(server.url, headers={"X-Key": "k-1", "Content-Type": "text/x"}, cookie="c-1", token="t-1")

    shown = launcher.show([COMMAND, COMMAND])

    assert shown.splitlines() == [
        f"POST {server.url}",
        "X-Key: …",
        "Content-Type: text/x",
        "Cookie: …",
        "Authorization: Bearer …",
        "",
        '{"command": "exec python3 -m mirai.launch daemon tcp://node1:5555", "environment": {"MIRAI_TICKET": "..."}}',
    ]
    assert not [secret for secret in ("k-1", "c-1", "t-1", "7c9e6679") if secret in shown + repr(launcher)]
    assert server.requests == []


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"url": "node1/jobs"}, ValueError, "url='node1/jobs': give a URL"),
        ({"url": "file:///etc/passwd"}, ValueError, "give a URL that begins with https"),
        ({"url": None}, TypeError, "url is None"),
        ({"method": "DO IT"}, ValueError, "method='DO IT'"),
        ({"headers": {"X": 1}}, TypeError, "headers has 'X': 1"),
        ({"headers": "X: 1"}, TypeError, "headers is 'X: 1'"),
        ({"data": "{}"}, ValueError, "data='{}' has no '%s'"),
        ({"data": "%s %(MIRAI_TIKET)s"}, ValueError, r"data has %\(MIRAI_TIKET\)s: the one secret of a daemon is"),
        ({"job": "http://node1/job"}, ValueError, "has no '%s': put it where a job's id goes"),
        ({"token": 1}, TypeError, "token is 1, of type int"),
        ({"python": ""}, ValueError, "python is empty"),
    ],
)
def test_options_are_checked_when_given(options, error, said):
    """Not in the middle of a launch."""
    with pytest.raises(error, match=said):
        http_config(**{"url": "https://node1/jobs", **options})


def test_equal_options_make_equal_launchers():
    """A YAML profile says the same as Python does."""
    made = [http_config("https://node1/jobs", headers={"A": "b"}) for _ in range(2)]

    assert made[0] == made[1]
    assert len(set(made)) == 1
    assert pickle.loads(pickle.dumps(made[0])) == made[0]


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        ({"job_id": 5, "errors": []}, "5"),
        ({"id": "a-1"}, "a-1"),
        ({"job": {"id": 7}}, "7"),
        ({"result": {"job_id": 7}}, "7"),
        ({"ok": True}, None),
        ("created", None),
        (None, None),
    ],
)
def test_ids_are_found_where_servers_put_them(answer, found):
    """There is no standard for it."""
    assert _id(answer) == found


def test_an_answer_that_names_errors_is_one():
    """Some servers answer 200 whatever happens."""
    with pytest.raises(OSError, match="started no job: quota exceeded"):
        _id({"errors": [{"error": "quota exceeded"}]})


@pytest.mark.parametrize(
    ("answer", "phase", "words"),
    [
        ({"state": "running"}, Phase.RUNNING, "running"),
        ({"status": "queued"}, Phase.WAITING, "queued"),
        ({"jobs": [{"job_state": "PENDING", "state_reason": "Resources"}]}, Phase.WAITING, "PENDING (Resources)"),
        (
            {"jobs": [{"job_state": "FAILED", "state_reason": "NonZeroExitCode", "exit_code": 768}]},
            Phase.ENDED,
            "FAILED (NonZeroExitCode), exit status 3",
        ),
        (
            {"jobs": [{"job_state": ["FAILED"], "exit_code": {"return_code": {"set": True, "number": 3}}}]},
            Phase.ENDED,
            "FAILED, exit status 3",
        ),
        ({"state": "Killed", "message": "out of memory"}, Phase.ENDED, "Killed (out of memory)"),
        ("RUNNING", Phase.RUNNING, "RUNNING"),
    ],
)
def test_states_are_found_where_servers_put_them(answer, phase, words):
    """Slurm alone has said it in three ways."""
    assert _said(answer)[:2] == (phase, words)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"errors": [{"error": "a", "description": "b"}]}, "a: b"),
        ({"detail": "not allowed"}, "not allowed"),
        ("<html>  Bad\n Gateway</html>", "<html> Bad Gateway</html>"),
        (None, ""),
    ],
)
def test_reasons_are_found_where_servers_put_them(body, said):
    """An error is a line."""
    assert _reason(body) == said


def test_requests_have_an_end(launch, monkeypatch):
    """A server that accepts and says nothing must not hold `daemons()` for ever."""
    import socket

    monkeypatch.setattr(http, "PATIENCE", 0.1)
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        pytest.raises(OSError, match=r"is not answered within 0.1 s|timed out"),
    ):
        launch(url=f"http://127.0.0.1:{silent.getsockname()[1]}/")


def test_it_is_what_r_calls_it():
    """The name of the function, and of the class."""
    assert http_config is HttpConfig
