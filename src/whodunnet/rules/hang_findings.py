"""A hang as a finding: who waits, for whom, the readings, what to do."""

from __future__ import annotations

import hashlib
import ipaddress

import msgspec

from whodunnet.model.finding import ASKED_SERVICE, Confidence, Evidence, Finding, Party, Remedy
from whodunnet.model.flow_owners import FlowOwner
from whodunnet.model.sample import Moment
from whodunnet.model.snapshot import Recording
from whodunnet.model.text import shell_quote, shorten_bytes
from whodunnet.model.workload import Workload
from whodunnet.rules import remedies
from whodunnet.rules.catalogue import Entry
from whodunnet.rules.hang_sight import Waiters
from whodunnet.rules.identity import endpoint_text
from whodunnet.rules.openers import endpoint_party, opener_party
from whodunnet.rules.silent_targets import Silence, Target

RULE = "service-hang"
DROPPED = "dropped-here"
UNREPLIED = "conntrack -L -p tcp --state SYN_SENT"
UNSEEN = (
    "The sockets of who opened these connects are not all in sight from here. Whoever gave up leaves an entry for up "
    "to {seconds} s, so it may be over as well as go on."
)
AT_ONCE = (
    "No socket was seen to wait for it in any reading: these connects may have been refused by ICMP (REJECT, "
    "administratively prohibited), which leaves such entries too; then nobody hangs."
)


class Hang(msgspec.Struct, frozen=True, kw_only=True):
    """One target that passed the test. peer: who has its address, if that is somebody on this node.

    control: targets that answer meanwhile. services: addresses known to be those of Services. waiters: by sockets; None
    where these do not tell. seen: whether all sockets of the openers are. at_once: no socket was ever seen to wait.
    kept_seconds: for how long an entry is kept.
    """

    silence: Silence
    shape: str
    confidence: Confidence
    openers: list[tuple[FlowOwner, int]]
    peer: Workload | None
    control: int
    services: tuple[str, ...]
    waiters: Waiters | None = None
    seen: bool = True
    at_once: bool = False
    kept_seconds: int = 0


def compose(hang: Hang, recording: Recording, at: Moment, entry: Entry, more: int) -> Finding:
    """The finding. more: hangs that are not listed."""
    shape, target = entry.shapes[hang.shape], hang.silence.target
    words = {
        "waits": _waits(hang),
        "sockets": hang.silence.connecting or 0,
        "peer": endpoint_text(target.answerer),
        "service": endpoint_text(target.asked),
        "near": _near(hang, entry),
    }
    title = shape.title.format(**words)
    unseen = (UNSEEN.format(seconds=hang.kept_seconds),) * (not hang.seen) + (AT_ONCE,) * hang.at_once
    left_out = (f"{more:,} more addresses are as silent; the largest are listed.",) if more > 0 else ()
    return Finding(
        id=f"{RULE}:{_digest(hang.shape, target)}",
        rule=RULE,
        reason="".join(word.capitalize() for word in hang.shape.split("-")),
        severity="info" if hang.confidence == "possible" else "warning",
        claim=entry.claim,
        confidence=hang.confidence,
        shape=hang.shape,
        summary=shorten_bytes(title, 80),
        title=title,
        last_seen=at.wall,
        parties=tuple(_parties(hang, recording.node.hostname, entry)),
        evidence=tuple(_evidence(hang, at, entry)),
        would_explain=entry.would_explain,
        remedies=(remedies.CAPTURE, *_remedies(hang), remedies.fix(shape.fix)),
        explanation=tuple(line.format(**words) for line in shape.explanation) + unseen + left_out,
    )


def _parties(hang: Hang, hostname: str, entry: Entry) -> list[Party]:
    """Who waits, and for whom. Silence has no culprit: the far end, or whatever drops on the way to it or back."""
    target = hang.silence.target
    most, dropped = int(entry.limit("listed_openers")), hang.shape == DROPPED
    waiting = hang.waiters.owners if hang.waiters else []
    unit = "sockets" if dropped or waiting else "entries"
    found = [
        opener_party("victim", owner, hostname, f"waits for an answer ({n:,} {unit})")
        for owner, n in (waiting or hang.openers)[:most]
    ]
    found.append(endpoint_party("peer", target.answerer, hang.peer, "is not reached" if dropped else "does not answer"))
    if target.translated:
        found.append(Party(role="peer", endpoint=target.asked, effect=ASKED_SERVICE))
    return found


def _evidence(hang: Hang, at: Moment, entry: Entry) -> list[Evidence]:
    return _dropped(hang, at, entry) if hang.shape == DROPPED else _unreplied(hang, at, entry)


def _dropped(hang: Hang, at: Moment, entry: Entry) -> list[Evidence]:
    """Sockets that wait, and no entry."""
    silence, floor = hang.silence, int(entry.limit("min_entries"))
    list_all, command = _commands(silence.target)[0], _sockets_command(silence.target)
    waits = "Sockets of this node that wait to be connected to it"
    lasts = f"In {silence.readings} readings, waiting without an entry for"
    return [
        _reading(at, waits, silence.connecting or 0, command, unit="sockets", limit=floor, comparison=">="),
        _reading(at, "Entries of the whole window from them to it", silence.now, list_all),
        _reading(
            at, "Other destinations of theirs that are tracked", hang.control, "conntrack -L", unit="destinations"
        ),
        msgspec.structs.replace(
            _reading(at, lasts, round(silence.lasts_seconds, 1), command, unit="seconds"), source="sockets collector"
        ),
    ]


