"""An App API with a segment filled from a Parquet file; its pages are made beforehand and only handed out.

The segment with the next number has one member.

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
    rows = duckdb.execute(f"SELECT id FROM '{ids}'")
    pages, count = [], 0
    page = [row[0] for row in rows.fetchmany(PAGE)]
    while page:
        following = [row[0] for row in rows.fetchmany(PAGE)]
        pages.append(make_page(segment_id, page, count, str(len(pages) + 1) if following else ""))
        count += len(page)
        page = following
    return pages, count


def make_page(segment_id: int, ids: list[str], number: int, token: str) -> bytes:
    """Write one page; its first member has this number."""
    people = [{"id": id_, "email": None, "cio_id": f"a{number + place:09x}"} for place, id_ in enumerate(ids)]
    return json.dumps({"segment_id": segment_id, "ids": ids, "identifiers": people, "next": token}).encode()


class App(BaseHTTPRequestHandler):
    """Answers by path."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    segments: dict[int, tuple[list[bytes], int]]
    """The pages and the count of each."""

    def do_GET(self) -> None:
        body = self.answer()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def answer(self) -> bytes:
        url = urlsplit(self.path)
        if not url.path.endswith(("/membership", "/customer_count")):
            known = [{"id": number, "name": "bench", "type": "manual"} for number in self.segments]
            return json.dumps({"segments": known}).encode()
        segment_id = int(url.path.split("/")[-2])
        pages, count = self.segments[segment_id]
        if url.path.endswith("/membership"):
            return pages[int(parse_qs(url.query).get("start", ["0"])[0])]
        return json.dumps({"segment_id": segment_id, "count": count}).encode()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


if __name__ == "__main__":
    port_file, ids, segment_id = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    App.segments = {
        segment_id: make_pages(ids, segment_id),
        segment_id + 1: ([make_page(segment_id + 1, ["somebody"], 0, "")], 1),
    }
    server = ThreadingHTTPServer(("127.0.0.1", 0), App)
    port_file.write_text(str(server.server_address[1]))
    server.serve_forever()
