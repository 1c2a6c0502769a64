"""How the connects of each pair went: what the endings and their times mean."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import msgspec

from whodunnet.model.connection_pairs import Pair, Pairs
from whodunnet.model.connections import Span

UNTIL_REPEATED = 0.95
"""Seconds: the kernel sends a SYN again after 1 s (TCP_TIMEOUT_INIT); whatever took less is no lost SYN."""
UNTIL_REPEATED_AGAIN = 1.5
"""Seconds: only the first repeat of a connect comes before."""
NOBODY_THERE_SECONDS = 2.0
"""Whoever asks its own network who has an address gives up after 3 s (mcast_solicit 3 times retrans_time_ms); who
waits meanwhile fails with it, so that some have waited for longer than this. A refusal by ICMP comes at once, or when
a SYN is sent again after 1 s."""
OFF_STEP_SECONDS = 0.3
"""Whatever answers a SYN comes sooner after it, and SYNs are sent after whole seconds; who gives up asking does not
wait for them."""
UNREPEATED_SECONDS = 1.3
"""Whoever fails later, and has sent no SYN again, has not sent the first: it waits for the address of the next hop
(skb_still_in_host_queue())."""
NOBODY_THERE_SHARE = 0.1
AT_ONCE_SECONDS = 0.02
"""Whoever is told of an error closes at once; a race of two addresses (RFC 8305: 0.25 s) or a limit takes longer."""
RACED = 0.5
"""A client for whom another address of that port answers half as often as it gave up has raced them."""


class Tries(msgspec.Struct, frozen=True, kw_only=True):
    """The connects of one pair, by how they went; each is in one field, but for those that say otherwise.

    opened: of them `slow` had to send their SYN again. refused: by a reset. rejected: by an ICMP message. unreachable:
    nobody has the address. unsent: waited for it with their first SYN, also those that then gave up. ended: given up,
    by the program or the kernel, after a SYN was sent again. waiting: the same, but still under way. repeated: connects
    that sent their SYN again, whatever came of it. not_sent: failed before the first SYN. hasty: closed by the program
    at once, without any answer. shut: those, if all were and no other address of that port has answered the same
    client. early: given up later, and before a SYN was sent again. cut_short: those, if the endpoint has answered
    nobody and no other address of that port the same client.
    """

    pair: Pair
    opened: int = 0
    slow: int = 0
    refused: int = 0
    rejected: int = 0
    unreachable: int = 0
    unsent: int = 0
    ended: int = 0
    waiting: int = 0
    repeated: int = 0
    not_sent: int = 0
    hasty: int = 0
    shut: int = 0
    early: int = 0
    cut_short: int = 0

    @property
    def silent(self) -> int:
        """Without any answer."""
        return self.ended + self.waiting + self.cut_short

    @property
    def told(self) -> int:
        """Of a rejection, by a message (ICMP)."""
        return self.rejected + self.shut

    @property
    def made(self) -> int:
        """All of them; who gave up before the first repeat only where nobody is answered: it may be a race of two."""
        return self.opened + self.refused + self.rejected + self.unreachable + self.silent + self.not_sent + self.shut

    @property
    def mostly_slow(self) -> bool:
        """Whether lost SYNs were mostly made good by a repeat."""
        return self.slow > self.silent


def tries_of(pairs: Pairs) -> list[Tries]:
    """Of all pairs whose connecting end is on this node."""
    found = [tries_of_pair(pair) for pair in pairs.pairs if pair.here]
    asked, alive = Counter[tuple[str, int | None, int | None]](), {p.server for p in pairs.pairs if not p.here}
    for t in found:
        asked[_asker(t)] += t.opened
        alive.update((t.pair.server,) if t.opened or t.refused else ())
    return [_counted(t, asked[_asker(t)], t.pair.server in alive) for t in found]


def _counted(t: Tries, answered: int, alive: bool) -> Tries:
    """answered: of the same client, by that port of any address. alive: whether the endpoint answers anybody."""
    if not t.opened and answered < RACED * t.hasty:
        t = msgspec.structs.replace(t, shut=t.hasty)
    return t if alive or answered else msgspec.structs.replace(t, cut_short=t.early)


def judged_as(whole: Tries, part: Tries) -> Tries:
    """A part of the window, with what counts in the whole of it."""
    shut, cut_short = part.hasty if whole.shut else 0, part.early if whole.cut_short else 0
    return msgspec.structs.replace(part, shut=shut, cut_short=cut_short)


def _asker(t: Tries) -> tuple[str, int | None, int | None]:
    return t.pair.client.key, t.pair.client.netns, t.pair.server.port


def tries_of_pair(pair: Pair) -> Tries:
    broken, given_up = pair.spans("broken", state="syn-sent"), pair.spans("given-up", state="syn-sent")
    answered = pair.spans("refused", "rejected", state="syn-sent")
    late = since(broken, UNREPEATED_SECONDS) + since(given_up, UNREPEATED_SECONDS)
    unsent = max(late - pair.count("syn-retransmitted"), 0) if broken else 0
    off_step = since(filter(_is_off_step, broken), NOBODY_THERE_SECONDS)
    nobody = max(off_step, unsent if 2 * unsent >= late else 0) >= max(NOBODY_THERE_SHARE * _all(broken), 1)
    failed = pair.count("broken", state="syn-sent")
    slow = since(pair.spans("opened"), UNTIL_REPEATED)
    ended = pair.count("timed-out", state="syn-sent") + since(given_up, UNTIL_REPEATED)
    repeated = sum(
        s.connections for s in pair.spans("syn-retransmitted") if UNTIL_REPEATED <= s.mean < UNTIL_REPEATED_AGAIN
    )
    done = slow + ended + since(answered, UNTIL_REPEATED) + since(broken, UNTIL_REPEATED)
    # Where most are made good by a repeat, the others will be too.
    waiting = 0 if 2 * slow >= repeated else max(repeated - done, 0)
    return Tries(
        pair=pair,
        opened=pair.count("opened"),
        slow=slow,
        refused=pair.count("refused"),
        rejected=pair.count("rejected") + (0 if nobody else failed),
        unreachable=failed if nobody else 0,
        unsent=unsent if nobody else 0,
        ended=ended,
        waiting=waiting,
        repeated=repeated,
        not_sent=pair.count("not-sent"),
        hasty=sum(s.connections for s in given_up if s.mean < AT_ONCE_SECONDS),
        early=sum(s.connections for s in given_up if AT_ONCE_SECONDS <= s.mean < UNTIL_REPEATED),
    )


def since(spans: Iterable[Span], seconds: float) -> int:
    """How many took so long: each class by its mean, as it holds one step of the kernel's repeats at most."""
    return sum(s.connections for s in spans if s.mean >= seconds)


def _is_off_step(span: Span) -> bool:
    return span.mean % 1 >= OFF_STEP_SECONDS


def _all(spans: Iterable[Span]) -> int:
    return sum(s.connections for s in spans)


def kinds(tries: Iterable[Tries]) -> Counter[str]:
    """How many connects of all pairs went how, for the words of a clearing."""
    found: Counter[str] = Counter()
    for t in tries:
        for name in ("opened", "slow", "refused", "rejected", "unreachable", "ended", "waiting", "not_sent"):
            found[name] += getattr(t, name)
    return found
