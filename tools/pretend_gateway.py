"""A pretend gateway for messages and calls: prints what would wake somebody, and sends nothing to anybody.

python3 tools/pretend_gateway.py 9099
COLDGRID_SMS_URL=http://127.0.0.1:9099/ .venv/bin/coldgrid tower
"""

from __future__ import annotations

import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

BYTES_MAX = 65_536


class Gateway(BaseHTTPRequestHandler):
    """Takes any POST."""

    def do_POST(self) -> None:  # the name that http.server looks for
        """Print the message and say that it was taken."""
        length = min(int(self.headers.get("content-length") or 0), BYTES_MAX)
        sys.stdout.write(self.rfile.read(length).decode("utf-8", "replace") + "\n")
        sys.stdout.flush()
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (overrides)
        """Say nothing but the messages."""


if __name__ == "__main__":
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 9099
    sys.stdout.write(f"Waiting for messages on http://127.0.0.1:{port}/\n")
    sys.stdout.flush()
    ThreadingHTTPServer(("127.0.0.1", port), Gateway).serve_forever()
