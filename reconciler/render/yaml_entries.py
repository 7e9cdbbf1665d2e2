"""YAML that `segments` prints: spec entries for the segments that no spec manages, and exposures for dbt.

No entry of a spec can be applied as it is: its query is empty, which is refused until somebody has written one. An
exposure says what a model of dbt is used for, a segment each, in a file below `models/`.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Sequence

from reconciler.escaping import clean, escape_data
from reconciler.models.results import Management, Segments, WorkspaceSegment
from reconciler.models.spec import Segment, Spec
from reconciler.render.sentences import count

LONGEST_KEY = 60

_WORDS = frozenset(("y", "n", "yes", "no", "on", "off", "true", "false", "null"))
"""What YAML 1.1 or 1.2 reads as another value than a text."""


def write_scaffold(result: Segments) -> str:
    """Write an entry for each manual segment that no spec manages; each is identified by number, its title pinned."""
    free = [segment for segment in result.segments if segment.is_free]
    if not free:
        return "# Every manual segment is managed by a spec.\n"
    lines = [
        "# To paste below `segments:` of a spec, which is refused until each entry has its query, a SELECT of ids.",
        "# `reconcile refresh` takes over the people who are in a segment now.",
    ]
    taken = {*result.names, *(segment.name for segment in result.segments if segment.name)}
    workspace = None
    for segment in free:
        if len(result.workspaces) > 1 and segment.workspace != workspace:
            workspace = segment.workspace
            lines.append(f"# Workspace {clean(workspace)}")
        key = choose_key(segment, taken)
        taken.add(key)
        lines += [f"  {key}:", *(f"    {line}" for line in _write_entry(segment))]
    return "\n".join(lines) + "\n"


def choose_key(segment: WorkspaceSegment, taken: Iterable[str]) -> str:
    """Make the key of an entry from the title: not taken yet, and a text for every reader of YAML."""
    slug = re.sub(r"\W+", "_", segment.title.lower()).strip("_")[:LONGEST_KEY].strip("_")
    if not slug[:1].isalpha() or slug in _WORDS:
        slug = f"segment_{slug or segment.segment_id}"
    key = slug
    while key in taken:
        key = f"{key}_{segment.segment_id}"
    return key


def _write_entry(segment: WorkspaceSegment) -> list[str]:
    notes = [count(segment.people, "person").replace("persons", "people")] if segment.people is not None else []
    if segment.status is Management.ORPHAN:
        notes.append(f"left {clean(segment.spec or '')}, where it was {clean(segment.name or '')}")
    lines = [f"# {'; '.join(notes)}"] if notes else []
    lines.append(f"segment_id: {segment.segment_id}")
    if segment.title.strip() and segment.title.isprintable():
        # A string of JSON is one of YAML, too; a spec writes `$${` for the characters that begin a variable.
        title = escape_data(json.dumps(segment.title, ensure_ascii=False)).replace("${", "$${")
        lines.append(f"title: {title}")
    return [*lines, "query:"]


LONGEST_NAME = 100

_PLAIN_NAME = re.compile(r"[A-Za-z0-9]+(_[A-Za-z0-9]+)*")


def write_exposures(specs: Sequence[Spec]) -> str:
    """Write an exposure for each segment of a source that is a dbt project, retired ones left out."""
    lines = [
        "# Written by `reconcile segments --dbt-exposures`: write it anew when the spec has changed.",
        "version: 2",
    ]
    entries = [line for spec in specs for segment in spec.segments for line in _write_exposure(spec, segment)]
    return "\n".join([*lines, *(["exposures:", *entries] if entries else ["exposures: []"])]) + "\n"


def choose_name(workspace: str, name: str) -> str:
    """Make a name of letters, digits and _, as dbt wants it, from what stays when all else changes.

    A digest keeps names apart that would be written alike.
    """
    parts = [name] if workspace == "default" else [workspace, name]
    slug = "__".join(re.sub(r"[^A-Za-z0-9]+", "_", part).strip("_") for part in parts)[:LONGEST_NAME]
    if "__".join(parts) == slug and all(_PLAIN_NAME.fullmatch(part) for part in parts):
        return f"customerio_{slug}"
    return f"customerio_{slug}_{hashlib.sha256('/'.join(parts).encode()).hexdigest()[:8]}"


def _write_exposure(spec: Spec, segment: Segment) -> Iterable[str]:
    source = spec.sources.get(segment.source)
    if segment.retired or source is None or source.dbt is None:
        return
    yield f"  - name: {choose_name(spec.destination.workspace, segment.name)}"
    yield f"    label: {_quote_for_dbt(segment.segment or segment.title or segment.name)}"
    yield "    type: application"
    yield f"    description: {_quote_for_dbt(segment.description or f'The segment {segment.name} of Customer.io')}"
    if segment.model is not None:
        yield f"    depends_on: [{_quote_for_dbt(_write_ref(segment.model))}]"
    else:
        yield "    # It has a query, not a model: what it depends on is not known here."
    owner = segment.owner or f"not named in {spec.path.name}"
    kind = "email" if re.fullmatch(r"[^@\s]+@[^@\s]+", owner) else "name"
    yield f"    owner: {{{kind}: {_quote_for_dbt(owner)}}}"


def _write_ref(model: str) -> str:
    """Write `package.name.v2` as dbt refers to it."""
    match = re.fullmatch(r"(.*?)(?:\.v([^.]+))?", model)
    assert match is not None
    name, version = match[1], match[2]
    words = [f"'{part}'" for part in name.split(".")]
    if version:
        words.append(f"v={version}" if version.isdigit() else f"v='{version}'")
    return f"ref({', '.join(words)})"


def _quote_for_dbt(text: str) -> str:
    """A string of JSON is one of YAML, too; what would begin Jinja, which dbt reads in it, is pulled apart."""
    return escape_data(json.dumps(re.sub(r"\{(?=[{%#])", "{ ", text), ensure_ascii=False))
