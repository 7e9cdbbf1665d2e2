"""The floor of sending: a bare loop that posts the same bodies with httpx, and records nothing.

python loop.py URL BATCHES
"""

import sys

import httpx
import orjson

if __name__ == "__main__":
    url, batches = sys.argv[1], int(sys.argv[2])
    with httpx.Client(auth=("bench", "bench")) as client:
        for batch in range(batches):
            body = orjson.dumps({"ids": [f"cus_{batch * 1000 + place:014d}" for place in range(1000)]})
            client.post(f"{url}/api/v1/segments/56/add_customers?id_type=id", content=body).raise_for_status()
