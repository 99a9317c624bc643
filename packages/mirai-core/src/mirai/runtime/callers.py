"""Whose line a warning is about: the user's, not one of ours."""

from __future__ import annotations

import os
import sys
import threading

# Ours end in a separator, so that `mirai_launchers` beside it is none of them.
_OURS = os.path.join(os.path.dirname(os.path.dirname(__file__)), "")
_THREADS = threading.__file__


def stack_level() -> int:
    """For `warnings.warn` in the function that asks: the nearest line that is not in mirai.

    Where a thread of mirai's own warns there is none, and it is the line that called that function.
    """
    frame, level = sys._getframe(1), 1
    while frame.f_code.co_filename.startswith(_OURS):
        if frame.f_back is None:
            return 2
        frame, level = frame.f_back, level + 1
    return 2 if frame.f_code.co_filename == _THREADS else level
