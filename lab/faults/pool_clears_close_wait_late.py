"""CLOSE_WAIT of nearly a minute, and still no leak: the pool is used once a minute, and clears it then.

Old and unchanged, but always the same forty sockets: what is missing for a leak is growth.
"""

from __future__ import annotations

from lab.faults import pool_clears_close_wait


class PoolClearsCloseWaitLate(pool_clears_close_wait.PoolClearsCloseWait):
    pause_seconds = 60
    age_seconds = 42  # the window ends before the next rush
