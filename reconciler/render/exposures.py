"""Exposures for dbt: what its models are used for, a segment each, as YAML for a file below `models/`."""

import hashlib
import json
import re
from collections.abc import Iterable, Sequence

from reconciler.escaping import escape_data
from reconciler.models.spec import Segment, Spec

LONGEST_NAME = 100

_PLAIN = re.compile(r"[A-Za-z0-9]+(_[A-Za-z0-9]+)*")


def write_exposures(specs: Sequence[Spec]) -> str:
    """Write an exposure for each segment of a source that is a dbt project, retired ones left out."""
    lines = [
        "# Written by `reconcile segments --dbt-exposures`: write it anew when the spec has changed.",
        "version: 2",
    ]
    entries = [line for spec in specs for segment in spec.segments for line in _write_entry(spec, segment)]
    return "\n".join([*lines, *(["exposures:", *entries] if entries else ["exposures: []"])]) + "\n"


def choose_name(workspace: str, name: str) -> str:
    """Make a name of letters, digits and _, as dbt wants it, from what stays when all else changes.

    A digest keeps names apart that would be written alike.
    """
    parts = [name] if workspace == "default" else [workspace, name]
    slug = "__".join(re.sub(r"[^A-Za-z0-9]+", "_", part).strip("_") for part in parts)[:LONGEST_NAME]
    if "__".join(parts) == slug and all(_PLAIN.fullmatch(part) for part in parts):
        return f"customerio_{slug}"
    return f"customerio_{slug}_{hashlib.sha256('/'.join(parts).encode()).hexdigest()[:8]}"


def _write_entry(spec: Spec, segment: Segment) -> Iterable[str]:
    source = spec.sources.get(segment.source)
    if segment.retired or source is None or source.dbt is None:
        return
    yield f"  - name: {choose_name(spec.destination.workspace, segment.name)}"
    yield f"    label: {_quote(segment.segment or segment.title or segment.name)}"
    yield "    type: application"
    yield f"    description: {_quote(segment.description or f'The segment {segment.name} of Customer.io')}"
    if segment.model is not None:
        yield f"    depends_on: [{_quote(_write_ref(segment.model))}]"
    else:
        yield "    # It has a query, not a model: what it depends on is not known here."
    owner = segment.owner or f"not named in {spec.path.name}"
    kind = "email" if re.fullmatch(r"[^@\s]+@[^@\s]+", owner) else "name"
    yield f"    owner: {{{kind}: {_quote(owner)}}}"


def _write_ref(model: str) -> str:
    """Write `package.name.v2` as dbt refers to it."""
    match = re.fullmatch(r"(.*?)(?:\.v([^.]+))?", model)
    assert match is not None
    name, version = match[1], match[2]
    words = [f"'{part}'" for part in name.split(".")]
    if version:
        words.append(f"v={version}" if version.isdigit() else f"v='{version}'")
    return f"ref({', '.join(words)})"


def _quote(text: str) -> str:
    """A string of JSON is one of YAML, too; what would begin Jinja, which dbt reads in it, is pulled apart."""
    return escape_data(json.dumps(re.sub(r"\{(?=[{%#])", "{ ", text), ensure_ascii=False))
