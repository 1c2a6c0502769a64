"""The order of findings."""

from __future__ import annotations

from itertools import permutations

from hypothesis import given
from hypothesis import strategies as st

from whodunnet.diagnosis.causes import link, rank
from whodunnet.model.finding import SEVERITIES, Severity

from .linking import finding, leak, order


def test_nothing_is_linked_to_nothing() -> None:
    assert (link([]), rank([])) == ([], [])


def test_the_worst_comes_first() -> None:
    for some in permutations([finding(s, severity=s) for s in SEVERITIES]):
        assert order(*some) == ["critical", "warning", "info"]


def test_a_cause_comes_before_what_it_causes_at_the_same_severity() -> None:
    assert order(finding("memory", caused_by=("leak",)), leak(confidence="possible")) == ["leak", "memory"]


def test_a_worse_consequence_comes_before_a_milder_cause() -> None:
    assert order(leak(severity="warning"), finding("memory", caused_by=("leak",))) == ["memory", "leak"]


def test_the_surer_comes_first_and_then_the_larger() -> None:
    some = [
        leak("large and possible", confidence="possible"), leak("small", share=0.1), leak("large", share=0.8),
        leak("likely", confidence="likely"), leak("none", share=None),
    ]  # fmt: skip
    for shuffled in permutations(some):
        assert order(*shuffled)[:2] == ["large", "small"]
        assert order(*shuffled)[2:] == ["none", "likely", "large and possible"]


def test_equal_findings_keep_their_order() -> None:
    assert order(leak("a"), leak("b"), leak("c")) == ["a", "b", "c"]


severity: st.SearchStrategy[Severity] = st.sampled_from(SEVERITIES)
some_findings = st.lists(
    st.tuples(st.sampled_from(["socket-leak", "tcp-memory"]), severity, st.none() | st.floats(0, 1)), max_size=6
)


@given(some_findings)
def test_linking_and_ranking_lose_and_invent_nothing(some: list[tuple[str, Severity, float | None]]) -> None:
    given_findings = [
        leak(f"f{n}", share=share, severity=bad) if rule == "socket-leak" else finding(f"f{n}", rule, severity=bad)
        for n, (rule, bad, share) in enumerate(some)
    ]
    ranked = rank(link(given_findings))
    ids = [f.id for f in ranked]
    assert sorted(ids) == sorted(f.id for f in given_findings)
    assert [SEVERITIES.index(f.severity) for f in ranked] == sorted(SEVERITIES.index(f.severity) for f in ranked)
    for f in ranked:
        assert set(f.caused_by) <= set(ids) - {f.id}
        assert all(f.id in c.would_explain for c in ranked if c.id in f.caused_by)
