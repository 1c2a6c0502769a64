"""What rules about one counter of each network namespace share: clearing it, one reading alone, and its settings."""

from __future__ import annotations

from whodunnet.model.counter_window import CounterWindow
from whodunnet.model.counters import Counters
from whodunnet.model.finding import Cleared, Evidence, NotChecked
from whodunnet.model.sample import Moment
from whodunnet.model.settings import NamespaceSettings, Settings
from whodunnet.model.snapshot import Recording
from whodunnet.rules.queue_evidence import counted, nowhere, source_of


def once_of(recording: Recording, rule: str, what: str, *names: str) -> Cleared | NotChecked:
    """One reading: no rise can be seen, but nothing ever is an answer all the same.

    what: is counted, in words. names: of the counters, of which a kernel may lack some.
    """
    at, newest = recording.series(Counters)[-1]  # the collector is required
    total = sum(values.get(name, 0) for values in newest.by_netns.values() for name in names)
    if not set(names) & set(newest.known):
        return unknown(rule, names[0])
    if nothing_read := nowhere(rule, newest, None):
        return nothing_read
    if total:
        reason = f"one reading cannot show a rise ({total:,} {what} since the namespaces were made)"
        return NotChecked(rule=rule, code="not-collected", reason=f"{reason}: look for longer")
    files = dict.fromkeys(source_of(name.partition(".")[0]) for name in names)
    shorts = dict.fromkeys(name.partition(".")[2] for name in names)
    return Cleared(
        rule=rule,
        sensitivity=f"any of the {what} since {newest.netns_read:,} namespaces were made",
        evidence=(
            Evidence(
                statement=f"Number of {what} since the namespaces were made", value=0, unit="events",
                source=f"{', '.join(files)} {', '.join(shorts)}", at=at.wall, boot_seconds=at.boot_seconds,
                repeat=f"nstat -asz {' '.join(name.replace('.', '') for name in names)}",
            ),
        ),
    )  # fmt: skip


def unknown(rule: str, name: str) -> NotChecked:
    """Of a counter that this kernel lacks."""
    return NotChecked(rule=rule, code="unsupported", reason=f"this kernel does not count {name}")


def cleared_of(
    window: CounterWindow, rule: str, name: str, what: str, reach: str, *, unit: str = "packets"
) -> Cleared | NotChecked:
    """Nothing found. reach: what would have been a finding, without where and how long."""
    if name not in window.last.known:
        return unknown(rule, name)
    if nothing_read := nowhere(rule, window.last, window):
        return nothing_read
    sensitivity = f"{reach}, within {window.seconds:.1f} s, in each of {len(window.rises):,} namespaces"
    if window.missing or window.unread:
        sensitivity += f"; {window.missing + window.unread:,} namespaces were not read, or were new"
    evidence = counted(window, name, None, f"In all namespaces, {what}", unit=unit)
    return Cleared(rule=rule, sensitivity=sensitivity, evidence=(evidence,))


def settings_of(recording: Recording, netns: int) -> NamespaceSettings | None:
    """As they were last read."""
    sample = recording.last(Settings)
    return sample.by_netns.get(netns) if sample is not None else None


def set_to(recording: Recording, netns: int, name: str) -> int | None:
    """A setting of one namespace, by its sysctl name."""
    settings = settings_of(recording, netns)
    return settings.number(name) if settings is not None else None


def setting_reading(at: Moment, name: str, value: int | str | None, statement: str) -> Evidence:
    """A setting as evidence. name: of the sysctl."""
    return Evidence(
        statement=statement, value=value, unit="", source="sysctl", at=at.wall, boot_seconds=at.boot_seconds,
        repeat=f"sysctl {name}  # in its network namespace",
    )  # fmt: skip
