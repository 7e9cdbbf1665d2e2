"""What the lines of a plan file look like, and how each is read."""

from collections.abc import Callable
from typing import Any, NoReturn

import orjson

from reconciler.models.batches import Batch, Direction
from reconciler.models.ids import IdType, can_be_held, is_id
from reconciler.models.spec import MAX_BATCH
from reconciler.planfile.sealed import LIFETIME, SealedPlan, SealedSegment

FORMAT = 1
"""The version of the format that is written, and the newest that is read."""

MAGIC = b'{"reconcile_plan":'
MAX_HEADER_BYTES = 16 * 1024 * 1024
MAX_BATCH_BYTES = 1024 * 1024

Fail = Callable[[str], NoReturn]


def is_head(head: bytes) -> bool:
    """Tell whether a file is a plan file, by its first bytes."""
    return head.startswith(MAGIC)


def parse_line(line: bytes, fail: Fail) -> dict[str, Any]:
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError:
        fail("a line is not JSON")
    if not isinstance(value, dict):
        fail("a line is not what it should be")
    return value


def parse_batch(line: bytes, fail: Fail) -> tuple[int, Batch]:
    value = parse_line(line, fail)
    index, direction, ids = value.get("segment"), value.get("direction"), value.get("ids")
    if type(index) is not int or index < 0 or direction not in ("add", "remove") or not isinstance(ids, list):
        fail("a batch is not what it should be")
    if not 0 < len(ids) <= MAX_BATCH or set(map(type, ids)) != {str} or "" in ids:
        fail("a batch does not hold ids")
    return index, Batch(Direction(direction), tuple(ids))


def holds_ids(batch: Batch, id_type: IdType) -> bool:
    """Hold the ids of a batch against the rules of ids; what is removed may be whatever a state can hold."""
    if batch.direction is Direction.REMOVE:
        return all(map(can_be_held, batch.ids))
    return all(is_id(member, id_type) for member in batch.ids)


def parse_plan(header: dict[str, Any], fail: Fail) -> SealedPlan:
    # Here, since it takes a while and most commands read no plan file.
    from pydantic import TypeAdapter, ValidationError

    try:
        plan = TypeAdapter(SealedPlan).validate_json(orjson.dumps(header), strict=True)
    except (ValidationError, TypeError):
        fail("its header is wrong")
    if not _is_sound(plan):
        fail("its header is wrong")
    return plan


def _is_sound(plan: SealedPlan) -> bool:
    if plan.created_at.tzinfo is None or plan.expires_at.tzinfo is None:
        return False
    numbers = [number for segment in plan.segments for number in _numbers(segment)]
    return plan.expires_at - plan.created_at <= LIFETIME and all(number >= 0 for number in numbers)


def _numbers(segment: SealedSegment) -> list[float]:
    said = [*vars(segment.counts).values(), segment.segment_id, segment.serial, segment.environment_id]
    return [number for number in said if number is not None]
