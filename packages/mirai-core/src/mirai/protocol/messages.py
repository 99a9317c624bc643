"""Every kind of frame that ever crosses the wire, and which way it goes.

A daemon has two connections to its host. The *data* connection carries tasks and results, in order.
The *control* connection carries what must be heard while a task is evaluated.
"""

from __future__ import annotations

# Plain numbers: an enumeration takes 0.2 MB of each daemon, and longer to look up than all else about a frame.


class Kind:
    """What a frame says. `aux` and `seq` are header fields; the body is a pickle unless said otherwise."""

    HELLO = 1  # daemon to host, first on either connection. body: text, see `handshake`
    SETUP = 2  # host to daemon, data. body: `Setup`
    BLOB = 3  # host to daemon, data: a call that many tasks share. aux: its id
    FORGET = 4  # host to daemon, data: a blob that no task needs any more. aux: its id
    TASK = 5  # host to daemon, data. aux: the blob it calls, or 0. seq: numbers this daemon's tasks from 1
    RESULT = 6  # daemon to host, data. flags: `Status`. aux: evaluation time in µs. seq: the task's
    BYE = 7  # daemon to host, data: it leaves, and begins nothing more. aux: its exit code
    CANCEL = 8  # host to daemon, control. seq: do not begin it, or interrupt it
    RECALL = 9  # host to daemon, control. seq: begin nothing from the next task up to this one
    RECALLED = 10  # daemon to host, control. seq: the last task it has begun
    STACK = 11  # host to daemon, control, and the answer. seq: the task. body: text
    EXIT = 12  # host to daemon, control: leave now, also if told to persist
    REFUSED = 13  # host to daemon: it may not come in. body: text, why
    CHALLENGE = 14  # host to daemon, on either connection. body: text, see `handshake`
    PROOF = 15  # daemon to host, the answer. body: text
    PING = 16  # host to daemon, control, and the answer: still there?
    ASK = 17  # visitor to host, and the answer. body: JSON, see `runtime.visits`
    SEGMENT = 18  # both ways, control, with a descriptor: shared memory to map. seq: its number. body: its size
    FREE = 19  # both ways, data: nobody here uses a block any more. seq: the number of the lease
    DROP = 20  # both ways, control: a segment that will not be used again. seq: its number
    TRIM = 21  # host to daemon, control: drop the segments that are not in use


class Status:
    """What became of a task."""

    VALUE = 0  # body: the value
    ERROR = 1  # body: `Failure`
    INTERRUPTED = 2  # by a SIGINT on the daemon; no body
    CANCELLED = 3  # told by CANCEL, begun or not; no body


EVERYWHERE = 1  # a TASK's flag: run it outside of clean-up, so that what it leaves behind persists
