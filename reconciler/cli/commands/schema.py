"""`reconcile schema`: the JSON Schema of a spec."""

from reconciler.cli import flags


def schema(
    verbose: flags.Verbose = False,
    quiet: flags.Quiet = False,
    log_format: flags.LogFormatOption = flags.LogFormat.TEXT,
) -> int:
    """Print the JSON Schema of a spec, for editors."""
    import json

    from reconciler.cli.console import Console
    from reconciler.spec import schema as make_schema

    Console(verbose, quiet, log_format).show(json.dumps(make_schema(), indent=2), is_data=True)
    return 0
