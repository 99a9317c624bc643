"""Drives a kernel as a notebook does: a cell a line on stdin, as JSON; what it displays as a line on stdout.

A process of its own, since jupyter_client leaves event loops open in whatever thread it is used.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from typing import Any

import jupyter_client
from jupyter_client.kernelspec import KernelSpecManager

DEADLINE = 30  # seconds that a cell may take
KERNEL = {
    "argv": [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"],
    "display_name": "here",
    "language": "python",
}


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        os.makedirs(os.path.join(directory, "kernels", "here"))
        with open(os.path.join(directory, "kernels", "here", "kernel.json"), "w") as file:
            json.dump(KERNEL, file)
        manager: Any = jupyter_client.KernelManager(
            kernel_name="here",
            kernel_spec_manager=KernelSpecManager(kernel_dirs=[os.path.join(directory, "kernels")]),
            transport="ipc",
            ip=os.path.join(directory, "socket"),
        )
        manager.start_kernel(stderr=subprocess.DEVNULL)
        client = manager.blocking_client()
        client.start_channels()
        client.wait_for_ready(timeout=DEADLINE)
        for line in sys.stdin:
            text, interrupted_after = json.loads(line)
            if interrupted_after is not None:
                pid = manager.provisioner.pid
                threading.Timer(interrupted_after, os.kill, (pid, signal.SIGINT)).start()
            print(json.dumps(displayed(client, text)), flush=True)
        client.stop_channels()
        manager.shutdown_kernel()


def displayed(client: Any, text: str) -> list[tuple[str, Any]]:
    """What a cell displays, as pairs of what kind it is and what it is."""
    shown: list[tuple[str, Any]] = []

    def show(message: dict[str, Any]) -> None:
        kind, content = message["msg_type"], message["content"]
        if kind in ("display_data", "update_display_data", "execute_result"):
            shown.append((kind, content["data"]))
        elif kind == "error":
            shown.append((kind, content["ename"]))
        elif kind == "stream":
            shown.append((kind, content["text"]))

    client.execute_interactive(text, output_hook=show, timeout=DEADLINE)
    return shown


if __name__ == "__main__":
    main()
