"""An App API with a number of empty segments which nothing uses.

python segments.py PORT_FILE NUMBER
"""

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

NOTHING = {"campaigns": [], "sent_newsletters": [], "draft_newsletters": []}


class App(BaseHTTPRequestHandler):
    """Answers by the end of the path."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    answers: dict[str, bytes]

    def do_GET(self) -> None:
        body = self.answers[self.path.rpartition("/")[2]]
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


if __name__ == "__main__":
    port_file, number = Path(sys.argv[1]), int(sys.argv[2])
    known = [{"id": each, "name": f"bench {each}", "type": "manual"} for each in range(1, number + 1)]
    documents = {"segments": {"segments": known}, "customer_count": {"count": 0}, "used_by": {"used_by": NOTHING}}
    documents["region"] = {"region": "us", "environment_id": 3}
    App.answers = {end: json.dumps(document).encode() for end, document in documents.items()}
    server = ThreadingHTTPServer(("127.0.0.1", 0), App)
    port_file.write_text(str(server.server_address[1]))
    server.serve_forever()
