"""Name servers that do not answer those who ask them; and search lists that make many queries of one name."""

from __future__ import annotations

from collections.abc import Sequence

from whodunnet.model.finding import Answer, Cleared, Confidence, Evidence, NotApplicable, NotChecked
from whodunnet.model.resolvers import Resolvers
from whodunnet.model.snapshot import Recording
from whodunnet.model.sockets import Sockets
from whodunnet.rules.catalogue import Entry
from whodunnet.rules.dns_evidence import RULE, Case, reading_of
from whodunnet.rules.dns_findings import compose
from whodunnet.rules.dns_reading import DOCKER, Reading, Server, read
from whodunnet.rules.dns_search import compose_search
from whodunnet.rules.openers import HERE, openers
from whodunnet.rules.queue_evidence import out_of_reach

SERVER_FAILURE = 2
"""The code of an answer (RFC 1035 4.1.1): it could not be found out."""
ALL_ANSWERED = 0.9
"""So many datagrams in for each out are answers, whatever connection tracking saw of them."""
ASKED_TWICE = 2


def judge(recording: Recording, entry: Entry) -> Sequence[Answer]:
    """One finding for each name server, worst first; then one for search lists."""
    resolvers = recording.last(Resolvers)
    assert resolvers is not None  # the collector is required
    if not resolvers.files:
        return [_no_files(resolvers)]
    reading = read(recording, entry)
    cases = [case for server in reading.servers if (case := _case(server, reading, entry)) is not None]
    cases.sort(key=lambda case: (case.severity != "warning", -case.server.questions))
    most = int(entry.limit("listed_servers"))
    found: list[Answer] = [compose(case, reading, entry, len(cases) - most) for case in cases[:most]]
    search = compose_search(reading, entry)
    if search is not None:
        found.append(search)
    return found or [_nothing(reading, entry)]


def _no_files(resolvers: Resolvers) -> Answer:
    if resolvers.netns_unread or resolvers.left_out:
        reason = f"no resolv.conf could be read, of {resolvers.netns_unread:,} network namespaces"
        return NotChecked(rule=RULE, code="unreadable", reason=reason)
    return NotApplicable(rule=RULE, reason="no process in sight has a resolv.conf")


def _case(server: Server, reading: Reading, entry: Entry) -> Case | None:
    """What is wrong with it, if anything is."""
    nobody = _nobody_listens(server, reading, entry)
    if nobody is not None:
        return nobody
    answered = server.lookups_that("answered")
    if server.questions >= entry.limit("min_questions"):
        return _unanswered(server, reading, entry)
    if _is_silent_to_us(server, entry) and not answered:
        return Case(server, "unused-silent", "possible", "info")
    if answered and all(x.rcode == SERVER_FAILURE for x in answered):
        return Case(server, "fails", "likely", "info")  # nobody waits, and no way to the root may be by design
    return None


def _nobody_listens(server: Server, reading: Reading, entry: Entry) -> Case | None:
    """Its address is on this node, and no socket takes what is sent to it; or a message says so."""
    if server.lookups_that("answered") or server.answered:
        return None
    least = entry.limit("min_questions")
    refused = bool(server.lookups_that("refused"))
    home = None if server.address == DOCKER else reading.home(server, server.place or 0)
    none = home is not None and reading.listeners(server, home) == [] and not server.endpoints
    closed = (reading.rise(home, "NoPorts") or 0) if home is not None and none else 0
    # The message is sent once a second to each address at most (icmp_ratelimit): the other questions wait.
    waiting = server.questions >= least
    named = any(conf.servers for conf in server.files)  # without one, programs need not ask anybody
    if not refused and not (none and (waiting or (named and closed >= least))):
        return None
    alone = closed >= least and all(len(conf.servers) < 2 for conf in server.files)
    confidence: Confidence = "proven" if refused and none else "likely"
    return Case(server, "nobody-listens", confidence, "warning" if waiting or alone else "info", closed=closed)


def _unanswered(server: Server, reading: Reading, entry: Entry) -> Case | None:
    """Questions that wait: nobody is answered, or some are."""
    tracked = server.unanswered >= entry.limit("min_questions")
    waited = len(server.waits) >= entry.limit("min_questions")
    if not tracked and _send_nothing(server, reading):
        return None
    quiet = waited and _is_quiet(server, reading, sent=tracked)
    if tracked and not waited and _are_answered_elsewhere(server, reading):
        return None
    if server.answered or server.lookups_that("answered"):
        share = server.questions / (server.questions + server.answered)
        return Case(server, "slow", "possible", "info") if share >= entry.limit("min_share") else None
    if not tracked and not quiet:
        return Case(server, "slow", "possible", "info")
    confidence = _confidence(server, reading, tracked, quiet, entry)
    return Case(server, "silent", confidence, "info" if confidence == "possible" else "warning")


