"""Receive a task, evaluate it, reply, until a limit says stop.

The main thread evaluates and answers. A control thread hears what must be heard meanwhile: to cancel
the task in hand, to give back those not begun, to say where it is, to leave.
"""

from __future__ import annotations

import _signal as signal  # type: ignore[import-not-found]  # without enumerations, which take 0.2 MB
import _socket
import _thread
import errno
import os
import sys
import time
from collections import deque
from math import inf

from mirai.private import fresh
from mirai.protocol import serialize, shares
from mirai.protocol.command import LAUNCH_VARIABLE, THREAD_VARIABLES, UNTIL
from mirai.protocol.limits import Exit, Limits
from mirai.protocol.messages import EVERYWHERE, Kind, Status
from mirai.protocol.wire import HEADER, SHARED, Decoder, FrameError, body_size, encode, pieces
from mirai.runtime import cleanup
from mirai.runtime.evaluate import NOTHING, Evaluator, Interrupted, Leave, not_mapped
from mirai.runtime.in_hand import INTERRUPT, InHand
from mirai.runtime.joining import Refused, join, take_ticket
from mirai.runtime.options import Options
from mirai.transport.schemes import PeerError, dial
from mirai.transport.urls import remove_local

TYPE_CHECKING = False  # not from typing, whose import is a good part of a daemon's start
if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence
    from typing import Any

    from mirai.protocol.wire import Body, Buffer, Frame
    from mirai.runtime.loans import Loans

GRACE = 0.2  # seconds that a task has to clean up when its daemon must leave
LONGEST = 86400.0  # seconds of one wait: the limits are looked at again after it
PAUSES = (0.0, 0.01, 0.03, 0.1, 0.3, 0.6)  # seconds between attempts to find that the host does not listen any more
UNEASY = 2.0  # seconds of dialling in vain after which a daemon says what it waits for, once for each reason
REDIAL = 0.25  # seconds between two attempts, at most
SWITCH = 0.0005  # seconds after which the control thread is heard while the task is hot Python code
FAILED = 10  # exit code of a daemon that could not begin

TASK, RESULT, CANCELLED = Kind.TASK, Kind.RESULT, Status.CANCELLED
LARGEST_AUX = 0xFFFFFFFF


