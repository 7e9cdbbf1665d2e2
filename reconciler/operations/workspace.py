"""Whose members are read: an App API that is asked nothing where the keys turn out to be of another environment."""

from collections.abc import Callable, Generator
from dataclasses import dataclass

from reconciler.customerio.base import App
from reconciler.errors import DestinationError
from reconciler.models.ids import IdType
from reconciler.models.plan import Head, UsedBy
from reconciler.models.remote import Page, RemoteSegment
from reconciler.models.spec import Target
from reconciler.operations.plan import environment_mismatch


@dataclass(frozen=True)
class CheckedApp:
    """An App API each of whose reads begins with `check`, which may raise DestinationError."""

    app: App
    check: Callable[[], None]

    def segments(self) -> dict[int, RemoteSegment]:
        self.check()
        return self.app.segments()

    def used_by(self, segment_id: int) -> UsedBy:
        self.check()
        return self.app.used_by(segment_id)

    def count(self, segment_id: int) -> int:
        self.check()
        return self.app.count(segment_id)

    def members(self, segment_id: int, id_type: IdType) -> Generator[Page, None, None]:
        self.check()
        return self.app.members(segment_id, id_type)


def check_before_reading(
    target: Target, head: Head, app: App | None, ask: Callable[[], int | None], warn: Callable[[str], None]
) -> App | None:
    """Give the App API of a target; its first read asks for the environment if the spec pins one or the state knows it.

    `ask` gives the environment id of the keys, None where it can't be had: that is a warning, as nothing is written.
    """
    if app is None or (head.environment_id is None and target.spec.destination.workspace_id is None):
        return app

    def check() -> None:
        found = ask()
        if found is None:
            warn(f"workspace {target.workspace}: Customer.io does not tell which environment the keys are of")
        else:
            refuse_other_environment(target, head, found)

    return CheckedApp(app, check)


def refuse_other_environment(target: Target, head: Head, found: int) -> None:
    """Raise DestinationError if an environment is not the one that the spec pins or the state is bound to."""
    pinned = target.spec.destination.workspace_id
    if pinned is not None and found != pinned:
        raise DestinationError(
            f"{target.spec.path}: workspace_id is {pinned}, but the keys are of environment {found}",
            "use this workspace's keys, or correct workspace_id",
            code="environment",
        )
    if head.environment_id is not None and found != head.environment_id:
        raise environment_mismatch(target, head.environment_id, found)
