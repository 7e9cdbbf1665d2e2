"""Params stay bound while more rows come than a reader takes at once."""

from typing import Any


def test_params_hold_over_more_rows_than_one_block(warehouse: Any) -> None:
    query = f"SELECT n FROM {warehouse.series(5_000)} WHERE n > :least"

    rows = warehouse.read(query, least=7)

    assert len(rows) == 4_993