def _confidence(server: Server, reading: Reading, tracked: bool, quiet: bool, entry: Entry) -> Confidence:
    """Two ways of looking that agree; one of them; or one that may have missed an answer."""
    if tracked + quiet + _is_silent_to_us(server, entry) > 1:
        return "proven"
    if quiet:
        return "possible" if server.tracked and not server.asked_now else "likely"  # a pool of idle sockets
    table = reading.tracking
    unkept = table is not None and (
        table.other_entries or any(g.merged and g.protocol == "udp" and g.replied for g in table.groups)
    )
    who = openers(reading.owners, server.groups)
    here = sum(n for owner, n in who if owner.kind in HERE) >= entry.limit("min_questions")
    return "likely" if here and not unkept and len(reading.recording.snapshots) > 1 else "possible"


def _is_silent_to_us(server: Server, entry: Entry) -> bool:
    """Whether one of our own queries was asked twice and is not answered, with time for both."""
    long_enough = ASKED_TWICE * entry.limit("wait")
    return any(x.sent >= ASKED_TWICE and x.seconds >= long_enough for x in server.lookups_that("waiting"))


def _is_quiet(server: Server, reading: Reading, *, sent: bool) -> bool:
    """Not one datagram came to those who wait: no answer was among them. sent: that they asked is known otherwise."""
    return all(
        reading.rise(netns, "InDatagrams") == 0 and (sent or (reading.rise(netns, "OutDatagrams") or 0) > 0)
        for netns in server.askers
    )


def _send_nothing(server: Server, reading: Reading) -> bool:
    """Whether those who have such sockets sent no datagram at all meanwhile: they need not wait for anything."""
    return all(reading.rise(netns, "OutDatagrams") == 0 for netns in server.askers)


def _are_answered_elsewhere(server: Server, reading: Reading) -> bool:
    """Whether as many datagrams came to the openers as they sent: answers then pass by another way than the table."""
    places = {owner.netns for owner, _ in openers(reading.owners, server.groups)}
    rises = [
        (reading.rise(netns, "InDatagrams"), reading.rise(netns, "OutDatagrams"))
        for netns in places
        if netns is not None
    ]
    return bool(rises) and all(came and sent and came >= ALL_ANSWERED * sent for came, sent in rises)


def _nothing(reading: Reading, entry: Entry) -> Cleared | NotChecked:
    resolvers = reading.resolvers
    looked = reading.readings > 1 or reading.tracking is not None or any(x.sent for x in resolvers.lookups)
    if not looked:
        failure = reading.recording.failure("sockets")
        code = failure.code if failure is not None else "not-collected"
        reason = "who asks name servers shows in two readings of sockets, in connection tracking, or by --active"
        return NotChecked(rule=RULE, code=code, reason=f"{reason}; there is none of these")
    sockets = reading.recording.last(Sockets)
    if unreached := out_of_reach(RULE, sockets.netns_unread if sockets is not None else 0):
        return unreached
    least, wait = entry.limit("min_questions"), entry.limit("wait")
    reach = f"{least:.0f} or more questions to one name server without an answer for {wait:g} s"
    reach += f", of {len(reading.servers):,} in {len(resolvers.files):,} different files"
    reach += f", by sockets in {reading.seconds:.1f} s" if reading.readings > 1 else ", not by sockets"
    if reading.readings > 1 and 2 * reading.apart_seconds >= resolvers.given_up_seconds:
        reach += f" (read {reading.apart_seconds:.1f} s apart: who gives up and asks anew meanwhile shows only where "
        reach += "nothing comes in)"
    reach += ", by connection tracking" if reading.tracking is not None else ", not by connection tracking"
    reach += "; answers that say no (NXDOMAIN, SERVFAIL) are seen by --active only" if not resolvers.asked else ""
    if resolvers.netns_unread or resolvers.left_out:
        reach += f"; {resolvers.netns_unread + resolvers.left_out:,} files were not read"
    return Cleared(rule=RULE, sensitivity=reach, evidence=tuple(_readings(reading)))


def _readings(reading: Reading) -> list[Evidence]:
    worst = max(reading.servers, key=lambda server: server.questions, default=None)
    answered = sum(server.answered for server in reading.servers)
    found = [
        reading_of(
            reading, "Most questions without an answer, to any one name server", worst.questions if worst else 0,
            "questions",
        )
    ]  # fmt: skip
    if reading.tracking is not None:
        found.append(reading_of(reading, "Of late answered, as connection tracking has it", answered, "questions"))
    if reading.resolvers.asked:
        lookups = reading.resolvers.lookups
        n = sum(x.outcome == "answered" for x in lookups)
        found.append(reading_of(reading, f"Own queries that were answered, of {len(lookups):,}", n, "queries"))
    return found
