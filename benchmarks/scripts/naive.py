"""The script that a team writes in an afternoon: sets, a snapshot in JSON, a loop over chunks. It only plans.

python naive.py WAREHOUSE SNAPSHOT
"""

import json
import sqlite3
import sys
from pathlib import Path

if __name__ == "__main__":
    warehouse, snapshot = sys.argv[1:]
    stored = set(json.loads(Path(snapshot).read_text()))
    desired = {row[0] for row in sqlite3.connect(warehouse).execute("SELECT id FROM customers")}
    to_add, to_remove = sorted(desired - stored), sorted(stored - desired)
    chunks = [to_add[start : start + 1000] for start in range(0, len(to_add), 1000)]
    print(f"add {len(to_add)} in {len(chunks)} chunks, remove {len(to_remove)}")
