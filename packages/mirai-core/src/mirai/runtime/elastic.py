"""The loop that launches daemons for a profile as its queue grows; `protocol/elastic.py` decides."""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from mirai.protocol.elastic import Elastic, Load

PAUSE = 0.25  # seconds between two looks at the queue

log = logging.getLogger("mirai")


class Growth:
    """Looks at the queue, and launches."""

    def __init__(
        self,
        elastic: Elastic,
        look: Callable[[], Load],
        launch: Callable[[int, bool], object],
        give_up: Callable[[str], object],
    ) -> None:
        """`launch(n, stay)`: daemons that stay without work, or do not. `give_up(why)` is told that it cannot."""
        self.elastic, self._look, self._launch, self._give_up = elastic, look, launch, give_up
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="mirai-elastic", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Launch no more; on return, nothing is being launched."""
        self._end.set()
        if self._thread is not threading.current_thread():
            self._thread.join()

    def _run(self) -> None:
        while not self._end.wait(PAUSE):
            load = self._look()
            n = self.elastic.wanted(load, time.monotonic())
            if not n:
                continue
            stay = min(n, self.elastic.stays(load))
            try:
                for count, stays in ((stay, True), (n - stay, False)):
                    if count:
                        self._launch(count, stays)
            except Exception as error:  # of a plugin, or of the machine: it may be better next time
                log.error("no daemons could be launched: %s", error)
                self.elastic.could_not(time.monotonic())
                self._give_up(str(error))
            else:
                self.elastic.launched(time.monotonic())
