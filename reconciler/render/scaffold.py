"""Spec entries for the segments that no spec manages: YAML to paste below `segments:`.

No entry can be applied as it is: its query is empty, which is refused until somebody has written one.
"""

import json
import re
from collections.abc import Iterable

from reconciler.escaping import clean, escape_data
from reconciler.models.results import Management, Segments, WorkspaceSegment
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
