"""From the models of a sound spec to the values that everything else works with."""

from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from typing import Any

from reconciler.models.ids import IdType, check_text
from reconciler.models.spec import (
    DestinationSettings,
    GuardSettings,
    OnBad,
    Ownership,
    Region,
    Secret,
    Segment,
    SourceSettings,
    Spec,
    StateSettings,
)
from reconciler.models.urls import make_absolute, resolve_path
from reconciler.spec import models
from reconciler.spec.document import Document
from reconciler.spec.problems import Problem


def build(
    document: Document,
    file: models.SpecFile,
    queries: Mapping[str, str],
    warnings: Mapping[str, Set[Problem]],
) -> Spec:
    """Give the spec. `queries` has the text of each segment's query, `warnings` what to say of a segment."""
    folder = document.folder
    sources = {name: SourceSettings(name, _anchor(source.url, folder)) for name, source in file.sources.items()}
    return Spec(
        path=document.path,
        sources=sources,
        destination=_build_destination(file.destination),
        state=StateSettings(_anchor(file.state.url, folder), file.state.must_exist),
        segments=tuple(
            _build_segment(name, segment, file, queries[name], document, sorted(warnings.get(name, ())))
            for name, segment in file.segments.items()
        ),
    )


def _anchor(url: Secret, folder: Path) -> Secret:
    return Secret(make_absolute(url.reveal(), folder))


def _build_destination(said: models.Destination) -> DestinationSettings:
    return DestinationSettings(**{**dict(said), "region": Region(said.region)})


def _build_segment(
    name: str, own: models.Segment, file: models.SpecFile, query: str, document: Document, warnings: Sequence[Problem]
) -> Segment:
    said = _inherit(own, file.defaults)
    id_type = IdType(said["id_type"])
    file_name = None if own.query is not None else said["query_file"]
    return Segment(
        name=name,
        segment_id=own.segment_id,
        query=str(query),
        source=said["source"] or next(iter(file.sources)),
        id_type=id_type,
        description=said["description"],
        query_file=resolve_path(file_name, document.folder) if file_name else None,
        params={**file.defaults.params, **own.params},
        id_column=said["id_column"],
        tags=tuple(dict.fromkeys([*file.defaults.tags, *own.tags])),
        ownership=Ownership(said["ownership"]),
        confirm=said["confirm"],
        nulls=OnBad(said["nulls"]),
        invalid=OnBad(said["invalid"]),
        guards=_build_guards(own.guards, file.defaults.guards, id_type),
        line=document.line(("segments", name)),
        warnings=tuple(map(str, warnings)),
    )


def _build_guards(own: models.Guards, defaults: models.Guards, id_type: IdType) -> GuardSettings:
    said = _inherit(own, defaults)
    sentinels = (str(check_text(text, id_type)) for text in said.pop("must_include"))
    return GuardSettings(**said, must_include=tuple(dict.fromkeys(sentinels)))


def _inherit(own: models.Defaults | models.Guards, defaults: models.Defaults | models.Guards) -> dict[str, Any]:
    """Give each setting as `own` says it, else as `defaults` do; own keys that can't be inherited are left out."""
    names = type(defaults).model_fields
    return {name: getattr(own if name in own.model_fields_set else defaults, name) for name in names}
