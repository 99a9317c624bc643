"""Ask a job server over HTTP: Slurm's REST API, a notebook server, whatever starts a command when it is asked to."""

from __future__ import annotations

import functools
import inspect
import json
import re
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar
from urllib.parse import quote, urlsplit

from mirai.hookspecs import LaunchCommand, Launcher
from mirai_launchers import shell
from mirai_launchers.jobs import Array, Job, Keeper, Phase, Said

SLOT = "%s"
PLACE = re.compile(r"%s|%\((\w+)\)s")  # of the command, or of one of its secrets
PATIENCE = 30.0  # seconds for one answer
LARGEST = 1 << 20  # bytes of an answer that are read
CALLABLE = "…"  # what is shown of a field that is called at launch
HIDDEN = "..."  # and of a secret

TICKET = "MIRAI_TICKET"
DEFAULT = '{"command": "%s", "environment": {"MIRAI_TICKET": "%(MIRAI_TICKET)s"}}'
POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)

IDS = ("job_id", "jobId", "jobid", "id")
STATES = ("job_state", "state", "status", "phase")
REASONS = ("state_reason", "reason", "message")
STATUSES = ("exit_status", "exitStatus", "exit_code", "exitCode")
ERRORS = ("error", "errors", "detail", "message", "description", "reason")
OVER = re.compile(
    r"(boot_?fail|cancell?ed|complet(ed|e)|deadline|done|ended|error|exited|fail(ed|ure)?|finished|killed|node_fail|"
    r"out_of_memory|oom|preempted|stopped|succeeded|success|terminated|timeout)",
    re.IGNORECASE,
)
WAITS = re.compile(r"(pending|queued|waiting|submitted|configuring|scheduled|created)", re.IGNORECASE)
UNKNOWN = re.compile(r"invalid job id|unable to find|no such job|no job|not found|unknown job", re.IGNORECASE)


