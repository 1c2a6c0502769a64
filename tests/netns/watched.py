"""A watch that runs on a router between real programs, and conntrack(8) beside it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from netns.command import WHODUNNET
from netns.namespace import Namespace, wait_until
from netns.nat import SILENT_MAC, Net, bound, iptables_nat, nft, nft_nat, run

NORTH, SOUTH = (f"100.{64 + os.urandom(1)[0] % 32 + plus}.{os.urandom(1)[0]}" for plus in (0, 32))
"""Openers are looked for on the whole machine: addresses that no other test has at the same time."""
CLIENT, SERVER, SILENT = f"{NORTH}.2", f"{SOUTH}.2", f"{SOUTH}.99"


class OwnNet(Net):
    """client -- router -- server, with our own addresses."""

    def __init__(self, kept: ExitStack, rules: Callable[[], None]) -> None:
        super().__init__(kept, rules)
        self.router(lambda: run(f"ip neigh add {SILENT} lladdr {SILENT_MAC} dev south nud permanent"))

    def _cable(self, end: str, place: Namespace, here: str, net: str, net6: str) -> None:
        super()._cable(end, place, here, {"10.1.0": NORTH, "10.2.0": SOUTH}[net], net6)

    def datagram(self) -> None:
        """Of the client, to somebody who never answers."""
        self.client(lambda: self.keep(bound((CLIENT, 0))).sendto(b"x", (SILENT, 4000)))


def by_nftables() -> None:
    nft(nft_nat(SERVER))


def by_iptables() -> None:
    for command in iptables_nat(SERVER):
        run(command)


@contextmanager
def process(place: Namespace, *arguments: str, stdin: int = subprocess.PIPE) -> Iterator[subprocess.Popen[str]]:
    """A program that lives in a namespace until the block ends."""
    made = place(
        lambda: subprocess.Popen(arguments, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    )
    try:
        yield made
    finally:
        made.kill()
        made.communicate()


class Watched:
    """A watch that runs, and what it said."""

    def __init__(self, made: subprocess.Popen[str]) -> None:
        self._made = made
        assert made.stderr is not None
        self.preface = made.stderr.readline()

    def send(self, number: signal.Signals) -> None:
        self._made.send_signal(number)

    def end(self, number: signal.Signals = signal.SIGINT) -> list[dict[str, Any]]:
        """Its lines after a signal; the last one is the summary. It ends well, and says nothing else."""
        self._made.send_signal(number)
        out, err = self._made.communicate(timeout=30)
        assert (self._made.returncode, err) == (0, "")
        lines = [json.loads(line) for line in out.splitlines()]
        assert [line["line"] for line in lines].index("summary") == len(lines) - 1
        return lines


@contextmanager
def watching(place: Namespace, *filters: str) -> Iterator[Watched]:
    with process(place, str(WHODUNNET), "conntrack", "--watch", "--format", "json", *filters) as made:
        watched = Watched(made)
        assert watched.preface.startswith("Watching"), watched.preface + made.communicate()[1]
        yield watched


@contextmanager
def second_source(place: Namespace) -> Iterator[Callable[[], list[str]]]:
    """conntrack -E: its lines so far."""
    with process(place, "conntrack", "-E", "-o", "id", "--buffer-size", "1048576") as made:
        listening = Path(f"/proc/{made.pid}/net/netlink")

        def unread() -> list[int]:
            """Bytes that wait for each of those that listen."""
            return [int(waiting) for waiting in re.findall(r" 12 +\d+ +0*7 +(\d+) ", listening.read_text())]

        wait_until(lambda: len(unread()) == 2, "both to listen")

        def lines() -> list[str]:
            wait_until(lambda: not any(unread()), "both to have read everything")
            made.send_signal(signal.SIGINT)
            return made.communicate(timeout=10)[0].splitlines()

        yield lines


def wait_for_entries(place: Namespace, number: int) -> None:
    """Until so many entries are left; reading the text throws out what has expired (ct_seq_show)."""

    def left() -> int:
        return len(Path("/proc/thread-self/net/nf_conntrack").read_text().splitlines())

    wait_until(lambda: place(left) == number, f"{number} entries")


def changes(lines: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return [line for line in lines if line["line"] == "event"]
