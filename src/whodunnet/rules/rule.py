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
from whodunnet.rules.cpu_throttled import judge as judge_cpu_throttled
from whodunnet.rules.dns_race import judge as judge_dns_race
from whodunnet.rules.keepalive_mismatch import judge as judge_keepalive_mismatch
from whodunnet.rules.provider_limits import judge as judge_provider_limits
from whodunnet.rules.resets import judge as judge_resets
from whodunnet.rules.rx_imbalance import judge as judge_rx_imbalance
from whodunnet.rules.rx_stall import judge as judge_rx_stall
from whodunnet.rules.service_hang import judge as judge_service_hang
from whodunnet.rules.socket_leak import judge as judge_socket_leak
from whodunnet.rules.softnet_drops import judge as judge_softnet_drops
from whodunnet.rules.stall_counters import counted_waits
from whodunnet.rules.tcp_memory import judge as judge_tcp_memory
from whodunnet.rules.zombie_cgroups import judge as judge_zombie_cgroups

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
    "softnet-drops": judge_softnet_drops,
    "rx-imbalance": judge_rx_imbalance,
    "zombie-cgroups": judge_zombie_cgroups,
    "cpu-throttled": judge_cpu_throttled,
    "keepalive-mismatch": judge_keepalive_mismatch,
    "conntrack-table": judge_conntrack_table,
    "rx-stall": judge_rx_stall,
}
"""Every rule of the catalogue; a judge returns findings, or one other answer."""

LEFT: dict[str, Callable[[Recording], str]] = {"rx-stall": counted_waits}
"""What is left to say of a rule whose required collector failed, as the end of the sentence that says why."""


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
                    reason=f"{failure.reason}{LEFT[rule](recording) if rule in LEFT else ''}",
                )
            ]
    return JUDGES[rule](recording, entry)
