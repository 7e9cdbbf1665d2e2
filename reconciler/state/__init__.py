"""The state database: what was sent and acknowledged, the journal, the locks, the history."""

from reconciler.state.opening import open_ledger, open_snapshot

__all__ = ["open_ledger", "open_snapshot"]
