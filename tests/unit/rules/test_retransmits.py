"""Which destination stands out, who has the connections to it, and what is no finding."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from whodunnet.diagnosis.engine import diagnose
from whodunnet.model.addresses import Addresses, DeviceAddress
from whodunnet.model.finding import Cleared, Finding, NotApplicable, NotChecked
from whodunnet.model.retransmissions import Destination
from whodunnet.model.sample import Failure
from whodunnet.model.snapshot import Recording
from whodunnet.model.sockets import Endpoint
from whodunnet.rules.catalogue import catalogue

from .nodes import FROM_BOOT, PEER, answers, finding, findings, memory_of, moment, named, parties, pids
from .queued import counters
from .repeats import REMOTE, SECONDS, by, good, moments, narrow, node, sample, to, users

RULE = "retransmits"


def limit(name: str) -> float:
    return catalogue()[RULE].limit(name)


def found(recording: Recording) -> Finding:
    return finding(recording, RULE)


def none(recording: Recording) -> Cleared:
    (answer,) = answers(recording, RULE)
    assert isinstance(answer, Cleared), answer
    return answer


def test_a_destination_that_stands_out_is_named_with_its_owner() -> None:
    f = found(node(to(100), good(), groups=[users()]))
    assert (f.shape, f.severity, f.confidence, f.claim) == ("lost", "warning", "proven", "delays")
    assert pids(f, "victim") == [7]
    assert [p.endpoint for p in parties(f, "peer")] == [PEER]
    assert not parties(f, "culprit")
    assert f.title == "10 % of the segments to 203.0.113.9:443 are sent again, for app7"
    assert (f.evidence[0].value, f.evidence[1].value) == (100, 0.1)


@pytest.mark.parametrize(
    ("name", "least", "below"),
    [
        ("min_repeated", to(20, 1_000), to(19, 950)),
        ("min_share", to(100, 5_000), to(100, 5_051)),
        ("lasting_ratio", to(100, last_seconds=FROM_BOOT + 2.5), to(100, last_seconds=FROM_BOOT + 2.4)),
    ],
)
def test_each_threshold_from_both_sides(name: str, least: Destination, below: Destination) -> None:
    assert name in catalogue()[RULE].thresholds
    assert found(node(least, good()))
    assert none(node(below, good()))


def test_a_share_is_compared_with_that_to_all_others() -> None:
    ratio = limit("others_ratio")
    assert found(node(to(100, 1_000), good(10_000, int(1_000 / ratio), last_seconds=FROM_BOOT + 1)))
    assert none(node(to(100, 1_000), good(10_000, int(1_000 / ratio) + 10, last_seconds=FROM_BOOT + 1)))


def test_one_of_many_with_a_moment_of_loss_does_not_hide_a_destination() -> None:
    moment_of = to(200, 400, remote="203.0.113.10", last_seconds=FROM_BOOT + 1)
    f = found(node(to(40), good(), moment_of))
    assert (f.confidence, f.evidence[2].value) == ("proven", 0.0001)
    assert none(node(to(40), replace(moment_of, sent=1_001), elsewhere=1_000))
    assert found(node(to(40), replace(moment_of, sent=999), elsewhere=1_000))


def test_others_without_a_repeat_are_compared_with_as_well() -> None:
    alone, beside = found(node(to(100))), found(node(to(100), elsewhere=int(limit("min_others"))))
    assert (alone.confidence, beside.confidence) == ("likely", "proven")
    assert "nothing says whether" in " ".join(alone.explanation)
    assert found(node(to(100), elsewhere=int(limit("min_others")) - 1)).confidence == "likely"


def test_equal_loss_to_all_blames_none() -> None:
    every = [to(100, remote=f"203.0.113.{n}") for n in range(5)]
    f = found(node(*every))
    assert (f.shape, f.severity, f.confidence) == ("everywhere", "info", "possible")
    assert "device eth0" in f.title
    assert "5 destinations" in f.title
    small = [to(15, 150, remote=f"198.51.100.{n}") for n in range(5)]
    assert found(node(*every, *small)).shape == "everywhere"


def test_two_bad_destinations_among_good_ones_are_two_findings() -> None:
    both = findings(node(to(100), to(50, remote="203.0.113.10"), good()), RULE)
    assert [p.endpoint for f in both for p in parties(f, "peer")] == [PEER, Endpoint("203.0.113.10", 443)]
    assert len({f.id for f in both}) == 2


def test_no_more_are_listed_than_have_one_cause() -> None:
    many = findings(node(*(to(100, remote=f"203.0.113.{n}") for n in range(5)), good(100_000)), RULE)
    assert len(many) == limit("listed_destinations")
    assert "2 more destinations" in many[0].explanation[-1]


@pytest.mark.parametrize(
    ("shape", "how"),
    [
        ("lost", {"fast": 60, "timeouts": 40}),
        ("timeouts", {"fast": 50, "timeouts": 50}),
        ("needless", {"fast": 100, "duplicates": 50}),
        ("lost", {"fast": 100, "duplicates": 49}),
        ("silent", {"timeouts": 100, "again_small": 5}),
        ("timeouts", {"timeouts": 100, "again_small": 5, "heard": 1}),
        ("timeouts", {"timeouts": 100, "again_small": 5, "refused": 1}),
        ("timeouts", {"timeouts": 100, "again_full": 5, "passed": 1}),
        ("timeouts", {"timeouts": 100, "again_full": 5, "sacked": 5}),
    ],
)
def test_how_they_are_repeated_is_the_shape(shape: str, how: dict[str, Any]) -> None:
    assert found(node(to(**{"fast": 0, "sockets": 3, **how}), good())).shape == shape


def test_time_outs_of_a_silent_peer_grow_so_that_they_need_not_last() -> None:
    gone = {"fast": 0, "timeouts": 40, "again_small": 5, "last_seconds": FROM_BOOT + 1}
    assert found(node(to(**gone), good())).shape == "silent"
    assert none(node(to(**gone, heard=1), good()))


def test_a_silent_peer_is_no_comparison_for_others() -> None:
    gone = to(0, 60, remote="203.0.113.10", timeouts=19, again_small=5)
    assert found(node(to(100), gone, elsewhere=1_000)).confidence == "proven"


def test_one_moment_of_loss_is_no_finding() -> None:
    assert none(node(to(100, last_seconds=FROM_BOOT + 0.5), good()))
    quiet, after = sample(), sample(to(100))
    assert none(moments(quiet, after, after, after))


@pytest.mark.parametrize(("parts", "confidence"), [(1, "likely"), (2, "likely"), (3, "proven")])
def test_two_readings_do_not_tell_whether_a_loss_lasted(parts: int, confidence: str) -> None:
    f = found(node(to(100), good(), parts=parts))
    assert f.confidence == confidence
    said = f"Repeats were seen in {parts} of {parts} parts of the window, which does not tell whether"
    assert (said in " ".join(f.explanation)) is (confidence == "likely")
    gone = found(node(to(0, timeouts=40, again_small=5), good(), parts=parts))
    assert (gone.shape, gone.confidence) == ("silent", "proven")


def test_two_short_moments_of_loss_are_not_proven_to_last() -> None:
    again = [sample(to(n, 1_000 * i), good(10_000 * i)) for i, n in ((1, 0), (2, 40), (3, 40), (4, 80))]
    f = found(moments(*again))
    assert (f.severity, f.confidence) == ("warning", "likely")
    assert "Repeats were seen in 2 of 3 parts of the window" in " ".join(f.explanation)


def test_what_goes_into_a_closed_window_is_no_loss() -> None:
    assert none(node(to(0, closed=500), good()))


def test_what_was_repeated_before_the_window_is_not_of_it() -> None:
    before = to(500, 5_000)
    cleared = none(moments(sample(before), sample(before), sample(replace(before, fast=501, sent=6_000))))
    assert cleared.evidence[0].value == 1


def test_a_destination_that_was_forgotten_begins_again() -> None:
    first = moments(sample(to(500, 5_000), good()), sample(to(50, 500), good(20_000)))
    assert found(first).evidence[0].value == 50


def test_another_run_of_the_collector_is_not_compared_with() -> None:
    (answer,) = answers(moments(sample(to(100)), sample(to(100), started_seconds=9.0)), RULE)
    assert isinstance(answer, NotChecked)


def test_one_reading_is_not_checked() -> None:
    (answer,) = answers(moments(sample(to(100))), RULE)
    assert isinstance(answer, NotChecked)
    assert (answer.code, "100 since" in answer.reason) == ("not-collected", True)


def test_without_bpf_it_is_not_checked() -> None:
    recording = node(to(100))
    failed = Failure(code="missing-capability", reason="no BPF", missing_capability="CAP_BPF")
    snapshots = tuple(replace(s, samples={**s.samples, "retransmissions": failed}) for s in recording.snapshots)
    (answer,) = answers(replace(recording, snapshots=snapshots), RULE)
    assert isinstance(answer, NotChecked)
    assert answer.missing_capability == "CAP_BPF"


def test_where_nothing_is_sent_it_cannot_be() -> None:
    for rule in (RULE, "path-mtu"):
        (answer,) = answers(node(counters=counters(Tcp_OutSegs=7)), rule)
        assert isinstance(answer, NotApplicable)


def test_it_is_cleared_with_the_most_and_the_kernels_own_numbers() -> None:
    cleared = none(node(to(10), good(), counters=counters(Tcp_OutSegs=7)))
    assert cleared.evidence[0].value == 10
    assert "203.0.113.9:443" in cleared.evidence[0].statement
    assert "20 or more segments" in cleared.sensitivity


def test_a_client_of_a_server_here_is_told_as_such() -> None:
    accepted = to(100, accepted=True, port=8080)
    f = found(node(accepted, good(), groups=[users(role="accepted", endpoint=Endpoint(None, 8080))]))
    assert "203.0.113.9 (client of port 8080)" in f.title
    assert pids(f, "victim") == [7]
    assert [p.endpoint for p in parties(f, "peer")] == [Endpoint(REMOTE, None)]


def test_owners_of_other_connections_are_not_named() -> None:
    others = [
        users(netns=1), users(endpoint=Endpoint(REMOTE, 80)), users(pid=8, endpoint=Endpoint("203.0.113.10", 443)),
        users(role="accepted", endpoint=Endpoint(None, 443)),
    ]  # fmt: skip
    f = found(node(to(100), good(), groups=others))
    (victim,) = parties(f, "victim")
    assert victim.netns == to().netns
    assert pids(f, "victim") == [None]


def test_the_owner_whose_connections_repeat_most_is_first_and_no_other_user_is_named() -> None:
    d = to(100, owners=(by(7, 20), by(8, 80)))
    f = found(node(d, good(), groups=[users(9, 7), users(1, 8), users(50, 9)], workloads=named(7, 8, 9)))
    assert pids(f, "victim") == [8, 7]
    assert parties(f, "victim")[0].effect == "80 segments of its connections were sent again"


def test_an_owner_whose_connections_repeated_before_the_window_is_not_of_it() -> None:
    before, then = to(100, owners=(by(7, 90),)), to(200, 2_000, owners=(by(7, 90), by(8, 100)))
    f = found(moments(sample(before, good()), sample(then, good(20_000)), workloads=named(7, 8)))
    assert pids(f, "victim") == [8]


def test_where_all_have_closed_the_owner_with_most_connections_is_first() -> None:
    f = found(node(to(100), good(), groups=[users(2, 7), users(9, 8)], workloads=named(7, 8)))
    assert pids(f, "victim") == [8, 7]
    assert "app8 and 1 more" in f.title


def test_memory_that_is_used_up_explains_it_only_where_the_far_end_is_here() -> None:
    full = memory_of(16_000)
    here = Addresses(by_netns={99: (DeviceAddress(address=REMOTE, prefix_length=24, device="eth0"),)})
    for addresses, caused in ((here, True), (Addresses(), False)):
        recording = node(to(100), good(), tcp_memory=full, addresses=addresses)
        said = diagnose(recording, ("tcp-memory", RULE))
        (f,) = (f for f in said.findings if f.rule == RULE)
        assert bool(f.caused_by) is caused


def test_a_narrow_path_explains_it_at_its_own_endpoint_only() -> None:
    hole = narrow(again=30, timeouts=60, full=70)
    for lossy, caused in ((hole, True), (to(100, remote="203.0.113.10"), False)):
        destinations = [hole] if lossy is hole else [hole, lossy]
        said = diagnose(node(*destinations, good()), ("path-mtu", RULE))
        (f,) = (f for f in said.findings if f.rule == RULE and lossy.endpoint in [p.endpoint for p in f.parties])
        assert bool(f.caused_by) is caused


def test_names_of_the_node_are_cleaned_and_quoted() -> None:
    nasty = to(100, remote="1.2.3.4; rm -rf /\x1b[31m", device="e\x1b[31m")
    f = found(node(nasty, good()))
    assert "\x1b" not in str(f)
    commands = [r.command for r in f.remedies if r.command] + [e.repeat for e in f.evidence]
    assert any("'1.2.3.4; rm -rf /" in c for c in commands)
    assert not any(" 1.2.3.4; rm" in c for c in commands)


def test_the_window_ends_where_it_was_read_last() -> None:
    assert found(node(to(100), good())).last_seen == moment(SECONDS).wall


def test_alone_nothing_is_said_of_others() -> None:
    assert "most others" not in " ".join(found(node(to(100))).explanation)
    assert "To most others" in " ".join(found(node(to(100), good())).explanation)


def test_so_few_others_that_chance_may_have_spared_them_are_no_comparison() -> None:
    bad = to(40, 2_000)  # 2 %: of 249 segments to others five would be expected, less by chance
    assert found(node(bad, elsewhere=249)).confidence == "likely"
    assert found(node(bad, elsewhere=250)).confidence == "proven"
    two = node(bad, to(40, 2_000, remote="203.0.113.10"), elsewhere=249)
    assert found(two).shape == "everywhere"


def test_a_client_out_on_the_internet_has_a_last_mile_of_its_own() -> None:
    far = to(100, accepted=True, port=443, remote="8.8.8.8")
    f = found(node(far, good()))
    assert (f.severity, f.shape) == ("info", "lost")
    assert "last mile" in " ".join(f.explanation)
    for other in (replace(far, remote="10.0.0.9"), replace(far, accepted=False), replace(far, remote="100.64.1.1")):
        assert found(node(other, good())).severity == "warning"


def test_repeats_of_what_had_arrived_are_worth_knowing_and_no_loss() -> None:
    f = found(node(to(100, duplicates=60), good()))
    assert (f.shape, f.severity) == ("needless", "info")


def test_a_peer_is_silent_on_the_connections_that_repeat_and_not_on_all() -> None:
    f = found(node(to(0, 2_000, timeouts=45, again_small=15, sockets=5), good()))
    assert f.shape == "silent"
    assert f.title.startswith("203.0.113.9:443 acknowledges nothing any more on 5 connections")
