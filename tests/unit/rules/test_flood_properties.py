"""What holds of whoever is named for a full table, over arbitrary ones."""

from __future__ import annotations

from random import Random

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import UNSET
from msgspec.structs import replace

from whodunnet.model.addresses import Addresses
from whodunnet.model.conntrack import Conntrack, FlowGroup
from whodunnet.model.finding import Finding, Party
from whodunnet.model.snapshot import Recording
from whodunnet.model.sockets import Endpoint
from whodunnet.rules.flood_kinds import parts_of
from whodunnet.rules.flood_openers import openers_of
from whodunnet.rules.flood_relays import charge_senders
from whodunnet.rules.rule import judge
from whodunnet.rules.table_window import table_window

from .arbitrary_tables import flow
from .flows import ENTRY, RULE, PodAt, busy, node, table
from .test_properties import recordings

quick = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
IDLE_AGE = int(ENTRY.limit("idle_age"))
seeds = st.integers(0, 2**48)


def findings(found: Recording) -> list[Finding]:
    return [a for a in judge(RULE, found) if isinstance(a, Finding)]


def identity(p: Party) -> tuple[object, ...]:
    return tuple(None if part is UNSET else repr(part) for part in (p.role, p.pod, p.container, p.process, p.endpoint))


@quick
@given(recordings())
def test_nobody_is_named_without_wasteful_entries(found: Recording) -> None:
    tables = [t for _, t in found.series(Conntrack)]
    wasted = {
        g.source for t in tables for g in t.groups for p in parts_of(g, IDLE_AGE) if p.kind != "busy" and p.entries
    }
    for finding in findings(found):
        for p in finding.parties:
            if p.role == "culprit":
                assert isinstance(p.entries, int)
                assert p.entries > 0
                if isinstance(p.endpoint, Endpoint):
                    assert p.endpoint.address in wasted


@quick
@given(recordings())
def test_a_culprit_has_a_name_or_an_address(found: Recording) -> None:
    for finding in findings(found):
        for p in finding.parties:
            if p.role == "culprit":
                known = (p.process, p.container, p.pod, p.unit, p.endpoint)
                assert any(part is not UNSET and part is not None for part in known)


@quick
@given(recordings())
def test_a_namespace_is_named_by_an_address_that_it_alone_has_and_never_proven(found: Recording) -> None:
    own = {t.netns for _, t in found.series(Conntrack)}
    for finding in findings(found):
        for p in finding.parties:
            if p.role == "culprit" and isinstance(p.endpoint, Endpoint) and p.netns is not UNSET:
                assert finding.confidence != "proven"
                address, samples = p.endpoint.address or "", [a for _, a in found.series(Addresses)]
                assert (p.netns,) in [sample.namespaces().get(address) for sample in samples]
                assert own != {p.netns}


@quick
@given(recordings(), seeds)
def test_the_order_of_groups_and_namespaces_does_not_matter(found: Recording, seed: int) -> None:
    d = Random(seed)
    shuffled = replace(
        found,
        snapshots=tuple(
            replace(
                s, samples={name: shuffle(x, d) if isinstance(x, Conntrack) else x for name, x in s.samples.items()}
            )
            for s in found.snapshots
        ),
    )
    for one, other in zip(findings(found), findings(shuffled), strict=True):
        same = ("id", "severity", "claim", "confidence", "reason", "shape")
        assert [getattr(one, field) for field in same] == [getattr(other, field) for field in same]
        culprits = [{identity(p) for p in f.parties if p.role == "culprit"} for f in (one, other)]
        assert culprits[0] == culprits[1]


def shuffle(found: Conntrack, d: Random) -> Conntrack:
    groups = list(found.groups)
    d.shuffle(groups)
    return replace(found, groups=tuple(groups))


@quick
@given(seeds)
def test_busy_entries_alone_accuse_nobody(seed: int) -> None:
    d = Random(seed)
    groups = [busy(f"10.0.0.{d.randint(1, 5)}", Endpoint("10.96.0.1", 80), d.randint(1, 9_000)) for _ in range(6)]
    full = table(*groups, size=max(sum(g.entries for g in groups), 1))
    pods = [PodAt(n) for n in (1, 2)]
    for finding in findings(node(full, full, pods=pods)):
        assert finding.claim == "holds"
        assert "culprit" not in [p.role for p in finding.parties]


@quick
@given(seeds)
def test_the_kinds_of_a_group_are_all_of_its_entries(seed: int) -> None:
    group: FlowGroup = flow(Random(seed))
    parts = parts_of(group, IDLE_AGE)
    assert sum(p.entries for p in parts) == group.entries
    assert all(p.entries > 0 and p.young >= 0 for p in parts) or group.entries == 0


@quick
@given(recordings())
def test_charges_are_moved_and_neither_made_nor_lost(found: Recording) -> None:
    window = table_window(found)
    if window is None:
        return
    openers = openers_of(window.last, window, IDLE_AGE)
    before = sum(o.charge for o in openers.by_key.values())
    charge_senders(openers, ENTRY.limit("relay_share"))
    assert abs(openers.wasteful - before) <= 1e-6 * max(before, 1)
    assert sum(o.entries for o in openers.by_key.values()) == sum(g.entries for g in window.last.table.groups)
