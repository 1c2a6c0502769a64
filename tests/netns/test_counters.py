"""The counters collector on a real kernel: each number by nstat."""

from __future__ import annotations

import json
import os
import subprocess

import pytest

from netns.namespace import wait_until
from netns.test_queues import SCRIPT, Played
from whodunnet.collectors.counters import CountersCollector
from whodunnet.kernel.roots import Roots
from whodunnet.model.counters import GAUGES, Counters

pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="needs root to make network namespaces")]


def shown_by_nstat(pid: int) -> dict[str, int]:
    """As "TcpExtListenDrops", absolute numbers, zeros too."""
    command = ["nsenter", "-t", str(pid), "-n", "nstat", "-asz", "-j"]
    shown = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return {name: int(value) for name, value in shown["kernel"].items()}


def at_rest(pid: int) -> tuple[Counters, dict[str, int]]:
    """A reading between two equal ones of nstat: a device that has just come up tells its neighbours so for seconds."""
    collector, kept = CountersCollector(Roots()), list[tuple[Counters, dict[str, int]]]()

    def is_still() -> bool:
        before, sample = shown_by_nstat(pid), collector.collect()
        kept.append((sample, before))
        return before == shown_by_nstat(pid)

    wait_until(is_still, "counters that stay")
    return kept[-1]


def test_every_counter_is_that_of_nstat_in_the_same_namespace() -> None:
    played = Played(SCRIPT, "receive", "5353", "2000", "sleeps")
    try:
        played.do("send")
        sample, expected = at_rest(played.pid)
        assert sample.value(played.netns, "Udp.RcvbufErrors") == expected["UdpRcvbufErrors"] > 100
        compared = [name for name in sample.known if name not in GAUGES and name.replace(".", "") in expected]
        assert len(compared) > 80
        for name in compared:
            assert sample.value(played.netns, name) == expected[name.replace(".", "")], name
    finally:
        played.end()


def test_a_namespace_forwards_or_not() -> None:
    played = Played(SCRIPT, "receive", "5353", "2000", "sleeps", before="sysctl -qw net.ipv4.ip_forward=1")
    try:
        assert CountersCollector(Roots()).collect().value(played.netns, "Ip.Forwarding") == 1
    finally:
        played.end()
