"""whodunnet schema: the JSON Schema of what the other commands print."""

from __future__ import annotations

import click

DOCUMENTS = (
    "diagnosis",
    "sockets",
    "connections",
    "conntrack",
    "conntrack-event",
    "stall",
    "comparison",
    "why",
    "recording",
)


@click.command()
@click.argument("document", metavar="[DOCUMENT]", type=click.Choice(DOCUMENTS), default="diagnosis")
def command(document: str) -> None:
    """Print the JSON Schema of a DOCUMENT: diagnosis (the default), sockets, connections, conntrack and others.

    That of a recording describes each line of one in JSON lines: first a header, then snapshots. That of a
    conntrack-event describes each line of whodunnet conntrack --watch, that of a stall each line of whodunnet stalls.
    Exit status: 0.
    """
    from whodunnet.report.json import encode
    from whodunnet.report.schema import schema_of

    click.echo(encode(schema_of(document)))
