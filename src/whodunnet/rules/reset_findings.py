"""A case of resets as a finding: who sends them, who is cut, what it means."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from typing import NamedTuple

from whodunnet.model.connection_names import End
from whodunnet.model.connection_pairs import Pairs, one_server_of
from whodunnet.model.connections import Connections
from whodunnet.model.finding import Answer, Confidence, Evidence, Finding, Party, PartyRole, Remedy
from whodunnet.model.snapshot import Recording
from whodunnet.model.text import shell_quote, shorten_bytes
from whodunnet.rules import remedies
from whodunnet.rules.catalogue import Entry
from whodunnet.rules.connect_failures import ALL
from whodunnet.rules.connect_findings import MORE, ONE_PART, UNGROUPED, end_party, name_of, reading
from whodunnet.rules.connection_sight import too_few, ungrouped
from whodunnet.rules.identity import endpoint_text
from whodunnet.rules.openers import endpoint_party
from whodunnet.rules.reset_cases import MOST, ResetCase
from whodunnet.rules.reset_senders import Sender, gone_of, senders_of

RULE = "resets"
EVERY_ONE = (
    "Every connection ends so: a program that always closes by a reset (SO_LINGER with 0 seconds, to leave no "
    "TIME_WAIT) looks the same. Then nobody is hurt whose answer had come before."
)
DEAD = (
    "{n:,} of the processes that sent them were gone when they were looked for: one that dies with unread data resets "
    "its connections."
)
FAREWELL = (
    "Where the client only answers the close by a farewell (TLS), its data comes too late as well, and nothing is "
    "lost: that is not told apart here. Nor is a request that met, on its way, the close of an idle connection."
)
REFUSES = (
    "No byte of an answer had come on most of these, so this is no farewell. Whoever closes without a word has no room "
    "for more, fails, or passes on that what is behind it could not be reached."
)
INFERRED = (
    "The client's own end is not on this node or was not seen: what the server received may come from a firewall or "
    "balancer in between as well."
)


class _Certain(NamedTuple):
    """How sure a case is if it lasts, and the words for it."""

    confidence: Confidence
    extra: tuple[str, ...]


def compose_all(
    cases: Sequence[ResetCase], recording: Recording, pairs: Pairs, entry: Entry, left_out: int
) -> list[Answer]:
    """A finding for each; and whether readings were too few for any. left_out: findings that are not listed."""
    sure = [(case, _certain(case, pairs, recording)) for case in cases]
    found: list[Answer] = [_compose(case, how, recording, pairs, entry, left_out) for case, how in sure]
    unsure = any(not case.lasting and not _is_calm(case, how.confidence) for case, how in sure)
    return [*found, too_few(RULE)] if unsure else found


def _is_calm(case: ResetCase, confidence: Confidence) -> bool:
    """Whether it is only worth knowing."""
    return confidence == "possible" or case.shape == "client-aborts"


def _compose(
    case: ResetCase, certain: _Certain, recording: Recording, pairs: Pairs, entry: Entry, left_out: int
) -> Finding:
    senders = senders_of(case, recording)
    confidence, extra = certain if case.lasting else _Certain("possible", (*certain.extra, ONE_PART))
    if confidence == "proven" and any(end.several or end.workload is None for end, _ in senders):
        confidence = "likely"
    words, shape = _words(case, senders), entry.shapes[case.shape]
    title = shape.title.format(**words)
    more = (MORE.format(n=left_out),) if left_out > 0 else ()
    return Finding(
        id=f"{RULE}:{_digest(case)}",
        rule=RULE,
        reason="".join(word.capitalize() for word in case.shape.split("-")),
        severity="info" if _is_calm(case, confidence) else "warning",
        claim=entry.claim,
        confidence=confidence,
        shape=case.shape,
        summary=shorten_bytes(title, 80),
        title=title,
        last_seen=pairs.window.at.wall,
        parties=tuple(_parties(case, senders, confidence, entry)),
        evidence=tuple(_evidence(case, pairs, words, entry)),
        remedies=(remedies.CAPTURE, *_remedies(case), remedies.fix(shape.fix)),
        explanation=tuple(line.format(**words) for line in shape.explanation) + extra + more,
    )


def _certain(case: ResetCase, pairs: Pairs, recording: Recording) -> _Certain:
    lost = ungrouped(pairs, "reset-received", "reset-sent", "closed-here", "closed-by-peer")
    extra = [UNGROUPED.format(n=lost)] if lost else []
    dead = gone_of(case, recording) if case.shape == "server-resets" else 0
    extra += [DEAD.format(n=dead)] if dead > 1 else []
    always = case.shape not in ("closed-early", "reset-between") and case.share >= ALL
    # Whoever closes by a reset as a habit has answered before.
    always = always and (case.shape == "client-aborts" or case.unanswered < MOST * case.n)
    extra += [EVERY_ONE] if always else []
    inferred = case.shape == "client-aborts" and not all(pair.here for pair in case.clients)
    extra += [INFERRED] if inferred else []
    if always and case.shape == "server-resets":
        return _Certain("possible", tuple(extra))
    if case.shape == "closed-early" and case.refuses:
        return _Certain("likely", (*extra, REFUSES))
    if case.shape == "closed-early" and not _cuts_uploads(case, recording):
        return _Certain("possible", (*extra, FAREWELL))
    sure = case.shape in ("server-resets", "client-aborts") and not (always or lost or inferred)
    return _Certain("proven" if sure else "likely", tuple(extra))


def _cuts_uploads(case: ResetCase, recording: Recording) -> bool:
    """Whether what came after the close was no farewell: those come when it is complete, and the kernel tells of them.

    Before Linux 6.11 it does not (connections.bpf.c: send_reset), so an older one has to be seen to do so anywhere.
    """
    last = recording.last(Connections)
    told = _since_6_11(recording.node.kernel) or (
        last is not None
        and (last.late_unassigned or any((g.ending, g.state) == ("late-data", "time-wait") for g in last.groups))
    )
    return bool(told) and case.server_seen and case.late < MOST * case.n


def _since_6_11(release: str) -> bool:
    numbers = re.match(r"(\d+)\.(\d+)", release)
    return numbers is not None and tuple(map(int, numbers.groups())) >= (6, 11)


def _words(case: ResetCase, senders: Sequence[Sender]) -> dict[str, str]:
    clients = _clients(case)
    behind = senders[0][0] if senders else case.clients[0].server_end
    known = behind.workload if senders else one_server_of(case.clients)
    percent = min(max(round(100 * case.share), 1), 99 if case.n < case.ended else 100)
    return {
        "who": name_of(clients[0][0]) if len(clients) == 1 else f"{len(clients):,} clients",
        "server": endpoint_text(case.endpoint) if known is None or case.shape == "client-aborts" else name_of(behind),
        "peer": endpoint_text(case.endpoint),
        "cut": f"{case.n:,} of {case.ended:,} connections ({percent} %)",
    }


def _clients(case: ResetCase) -> list[tuple[End, int, int]]:
    """Who is cut, most first, with resets and all connections; processes of one name in one place are one."""
    found: dict[tuple[str, int | None], tuple[End, int, int]] = {}
    ending = "reset-sent" if case.shape == "client-aborts" else "reset-received"
    for pair, n, ended in case.cuts:
        end = pair.client_of(g for g in pair.here if g.ending == ending)
        key = (name_of(end), end.netns)
        first, resets, every = found.get(key, (end, 0, 0))
        found[key] = (first, resets + n, every + ended)
    return sorted(found.values(), key=lambda item: -item[1])


def _parties(case: ResetCase, senders: Sequence[Sender], confidence: Confidence, entry: Entry) -> list[Party]:
    """The process that resets is culprit, unless that may be its way to close; of others nobody is known."""
    most, found = int(entry.limit("listed_clients")), list[Party]()
    aborts = case.shape == "client-aborts"
    if case.shape == "server-resets":
        found += [
            endpoint_party(
                "peer" if confidence == "possible" or end.workload is None else "culprit",
                case.endpoint,
                end.workload,
                f"reset {n:,} connections",
            )
            for end, n in senders[:most]
            if n >= entry.limit("min_part") * case.n
        ]
    elif case.shape == "closed-early" and confidence != "possible":
        behind = one_server_of(case.clients)
        role: PartyRole = "peer" if behind is None or case.refuses else "culprit"
        found.append(endpoint_party(role, case.endpoint, behind, "closed while data was still sent to it"))
    for client, n, ended in (cut for cut in _clients(case)[:most] if cut[1]):
        effect = f"reset {n:,} of its {ended:,} connections" if aborts else f"{n:,} of {ended:,} connections were reset"
        found.append(end_party("peer" if aborts else "victim", client, effect))
    if not any(p.endpoint == case.endpoint for p in found):
        known = None if case.clients[0].answered_by else one_server_of(case.clients)
        found.append(endpoint_party("peer", case.endpoint, known, "is the other end of these connections"))
    return found


def _evidence(case: ResetCase, pairs: Pairs, words: dict[str, str], entry: Entry) -> list[Evidence]:
    at = pairs.window.at
    between = f"Connections of {words['who']} to {words['peer']}"
    floor = entry.limit("abort_share" if case.shape == "client-aborts" else "min_share")
    rate = entry.limit("min_rate")
    found = [
        reading(at, f"{between} that were reset", case.n, "connections", limit=case.ended, comparison="of"),
        reading(at, "That is a share of", round(case.share, 3), "share", limit=floor, comparison=">="),
        reading(
            at, "In each second", round(case.per_second, 2), "connections", limit=rate, comparison=">="
        ),
        reading(
            at, f"Parts of the window of {pairs.window.seconds:.1f} s in which it was so",
            sum(map(bool, case.parts)), "parts", limit=len(case.parts), comparison="of",
        ),
    ]  # fmt: skip
    if case.shape in ("server-resets", "reset-between"):
        sent = sum(g.connections for g in case.sent)
        found.append(reading(at, "Connections that the accepting process itself reset", sent, "connections"))
    if case.unanswered and case.shape in ("server-resets", "peer-resets", "reset-between"):
        found.append(reading(at, "Had asked, and got no byte of an answer", case.unanswered, "connections"))
    if case.shape == "reset-between":
        found.append(reading(at, "Resets that the accepting process itself received", case.crossed, "connections"))
    if case.outlived:
        statement = "Ends of the server that stayed open, and were reset when they closed or sent something"
        found.append(reading(at, statement, case.outlived, "connections"))
    if case.waited:
        found.append(reading(at, "Of those reset, the ones that had paused before", case.waited, "connections"))
    if case.shape == "closed-early" and case.server_seen:
        found.append(reading(at, "Resets to data that came after its close was complete", case.late, "resets"))
    if case.unheard:
        found.append(reading(at, "Of those reset, whose server never sent a byte", case.unheard, "connections"))
    if case.paused:
        found.append(reading(at, "Not counted: resets after a pause (keepalive-mismatch)", case.paused, "connections"))
    return found


def _remedies(case: ResetCase) -> list[Remedy]:
    where = shell_quote(case.endpoint.address or "")
    port = case.endpoint.port or 0
    look = {
        "server-resets": "See why it resets: a crash (log, restarts, exit codes), a close with unread data, SO_LINGER",
        "closed-early": "See in its log why it closes while data comes: a limit of size, of time or of connections, an "
        "error without reading on",
        "client-aborts": "See why the client does not close as usual: a time-out of its own, a health check, SO_LINGER",
    }
    return [
        Remedy(
            action="fix-application",
            do=look.get(
                case.shape, "Find out who sends the resets: is each seen at the server too, and with which TTL?"
            ),
            command=f"tcpdump -nvli any host {where} and port {port} | grep -B1 -F 'Flags [R'",
            effect="says which end, or which hop in between",
            risk="a capture sees the packets of all others too",
        )
    ]


def _digest(case: ResetCase) -> str:
    text = f"{case.shape == 'client-aborts'} {endpoint_text(case.endpoint)} {case.netns}"
    return hashlib.blake2s(text.encode(), digest_size=8).hexdigest()
