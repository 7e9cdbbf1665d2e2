"""The spec: from YAML files to frozen values, or to everything that is wrong with them at once."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from reconciler.errors import SpecError, UsageError
from reconciler.models.spec import Secret, Spec
from reconciler.spec.building import build
from reconciler.spec.checks import check_claims, check_sense
from reconciler.spec.draft import read
from reconciler.spec.files import expand
from reconciler.spec.shape import fit

__all__ = ["load", "read_state_url", "reference", "refresh_reference", "schema"]

_HINT = "Nothing was run. The keys of a spec are in docs/spec.md; `reconcile schema` gives them to an editor."


def load(paths: Sequence[str], environment: Mapping[str, str]) -> tuple[Spec, ...]:
    """Read every spec that `paths` name: files, folders (every *.yaml and *.yml below) and globs.

    Raises UsageError where a path means no file, and SpecError with every problem of every file.
    """
    drafts = [read(path, environment) for path in expand(paths)]
    readable = [draft for draft in drafts if draft.document.data is not None]
    files = [fit(draft) for draft in readable]
    queries = [check_sense(draft) for draft in readable]
    check_claims(readable)
    problems = sorted({problem for draft in drafts for problem in draft.problems})
    if problems:
        raise SpecError([str(problem) for problem in problems], _HINT)
    built = [
        build(draft.document, file, texts, draft.warnings)
        for draft, file, texts in zip(readable, files, queries, strict=True)
        if file
    ]
    return tuple(_agree_on_states(built))


def _agree_on_states(specs: Sequence[Spec]) -> Iterator[Spec]:
    """Give specs that name one state one setting of it: it must exist for all of them if it must for one."""
    strict = {spec.state.url for spec in specs if spec.state.must_exist}
    for spec in specs:
        yield replace(spec, state=replace(spec.state, must_exist=spec.state.url in strict))


def read_state_url(text: str, folder: Path) -> Secret:
    """Read a state's URL from a command line; a relative file is relative to `folder`. Raises UsageError."""
    from reconciler.models.urls import check_state_url, make_absolute

    try:
        return Secret(make_absolute(check_state_url(text), folder))
    except ValueError as error:
        raise UsageError(f"--to: {error}", "write sqlite:///file or postgresql://user:password@host/database") from None


def schema() -> dict[str, Any]:
    """Give the JSON Schema (draft 2020-12) of one spec file."""
    from reconciler.spec.schema import make_schema

    return make_schema()


def reference() -> str:
    """Give the reference of the keys as Markdown."""
    from reconciler.spec.schema import write_reference

    return write_reference()


def refresh_reference(page: str) -> str:
    """Give docs/spec.md with the reference between its markers written anew.

    Raises ValueError if the page has no markers.
    """
    from reconciler.spec.schema import refresh

    return refresh(page)