class Daemon:
    """One daemon, connected to one host."""

    def __init__(
        self, url: str, launch: str, data: socket.socket, control: socket.socket, options: Options, limits: Limits
    ) -> None:
        self.persists = options.autoexit is False
        self._heard = _thread.allocate_lock()  # held until the host has nothing more to say
        self._heard.acquire()
        self._url = url
        # Whether nobody but this host will ever listen there. It may be gone before it has said so.
        self._is_private = bool(launch) and not self.persists
        self._data, self._control = data, control
        self._options = options
        self._limits = limits
        self._lock = _thread.allocate_lock()  # held to begin a task, and to decide about those not begun
        self._begun = 0  # the last task begun
        self._recalled = 0  # of those not begun, the ones up to this one are not ours any more
        self._skipped: set[int] = set()  # cancelled before they began
        self._leaving = False
        self._served = False  # the main thread is through
        self._is_welcome = False  # the host has let us in
        self._host_is_gone = False  # the control connection has ended
        self._exit = Exit.DISCONNECTED
        self._evaluator = Evaluator(options.cleanup)
        self._in_hand = InHand(self._evaluator, lambda: self._leaving or self._is_abandoned())
        shares.find = self._evaluator.shared
        self._saying = _thread.allocate_lock()  # held to send on the control connection
        self._lent: Loans | None = None  # once there are any

    def serve(self) -> int:
        """Evaluate tasks until a limit, or the host, says stop."""
        self._in_hand.take_signals()
        interval = sys.getswitchinterval()
        sys.setswitchinterval(SWITCH)
        os.register_at_fork(after_in_child=self._forget_in_child)
        _thread.start_new_thread(self._listen, ())
        try:
            self._work()
        except Leave:
            pass
        except OSError as error:
            # Else the host is gone, and so is who would want to know.
            if error.errno == errno.EBADF:
                raise  # a task has closed the connection
        finally:
            self._served = True
            if self._lent is not None:
                self._lent.close()
            sys.setswitchinterval(interval)
            self._in_hand.give_signals_back()
        if self._exit == Exit.DISCONNECTED:
            self._clear_away()
            if self.persists:
                self._heard.acquire()
        return self._exit

    def _forget_in_child(self) -> None:
        # A child that a task forked must not keep the connection open when this process is gone.
        self._data.close()
        self._control.close()
        signal.signal(INTERRUPT, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)

    # The main thread

    def _work(self) -> None:
        decoder = Decoder(memory=fresh)
        data, limits = self._data, self._limits
        while not self._leaving:
            deadline = limits.next_deadline() if limits.any else inf
            if deadline != inf:
                data.settimeout(min(max(0.001, deadline - time.monotonic()), LONGEST))
            try:
                n = data.recv_into(decoder.space())
            except TimeoutError:
                reason = limits.reached(time.monotonic())
                if reason is not None:
                    return self._say_goodbye(reason)
                continue
            if not n:
                return None
            if deadline != inf:
                data.settimeout(None)
            for frame in decoder.received(n):
                if frame[0] != TASK:
                    self._take(frame)
                elif (reason := self._evaluate(frame)) is not None:
                    return self._say_goodbye(reason)
                if self._leaving:
                    return None

    def _say_goodbye(self, reason: int) -> None:
        """Leave on our own: the host gives what we have not begun to others."""
        self._exit = reason
        self._data.sendall(encode(Kind.BYE, aux=reason))

    def _take(self, frame: Frame) -> None:
        """Do what a frame says that is not a task."""
        kind, flags, count, aux, seq, body = frame
        if kind == Kind.BLOB:
            self._evaluator.keep(aux, count, self._loans().view(body) if flags & SHARED else body)
        elif kind == Kind.FORGET:
            self._evaluator.forget(aux)
            self._return_loans()
        elif kind == Kind.FREE:
            self._loans().freed(seq)
        elif kind == Kind.SETUP:
            self._set_up(serialize.loads(0, body))
        elif kind == Kind.REFUSED:
            raise Refused(bytes(body).decode())
        else:
            raise FrameError(f"a frame of kind {kind} on the data connection")

    def _set_up(self, setup: dict[str, Any]) -> None:
        sys.path[:] = setup["path"]
        self._is_private = setup["private"]
        self._is_welcome = True
        if self._host_is_gone:
            raise ConnectionResetError  # before the first task, during which nobody would hear of it
        if setup["heartbeat"] is not None:
            from mirai.runtime.pulse import watch_host

            watch_host(self._control, self._data, setup["heartbeat"])
        if setup["serial"] is not None:
            from mirai.protocol.serializers import Serializers

            self._evaluator.serializers = Serializers.decode(setup["serial"])
        self._evaluator.place = self._place if setup["shared"] else _as_it_is
        self._evaluator.baseline.take()

    def _evaluate(self, frame: Frame) -> int | None:
        """Evaluate a task and answer; why to leave after it, if so."""
        _, flags, count, blob, seq, body = frame
        start = time.monotonic()
        with self._lock:
            is_ours = seq > self._recalled
            if is_ours:
                self._begun = seq
        if not is_ours:
            self._decline(flags, body)
            return None
        if self._skipped and seq in self._skipped:
            self._skipped.discard(seq)
            self._decline(flags, body)
            self._data.sendall(encode(Kind.RESULT, flags=Status.CANCELLED, seq=seq))
            return None
        everywhere = flags & EVERYWHERE != 0
        evaluator = self._evaluator
        try:
            if flags & SHARED:
                # Nothing here may refer to it, so that it can be given back with the answer.
                view = self._loans().view
                status, (count, reply) = evaluator.run(seq, count, blob, view(body), everywhere)
            else:
                status, (count, reply) = evaluator.run(seq, count, blob, body, everywhere)
        except Interrupted:
            status, (count, reply) = CANCELLED, NOTHING
        except OSError as error:
            status, (count, reply) = not_mapped(error)
        except Leave:
            self._leaving = True
            return None
        end = time.monotonic()
        micros = int((end - start) * 1e6)
        if micros > LARGEST_AUX:
            micros = LARGEST_AUX
        if self._lent is not None:
            reply, shared = self._settle_loans(reply)
            status |= shared
        if isinstance(reply, bytes):
            self._data.sendall(HEADER.pack(RESULT, status, count, micros, seq, len(reply)) + reply)
        else:
            self._data.sendall(HEADER.pack(RESULT, status, count, micros, seq, body_size(reply)))
            for part in pieces(reply):
                self._data.sendall(part)
        if everywhere:
            evaluator.baseline.take()
            self._limits.set_up(time.monotonic())
            return None
        if evaluator.baseline.restore() and evaluator.serializers is not None:
            evaluator.serializers.forget()
        if self._lent is not None:
            self._return_loans()
        return self._limits.task_done(end) if self._limits.any else None

    # Shared memory

    def _loans(self) -> Loans:
        """Made with the first: most daemons do without."""
        with self._lock:
            if self._lent is None:
                from mirai.runtime.loans import Loans

                self._lent = Loans(self._control, self._saying)
            return self._lent

    def _place(self, parts: Sequence[Buffer], size: int) -> Body:
        return self._loans().place(parts, size)

    def _decline(self, flags: int, body: Buffer) -> None:
        """A task that was recalled or cancelled: its body is not looked at."""
        if flags & SHARED:
            self._loans().decline(body)
            self._return_loans()

    def _settle_loans(self, reply: Body) -> tuple[Body, int]:
        """Give back what the task does not use any more; what to send for its value, and with what flag."""
        self._return_loans()
        if not isinstance(reply, bytes | list) and (lent := self._loans().lend(reply)):
            return lent, SHARED
        return reply, 0

    def _return_loans(self) -> None:
        if self._lent is not None and (frames := self._lent.frees()):
            self._data.sendall(frames)

    # The control thread

    def _listen(self) -> None:
        decoder = Decoder()
        descriptors: deque[int] = deque()
        dismissed = False
        try:
            while not dismissed and (n := self._receive(decoder.space(), descriptors)):
                for kind, _, _, _, seq, body in decoder.received(n):
                    if kind == Kind.CANCEL:
                        self._cancel(seq)
                    elif kind == Kind.RECALL:
                        self._give_back(seq)
                    elif kind == Kind.STACK:
                        self._say(encode(Kind.STACK, self._in_hand.stack(seq).encode(), seq=seq))
                    elif kind == Kind.PING:
                        self._say(encode(Kind.PING))
                    elif kind == Kind.SEGMENT:
                        self._loans().mapped(seq, descriptors.popleft() if descriptors else -1, body)
                    elif kind == Kind.DROP:
                        self._loans().unmapped(seq)
                    elif kind == Kind.TRIM:
                        self._loans().trim()
                    elif kind == Kind.EXIT:
                        dismissed = True
                        self.persists = False
        except OSError:
            pass
        self._heard.release()
        if dismissed:
            self._leave()
        else:
            self._host_left()

    def _receive(self, space: memoryview, descriptors: deque[int]) -> int:
        from mirai.transport.unix import passes_descriptors, receive_descriptors

        if passes_descriptors(self._control):
            return receive_descriptors(self._control, space, descriptors)
        return self._control.recv_into(space)

    def _say(self, frame: bytes) -> None:
        with self._saying:
            self._control.sendall(frame)

    def _cancel(self, seq: int) -> None:
        with self._lock:
            if seq > self._begun:
                self._skipped.add(seq)
            if seq != self._begun:
                return  # not begun, or done with: then the one in hand, which may be wanted too, is another one
            self._in_hand.aim(seq)
        _thread.start_new_thread(self._in_hand.insist, (seq,))

    def _is_abandoned(self) -> bool:
        """Whether the host has gone, and this daemon is to go with it. The control thread may not get to say so."""
        if self._options.autoexit is not True:
            return False
        try:
            return not self._control.recv(1, _socket.MSG_PEEK | _socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except OSError:
            return True

    def _give_back(self, last: int) -> None:
        with self._lock:
            begun, self._recalled = self._begun, max(self._recalled, last)
        self._say(encode(Kind.RECALLED, seq=begun))

    def _host_left(self) -> None:
        self._host_is_gone = True  # first: who sets the one looks at the other
        if not self._is_welcome:
            return  # on the data connection it says why, most likely: the main thread is to hear that
        autoexit = self._options.autoexit
        if autoexit is True:
            self._leave()
            return
        try:
            self._data.shutdown(2)  # a machine that vanished would let the main thread send for ever
        except OSError:
            pass  # it has ended already
        if not isinstance(autoexit, (bool, str)):
            self._clear_away()
            os.kill(os.getpid(), autoexit)

    def _leave(self) -> None:
        self._leaving = True
        try:
            self._data.shutdown(2)
        except OSError:
            pass  # closed already
        self._in_hand.alert()
        time.sleep(GRACE)
        if not self._served:
            self._clear_away()
            os._exit(self._exit)

    def _clear_away(self) -> None:
        if self._is_private:
            self.persists = False
            clear_away(self._url)


def _as_it_is(parts: Sequence[Buffer], size: int) -> Body:
    """A result is sent at once: there is no need to copy it."""
    return list(parts)


def clear_away(url: str) -> None:
    """Where the host was killed, nobody else is left to remove its directory."""
    for pause in PAUSES:  # a process that is killed does not close all it has at once
        time.sleep(pause)
        try:
            dial(url).close()
        except (ConnectionRefusedError, FileNotFoundError):
            remove_local(url)
            return
        except OSError:
            return  # it may be there


def serve(
    url: str, options: Options, launch: str = "", ticket: tuple[str, bytes] | None = None, left: float = inf
) -> int:
    """Connect to the host at `url` and evaluate its tasks, for no more than `left` seconds; the exit code.

    Raises:
        OSError: there is no host.
        Refused: it will not work with this daemon.
    """
    until = time.monotonic() + left
    if options.threads is not None:
        os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(options.threads)))
    limits = Limits(
        idletime=options.idletime,
        walltime=options.walltime,
        maxtasks=options.maxtasks,
        timerstart=options.timerstart,
        until=until,
        now=time.monotonic(),
    )
    patient = options.asyncdial
    pause = 0.01
    since, said = time.monotonic(), ""
    while True:
        try:
            data, control = join(url, launch, ticket, options.tlscert, until - time.monotonic())
        except OSError as error:
            if not patient or isinstance(error, PeerError):
                raise
            now = time.monotonic()
            reason = limits.reached(now)
            if reason is not None:
                return reason
            if now - since > UNEASY and str(error) != said:
                said = str(error)
                try:
                    print(f"mirai daemon: {said}; dialling on", file=sys.stderr, flush=True)
                except OSError:
                    pass  # there is nobody to read it
            time.sleep(min(pause, limits.next_deadline() - now))
            pause = min(2 * pause, REDIAL)
            continue
        pause = 0.01
        daemon = Daemon(url, launch, data, control, options, limits)
        try:
            code = daemon.serve()
        finally:
            data.close()
            control.close()
        if code == Exit.DISCONNECTED and not isinstance(options.autoexit, bool | str):
            signal.raise_signal(options.autoexit)
        if code != Exit.DISCONNECTED or not daemon.persists:
            return code
        patient = True  # the next host may take its time
        since, said = time.monotonic(), ""


