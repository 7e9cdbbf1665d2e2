"""The people of a sandbox workspace: who exists, and by which identifiers they are found.

Pure: no I/O, no clock, no lock (`workspace` holds the lock). An `id` is compared exactly, an `email` without case, a
`cio_id` exactly, bare or with its `cio_` prefix. Unknown identifiers are simply not found.
"""

from collections.abc import Iterable, Iterator
from enum import StrEnum
from typing import NamedTuple

CIO_PREFIX = "cio_"
_CIO_STEM = "a3"


class IdType(StrEnum):
    """The kinds of identifier that the segment endpoints take (there is no `phone`)."""

    ID = "id"
    EMAIL = "email"
    CIO_ID = "cio_id"


class CioForm(StrEnum):
    """Which spelling of a cio_id is understood in a request's `ids`. Customer.io does not say."""

    BARE = "bare"
    PREFIXED = "prefixed"
    BOTH = "both"


class Person(NamedTuple):
    """One profile. `id` or `email` may be None, never both; `cio_id` is bare.

    A tuple, since pages of 30,000 are made of them: a frozen dataclass takes three times as long to make.
    """

    cio_id: str
    id: str | None
    email: str | None

    def value(self, id_type: IdType) -> str | None:
        """This person's identifier of that kind."""
        if id_type is IdType.CIO_ID:
            return self.cio_id
        return self.id if id_type is IdType.ID else self.email


def fold_email(email: str) -> str:
    """The form in which two spellings of one email are equal."""
    return email.lower()


