"""The Track API: adds people to a manual segment and removes them."""

from collections.abc import Callable
from dataclasses import dataclass, field

import orjson

from reconciler.customerio import Gate
from reconciler.customerio.outcomes import CallResult, Endpoint, explain
from reconciler.customerio.responses import error_text, parse_region
from reconciler.customerio.transport import Call, Transport
from reconciler.errors import DestinationError
from reconciler.models.batches import Batch, BatchResult, Direction, Outcome
from reconciler.models.spec import DestinationSettings, Segment

REGION = Call("GET", "/api/v1/accounts/region", wants_body=True)

ACTIONS = {Direction.ADD: "add_customers", Direction.REMOVE: "remove_customers"}


@dataclass(frozen=True)
class TrackClient:
    """Writes to one workspace. Any number of threads may share it."""

    destination: DestinationSettings
    endpoint: Endpoint
    transport: Transport = field(repr=False)
    warn: Callable[[str], None] = field(repr=False)

    def preflight(self) -> int | None:
        """Check credentials, region and workspace; return the environment id, None where it is not given.

        Where there is no such endpoint that is a warning: a proxy may let nothing but segments through. Raises
        DestinationError. Source: Track API specification, `getRegion`.
        """
        result = self.transport.call(REGION)
        pin = self.destination.workspace_id
        if result.last.status in (404, 405):
            page = "a web page" if result.last.is_page else "no region endpoint"
            found = f"there is {page} at {self.endpoint.base}{REGION.path} ({result.last.status})"
            if self.endpoint.version_hint:
                raise DestinationError(found, self.endpoint.version_hint)
            if pin is not None:
                raise DestinationError(
                    f"destination.workspace_id is {pin}, and of which workspace the keys are can't be asked: {found}",
                    f"check destination.track_url; a proxy has to let {REGION.path} through, or leave workspace_id out",
                )
            self.warn(
                f"keys, region and workspace could not be checked: {found}; if this is no proxy that lets only "
                "segments through, check destination.track_url"
            )
            return None
        if result.outcome is not Outcome.ACKNOWLEDGED:
            raise DestinationError(*self._explain(result))
        region, environment = parse_region(result.last.body)
        if region != self.destination.region:
            raise DestinationError(f"the account lives in {region}", f"set destination.region to {region}")
        if pin is not None and environment != pin:
            said = "not said" if environment is None else str(environment)
            raise DestinationError(
                f"destination.workspace_id is {pin}, but the keys are of another workspace ({said})",
                "use this workspace's keys, or correct workspace_id",
            )
        return environment

    def ask_environment(self) -> int | None:
        """Return the environment id, asked for in one attempt and not checked; None where it is not given."""
        result = self.transport.call(REGION, lambda attempt: attempt == 1)
        return parse_region(result.last.body)[1] if result.last.outcome is Outcome.ACKNOWLEDGED else None

    def send(self, segment: Segment, batch: Batch, gate: Gate) -> BatchResult:
        """Send one batch, with its retries. 2xx means accepted, not applied.

        A `cio_id` is sent as it is, without the `cio_` prefix that paths want.
        """
        path = f"/api/v1/segments/{segment.segment_id:d}/{ACTIONS[batch.direction]}"
        content = orjson.dumps({"ids": batch.ids})
        call = Call("POST", path, (("id_type", segment.id_type.value),), content)
        result = self.transport.call(call, gate.admit)
        if result.outcome is Outcome.ACKNOWLEDGED:
            return BatchResult(result.outcome, result.attempts, result.unknown_at)
        message, hint = self._explain(result, batch.ids)
        return BatchResult(result.outcome, result.attempts, result.unknown_at, message, hint)

    def _explain(self, result: CallResult, ids: tuple[str, ...] = ()) -> tuple[str, str]:
        secrets = self.destination.site_id.reveal(), self.destination.api_key.reveal()
        return explain(result, self.endpoint, error_text(result.last.body, (*ids, *secrets)))

    def close(self) -> None:
        """Close the connections."""
        self.transport.close()