def main(argv: list[str]) -> int:
    """`daemon URL --option value …`: the process that evaluates tasks."""
    if LAUNCH_VARIABLE in os.environ:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # there is no task yet that it could be meant for
    sys.modules["__main__"] = type(sys)("__main__")
    cleanup.watch()
    launch = url = ""
    try:
        url, *words = argv
        names = [word.removeprefix("--") for word in words[::2]]
        if len(words) % 2 or any(not word.startswith("--") for word in words[::2]):
            raise ValueError("options are pairs: --maxtasks 1 --idletime 60")
        options = Options(**dict(zip(names, words[1::2], strict=True)))
        if options.output:
            sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
        launch = os.environ.pop(LAUNCH_VARIABLE, "")
        if launch:
            _hold_the_lifeline()
        code = serve(url, options, launch, take_ticket(), _allotted())
    except (OSError, Refused, TypeError, ValueError) as error:
        code = FAILED
        if launch and getattr(error, "errno", None) != errno.EBADF:
            clear_away(url)
        try:
            print(f"mirai daemon: {error}", file=sys.stderr)
        except OSError:
            pass  # there is nobody to read it either
    _thread.start_new_thread(_end, (code,))
    return code


def _allotted() -> float:
    """The seconds until what this daemon runs in is ended by others, as a job by its scheduler."""
    until = os.environ.pop(UNTIL, "")
    try:
        left = float(until) - time.time() if until else inf
    except ValueError:
        left = 0.0
    if not left > 0:
        # It may be what a scheduler's command said instead of a time, or a wrong clock: no reason not to work.
        wanted = "seconds of the epoch, that have not passed, belong there"
        print(f"mirai daemon: {UNTIL}={until!r} is left out: {wanted}", file=sys.stderr)
        return inf
    return left


def _hold_the_lifeline() -> None:
    """Keep the pipe that is stdin, whose other end the host holds: it ends when the host does.

    Where it can, the kernel then sends the interrupt signal. That reaches a task in compiled code that never lets
    another thread run, but looks for signals, as `re` does. On a connection it would be sent for each frame too.
    """
    import fcntl

    lifeline = os.dup(0)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    if hasattr(fcntl, "F_SETSIG"):
        fcntl.fcntl(lifeline, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(lifeline, fcntl.F_SETSIG, INTERRUPT)
        fcntl.fcntl(lifeline, fcntl.F_SETFL, fcntl.fcntl(lifeline, fcntl.F_GETFL) | os.O_ASYNC)


def _end(code: int) -> None:
    """Threads that tasks have left behind do not keep the process."""
    time.sleep(GRACE)
    os._exit(code)
