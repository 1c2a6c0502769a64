"""Arbitrary nodes with tracked connections and devices: well typed, and half of them with something to find."""

from __future__ import annotations

from hypothesis import strategies as st
from msgspec.structs import replace

from whodunnet.model.addresses import Addresses, DeviceAddress
from whodunnet.model.conntrack import Conntrack, FlowGroup
from whodunnet.model.devices import Device, Devices
from whodunnet.model.sample import Failure
from whodunnet.model.snapshot import AnySample, Recording
from whodunnet.model.sockets import Endpoint, SocketGroup, Sockets
from whodunnet.rules.provider_limits import AVAILABLE, SHAPES

from .arbitrary import COUNTS, NAMESPACES, PIDS, TEXTS, Dice, Kinds, changing, workloads
from .arbitrary import sockets as any_sockets
from .nodes import ages

SOURCES = ("10.0.0.1", "10.0.0.2", "203.0.113.9", "2001:db8::5", "127.0.0.1", "169.254.7.7")
DESTINATIONS = (*SOURCES, "10.96.0.10", "10.96.0.20", "10.97.0.1", "169.254.169.253", "fd00:ec2::253")
PORTS = (53, 80, 443, None)
STATES = ("syn-sent", "established", "time-wait", "close", "none", "17")
IDLE = (0, 1, 5, 10, 60, 7_200)
COLUMNS = ("insert_failed", "drop", "clashres", "searched", "chainlength", "early_drop")


def tracked_recordings(moments: int | None = None) -> st.SearchStrategy[Recording]:
    """Of one to four moments, unless the number is given."""
    return st.integers(0, 2**48).map(lambda seed: recording_of(Dice(seed), moments))


def recording_of(d: Dice, moments: int | None) -> Recording:
    kinds: Kinds = {
        "conntrack": conntrack, "addresses": addresses, "devices": devices, "sockets": sockets, "workloads": workloads,
    }  # fmt: skip
    return changing(d, kinds, later, (0.0, 1.0, 5.0, 30.0), moments)


def conntrack(d: Dice) -> Conntrack:
    groups = d.several(8, lambda: flow_group(d))
    failure = Failure(code="unreadable", reason=d.one(TEXTS))
    return Conntrack(
        loaded=d.random() < 0.95,
        netns=d.one((NAMESPACES[0], NAMESPACES[0], *NAMESPACES, None)),
        count=d.one((None, 0, *COUNTS)),
        max_entries=d.one((None, 0, 1, 200, 262_144)),
        buckets=d.one((None, 65_536)),
        statistics={name: d.one(COUNTS) for name in COLUMNS if d.random() < 0.7},
        groups=groups,
        dump_failure=failure if d.random() < 0.1 else None,
        other_entries=d.one((0, 0, 7)),
    )


def flow_group(d: Dice) -> FlowGroup:
    n, replied, merged = d.one(COUNTS), d.random() < 0.4, d.random() < 0.1
    return FlowGroup(
        family=d.one((4, 6)),
        protocol=d.one(("tcp", "tcp", "udp", "udp", "icmp", "132")),
        source=d.one(SOURCES),
        destination=None if merged and d.random() < 0.5 else Endpoint(d.one(DESTINATIONS), d.one(PORTS)),
        answered_by=d.one((None, Endpoint(d.one(DESTINATIONS), d.one(PORTS)))),
        source_as=d.one((None, d.one(SOURCES))),
        state="syn-sent" if not replied and d.random() < 0.6 else d.one(STATES),
        replied=replied,
        assured=d.random() < 0.3,
        offloaded=d.random() < 0.1,
        merged=merged,
        entries=n,
        ages=ages(n, d.one(IDLE)) if d.random() < 0.8 else (),
    )


def sockets(d: Dice) -> Sockets:
    """Of any kind, and some that wait to be connected."""
    found = any_sockets(d)
    return replace(found, groups=(*found.groups, *d.several(3, lambda: waiting(d))))


def waiting(d: Dice) -> SocketGroup:
    return SocketGroup(
        owner_pid=d.perhaps(lambda: d.one(PIDS)), netns=d.one(NAMESPACES), protocol="tcp", state="syn-sent",
        role="initiated", holding="descriptor", endpoint=Endpoint(d.one(DESTINATIONS), d.one(PORTS)),
        sockets=d.one((1, 2, 3, 40)),
    )  # fmt: skip


def addresses(d: Dice) -> Addresses:
    def one() -> DeviceAddress:
        name, kind = d.one((("eth0", None), ("kube-ipvs0", "dummy"), ("veth1", "veth")))
        return DeviceAddress(address=d.one(DESTINATIONS), prefix_length=d.one((24, 32)), device=name, kind=kind)

    return Addresses(by_netns={netns: d.several(4, one) for netns in NAMESPACES if d.random() < 0.8})


def devices(d: Dice) -> Devices:
    def one() -> Device:
        names = (*SHAPES, AVAILABLE)
        return Device(driver="ena", allowances={name: d.one((0, *COUNTS)) for name in names if d.random() < 0.7})

    return Devices(
        by_name={name: one() for name in ("ens5", "eth1", "$(id)") if d.random() < 0.6}, unread=d.one((0, 0, 1))
    )


def later(d: Dice, sample: AnySample, moment: int) -> AnySample:
    """The same, or with counters that have risen."""
    rise = moment * d.one((0, 1, 3, 50))
    if isinstance(sample, Conntrack):
        return replace(sample, statistics={name: n + rise for name, n in sample.statistics.items()})
    if isinstance(sample, Devices):
        risen = {
            name: replace(device, allowances={counter: n + rise for counter, n in device.allowances.items()})
            for name, device in sample.by_name.items()
        }
        return replace(sample, by_name=risen)
    return sample
