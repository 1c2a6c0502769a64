"""The conntrack collector on the tables of other namespaces, which may have filled that of the node."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from whodunnet.collectors import conntrack
from whodunnet.collectors.conntrack import INNER_GROUPS
from whodunnet.kernel.roots import Roots
from whodunnet.model.conntrack import Conntrack, FlowGroup
from whodunnet.model.inner_flows import InnerFlows
from whodunnet.model.sample import Failure
from whodunnet.model.sockets import AGE_BOUNDS_SECONDS, Endpoint

from .conntrack_node import OTHER, collect, dumping, process, two_namespaces, write

INNER = 4026532777


@pytest.fixture
def full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Roots:
    """A node whose own table is so full that other tables are looked at."""
    dumping(monkeypatch)
    node = two_namespaces(tmp_path)
    write(node, "max", 60)
    return node


def inner_table(monkeypatch: pytest.MonkeyPatch, *tables: Conntrack) -> list[int]:
    """Namespaces that are entered, in turn; what is read there."""
    entered: list[int] = []
    answers = iter(tables)

    def inside(_self: object, _path: Path, inum: int, _call: Callable[[], Conntrack]) -> Conntrack:
        entered.append(inum)
        return next(answers)

    monkeypatch.setattr(conntrack.Visitor, "inside", inside)
    return entered


def translated(n: int, source_as: str | None = "10.1.0.2") -> FlowGroup:
    return FlowGroup(
        family=4,
        protocol="tcp",
        source=f"172.17.{n // 250}.{n % 250}",
        source_as=source_as,
        destination=None,
        entries=n,
    )


def test_tables_of_others_are_read_where_they_may_have_filled_ours(
    full: Roots, monkeypatch: pytest.MonkeyPatch
) -> None:
    process(full.proc, "23", INNER, 1)
    groups = (translated(9_000, None), *(translated(n) for n in range(1, INNER_GROUPS + 1)))
    entered = inner_table(monkeypatch, Conntrack(loaded=True, groups=groups))
    sample = collect(full)
    assert entered == [OTHER], "the other one has too few to matter"
    assert sample.inner == {OTHER: groups[1:]}


def to(n: int, source: str, **changed: Any) -> FlowGroup:
    """One entry to one of many destinations."""
    destination = Endpoint(f"10.9.{n // 250}.{n % 250}", 80)
    return FlowGroup(
        **{"family": 4, "protocol": "tcp", "source": source, "destination": destination, "entries": 1} | changed
    )


@pytest.mark.parametrize("entries", [1, 20])
def test_what_had_no_room_is_weighed_as_the_namespaces_own(
    full: Roots, monkeypatch: pytest.MonkeyPatch, entries: int
) -> None:
    behind = [to(n, "10.0.5.2", source_as="10.1.0.2", entries=entries) for n in range(500)]
    own = [to(n, "10.1.0.2") for n in range(500, 3_500)]
    inner_table(monkeypatch, Conntrack(loaded=True, groups=(*behind, *own)))
    sample = collect(full)
    groups = tuple(msgspec.structs.replace(group, source="10.1.0.2", source_as=None) for group in (*behind, *own))
    flows = InnerFlows(msgspec.structs.replace(sample, groups=groups), None)
    assert sum(flows.senders(OTHER, group).get("10.0.5.2", 0) for group in groups) == 500 * entries
    assert len(sample.inner[OTHER]) == INNER_GROUPS + 1


def test_sums_of_what_had_no_room_tell_kinds_of_use_apart(full: Roots, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a flood that has ended in that table would be given to it for datagrams that it sent itself."""
    ages = (0, *[1] * len(AGE_BOUNDS_SECONDS))
    kinds: list[dict[str, Any]] = [
        {"protocol": "udp"}, {"protocol": "udp", "replied": True}, {"state": "syn-sent"}, {"state": "time-wait"},
        {"assured": True}, {"offloaded": True},
    ]  # fmt: skip
    behind = to(1, "10.0.5.2", source_as="10.1.0.2")
    kept = [to(n, "10.1.0.2", entries=2) for n in range(INNER_GROUPS - 1)]
    own = [to(n, "10.1.0.2", **kind, ages=ages, idle_seconds=7) for n in range(1_000, 1_050) for kind in kinds]
    inner_table(monkeypatch, Conntrack(loaded=True, groups=(behind, *own, to(9_000, "10.1.0.2", **kinds[0]), *kept)))
    many = {"destination": None, "merged": True, "idle_seconds": 350, "ages": tuple(50 * n for n in ages)}
    assert collect(full).inner[OTHER][INNER_GROUPS:] == tuple(
        to(0, "10.1.0.2", **kind, **many, entries=51 if kind is kinds[0] else 50) for kind in kinds
    )


