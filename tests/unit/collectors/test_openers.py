"""Who opens the connections of a watch: how often is looked, and what is said until then."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from whodunnet.collectors import openers as module
from whodunnet.collectors.addresses import AddressesCollector
from whodunnet.collectors.openers import BUSY_SHARE, IDLE_QUESTIONS, Openers
from whodunnet.collectors.workloads import WorkloadsCollector
from whodunnet.errors import UnreadableError
from whodunnet.kernel import namespaces
from whodunnet.kernel.roots import Roots
from whodunnet.model.addresses import Addresses, DeviceAddress
from whodunnet.model.flow_event import FlowEvent
from whodunnet.model.sockets import Endpoint
from whodunnet.model.workload import Pod, Workload, Workloads

NODE, POD_NETNS = 1, 2
NODE_ADDRESS, POD_ADDRESS, SHARED, FAR = "10.0.0.1", "10.2.0.2", "169.254.1.1", "203.0.113.9"
POD = Workload(pod=Pod(namespace="shop", name="web-1"), netns=POD_NETNS)


class Machine:
    """What the collectors answer, what it costs, and what time it is."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.cost = 0.001
        self.readings = 0
        self.asked: list[tuple[Endpoint, Endpoint]] = []
        self.addresses: dict[str, tuple[int, ...]] = {NODE_ADDRESS: (NODE,), POD_ADDRESS: (POD_NETNS,), SHARED: (1, 2)}
        self.refusal: UnreadableError | None = None

    def clock(self) -> float:
        return self.now

    def cpu(self) -> float:
        return self.readings * self.cost

    def collect(self) -> Addresses:
        self.readings += 1
        self.now += self.cost
        if self.refusal is not None:
            raise self.refusal
        places: dict[int, list[DeviceAddress]] = {}
        for address, netns in self.addresses.items():
            for inum in netns:
                places.setdefault(inum, []).append(DeviceAddress(address=address, prefix_length=24, device="eth0"))
        return Addresses(by_netns={inum: tuple(found) for inum, found in places.items()})

    def ask(self, local: Endpoint, remote: Endpoint) -> float | None:
        self.asked.append((local, remote))
        return 12.5 if local.address in (NODE_ADDRESS, SHARED) else None


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    made = Machine()
    monkeypatch.setattr(AddressesCollector, "collect", made.collect)
    monkeypatch.setattr(WorkloadsCollector, "attribute", lambda *_, **__: Workloads(by_netns={POD_NETNS: POD}))
    monkeypatch.setattr(module, "read_idle", made.ask)
    monkeypatch.setattr(namespaces, "own", lambda _: NODE)
    return made


@pytest.fixture
def openers(machine: Machine) -> Iterator[Openers]:
    with Openers(Roots(proc=Path("/nonexistent")), NODE, machine.clock, machine.cpu) as made:
        yield made


def event(source: str, destination: str = FAR, state: str = "syn-sent", protocol: str = "tcp") -> FlowEvent:
    to = Endpoint(destination, 80)
    by = Endpoint(source, 4000)
    return FlowEvent(
        kind="changed",
        family=4,
        protocol=protocol,
        source=by,
        destination=to,
        answered_by=to,
        source_as=by,
        state=state,
    )


def test_a_source_is_named_by_the_namespace_that_has_it(openers: Openers) -> None:
    assert openers.of(event(POD_ADDRESS)).workload == POD
    assert openers.of(event(NODE_ADDRESS)).kind == "node"
    assert openers.of(event("127.0.0.1")).kind == "node"
    assert openers.of(event(SHARED)).kind == "ambiguous"
    assert openers.answerer(event(FAR, POD_ADDRESS)) == POD
    assert openers.answerer(event(FAR, NODE_ADDRESS)) is None


def test_an_address_is_elsewhere_only_after_somebody_looked_for_it(machine: Machine, openers: Openers) -> None:
    assert openers.of(event(FAR)).kind == "unread"
    machine.now += 1.1
    assert openers.of(event(FAR)).kind == "remote"
    assert machine.readings == 2
    machine.now += 1.1
    assert openers.of(event(FAR)).kind == "remote"
    assert machine.readings == 2


def test_many_unknown_addresses_cause_one_reading_a_second(machine: Machine, openers: Openers) -> None:
    for n in range(3000):
        machine.now += 0.001
        openers.of(event(f"203.0.{n // 250}.{n % 250}"))
    assert machine.readings in (3, 4)


