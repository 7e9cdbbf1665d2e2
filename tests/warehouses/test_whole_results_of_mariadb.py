"""Where a setting of MariaDB would end a result early without an error, all of it is read."""

from tests.unit.sources.conftest import read
from tests.warehouses.engine import Warehouse

ENGINES = ("mariadb",)

ALL = [(str(number), True) for number in range(10)]


def read_numbers(warehouse: Warehouse, url: str | None = None) -> list[object]:
    return sorted(read(warehouse.open(url), "SELECT number FROM people"))


def test_a_limit_of_the_server_does_not_cut_a_result(warehouse, people):
    warehouse.execute("SET GLOBAL sql_select_limit = 3")
    try:
        found = read_numbers(warehouse)
    finally:
        warehouse.execute("SET GLOBAL sql_select_limit = DEFAULT")

    assert found == ALL


def test_a_limit_of_the_url_does_not_cut_a_result(warehouse, people):
    assert read_numbers(warehouse, f"{warehouse.url}?init_command=SET%20sql_select_limit%3D3") == ALL
