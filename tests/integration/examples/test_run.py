"""Each example does what it says: run whole against a small warehouse and the sandbox."""

import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from reconciler.sandbox.server import Sandbox
from tests.integration.examples.test_parse import CONFIGS, KEYS, NEEDS
from tests.integration.examples.warehouse import (
    CUSTOMERS,
    ORDERS,
    Customer,
    write_parquet,
    write_postgres,
    write_sqlite,
)
from tests.support.project import Project

SANDBOX_KEYS = {**KEYS, "CUSTOMERIO_SITE_ID": "sandbox-site", "CUSTOMERIO_API_KEY": "sandbox-key"}


def spent(customer: Customer) -> int:
    return sum(order.amount for order in ORDERS if order.customer_id == customer.customer_id)


def ordered(customer: Customer, since: str) -> bool:
    return any(order.customer_id == customer.customer_id and order.ordered_at >= since for order in ORDERS)


def order_count(customer: Customer) -> int:
    return sum(order.customer_id == customer.customer_id for order in ORDERS)


def lives_in(country: str, min_ltv: int = 0) -> Callable[[Customer], bool]:
    return lambda customer: customer.consent and customer.country == country and customer.ltv >= min_ltv


Wanted = Callable[[Customer], bool]


@dataclass(frozen=True)
class Example:
    """What an example's segments are to hold: by segment id, the rule that its description states."""

    segments: Mapping[int, Wanted]
    id_type: str = "id"
    confirms: bool = False
    titles: Mapping[int, str] = field(default_factory=dict)
    """Of segments that it names by their titles."""

    def desired(self, segment_id: int) -> set[str]:
        """What the query returns."""
        wanted = [customer for customer in CUSTOMERS if self.segments[segment_id](customer)]
        return {str(value) for each in wanted if (value := self._identifier(each)) is not None}

    def members(self, segment_id: int) -> set[str]:
        """Those of them that Customer.io knows."""
        known = {self._identifier(customer) for customer in CUSTOMERS if customer.known}
        return {value for value in self.desired(segment_id) if value in {str(each) for each in known}}

    def _identifier(self, customer: Customer) -> str | None:
        if self.id_type == "id":
            return str(customer.customer_id)
        return customer.email.lower() if customer.email and "@" in customer.email else None


EXAMPLES = {
    "first_segment.yaml": Example({101: lambda each: each.ltv > 1000}),
    "email_list.yaml": Example({111: lambda each: each.consent and not ordered(each, "2026-01-01")}, "email"),
    "several_sources.yaml": Example({121: lives_in("FR"), 122: lambda each: spent(each) >= 500}),
    "duckdb_parquet.yaml": Example({131: lambda each: order_count(each) >= 3}),
    "postgres_team.yaml": Example({141: lambda each: ordered(each, "2026-01-01")}),
    "exclusive_confirmed.yaml": Example({151: lambda each: not each.consent}, confirms=True),
    "many_segments.yaml": Example(
        {
            161: lives_in("DE"),
            162: lives_in("AT"),
            163: lives_in("FR", 100),
            164: lambda each: each.consent,
            165: lambda each: True,
        }
    ),
    "stages.yaml": Example(
        {181: lives_in("DE"), 182: lambda each: spent(each) >= 500},
        titles={181: "German customers", 182: "Big orders"},
    ),
    "sandbox.yaml": Example({171: lambda each: each.created_at >= "2026-01-01"}, confirms=True),
}


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """A sandbox that knows most of the customers, and the segments that the examples name."""
    with Sandbox() as running:
        running.add_people((str(each.customer_id), each.email) for each in CUSTOMERS if each.known)
        for example in EXAMPLES.values():
            for segment_id in example.segments:
                running.create_segment(example.titles.get(segment_id, f"Segment {segment_id}"), id=segment_id)
        yield running


@pytest.fixture
def project(tmp_path: Path, sandbox: Sandbox) -> Project:
    """A copy of the examples with a warehouse, with the variables of all of them but the databases."""
    folder = tmp_path / "configs"
    shutil.copytree(CONFIGS, folder)
    write_sqlite(folder / "warehouse.db")
    for name in ("crm.db", "shop.db"):
        shutil.copy(folder / "warehouse.db", folder / name)
    urls = dict.fromkeys(("CUSTOMERIO_TRACK_URL", "CUSTOMERIO_APP_URL", "SANDBOX_URL"), sandbox.url)
    return Project(folder, sandbox, {**SANDBOX_KEYS, **urls})


def prepare(name: str, project: Project, request: pytest.FixtureRequest) -> None:
    """Give an example the variables and the databases that it alone needs."""
    needs = NEEDS[name]
    if "LAKE_FOLDER" in needs:
        write_parquet(project.folder / "lake")
        project.environment["LAKE_FOLDER"] = str(project.folder / "lake")
    if "WAREHOUSE_URL" in needs:
        url = request.getfixturevalue("postgres_url")
        write_postgres(url)
        project.environment |= {
            "WAREHOUSE_URL": url,
            "STATE_URL": url,
            "CUSTOMERIO_WORKSPACE_ID": "3",
            "SENTINEL_ID": "41",
        }
    if "STATE_URL" in needs:
        project.environment["STATE_MUST_EXIST"] = "false"
    if "CUSTOMERIO_APP_API_KEY" in needs:
        project.environment["CUSTOMERIO_APP_API_KEY"] = "sandbox-app-key"


