"""What both forms of a recording say first: schema, maker, node and cost."""

from __future__ import annotations

from pathlib import Path

import msgspec

from whodunnet import __version__
from whodunnet.errors import RecordingError
from whodunnet.model.bounds import Count, Seconds
from whodunnet.model.sample import CollectorCost
from whodunnet.model.snapshot import Node, Recording
from whodunnet.model.text import clean

SCHEMA = "whodunnet/recording/v1"


class Schema(msgspec.Struct):
    """The fields that every version has."""

    schema: str
    tool: str | None = None


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """One run of a recorder on one boot of one node.

    tool: version of whodunnet. snapshots: how many follow, None where that is not known when the header is written.
    redacted: names, addresses and paths are pseudonyms.
    """

    schema: str = SCHEMA
    tool: str | None = __version__
    node: Node
    costs: dict[str, CollectorCost] = {}
    wall_seconds: Seconds = 0.0
    cpu_seconds: Seconds = 0.0
    peak_rss_bytes: Count = 0
    snapshots: Count | None = None
    redacted: bool = False


def header_of(recording: Recording) -> Header:
    """The header of a recording as it stands; its snapshots are not counted."""
    return Header(
        node=recording.node,
        costs=recording.costs,
        wall_seconds=recording.wall_seconds,
        cpu_seconds=recording.cpu_seconds,
        peak_rss_bytes=recording.peak_rss_bytes,
    )


def parse_header(text: bytes | str, path: Path) -> Header:
    """Raises RecordingError if it is of another schema, or none."""
    try:
        found = msgspec.json.decode(text, type=Schema)
        if found.schema != SCHEMA:
            raise RecordingError(
                f"{path} has schema {clean(found.schema, 80)}; whodunnet {__version__} reads {SCHEMA}"
                + (f": judge it with whodunnet {clean(found.tool, 40)} or a newer one" if found.tool else "")
            )
        return msgspec.json.decode(text, type=Header)
    except (msgspec.MsgspecError, UnicodeDecodeError, TypeError, RecursionError) as error:
        raise RecordingError(f"{path} is no recording of whodunnet, or is damaged: {clean(str(error))}") from error
