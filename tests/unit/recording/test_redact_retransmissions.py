"""Names in the sample of repeated segments."""

from __future__ import annotations

from whodunnet.model.retransmissions import Destination, Retransmissions
from whodunnet.model.snapshot import Node, Snapshot
from whodunnet.recording.redact import Redactor

from .keyed import AT, KEY, address, name

NODE = Node(hostname="n1", kernel="6.1.0", boot_id="b00t")


def test_addresses_and_devices_are_replaced_and_numbers_stay() -> None:
    redactor = Redactor(KEY)
    redactor.node(NODE)
    one = Destination(netns=5, remote="203.0.113.9", port=443, fast=7, device="payroll0", mss=1448)
    sample = Retransmissions(destinations=(one,), watched_seconds=1.0)
    found = redactor.snapshot(Snapshot(at=AT, samples={"retransmissions": sample})).samples["retransmissions"]
    assert isinstance(found, Retransmissions)
    (kept,) = found.destinations
    assert (kept.remote, kept.device) == (address("203.0.113.9"), name("device", "payroll0"))
    assert (kept.netns, kept.port, kept.fast, kept.mss) == (5, 443, 7, 1448)
