"""What people and programs type or paste: errors, options, configuration, lists of pods; and how text is cleaned."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import click

from fuzz.target import Target, text_target
from whodunnet.cli.config import read_config
from whodunnet.cli.duration import Duration
from whodunnet.cli.instant import Instant
from whodunnet.cli.pods import read_pods
from whodunnet.cli.size import Size
from whodunnet.errors import UsageError
from whodunnet.model.text import clean, shell_quote, shorten_bytes
from whodunnet.recording.pseudonyms import pack
from whodunnet.report.flow_filter import FlowFilter
from whodunnet.report.pod_names import PodNames
from whodunnet.why import sides
from whodunnet.why.message import read_message
from whodunnet.why.subject import Subject, parse_endpoint, parse_pod

_ERRORS: Final = (
    'Get "http://10.96.0.10:8080/x": dial tcp 10.244.1.7:40312->10.96.0.10:8080: connect: connection refused',
    "urllib3.exceptions.MaxRetryError: HTTPConnectionPool(host='api', port=80): Max retries [Errno 110] timed out",
    "lookup api.shop.svc on 10.96.0.10:53: read udp 10.0.0.2:5000->10.96.0.10:53: i/o timeout",
    "\x1b[31mError: connect ECONNREFUSED [fd00::1]:443\x1b[0m\n    at TCPConnectWrap",
    "nf_conntrack: table full, dropping packet",
)
_CONFIG: Final = b"[thresholds.socket-leak]\nmin_sockets = 100\n"
_PODS: Final = (
    b'{"kind":"List","items":[{"kind":"Pod","metadata":{"name":"a","namespace":"b","uid":"c"},"spec":{"hostNetwork":false},'
    b'"status":{"phase":"Running","podIP":"10.0.0.1","podIPs":[{"ip":"10.0.0.1"},{"ip":"FD00::1"}]}}]}',
)


def _of_file(read: Callable[[Path], object]) -> Callable[[bytes], object]:
    def run(data: bytes) -> object:
        with TemporaryDirectory() as place:
            path = Path(place) / "file"
            path.write_bytes(data)
            return read(path)

    return run


def _read_message(text: str) -> object:
    message = read_message(text)
    subject = Subject(message=message)
    return subject.kind, subject.source, subject.destination, subject.sides


def _parse_sides(text: str) -> None:
    sides.find(text, text)
    sides.parse(text)
    sides.parse_bare(text)
    sides.address_of(text)
    pack(text)


def _converted(kind: click.ParamType[Any]) -> Callable[[str], object]:
    return lambda text: kind.convert(text, None, None)


def _read_pods(path: Path) -> list[object]:
    names: PodNames = read_pods(str(path))
    return [names.of("10.0.0.1"), *names]


def _clean(text: str) -> None:
    """Whatever comes, one line comes out that a terminal shows as it stands."""
    cleaned = clean(text, 64)
    if not (len(cleaned) <= 64 and all(c == "\N{REPLACEMENT CHARACTER}" or c.isprintable() for c in cleaned)):
        raise AssertionError(repr(cleaned))
    if len(shorten_bytes(cleaned, 32).encode()) > 32:
        raise AssertionError(repr(cleaned))
    shell_quote(text)


TARGETS: Final = (
    text_target("words-error", _read_message, _ERRORS, raises=(UsageError,), max_bytes=8192),
    text_target("words-sides", _parse_sides, ("10.0.0.1:80", "[fd00::1]:443", "api.shop.svc:80", "fd00::1%eth0"),
                raises=(), max_bytes=512),
    text_target("words-pod", parse_pod, ("shop/web-0",), raises=(UsageError,), max_bytes=512),
    text_target("words-endpoint", parse_endpoint, ("10.0.0.1:80", "[::1]:80", "name:80"), raises=(UsageError,),
                max_bytes=512),
    text_target("words-duration", _converted(Duration(31)), ("500ms", "3s", "1.5h"), raises=(click.UsageError,),
                max_bytes=64),
    text_target("words-size", _converted(Size(1)), ("200MB", "1GiB", "0.5 kB"), raises=(click.UsageError,),
                max_bytes=64),
    text_target("words-instant", _converted(Instant()),
                ("2026-03-01T12:00:00Z", "12:00", "-10m", "0001-01-01T00:00+14:00"),
                raises=(click.UsageError,), max_bytes=64),
    text_target("words-filter", lambda text: FlowFilter(text.split("\n")), raises=(UsageError,), max_bytes=512,
                seeds=("address=10.2.0.0/16\nport=53\nprotocol=udp", "state=established\npod=shop/web-0")),
    Target(name="words-config", run=_of_file(read_config), raises=(UsageError,), seeds=(_CONFIG, b"x = 1e999\n"),
           max_bytes=2048),
    Target(name="words-pods", run=_of_file(_read_pods), raises=(UsageError,), seeds=_PODS),
    text_target("words-clean", _clean, ("a b", "\u202e\x1b[31m\udcff", "x" * 70, "€" * 40), raises=(), max_bytes=512),
)  # fmt: skip
