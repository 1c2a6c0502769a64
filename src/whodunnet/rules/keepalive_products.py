"""Which servers are known to close what is idle as shipped. Defaults change from release to release."""

from __future__ import annotations

import msgspec

from whodunnet.model.workload import Workload


class Product(msgspec.Struct, frozen=True):
    """name: as people call it. seconds: its default idle timeouts. names: of its process, as far as it has its own.
    late: how much later it may close, in seconds.

    Read in the product's own sources or documentation; where this could not be done it is not in the table.
    """

    name: str
    seconds: tuple[float, ...]
    names: tuple[str, ...] = ()
    late: float = 0.0


PRODUCTS = (
    Product("gunicorn", (2.0,), ("gunicorn", "python"), late=1.0),
    Product("linkerd2-proxy (HTTP/1 inbound)", (3.0,), ("linkerd2-proxy", "linkerd")),
    Product("Uvicorn", (5.0,), ("uvicorn", "python")),
    Product("Hypercorn", (5.0,), ("hypercorn", "python")),
    Product("Apache httpd", (5.0,), ("apache2", "httpd")),
    Product("Node.js http (for long 5 s, with up to 1 s on top)", (5.0,), ("node",), late=1.0),
    Product("Tomcat (server.xml as shipped)", (20.0,), ("java",)),
    Product("Jetty", (30.0,), ("java",)),
    Product("Tomcat", (60.0,), ("java",)),
    Product("Puma (from 7.0 on)", (65.0,), ("puma", "ruby")),
    Product("Node.js http (newest)", (65.0,), ("node",)),
    Product("nginx", (75.0,), ("nginx",)),
    Product("aiohttp (run_app)", (75.0,), ("python",)),
    Product("Traefik", (180.0,), ("traefik",)),
    Product("Caddy", (300.0,), ("caddy",)),
    Product("a network load balancer of AWS (TCP)", (350.0,)),
    Product("a load balancer of Google towards clients", (600.0, 610.0)),
    Product("Envoy", (3600.0,), ("envoy",)),
)
NEAR_SECONDS = 0.3
"""A default counts if it was measured this near; long ones within 1 % of them."""
NEAR_RATIO = 0.01
INTERPRETERS = frozenset({"python", "java", "node", "ruby"})


def known_by(seconds: float, server: Workload | None) -> tuple[str, ...]:
    """Products that close after this time; only those of the server's program where one is among them."""
    near = [p for p in PRODUCTS if _is_near(p, seconds)]
    own = [names for program in _programs(server) if (names := [p.name for p in near if program.startswith(p.names)])]
    return tuple(own[0] if own else (p.name for p in near))


def set_otherwise(seconds: float, server: Workload | None) -> tuple[Product, ...]:
    """What the server's program is, where it closes after another time as shipped; interpreters may run anything."""
    for program in _programs(server):
        own = tuple(p for p in PRODUCTS if program.startswith(tuple(n for n in p.names if n not in INTERPRETERS)))
        if own:
            return () if any(_is_near(p, seconds) for p in own) else own
    return ()


def _is_near(product: Product, seconds: float) -> bool:
    near = ((s, max(NEAR_SECONDS, NEAR_RATIO * s)) for s in product.seconds)
    return any(s - width <= seconds <= s + product.late + width for s, width in near)


def _programs(server: Workload | None) -> tuple[str, ...]:
    """The process as it calls itself, then the file that it runs."""
    process = server.process if server is not None else None
    if process is None:
        return ()
    return process.comm, (process.exe or "").rpartition("/")[2]
