"""`reconcile` as a command: `python -I -S fork_command.py SOCKET ARGUMENTS…` has it forked, and ends as it does."""

import json
import os
import signal
import socket
import sys
from collections.abc import Mapping, Sequence

NUMBER = 4
"""Bytes of a number on the wire."""


def ask_for_fork(
    server: str, words: Sequence[str], folder: str, environment: Mapping[str, str], streams: Sequence[int]
) -> tuple[socket.socket, int]:
    """Have `reconcile` forked by the server that tests/support/forks.py runs.

    Gives its pid, and a connection over which its status comes when it has ended.
    """
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(server)
    request = json.dumps([list(words), folder, dict(environment)]).encode()
    socket.send_fds(connection, [len(request).to_bytes(NUMBER, "big")], list(streams))
    connection.sendall(request)
    return connection, read_number(connection)


def read_number(connection: socket.socket) -> int:
    return int.from_bytes(connection.recv(NUMBER, socket.MSG_WAITALL), "big")


def main(server: str, *words: str) -> None:
    connection, pid = ask_for_fork(server, words, os.getcwd(), os.environ, [0, 1, 2])  # noqa: PTH109
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: os.kill(pid, number))
    code = os.waitstatus_to_exitcode(read_number(connection))
    if code < 0:
        signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    sys.exit(code)


if __name__ == "__main__":
    main(*sys.argv[1:])
