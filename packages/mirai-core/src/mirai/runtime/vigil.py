"""Over tasks that wait where no daemon is, and none is on its way: not for ever, and not in silence."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from mirai.runtime.lead import Timer

UNEASY = 1.0  # seconds that they wait in silence where nobody else will start a daemon
LOST = 15.0  # seconds until they fail then
ALONE = 20.0  # seconds until it is said that none has come, where somebody may start one


class Vigil:
    """That of one dispatcher, under whose lock all is called.

    Attributes:
        is_alone: no daemon is here, and none is on its way.
        is_hopeless: then nobody else will start one, or what was started failed.
        last_end: of the daemon, or the launch, that was lost last.
    """

    def __init__(
        self,
        where: str,
        waiting: Callable[[], int],
        order_in: Callable[[float, Callable[[], object]], Timer],
        tell: Callable[[int, str], None],
        fail: Callable[[str], None],
        *,
        is_hopeless: bool,
    ) -> None:
        """Nobody is here yet.

        Args:
            where: the address at which daemons would come.
            waiting: how many tasks do.
            order_in: calls something, so many seconds from now.
            tell: logs a line at a level.
            fail: ends the tasks, for a reason.
            is_hopeless: whether nobody but this process starts daemons.
        """
        self.is_alone = not is_hopeless
        self.is_hopeless = is_hopeless
        self.last_end = ""
        self._where, self._waiting, self._order_in, self._tell, self._fail = where, waiting, order_in, tell, fail
        self._timer: Timer | None = None

    def keep(self) -> None:
        """A task has come, or the last daemon has gone."""
        if self._timer is None and self._waiting():
            self._timer = self._order_in(UNEASY if self.is_hopeless else ALONE, self._say_so)

    def despair(self, why: str) -> None:
        """None will come any more."""
        if not self.is_hopeless:
            self.cancel()  # it would only say that nobody has come yet
        self.is_hopeless, self.last_end = True, why

    def cancel(self) -> None:
        """It is not needed any more, or begins anew."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _say_so(self) -> None:
        self._timer = None
        waiting = self._waiting() if self.is_alone else 0
        if waiting and self.is_hopeless:
            rest = LOST - UNEASY
            text = f"no daemon is left ({self.last_end}), tasks waiting: {waiting}"
            self._tell(logging.ERROR, f"{text}; launch daemons within {rest:g} s, or they fail")
            self._timer = self._order_in(rest, self._give_up)
        elif waiting:
            text = f"for {ALONE:g} s no daemon has connected to {self._where}, tasks waiting: {waiting}"
            self._tell(logging.ERROR, f"{text}; launch one there, or daemons(0) resets")

    def _give_up(self) -> None:
        self._timer = None
        if self.is_alone and self.is_hopeless:
            text = f"no daemon was left ({self.last_end}), and for {LOST:g} s none came"
            self._fail(f"Connection reset: {text}; call daemons(n), or launch some in time")
