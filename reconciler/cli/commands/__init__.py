"""One module per command: argv to values, results to renderers."""
