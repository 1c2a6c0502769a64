"""resets: how many are too many, for how long, and whose are harmless or for another rule."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from msgspec.structs import replace

from whodunnet.model.connections import ConnectionGroup, Ending

from .connects import cleared, limit, named, node, not_checked, said
from .endings import FAR_CLIENT, FAR_SERVER, SERVER_PID, accepted, at_share, initiated, moments_of
from .nodes import answers, finding, findings, in_container, parties
from .resetting import RULE, TELLING, closed, cut, early
from .test_redacted import assert_judged_alike
from .tracking import OWNERS

SECONDS = 10.0
SECOND_ADDRESS = "10.244.0.15"
ENOUGH = max(int(limit(RULE, "min_rate") * SECONDS), int(limit(RULE, "min_resets")))


@pytest.mark.parametrize(("n", "told"), [(ENOUGH - 1, 0), (ENOUGH, 1)])
def test_below_the_rate_they_are_broken_off_downloads(n: int, told: int) -> None:
    assert len(findings(node(*cut(n), *closed(n)), RULE)) == told


def test_below_the_share_they_are_broken_off_downloads() -> None:
    assert findings(node(*cut(20), *closed(600)), RULE) == []
    assert cleared(node(*cut(20), *closed(600)), RULE).evidence[1].value == 20


def remote(n: int, cut: int, ending: Ending = "reset-sent") -> list[ConnectionGroup]:
    """n clients elsewhere with a connection each, of which so many end so."""
    return [
        accepted(ending if i < cut else "closed-here", {0.01: 1}, client=f"198.51.100.{i}", owner_pid=SERVER_PID)
        for i in range(n)
    ]


@pytest.mark.parametrize(("ending", "name"), [("reset-sent", "min_share"), ("reset-received", "abort_share")])
def test_of_many_clients_with_a_connection_each_the_share_is_that_of_all(ending: Ending, name: str) -> None:
    at = int(200 * limit(RULE, name))

    def told(cut: int) -> list[str]:
        """Every part of the window has its share of each kind."""
        groups = remote(200, cut, ending)
        moments = [[g for n, g in enumerate(groups) if n % 3 < i] for i in range(4)]
        return [f.title for f in findings(moments_of(*moments, seconds=5.0), RULE)]

    assert told(at - 1) == []
    (title,) = told(at)
    assert f"{at} of 200 connections" in title


def test_the_restart_of_a_server_within_the_window_is_over() -> None:
    burst, usual = cut(200), closed(300)
    moments = [
        [at_share(g, share) for g in burst] + [at_share(g, done) for g in usual]
        for share, done in ((0, 0), (0, 0.25), (1, 0.5), (1, 0.75), (1, 1))
    ]
    assert findings(moments_of(*moments, seconds=10.0), RULE) == []
    lasting = [[at_share(g, i / 4) for g in (*burst, *usual)] for i in range(5)]
    assert len(findings(moments_of(*lasting, seconds=10.0), RULE)) == 1


def test_the_end_of_a_load_test_is_over() -> None:
    assert findings(node(*cut(90), *closed(10), begin=0.5, end=0.6), RULE) == []
    assert findings(node(*cut(90), end=0.6), RULE) == []


def test_two_readings_do_not_tell_whether_it_lasts() -> None:
    assert said(node(*cut(30), *closed(70), moments=2), RULE) == [("server-resets", "info", "possible")]


def test_one_reading_shows_nothing() -> None:
    assert not_checked(node(*cut(30), moments=1), RULE).code == "not-collected"


def test_what_is_reset_after_a_pause_is_for_keepalive_mismatch() -> None:
    pause = limit(RULE, "pause")
    assert findings(node(initiated("reset-received", {pause + 0.1: 60}), *closed(40)), RULE) == []
    assert findings(node(early(60, pause + 0.1), *closed(60, 5.0)), RULE) == []


def test_a_server_that_cuts_what_it_was_just_sent_is_named_whatever_the_pause_before() -> None:
    found = node(initiated("reset-received", {3.0: 40}), accepted("reset-sent", {0.1: 40}), *closed(60))
    assert said(found, RULE) == [("server-resets", "warning", "proven")]


def test_of_closes_that_came_too_early_and_resets_the_more_frequent_is_told() -> None:
    assert [f.shape for f in findings(node(early(60), *cut(40), *closed(100)), RULE)] == ["closed-early"]
    assert [f.shape for f in findings(node(early(30), *cut(40), *closed(100)), RULE)] == ["server-resets"]


def test_a_server_that_closes_an_upload_is_told_from_one_that_resets() -> None:
    found = finding(node(early(40), *closed(80), TELLING), RULE)
    assert (found.shape, found.severity, found.confidence) == ("closed-early", "warning", "likely")
    assert (named(found, "culprit"), named(found, "victim")) == (["batch"], ["web"])
    assert said(node(early(40), *closed(80), late_unassigned=1), RULE) == [("closed-early", "warning", "likely")]


def test_of_several_servers_behind_one_endpoint_none_is_named_for_the_uploads_of_all() -> None:
    """Workers that share a port, each of which has met one of two clients."""
    other = {"owner_pid": 9, "comm": "app9"}
    second = [
        initiated("closed-by-peer", {0.01: 40}, client=SECOND_ADDRESS, owner_pid=6, comm="app6"),
        accepted("closed-here", {0.01: 40}, client=SECOND_ADDRESS, **other),
        early(20, client=SECOND_ADDRESS, owner_pid=6, comm="app6"),
    ]
    owners = replace(OWNERS, by_pid={**OWNERS.by_pid, **in_container("else", 9), **in_container("shop", 6)})
    found = finding(node(early(20), *closed(40), *second, TELLING, workloads=owners), RULE)
    assert (found.shape, found.confidence) == ("closed-early", "likely")
    assert sorted(named(found, "victim"), key=str) == ["shop", "web"]
    assert parties(found, "culprit") == []
    assert found.title.startswith("10.244.0.6:8000 closes")


def test_a_farewell_that_comes_too_late_is_not_told_from_an_upload() -> None:
    late = accepted("late-data", 40, state="time-wait")
    unsure = [("closed-early", "info", "possible")]
    assert said(node(early(40), late, *closed(80)), RULE) == unsure
    assert said(node(early(40), *closed(80)), RULE) == unsure
    far = (early(40, to=FAR_SERVER), initiated("closed-by-peer", {0.0: 80}, to=FAR_SERVER))
    assert said(node(*far, TELLING), RULE) == unsure
    assert parties(finding(node(early(40), *closed(80)), RULE), "culprit") == []


@pytest.mark.parametrize(("unheard", "told"), [(20, ("warning", "likely")), (19, ("info", "possible"))])
def test_who_closes_before_a_word_was_said_meets_no_farewell(unheard: int, told: tuple[str, str]) -> None:
    """It may be a proxy, so it is no culprit."""
    refused = early(unheard, unanswered=True)
    found = finding(node(refused, early(40 - unheard), *closed(80)), RULE)
    assert (found.shape, (found.severity, found.confidence)) == ("closed-early", told)
    assert (named(found, "culprit"), named(found, "peer"), named(found, "victim")) == ([], ["batch"], ["web"])
    assert [e.value for e in found.evidence if e.statement.endswith("never sent a byte")] == [unheard]


def test_who_never_got_a_byte_and_wrote_after_a_pause_does_not_count_as_refused() -> None:
    late = early(30, 5.0, unanswered=True)
    assert said(node(early(40), late, *closed(80)), RULE) == [("closed-early", "info", "possible")]


def test_a_request_that_met_an_idle_close_on_its_way_is_for_keepalive_mismatch() -> None:
    assert findings(node(early(40), *closed(80, 5.0)), RULE) == []
    cut_as_well = (initiated("reset-received", {0.01: 30}), accepted("reset-sent", {0.01: 30}))
    assert [f.shape for f in findings(node(early(40), *cut_as_well, *closed(80, 5.0)), RULE)] == ["server-resets"]


@pytest.mark.parametrize("ending", ["refused", "rejected", "given-up", "timed-out"])
def test_connects_that_fail_are_for_other_rules(ending: Ending) -> None:
    assert findings(node(initiated(ending, {0.0: 90}, state="syn-sent"), *closed(10)), RULE) == []


def test_a_client_that_breaks_off_is_never_more_than_worth_knowing() -> None:
    groups = (initiated("reset-sent", {0.0: 90}), accepted("reset-received", {0.0: 90}))
    found = finding(node(*groups, *closed(10)), RULE)
    assert (found.shape, found.severity) == ("client-aborts", "info")
    assert (parties(found, "culprit"), named(found, "peer")) == ([], ["web", "batch"])
    assert findings(node(*groups, *closed(200)), RULE) == []


def test_of_a_client_elsewhere_that_breaks_off_only_the_servers_end_is_seen() -> None:
    groups = (
        accepted("reset-received", {0.0: 90}, client=FAR_CLIENT), accepted("closed-here", {0.0: 10}, client=FAR_CLIENT)
    )  # fmt: skip
    found = finding(node(*groups), RULE)
    assert (found.shape, found.severity, found.confidence) == ("client-aborts", "info", "likely")
    assert any("firewall or balancer in between" in line for line in found.explanation)


def test_resets_after_the_end_are_harmless() -> None:
    after = initiated("reset-sent", {0.0: 90}, state="close-wait")
    assert findings(node(after, *closed(90)), RULE) == []
    assert findings(node(initiated("reset-received", {0.0: 90}, state="last-ack"), *closed(90)), RULE) == []


def test_what_fitted_in_no_group_makes_it_less_sure() -> None:
    found = node(*cut(30), *closed(70), lost={"reset-received": 400})
    assert said(found, RULE) == [("server-resets", "warning", "likely")]


@pytest.mark.parametrize(("merged", "answer"), [(20, "Cleared"), (23, "NotChecked")])
def test_nobody_is_cleared_where_too_much_was_merged_without_its_time(merged: int, answer: str) -> None:
    groups = (*closed(100), initiated("reset-received", merged, client=None))
    assert [type(a).__name__ for a in answers(node(*groups, moments=2), RULE)] == [answer]
    counted = node(*closed(100), lost={"reset-received": merged})
    assert [type(a).__name__ for a in answers(counted, RULE)] == [answer]


def test_a_finding_keeps_its_name_from_run_to_run() -> None:
    one, other = finding(node(*cut(30), *closed(70)), RULE), finding(node(*cut(50), *closed(70), seconds=12.0), RULE)
    assert one.id == other.id
    assert replace(one, id="") != replace(other, id="")


@pytest.mark.parametrize(
    "groups",
    [
        (*cut(30), *closed(70)),
        (initiated("reset-received", {0.01: 30}), *closed(70)),
        (early(40), *closed(80), TELLING),
        (initiated("reset-sent", {0.0: 90}), *closed(10)),
        (*remote(200, 100), *cut(30)),
    ],
)
def test_a_redacted_recording_is_judged_alike(groups: Sequence[ConnectionGroup]) -> None:
    recording = node(*groups, moments=3)
    assert findings(recording, RULE)
    assert_judged_alike(recording, [RULE])
