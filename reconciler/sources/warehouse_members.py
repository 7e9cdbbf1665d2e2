"""The warehouses in the cloud that may hold members, through their own drivers: Databricks, Snowflake, BigQuery."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy.engine import CursorResult

from reconciler.errors import SourceError
from reconciler.sources.columns import Batches
from reconciler.sources.members import list_spark_tables, quote_schema
from reconciler.sources.members_sql import BIGQUERY, SNOWFLAKE, SPARK, TABLES, Statements
from reconciler.sources.row_members import Fetch, RowSourceWithMembers

_INTEGERS = frozenset({"tinyint", "smallint", "int", "bigint"})
_FIXED, _TEXT = 0, 2
"""Types of Snowflake's driver: NUMBER and VARCHAR."""


@dataclass(frozen=True)
class DatabricksWithMembers(RowSourceWithMembers):
    """Databricks: its tables are Delta."""

    database = "Databricks"
    rights = "USE CATALOG, USE SCHEMA and CREATE TABLE, or SELECT and MODIFY"
    most_bytes = 900_000  # all params of a statement may have 1 MB. Source: parameters.md of databricks-sql-connector
    lines = "SELECT explode(split({}, '\\n')) AS id"
    value = "CAST(CAST(CAST({} AS STRING) AS BINARY) AS STRING)"  # by way of bytes a text loses its collation

    @property
    def statements(self) -> Statements:
        return Statements(replace(SPARK, ending=" USING DELTA"), f"{quote_schema(self.schema)}." if self.schema else "")

    def list_tables(self, fetch: Fetch) -> Collection[str]:
        if self.schema:
            return list_spark_tables(self.scrubber.source, fetch, self.schema, "members_schema")
        return {str(row[1]) for row in fetch("SHOW TABLES LIKE 'reconcile_*'")} & TABLES.keys()

    def is_exact(self, column: Sequence[Any]) -> bool:
        return column[1] == "string" or column[1] in _INTEGERS or (column[1] == "decimal" and column[5] == 0)

    def read(self, result: CursorResult[Any], at: int) -> Batches:
        batches = super().read(result, at)
        if batches is None:  # what an old cluster answers was never seen
            raise SourceError(
                f"source {self.scrubber.source}: the server answers without Arrow",
                "Use a SQL warehouse, or a cluster with Databricks Runtime 14.2 or later; or set `members: local`.",
            )
        return batches


@dataclass(frozen=True)
class SnowflakeWithMembers(RowSourceWithMembers):
    """Snowflake."""

    database = "Snowflake"
    rights = "USAGE on the schema, and CREATE TABLE there or SELECT, INSERT and DELETE"
    most_bytes = 900_000  # 1 MB is what Snowflake advises for a statement and its params. Source: Query size limits
    lines = (
        "SELECT CAST(f.value AS VARCHAR) AS id "
        "FROM (SELECT {} AS texts) t, LATERAL FLATTEN(INPUT => SPLIT(t.texts, '\\n')) f"
    )
    value = "TO_VARCHAR(TO_BINARY(CAST({} AS VARCHAR), 'UTF-8'), 'UTF-8')"  # a text of bytes has no collation
    quote = '"'
    unnamed = r"(?![A-Za-z_][\w$ -]*$).*"  # it is called by its expression, in which the value of a param may stand

    @property
    def statements(self) -> Statements:
        return Statements(SNOWFLAKE, f"{self.schema}." if self.schema else "")

    def list_tables(self, fetch: Fetch) -> Collection[str]:
        # Without a place it would list those of all schemas; IN SCHEMA without a name is the current one.
        show = f"SHOW TERSE TABLES LIKE 'RECONCILE_%' IN SCHEMA {self.schema}".rstrip()
        rows = self.ask_schema(fetch, show, self.schema)
        return {str(row[1]).lower() for row in rows} & TABLES.keys()

    def is_exact(self, column: Sequence[Any]) -> bool:
        return bool(column[1] == _TEXT or (column[1] == _FIXED and column[5] == 0))


@dataclass(frozen=True)
class BigQueryWithMembers(RowSourceWithMembers):
    """BigQuery: a schema is a data set."""

    database = "BigQuery"
    rights = "the role BigQuery Data Editor on the data set, or Metadata Viewer there and Data Editor"
    most_bytes = 3_000_000  # a request may have 10 MB, in which a character may take six. Source: Quotas and limits
    lines = "SELECT id FROM UNNEST(SPLIT({}, '\\n')) AS id"
    value = "COLLATE(CAST({} AS STRING), '')"  # the empty collation compares bytes. Source: Collation concepts
    quote = "`"
    unnamed = r"f\d+_"

    @property
    def data_set(self) -> str:
        return self.schema or self.url.database or ""

    @property
    def statements(self) -> Statements:
        return Statements(BIGQUERY, f"{quote_schema(self.data_set)}.")

    def list_tables(self, fetch: Fetch) -> Collection[str]:
        listing = f"SELECT table_name FROM {quote_schema(self.data_set)}.INFORMATION_SCHEMA.TABLES"
        rows = self.ask_schema(fetch, listing, self.data_set)
        return {str(row[0]) for row in rows} & TABLES.keys()

    def is_exact(self, column: Sequence[Any]) -> bool:
        return column[1] in ("STRING", "INTEGER", "INT64")


BY_DIALECT: dict[str, type[RowSourceWithMembers]] = {
    "databricks": DatabricksWithMembers,
    "snowflake": SnowflakeWithMembers,
    "bigquery": BigQueryWithMembers,
}
