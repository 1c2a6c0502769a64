"""What holds of every answer about repeated segments, whatever the node."""

from __future__ import annotations

import re

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from whodunnet.model.retransmissions import Destination, Retransmissions
from whodunnet.model.snapshot import Recording
from whodunnet.rules.rule import judge

from .arbitrary import ADDRESSES, TEXTS, Dice
from .nodes import FROM_BOOT, NETNS
from .repeats import moments, users
from .whole import assert_whole, findings_of

quick = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
RULES = ("retransmits", "path-mtu")
NUMBERS = (0, 0, 0, 1, 2, 5, 20, 100, 5_000, 2**40)


def destination(d: Dice) -> Destination:
    counted = {
        name: d.one(NUMBERS)
        for name in (
            "fast", "timeouts", "probes", "closed", "full", "sent", "duplicates", "sockets", "again_full",
            "again_small", "heard", "refused", "sacked", "stuck", "passed",
        )
    }  # fmt: skip
    return Destination(
        netns=d.one((NETNS, 5)), remote=d.one((*ADDRESSES, *TEXTS)), port=d.one((80, 443)), accepted=d.random() < 0.3,
        device=d.perhaps(lambda: d.one(TEXTS)), mss=d.perhaps(lambda: d.one(NUMBERS)),
        path_mtu=d.perhaps(lambda: d.one(NUMBERS)), device_mtu=d.perhaps(lambda: d.one(NUMBERS)),
        first_seconds=FROM_BOOT + d.one((-5, 0, 1)), last_seconds=FROM_BOOT + d.one((0, 2, 5)), **counted,
    )  # fmt: skip


def recording_of(d: Dice) -> Recording:
    return moments(
        *(
            Retransmissions(
                destinations=tuple({x.key: x for x in d.several(4, lambda: destination(d))}.values()),
                watched_seconds=1.0, started_seconds=d.one((1.0, 1.0, 2.0)), elsewhere=d.one(NUMBERS),
                other=d.one(NUMBERS), missed=d.one(NUMBERS),
            )
            for _ in range(d.randint(1, 4))
        ),
        groups=[users()],
    )  # fmt: skip


recordings = st.integers(0, 2**48).map(lambda seed: recording_of(Dice(seed)))


@quick
@given(recordings)
def test_every_answer_is_whole(node: Recording) -> None:
    assert_whole(RULES, node)


@quick
@given(recordings)
def test_nobody_is_called_the_culprit(node: Recording) -> None:
    assert all(p.role in ("victim", "peer") for f in findings_of(RULES, node) for p in f.parties)


@quick
@given(recordings)
def test_no_command_runs_what_a_name_says(node: Recording) -> None:
    for f in findings_of(RULES, node):
        assert "\x1b" not in f"{f.title}{f.explanation}{f.evidence}"
        for command in (*(r.command for r in f.remedies if r.command), *(e.repeat for e in f.evidence)):
            assert "$(" not in re.sub(r"'[^']*'", "", command)


@quick
@given(recordings)
def test_the_order_of_destinations_does_not_matter(node: Recording) -> None:
    turned = replace(
        node,
        snapshots=tuple(
            replace(s, samples={**s.samples, "retransmissions": replace(r, destinations=r.destinations[::-1])})
            for s in node.snapshots
            if isinstance(r := s.samples["retransmissions"], Retransmissions)
        ),
    )
    assert [judge(rule, node) for rule in RULES] == [judge(rule, turned) for rule in RULES]
