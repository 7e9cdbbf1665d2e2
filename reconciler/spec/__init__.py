"""The spec: from YAML files to the models of `reconciler.models.spec`, or to everything that is wrong at once.

Its JSON Schema is generated from the same models.
"""

import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from operator import attrgetter
from pathlib import Path
from typing import Any, TypeAlias

from pydantic.json_schema import GenerateJsonSchema

from reconciler.errors import SpecError, SpecProblem, UsageError
from reconciler.models.fields import REFERENCE, Duration, Limit, Secret, Unset, read_integer
from reconciler.models.ids import check_text
from reconciler.models.options import Options
from reconciler.models.spec import Defaults, GuardSettings, Notify, Ownership, Segment, Spec, SpecFile
from reconciler.models.titles import read_title
from reconciler.models.urls import UNKNOWN_URL, check_state_url, make_absolute, resolve_path
from reconciler.spec.checks import check_claims, check_sense, validate
from reconciler.spec.dbt import connect_sources
from reconciler.spec.draft import Draft, Needed, read_draft
from reconciler.spec.files import expand, list_first
from reconciler.spec.queries import check_queries

__all__ = ["DIALECT", "Needed", "find_entries", "list_patterns", "load", "make_schema", "read_state_url"]

_HINT = "Nothing was run. The keys of a spec are in docs/spec.md; `reconcile schema` gives them to an editor."

_Json: TypeAlias = dict[str, Any]

DIALECT = "https://json-schema.org/draft/2020-12/schema"

_REFERENCE_SCHEMA = {"type": "string", "pattern": REFERENCE}
_NULL_SCHEMA = {"type": "null"}
_DATA = ("default", "enum", "required", "not")
"""Words of JSON Schema with values that are no schemas (or, `not`, one to be left alone)."""


def load(paths: Sequence[str], environment: Mapping[str, str], needed: Needed = Needed.ALL) -> tuple[Spec, ...]:
    """Read every spec that `paths` name: files, folders (every *.yaml and *.yml below) and globs.

    A variable that is not `needed` and not set is an error of no value: the spec names it in `unset`.
    Raises UsageError where a path means no file, and SpecError with every problem of every file.
    """
    found = {path: read_draft(path, environment, needed, is_named=is_named) for path, is_named in expand(paths).items()}
    drafts = [draft for draft in found.values() if draft is not None]
    if not drafts:
        listed = list_first([str(path) for path in found])
        raise UsageError(
            f"These files list no segments: {listed}.",
            "Files that others extend are no specs; name one that extends them.",
        )
    readable = [draft for draft in drafts if draft.document.data is not None]
    dbt_sources = [connect_sources(draft, environment) for draft in readable]
    files = [validate(draft) for draft in readable]
    queries = [check_queries(draft, each) for draft, each in zip(readable, dbt_sources, strict=True)]
    for draft in readable:
        check_sense(draft)
    check_claims(readable)
    problems = sorted({problem for draft in drafts for problem in draft.problems})
    if problems:
        warnings = {warning for draft in drafts for several in draft.warnings.values() for warning in several}
        raise SpecError(problems, _HINT, sorted(warnings))
    _warn_of_unused([path for path, draft in found.items() if draft is None], readable)
    parts = zip(readable, files, queries, strict=True)
    specs = [_resolve(draft, file, texts) for draft, file, texts in parts if file is not None]
    # Specs that name one state have one setting of it: it must exist for all of them if it must for one.
    strict = {spec.state.url for spec in specs if spec.state.must_exist}
    # Their runs are in one history for each workspace: it is the longest that one of them asks for.
    longest: dict[tuple[Secret, str], Duration] = {}
    for spec in specs:
        place = spec.state.url, spec.destination.workspace
        longest[place] = max(spec.state.history, longest.get(place, spec.state.history), key=attrgetter("seconds"))
    shared = [
        {"must_exist": spec.state.url in strict, "history": longest[spec.state.url, spec.destination.workspace]}
        for spec in specs
    ]
    return tuple(
        spec.model_copy(update={"state": spec.state.model_copy(update=update)})
        for spec, update in zip(specs, shared, strict=True)
    )


def _warn_of_unused(others: Iterable[Path], drafts: Collection[Draft]) -> None:
    """Warn of files without segments that no spec extends: one that lost its segments looks the same."""
    if any(draft.lacks_base for draft in drafts):
        return
    used = {os.path.realpath(base) for draft in drafts for base in draft.document.bases}
    for path in others:
        if os.path.realpath(path) not in used:
            message = "`segments` is missing, and no spec here extends this file: it was passed over."
            warning = SpecProblem(str(path), 1, message)
            for draft in drafts:
                for _, name in draft.segments():
                    draft.warnings.setdefault(str(name), set()).add(warning)


