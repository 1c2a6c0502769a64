"""whodunnet why beside real programs that fail: their own words, read and explained."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import jsonschema  # type: ignore[import-untyped]
import pytest

from netns.command import Answer, ask, nobody_with
from netns.namespace import Namespace, wait_until
from netns.nat import nft
from netns.watched import SERVER, SILENT, OwnNet, process
from whodunnet.report.schema import schema_of

pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="needs root to make network namespaces")]

REFUSED, SLOW = 9, 8000
PYTHON = "import sys, requests; requests.get(sys.argv[1], timeout=float(sys.argv[2]))"
NODE = "require('http').get(process.argv[1])"
CALLERS: dict[str, Sequence[str]] = {
    "Python": (sys.executable, "-c", PYTHON, "http://{at}/", "5"),
    "curl": ("curl", "-sS", "http://{at}/"),
    "Node": ("node", "-e", NODE, "http://{at}/"),
    "wget": ("wget", "-t1", "-O-", "http://{at}/"),
    "psql": ("psql", "postgresql://nobody@{at}/none"),
}
NGINX = """
daemon off; master_process off; error_log stderr; pid {directory}/pid; events {{ worker_connections 64; }}
http {{
  access_log off; client_body_temp_path {directory}; proxy_temp_path {directory}; fastcgi_temp_path {directory};
  uwsgi_temp_path {directory}; scgi_temp_path {directory};
  server {{ listen 127.0.0.1:8081; location / {{ proxy_pass http://{at}; }} }}
}}
"""
SERVES = """
import http.server, sys, time
class Answers(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        time.sleep(3.0 if self.path == "/slow" else 0.0)
        self.send_response(204)
        self.end_headers()
    def log_message(self, *_):
        pass
server = http.server.ThreadingHTTPServer((sys.argv[1], int(sys.argv[2])), Answers)
print("ready", flush=True)
server.serve_forever()
"""
ASKS = """
import http.client, socket, sys, time
server, silent, refused, slow = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
while True:
    for address in (server, silent) * 4:
        with socket.socket() as connecting:
            assert connecting.connect_ex((address, refused))
    client = http.client.HTTPConnection(server, slow, timeout=5)
    client.request("GET", "/")
    client.getresponse().read()
    client.close()
    print("asked", flush=True)
    time.sleep(0.2)
"""
"""Four connects that each of two refuses for one that is answered, some fifteen a second each."""
RULES = f"""
table ip refuses {{
    chain forward {{
        type filter hook forward priority 0; ip daddr {SILENT} meta l4proto tcp reject with tcp reset;
    }}
}}
"""


class Scene(NamedTuple):
    """A client that is refused all the time by one port of the server, and answered by another.

    It is refused as well by an address elsewhere, in whose name the router rejects.
    """

    net: OwnNet
    recording: Path
    client: int

    def fails(self, *command: str) -> str:
        """What a program says when it fails, on the client."""
        done = self.net.client(lambda: subprocess.run(command, check=False, capture_output=True, text=True, timeout=30))
        assert done.returncode != 0, done
        return done.stderr

    def why(self, text: str, *options: str) -> dict[str, Any]:
        """The answer to it of what was recorded meanwhile."""
        return checked(ask("why", "--recording", str(self.recording), "--format", "json", *options, "--", text))


def checked(answer: Answer) -> dict[str, Any]:
    document = answer.document
    jsonschema.validate(document, schema_of("why"))
    meant = {"explained": 1, "perhaps": 1, "not-explained": 0, "not-judged": 2}
    assert answer.status == meant[document["answer"]]
    return document


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with ExitStack() as kept:
        net = OwnNet(kept, lambda: nft(RULES))
        server = kept.enter_context(process(net.server, sys.executable, "-c", SERVES, SERVER, str(SLOW)))
        assert server.stdout is not None
        assert server.stdout.readline() == "ready\n"
        asks = (sys.executable, "-c", ASKS, SERVER, SILENT, str(REFUSED), str(SLOW))
        client = kept.enter_context(process(net.client, *asks, stdin=subprocess.DEVNULL))
        assert client.stdout is not None
        assert client.stdout.readline() == "asked\n"
        path = tmp_path_factory.mktemp("why") / "case"
        recorded = net.router(lambda: ask("record", str(path), "--every", "1s", "--for", "8s"))
        assert recorded.status == 0, recorded
        yield Scene(net, path, client.pid)
        assert client.poll() is None, "the client did not come to the end of the test"


@pytest.fixture(scope="module", params=list(CALLERS))
def words(request: pytest.FixtureRequest, scene: Scene) -> str:
    """What a program says of an address that refuses it."""
    command = CALLERS[request.param]
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    return scene.fails(*(word.format(at=f"{SILENT}:{REFUSED}") for word in command))


def test_a_refused_connect_is_explained_from_the_words_of_the_program(scene: Scene, words: str) -> None:
    why = scene.why(words)
    assert why["message"]["kind"] in ("refused", "connect-failed")
    assert why["destination"]["side"] == {"address": SILENT, "name": None, "port": REFUSED}
    assert (why["answer"], why["destination"]["here"]) == ("explained", False)
    assert [(e["rule"], e["relation"]) for e in why["explained_by"]][:1] == [("connect-refused", "endpoint")]
    (finding,) = (f for f in why["diagnosis"]["findings"] if f["id"] == why["explained_by"][0]["finding"])
    victims = [p["process"]["pid"] for p in finding["parties"] if p["role"] == "victim"]
    assert victims == [scene.client]


def test_a_server_that_has_only_just_begun_is_a_mere_possibility(scene: Scene) -> None:
    why = scene.why(f"connect ECONNREFUSED {SERVER}:{REFUSED}")
    assert (why["answer"], why["destination"]["here"]) == ("perhaps", True)
    assert [(e["rule"], e["relation"], e["sure"]) for e in why["explained_by"]][:1] == [
        ("connect-refused", "endpoint", False)
    ]


def test_the_refusals_of_one_port_do_not_explain_what_is_slow_at_another(scene: Scene) -> None:
    said = scene.fails(sys.executable, "-c", PYTHON, f"http://{SERVER}:{SLOW}/slow", "0.5")
    why = scene.why(said)
    assert (why["message"]["kind"], why["message"]["product"]) == ("read-timeout", "Python")
    assert why["destination"]["side"]["port"] == SLOW
    assert not {"connect-refused", "socket-leak"} & {e["rule"] for e in why["explained_by"]}
    assert {"tcp-memory", "resets"} <= set(why["ruled_out"]), why["diagnosis"]
    answered = [e["value"] for e in why["seen"] if e["statement"] == "Connects that were answered"]
    assert answered
    assert answered[0] >= 10


def test_a_port_that_nobody_asked_meanwhile_is_no_part_of_it(scene: Scene) -> None:
    why = scene.why(f"dial tcp {SERVER}:{SLOW + 1}: connect: connection refused")
    assert [e["value"] for e in why["signs"]] == ["nobody"]
    assert why["explained_by"] == []
    assert [sentence for sentence in why["not_seen"] if "a connection to it" in sentence]
    in_use = scene.why(f"listen tcp {SERVER}:{SLOW}: bind: address already in use")
    assert ["python" in e["value"] for e in in_use["signs"]] == [True]


def test_a_proxy_names_the_server_behind_it_in_its_log(scene: Scene, tmp_path: Path) -> None:
    if shutil.which("nginx") is None:
        pytest.skip("nginx is not installed")
    (tmp_path / "conf").write_text(NGINX.format(directory=tmp_path, at=f"{SERVER}:{REFUSED}"))
    log = tmp_path / "log"
    with log.open("w") as kept:
        command = ("nginx", "-e", "stderr", "-c", str(tmp_path / "conf"))
        proxy = scene.net.client(lambda: subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=kept))
    try:
        wait_until(lambda: scene.net.client(fetched), "nginx to answer")
    finally:
        proxy.terminate()
        proxy.wait(timeout=10)
    (line,) = (line for line in log.read_text().splitlines() if "Connection refused" in line)
    why = scene.why(line)
    assert (why["message"]["kind"], why["message"]["product"]) == ("refused", "nginx")
    assert [(e["rule"], e["relation"]) for e in why["explained_by"]][:1] == [("connect-refused", "endpoint")]


def fetched() -> bool:
    """Whether the proxy answered, if only that it cannot."""
    done = subprocess.run(("curl", "-s", "-o", "/dev/null", "http://127.0.0.1:8081/"), check=False, timeout=10)
    return done.returncode == 0


def test_the_living_node_says_the_same_at_once(scene: Scene) -> None:
    text = f"dial tcp {SERVER}:{REFUSED}: connect: connection refused"
    live = checked(scene.net.router(lambda: ask("why", "--for", "7s", "--format", "json", text)))
    assert [(e["rule"], e["relation"]) for e in live["explained_by"]][:1] == [("connect-refused", "endpoint")]
    refused = [e["value"] for e in live["seen"] if e["statement"] == "Connects that were refused"]
    assert refused
    assert refused[0] >= 14


def test_without_rights_it_says_that_it_could_not_judge() -> None:
    with Namespace() as alone:
        text = "dial tcp 127.0.0.1:9: connect: connection refused"
        answer = alone(lambda: ask("why", "--for", "300ms", "--format", "json", text, rights=nobody_with()))
    why = checked(answer)
    assert why["not_checked"] == ["connect-refused"]
    assert why["answer"] in ("not-judged", "perhaps")
    assert "Missing here: " in answer.err
