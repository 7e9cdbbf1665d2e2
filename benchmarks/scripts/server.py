"""A bare server that answers `{}` to everything and parses nothing but the length of a body.

python server.py PORT_FILE LATENCY_SECONDS
"""

import asyncio
import sys
from pathlib import Path

REGION = b'{"url":"http://127.0.0.1","region":"us","environment_id":3}'


class Bare(asyncio.Protocol):
    """One connection."""

    latency = 0.0

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
            del self.buffer[: end + 4 + length]
            body = REGION if head.startswith(b"get") else b"{}\n"
            asyncio.get_running_loop().call_later(self.latency, self.answer, body)

    def answer(self, body: bytes) -> None:
        if not self.transport.is_closing():
            front = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: "
            self.transport.write(front + str(len(body)).encode() + b"\r\n\r\n" + body)


async def main(port_file: Path, latency: float) -> None:
    Bare.latency = latency
    server = await asyncio.get_running_loop().create_server(Bare, "127.0.0.1", 0, backlog=256)
    port_file.write_text(str(server.sockets[0].getsockname()[1]))
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), float(sys.argv[2])))