def list_patterns(paths: Sequence[str]) -> list[str]:
    """List what selects the segments of specs, their names and `tag:NAME`, as far as they can be read.

    No variable is read. Raises UsageError where a path means no file.
    """
    names: list[str] = []
    tags: list[object] = []
    for path, is_named in expand(paths).items():
        draft = read_draft(path, {}, Needed.NONE, is_named=is_named)
        for where in [("defaults",), *draft.segments()] if draft else ():
            names += [str(name) for name in where[1:]]
            found = draft.value((*where, "tags")) if draft else None
            tags += found if isinstance(found, list) else []
    return list(
        dict.fromkeys([*names, *(f"tag:{tag}" for tag in tags if isinstance(tag, str) and not isinstance(tag, Unset))])
    )


def read_state_url(text: str, folder: Path) -> Secret:
    """Read a state's URL from a command line; a relative file is relative to `folder`. Raises UsageError."""
    try:
        return Secret(make_absolute(check_state_url(text), folder))
    except ValueError as error:
        raise UsageError(f"--to: {error}", "write sqlite:///file or postgresql://user:password@host/database") from None


def find_entries(
    path: Path, environment: Mapping[str, str], workspace: str, known: Mapping[int, tuple[str | None, str | None]]
) -> dict[int, str]:
    """Find the entries by which a spec lists segments that the state knows, and give their `file:line` by the number.

    `known` has the names and the titles of the state. A retired entry is none. One with a number that can't be read
    here lists the segment if it has its name, and so does one with another title: the segment may have been renamed.
    Raises SpecError where the file can't be read.
    """
    draft = read_draft(path, environment)
    if draft is None or draft.document.data is None:
        raise SpecError(sorted(draft.problems) if draft else [f"{path}: lists no segments"], _HINT)
    where = ("destination", "workspace")
    if where in draft.document.lines and not draft.is_refused(where) and draft.value(where) != workspace:
        return {}
    by_title = {read_title(title): number for number, (_, title) in known.items() if title is not None}
    by_name = {name: number for number, (name, _) in known.items() if name is not None}
    found: dict[int, str] = {}
    for segment in draft.segments():
        if draft.is_retired(segment):
            continue
        number, title = read_integer(draft.value((*segment, "segment_id"))), draft.value((*segment, "segment"))
        is_unreadable = draft.is_refused((*segment, "segment_id")) or draft.is_refused((*segment, "segment"))
        listed: set[object] = {number} if isinstance(number, int) else set()
        if isinstance(title, str):
            listed.add(by_title.get(read_title(title)))
        if is_unreadable or title is not None:
            listed.add(by_name.get(str(segment[1])))
        for each in known.keys() & listed:
            found.setdefault(each, f"{path}:{draft.document.line(segment)}")
    return found


def _resolve(draft: Draft, file: SpecFile, queries: Mapping[str, str]) -> Spec:
    """Give each segment what it inherits, and make the paths of files absolute. `queries` has the segments' texts."""
    document = draft.document

    def absolute(url: Secret, *where: str) -> Secret:
        """The default of a file is relative to the spec, whatever it extends."""
        folder = document.origin(where).folder if where in document.lines else document.folder
        return Secret(make_absolute(url.reveal(), folder))

    def find_files(options: Options, *where: str) -> Options:
        return options.with_paths(lambda place, name: str(resolve_path(name, document.origin((*where, *place)).folder)))

    def find_query_file(name: str) -> str | None:
        where = draft.setting(("segments", name), "query_file")
        if where is None or draft.is_refused(where):
            return None
        return str(resolve_path(str(draft.value(where)), document.origin(where).folder))

    def find_query_line(name: str) -> int:
        for key in ("query", "query_file", "model"):
            where = draft.setting(("segments", name), key)
            if where is not None:
                return document.line(where) if document.origin(where).path == document.path else 0
        return 0

    def find_source(name: str, chosen: str | None) -> str:
        where = draft.setting(("segments", name), "source")
        return "" if where and draft.is_refused(where) else chosen or next(iter(file.sources))

    segments = []
    for name, own in file.segments.items():
        keys = _inherit(own, file.defaults)
        guards = _inherit(own.guards, file.defaults.guards)
        if keys["retired"]:  # no guard applies to it, and it ignores what is for a query
            keys |= {"ownership": Ownership.TRACKED, "create": False}
            guards = _inherit(GuardSettings(), GuardSettings())
        sentinels = [str(check_text(text, keys["id_type"])) for text in guards["must_include"]]
        chosen = {key for key in ("query", "query_file", "model") if getattr(own, key) is not None}
        keys |= {
            "name": name,
            "segment_id": own.segment_id,
            "segment": own.segment,
            "title": own.title,
            "query": str(queries.get(name, "")),  # a retired segment has none
            "query_file": find_query_file(name) if chosen <= {"query_file"} and not keys["retired"] else None,
            "model": keys["model"] if chosen <= {"model"} and not keys["retired"] else None,
            "source": find_source(name, keys["source"]),
            "params": {**file.defaults.params, **own.params},
            "tags": tuple(dict.fromkeys([*file.defaults.tags, *own.tags])),
            "guards": GuardSettings(**(guards | {"must_include": tuple(dict.fromkeys(sentinels))})),
            "line": document.line(("segments", name)),
            "query_line": find_query_line(name),
            "warnings": tuple(sorted(draft.warnings.get(name, ()))),
        }
        segments.append(Segment(**keys))
    return Spec(
        path=document.path,
        extended=tuple(Path(os.path.realpath(path)) for path in document.bases),
        unset=tuple(sorted(draft.unset)),
        sources={
            name: source.model_copy(
                update={
                    "url": absolute(source.url, "sources", name, "url"),
                    "options": find_files(source.options, "sources", name, "options"),
                }
            )
            for name, source in file.sources.items()
            if source.url != Secret(UNKNOWN_URL) or source.dbt
        },
        destination=file.destination,
        state=file.state.model_copy(update={"url": absolute(file.state.url, "state", "url")}),
        notify=tuple(
            Notify(**vars(each), place=f"{document.origin(where).path}:{document.line(where)}")
            for at, each in enumerate(file.notify)
            for where in [("notify", at)]
        ),
        segments=tuple(segments),
    )


