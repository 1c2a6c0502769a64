"""What a person asks about: an error, a pod, an endpoint, or several of them, and between whom that is."""

from __future__ import annotations

import msgspec

from whodunnet.errors import UsageError
from whodunnet.model.text import clean
from whodunnet.why.forms import Kind, any_kind, kinds
from whodunnet.why.message import NAMES, Message
from whodunnet.why.sides import Side, parse

NAME_MAX = 253


class PodName(msgspec.Struct, frozen=True):
    """A pod as a person calls it."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


class Subject(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked about. message: None where no error was given."""

    message: Message | None = None
    pod: PodName | None = None
    endpoint: Side | None = None

    @property
    def kind(self) -> Kind:
        """Without an error whatever concerns it."""
        return kinds().kinds[self.message.kind] if self.message is not None else any_kind()

    @property
    def source(self) -> Side | None:
        return self.message.source if self.message is not None else None

    @property
    def destination(self) -> Side | None:
        """What was asked for by hand goes before what the text says, unless that is about a name."""
        said = self.message.destination if self.message is not None else None
        if self.message is not None and self.message.kind in NAMES and said is not None:
            return said
        return self.endpoint or said

    @property
    def sides(self) -> tuple[Side, ...]:
        """Everybody who is named: where it led to, first."""
        also = self.message.also if self.message is not None and self.endpoint is None else ()
        return tuple(side for side in (self.destination, *also, self.source) if side is not None)


def parse_pod(text: str) -> PodName:
    """ "namespace/name". Raises UsageError."""
    namespace, slash, name = text.partition("/")
    if not (slash and namespace and name) or "/" in name or max(len(namespace), len(name)) > NAME_MAX:
        raise UsageError(f"--pod {clean(text)}: write it as NAMESPACE/NAME, as kubectl get pods -A shows them")
    return PodName(namespace, name)


def parse_endpoint(text: str) -> Side:
    """ "10.0.0.1:80", "[::1]:80" or "name:80". Raises UsageError."""
    side = parse(text) if len(text) <= NAME_MAX + 8 else None
    if side is None or side.port is None or (side.address is None and side.name is None):
        raise UsageError(f"--endpoint {clean(text)}: write it as HOST:PORT, an address of IPv6 as [ADDRESS]:PORT")
    return side
