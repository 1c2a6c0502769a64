"""connect-timeout: who gets no answer, and from whom; what is lost on the way, and what only gave up early."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from whodunnet.diagnosis.causes import link
from whodunnet.model.connections import ConnectionGroup
from whodunnet.model.sockets import Endpoint
from whodunnet.rules.connect_failures import NOT_KNOWN_WHOSE_END, OWN_END
from whodunnet.rules.connect_timeout import CUT_SHORT

from .connects import (
    SECONDS,
    cleared,
    endpoints,
    given_up,
    limit,
    named,
    node,
    not_checked,
    opened,
    queue,
    refused,
    rejected,
    repeated,
    said,
    silent,
    slow,
    timeline,
    translated,
    unreachable,
)
from .endings import FAR_SERVER, SERVER, accepted, initiated, moments_of
from .nodes import finding, findings, parties
from .tracking import ALIVE, DEAD, OTHER_NETNS, OTHER_POD, SERVICE, connecting, flow, table

RULE = "connect-timeout"
ENOUGH = int(limit(RULE, "min_rate") * SECONDS)


def test_an_address_that_never_answers_is_named_with_who_waits() -> None:
    found = finding(node(*silent(40, to=FAR_SERVER), opened(40)), RULE)
    assert (found.shape, found.severity, found.confidence) == ("nobody-answers", "warning", "proven")
    assert (found.claim, found.reason) == ("answers-not", "ConnectNobodyAnswers")
    assert named(found, "victim") == ["web"]
    assert endpoints(found) == [FAR_SERVER]
    assert parties(found, "culprit") == []
    assert "40 of 40 connects (100 %)" in found.title


def test_without_an_answer_from_anybody_it_may_be_the_client() -> None:
    assert said(node(*silent(40, to=FAR_SERVER)), RULE) == [("nobody-answers", "warning", "likely")]


def test_who_gives_up_before_a_repeat_was_in_a_race() -> None:
    second = Endpoint("2001:db8::6", SERVER.port)
    assert findings(node(given_up(90, seconds=0.25), opened(90, to=second)), RULE) == []
    assert findings(node(given_up(90, seconds=0.25), opened(1, to=second)), RULE) == []


@pytest.mark.parametrize(("seconds", "told"), [(0.0, 0), (0.019, 0), (0.021, 1), (0.5, 1), (0.94, 1)])
def test_who_gives_up_sooner_than_a_repeat_counts_where_nobody_answers(seconds: float, told: int) -> None:
    assert len(findings(node(given_up(40, seconds=seconds)), RULE)) == told


def test_a_short_limit_proves_nothing_and_is_told() -> None:
    found = finding(node(given_up(40, seconds=0.5), opened(40, to=FAR_SERVER)), RULE)
    assert (found.shape, found.severity, found.confidence) == ("nobody-answers", "warning", "likely")
    assert "40 of 40 connects" in found.title
    assert ("Given up by the program before a SYN was sent again", 40) in [
        (e.statement, e.value) for e in found.evidence
    ]
    assert CUT_SHORT in found.explanation
    assert CUT_SHORT not in finding(node(*silent(40)), RULE).explanation


def test_a_short_limit_at_an_endpoint_that_answers_anybody_is_the_clients_own() -> None:
    other: dict[str, Any] = {"netns": OTHER_NETNS, "client": OTHER_POD, "owner_pid": 8, "comm": "app8"}
    for answer in (opened(1, **other), refused(1, **other), accepted("closed-here", 1, client="198.51.100.20")):
        assert findings(node(given_up(40, seconds=0.5), answer), RULE) == []


def test_a_race_does_not_make_a_silence_last_that_is_over() -> None:
    second = Endpoint("2001:db8::6", SERVER.port)
    moments = [
        [repeated(over), initiated("given-up", {2.0: over, 0.25: raced}), opened(raced, to=second)]
        for over, raced in ((0, 0), (30, 30), (60, 60), (60, 90))
    ]
    assert findings(moments_of(*moments, seconds=SECONDS), RULE) == []


def test_short_limits_that_ended_within_the_window_are_over() -> None:
    assert findings(node(given_up(60, seconds=0.5), end=0.6), RULE) == []


def test_connects_that_are_still_waiting_count() -> None:
    found = finding(node(initiated("syn-retransmitted", {1.0: 40, 3.0: 40})), RULE)
    assert "40 of 40 connects (100 %)" in found.title
    assert ("Still waiting, after a SYN was sent again", 40) in [(e.statement, e.value) for e in found.evidence]


def burst(begin: float) -> list[tuple[float, ConnectionGroup]]:
    """60 connects at once, which send their SYN again after 1, 3 and 7 s, and are given up by three limits."""
    left = {1.0: 60, 3.0: 40, 7.0: 20}
    events = [(begin + after, repeated(n, seconds=after)) for after, n in left.items()]
    return events + [(begin + limit, given_up(20, seconds=limit)) for limit in (2.0, 5.0, 9.0)]


def test_a_burst_whose_repeats_go_on_does_not_last() -> None:
    assert findings(timeline(*burst(0.2)), RULE) == []
    assert said(timeline(*burst(-0.2), *burst(3.0), *burst(6.5)), RULE)[0][0] == "nobody-answers"


def test_who_began_before_the_window_and_waits_for_longer_got_no_answer() -> None:
    found = node(initiated("syn-retransmitted", {1.0: 100, 15.0: 100}), given_up(100, seconds=30.0))
    assert "100 of 100 connects (100 %)" in finding(found, RULE).title
    assert findings(found, "connect-refused") == []


def test_what_was_begun_before_the_window_alone_is_over() -> None:
    assert findings(node(repeated(100, seconds=15.0), given_up(100, seconds=30.0)), RULE) == []


@pytest.mark.parametrize(("n", "told"), [(ENOUGH - 1, 0), (ENOUGH, 1)])
def test_below_the_rate_it_is_for_service_hang(n: int, told: int) -> None:
    assert len(findings(node(*silent(n)), RULE)) == told


def test_what_ended_within_the_window_is_over() -> None:
    assert findings(node(*silent(60), end=0.6), RULE) == []


def test_two_readings_do_not_tell_whether_it_lasts() -> None:
    assert said(node(*silent(60), moments=2), RULE) == [("nobody-answers", "info", "possible")]


def test_one_reading_shows_nothing() -> None:
    assert not_checked(node(*silent(60), moments=1), RULE).code == "not-collected"


def test_a_server_that_answers_others_is_kept_from_this_client() -> None:
    other: dict[str, Any] = {"netns": OTHER_NETNS, "client": OTHER_POD, "owner_pid": 8, "comm": "app8"}
    found = finding(node(*silent(40, to=FAR_SERVER), opened(40, to=FAR_SERVER, **other)), RULE)
    assert (found.shape, found.confidence) == ("only-some-clients", "likely")
    assert named(found, "victim") == ["web"]
    assert "which answers others (1)" in found.title


def test_a_service_that_answers_some_has_a_dead_endpoint() -> None:
    samples = {"conntrack": translated(SERVICE, ALIVE, DEAD)}
    found = finding(node(*silent(40, to=SERVICE), opened(40, to=SERVICE), samples=samples), RULE)
    assert (found.shape, found.confidence) == ("some-endpoints", "likely")
    assert endpoints(found) == [SERVICE]


def test_some_lost_without_translation_is_intermittent() -> None:
    found = node(*silent(40, to=FAR_SERVER), opened(40, to=FAR_SERVER))
    assert said(found, RULE) == [("lost-at-times", "warning", "likely")]


def test_a_loss_that_repeats_make_good_is_for_connect_slow() -> None:
    groups = (initiated("syn-retransmitted", {1.0: 80}), *slow(60)[1:], *silent(20)[1:])
    assert findings(node(*groups), RULE) == []


def test_an_address_that_nobody_has_is_told_from_a_rejection() -> None:
    assert said(node(unreachable({0.2: 13, 1.5: 13, 2.8: 14})), RULE) == [("nobody-there", "warning", "proven")]
    assert findings(node(unreachable({0.0: 20, 1.0: 20})), RULE) == []


def test_an_address_that_nobody_has_is_known_by_few_messages() -> None:
    few = unreachable({2.4: 1, 3.7: 1})
    assert said(node(*silent(40), few), RULE) == [("nobody-there", "warning", "likely")]


def test_a_message_that_answers_a_repeat_is_a_rejection() -> None:
    answers = unreachable({0.0: 10, 1.01: 10, 2.04: 10, 3.07: 10})
    again = initiated("syn-retransmitted", {1.0: 30, 2.0: 20, 3.0: 10})
    assert findings(node(answers, again), RULE) == []
    assert said(node(answers, again), "connect-refused") == [("rejected", "warning", "proven")]
    silence = [initiated("syn-retransmitted", {1.0: 90, 2.0: 20, 3.0: 10}), given_up(60)]
    assert said(node(answers, *silence), RULE) == [("rejected-too-seldom", "warning", "likely")]


def test_who_sends_no_syn_again_waits_for_the_address_of_the_next_hop() -> None:
    """All fail together when nobody has answered: after 3 s, or whoever gives up sooner."""
    assert said(node(unreachable({3.05: 40})), RULE) == [("nobody-there", "warning", "proven")]
    brief = node(unreachable({0.4: 12, 1.0: 12, 1.6: 12}), given_up(24))
    assert said(brief, RULE) == [("nobody-there", "warning", "proven")]
    assert findings(brief, "connect-refused") == []
    together = node(unreachable({1.0: 60}), given_up(43))
    assert said(together, RULE) == [("nobody-there", "warning", "proven")]
    assert findings(together, "connect-refused") == []


def test_a_rejection_that_is_told_too_seldom_looks_like_a_silence() -> None:
    found = node(rejected(5), *silent(40))
    assert said(found, RULE) == [("rejected-too-seldom", "warning", "likely")]
    assert "45 of 45 connects" in finding(found, RULE).title


def test_a_rejection_that_closes_a_few_at_once_is_one_too() -> None:
    both = (repeated(40), initiated("given-up", {0.0: 20, 2.0: 40}))
    assert said(node(*both), RULE) == [("rejected-too-seldom", "warning", "likely")]
    assert "60 of 60 connects" in finding(node(*both), RULE).title
    assert findings(node(*both), "connect-refused") == []


def test_one_client_that_nobody_answers_has_the_cause_at_its_end() -> None:
    n = int(limit(RULE, "many_addresses"))
    many = [g for i in range(n) for g in silent(8, to=Endpoint(f"203.0.113.{i}", 443))]
    other: dict[str, Any] = {"netns": OTHER_NETNS, "client": OTHER_POD, "owner_pid": 8, "comm": "app8"}
    answered = [opened(8, to=Endpoint(f"203.0.113.{i}", 443), **other) for i in range(n)]
    found = finding(node(*many, opened(40), *answered), RULE)
    assert (found.shape, found.confidence) == ("many-addresses", "likely")
    assert named(found, "victim") == ["web"]
    assert len(parties(found, "peer")) == limit(RULE, "listed_clients")
    assert OWN_END in found.explanation


def test_a_machine_that_is_gone_with_its_pods_is_not_laid_to_the_clients() -> None:
    other: dict[str, Any] = {"netns": OTHER_NETNS, "client": OTHER_POD, "owner_pid": 8, "comm": "app8"}
    dead = [Endpoint(f"10.244.9.{i}", 8080) for i in range(int(limit(RULE, "many_addresses")))]
    alive = Endpoint("10.244.8.1", 8080)
    one = [g for e in dead for g in silent(12, to=e)] + [opened(500, to=alive)]
    two = [g for e in dead for g in silent(12, to=e, **other)] + [opened(500, to=alive, **other)]
    for groups, clients in ((one, 1), (one + two, 2)):
        found = findings(node(*groups), RULE)
        assert [f.shape for f in found] == ["many-addresses"] * clients
        assert all(NOT_KNOWN_WHOSE_END in f.explanation and OWN_END not in f.explanation for f in found)


def test_ports_that_ran_out_are_told_where_it_is_cleared() -> None:
    found = node(initiated("not-sent", {0.0: 3}), opened(40))
    assert "3 connects failed before their first SYN" in cleared(found, RULE).sensitivity


def test_the_finding_of_the_table_is_the_cause_of_the_same_silence() -> None:
    """service-hang knows the endpoint behind the Service."""
    tracked = table(connecting(SERVICE, 40, idle=20, answered_by=DEAD), flow(FAR_SERVER, 1))
    found = node(*silent(40, to=SERVICE), opened(40, to=FAR_SERVER), samples={"conntrack": tracked}, seconds=12.0)
    hang, timeout = finding(found, "service-hang"), finding(found, RULE)
    assert link([timeout, hang])[0].caused_by == ()  # possible only: no socket was seen to wait
    hang = replace(hang, confidence="likely")
    by_rule = {f.rule: f for f in link([timeout, hang])}
    assert by_rule[RULE].caused_by == (hang.id,)
    assert by_rule["service-hang"].caused_by == ()
    elsewhere = finding(node(*silent(40, to=FAR_SERVER)), RULE)
    assert link([elsewhere, hang])[0].caused_by == ()
    assert link([elsewhere, hang])[1].would_explain == ()
    assert link([replace(timeout, shape="many-addresses"), hang])[0].caused_by == ()


def test_a_full_queue_is_the_cause_of_what_the_table_sees() -> None:
    full = finding(node(*silent(40), listeners=[queue(6, 5)]), RULE)
    tracked = table(connecting(SERVER, 40, idle=20), flow(FAR_SERVER, 1))
    found = node(*silent(40), samples={"conntrack": tracked}, seconds=12.0)
    hang = finding(found, "service-hang")
    linked = {f.rule: f for f in link([full, hang])}
    assert linked["service-hang"].caused_by == (full.id,)
    assert linked[RULE].caused_by == ()


@pytest.mark.parametrize(("shape", "linked"), [("lost-at-times", 1), ("queue-full", 0), ("only-some-clients", 0)])
def test_a_full_table_is_the_cause_only_of_what_fails_at_random(shape: str, linked: int) -> None:
    found = replace(finding(node(*silent(40, to=FAR_SERVER), opened(40, to=FAR_SERVER)), RULE), shape=shape)
    drops = replace(found.evidence[0], source="/proc/net/stat/nf_conntrack drop")
    cause = replace(
        found, id="conntrack-table:n", rule="conntrack-table", severity="critical", evidence=(drops,),
        would_explain=(RULE,),
    )  # fmt: skip
    assert len(link([found, cause])[0].caused_by) == linked