def read_members(example: Example, sandbox: Sandbox, segment_id: int) -> set[str]:
    found = sandbox.members(segment_id, example.id_type)
    return {value.lower() for value in found} if example.id_type == "email" else found


def apply(name: str, project: Project) -> None:
    """Apply an example; with `--confirm` it does not wait for ids that Customer.io does not know."""
    more = ("--confirm-timeout", "0") if EXAMPLES[name].confirms else ()
    done = project.run("apply", name, *more)
    assert done.code == 0, done.out + done.err


def test_every_example_is_run():
    assert sorted(EXAMPLES) == sorted(NEEDS)


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_fills_its_segments_and_then_has_nothing_to_do(name, project, sandbox, request):
    example = EXAMPLES[name]
    prepare(name, project, request)

    for words in (("validate", name, "--connect"), ("plan", name)):
        said = project.run(*words)
        assert said.code == 0, said.out + said.err
    assert sandbox.writes == []

    apply(name, project)
    for segment_id in example.segments:
        assert 0 < len(example.members(segment_id)) < len(example.desired(segment_id))
        assert read_members(example, sandbox, segment_id) == example.members(segment_id)

    sandbox.reset_calls()
    apply(name, project)
    if example.confirms:  # it reads back, and sends the ids again that Customer.io does not know
        resent = {value for call in sandbox.writes if call.direction == "add" for value in call.ids or ()}
        assert resent == {each for at in example.segments for each in example.desired(at) - example.members(at)}
        assert all(call.direction == "add" for call in sandbox.writes)
    else:  # only titles are asked for
        assert [call.path for call in sandbox.calls if not call.path.endswith("/region")] == (
            ["/v1/segments"] if example.titles else []
        )


@pytest.mark.parametrize("name", ["first_segment.yaml", "exclusive_confirmed.yaml"])
def test_whom_somebody_put_in_by_hand_stays_unless_the_query_is_the_whole_truth(name, project, sandbox, request):
    ((segment_id, wanted),) = EXAMPLES[name].segments.items()
    prepare(name, project, request)
    apply(name, project)
    stranger = next(str(each.customer_id) for each in CUSTOMERS if each.known and not wanted(each))
    sandbox.put_members(segment_id, [stranger])

    apply(name, project)

    assert (stranger in sandbox.members(segment_id)) is (name == "first_segment.yaml")


@pytest.mark.server
def test_the_team_s_state_must_exist_once_it_was_made(project, sandbox, request):
    prepare("postgres_team.yaml", project, request)
    del project.environment["STATE_MUST_EXIST"]

    refused = project.run("apply", "postgres_team.yaml")
    assert refused.code == 1
    assert sandbox.writes == []

    project.environment["STATE_MUST_EXIST"] = "false"
    apply("postgres_team.yaml", project)
    del project.environment["STATE_MUST_EXIST"]
    apply("postgres_team.yaml", project)
    assert sandbox.members(141) == EXAMPLES["postgres_team.yaml"].members(141)


@pytest.mark.server
def test_the_pinned_workspace_is_the_only_one_that_is_sent_to(project, sandbox, request):
    prepare("postgres_team.yaml", project, request)
    project.environment["CUSTOMERIO_WORKSPACE_ID"] = "4"

    assert project.run("apply", "postgres_team.yaml").code == 1
    assert sandbox.writes == []


def test_a_job_of_production_that_forgets_its_stage_sends_nothing(project, sandbox, request):
    prepare("stages.yaml", project, request)
    sandbox.configure(environment_id=12345)

    assert project.run("apply", "stages.yaml").code == 1
    assert sandbox.writes == []


def test_tags_and_globs_select_as_the_example_of_many_segments_says(project):
    name = "many_segments.yaml"

    nightly = project.run("plan", name, "--format", "json", "--select", "tag:nightly")
    countries = project.run("plan", name, "--format", "json", "--select", "country_*", "--exclude", "country_de")

    assert sorted(nightly.segments) == sorted(
        ["country_de", "country_at", "country_fr", "all_reachable", "all_customers"]
    )
    assert sorted(countries.segments) == ["country_at", "country_fr"]


def test_values_that_are_no_email_are_counted_and_left_out(project):
    (segment,) = project.run("plan", "email_list.yaml", "--format", "json").segments.values()

    lapsed = [each for each in CUSTOMERS if EXAMPLES["email_list.yaml"].segments[111](each)]
    assert segment["nulls"] == sum(each.email is None for each in lapsed) > 0
    assert segment["invalid"] == sum(each.email == "call instead" for each in lapsed) == 1
