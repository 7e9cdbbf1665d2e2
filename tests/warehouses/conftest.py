"""Every test of this folder runs on every engine; one that can't be had fails its tests by name."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from reconciler.sandbox.server import Sandbox
from tests.support.project import Project
from tests.warehouses.engine import Engine, NotHad, Started, Warehouse
from tests.warehouses.engines import sail

if TYPE_CHECKING:
    from tests.warehouses.engines import _databricks as databricks  # its driver is in one virtual environment alone

FILES = sorted(path.stem for path in (Path(__file__).parent / "engines").glob("[!_]*.py"))
ALL: dict[str, Engine] = {name: importlib.import_module(f"tests.warehouses.engines.{name}").ENGINE for name in FILES}

VENV = Path(sys.prefix).name
HERE = {name: engine for name, engine in ALL.items() if f".venv-{engine.venv}" == VENV} or ALL
"""In a virtual environment of `make test-warehouses` the engines that it is for; in any other one all of them."""

if HERE is not ALL and VENV != ".venv-warehouses":
    # Their drivers are in that one, as a user has them.
    collect_ignore = [
        "test_logins.py",
        "test_members.py",
        "test_members_in_warehouses.py",
        "test_members_of_databricks.py",
        "test_members_on_sail.py",
        "test_past_one_machine.py",
        "test_whole_results_of_clickhouse.py",
        "test_whole_results_of_mariadb.py",
    ]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run it on each engine, or on those that its module names; one engine is started once, by one worker."""
    if "warehouse" in metafunc.fixturenames:
        names = getattr(metafunc.module, "ENGINES", HERE)
        engines = [pytest.param(name, marks=pytest.mark.xdist_group(name)) for name in names]
        metafunc.parametrize("warehouse", engines, indirect=True, scope="session")


@pytest.fixture(scope="session")
def warehouse(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Warehouse]:
    """A running engine."""
    engine = ALL[request.param]
    try:
        running = engine.start(tmp_path_factory.mktemp(request.param))
        started = running.__enter__()
    except (NotHad, ImportError) as error:
        pytest.fail(f"{engine.name} was not run: {error}", pytrace=False)
    try:
        yield Warehouse(engine, started)
    finally:
        running.__exit__(None, None, None)


@pytest.fixture
def people(warehouse: Warehouse) -> list[str]:
    """The ids of the table `people`: p0000 to p0009, with the numbers 0 to 9; the sandbox knows them."""
    ids = [f"p{number:04}" for number in range(10)]
    warehouse.fill("people", ids)
    return ids


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    """An empty project, and a sandbox with the people p0000 to p0999 and the manual segment 56."""
    with Sandbox() as sandbox:
        sandbox.add_people((f"p{number:04}", f"p{number:04}@example.com") for number in range(1000))
        sandbox.create_segment("VIP", id=56)
        yield Project(tmp_path, sandbox)


@pytest.fixture(scope="session")
def sail_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Started]:
    """A server of Sail for tables of members."""
    try:
        with sail.start(tmp_path_factory.mktemp("sail")) as started:
            yield started
    except NotHad as error:
        pytest.fail(f"Sail was not run: {error}", pytrace=False)


@pytest.fixture(scope="session")
def databricks_server(tmp_path_factory: pytest.TempPathFactory) -> "Iterator[databricks.Warehouse]":
    """An emulated Databricks for tables of members."""
    from tests.warehouses.engines import _databricks

    try:
        with _databricks.start(tmp_path_factory.mktemp("databricks")) as started:
            yield started
    except NotHad as error:
        pytest.fail(f"Databricks was not emulated: {error}", pytrace=False)
