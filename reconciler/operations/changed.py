"""`--select git:REF`: the segments of specs that a pull request changes, compared before variables are resolved."""

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from reconciler.errors import UsageError
from reconciler.git import WorkTree, find_work_tree
from reconciler.models.spec import STDIN, Segment, Spec
from reconciler.spec.yaml_reader import Malformed, parse

SHARED = ("extends", "destination", "state", "defaults")
"""The keys of a spec that are about each of its segments."""


def find_changed(specs: Iterable[Spec], ref: str) -> frozenset[tuple[Path, str]]:
    """Find the segments that differ between a commit and the work tree: the path of the spec, and the name.

    What counts: the entry, `defaults`, `extends`, `destination`, `state` and the segment's source as values; its query
    file and the files that the spec extends as text. What git can't tell counts as changed: a spec or file that is new,
    has another name, or is no part of the work tree. Raises UsageError for an unknown commit, and outside git.
    """
    return frozenset((spec.path, segment.name) for spec in specs for segment in _find_in_spec(spec, ref))


def _find_in_spec(spec: Spec, ref: str) -> Sequence[Segment]:
    tree = None if spec.path == STDIN else find_work_tree(spec.path)
    if tree is None:
        raise UsageError(
            f"git:{ref}: {spec.path} is in no git work tree", "run it in the clone of the specs, or select by name"
        )
    queries = (Path(segment.query_file) for segment in spec.segments if segment.query_file is not None)
    named = {path: _path_in(tree, path) for path in (spec.path, *spec.extended, *queries)}
    then = tree.read(tree.resolve(ref), sorted({path for path in named.values() if path is not None}))

    def is_changed(path: Path) -> bool:
        name = named[path]
        return name is None or name not in then or _normalise(then[name]) != _normalise(path.read_bytes())

    before, now = (_read_values(spec.path, text) for text in (then.get(named[spec.path] or ""), spec.path.read_bytes()))
    if before is None or now is None or any(map(is_changed, spec.extended)):
        return spec.segments
    if any(_write(now, key) != _write(before, key) for key in SHARED):
        return spec.segments
    return [
        segment
        for segment in spec.segments
        if _write(now, "segments", segment.name) != _write(before, "segments", segment.name)
        or _write(now, "sources", segment.source) != _write(before, "sources", segment.source)
        or (segment.query_file is not None and is_changed(Path(segment.query_file)))
    ]


def _path_in(tree: WorkTree, path: Path) -> str | None:
    """Give a path from the top, links as they are: a link that leads elsewhere now is a change; None: not in it."""
    for each in (os.path.abspath(path), os.path.realpath(path)):  # noqa: PTH100 (`resolve` follows links)
        if Path(each).is_relative_to(tree.top):
            return tree.path_of(Path(each))
    return None


def _normalise(content: bytes) -> bytes:
    """A checkout may write other line ends than the commit has."""
    return content.replace(b"\r\n", b"\n")


def _read_values(path: Path, content: bytes | None) -> dict[str, object] | None:
    """Give a spec's values as they are written; None where there is none, or it can't be read."""
    try:
        data = None if content is None else parse(path, content.decode("utf-8-sig")).data
    except (UnicodeDecodeError, Malformed):
        return None
    return data if isinstance(data, dict) else None


def _write(values: dict[str, object], *keys: str) -> str:
    """Write a value so that `1`, `1.0` and `true` differ, and the order of keys does not count."""
    value: object = values
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return json.dumps(value, sort_keys=True, default=repr)
