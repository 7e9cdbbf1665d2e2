"""dbt's `target/manifest.json`: which relation of the database a model is.

A relation is that of the target with which dbt wrote the manifest. One of another target may hold other people, so a
model that does not stand where the source's target puts it is refused.
"""

import json
import re
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from reconciler.spec.dbt.connections import Connection
from reconciler.spec.dbt.profiles import Refused
from reconciler.spec.files import list_first, read_text
from reconciler.spec.yaml_reader import show

_VERSION = re.compile(r"https://schemas\.getdbt\.com/dbt/manifest/v([0-9]{1,3})\.json")
_OLDEST = 4
"""The manifest of dbt 1.0."""

_KINDS = ("model", "seed", "snapshot")
"""What `ref` of dbt finds."""

_ANEW = "write it anew with `dbt build`, or `dbt parse`, and this target"

_Node = Mapping[str, Any]


def read_manifest(path: Path, target: str) -> _Node:
    """Read a manifest. Raises Refused where there is none, or it can't be used."""
    command = f"`dbt parse --target {show(target)}` (or `dbt build`) in the project"
    if not path.is_file():
        raise Refused(f"needs dbt's manifest, and there is no {path}; run {command}")
    try:
        manifest = json.loads(read_text(path))
        version = _VERSION.fullmatch(manifest["metadata"]["dbt_schema_version"])
        nodes = manifest["nodes"]
    except (ValueError, KeyError, TypeError, RecursionError):
        manifest, version, nodes = None, None, None
    if not isinstance(manifest, dict) or version is None or not isinstance(nodes, dict):
        raise Refused(f"needs dbt's manifest, and {path} is none; run {command}")
    if int(version[1]) < _OLDEST:
        raise Refused(f"needs a manifest of dbt 1.0 or newer, and {path} has version {version[1]}; run {command}")
    return manifest


def find_relation(manifest: _Node, path: Path, name: str, connection: Connection, target: str) -> str:
    """Give the relation of a model as SQL: `name`, `package.name`, each also with `.vN`. Raises Refused."""
    metadata = manifest["metadata"]
    if metadata.get("adapter_type", connection.kind) != connection.kind:
        kind = show(str(metadata["adapter_type"]))
        raise Refused(f"is in a manifest for {kind} ({path}), and the target is {connection.kind}; {_ANEW}")
    node = _find_node(manifest, name)
    config = node.get("config")
    config = config if isinstance(config, dict) else {}
    if config.get("materialized") == "ephemeral":
        raise Refused("is ephemeral in dbt, which makes no table of it; make it a view or a table, or write a `query`")
    relation = node.get("relation_name")
    if not isinstance(relation, str) or not relation.strip():
        raise Refused(f"has no relation in {path}; {_ANEW}")
    _check_place(node, config, path, connection, target)
    return relation


def _find_node(manifest: _Node, name: str) -> _Node:
    """Find the node that `ref` of dbt finds: without a package that of the project, else the one that has the name."""
    nodes = [node for node in manifest["nodes"].values() if isinstance(node, dict) and _is_listed(node)]
    found = [node for node in nodes if name in _list_names(node)]
    own = [node for node in found if node.get("package_name") == manifest["metadata"].get("project_name")]
    if len(own) == 1 or len(found) == 1:
        return (own or found)[0] if len(own) == 1 else found[0]
    if found:
        listed = list_first(sorted(f"{node['package_name']}.{name}" for node in found))
        raise Refused(f"is the name of several models; write one of {listed}")
    disabled = manifest.get("disabled")
    entries = disabled.values() if isinstance(disabled, dict) else ()
    off = [node for entry in entries if isinstance(entry, list) for node in entry if isinstance(node, dict)]
    if any(name in _list_names(node) for node in off if _is_listed(node)):
        raise Refused("is disabled in dbt (`enabled: false`), so that nothing keeps its table up to date")
    names = [each for node in nodes for each in _list_names(node)]
    near = get_close_matches(name, names, n=1, cutoff=0.6)
    raise Refused(
        f"names no model of the dbt project{f'; did you mean `{show(near[0])}`?' if near else ''}"
        + ("" if near else f"; if it is new, {_ANEW}")
    )


def _is_listed(node: _Node) -> bool:
    return node.get("resource_type") in _KINDS and isinstance(node.get("name"), str)


def _list_names(node: _Node) -> list[str]:
    """List what a model may be called: a versioned one with its version, and the latest version without."""
    name, version = node["name"], node.get("version")
    names = [name] if version is None or version == node.get("latest_version") else []
    names += [] if version is None else [f"{name}.v{version}"]
    return [*names, *(f"{node.get('package_name')}.{each}" for each in names)]


def _check_place(node: _Node, config: _Node, path: Path, connection: Connection, target: str) -> None:
    """Refuse a relation that stands in another database or schema than this target puts it, as dbt names them.

    A custom schema follows that of the target, or stands alone where a project's `generate_schema_name` says so.
    """
    own = config.get("schema")
    schemas = [connection.schema, own, f"{connection.schema}_{own}"] if own else [connection.schema]
    databases = [connection.database] if connection.database and not config.get("database") else []
    for what, expected in (("schema", schemas), ("database", databases)):
        value = node.get(what)
        if node.get("resource_type") == "snapshot" and config.get(f"target_{what}"):
            continue
        if expected and isinstance(value, str) and value.lower() not in [str(each).lower() for each in expected]:
            raise Refused(
                f"stands in {what} `{show(value)}` in {path}, and target `{show(target)}` has "
                f"`{show(str(expected[0]))}`: the manifest seems to be of another target; {_ANEW} (or write a `query`)"
            )
