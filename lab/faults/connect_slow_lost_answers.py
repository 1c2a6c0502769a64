"""One in five of a server's answers to a SYN is lost on the way: to whoever connects, as if its SYN had been."""

from __future__ import annotations

from lab.faults.connect_slow_lost_syns import ConnectSlowLostSyns


class ConnectSlowLostAnswers(ConnectSlowLostSyns):
    quick = False
    lost = "tcp sport 80 tcp flags & (syn | ack) == (syn | ack)"
