"""Speaks TLS, as a PostgreSQL does, in front of one that was built without it: `tls_proxy.py SOCKET CERTIFICATE`.

A process of its own: ADBC holds Python's lock while it connects. Prints its port of 127.0.0.1, and serves until it is
ended.
"""

import asyncio
import ssl
import sys

SSL_REQUEST = bytes.fromhex("0000000804d2162f")


async def serve(path: str, certificate: str) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if await reader.readexactly(8) != SSL_REQUEST:
                return
            writer.write(b"S")
            await writer.drain()
            await writer.start_tls(context)
            server_reader, server_writer = await asyncio.open_unix_connection(path)
            await asyncio.gather(copy(reader, server_writer), copy(server_reader, writer))
        except (OSError, EOFError, ssl.SSLError):
            pass  # a client that does not trust the certificate, or ends
        finally:
            writer.close()

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(*sys.argv[1:]))
