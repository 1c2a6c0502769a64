"""What is of nobody known, and that it makes no share wrong."""

from __future__ import annotations

from whodunnet.collectors import connections
from whodunnet.collectors.connections import Sums
from whodunnet.kernel.bpf.connection_ends import End, EndTotal
from whodunnet.model.connection_pairs import Pair, pairs_of
from whodunnet.model.connections import Ending
from whodunnet.model.snapshot import Recording
from whodunnet.model.sockets import Endpoint
from whodunnet.rules.connection_sight import ungrouped

from .endings import CLIENT_PID, SERVER, STARTED, initiated, moments_of, watched
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
