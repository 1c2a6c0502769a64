"""The servers and proxies that cases use, from nginx to Node, and a TLS certificate."""

from __future__ import annotations

import subprocess
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Literal

from lab.look import listening, wait_until
from lab.stage import Player, Pod, Stage

LARGE = 20_000_000
SMALL = 200

NGINX = """
daemon off;
worker_processes 1;
user root;
worker_rlimit_nofile {files};
pid {directory}/nginx.pid;
error_log stderr error;
events {{ worker_connections 15000; }}
http {{
    access_log off;
    sendfile on;
    keepalive_timeout {keep_alive};
    keepalive_requests 1000000;
    send_timeout 1h;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    server {{ listen {port} backlog=4096; listen [::]:{port} backlog=4096; root {directory}; }}
}}
"""

APACHE = """
ServerRoot {directory}
ServerName lab
PidFile {directory}/apache2.pid
DefaultRuntimeDir {directory}
LoadModule mpm_event_module {modules}/mod_mpm_event.so
LoadModule authz_core_module {modules}/mod_authz_core.so
Listen {address}:{port}
User www-data
Group www-data
ErrorLog /dev/stderr
DocumentRoot {directory}
"""

APACHE_MODULES = Path("/usr/lib/apache2/modules")

WSGI = """
import time

def answer(environment, start):
    time.sleep({seconds})
    start("200 OK", [("Content-Length", "{size}")])
    return [bytes({size})]
"""

NODE_HTTP = """
require('http').createServer((request, response) => response.end('ok')).listen(process.argv[2]);
"""

HAPROXY = """
global
    maxconn 6000
defaults
    mode {mode}
    timeout connect 5s
    timeout client 1h
    timeout server 1h
    timeout http-keep-alive {keep_alive}
frontend front
    bind :{port}
    default_backend back
backend back
    http-reuse always
    server one {upstream}
"""

UNBOUND = """
server:
    interface: {address}
    access-control: 0.0.0.0/0 allow
    do-ip6: no
    do-daemonize: no
    chroot: ""
    username: ""
    directory: "{directory}"
    pidfile: ""
    use-syslog: no
    module-config: "iterator"
remote-control:
    control-enable: no
forward-zone:
    name: "."
    forward-addr: {upstream}
"""


def nginx(stage: Stage, pod: Pod, port: int = 80, keep_alive: str = "1h", files: int = 16_000) -> Player:
    """One worker, /large (20 MB) and /small (200 bytes); waits an hour for a slow client, and for the next request so
    long as is said. files: that the worker may have open, sockets among them."""
    directory = documents(stage, f"nginx-{pod.namespace}-{port}")
    (directory / "nginx.conf").write_text(
        NGINX.format(directory=directory, port=port, keep_alive=keep_alive, files=files)
    )
    command = ["nginx", "-e", "stderr", "-p", str(directory), "-c", str(directory / "nginx.conf")]
    return up(stage, pod, stage.run(pod, "nginx", *command), port)


def documents(stage: Stage, name: str) -> Path:
    """A directory for a server, with what it gives away."""
    directory = stage.directory / name
    directory.mkdir()
    for name, size in (("large", LARGE), ("small", SMALL)):
        with (directory / name).open("wb") as file:
            file.truncate(size)
    return directory


def apache(stage: Stage, pod: Pod, port: int = 80) -> Player:
    """As it is shipped: it closes a connection that was idle for 5 s, and goes on reading from it for 2 s more."""
    directory = documents(stage, f"apache-{pod.namespace}-{port}")
    place = {"directory": directory, "modules": APACHE_MODULES, "address": pod.address, "port": port}
    (directory / "apache2.conf").write_text(APACHE.format(**place))
    command = ["apache2", "-D", "FOREGROUND", "-f", str(directory / "apache2.conf")]
    return up(stage, pod, stage.run(pod, "apache2", *command), port)


def gunicorn(stage: Stage, pod: Pod, port: int, *options: str, answer_after_seconds: float = 0.0) -> Player:
    """With threads, for without them it keeps no connection; these it closes after 2 s if not told otherwise."""
    (stage.directory / "application.py").write_text(WSGI.format(seconds=answer_after_seconds, size=SMALL))
    bound = ("--bind", f"{pod.address}:{port}", "--threads", "8", *options)
    command = ["gunicorn", *bound, "--chdir", str(stage.directory), "application:answer"]
    return up(stage, pod, stage.run(pod, "gunicorn", *command), port)