@dataclass(frozen=True)
class HttpConfig(Launcher):
    """Start daemons by requests to an HTTP API, one for each.

    Each attribute may be a function without arguments, called at each launch: for a token that expires. The requests
    hold the daemons' tickets: send them to servers that you trust, and by https.

    Attributes:
        url: where to post.
        method: of the request.
        headers: names and values.
        data: the body: text, in which `%s` is the daemon's command, a line for a shell, and `%(MIRAI_TICKET)s` its
            ticket, for the variable of that name, both escaped to stand inside of a JSON string; or a function of the
            command and its secrets, by name, that returns text, bytes, or something that JSON can say. Unless given,
            it is `{"command": "%s", "environment": {"MIRAI_TICKET": "%(MIRAI_TICKET)s"}}`. Text without a place for
            the ticket, and a function of the command alone, get a command that sets it, for where that is part of a
            file: in a command line, `ps` would show it to everybody on that machine.
        cookie: the value of the `Cookie` header.
        token: for the header `Authorization: Bearer …`.
        job: the URL of one job, `%s` for its id in the answer: GET there tells its state, DELETE ends it. Unless
            given, jobs are neither watched nor ended; their daemons leave with their host all the same.
        python: the interpreter's name or path where the daemon will run.

    Source: `http_config()` in R.
    """

    name: ClassVar[str] = "http"

    url: str | Callable[[], str]
    method: str | Callable[[], str] = "POST"
    headers: Mapping[str, str] | Callable[[], Mapping[str, str]] | None = field(default=None, repr=False, hash=False)
    data: str | Callable[[str], Any] | Callable[[str, Mapping[str, str]], Any] | None = field(default=None, hash=False)
    cookie: str | Callable[[], str] | None = field(default=None, repr=False)
    token: str | Callable[[], str] | None = field(default=None, repr=False)
    job: str | Callable[[], str] | None = None
    python: str = "python3"

    def __post_init__(self) -> None:
        for option in ("url", "method", "cookie", "token", "job", "python", "data"):
            value = getattr(self, option)
            absent = value is None and option in ("cookie", "token", "job", "data")
            if not (isinstance(value, str) or absent or (callable(value) and option != "python")):
                raise TypeError(
                    f"{option} is {value!r}, of type {type(value).__name__}: text or a function belongs there"
                )
        if not (self.headers is None or callable(self.headers) or isinstance(self.headers, Mapping)):
            raise TypeError(f"headers is {self.headers!r}: names and their values, or a function, belong there")
        if isinstance(self.headers, Mapping):
            for name, value in self.headers.items():
                if not isinstance(name, str) or not isinstance(value, str):
                    raise TypeError(f"headers has {name!r}: {value!r}: put both into quotation marks")
        for option in ("url", "job"):
            if isinstance(value := getattr(self, option), str):
                _check_url(option, value)
        if isinstance(self.method, str) and not self.method.isalpha():
            raise ValueError(f"method={self.method!r}: give one of HTTP, such as POST")
        if isinstance(self.data, str) and SLOT not in self.data:
            raise ValueError(f"data={self.data!r} has no {SLOT!r}: put it where the daemon's command goes")
        if isinstance(self.data, str) and (strange := [name for name in _places(self.data) if name != TICKET]):
            raise ValueError(f"data has %({strange[0]})s: the one secret of a daemon is %({TICKET})s")
        if isinstance(self.job, str) and SLOT not in self.job:
            raise ValueError(f"job={self.job!r} has no {SLOT!r}: put it where a job's id goes")
        if not self.python:
            raise ValueError("python is empty: give a name or a path")

    def launch(self, commands: Sequence[LaunchCommand]) -> list[Job]:
        url, method = _called(self.url), _called(self.method)
        _check_url("url", url)
        ids: list[str] = []
        try:
            for command in commands:
                body = self._body(command.run_by(self.python))
                answer = self._ask(method, url, body)
                job = _id(answer)
                if job is None and self.job is not None:
                    raise OSError(f"{method} {url} is answered by {answer!r}, in which is no job's id")
                ids.append(job or f"#{len(ids) + 1}")
        except BaseException:
            if ids:
                self.end(ids)
            raise
        array = Array(Keeper(self), self, url, ids, _NoLogs())
        return [Job(array, number) for number in range(1, len(ids) + 1)]

    def show(self, commands: Sequence[LaunchCommand]) -> str:
        headers = dict(self.headers) if isinstance(self.headers, Mapping) else {}
        shown = [f"{_shown(self.method)} {_shown(self.url)}"]
        shown += [f"{name}: {value if name.lower() == 'content-type' else CALLABLE}" for name, value in headers.items()]
        if callable(self.headers):
            shown.append(f"{CALLABLE}: {CALLABLE}")
        shown += [f"Cookie: {CALLABLE}"] if self.cookie else []
        shown += [f"Authorization: Bearer {CALLABLE}"] if self.token else []
        request = "\n".join(shown)
        bodies = []
        for command in commands:
            command = LaunchCommand(command.argv, dict.fromkeys(command.env, HIDDEN)).run_by(self.python)
            # A function of the user's own is not called: it may do anything.
            body = f"{CALLABLE} {_bare_line(command)}" if callable(self.data) else self._body(command)
            bodies.append(f"{request}\n\n{body}")
        return "\n\n".join(dict.fromkeys(bodies))

    # What a keeper asks.

    def ask(self, arrays: Sequence[Array]) -> dict[str, Said]:
        return dict(self._states([task for array in arrays for task in array.open()]))

    def look_up(self, array: Array) -> dict[str, Said]:
        return {}

    def end(self, tasks: Sequence[str]) -> None:
        if self.job is None:
            return
        troubles = []
        for task in tasks:
            try:
                self._ask("DELETE", self._job(task))
            except _Unknown:
                pass  # it has ended
            except OSError as error:
                troubles.append(str(error))
        if troubles:
            raise OSError("; ".join(troubles))

    def _states(self, tasks: Sequence[str]) -> Iterator[tuple[str, Said]]:
        for task in tasks:
            if self.job is None:
                yield task, Said(Phase.WAITING, "")
            else:
                try:
                    yield task, _said(self._ask("GET", self._job(task)))
                except _Unknown:
                    pass

    def _job(self, task: str) -> str:
        assert self.job is not None, "asked for only where it is given"
        return str(_called(self.job)).replace(SLOT, quote(task, safe=""))

    def _body(self, command: LaunchCommand) -> Any:
        data: Any = DEFAULT if self.data is None else self.data
        if callable(data):
            return data(_bare_line(command), dict(command.env)) if _takes_secrets(data) else data(_line(command))
        line = _bare_line(command) if _places(data) else _line(command)

        def put(place: re.Match[str]) -> str:
            text = line if place[1] is None else command.env.get(place[1], "")
            return json.dumps(text)[1:-1]

        return PLACE.sub(put, data)

    def _ask(self, method: str, url: str, body: Any = None) -> Any:
        """The answer to one request: what its JSON says, or its text.

        Raises:
            OSError: names the URL and what the server said.
        """
        content, kind = _encoded(body)
        headers = {"Content-Type": kind} if kind else {}
        headers |= _called(self.headers) or {}
        if cookie := _called(self.cookie):
            headers["Cookie"] = cookie
        if token := _called(self.token):
            headers["Authorization"] = f"Bearer {token}"
        request = urllib.request.Request(url, content, headers, method=method)
        try:
            with _opener().open(request, timeout=PATIENCE) as response:
                return _decoded(response.read(LARGEST))
        except urllib.error.HTTPError as error:
            with error:
                said = _reason(_decoded(error.read(LARGEST))) or error.reason
            kind_of = _Unknown if error.code in (404, 410) or UNKNOWN.search(said) else OSError
            raise kind_of(f"{method} {url} is refused with status {error.code}: {said}") from None
        except urllib.error.URLError as error:
            raise OSError(f"{method} {url} failed: {error.reason}") from None
        except TimeoutError:
            raise TimeoutError(f"{method} {url} is not answered within {PATIENCE:g} s") from None


