"""The comparison as it is written by hand on Spark Connect: a full join, of which only the changes come back.

python join.py URL FOLDER_OF_RECONCILE_BASE
"""

import sys

from pyspark.sql.connect.client import SparkConnectClient
from pyspark.sql.connect.plan import SQL

CREATE = (
    "CREATE TABLE IF NOT EXISTS by_hand (segment_key STRING, generation BIGINT, id STRING) USING delta LOCATION '{}'"
)
JOIN = """
SELECT coalesce(given.id, stored.id) AS id, given.id IS NULL AS leaves
FROM (SELECT DISTINCT id FROM people) given
FULL OUTER JOIN (SELECT id FROM by_hand WHERE generation = 1) stored ON given.id = stored.id
WHERE given.id IS NULL OR stored.id IS NULL"""

if __name__ == "__main__":
    url, folder = sys.argv[1:]
    client = SparkConnectClient(url)
    client.execute_command(SQL(CREATE.format(folder)).command(client))
    table, _, _ = client.to_table(SQL(JOIN).to_proto(client), {})
    leaving = sum(table.column("leaves").to_pylist())
    print(f"add {table.num_rows - leaving}, remove {leaving}")
