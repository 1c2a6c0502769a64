"""What an error says: the kind of fault, who wrote it, and between whom it was."""

from __future__ import annotations

import re

import msgspec
from msgspec.structs import replace

from whodunnet.errors import UsageError
from whodunnet.model.text import clean
from whodunnet.why.forms import Form, forms
from whodunnet.why.sides import Side, find

LIMIT_BYTES = 64 << 10
SHOWN = 400
DNS_PORT = 53
NAMES = frozenset({"name-failed", "name-unknown"})
COLOURS = re.compile(r"\x1b\[[0-9;:?]{0,32}[A-Za-z]")
"""Escape sequences of terminals, in which many programs wrap addresses."""
UNIX = re.compile(r"\b(?:dial|read|write|listen|accept) unix(?:gram|packet)? |\bunix:/")
NOT_KNOWN = (
    "that text is no error of the network that whodunnet knows. It knows how Go, Python, Java, Node, curl, nginx, "
    "Envoy, gRPC, HAProxy, Ruby, .NET, Rust, PHP, databases and the kernel write: connection refused, reset, closed "
    "before an answer, timed out, no route, no free port, too many open files, no buffer space, TLS time-outs, names "
    "that are not found. Give the whole line, or --endpoint HOST:PORT or --pod NAMESPACE/NAME"
)


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """An error as it was read. text: the line of it that says what failed, cleaned. kind: of kinds.toml.

    source: whose socket it is, where the text says so. destination: the other end; of a name that failed, the server
    that was asked. also: further destinations that were tried. name: what was looked up.
    """

    text: str
    kind: str
    product: str
    source: Side | None = None
    destination: Side | None = None
    also: tuple[Side, ...] = ()
    name: str | None = None


def read_message(text: str) -> Message:
    """What a text means. Raises UsageError if it is too long, or no error of the network."""
    if len(text.encode(errors="surrogatepass")) > LIMIT_BYTES:
        raise UsageError(f"the text is longer than {LIMIT_BYTES >> 10} KiB: give the lines of one error")
    text = COLOURS.sub("", text)
    form, line = _form(text)
    if UNIX.search(line):
        raise UsageError("that is about a socket of this machine's file system (unix), which no network has a part in")
    found = find(text, line)
    message = Message(
        text=clean(line.strip(), SHOWN),
        kind=form.kind,
        product=_product(text, form),
        source=found.source,
        destination=found.destination,
        also=found.also,
        name=found.name,
    )
    if form.kind not in NAMES:
        return replace(message, name=None)
    asked = found.destination if found.destination is not None and found.destination.port == DNS_PORT else None
    return replace(message, destination=found.server or asked, also=(), source=message.source if asked else None)


def _form(text: str) -> tuple[Form, str]:
    """The first form that is found, and the line it is in."""
    for form in forms().forms:
        match = form.pattern.search(text)
        if match is not None:
            begin, end = _line(text, match)
            return form, text[begin:end]
    raise UsageError(NOT_KNOWN)


def _line(text: str, match: re.Match[str]) -> tuple[int, int]:
    """The line around a match, at most SHOWN characters on either side of its begin."""
    begin = max(text.rfind("\n", 0, match.start()) + 1, match.start() - SHOWN)
    end = text.find("\n", match.end())
    return begin, min(end if end >= 0 else len(text), match.end() + SHOWN)


def _product(text: str, form: Form) -> str:
    """By what is around it, else by its own words."""
    if form.product == "kernel":
        return form.product
    return next((product for product, pattern in forms().products if pattern.search(text)), form.product)
