"""Runs one command and writes what it took. Small on purpose: a child's peak memory counts from its parent's size.

python -S launch.py RESULT_FILE COMMAND...
"""

import os
import sys
import time

if __name__ == "__main__":
    result, *command = sys.argv[1:]
    before = time.perf_counter()
    child = os.posix_spawnp(command[0], command, os.environ)
    _, status, usage = os.wait4(child, 0)
    wall = time.perf_counter() - before
    code = os.waitstatus_to_exitcode(status)
    handle = os.open(result, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.write(handle, f"{wall} {usage.ru_utime + usage.ru_stime} {usage.ru_maxrss} {code}".encode())
