"""The project of the tour: a spec, a query file, and what the sandbox needs, as a team would have them in git."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from reconciler.cli.demo import warehouse

WAREHOUSE = "warehouse.db"
PEOPLE = "people.csv"
SPEC = "reconcile.yaml"
VARIABLES = "sandbox.env"
SANDBOX_STATE = "sandbox.json"
NEW_DAY = "a_new_day.sql"

MIN_LTV = 1000
MIN_ORDERS = 3
LAST_ORDER_BEFORE = "2025-12-01"

VIP_QUERY = "SELECT customer_id FROM customers WHERE consent AND ltv >= :min_ltv"
NEWSLETTER_QUERY = "SELECT email FROM customers WHERE consent AND country = 'DE'"
CHURN_QUERY = """\
-- Customers who used to buy, and stopped.
SELECT customer_id
FROM customers
JOIN orders USING (customer_id)
WHERE consent
GROUP BY customer_id
HAVING count(*) >= :min_orders
   AND max(ordered_at) < :last_order_before
"""

_SPEC = f"""\
version: 1

sources:
  warehouse:
    url: ${{WAREHOUSE_URL}}

destination:
  workspace: demo
  region: us
  site_id: ${{CUSTOMERIO_SITE_ID}}
  api_key: ${{CUSTOMERIO_API_KEY}}
  app_api_key: ${{CUSTOMERIO_APP_API_KEY}}
  track_url: ${{SANDBOX_URL}}    # without these two lines
  app_url: ${{SANDBOX_URL}}      # it is the real Customer.io

defaults:
  guards: {{max_removals: 25%}}

segments:
  vip_customers:
    segment_id: 56
    query: {VIP_QUERY}
    params: {{min_ltv: {MIN_LTV}}}

  newsletter_de:
    segment_id: 57
    id_type: email
    nulls: skip
    query: {NEWSLETTER_QUERY}

  churn_risk:
    segment_id: 58
    query_file: sql/churn_risk.sql
    params: {{min_orders: {MIN_ORDERS}, last_order_before: "{LAST_ORDER_BEFORE}"}}
"""

_NEW_DAY = """\
-- Some German readers take their consent back.
UPDATE customers SET consent = 0
WHERE country = 'DE' AND customer_id LIKE '%77';

-- Some customers spend a lot; those who had stopped buying are back.
INSERT INTO orders
SELECT 'O2' || substr(customer_id, 2), customer_id, 1200, '2026-06-01'
FROM customers WHERE customer_id LIKE '%500';
UPDATE customers SET ltv = ltv + 1200 WHERE customer_id LIKE '%500';

-- Some are new.
INSERT INTO customers
SELECT 'N' || substr(customer_id, 2), 'new.' || email, country, 1,
       '2026-06-01', 0
FROM customers WHERE customer_id LIKE '%21';
"""


@dataclass(frozen=True)
class DemoSegment:
    """A segment as the spec says it, once more, so that the tour can check what became of it."""

    name: str
    segment_id: int
    id_type: str
    query: str
    params: Mapping[str, object] = field(default_factory=dict)

    def desired(self, path: Path) -> frozenset[str]:
        """The ids that its query returns now, as they are sent."""
        found = warehouse.fetch(path, self.query, self.params)
        return frozenset(value.lower() for value in found) if self.id_type == "email" else frozenset(found)


VIP = DemoSegment("vip_customers", 56, "id", VIP_QUERY, {"min_ltv": MIN_LTV})
NEWSLETTER = DemoSegment("newsletter_de", 57, "email", NEWSLETTER_QUERY)
CHURN = DemoSegment(
    "churn_risk", 58, "id", CHURN_QUERY, {"min_orders": MIN_ORDERS, "last_order_before": LAST_ORDER_BEFORE}
)
SEGMENTS = (VIP, NEWSLETTER, CHURN)


def write_project(folder: Path) -> None:
    """Write the spec, its query file and the data changes to come into a folder."""
    for name, text in {SPEC: _SPEC, "sql/churn_risk.sql": CHURN_QUERY, NEW_DAY: _NEW_DAY}.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")


def list_variables(url: str, site_id: str, api_key: str, app_api_key: str) -> dict[str, str]:
    """Give the variables that the spec names, for a sandbox at `url`."""
    return {
        "WAREHOUSE_URL": f"sqlite:///{WAREHOUSE}",
        "SANDBOX_URL": url,
        "CUSTOMERIO_SITE_ID": site_id,
        "CUSTOMERIO_API_KEY": api_key,
        "CUSTOMERIO_APP_API_KEY": app_api_key,
    }


def write_variables(folder: Path, variables: Mapping[str, str]) -> None:
    """Write the variables as lines that a shell takes."""
    lines = (f"export {name}={shlex.quote(value)}\n" for name, value in variables.items())
    (folder / VARIABLES).write_text("".join(lines), encoding="utf-8")
