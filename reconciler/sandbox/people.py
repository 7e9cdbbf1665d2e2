"""The people of a sandbox workspace: who exists, and by which identifiers they are found.

Pure: no I/O, no clock, no lock (`workspace` holds the lock). An `id` is compared exactly, an `email` without case, a
`cio_id` exactly, bare or with its `cio_` prefix. Unknown identifiers are simply not found.
"""

import re
from collections.abc import Iterable, Iterator
from enum import StrEnum
from typing import NamedTuple

from reconciler.sandbox.settings import SandboxError

CIO_PREFIX = "cio_"
CIO_ID = re.compile("a3[0-9a-f]{6,}")


class IdType(StrEnum):
    """The kinds of identifier that the segment endpoints take (there is no `phone`)."""

    ID = "id"
    EMAIL = "email"
    CIO_ID = "cio_id"


class Person(NamedTuple):
    """One profile. `id` or `email` may be None, never both; `cio_id` is bare.

    A tuple, since pages of 30,000 are made of them: a frozen dataclass takes three times as long to make.
    """

    cio_id: str
    id: str | None
    email: str | None

    def value(self, id_type: IdType) -> str | None:
        """Return this person's identifier of one kind."""
        if id_type is IdType.CIO_ID:
            return self.cio_id
        return self.id if id_type is IdType.ID else self.email


class People:
    """Every person by number, in order of arrival. The cio_id follows from the number."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[str | None, str | None]] = {}
        self._by_id: dict[str, int] = {}
        self._by_email: dict[str, int] = {}
        self._next = 1

    def __len__(self) -> int:
        return len(self._known)

    def __iter__(self) -> Iterator[Person]:
        return (self.person(number) for number in self._known)

    def person(self, number: int) -> Person:
        """Return the person with that number."""
        id, email = self._known[number]
        return Person(f"a3{number:06x}", id, email)

    def find(self, id_type: IdType, values: Iterable[str]) -> list[int]:
        """Return the numbers of those who exist; the rest are left out, as Customer.io ignores them."""
        found: Iterable[int | None]
        if id_type is IdType.ID:
            found = map(self._by_id.get, values)
        elif id_type is IdType.EMAIL:
            found = map(self._by_email.get, map(str.lower, values))
        else:
            found = map(self._find_by_cio_id, values)
        return [number for number in found if number is not None]

    def _find_by_cio_id(self, value: str) -> int | None:
        number = _number_in(value.removeprefix(CIO_PREFIX))
        return number if number in self._known else None

    def identify(self, id: str | None, email: str | None, cio_id: str | None = None) -> int:
        """Create or update one person, and return its number. Raises `SandboxError` for a cio_id that nobody can have.

        An identifier that already belongs to another person is left with it, as Customer.io does.
        """
        number = self._find_owner(id, email) if cio_id is None else self._find_by_cio_id(cio_id)
        if number is None:
            number = self._next if cio_id is None else _number_in(cio_id)
            if number is None or number < self._next:
                raise SandboxError("a person has a cio_id that the sandbox does not give")
            self._next = number + 1
        old_id, old_email = self._known.get(number, (None, None))
        if id is not None and old_id is None and self._by_id.setdefault(id, number) == number:
            old_id = id
        if email is not None and self._by_email.get(email.lower(), number) == number:
            if old_email is not None:
                del self._by_email[old_email.lower()]
            self._by_email[email.lower()] = number
            old_email = email
        self._known[number] = (old_id, old_email)
        return number

    def _find_owner(self, id: str | None, email: str | None) -> int | None:
        number = self._by_id.get(id) if id is not None else None
        if number is not None or email is None:
            return number
        number = self._by_email.get(email.lower())
        if number is not None and id is not None and self._known[number][0] is not None:
            return None  # the email is taken by a person with another id: the new one goes without it
        return number


def _number_in(cio_id: str) -> int | None:
    """Return the number that a cio_id stands for; None for any other text, even one that only differs in case."""
    if not CIO_ID.fullmatch(cio_id):
        return None
    number = int(cio_id.removeprefix("a3"), 16)
    return number if number > 0 and cio_id == f"a3{number:06x}" else None
