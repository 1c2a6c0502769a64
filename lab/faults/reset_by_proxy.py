"""A proxy (nginx) that answers ten requests a second and resets all others; the server behind it is well.

That is `limit_req_status 444` together with `reset_timedout_connection`.
"""

from __future__ import annotations

from lab.case import Expected
from lab.connects import ConnectCase, answerable, call, calls, counter, named
from lab.look import Sight
from lab.node import Node
from lab.servers import nginx, up
from lab.stage import Player, Pod

NGINX = """
daemon off;
worker_processes 1;
user root;
pid {directory}/limiting.pid;
error_log stderr crit;
events {{ }}
http {{
    access_log off;
    reset_timedout_connection on;
    limit_req_zone $binary_remote_addr zone=callers:1m rate=10r/s;
    limit_req_status 444;
    proxy_temp_path {directory}/limiting;
    client_body_temp_path {directory}/limiting-body;
    fastcgi_temp_path {directory}/limiting-fastcgi;
    uwsgi_temp_path {directory}/limiting-uwsgi;
    scgi_temp_path {directory}/limiting-scgi;
    server {{ listen 80; location / {{ limit_req zone=callers; proxy_pass http://{upstream}; }} }}
}}
"""


class ResetByProxy(ConnectCase):
    kind = "fault"

    def start(self) -> None:
        self.node = Node(self.stage, "client", "proxy", "server")
        client, proxy, server = self.node.pods
        self.server = nginx(self.stage, server)
        self.proxy = self.limiting(proxy, server)
        self.client = self.stage.play(client, "checkout", call, [(proxy.address, 80)], 20, 2)

    def limiting(self, proxy: Pod, server: Pod) -> Player:
        configuration = self.stage.directory / "limiting.conf"
        configuration.write_text(NGINX.format(directory=self.stage.directory, upstream=f"{server.address}:80"))
        player = self.stage.run(proxy, "nginx", "nginx", "-e", "stderr", "-c", str(configuration))
        return up(self.stage, proxy, player, 80)

    def look(self) -> Sight:
        made = calls(self.client)
        at_client, at_proxy, _ = (counter(pod.netns, "OutRsts") for pod in self.node.pods)
        there = len(made) >= 20 and 0.2 < made.share("ECONNRESET") < 0.8 and at_client == 0 < at_proxy
        return Sight(there, f"{made}; {at_proxy} resets sent by the proxy")

    def expected(self) -> Expected:
        return Expected(
            rule="resets",
            tolerated=(self.proxy.who(),),
            innocent=(self.client.who(), self.server.who()),
            others=(named(self.client), answerable(self.proxy)),
            endpoint=(self.node.pods[1].address, 80),
        )
