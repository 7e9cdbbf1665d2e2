"""The sealed plan file: the value (`sealed`), whether it may be applied (`checks`), its format and its keeper.

Lines, each ended by a line feed:

    {"reconcile_plan": 1, "plan_id": ..., "segments": [...]}
    {"segment": 0, "direction": "remove", "ids": [up to 1,000]}      in the order in which they are sent
    {"sha256": "..."}                                                over every byte before this line

The checksum tells damage; it is no signature. The file holds ids, and no secrets.
"""

from reconciler.planfile.checks import (
    check,
    check_age,
    check_environment,
    check_heads,
    check_place,
    check_specs,
    is_stale,
)
from reconciler.planfile.reading import PlanFile, is_planfile, is_remnant, open_planfile
from reconciler.planfile.sealed import LIFETIME, SealedPlan, SealedSegment, seal
from reconciler.planfile.writing import Draft, drafting, plan_output, write

__all__ = [
    "LIFETIME",
    "Draft",
    "PlanFile",
    "SealedPlan",
    "SealedSegment",
    "check",
    "check_age",
    "check_environment",
    "check_heads",
    "check_place",
    "check_specs",
    "drafting",
    "is_planfile",
    "is_remnant",
    "is_stale",
    "open_planfile",
    "plan_output",
    "seal",
    "write",
]
