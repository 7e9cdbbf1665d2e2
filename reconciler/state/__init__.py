"""The state database: what was sent and acknowledged, the journal, the locks, the history."""

from reconciler.state.opening import open_snapshot, open_store

__all__ = ["open_snapshot", "open_store"]
