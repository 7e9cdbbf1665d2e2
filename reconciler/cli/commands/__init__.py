"""The commands: argv to values, results to renderers."""
