"""A bare server that answers `{}` to everything and parses nothing but the length of a body.

python server.py PORT_FILE LATENCY_SECONDS [TALLY_FILE]

At its end it writes into PORT_FILE the seconds (of its own clock) at which the bodies had come, a line each. With
TALLY_FILE it keeps the bodies, and writes there: ids that were sent, and how many different ones.
"""

import asyncio
import json
import signal
import sys
import time
from pathlib import Path
from typing import ClassVar

REGION = b'{"url":"http://127.0.0.1","region":"us","environment_id":3}'


class Bare(asyncio.Protocol):
    """One connection."""

    latency = 0.0
    arrived: ClassVar[list[float]] = []
    kept: list[tuple[bytes, bytes]] | None = None
    """Lines and bodies of requests."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.buffer = bytearray()

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while (end := self.buffer.find(b"\r\n\r\n")) >= 0:
            head = bytes(self.buffer[:end]).lower()
            place = head.find(b"content-length:")
            length = int(head[place + 15 :].split(b"\r\n", 1)[0]) if place >= 0 else 0
            if len(self.buffer) < end + 4 + length:
                return
            if length:
                self.arrived.append(time.monotonic())
            if self.kept is not None and length:
                line = head.split(b"\r\n", 1)[0]
                self.kept.append((line, bytes(self.buffer[end + 4 : end + 4 + length])))
            del self.buffer[: end + 4 + length]
            body = REGION if head.startswith(b"get") else b"{}\n"
            asyncio.get_running_loop().call_later(self.latency, self.answer, body)

    def answer(self, body: bytes) -> None:
        if not self.transport.is_closing():
            front = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: "
            self.transport.write(front + str(len(body)).encode() + b"\r\n\r\n" + body)


def tally(kept: list[tuple[bytes, bytes]]) -> str:
    """Count what was sent: an id counts once for each segment and direction."""
    sent = [(line, id_) for line, body in kept for id_ in json.loads(body)["ids"]]
    return f"{len(sent)} {len(set(sent))}"


async def main(port_file: Path, latency: float, tally_file: Path | None) -> None:
    Bare.latency = latency
    Bare.kept = [] if tally_file else None
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, ended.set)
    server = await loop.create_server(Bare, "127.0.0.1", 0, backlog=256)
    port_file.write_text(str(server.sockets[0].getsockname()[1]))
    await ended.wait()
    port_file.write_text("\n".join(map(str, Bare.arrived)))
    if tally_file and Bare.kept is not None:
        tally_file.write_text(tally(Bare.kept))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), float(sys.argv[2]), Path(sys.argv[3]) if sys.argv[3:] else None))
