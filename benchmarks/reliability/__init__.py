"""Long attacks on the promises: `python -m benchmarks.reliability kill --rounds 200`."""
