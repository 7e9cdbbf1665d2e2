"""dbt: a source is a target of `profiles.yml`, and a query is a model of `manifest.json`.

Both become what a spec could say itself: `url` and `options`, and a query. So all that follows knows no dbt.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from reconciler.models.fields import Unset
from reconciler.models.urls import UNKNOWN_URL, resolve_path
from reconciler.spec.dbt.connections import Connection, connect
from reconciler.spec.dbt.manifest import find_relation, read_manifest
from reconciler.spec.dbt.profiles import Output, Refused, read_output, read_project
from reconciler.spec.draft import Draft, Needed
from reconciler.spec.yaml_reader import KeyPath, show

__all__ = ["DbtSource", "connect_sources", "find_model"]


@dataclass
class DbtSource:
    """A source that names a dbt project; `found` is None where it could not be read, which is in the draft."""

    found: tuple[Output, Connection] | None = None
    manifest: Mapping[str, object] | None = field(default=None, repr=False)


def connect_sources(draft: Draft, environment: Mapping[str, str]) -> dict[str, DbtSource]:
    """Give each source that has `dbt` the URL and the options of its target; the source's own options win.

    What is wrong is noted in the draft; where no source is needed, it is noted as unset.
    """
    found: dict[str, DbtSource] = {}
    for name in draft.keys(("sources",)):
        where: KeyPath = ("sources", name)
        if "dbt" not in draft.keys(where):
            continue
        found[name] = DbtSource()
        if "url" in draft.keys(where):
            draft.refuse_key((*where, "url"), "stands next to `dbt`; exactly one of them is needed")
            continue
        _put(draft, (*where, "url"), UNKNOWN_URL)
        read = _read(draft, (*where, "dbt"), environment)
        if read is not None:
            found[name].found = read
            own = draft.value((*where, "options"))
            if own is None or isinstance(own, dict):
                _put(draft, (*where, "options"), {**read[1].options, **(own or {})})
            _put(draft, (*where, "url"), read[1].url)
    return found


def find_model(draft: Draft, where: KeyPath, source: str | None, sources: Mapping[str, DbtSource]) -> str | None:
    """Give the query of a model: all of its relation; None where it can't be had, which is noted as of a source."""
    name = draft.value(where)
    if not isinstance(name, str) or not name or draft.is_refused(where):
        return None
    if source is None or source not in sources:
        shown = f"source `{show(source)}`" if source else "its source"
        draft.refuse_value(where, f"names a model of dbt, and {shown} has no `dbt`; give it that, or write a `query`")
        return None
    dbt = sources[source]
    if dbt.found is None:
        return None
    output, connection = dbt.found
    path = output.project.manifest
    # Told once for all models: what is wrong with the manifest is said of the source.
    place: KeyPath = ("sources", source, "dbt", "project")
    try:
        dbt.manifest = dbt.manifest or read_manifest(path, output.target)
        place = where
        return f"SELECT * FROM {find_relation(dbt.manifest, path, name, connection, output.target)}"
    except Refused as problem:
        _note(draft, place, problem, f"dbt's manifest of {source}")
        return None


def _read(draft: Draft, where: KeyPath, environment: Mapping[str, str]) -> tuple[Output, Connection] | None:
    folder, target = draft.value((*where, "project")), draft.value((*where, "target"))
    if not isinstance(folder, str) or not folder or isinstance(folder, Unset) or isinstance(target, Unset):
        return None
    if draft.is_refused((*where, "project")) or not isinstance(target, str | None):
        return None
    try:
        place = resolve_path(folder, draft.document.origin((*where, "project")).folder)
        output = read_output(read_project(place, environment), target, environment)
        return output, connect(output)
    except Refused as problem:
        _note(draft, (*where, "project"), problem, problem.variable or f"dbt's profile of {where[1]}")
    except ValueError as error:
        draft.refuse_value((*where, "project"), str(error))
    return None


def _note(draft: Draft, where: KeyPath, problem: Refused, unset: str) -> None:
    if draft.needed is not Needed.ALL:
        draft.unset.add(unset)
    elif problem.path is None:
        draft.refuse_value(where, problem.message)
    else:
        draft.add_problem(problem.line, problem.message, problem.path)


def _put(draft: Draft, where: KeyPath, value: object) -> None:
    """Set a value of a draft; the mappings on the way are made anew."""

    def put(inner: object, steps: KeyPath) -> object:
        if not steps:
            return value
        mapping = inner if isinstance(inner, dict) else {}
        return {**mapping, steps[0]: put(mapping.get(steps[0]), steps[1:])}

    draft.document = replace(draft.document, data=put(draft.document.data, where))
