"""A webhook in a process of its own: ``python -m benchmarks._receive FILE`` prints its port and serves until killed.

For each alert that comes for the first time FILE gets a line of JSON: whose it is, and when it came, in µs since 1970.
"""

from __future__ import annotations

import json
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


def main(path: Path) -> None:
    """Serve."""
    arrived = path.open("a", buffering=1, encoding="utf-8")

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        """Connections stay open, as those of real receivers do."""

        def do_POST(self) -> None:
            alert = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if alert["revision"] == 1:
                arrived.write(json.dumps([alert["user_id"], time.time_ns() // 1000]) + "\n")
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(server.server_port, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
