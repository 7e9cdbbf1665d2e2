"""An App API that has one segment, filled from a Parquet file: pages are made beforehand and only handed out.

python members.py PORT_FILE IDS.parquet SEGMENT_ID
"""

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import duckdb

PAGE = 30_000


def make_pages(ids: Path, segment_id: int) -> tuple[list[bytes], int]:
    """Write the membership as Customer.io does: 30,000 a page, with a token for the next."""
    rows = [row[0] for row in duckdb.sql(f"SELECT id FROM '{ids}'").fetchall()]
    pages = []
    for start in range(0, len(rows), PAGE):
        page = rows[start : start + PAGE]
        people = [{"id": id_, "email": None, "cio_id": f"a{start + place:09x}"} for place, id_ in enumerate(page)]
        following = str(len(pages) + 1) if start + PAGE < len(rows) else ""
        pages.append(
            json.dumps({"segment_id": segment_id, "ids": page, "identifiers": people, "next": following}).encode()
        )
    return pages, len(rows)


class App(BaseHTTPRequestHandler):
    """Answers by path."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    pages: list[bytes]
    count: int
    segment_id: int

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        if url.path.endswith("/membership"):
            body = self.pages[int(parse_qs(url.query).get("start", ["0"])[0])]
        elif url.path.endswith("/customer_count"):
            body = json.dumps({"segment_id": self.segment_id, "count": self.count}).encode()
        else:
            body = json.dumps({"segments": [{"id": self.segment_id, "name": "big", "type": "manual"}]}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


if __name__ == "__main__":
    port_file, ids, segment_id = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    App.pages, App.count = make_pages(ids, segment_id)
    App.segment_id = segment_id
    server = ThreadingHTTPServer(("127.0.0.1", 0), App)
    port_file.write_text(str(server.server_address[1]))
    server.serve_forever()