class People:
    """Every person by number, in order of arrival. A number is never used twice."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[str | None, str | None]] = {}
        self._by_id: dict[str, int] = {}
        self._by_email: dict[str, int] = {}
        # Most cio_ids follow from the number, so only those chosen by hand take memory.
        self._chosen: dict[str, int] = {}
        self._chosen_by_number: dict[int, str] = {}
        self._blocked: set[tuple[IdType, str]] = set()
        self._next = 1

    def __len__(self) -> int:
        return len(self._known)

    def __iter__(self) -> Iterator[Person]:
        return (self.person(number) for number in self._known)

    def __contains__(self, number: int) -> bool:
        return number in self._known

    def person(self, number: int) -> Person:
        """The person with that number; KeyError when gone."""
        id, email = self._known[number]
        return Person(self.cio_id(number), id, email)

    def cio_id(self, number: int) -> str:
        """The bare cio_id of a number."""
        if number in self._chosen_by_number:
            return self._chosen_by_number[number]
        return f"{_CIO_STEM}{number:06x}"

    def find(self, id_type: IdType, value: str, form: CioForm = CioForm.BOTH) -> int | None:
        """The number of the person whom the identifier names, or None."""
        if id_type is IdType.ID:
            return self._by_id.get(value)
        if id_type is IdType.EMAIL:
            return self._by_email.get(fold_email(value))
        return self._find_cio(value, form)

    def find_many(self, id_type: IdType, values: Iterable[str], form: CioForm = CioForm.BOTH) -> list[int]:
        """The numbers of those who exist; the rest are left out, as Customer.io ignores them."""
        found: Iterable[int | None]
        if id_type is IdType.ID:
            found = map(self._by_id.get, values)
        elif id_type is IdType.EMAIL:
            found = map(self._by_email.get, map(fold_email, values))
        else:
            found = (self._find_cio(value, form) for value in values)
        return [number for number in found if number is not None]

    def identify(self, id: str | None, email: str | None, cio_id: str | None = None) -> int | None:
        """Create or update one person; None when a suppressed identifier makes the call void.

        An identifier that already belongs to somebody else is left with its owner, as Customer.io does.
        """
        if self._is_blocked(id, email):
            return None
        number = self._owner(id, email, cio_id)
        if number is None:
            return self._create(id, email, cio_id)
        self._update(number, id, email)
        return number

    def delete(self, number: int) -> None:
        """Forget a person. A later identify makes a new one, in no segment."""
        id, email = self._known.pop(number)
        if id is not None:
            del self._by_id[id]
        if email is not None:
            del self._by_email[fold_email(email)]
        chosen = self._chosen_by_number.pop(number, None)
        if chosen is not None:
            del self._chosen[chosen]

    def block(self, id_type: IdType, value: str) -> int | None:
        """Suppress an identifier and every other one of its owner; returns the owner's number, deleted by now."""
        self._blocked.add(_block_key(id_type, value))
        number = self.find(id_type, value)
        if number is None:
            return None
        id, email = self._known[number]
        if id is not None:
            self._blocked.add(_block_key(IdType.ID, id))
        if email is not None:
            self._blocked.add(_block_key(IdType.EMAIL, email))
        self.delete(number)
        return number

    def unblock(self, id_type: IdType, value: str) -> None:
        """Free one suppressed identifier. The profile stays gone."""
        self._blocked.discard(_block_key(id_type, value))

    def blocked(self) -> list[tuple[IdType, str]]:
        """The suppressed identifiers, sorted."""
        return sorted(self._blocked)

    def _is_blocked(self, id: str | None, email: str | None) -> bool:
        if not self._blocked:
            return False
        return (id is not None and _block_key(IdType.ID, id) in self._blocked) or (
            email is not None and _block_key(IdType.EMAIL, email) in self._blocked
        )

    def _owner(self, id: str | None, email: str | None, cio_id: str | None) -> int | None:
        if cio_id is not None:
            return self._find_cio(cio_id, CioForm.BOTH)
        number = self._by_id.get(id) if id is not None else None
        if number is not None or email is None:
            return number
        number = self._by_email.get(fold_email(email))
        if number is not None and id is not None and self._known[number][0] is not None:
            return None  # the email is taken by somebody with another id: the newcomer goes without it
        return number

    def _create(self, id: str | None, email: str | None, cio_id: str | None) -> int:
        if id is not None and id in self._by_id:
            id = None
        if email is not None and fold_email(email) in self._by_email:
            email = None
        number = self._number_for(cio_id)
        self._known[number] = (id, email)
        if id is not None:
            self._by_id[id] = number
        if email is not None:
            self._by_email[fold_email(email)] = number
        return number

    def _update(self, number: int, id: str | None, email: str | None) -> None:
        old_id, old_email = self._known[number]
        if id is not None and old_id is None and id not in self._by_id:
            self._by_id[id] = number
            old_id = id
        if email is not None and self._by_email.get(fold_email(email), number) == number:
            if old_email is not None:
                del self._by_email[fold_email(old_email)]
            self._by_email[fold_email(email)] = number
            old_email = email
        self._known[number] = (old_id, old_email)

    def _number_for(self, cio_id: str | None) -> int:
        """A free number: the one the cio_id stands for if it has our form, else the next."""
        wanted = _number_in(cio_id) if cio_id is not None else None
        if wanted is not None and wanted >= self._next:
            self._next = wanted + 1
            return wanted
        number = self._next
        self._next += 1
        if cio_id is not None:
            self._chosen[cio_id] = number
            self._chosen_by_number[number] = cio_id
        return number

    def _find_cio(self, value: str, form: CioForm) -> int | None:
        if value.startswith(CIO_PREFIX):
            if form is CioForm.BARE:
                return None
            value = value.removeprefix(CIO_PREFIX)
        elif form is CioForm.PREFIXED:
            return None
        chosen = self._chosen.get(value)
        if chosen is not None:
            return chosen
        number = _number_in(value)
        if number is None or number not in self._known or number in self._chosen_by_number:
            return None
        return number


def _number_in(cio_id: str) -> int | None:
    """The number that a made cio_id stands for; None for any other text, even one that only differs in case."""
    if not cio_id.startswith(_CIO_STEM):
        return None
    try:
        number = int(cio_id[len(_CIO_STEM) :], 16)
    except ValueError:
        return None
    return number if number > 0 and cio_id == f"{_CIO_STEM}{number:06x}" else None


def _block_key(id_type: IdType, value: str) -> tuple[IdType, str]:
    return id_type, fold_email(value) if id_type is IdType.EMAIL else value
