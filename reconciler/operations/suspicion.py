"""Telling whether a 400 is about some ids or about the request as a whole."""

MOST_REJECTED = 100
"""From so many rejected ids on, the 400 is about the request."""


class Suspicion:
    """Keeps what the answers of one segment have shown so far.

    A batch that gets a 400 is halved until the bad ids are alone. That must not go on for a request that can't succeed
    at all (a data-driven segment, an id type that the workspace lacks). One acknowledged request clears the suspicion;
    when three batches fail without one (say, a batch and both its halves), a single id of another batch is probed.
    """

    def __init__(self, accepted_before: bool) -> None:
        self._accepted_before = accepted_before
        self._acknowledged = False
        self._failed = 0
        self.rejected: list[str] = []
        self.is_about_the_request = False

    @property
    def wants_probe(self) -> bool:
        """Three batches failed, and nothing was acknowledged."""
        return self._failed >= 3 and not self._acknowledged

    def acknowledge(self) -> None:
        self._acknowledged = True

    def fail_batch(self) -> None:
        """A batch of several ids got a 400."""
        self._failed += 1

    def fail_id(self, member: str, is_probe: bool) -> None:
        """A single id got a 400."""
        self._failed += 1
        self.rejected.append(member)
        if is_probe or len(self.rejected) >= MOST_REJECTED:
            self.is_about_the_request = True

    def conclude(self) -> None:
        """All is sent: if nothing was ever accepted, the 400s were about the request."""
        if self.rejected and not self._acknowledged and not self._accepted_before:
            self.is_about_the_request = True
