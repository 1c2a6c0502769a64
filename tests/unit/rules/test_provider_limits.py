"""provider-limits: what the provider's driver counts, within the window and before it."""

from __future__ import annotations

import pytest

from whodunnet.model.devices import Device, Devices
from whodunnet.model.finding import Cleared, NotApplicable, NotChecked
from whodunnet.model.snapshot import Recording, Snapshot
from whodunnet.model.sockets import Endpoint
from whodunnet.rules.catalogue import catalogue
from whodunnet.rules.provider_limits import SHAPES

from .nodes import NODE, answers, finding, findings, moment, parties
from .tracking import OTHER_POD, SERVICE, flow, pods, question, table, tables

RULE = "provider-limits"
ENTRY = catalogue()[RULE]
FEW, MANY = int(ENTRY.limit("min_dropped")), int(ENTRY.limit("min_shaped"))
BEFORE = dict.fromkeys(SHAPES, 1_000) | {"conntrack_allowance_available": 5_000}


def ena(**rises: int) -> Devices:
    """eth0 of the driver; rises: by how much more than before each counter shows."""
    allowances = {name: n + rises.get(name, 0) for name, n in BEFORE.items()}
    return Devices(by_name={"eth0": Device(driver="ena", allowances=allowances)}, others=3)


def node(*moments: Devices) -> Recording:
    """Ten seconds of a machine of which only its devices are known."""
    step = 10.0 / max(len(moments) - 1, 1)
    return Recording(
        node=NODE,
        snapshots=tuple(Snapshot(at=moment(i * step), samples={"devices": d}) for i, d in enumerate(moments)),
    )


def rose(**rises: int) -> Recording:
    return node(ena(), ena(**rises))


@pytest.mark.parametrize(("counter", "shape"), SHAPES.items())
def test_each_limit_has_its_finding(counter: str, shape: str) -> None:
    found = finding(rose(**{counter: 50}), RULE)
    assert (found.shape, found.severity, found.claim, found.confidence) == (shape, "warning", "drops", "proven")
    assert (found.evidence[0].value, found.evidence[0].unit) == (50, "packets")
    assert "1,050" in found.evidence[0].statement
    assert "50 packets" in found.title
    assert parties(found, "culprit") == []
    assert [p.node for p in parties(found, "victim")] == ["n1"]


@pytest.mark.parametrize(("counter", "shape"), SHAPES.items())
def test_fewer_packets_than_the_floor_are_none(counter: str, shape: str) -> None:
    floor = FEW if shape in ("connections", "link-local") else MANY
    assert findings(rose(**{counter: floor - 1}), RULE) == []
    assert len(findings(rose(**{counter: floor}), RULE)) == 1


def test_two_limits_are_two_findings() -> None:
    found = findings(rose(pps_allowance_exceeded=MANY, linklocal_allowance_exceeded=FEW), RULE)
    assert {f.shape for f in found} == {"packet-rate", "link-local"}
    assert len({f.id for f in found}) == 2


def test_devices_are_summed() -> None:
    def two(more: int) -> Devices:
        device = Device(driver="ena", allowances={"pps_allowance_exceeded": more})
        return Devices(by_name={"eth0": device, "eth1": device})

    found = finding(node(two(0), two(MANY - 1)), RULE)
    assert f"{2 * (MANY - 1)} packets" in found.title
    assert [e.value for e in found.evidence] == [MANY - 1, MANY - 1]


def test_a_device_that_comes_or_was_reset_has_no_rise() -> None:
    assert findings(node(Devices(by_name={}), ena(pps_allowance_exceeded=90)), RULE) == []
    assert findings(node(ena(pps_allowance_exceeded=90), ena()), RULE) == []


def test_what_rose_after_a_reset_counts() -> None:
    found = finding(node(ena(), ena(pps_allowance_exceeded=-900), ena(pps_allowance_exceeded=-900 + MANY)), RULE)
    assert f"{MANY} packets" in found.title


def test_a_device_that_is_missing_in_one_reading_is_compared_over_it() -> None:
    found = finding(node(ena(), Devices(unread=1), ena(pps_allowance_exceeded=MANY)), RULE)
    assert f"{MANY} packets" in found.title


