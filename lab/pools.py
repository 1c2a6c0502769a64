"""Clients that keep their connections, pause between requests, and say how each request after a pause went.

One line for each: how it went, for how long the connection had been idle, what was wrong. A stopwatch asks once on each
connection and then waits, so its log says how long the server does.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Sequence
from http.client import HTTPConnection, HTTPException
from threading import Thread

from lab.actor import rest
from lab.load import REQUEST
from lab.stage import Player, Pod, Stage

Range = tuple[float, float]
"""From the least to the most, in seconds."""

NODE_CLIENT = """
const http = require('http');
const [url, agents, least, most, options] = process.argv.slice(2);

const get = (agent) => new Promise((resolve, reject) => {
  http.get(url, { agent }, (response) => response.resume().on('end', resolve)).on('error', reject);
});

async function askInTurn(pause) {
  const agent = new http.Agent(JSON.parse(options));
  await get(agent);
  for (;;) {
    await new Promise((resolve) => setTimeout(resolve, 1000 * pause));
    await get(agent).then(() => console.log('answered', pause), (error) => console.log('failed', pause, error.code));
  }
}

for (let number = 0; number < agents; number++) {
  const pause = +least + (most - least) * number / agents;
  setTimeout(askInTurn, 1000 * pause * number / agents, pause);
}
"""


def say(outcome: str, seconds: float, why: str = "") -> None:
    """One line in one write, so that threads do not mix theirs."""
    os.write(1, f"{outcome} {seconds:.3f} {why}\n".encode())


def told(player: Player, outcome: str) -> list[float]:
    """The idle times of all requests that went so, in seconds; of a stopwatch ("closed") how long the server waited."""
    words = (line.split() for line in player.log.read_text(errors="replace").splitlines())
    return [float(line[1]) for line in words if len(line) > 1 and line[0] == outcome]


def reasons(player: Player) -> list[str]:
    """What went wrong, in the client's own words."""
    words = (line.split(maxsplit=2) for line in player.log.read_text(errors="replace").splitlines())
    return sorted({line[2] for line in words if len(line) > 2 and line[0] == "failed"})


def went(player: Player) -> str:
    answered, failed = told(player, "answered"), told(player, "failed")
    after = f" after {min(failed):.2f} to {max(failed):.2f} s {reasons(player)[:2]}" if failed else ""
    return f"{player.comm}: {len(answered)} answered after a pause, {len(failed)} failed{after}"


def with_http_client(addresses: list[str], port: int, connections: int, idle: Range) -> None:
    """http.client: it does not look whether a connection is still there before it asks on it again. So many to each of
    the servers, which are called in turn."""

    def keep(address: str) -> Callable[[], None]:
        connection = HTTPConnection(address, port, timeout=10)
        return lambda: ask(connection)

    spread(connections, idle, lambda: [keep(address) for address in addresses])


def ask(connection: HTTPConnection) -> None:
    """Raises HTTPException or OSError; the next request then has a connection of its own."""
    try:
        connection.request("GET", "/small")
        answer = connection.getresponse()
        answer.read()
    except (HTTPException, OSError):
        connection.close()
        raise
    if answer.status != 200:
        raise HTTPException(f"status {answer.status}")


def with_requests(url: str, sessions: int, idle: Range) -> None:
    """requests, as shipped: it keeps a connection for ever, and looks before it asks on it again."""
    import requests

    def session() -> Callable[[], object]:
        one = requests.Session()
        return lambda: one.get(url, timeout=10).raise_for_status()

    spread(sessions, idle, lambda: [session()])


def with_httpx(url: str, clients: int, idle: Range) -> None:
    """httpx, as shipped: it gives a connection up after 5 s, and looks before it asks on it again."""
    import httpx

    def client() -> Callable[[], object]:
        one = httpx.Client(timeout=10)
        return lambda: one.get(url).raise_for_status()

    spread(clients, idle, lambda: [client()])


def with_aiohttp(url: str, sessions: int, idle: Range, kept_seconds: float = 15.0) -> None:
    """aiohttp, as shipped: it gives a connection up after 15 s, and is told when the server closes it."""
    import aiohttp

    async def ask_in_turn(begin_after: float, pause: float) -> None:
        await asyncio.sleep(begin_after)
        pool = aiohttp.TCPConnector(keepalive_timeout=kept_seconds)
        async with aiohttp.ClientSession(connector=pool, raise_for_status=True) as session:
            await read(session.get(url))
            while True:
                await asyncio.sleep(pause)
                try:
                    await read(session.get(url))
                    say("answered", pause)
                except aiohttp.ClientError as error:
                    say("failed", pause, f"{type(error).__name__}: {error}")

    async def read(asked: Awaitable[aiohttp.ClientResponse]) -> None:
        await (await asked).read()

    async def ask() -> None:
        await asyncio.gather(*(ask_in_turn(*turn) for turn in turns(sessions, idle)))

    asyncio.run(ask())


def with_node(stage: Stage, pod: Pod, url: str, agents: int, idle: Range, options: str) -> Player:
    """Node's http.Agent, with such options in JSON: it is told when the server closes a connection."""
    script = stage.directory / "client.js"
    script.write_text(NODE_CLIENT)
    return stage.run(pod, "node", "node", str(script), url, str(agents), *map(str, idle), options)


def turns(clients: int, idle: Range) -> list[Range]:
    """For each client when to begin and how long to pause, spread over the time and over the range of pauses."""
    pauses = (idle[0] + n / clients * (idle[1] - idle[0]) for n in range(clients))
    return [(n / clients * pause, pause) for n, pause in enumerate(pauses)]


def spread(clients: int, idle: Range, make: Callable[[], Sequence[Callable[[], object]]]) -> None:
    """So many clients at work, each calling the servers that `make` gives it. Never returns."""
    for begin_after, pause in turns(clients, idle):
        Thread(target=ask_in_turn, args=(make(), begin_after, pause)).start()
    rest()


def ask_in_turn(servers: Sequence[Callable[[], object]], begin_after: float, pause: float) -> None:
    """Ask one after the other, each again after such a pause, for ever; what failed is asked again at once."""
    time.sleep(begin_after)
    for get in servers:
        get()
        time.sleep(pause / len(servers))
    while True:
        for get in servers:
            try:
                get()
                say("answered", pause)
            except Exception as error:  # noqa: BLE001  each library has its own: which one, is what we want to know
                say("failed", pause, f"{type(error).__name__}: {error}")
                get()
            time.sleep(pause / len(servers))


def stopwatch(address: str, port: int, connections: int) -> None:
    """One request on each connection, then wait until the server closes it, over and over."""

    async def wait() -> None:
        while True:
            reader, writer = await asyncio.open_connection(address, port)
            writer.write(REQUEST)
            last = time.monotonic()
            while await reader.read(4096):
                last = time.monotonic()
            say("closed", time.monotonic() - last)
            writer.close()

    async def watch() -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(connections):
                group.create_task(wait())
                await asyncio.sleep(0.1)  # so that they do not all go idle at one moment

    asyncio.run(watch())