def test_readings_take_a_tenth_of_the_time_at_most(machine: Machine, openers: Openers) -> None:
    machine.cost = 2.0
    machine.now += 10
    openers.refresh()
    assert machine.readings == 2
    begin, before = machine.now, machine.readings
    while machine.now < begin + 200:
        machine.now += 0.5
        openers.refresh()
        openers.of(event(FAR))
    spent = (machine.readings - before) * machine.cost
    assert 0.05 * 200 < spent <= BUSY_SHARE * (machine.now - begin) + machine.cost


def test_a_pod_that_comes_later_is_found_and_one_that_went_is_forgotten(machine: Machine, openers: Openers) -> None:
    machine.addresses = {"10.2.0.3": (POD_NETNS,)}
    machine.now += 1.1
    assert openers.of(event("10.2.0.3")).workload == POD
    assert openers.of(event(POD_ADDRESS)).kind == "unread"


def test_without_addresses_nobody_is_named_and_the_reason_is_known(machine: Machine, openers: Openers) -> None:
    machine.refusal = UnreadableError("/proc cannot be read")
    machine.now += 6
    openers.refresh()
    assert (openers.of(event(POD_ADDRESS)).kind, openers.failure) == ("unread", "/proc cannot be read")
    machine.refusal = None
    machine.now += 6
    openers.refresh()
    assert (openers.of(event(POD_ADDRESS)).workload, openers.failure) == (POD, None)


@pytest.mark.parametrize("state", ["fin-wait", "close-wait"])
def test_a_socket_is_asked_when_one_end_closes(machine: Machine, openers: Openers, state: str) -> None:
    assert openers.idle(event(NODE_ADDRESS, state=state)) == 12.5
    assert openers.idle(event(FAR, NODE_ADDRESS, state=state)) == 12.5
    here, far = Endpoint(NODE_ADDRESS, 4000), Endpoint(FAR, 80)
    assert machine.asked == [(here, far), (Endpoint(NODE_ADDRESS, 80), Endpoint(FAR, 4000))]


@pytest.mark.parametrize(
    "asked",
    [
        event(NODE_ADDRESS, state="established"),
        event(NODE_ADDRESS, state="time-wait"),
        event(NODE_ADDRESS, state="fin-wait", protocol="sctp"),
        event(FAR, state="fin-wait"),
        event(POD_ADDRESS, state="fin-wait"),
    ],
    ids=["open", "over", "not TCP", "not of this node", "namespace that cannot be reached"],
)
def test_otherwise_idle_time_is_unknown(machine: Machine, openers: Openers, asked: FlowEvent) -> None:
    assert openers.idle(asked) is None
    assert machine.asked == []


def test_an_address_in_several_namespaces_is_asked_for_in_each_of_them(machine: Machine, openers: Openers) -> None:
    """The other namespace cannot be reached here."""
    assert openers.idle(event(SHARED, state="fin-wait")) == 12.5
    assert len(machine.asked) == 1


def test_where_two_sockets_tell_something_neither_is_believed(
    openers: Openers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openers, "_ask", lambda *_: 3.0)
    assert openers.idle(event(SHARED, FAR, state="fin-wait")) is None
    assert openers.idle(event(NODE_ADDRESS, FAR, state="fin-wait")) == 3.0


def test_so_many_sockets_are_asked_in_a_second_and_no_more(machine: Machine, openers: Openers) -> None:
    machine.now = 2000.0
    answers = [openers.idle(event(NODE_ADDRESS, state="fin-wait")) for _ in range(IDLE_QUESTIONS + 7)]
    assert answers == [12.5] * IDLE_QUESTIONS + [None] * 7
    assert openers.unasked == 7
    machine.now = 2001.0
    assert openers.idle(event(NODE_ADDRESS, state="fin-wait")) == 12.5


def test_what_is_remembered_is_bounded(machine: Machine, openers: Openers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REMEMBERED_ADDRESSES", 2)
    for address in (POD_ADDRESS, NODE_ADDRESS, SHARED, POD_ADDRESS):
        assert openers.of(event(address)).kind != "unread"
    assert len(openers._found) == 2
    for n in range(5):
        machine.now += 2
        openers.of(event(f"203.0.113.{n}"))
    assert len(openers._elsewhere) == 2
