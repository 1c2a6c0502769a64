"""Names in the samples of descriptors, neighbours and network devices."""

from __future__ import annotations

from whodunnet.model.descriptors import Descriptors, DescriptorUse, RefusedFiles
from whodunnet.model.links import LinkCounters, Links
from whodunnet.model.neighbours import DeviceNeighbours, Neighbours
from whodunnet.model.snapshot import AnySample, Node, Snapshot
from whodunnet.recording.redact import Redactor

from .keyed import AT, KEY

NODE = Node(hostname="n1", kernel="6.1.0", boot_id="b00t")


def redacted(**samples: AnySample) -> dict[str, AnySample]:
    redactor = Redactor(KEY)
    redactor.node(NODE)
    return redactor.snapshot(Snapshot(at=AT, samples=samples)).samples


def test_the_name_of_a_process_is_replaced_and_its_numbers_stay() -> None:
    use = DescriptorUse(pid=7, comm="payroll", started_seconds=5.0, open=9, limit=10, sockets=4)
    refused = RefusedFiles(pid=7, comm="payroll", started_seconds=5.0, times=8)
    found = redacted(descriptors=Descriptors(fullest=(use,), processes=3, refused=(refused,)))["descriptors"]
    assert isinstance(found, Descriptors)
    assert "payroll" not in repr(found)
    assert (found.fullest[0].open, found.fullest[0].limit, found.processes) == (9, 10, 3)
    assert (found.refused[0].comm, found.refused[0].times) == (found.fullest[0].comm, 8)


def test_chosen_names_of_devices_are_replaced_and_those_of_counters_stay() -> None:
    devices = {
        "blackbird": LinkCounters(number=3, queue="tbf", kind="veth", rings={"rx0_drops": 8}),
        "eth0": LinkCounters(number=1),
    }
    found = redacted(links=Links.of({5: devices}))["links"]
    assert isinstance(found, Links)
    assert "blackbird" not in repr(found)
    chosen, usual = sorted(found.by_netns[5], key=lambda name: name == "eth0")
    assert usual == "eth0"
    assert found.by_netns[5][chosen] == devices["blackbird"]


def test_addresses_are_the_same_pseudonyms_wherever_they_are() -> None:
    one = DeviceNeighbours(netns=5, device="blackbird", family=4, unanswered=40, asked=("203.0.113.7", "203.0.113.8"))
    two = DeviceNeighbours(netns=6, device="eth0", family=4, unanswered=40, asked=("203.0.113.8",))
    found = redacted(neighbours=Neighbours(places=(one, two)))["neighbours"]
    assert isinstance(found, Neighbours)
    assert "blackbird" not in repr(found)
    assert "203.0.113" not in repr(found)
    assert found.places[0].asked[1] == found.places[1].asked[0]
