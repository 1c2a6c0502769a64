"""The table of causes and consequences: it fits the catalogue, has no circle, and every tie in it is one."""

from __future__ import annotations

from graphlib import TopologicalSorter
from itertools import product
from typing import get_args

from whodunnet.diagnosis.links import LINKS, TIES, Link, Tie, link_of
from whodunnet.diagnosis.ties import _TIES
from whodunnet.rules.catalogue import catalogue

Kind = tuple[str, str | None]


def shapes_of(rule: str, only: tuple[str, ...]) -> list[Kind]:
    """Kinds of findings of a rule; one without shapes has one kind."""
    return [(rule, shape) for shape in only or tuple(catalogue()[rule].shapes) or (None,)]


def test_the_table_has_every_pair_of_the_catalogue_once_for_each_tie_and_no_other() -> None:
    said = {(cause, rule) for cause, entry in catalogue().items() for rule in entry.would_explain}
    assert {(link.cause, link.consequence) for link in LINKS} == said
    assert len({(link.cause, link.consequence, link.tie) for link in LINKS}) == len(LINKS)


def test_rules_and_shapes_of_the_table_exist() -> None:
    for link in LINKS:
        assert {link.cause, link.consequence} <= set(catalogue())
        assert set(link.cause_shapes) <= set(catalogue()[link.cause].shapes), link
        assert set(link.shapes) <= set(catalogue()[link.consequence].shapes), link


def test_nothing_causes_itself_by_way_of_others() -> None:
    causes: dict[Kind, set[Kind]] = {}
    for link in LINKS:
        pairs = product(shapes_of(link.cause, link.cause_shapes), shapes_of(link.consequence, link.shapes))
        for cause, consequence in pairs:
            causes.setdefault(consequence, set()).add(cause)
    assert list(TopologicalSorter(causes).static_order())  # raises CycleError


def test_every_tie_is_used_and_has_its_function() -> None:
    assert {link.tie for link in LINKS} == set(get_args(Tie)) == set(_TIES) == set(TIES)


def test_a_pair_is_found_by_its_rules() -> None:
    assert link_of("socket-leak", "tcp-memory") == Link(
        cause="socket-leak", consequence="tcp-memory", tie="share-of-it"
    )
    assert link_of("tcp-memory", "socket-leak") is None


def test_of_two_links_of_a_pair_the_one_of_that_shape_counts() -> None:
    pair = ("conntrack-table", "connect-timeout")
    ties = [how.tie if (how := link_of(*pair, shape)) else None for shape in ("other-namespace", "churn", None)]
    assert ties == ["no-room-there", "packets-dropped", "packets-dropped"]