def test_devices_that_did_not_answer_are_said_where_the_others_are_cleared() -> None:
    silent = Devices(by_name=ena().by_name, unread=2)
    (answer,) = answers(node(silent, silent), RULE)
    assert isinstance(answer, Cleared)
    assert answer.sensitivity.endswith("of 1 devices; 2 more did not say what they count")


def test_old_totals_are_cleared_with_each_reading() -> None:
    (answer,) = answers(rose(), RULE)
    assert isinstance(answer, Cleared)
    assert [e.value for e in answer.evidence] == [0] * len(SHAPES)
    assert all("1,000" in e.statement for e in answer.evidence)


def test_one_reading_shows_no_rise_but_that_there_never_was_one() -> None:
    (answer,) = answers(node(ena()), RULE)
    assert isinstance(answer, NotChecked)
    assert answer.code == "not-collected"
    never = Devices(by_name={"eth0": Device(driver="ena", allowances=dict.fromkeys(SHAPES, 0))})
    assert [type(a) for a in answers(node(never), RULE)] == [Cleared]


def test_a_machine_of_no_such_provider() -> None:
    assert [type(a) for a in answers(node(Devices(others=4)), RULE)] == [NotApplicable]


@pytest.mark.parametrize(
    ("devices", "code"),
    [(Devices(by_name={"eth0": Device(driver="ena")}), "unsupported"), (Devices(unread=1), "unreadable")],
)
def test_a_driver_that_does_not_tell_is_not_checked(devices: Devices, code: str) -> None:
    (answer,) = answers(node(devices), RULE)
    assert isinstance(answer, NotChecked)
    assert answer.code == code


def test_what_the_provider_would_still_track_is_shown() -> None:
    found = finding(rose(conntrack_allowance_exceeded=4), RULE)
    assert [(e.value, e.unit) for e in found.evidence] == [(4, "packets"), (5_000, "connections")]


def with_table(**rises: int) -> Recording:
    groups = [
        flow(SERVICE, 90), flow(SERVICE, 30, source=OTHER_POD),
        question(7, to=Endpoint("169.254.169.253", 53), answered_by=None, source=OTHER_POD),
        question(2, to=Endpoint("fd00:ec2::253", 53), answered_by=None),
        question(1, answered_by=Endpoint("169.254.169.253", 53)),
    ]  # fmt: skip
    recording = tables(*[table(*groups)] * 2)
    moments = zip(recording.snapshots, (ena(), ena(**rises)), strict=True)
    return Recording(
        node=NODE,
        snapshots=tuple(Snapshot(at=s.at, samples={**s.samples, "devices": d}) for s, d in moments),
    )


def test_who_has_opened_most_holds_and_is_no_culprit() -> None:
    found = finding(with_table(conntrack_allowance_exceeded=4), RULE)
    assert pods(parties(found, "holder")) == ["web", "batch"]
    assert [p.effect for p in parties(found, "holder")] == [
        "has opened 93 of 130 tracked connections",
        "has opened 37 of 130 tracked connections",
    ]


def test_who_asks_the_provider_is_named_for_its_local_services() -> None:
    found = finding(with_table(linklocal_allowance_exceeded=4), RULE)
    assert pods(parties(found, "holder")) == ["batch", "web"]
    assert [p.effect for p in parties(found, "holder")] == [
        "has opened 7 of 10 entries to the provider's local services",
        "has opened 3 of 10 entries to the provider's local services",
    ]


def test_a_rate_names_nobody() -> None:
    assert parties(finding(with_table(pps_allowance_exceeded=400), RULE), "holder") == []


def test_a_hostile_device_is_quoted() -> None:
    def devices(n: int) -> Devices:
        allowances = {"pps_allowance_exceeded": n}
        return Devices(by_name={"$(id)": Device(driver="ena", allowances=allowances)})

    assert finding(node(devices(0), devices(99)), RULE).evidence[0].repeat.startswith("ethtool -S '$(id)' ")
