"""Run in a network namespace and mount namespace of its own: packets that come faster than CPU 0 takes them.

Another CPU sends over loopback, RPS hands the packets to CPU 0, and there each passes a long list of rules. Prints how
many were sent, and how many got as far as the rules.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
from pathlib import Path

RULES = 8_000
SENT = 40_000
RULESET = """table ip flood {
  counter passed {}
  chain first { type filter hook input priority -10; udp dport 9 counter name passed; }
  chain slow { type filter hook input priority 0; RULES }
}
"""


def nft(*words: str, text: str | None = None) -> str:
    return subprocess.run(["nft", *words], input=text, check=True, capture_output=True, text=True).stdout


def passed() -> int:
    listed = json.loads(nft("-j", "list", "counter", "ip", "flood", "passed"))
    return int(next(item["counter"]["packets"] for item in listed["nftables"] if "counter" in item))


def drained() -> int:
    """The number once nothing comes any more."""
    before, now = -1, passed()
    while now != before:
        time.sleep(0.1)
        before, now = now, passed()
    return now


def main() -> None:
    rules = "\n".join(f"ip saddr 10.{i >> 8}.{i & 255}.1 drop" for i in range(RULES))
    nft("-f", "-", text=RULESET.replace("RULES", "\n" + rules + "\n"))
    os.sched_setaffinity(0, {1})
    Path("/sys/class/net/lo/queues/rx-0/rps_cpus").write_text("1")
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
    ):
        receiver.bind(("127.0.0.1", 9))
        sender.connect(("127.0.0.1", 9))
        for _ in range(SENT):
            sender.send(b"x")
        print(SENT, drained())


if __name__ == "__main__":
    main()
