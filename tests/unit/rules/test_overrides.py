"""Thresholds of a user: what is accepted, what they change, and that every rule can be judged with them."""

from __future__ import annotations

import math
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from whodunnet.diagnosis.engine import diagnose
from whodunnet.errors import UsageError
from whodunnet.model.finding import Cleared, Finding
from whodunnet.model.snapshot import Recording
from whodunnet.model.sockets import AGE_BOUNDS_SECONDS
from whodunnet.rules.catalogue import Threshold, catalogue
from whodunnet.rules.overrides import NONE, Overrides, parse_overrides
from whodunnet.rules.rule import JUDGES, judge

from .arbitrary import recordings
from .arbitrary_connections import watched_recordings
from .arbitrary_softnet import receiving_recordings
from .arbitrary_stalls import stalled_recordings
from .arbitrary_tracking import tracked_recordings

FILE = "/etc/whodunnet/config.toml"
EVERY = [(rule, name) for rule, entry in catalogue().items() for name in entry.thresholds]
quick = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def read(raw: dict[str, Any]) -> Overrides:
    return parse_overrides({"thresholds": raw}, FILE)


def refusal(raw: object, key: str = "thresholds") -> str:
    with pytest.raises(UsageError) as caught:
        parse_overrides({key: raw}, FILE)
    text = str(caught.value)
    assert text.startswith(f"{FILE}: ")
    assert text.isprintable()
    return text


def edges(threshold: Threshold) -> list[float]:
    """The smallest and the largest that may be set, and what is near the smallest."""
    if threshold.ages:
        return [AGE_BOUNDS_SECONDS[0], AGE_BOUNDS_SECONDS[-1]]
    return [1, 2, threshold.largest] if threshold.is_whole else [1e-9, threshold.largest]


@pytest.mark.parametrize(("rule", "name"), EVERY)
def test_the_catalogues_own_number_and_the_edges_are_allowed(rule: str, name: str) -> None:
    threshold = catalogue()[rule].thresholds[name]
    for value in (threshold.value, *edges(threshold)):
        assert read({rule: {name: value}}).entry(rule).limit(name) == value


@pytest.mark.parametrize(("rule", "name"), EVERY)
def test_what_lies_beyond_the_edges_is_refused_with_what_is_allowed(rule: str, name: str) -> None:
    threshold = catalogue()[rule].thresholds[name]
    too_small = [0, -1, *([1.5] if threshold.is_whole or threshold.ages else [])]
    for value in (*too_small, threshold.largest + 1, math.nan, math.inf, -math.inf, True, "1", [1], None):
        text = refusal({rule: {name: value}})
        assert f"thresholds.{rule}.{name}" in text
        assert threshold.allowed in text


def test_a_number_may_say_its_unit_and_no_other() -> None:
    said = read({"resets": {"pause": {"value": 2, "unit": "seconds"}}})
    assert said == read({"resets": {"pause": 2}})
    assert refusal({"resets": {"pause": {"value": 2000, "unit": "ms"}}}) == (
        f"{FILE}: thresholds.resets.pause is in 'ms'; its unit is 'seconds'"
    )
    assert "has no value" in refusal({"resets": {"pause": {"unit": "seconds"}}})
    assert "'units'; there are: value, unit" in refusal({"resets": {"pause": {"value": 2, "units": "seconds"}}})


def test_what_does_not_exist_is_named_with_what_does() -> None:
    assert refusal({}, "threshold") == f"{FILE}: there is no key 'threshold'; there is: thresholds"
    assert f"no rule 'reset'; there are: {', '.join(catalogue())}" in refusal({"reset": {}})
    known = ", ".join(catalogue()["resets"].thresholds)
    assert refusal({"resets": {"why": 1}}) == f"{FILE}: there is no threshold of resets 'why'; there are: {known}"
    assert "it must be a table" in refusal({"resets": 5})
    assert "it must be a table" in refusal(5)


def test_hostile_keys_and_numbers_are_one_clean_line() -> None:
    assert "\x1b" not in refusal({"\x1b[2J\n": {}})
    assert "too long to print" in refusal({"resets": {"pause": 16**9999}})


def test_the_diagnosis_says_every_threshold_and_which_were_changed() -> None:
    changed = read({"resets": {"pause": 2, "min_rate": catalogue()["resets"].limit("min_rate")}})
    found = changed.in_force(["resets", "tcp-memory"])
    assert (found.source, found.changed) == (FILE, ("resets.pause",))
    assert {rule: set(limits) for rule, limits in found.rules.items()} == {
        rule: set(catalogue()[rule].thresholds) for rule in ("resets", "tcp-memory")
    }
    pause, rate = found.rules["resets"]["pause"], found.rules["resets"]["min_rate"]
    assert (pause.value, pause.default, pause.unit) == (2, catalogue()["resets"].limit("pause"), "seconds")
    assert not rate.is_changed
    assert (NONE.in_force(["resets"]).source, NONE.in_force(["resets"]).changed) == (None, ())


def one_of_each(rule: str, value: float) -> Overrides:
    return Overrides(source=FILE, values={rule: {name: value for r, name in EVERY if r == rule}})


@given(recordings(), st.sampled_from([1, 10**6]))
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_recording_is_judged_with_the_thresholds_of_whoever_judges(node: Recording, many: int) -> None:
    overrides = read({"zombie-cgroups": {"min_dying": many}, "socket-leak": {"min_sockets": many}})
    found = diagnose(node, ["socket-leak", "zombie-cgroups"], (), overrides)
    alone = [a for rule in ("socket-leak", "zombie-cgroups") for a in judge(rule, node, overrides)]
    assert {f.id for f in found.findings} == {f.id for f in alone if isinstance(f, Finding)}
    assert found.thresholds == overrides.in_force(["socket-leak", "zombie-cgroups"])


@quick
@given(
    st.one_of(recordings(), watched_recordings(), receiving_recordings(), stalled_recordings(), tracked_recordings()),
    st.integers(0, 2**32),
)
def test_every_rule_answers_whatever_is_set(node: Recording, seed: int) -> None:
    dice = Random(seed)
    values: dict[str, dict[str, float]] = {rule: {} for rule in JUDGES}
    for rule, name in EVERY:
        values[rule][name] = dice.choice([*edges(catalogue()[rule].thresholds[name]), catalogue()[rule].limit(name)])
    overrides = read(values)
    for rule in JUDGES:
        given_answers = judge(rule, node, overrides)
        assert given_answers
        assert all(
            e.statement and e.repeat for a in given_answers if isinstance(a, Finding | Cleared) for e in a.evidence
        )
