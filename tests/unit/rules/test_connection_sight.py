"""What is of nobody known, and that it makes no share wrong."""

from __future__ import annotations

import pytest

from whodunnet.collectors import connections
from whodunnet.collectors.connections import Sums
from whodunnet.kernel.bpf.connection_ends import End, EndTotal
from whodunnet.model.connection_pairs import Pair, pairs_of
from whodunnet.model.connections import Ending
from whodunnet.model.finding import Cleared, NotChecked
from whodunnet.model.snapshot import Recording
from whodunnet.model.sockets import Endpoint
from whodunnet.rules.connection_sight import ungrouped

from .endings import CLIENT_PID, SERVER, STARTED, initiated, moments_of, watched
from .nodes import answers
from .tracking import POD, POD_NETNS


def ungrouped_of(recording: Recording, *endings: Ending) -> int:
    found = pairs_of(recording)
    assert found is not None
    return ungrouped(found, *endings)


def test_what_was_merged_without_client_and_times_is_of_nobody_like_what_fitted_nowhere() -> None:
    recording = watched(
        initiated("closed-by-peer", {5.0: 90}),
        initiated("closed-by-peer", 60, client=None),
        initiated("refused", 30, client=None),
        initiated("late-data", 9),
        lost={"refused": 3, "opened": 1},
    )
    assert ungrouped_of(recording, "closed-by-peer") == 60
    assert ungrouped_of(recording, "refused", "opened") == 34
    assert ungrouped_of(recording) == 94


@pytest.mark.parametrize(
    ("rule", "ending"),
    [("connect-refused", "rejected"), ("connect-timeout", "given-up"), ("connect-slow", "syn-retransmitted")],
)
@pytest.mark.parametrize(
    ("merged", "counted", "kept", "answer"),
    [(0, 0, 90, Cleared), (0, 9, 0, Cleared), (0, 10, 0, NotChecked), (5, 5, 90, Cleared), (6, 5, 90, NotChecked)],
)
def test_no_rule_about_connects_clears_anybody_where_much_was_only_counted(
    rule: str, ending: Ending, merged: int, counted: int, kept: int, answer: type[Cleared | NotChecked]
) -> None:
    """They all ended at the beginning, so that nothing lasts; those that were answered do not matter."""
    groups = [initiated(ending, {1.0: kept}), initiated(ending, merged, client=None), initiated("opened", {0.001: 900})]
    lost: dict[Ending, int] = {"opened": 900, ending: counted}
    (found,) = answers(watched(*groups, end=0.3, lost=lost), rule)
    assert type(found) is answer
    if isinstance(found, Cleared):
        assert ("were only counted" in found.sensitivity) == bool(merged + counted)
    if isinstance(found, NotChecked):
        assert f"{merged + counted:,} of {kept + merged + counted:,}" in found.reason


def end(ending: Ending, state: str, pid: int, server: Endpoint = SERVER) -> End:
    return End(POD_NETNS, "initiated", ending, state, server, POD, pid, f"app{pid}", STARTED, last_word=False)


def test_of_a_collector_that_is_full_every_client_keeps_its_share() -> None:
    """Its first refusals come when there is room for new groups no more."""
    sums = Sums()
    sums.add([EndTotal(end("opened", "established", CLIENT_PID), 8, 1, 0.0001)])
    sums.add(
        EndTotal(end("opened", "established", 10_000 + n, Endpoint("198.51.100.7", 443)), 8, 1, 0.0001)
        for n in range(connections.GROUPS_LIMIT)
    )
    moments = [sums.groups()]
    for _ in range(3):
        sums.add([EndTotal(end("opened", "established", CLIENT_PID), 8, 3400, 0.34)])
        sums.add([EndTotal(end("refused", "syn-sent", CLIENT_PID), 0, 100, 0.0)])
        moments.append(sums.groups())
    found = pairs_of(moments_of(*moments))
    assert found is not None
    assert [_numbers(pair) for pair in found.pairs if pair.server == SERVER] == [(10_200, 300)]


def _numbers(pair: Pair) -> tuple[int, int]:
    return pair.count("opened"), pair.count("refused")
