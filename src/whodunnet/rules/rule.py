"""What a rule is, and which there are."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from whodunnet.model.finding import Answer, NotChecked
from whodunnet.model.snapshot import Recording
from whodunnet.rules.accept_queue import judge as judge_accept_queue
from whodunnet.rules.catalogue import Entry
from whodunnet.rules.clock import judge as judge_clock
from whodunnet.rules.connect_refused import judge as judge_connect_refused
from whodunnet.rules.connect_slow import judge as judge_connect_slow
from whodunnet.rules.connect_timeout import judge as judge_connect_timeout
from whodunnet.rules.conntrack_table import judge as judge_conntrack_table
from whodunnet.rules.cpu_pressure import judge as judge_cpu_pressure
from whodunnet.rules.cpu_throttled import judge as judge_cpu_throttled
from whodunnet.rules.descriptor_limit import judge as judge_descriptor_limit
from whodunnet.rules.dns import judge as judge_dns
from whodunnet.rules.dns_race import judge as judge_dns_race
from whodunnet.rules.forwarding_off import judge as judge_forwarding_off
from whodunnet.rules.keepalive_mismatch import judge as judge_keepalive_mismatch
from whodunnet.rules.neighbour_table import judge as judge_neighbour_table
from whodunnet.rules.nic_drops import judge as judge_nic_drops
from whodunnet.rules.overrides import NONE, Overrides
from whodunnet.rules.path_mtu import judge as judge_path_mtu
from whodunnet.rules.port_exhaustion import judge as judge_port_exhaustion
from whodunnet.rules.provider_limits import judge as judge_provider_limits
from whodunnet.rules.resets import judge as judge_resets
from whodunnet.rules.retransmits import judge as judge_retransmits
from whodunnet.rules.rp_filter import judge as judge_rp_filter
from whodunnet.rules.rx_imbalance import judge as judge_rx_imbalance
from whodunnet.rules.rx_stall import judge as judge_rx_stall
from whodunnet.rules.service_hang import judge as judge_service_hang
from whodunnet.rules.settings import judge as judge_settings
from whodunnet.rules.socket_leak import judge as judge_socket_leak
from whodunnet.rules.softnet_drops import judge as judge_softnet_drops
from whodunnet.rules.stall_counters import counted_waits
from whodunnet.rules.syn_queue import judge as judge_syn_queue
from whodunnet.rules.tcp_memory import judge as judge_tcp_memory
from whodunnet.rules.time_wait_overflow import judge as judge_time_wait_overflow
from whodunnet.rules.udp_buffers import judge as judge_udp_buffers
from whodunnet.rules.zombie_cgroups import judge as judge_zombie_cgroups

Judge = Callable[[Recording, Entry], Sequence[Answer]]

JUDGES: dict[str, Judge] = {
    "tcp-memory": judge_tcp_memory,
    "connect-refused": judge_connect_refused,
    "connect-timeout": judge_connect_timeout,
    "connect-slow": judge_connect_slow,
    "resets": judge_resets,
    "syn-queue": judge_syn_queue,
    "accept-queue": judge_accept_queue,
    "socket-leak": judge_socket_leak,
    "dns-race": judge_dns_race,
    "service-hang": judge_service_hang,
    "dns": judge_dns,
    "udp-buffers": judge_udp_buffers,
    "provider-limits": judge_provider_limits,
    "softnet-drops": judge_softnet_drops,
    "rx-imbalance": judge_rx_imbalance,
    "zombie-cgroups": judge_zombie_cgroups,
    "cpu-throttled": judge_cpu_throttled,
    "keepalive-mismatch": judge_keepalive_mismatch,
    "conntrack-table": judge_conntrack_table,
    "rx-stall": judge_rx_stall,
    "port-exhaustion": judge_port_exhaustion,
    "time-wait-overflow": judge_time_wait_overflow,
    "rp-filter": judge_rp_filter,
    "forwarding-off": judge_forwarding_off,
    "cpu-pressure": judge_cpu_pressure,
    "clock": judge_clock,
    "descriptor-limit": judge_descriptor_limit,
    "neighbour-table": judge_neighbour_table,
    "nic-drops": judge_nic_drops,
    "settings": judge_settings,
    "retransmits": judge_retransmits,
    "path-mtu": judge_path_mtu,
}
"""Every rule of the catalogue; a judge returns findings, or one other answer; or both where readings are too few to say
whether what was found lasts (not checked)."""

LEFT: dict[str, Callable[[Recording], str]] = {"rx-stall": counted_waits}
"""What is left to say of a rule whose required collector failed, as the end of the sentence that says why."""


def judge(rule: str, recording: Recording, overrides: Overrides = NONE) -> Sequence[Answer]:
    """The answer of one rule; a rule whose required collector failed is not checked."""
    entry = overrides.entry(rule)
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