def test_what_a_namespace_only_lets_through_or_answers_takes_no_room(
    full: Roots, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = (to(1, "10.0.5.2", source_as="10.1.0.2"), to(2, "10.1.0.2"))
    inner_table(monkeypatch, Conntrack(loaded=True, groups=(*kept, *(translated(n, None) for n in range(1, 3_000)))))
    assert collect(full).inner == {OTHER: kept}


@pytest.mark.parametrize(
    "cut",
    [{"groups": tuple(translated(n) for n in range(1, INNER_GROUPS + 2))}, {"other_entries": 1}, {"malformed": 1}],
)
def test_of_a_table_that_is_not_told_whole_nothing_is_said(
    full: Roots, monkeypatch: pytest.MonkeyPatch, cut: dict[str, Any]
) -> None:
    inner_table(monkeypatch, Conntrack(loaded=True, **{"groups": (translated(9),), **cut}))
    assert collect(full).inner == {}


def test_tables_of_others_are_not_read_where_that_would_take_long(full: Roots, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conntrack, "INNER_ENTRIES", 1)
    entered = inner_table(monkeypatch, Conntrack(loaded=True))
    assert collect(full).inner == {}
    assert entered == []


def test_of_the_tables_of_others_the_four_largest_that_fit_together_are_read(
    full: Roots, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(6):
        process(full.proc, str(30 + n), INNER + n, 300 - n)
    monkeypatch.setattr(conntrack, "INNER_ENTRIES", 1_195)
    monkeypatch.setattr(conntrack, "_count", lambda *args: {OTHER: 2_000}.get(args[2], 300 - (args[2] - INNER)))
    entered = inner_table(monkeypatch, *[Conntrack(loaded=True)] * 6)
    collect(full)
    assert entered == [INNER + n for n in range(4)], "one is too large, and with one more it would be five"


@pytest.mark.parametrize(("limit", "times"), [(61, 0), (0, 0), (60, 1)])
def test_tables_of_others_are_left_alone_while_ours_has_room(
    full: Roots, monkeypatch: pytest.MonkeyPatch, limit: int, times: int
) -> None:
    write(full, "max", limit)
    entered = inner_table(monkeypatch, Conntrack(loaded=True))
    collect(full)
    assert len(entered) == times


def test_of_a_table_that_translates_nothing_only_that_is_kept(full: Roots, monkeypatch: pytest.MonkeyPatch) -> None:
    inner_table(monkeypatch, Conntrack(loaded=True, groups=(translated(9, None),)))
    assert collect(full).inner == {OTHER: ()}


def test_a_table_of_others_that_cannot_be_read_is_not_said_to_translate_nothing(
    full: Roots, monkeypatch: pytest.MonkeyPatch
) -> None:
    inner_table(monkeypatch, Conntrack(loaded=True, dump_failure=Failure(code="unreadable", reason="no")))
    assert collect(full).inner == {}
    (full.proc / "22/ns/net").unlink()
    monkeypatch.undo()
    dumping(monkeypatch)
    assert collect(full).inner == {}
