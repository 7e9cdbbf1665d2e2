"""`reconcile schema`: the JSON Schema of a spec."""

import json

from reconciler.cli.console import Console, with_console
from reconciler.spec.schema import make_schema


@with_console
def schema(console: Console) -> int:
    """Print the JSON Schema of a spec, for editors."""
    console.show(json.dumps(make_schema(), indent=2), is_data=True)
    return 0
