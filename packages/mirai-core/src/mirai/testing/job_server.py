"""A fake HTTP API that starts jobs, as those of job schedulers and notebook servers do."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any, Self


class FakeJobServer:
    """A context manager: inside, `POST url` with `{"command": "…"}` starts that command and answers its job's id.

    Variables of `"environment"` are set for it. `GET url/ID` tells its state, `DELETE url/ID` ends it. At its own end,
    its jobs are ended.

    Attributes:
        url: what to post to.
        token: what `Authorization: Bearer …` must say, where it is set.
        requests: method, path and body of each request that came.
    """

    def __init__(self, token: str | None = None) -> None:
        self.token = token
        self.requests: list[tuple[str, str, Any]] = []
        self._fault: tuple[int, str] | None = None
        self._lost = False
        self._lock = threading.Lock()
        self._jobs: dict[str, tuple[subprocess.Popen[bytes], Any]] = {}

    def reject(self, status: int, body: str) -> None:
        """Answer every request so."""
        self._fault = status, body

    def lose(self) -> None:
        """Answer as if jobs were started, and start none."""
        self._lost = True

    def kill(self) -> None:
        """End all jobs."""
        for job in list(self._jobs):
            self._end(job)

    def __enter__(self) -> Self:
        fake = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                fake._answer(self)

            do_DELETE = do_GET = do_PUT = do_POST

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), name="fake-job-server")
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/jobs"
        return self

    def __exit__(self, *exception: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        self.kill()

    def _answer(self, request: BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers.get("Content-Length", 0)))
        with self._lock:
            try:
                said = json.loads(body) if body else None
            except ValueError:
                said = body.decode(errors="replace")
            self.requests.append((request.command, request.path, said))
            status, answer = self._fault or self._do(request, said)
        text = answer if isinstance(answer, str) else json.dumps(answer)
        request.send_response(status)
        request.send_header("Content-Type", "application/json")
        request.end_headers()
        request.wfile.write(text.encode())

    def _do(self, request: BaseHTTPRequestHandler, said: Any) -> tuple[int, Any]:
        if self.token and request.headers.get("Authorization") != f"Bearer {self.token}":
            return 401, {"error": "who are you?"}
        job = request.path.rpartition("/")[2]
        if request.command in ("POST", "PUT"):
            if not isinstance(said, dict) or "command" not in said:
                return 400, {"error": "no command"}
            return 200, {"job_id": self._start(said["command"], said.get("environment", {}))}
        if job not in self._jobs:
            return 404, {"error": f"no job {job}"}
        process, log = self._jobs[job]
        if request.command == "DELETE":
            self._end(job)
            return 200, {}
        status = process.poll()
        said = os.pread(log.fileno(), 2000, 0).decode(errors="replace")
        return 200, {"state": "running" if status is None else "ended", "exit_status": status, "log": said}

    def _start(self, command: str, environment: dict[str, str]) -> str:
        job = str(len(self.requests))
        if not self._lost:
            log = tempfile.TemporaryFile()  # noqa: SIM115 (`_end` closes it)
            process = subprocess.Popen(
                ["sh", "-c", command],
                env={**os.environ, **environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
            self._jobs[job] = process, log
        return job

    def _end(self, job: str) -> None:
        process, log = self._jobs.pop(job)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait()
        log.close()
