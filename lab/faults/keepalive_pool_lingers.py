"""A pool whose connections the server has closed, and which does not notice until its next rush: CLOSE_WAIT meanwhile.

requests clears them then, before it asks. Judged here by what is known of how connections end.
"""

from __future__ import annotations

from lab.case import CONNECTION_RULES
from lab.faults import pool_clears_close_wait


class KeepalivePoolLingers(pool_clears_close_wait.PoolClearsCloseWait):
    rules = CONNECTION_RULES
    window_seconds = 16  # a rush, the server's closes, and what is left until the next rush