def node_http(stage: Stage, pod: Pod, port: int) -> Player:
    """As it is shipped: it promises to wait for 5 s, and does, or, in later releases, a second longer. Its one socket
    is of IPv6, and takes IPv4 too."""
    script = stage.directory / "server.js"
    script.write_text(NODE_HTTP)
    return up(stage, pod, stage.run(pod, "node", "node", str(script), str(port)), port)


def haproxy(
    stage: Stage, pod: Pod, port: int, upstream: str, mode: Literal["tcp", "http"] = "tcp", keep_alive: str = "1h"
) -> Player:
    """A proxy, one process in the foreground. "tcp": a connection onwards for each that comes in; "http": it asks on
    connections that it has, as far as they suffice, and waits so long for a client's next request."""
    text = HAPROXY.format(port=port, upstream=upstream, mode=mode, keep_alive=keep_alive)
    return configured_haproxy(stage, pod, port, text)


def configured_haproxy(stage: Stage, pod: Pod, port: int, text: str) -> Player:
    """One process in the foreground, of which one port is waited for. text: the whole of its configuration."""
    configuration = stage.directory / f"haproxy-{pod.namespace}.cfg"
    configuration.write_text(text)
    return up(stage, pod, stage.run(pod, "haproxy", "haproxy", "-db", "-f", str(configuration)), port)


def dnsmasq(stage: Stage, pod: Pod, *known: str) -> Player:
    """Knows one name, and that nothing else exists, if it is not told otherwise."""
    options = ("--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--pid-file", "--user=root")
    known = known or ("--address=/shop.lab/10.1.2.3", "--local=/#/")
    return up(stage, pod, stage.run(pod, "dnsmasq", "dnsmasq", "--keep-in-foreground", *options, *known), 53)


def unbound(stage: Stage, pod: Pod, upstream: str, more: str = "") -> Player:
    """Forwards what it does not know, over UDP, from another port for each question, as it is shipped.

    more: clauses of its configuration; a second `server:` adds to the first.
    """
    configuration = stage.directory / "unbound.conf"
    text = UNBOUND.format(address=pod.address, directory=stage.directory, upstream=upstream)
    configuration.write_text(text + more)
    return up(stage, pod, stage.run(pod, "unbound", "unbound", "-d", "-c", str(configuration)), 53)


def wrk(stage: Stage, pod: Pod, url: str, connections: int, *options: str) -> Player:
    """A load test without end, as fast as the server answers, by one thread."""
    return stage.run(pod, "wrk", "wrk", "--threads", "1", "--connections", str(connections), "-d", "24h", *options, url)


def uvicorn(stage: Stage, pod: Pod, port: int, keep_alive_seconds: int, answer_after_seconds: float = 0.0) -> Player:
    """Closes a connection that was idle for so long, as uvicorn does after 5 s if not told otherwise."""
    player = stage.play(pod, "uvicorn", serve_uvicorn, pod.address, port, keep_alive_seconds, answer_after_seconds)
    return up(stage, pod, player, port)


def up(stage: Stage, pod: Pod, player: Player, port: int) -> Player:
    """Wait until somebody listens there."""

    def there() -> bool:
        stage.check_alive()
        return listening(pod.netns, port)

    wait_until(there, 20, lambda: f"{player.comm} does not listen on {port}\n{stage.logs()}")
    return player


Message = dict[str, Any]


def serve_uvicorn(address: str, port: int, keep_alive_seconds: int, answer_after_seconds: float) -> None:
    import asyncio

    import uvicorn as server

    async def answer(
        scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
    ) -> None:
        if scope["type"] != "http":
            return
        await receive()
        await asyncio.sleep(answer_after_seconds)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})

    server.run(
        answer, host=address, port=port, timeout_keep_alive=keep_alive_seconds, access_log=False, log_level="warning",
        lifespan="off", backlog=4096,
    )  # fmt: skip


def certificate(directory: Path) -> Path:
    """Key and certificate of a server which nobody checks, in one file."""
    path = directory / "server.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", "/CN=lab", "-keyout", str(path), "-out", str(directory / "certificate.pem")],
        check=True, capture_output=True,
    )  # fmt: skip
    with path.open("a") as file:
        file.write((directory / "certificate.pem").read_text())
    return path