def _unreplied(hang: Hang, at: Moment, entry: Entry) -> list[Evidence]:
    silence, floor = hang.silence, int(entry.limit("min_entries"))
    list_all, list_open = _commands(silence.target)
    found = [
        _reading(at, _without_answer(hang), silence.now, list_open, limit=floor, comparison=">="),
        _reading(at, "Entries of the whole window that it answered of late", 0, list_all),
        _reading(
            at, f"Of those without an answer, as old as {entry.limit('min_age'):.0f} s or older", silence.old, list_open
        ),
        _reading(at, "Other addresses that answer meanwhile", hang.control, "conntrack -L", unit="addresses"),
    ]  # fmt: skip
    if silence.readings > 1:
        statement = f"In {silence.readings} readings, without any answer for"
        found.append(_reading(at, statement, round(silence.lasts_seconds, 1), list_open, unit="seconds"))
    if silence.connecting is not None and silence.target.protocol == "tcp":
        command = _sockets_command(silence.target)
        statement = "Sockets of this node that wait to be connected to it"
        found.append(_reading(at, statement, silence.connecting, command, unit="sockets"))
    return found


def _without_answer(hang: Hang) -> str:
    if hang.silence.target.protocol != "tcp":
        return "Entries without an answer"
    return f"Entries without an answer, also of attempts given up within the last {hang.kept_seconds} s"


def _waits(hang: Hang) -> str:
    """How many wait, where sockets tell; else how many entries there are, some of which may be given up."""
    if hang.waiters is not None:
        return f"{hang.waiters.sockets:,} connects wait"
    kind = "connects" if hang.silence.target.protocol == "tcp" else "questions"
    return f"{hang.silence.now:,} {kind} are without an answer"


def _reading(
    at: Moment, statement: str, value: float, repeat: str, *, unit: str = "entries", limit: int | None = None,
    comparison: str | None = None,
) -> Evidence:  # fmt: skip
    return Evidence(
        statement=statement, value=value, unit=unit, limit=limit, comparison=comparison,
        source="sockets collector" if unit == "sockets" else "conntrack collector",
        at=at.wall, boot_seconds=at.boot_seconds, repeat=repeat,
    )  # fmt: skip


def _commands(target: Target) -> tuple[str, str]:
    """By hand: all entries to the target, and those that wait."""
    place = f"--orig-dst {shell_quote(target.asked.address or '')} --orig-port-dst {target.asked.port or 0}"
    if target.translated:
        place += f" --reply-src {shell_quote(target.answerer.address or '')}"
    every = f"conntrack -L -p {target.protocol} {place}"
    return every, f"{every} --state SYN_SENT" if target.protocol == "tcp" else f"{every} | grep UNREPLIED"


def _sockets_command(target: Target) -> str:
    place = shell_quote(endpoint_text(target.asked))
    return f"ss -tno state syn-sent dst {place}  # in each namespace; timer: how often it was tried"


def _remedies(hang: Hang) -> list[Remedy]:
    target = hang.silence.target
    address = shell_quote(target.answerer.address or "")
    rules = f"{{ nft list ruleset; iptables-save; ip6tables-save; }} | grep -nwF -e {address} -e drop -e DROP"
    look = {
        DROPPED: f"{rules}; ip route get {address}",
        "dead-endpoint": f"kubectl get pods -A -o wide | grep -wF -- {address}",
        "no-endpoints": f"kubectl get services,endpointslices -A | grep -wF -- {address}",
        "black-hole": f"kubectl get services,pods -A -o wide | grep -wF -- {address}",
    }
    do, effect = (
        "Find out who has this address, and whether it is alive and ready",
        "says whom to restart, or which Service has nobody behind it",
    )
    if hang.shape == DROPPED:
        do, effect = (
            "Find the rule or route that drops it, here and in the namespace of who waits (nsenter -t PID -n)",
            "says which policy or filter to change",
        )
    return [
        Remedy(
            action="fix-application",
            do=do,
            command=look[hang.shape],
            effect=effect,
            risk="none",
        ),
        Remedy(
            action="fix-application",
            do="Let the callers give up sooner: a time-out for connects of a second or two",
            command=None,
            effect="callers fail fast instead of hanging, and can try another endpoint",
            risk="a slow server that would have answered counts as failed",
        ),
    ]


def _near(hang: Hang, entry: Entry) -> str:
    """Words for an address that was never translated, in the range of those that are."""
    if hang.shape != "black-hole" or hang.silence.target.asked.address is None:
        return ""
    network = _network(hang.silence.target.asked.address, entry)
    near = network is not None and any(_network(address, entry) == network for address in hang.services)
    return f", in the range of this node's Services ({network})" if near else ""


def _network(address: str, entry: Entry) -> str | None:
    """A range of Services around an address, for words only: a redacted recording does not keep it."""
    try:
        version = ipaddress.ip_address(address).version
        return str(ipaddress.ip_network((address, int(entry.limit(f"service_bits_{version}"))), strict=False))
    except ValueError:
        return None


def _digest(shape: str, target: Target) -> str:
    text = f"{shape} {target.protocol} {endpoint_text(target.asked)} {endpoint_text(target.answerer)}"
    return hashlib.blake2s(text.encode(), digest_size=8).hexdigest()
