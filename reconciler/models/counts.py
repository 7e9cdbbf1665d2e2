"""The numbers of one comparison."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Counts:
    """What a comparison of desired and stored (and, under `exclusive`, remote) found; all are numbers of ids.

    desired = unchanged + add + resend, always.
    """

    desired: int = 0
    stored: int = 0
    add: int = 0
    remove: int = 0
    resend: int = 0
    unchanged: int = 0
    unsettled: int = 0
    unmatched: int = 0
    nulls: int = 0
    invalid: int = 0
    duplicates: int = 0

    held: int = 0
    """Every id that the state holds (stored, unsettled, unmatched), and under `exclusive` the real members too."""
    repeated_adds: int = 0
    """Of `add`: those that only repeat an unsettled add."""
    exempt_removes: int = 0
    """Of `remove`: those that repeat an unsettled remove, or drop an unmatched id."""
    missing_sentinels: int = 0
    """Of `must_include`: those that the query did not return."""
    adopt: int = 0
    """Of `unchanged`, under `exclusive`: ids that the state does not hold as members yet; `apply` takes them over."""
    strays: int = 0
    """Of `remove`, under `exclusive`: members that the state does not know."""
    unkeyed: int | None = None
    """Members that the id type cannot express; None where the real membership was not read."""
    reversed_at: float | None = None
    """Unix seconds of the latest attempt, of unknown outcome, that one of these changes reverses."""

    @property
    def judged_additions(self) -> int:
        return self.add - self.repeated_adds

    @property
    def judged_removals(self) -> int:
        return self.remove - self.exempt_removes

    @property
    def is_changed(self) -> bool:
        """Resends alone do not make a change."""
        return bool(self.add or self.remove)

    @property
    def only_repeats(self) -> bool:
        """Each removal there is repeats an unsettled one, and was judged before."""
        return self.remove > 0 and self.judged_removals == 0 and self.unmatched == 0


@dataclass(frozen=True)
class StateCounts:
    """Numbers of ids that the state holds of one segment."""

    stored: int
    unsettled: int
    unmatched: int
