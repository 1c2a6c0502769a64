"""A pool that would look, but does not come to it: Node's agent drops what the server has closed when it is told so.

Its one thread waits for a command for five and a half seconds (execSync), Uvicorn closes meanwhile, and the next
requests go out before the news is read: ten fail at once (ECONNRESET), every time.
"""

from __future__ import annotations

from lab.keepalive import PairCase
from lab.servers import uvicorn
from lab.stage import Player

SCRIPT = """
const http = require('http');
const { execSync } = require('child_process');
const agent = new http.Agent({ keepAlive: true });
const batch = 10;

const get = () => new Promise((resolve, reject) => {
  const request = http.get(process.argv[2], { agent }, (response) => response.resume().on('end', resolve));
  request.on('error', reject);
});

async function again(idle) {
  try {
    await get();
    console.log('answered', idle);
  } catch (error) {
    console.log('failed', idle, error.code);
    await get();
  }
}

(async () => {
  await Promise.all(Array.from({ length: batch }, get));
  for (;;) {
    await new Promise((resolve) => setTimeout(resolve, 50));
    execSync('sleep 5.5');
    await Promise.all(Array.from({ length: batch }, () => again(5.5)));
  }
})();
"""


class KeepaliveBusyEventLoop(PairCase):
    kind = "fault"
    server_waits = (5.0, 5.0)
    window_seconds = 15

    def serve(self) -> Player:
        return uvicorn(self.stage, self.server_pod, self.port, keep_alive_seconds=5)

    def call(self) -> Player:
        script = self.stage.directory / "report.js"
        script.write_text(SCRIPT)
        return self.stage.run(self.client_pod, "node", "node", str(script), self.url)
