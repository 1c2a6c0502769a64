"""What a rule is, and which there are."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from whodunnet.model.finding import Answer, NotChecked
from whodunnet.model.snapshot import Recording
from whodunnet.rules.catalogue import Entry, catalogue
from whodunnet.rules.connect_refused import judge as judge_connect_refused
from whodunnet.rules.connect_slow import judge as judge_connect_slow
from whodunnet.rules.connect_timeout import judge as judge_connect_timeout
from whodunnet.rules.conntrack_table import judge as judge_conntrack_table
from whodunnet.rules.dns_race import judge as judge_dns_race
from whodunnet.rules.keepalive_mismatch import judge as judge_keepalive_mismatch
from whodunnet.rules.provider_limits import judge as judge_provider_limits
from whodunnet.rules.resets import judge as judge_resets
from whodunnet.rules.service_hang import judge as judge_service_hang
from whodunnet.rules.socket_leak import judge as judge_socket_leak
from whodunnet.rules.tcp_memory import judge as judge_tcp_memory

Judge = Callable[[Recording, Entry], Sequence[Answer]]

JUDGES: dict[str, Judge] = {
    "tcp-memory": judge_tcp_memory,
    "connect-refused": judge_connect_refused,
    "connect-timeout": judge_connect_timeout,
    "connect-slow": judge_connect_slow,
    "resets": judge_resets,
    "socket-leak": judge_socket_leak,
    "dns-race": judge_dns_race,
    "service-hang": judge_service_hang,
    "provider-limits": judge_provider_limits,
    "keepalive-mismatch": judge_keepalive_mismatch,
    "conntrack-table": judge_conntrack_table,
}
"""Every rule of the catalogue; a judge returns findings, or one other answer."""


def judge(rule: str, recording: Recording) -> Sequence[Answer]:
    """The answer of one rule; a rule whose required collector failed is not checked."""
    entry = catalogue()[rule]
    for collector in entry.required:
        failure = recording.failure(collector)
        if failure is not None:
            return [
                NotChecked(
                    rule=rule,
                    code=failure.code,
                    missing_capability=failure.missing_capability,
                    reason=failure.reason,
                )
            ]
    return JUDGES[rule](recording, entry)