class _Unknown(OSError):
    """The server does not know such a thing."""


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirection is refused: it would take the token and the ticket to another server."""

    def redirect_request(self, *args: Any) -> None:
        return None


@functools.cache
def _opener() -> urllib.request.OpenerDirector:
    return urllib.request.build_opener(_NoRedirect)


class _NoLogs:
    """In the place of a spool: what a job prints stays where it runs."""

    def end_of_log(self, number: int, path: str | None) -> str:
        return ""

    def clear(self, *, keep_logs: bool) -> None:
        pass


def _line(command: LaunchCommand) -> str:
    """A line for a shell that sets the secrets, too: it belongs into a file."""
    settings = shell.exports(command.env).replace("\n", "; ")
    return f"{settings}{_bare_line(command)}"


def _bare_line(command: LaunchCommand) -> str:
    """The same for a shell that has the secrets already."""
    return f"exec {shell.bare_line(command)}"


def _takes_secrets(function: Callable[..., Any]) -> bool:
    """Whether it is a function of the command and its secrets."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except ValueError:  # of some that are written in C
        return False
    return sum(one.default is one.empty and one.kind in POSITIONAL for one in parameters) == 2


def _places(data: str) -> list[str]:
    """The secrets that have a place of their own in a text."""
    return [name for name in PLACE.findall(data) if name]


def _called(value: Any) -> Any:
    return value() if callable(value) else value


def _shown(value: Any) -> str:
    return CALLABLE if callable(value) else str(value)


def _check_url(option: str, url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise ValueError(f"{option}={url!r}: give a URL that begins with https:// or http://")


def _encoded(body: Any) -> tuple[bytes | None, str]:
    """The bytes of a body, and what kind they are of."""
    if body is None:
        return None, ""
    if isinstance(body, bytes):
        return body, "application/octet-stream"
    if isinstance(body, str):
        return body.encode(), "application/json" if body.lstrip()[:1] in ("{", "[") else "text/plain; charset=utf-8"
    return json.dumps(body).encode(), "application/json"


def _decoded(body: bytes) -> Any:
    try:
        return json.loads(body) if body else None
    except ValueError:
        return body.decode(errors="replace").strip()


def _id(answer: Any) -> str | None:
    """The job's id in an answer, wherever servers put it.

    Raises:
        OSError: the answer says that there is none.
    """
    if isinstance(answer, Mapping):
        for key in IDS:
            if isinstance(value := answer.get(key), str | int) and not isinstance(value, bool):
                return str(value)
        for key in ("job", "result", "data"):
            if (found := _id(answer.get(key))) is not None:
                return found
        if errors := answer.get("errors") or answer.get("error"):
            raise OSError(f"the server started no job: {_reason(errors)}")
    return None


def _said(answer: Any) -> Said:
    """What an answer says of a job."""
    if isinstance(answer, Mapping) and (jobs := answer.get("jobs") or answer.get("job")):
        return _said(jobs[-1] if isinstance(jobs, Sequence) else jobs)
    if not isinstance(answer, Mapping):
        answer = {"state": str(answer)}
    state, reason = _text(_first(answer, STATES)), _text(_first(answer, REASONS))
    words = f"{state} ({reason})" if reason not in ("", "None") else state
    if not OVER.fullmatch(state):
        return Said(Phase.WAITING if WAITS.fullmatch(state) else Phase.RUNNING, words)
    status = _first(answer, STATUSES)
    if isinstance(status, Mapping):  # Slurm's, from 23.11 on
        status = status.get("return_code")
    if isinstance(status, Mapping):
        status = status.get("number")
    if not isinstance(status, int):
        return Said(Phase.ENDED, words)
    if "job_state" in answer and status > 255:
        status >>= 8  # Slurm's, before that: as wait(2) has it
    log = _text(answer.get("log"))
    return Said(Phase.ENDED, f"{words}, exit status {status}" + (f"; it said:\n{log}" if log else ""), status)


def _first(answer: Mapping[str, Any], keys: Sequence[str]) -> Any:
    return next((answer[key] for key in keys if answer.get(key) not in (None, "")), None)


def _text(value: Any) -> str:
    if isinstance(value, Sequence) and not isinstance(value, str):
        return " ".join(map(_text, value))
    return "" if value is None else str(value).strip()


def _reason(answer: Any) -> str:
    """What an error's body says, in a line."""
    if isinstance(answer, Mapping):
        found = [_reason(answer[key]) for key in ERRORS if answer.get(key)]
        return ": ".join(dict.fromkeys(filter(None, found))) or json.dumps(answer)
    if isinstance(answer, Sequence) and not isinstance(answer, str):
        return "; ".join(filter(None, map(_reason, answer)))
    return "" if answer is None else " ".join(str(answer).split())[:500]


# What R calls it.
http_config = HttpConfig
