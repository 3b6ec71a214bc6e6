"""Ctrl-C, as it comes to a caller whose pass is computed by another thread."""

from __future__ import annotations

import signal
import threading
import time

_ON_ITS_WAY = 0.5
"""Seconds for the main thread to fall asleep. Python looks for signals before it sleeps for a lock: one that comes
right after that look is not seen until the lock is free."""


def press_ctrl_c() -> None:
    """Interrupt the main thread, which waits for this one."""
    time.sleep(_ON_ITS_WAY)
    signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