def _inherit(own: Defaults | GuardSettings, defaults: Defaults | GuardSettings) -> dict[str, Any]:
    """Give each setting of `defaults` as `own` has it, else as `defaults` do."""
    names = type(defaults).model_fields
    return {name: getattr(own if name in own.model_fields_set else defaults, name) for name in names}


# --- JSON Schema ---------------------------------------------------------------------------------------------------


class _Generator(GenerateJsonSchema):
    """Writes defaults as a user would: a limit as `25%`, a secret's default as its text."""

    def encode_default(self, dft: Any) -> Any:
        if isinstance(dft, Limit):
            return str(dft) if dft.percent is not None else dft.count
        return dft.reveal() if isinstance(dft, Secret) else super().encode_default(dft)


def make_schema() -> _Json:
    """Give the JSON Schema (draft 2020-12) of one spec file, with `${NAME}` allowed wherever a value stands.

    It holds for files that others extend, too, which list no segments and may leave out everything.
    """
    generated = SpecFile.model_json_schema(schema_generator=_Generator)
    definitions = generated["$defs"]
    destination = {"required": definitions["DestinationSettings"].pop("required")}
    definitions["SourceSettings"].pop("required")
    source = {"oneOf": [{"required": ["url"]}, {"required": ["dbt"]}]}
    whole = {"destination": destination, "sources": {"additionalProperties": source}}
    generated["anyOf"] = [
        {"required": generated.pop("required"), "properties": whole},
        {"required": ["segments", "extends"]},  # what it does not have, those that it extends may have
        {"not": {"required": ["segments"]}},
    ]
    return {"$schema": DIALECT, "title": "reconcile spec", **_tidy(generated)}


def _tidy(node: _Json) -> _Json:
    """Drop titles and nulls, and allow a reference in place of a number, a boolean or a fixed word."""
    tidied: _Json = {}
    for key, value in node.items():
        if key == "title" or (key, value) == ("default", None):
            continue
        if key in ("properties", "$defs"):
            tidied[key] = {name: _tidy(child) for name, child in value.items()}
        elif isinstance(value, dict) and key not in _DATA:
            tidied[key] = _tidy(value)
        elif key == "anyOf":  # one choice of nested ones; a key that may be left out is not one that may be null
            choices = [inner for choice in map(_tidy, value) for inner in choice.get("anyOf", [choice])]
            tidied[key] = [choice for choice in choices if choice != _NULL_SCHEMA]
        else:
            tidied[key] = value
    if len(tidied.get("anyOf", ())) == 1:
        tidied = {**tidied.pop("anyOf")[0], **tidied}
    if tidied.get("type") not in ("integer", "number", "boolean") and not {"enum", "const"} & set(tidied):
        return tidied
    outside: _Json = {key: tidied.pop(key) for key in ("description", "default") if key in tidied}
    return {**outside, "anyOf": [tidied, _REFERENCE_SCHEMA]}
