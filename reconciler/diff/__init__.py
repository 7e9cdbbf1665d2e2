"""The set engine: desired, stored and remote side by side, by column."""

from reconciler.diff.embedded import EmbeddedSetEngine
from reconciler.diff.spill import spill_folder

__all__ = ["EmbeddedSetEngine", "spill_folder"]
