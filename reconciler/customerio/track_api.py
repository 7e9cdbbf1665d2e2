"""The Track API: adds people to a manual segment and removes them."""

from collections.abc import Callable
from dataclasses import dataclass, field

import orjson

from reconciler.customerio import responses
from reconciler.customerio.base import Gate
from reconciler.customerio.outcomes import AttemptResult, CallResult, Kind, Surface, explain, wrong_version
from reconciler.customerio.responses import repeat
from reconciler.customerio.transport import Call, Clients, Retrier
from reconciler.errors import DestinationError
from reconciler.models.batches import Batch, BatchResult, Direction, Outcome
from reconciler.models.spec import DestinationSettings, Segment

REGION = Call("GET", "/api/v1/accounts/region", wants_body=True)

ACTIONS = {Direction.ADD: "add_customers", Direction.REMOVE: "remove_customers"}

FATES = {
    Kind.ACCEPTED: Outcome.ACKNOWLEDGED,
    Kind.BAD_REQUEST: Outcome.BAD_REQUEST,
    Kind.TOO_LARGE: Outcome.TOO_LARGE,
    Kind.STOPPED: Outcome.STOPPED,
    Kind.FOREIGN: Outcome.STOPPED,
}


@dataclass(frozen=True)
class TrackClient:
    """Writes to one workspace. Any number of threads may share it."""

    destination: DestinationSettings
    surface: Surface
    retrier: Retrier = field(repr=False)
    clients: Clients = field(repr=False)
    warn: Callable[[str], None] = field(repr=False)

    def preflight(self) -> int | None:
        """Check credentials, region and workspace; gives the environment id, None where it is not told.

        Where there is no such endpoint that is a warning: a proxy may let nothing but segments through. Raises
        DestinationError. Source: Track API specification, `getRegion`.
        """
        ending = self.retrier.run(REGION)
        if ending.outcome.status in (404, 405):
            self._do_without(ending.outcome)
            return None
        if ending.held or ending.outcome.kind is not Kind.ACCEPTED:
            problem = explain(ending, self.surface, repeat(ending.outcome.body, self._secrets()))
            raise DestinationError(problem.message, problem.hint)
        region, environment = responses.region(ending.outcome.body)
        self._compare(region, environment)
        return environment

    def _do_without(self, outcome: AttemptResult) -> None:
        """Warn that nothing could be checked, unless that is sure to end badly."""
        page = "a web page" if outcome.is_page else "no region endpoint"
        found = f"there is {page} at {self.surface.base}{REGION.path} ({outcome.status})"
        advice = wrong_version(self.surface)
        if advice:
            raise DestinationError(found, advice)
        pin = self.destination.workspace_id
        if pin is not None:
            raise DestinationError(
                f"destination.workspace_id is {pin}, and of which workspace the keys are can't be asked: {found}",
                f"check destination.track_url; a proxy has to let {REGION.path} through, or leave workspace_id out",
            )
        self.warn(
            f"keys, region and workspace could not be checked: {found}; if this is no proxy that lets only segments "
            "through, check destination.track_url"
        )

    def ask_environment(self) -> int | None:
        """The environment id, asked for once and without judging; None where the answer does not say it."""
        ending = self.retrier.run(REGION, lambda attempt: attempt == 1)
        return responses.region(ending.outcome.body)[1] if ending.outcome.kind is Kind.ACCEPTED else None

    def _compare(self, region: str, environment: int | None) -> None:
        """Hold what the account says of itself against the spec."""
        if region != self.destination.region:
            raise DestinationError(f"the account lives in {region}", f"set destination.region to {region}")
        pin = self.destination.workspace_id
        if pin is not None and environment != pin:
            said = "not said" if environment is None else str(environment)
            raise DestinationError(
                f"destination.workspace_id is {pin}, but the keys are of another workspace ({said})",
                "use this workspace's keys, or correct workspace_id",
            )

    def send(self, segment: Segment, batch: Batch, gate: Gate) -> BatchResult:
        """Send one batch, with its retries. 2xx means accepted, not applied.

        A `cio_id` is sent as it is, without the `cio_` prefix that paths want.
        """
        ending = self.retrier.run(_call(segment, batch), gate.admit)
        outcome = _fate(ending)
        if outcome is Outcome.ACKNOWLEDGED:
            return BatchResult(outcome, ending.attempts, ending.unknown_at)
        words = repeat(ending.outcome.body, (*batch.ids, *self._secrets()))
        problem = explain(ending, self.surface, words)
        return BatchResult(outcome, ending.attempts, ending.unknown_at, problem.message, problem.hint)

    def close(self) -> None:
        """Close the connections."""
        self.clients.close()

    def _secrets(self) -> tuple[str, ...]:
        return self.destination.site_id.reveal(), self.destination.api_key.reveal()


def _call(segment: Segment, batch: Batch) -> Call:
    path = f"/api/v1/segments/{segment.segment_id:d}/{ACTIONS[batch.direction]}"
    return Call("POST", path, (("id_type", segment.id_type.value),), orjson.dumps({"ids": batch.ids}))


def _fate(ending: CallResult) -> Outcome:
    """Sum up all attempts: one that may have been applied outweighs those that were refused."""
    kind = ending.outcome.kind
    if kind in FATES:
        return FATES[kind]
    if ending.unknown_at is not None:
        return Outcome.UNKNOWN
    return Outcome.NOT_STARTED if ending.held or kind is Kind.HELD else Outcome.REFUSED
