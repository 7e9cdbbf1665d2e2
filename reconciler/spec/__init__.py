"""The spec: from YAML files to the models of `reconciler.models.spec`, or to everything that is wrong at once."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from reconciler.errors import SpecError, UsageError
from reconciler.models.fields import Secret
from reconciler.models.ids import check_text
from reconciler.models.spec import Defaults, GuardSettings, Segment, Spec, SpecFile
from reconciler.models.urls import check_state_url, make_absolute, resolve_path
from reconciler.spec.checks import check_claims, check_sense, validate
from reconciler.spec.files import expand
from reconciler.spec.problems import Draft, read_draft

__all__ = ["load", "read_state_url"]

_HINT = "Nothing was run. The keys of a spec are in docs/spec.md; `reconcile schema` gives them to an editor."


def load(paths: Sequence[str], environment: Mapping[str, str]) -> tuple[Spec, ...]:
    """Read every spec that `paths` name: files, folders (every *.yaml and *.yml below) and globs.

    Raises UsageError where a path means no file, and SpecError with every problem of every file.
    """
    drafts = [read_draft(path, environment) for path in expand(paths)]
    readable = [draft for draft in drafts if draft.document.data is not None]
    files = [validate(draft) for draft in readable]
    queries = [check_sense(draft) for draft in readable]
    check_claims(readable)
    problems = sorted({problem for draft in drafts for problem in draft.problems})
    if problems:
        raise SpecError([str(problem) for problem in problems], _HINT)
    parts = zip(readable, files, queries, strict=True)
    specs = [_resolve(draft, file, texts) for draft, file, texts in parts if file is not None]
    # Specs that name one state have one setting of it: it must exist for all of them if it must for one.
    strict = {spec.state.url for spec in specs if spec.state.must_exist}
    return tuple(
        spec.model_copy(update={"state": spec.state.model_copy(update={"must_exist": spec.state.url in strict})})
        for spec in specs
    )


def read_state_url(text: str, folder: Path) -> Secret:
    """Read a state's URL from a command line; a relative file is relative to `folder`. Raises UsageError."""
    try:
        return Secret(make_absolute(check_state_url(text), folder))
    except ValueError as error:
        raise UsageError(f"--to: {error}", "write sqlite:///file or postgresql://user:password@host/database") from None


def _resolve(draft: Draft, file: SpecFile, queries: Mapping[str, str]) -> Spec:
    """Give each segment what it inherits, and make the paths of files absolute. `queries` has the segments' texts."""
    document = draft.document

    def absolute(url: Secret) -> Secret:
        return Secret(make_absolute(url.reveal(), document.folder))

    segments = []
    for name, own in file.segments.items():
        keys = _inherit(own, file.defaults)
        guards = _inherit(own.guards, file.defaults.guards)
        sentinels = [str(check_text(text, keys["id_type"])) for text in guards["must_include"]]
        keys |= {
            "name": name,
            "segment_id": own.segment_id,
            "query": str(queries[name]),
            "query_file": None if own.query is not None else str(resolve_path(keys["query_file"], document.folder)),
            "source": keys["source"] or next(iter(file.sources)),
            "params": {**file.defaults.params, **own.params},
            "tags": tuple(dict.fromkeys([*file.defaults.tags, *own.tags])),
            "guards": GuardSettings(**(guards | {"must_include": tuple(dict.fromkeys(sentinels))})),
            "line": document.line(("segments", name)),
            "warnings": tuple(map(str, sorted(draft.warnings.get(name, ())))),
        }
        segments.append(Segment(**keys))
    return Spec(
        path=document.path,
        sources={
            name: source.model_copy(update={"url": absolute(source.url)}) for name, source in file.sources.items()
        },
        destination=file.destination,
        state=file.state.model_copy(update={"url": absolute(file.state.url)}),
        segments=tuple(segments),
    )


def _inherit(own: Defaults | GuardSettings, defaults: Defaults | GuardSettings) -> dict[str, Any]:
    """Give each setting of `defaults` as `own` has it, else as `defaults` do."""
    names = type(defaults).model_fields
    return {name: getattr(own if name in own.model_fields_set else defaults, name) for name in names}
