"""Every way a spec can be wrong: what is reported, and for which line. Line 4 is the first after the usual head."""

# ruff: noqa: E501 (tables: one situation a line)

from pathlib import Path

import pytest
import yaml

from reconciler.errors import ExitCode, SpecError
from reconciler.spec import load, yaml_reader

SEGMENT = "segments: {a: {segment_id: 1, query: x}}\n"


def problems_of(name: str, environment: dict[str, str] | None = None) -> list[str]:
    with pytest.raises(SpecError) as caught:
        load([name], environment or {})
    assert caught.value.exit_code is ExitCode.USAGE
    assert caught.value.hint
    return caught.value.problems


def segment(*lines: str) -> str:
    """A segment with own lines that begin on line 7."""
    return "segments:\n  a:\n    segment_id: 1\n" + "".join(f"    {line}\n" for line in lines)


UNREADABLE = {
    "an empty file": ("", 1, "The file is empty"),
    "only a comment": ("# nothing\n", 1, "The file is empty"),
    "only a document start": ("---\n", 1, "The file is empty"),
    "a list": ("- a\n- b\n", 1, "A spec is a mapping"),
    "a text": ("hello\n", 1, "A spec is a mapping"),
    "two documents": ("version: 1\n---\nversion: 1\n", 2, "A second document begins here"),
    "a tab for an indent": ("version: 1\nsources:\n\ta: b\n", 3, "A tab stands before the text"),
    "a tab between blanks": ("version: 1\nsources:\n  a: 1\n \tb: 2\n", 4, "A tab stands before the text"),
    "a tab before an entry": ("version: 1\nkey:\n  - a\n\t- b\n", 4, "A tab stands before the text"),
    "a colon too many": ("version: 1\nsources: a: b\n", 2, "not YAML: mapping values are not allowed"),
    "an open quote": ("version: 1\nsources: 'a\n\n\n", 2, "not YAML"),
    "an open bracket": ("version: 1\nsources: [a\nstate: x\n", 3, "not YAML"),
    "a bare reference in braces": ("version: 1\nsources: {w: {url: ${URL}}}\n", 2, "a ${NAME} must stand in quotes"),
    "a control character": ("version: 1\n# \x07\n", 2, "holds a control character"),
    "an alias without an anchor": ("version: 1\nstate: *x\n", 2, "a text that begins with * must stand in quotes"),
    "an alias to itself": ("version: 1\nstate: &x [*x]\n", 2, "An alias (*) without its anchor"),
    "a bomb of aliases": (
        "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 9)),
        1,
        "Aliases (*) repeat more than 100,000 values",
    ),
    "brackets without end": ("[" * 100_000, 1, "deeper than 20 levels"),
    "depth by aliases": (
        "a0: &a0 [[[[[[x]]]]]]\n" + "".join(f"a{n}: &a{n} [[[[[[*a{n - 1}]]]]]]\n" for n in range(1, 9)),
        1,
        "deeper than 20 levels",
    ),
}  # fmt: skip


@pytest.mark.parametrize("situation", UNREADABLE)
def test_a_file_that_cannot_be_read_on_says_where_and_nothing_else(write, situation):
    text, line, words = UNREADABLE[situation]

    (problem,) = problems_of(write(text))

    assert problem.startswith(f"spec.yaml:{line}: ")
    assert words in problem


HEADS = {
    "version missing": ("sources: {w: {url: 'sqlite:///x'}}\ndestination: {site_id: s, api_key: k}\n", ["1: `version` is missing."]),
    "another version": ("version: 2\nsources: {w: {url: 'sqlite:///x'}}\ndestination: {site_id: s, api_key: k}\n", ["1: `version` must be 1."]),
    "a version in quotes": ("version: '1'\nsources: {w: {url: 'sqlite:///x'}}\ndestination: {site_id: s, api_key: k}\n", ["1: `version` must be 1, not '1'."]),
    "no sources": ("version: 1\nsources: {}\ndestination: {site_id: s, api_key: k}\n", ["2: `sources` must not be empty."]),
    "sources missing": ("version: 1\ndestination: {site_id: s, api_key: k}\n", ["1: `sources` is missing."]),
    "destination missing": ("version: 1\nsources: {w: {url: 'sqlite:///x'}}\n", ["1: `destination` is missing."]),
    "sources as a list": ("version: 1\nsources: [w]\ndestination: {site_id: s, api_key: k}\n", ["2: `sources` must be a mapping of keys to values."]),
    "a source as a text": ("version: 1\nsources: {w: 'sqlite:///x'}\ndestination: {site_id: s, api_key: k}\n", ["2: `sources.w` must be a mapping of keys to values."]),
    "a source compared elsewhere": ("version: 1\nsources:\n  w: {url: 'sqlite:///x', compare: push}\ndestination: {site_id: s, api_key: k}\n", ["3: `sources.w.compare` must be auto or local or pushdown, not 'push'; did you mean `pushdown`?"]),
    "a source without url": ("version: 1\nsources:\n  w: {}\ndestination: {site_id: s, api_key: k}\n", ["3: `sources.w.url` is missing."]),
}  # fmt: skip


@pytest.mark.parametrize("situation", HEADS)
def test_a_head_that_is_wrong(write, situation):
    text, expected = HEADS[situation]

    assert problems_of(write(text + SEGMENT)) == [f"spec.yaml:{problem}" for problem in expected]


def test_a_key_of_a_dbt_project_that_is_unknown(write):
    text = "version: 1\nsources:\n  w: {dbt: {project: p, projct: x}}\ndestination: {site_id: s, api_key: k}\n"

    first, _ = problems_of(write(text + SEGMENT))

    assert first == "spec.yaml:3: `sources.w.dbt.projct` is not a known key; did you mean `project`?"


WEBHOOKS = {
    "url: 5": "`url` of entry 1 of `notify` must be a text; put it in quotes.",
    "url: hooks.example.com/hidden": "`url` of entry 1 of `notify` must be an http:// or https:// URL.",
    "url: http://hooks.example.com/hidden": "`url` of entry 1 of `notify` must be https://: the address is a secret "
    "(http:// is for this machine only).",
    "url: https://hidden:hidden@h/x": "`url` of entry 1 of `notify` must not hold a user or a password.",
    "url: 'https://h/hidden#x'": "`url` of entry 1 of `notify` holds white space, a # or another character that no "
    "address of a webhook has.",
    "url: 'https:///hidden'": "`url` of entry 1 of `notify` names no host.",
    "{}": "`url` of entry 1 of `notify` is missing.",
    "{url: 'https://h/x', whem: x}": "`whem` of entry 1 of `notify` is not a known key; did you mean `when`?",
    "{url: 'https://h/x', format: slak}": "`format` of entry 1 of `notify` must be slack or json, not 'slak'; did you mean "
    "`slack`?",
    "{url: 'https://h/x', when: never}": "`when` of entry 1 of `notify` must be always, or a list of statuses, such as "
    "[blocked, failed, partial, drifted].",
    "{url: 'https://h/x', when: [broken]}": "`when` of entry 1 of `notify` must be always, or list one or more of blocked, "
    "failed, partial, drifted, stale, locked, paused, applied, unchanged, refreshed, in_sync.",
}


@pytest.mark.parametrize("entry", WEBHOOKS)
def test_a_webhook_that_is_wrong(write, head, entry):
    (problem,) = problems_of(write(f"{head}notify:\n  - {entry}\n{SEGMENT}"))

    assert problem == f"spec.yaml:5: {WEBHOOKS[entry]}"
    assert "hidden" not in problem


TAILS = {
    "segments missing": ("", ["1: `segments` is missing."]),
    "no segments": ("segments: {}\n", ["4: `segments` must not be empty."]),
    "segments without a body": ("segments:\n", ["4: `segments` has no value; give it one, or leave the key out."]),
    "a pin without a value in a segment called params": ("segments:\n  params:\n    segment_id: 1\n    title:\n    query: x\n", ["7: `segments.params.title` has no value; give it one, or leave the key out."]),
    "a segment without a body": ("segments:\n  a:\n", ["5: `segments.a` has no value; give it one, or leave the key out."]),
    "an unknown key at the top": (SEGMENT + "segment: {}\n", ["5: `segment` is not a known key; did you mean `segments`?"]),
    "an unknown key that resembles nothing": (SEGMENT + "zzz: {}\n", ["5: `zzz` is not a known key."]),
    "an unknown key in a segment": (segment("querry: y", "query: x"), ["7: `segments.a.querry` is not a known key; did you mean `query`?"]),
    "an unknown key in guards": (segment("query: x", "guards:", "  max_removal: 3"), ["9: `segments.a.guards.max_removal` is not a known key; did you mean `max_removals`?"]),
    "an unknown key in defaults' guards": ("defaults: {guards: {min_member: 3}}\n" + SEGMENT, ["4: `defaults.guards.min_member` is not a known key; did you mean `min_members`?"]),
    "an unknown key in the state": ("state: {path: x}\n" + SEGMENT, ["4: `state.path` is not a known key."]),
    "a merge key": (segment("query: x", "<<: {nulls: skip}"), ["8: Merge keys (<<) are not read; put what segments share into `defaults`."]),
    "a tag": (segment("query: !sql x"), ["7: Tags (!) are not read; a text that begins with ! must stand in quotes."]),
    "a key that is a list": (segment("query: x", "? [b]", ": c"), ["8: A key must be a plain text."]),
    "a duplicate key": (segment("query: x", "tags: []", "query: y"), ["9: The key `query` stands twice; the first is on line 7."]),
    "a duplicate segment": (SEGMENT.replace("}}", "}, a: {segment_id: 2, query: y}}"), ["4: The key `a` stands twice; the first is on line 4."]),
    "no query": (segment("nulls: skip"), ["5: `segments.a` has no query; give it `query`, `query_file` or `model`."]),
    "an empty query": (segment("query: ' '"), ["7: `segments.a.query` must not be empty."]),
    "a query with a control character": (segment('query: "a\\x00"'), ["7: `segments.a.query` holds a control character."]),
    "a query that is no text": (segment("query: 1"), ["7: `segments.a.query` must be a text; put it in quotes."]),
    "query and query_file": (segment("query: x", "query_file: q.sql"), ["8: `segments.a.query_file` stands next to `query`; exactly one of them is needed."]),
    "a query_file that is missing": (segment("query_file: q.sql"), ["7: `segments.a.query_file` names a file that does not exist (its path is relative to the spec)."]),
    "a query_file that is a folder": (segment("query_file: folder"), ["7: `segments.a.query_file` names a file that is a folder, not a plain file (its path is relative to the spec)."]),
    "a query_file that is empty": (segment("query_file: empty.sql"), ["7: `segments.a.query_file` names a file that is empty."]),
    "a query_file in another encoding": (segment("query_file: latin1.sql"), ["7: `segments.a.query_file` names a file that is not UTF-8 (line 2) (its path is relative to the spec)."]),
    "a query_file of the defaults that is missing": ("defaults:\n  query_file: q.sql\nsegments: {a: {segment_id: 1}, b: {segment_id: 2}}\n", ["5: `defaults.query_file` names a file that does not exist (its path is relative to the spec)."]),
    "a query_file below a file": (segment("query_file: empty.sql/x"), ["7: `segments.a.query_file` names a file that can't be read (Not a directory) (its path is relative to the spec)."]),
    "segment_id missing": ("segments:\n  a: {query: x}\n", ["5: `segments.a.segment_id` is missing; give the number of the segment, or its title as `segment`."]),
    "segment_id zero": ("segments: {a: {segment_id: 0, query: x}}\n", ["4: `segments.a.segment_id` must be at least 1."]),
    "segment_id too large": ("segments: {a: {segment_id: 2147483648, query: x}}\n", ["4: `segments.a.segment_id` must be at most 2147483647."]),
    "segment_id in quotes": ("segments: {a: {segment_id: '1', query: x}}\n", ["4: `segments.a.segment_id` must be a whole number."]),
    "segment_id a float": ("segments: {a: {segment_id: 1.0, query: x}}\n", ["4: `segments.a.segment_id` must be a whole number."]),
    "segment_id a boolean": ("segments: {a: {segment_id: true, query: x}}\n", ["4: `segments.a.segment_id` must be a whole number."]),
    "a number and a title": ("segments:\n  a: {segment_id: 1, segment: VIP, query: x}\n", ["5: `segments.a.segment` stands next to `segment_id`; exactly one of them is needed."]),
    "a pinned title without an app key": ("segments:\n  a: {segment_id: 1, title: VIP, query: x}\n", ["5: `segments.a.title` pins what the segment is called, which needs `destination.app_api_key` to look it up."]),
    "a title without an app key": ("segments:\n  a: {segment: VIP, query: x}\n", ["5: `segments.a.segment` is a title, which needs `destination.app_api_key` to look it up."]),
    "create without a title": ("segments:\n  a: {segment_id: 1, create: true, query: x}\n", ["5: `segments.a.create` needs `segment`, the title of the segment that is made; a `segment_id` is there already."]),
    "a retired segment with a query": ("segments:\n  a: {segment_id: 1, retired: true, query: x}\n", ["5: `segments.a.query` stands in a segment that is `retired`; nobody belongs there, so remove it."]),
    "a title in defaults": ("defaults: {segment: VIP}\n" + SEGMENT, ["4: `defaults.segment` can't be inherited: each segment has its own."]),
    "an age that is no length of time": ("segments:\n  a: {segment_id: 1, query: x, guards: {freshness: {query: y, max_age: 26}}}\n", ["5: `segments.a.guards.freshness.max_age` must be a number above 0 with s, m, h or d, such as 26h."]),
    "segment_id in defaults": ("defaults: {segment_id: 3}\n" + SEGMENT, ["4: `defaults.segment_id` can't be inherited: each segment has its own."]),
    "query in defaults": ("defaults: {query: x}\n" + SEGMENT, ["4: `defaults.query` can't be inherited: each segment has its own."]),
    "one segment_id for two": ("segments:\n  a: {segment_id: 1, query: x}\n  b: {segment_id: 1, query: y}\n", [
        "6: `segments.b.segment_id` is 1, which `a` in the same workspace has too (spec.yaml:5); one segment takes one query.",
    ]),
    "a source that is not there": (segment("query: x", "source: warehous"), ["8: `segments.a.source` is `warehous`, which names no source of this spec (warehouse); did you mean `warehouse`?"]),
    "a source of the defaults that is not there": ("defaults: {source: x}\n" + SEGMENT, ["4: `defaults.source` is `x`, which names no source of this spec (warehouse)."]),
    "an id_type that is not known": (segment("query: x", "id_type: mail"), ["8: `segments.a.id_type` must be id or email or cio_id, not 'mail'; did you mean `email`?"]),
    "an ownership that is not known": (segment("query: x", "ownership: shared"), ["8: `segments.a.ownership` must be tracked or exclusive, not 'shared'."]),
    "nulls that is not known": (segment("query: x", "nulls: true"), ["8: `segments.a.nulls` must be error or skip."]),
    "confirm as a word": (segment("query: x", "confirm: yes"), ["8: `segments.a.confirm` must be true or false."]),
    "confirm without an app key": (segment("query: x", "confirm: true"), ["8: `segments.a.confirm` is true, which needs `destination.app_api_key` to read the real members."]),
    "exclusive without an app key": (segment("query: x", "ownership: exclusive"), ["8: `segments.a.ownership` is exclusive, which needs `destination.app_api_key` to read the real members."]),
    "exclusive by default without an app key": ("defaults: {ownership: exclusive}\nsegments: {a: {segment_id: 1, query: x}, b: {segment_id: 2, query: x}}\n", ["4: `defaults.ownership` is exclusive, which needs `destination.app_api_key` to read the real members."]),
    "tags as a text": (segment("query: x", "tags: nightly"), ["8: `segments.a.tags` must be a list."]),
    "a tag that is a number": (segment("query: x", "tags:", "- a", "- 5"), ["10: entry 2 of `segments.a.tags` must be a text; put it in quotes."]),
    "a tag that is nothing": (segment("query: x", "tags: [a, ]", "nulls: ~"), ["9: `segments.a.nulls` has no value; give it one, or leave the key out."]),
    "params as a list": (segment("query: x", "params: [1]"), ["8: `segments.a.params` must be a mapping of keys to values."]),
    "a param that is a list": (segment("query: x", "params:", "  p: [1]"), ["9: `segments.a.params.p` must be a text, a number, true, false or null."]),
    "a param that can't be a name": (segment("query: x", "params: {min-ltv: 1}"), ["8: `segments.a.params.min-ltv` is no name: it must be a name that can stand after a colon: letters, digits and _, no digit first."]),
    "a param beyond all numbers": (segment("query: x", "params: {p: 1e999}"), ["8: `segments.a.params.p` must be a finite number."]),
    "a guard as a fraction": (segment("query: x", "guards: {max_removals: 0.25}"), ["8: `segments.a.guards.max_removals` must be a percentage such as 25% or a count such as 100 (without quotes)."]),
    "a guard below zero": (segment("query: x", "guards: {max_removals: -1}"), ["8: `segments.a.guards.max_removals` must be a percentage such as 25% or a count such as 100 (without quotes)."]),
    "a count in quotes": (segment("query: x", "guards: {max_additions: '5'}"), ["8: `segments.a.guards.max_additions` must be a percentage such as 25% or a count such as 100 (without quotes)."]),
    "a guard that is true": (segment("query: x", "guards: {max_additions: true}"), ["8: `segments.a.guards.max_additions` must be a percentage such as 25% or a count such as 100 (without quotes)."]),
    "min_members below zero": (segment("query: x", "guards: {min_members: -1}"), ["8: `segments.a.guards.min_members` must be at least 0."]),
    "must_include as one id": (segment("query: x", "guards: {must_include: 5}"), ["8: `segments.a.guards.must_include` must be a list."]),
    "must_include with a float": (segment("query: x", "guards: {must_include: [7.0]}"), ["8: entry 1 of `segments.a.guards.must_include` must be a text or a whole number."]),
    "must_include with a boolean": (segment("query: x", "guards: {must_include: [a, true]}"), ["8: entry 2 of `segments.a.guards.must_include` must be a text or a whole number."]),
    "must_include with no email": (segment("query: x", "id_type: email", "guards: {must_include: [secret-member]}"), ["9: entry 1 of `segments.a.guards.must_include` is no valid id of type email: not one @ between two non-empty parts."]),
    "must_include with a number for an email": (segment("query: x", "id_type: email", "guards: {must_include: [7]}"), ["9: entry 1 of `segments.a.guards.must_include` is no valid id of type email: not one @ between two non-empty parts."]),
    "must_include with a padded id": (segment("query: x", "guards: {must_include: [' a']}"), ["8: entry 1 of `segments.a.guards.must_include` is no valid id of type id: white space at an end."]),
    "id_column empty": (segment("query: x", "id_column: ''"), ["8: `segments.a.id_column` must not be empty."]),
    "description a number": (segment("query: x", "description: 2024"), ["8: `segments.a.description` must be a text; put it in quotes."]),
    "a segment's name is empty": ("segments: {'': {segment_id: 1, query: x}}\n", ["4: `segments.` is no name: it must not be empty."]),
    "a segment's name is padded": ("segments: {' a': {segment_id: 1, query: x}}\n", ["4: `segments. a` is no name: it must be 1 to 200 printable characters, with no white space at an end."]),
    "a segment's name has a line break": ('segments: {"a\\nb": {segment_id: 1, query: x}}\n', ["4: `segments.a\\nb` is no name: it must be 1 to 200 printable characters, with no white space at an end."]),
    "a segment's name looks like a tag": ("segments: {'tag:a': {segment_id: 1, query: x}}\n", ["4: `segments.tag:a` is no name: it must not begin with `tag:`, `git:`, `id:` or `plan:`, which mean something else on the command line."]),
    "a state in memory": ("state: {url: 'sqlite://'}\n" + SEGMENT, ["4: `state.url` names a database in memory, and nothing would be kept; write sqlite:///file."]),
    "a state in memory, by name": ("state: {url: 'sqlite:///:memory:'}\n" + SEGMENT, ["4: `state.url` names a database in memory, and nothing would be kept; write sqlite:///file."]),
    "a state in memory, by option": ("state: {url: 'sqlite:///x?mode=memory&uri=true'}\n" + SEGMENT, ["4: `state.url` names a database in memory, and nothing would be kept; write sqlite:///file."]),
    "a state behind a file: URI": ("state: {url: 'sqlite:///file:x?uri=true'}\n" + SEGMENT, ["4: `state.url` must name a plain file: sqlite:///file."]),
    "a state in MySQL": ("state: {url: 'mysql://u:hidden@h/d'}\n" + SEGMENT, ["4: `state.url` must be sqlite:///file or postgresql://…; no other database keeps a state."]),
    "a state through another driver": ("state: {url: 'postgresql+asyncpg://h/d'}\n" + SEGMENT, ["4: `state.url` names a driver that no state is kept through; drop +asyncpg and write postgresql://user:password@host/database."]),
    "a state that is no URL": ("state: {url: .reconcile/state.db}\n" + SEGMENT, ["4: `state.url` must be a SQLAlchemy URL, such as postgresql://user:password@host/database or sqlite:///file."]),
    "two slashes before a file": ("state: {url: 'sqlite://state.db'}\n" + SEGMENT, ["4: `state.url` needs three slashes before the file: sqlite:///file."]),
    "an empty state": ("state:\n" + SEGMENT, ["4: `state` has no value; give it one, or leave the key out."]),
    "audit as a number": ("state: {audit: 90}\n" + SEGMENT, ["4: `state.audit` must be a number above 0 with s, m, h or d, such as 26h, or off."]),
    "history off": ("state: {history: off}\n" + SEGMENT, ["4: `state.history` must be a number above 0 with s, m, h or d, such as 26h."]),
    "an audit longer than the history": ("state: {audit: 31d, history: 30d}\n" + SEGMENT, ["4: `state.audit` lets the audit log (31d) be kept for longer than the runs that it names (`history`: 30d)."]),
    "a history shorter than the audit of every spec": ("state: {history: 2159.9h}\n" + SEGMENT, ["4: `state.history` lets the audit log (90d) be kept for longer than the runs that it names (`history`: 2159.9h)."]),
    "members at a source of SQLite": ("state: {members: source}\n" + SEGMENT, ["4: `state.members` is source, which is not supported for a source of sqlite (`warehouse`); write local."]),
    "members elsewhere": ("state: {members: sauce}\n" + SEGMENT, ["4: `state.members` must be local or source, not 'sauce'; did you mean `source`?"]),
    "must_exist as a number": ("state: {must_exist: 1}\n" + SEGMENT, ["4: `state.must_exist` must be true or false."]),
}  # fmt: skip


@pytest.mark.parametrize("situation", TAILS)
def test_a_tail_that_is_wrong(write, head, situation):
    text, expected = TAILS[situation]
    write("SELECT 1", "folder/x.sql")
    write(" \n", "empty.sql")
    Path("latin1.sql").write_bytes("SELECT 1\n, 'ä'".encode("latin-1"))

    assert problems_of(write(head + text)) == [f"spec.yaml:{problem}" for problem in expected]


DESTINATIONS = {
    "site_id: [s]": "`destination.site_id` must be a text.",
    "site_id: 5": "`destination.site_id` must be a text; put it in quotes.",
    "site_id: ''": "`destination.site_id` must not be empty.",
    'api_key: "hidden\\n"': "`destination.api_key` holds white space, a line break or a character that no key has.",
    "app_api_key: 'hid den'": "`destination.app_api_key` holds white space, a line break or a character that no key has.",
    "region: usa": "`destination.region` must be us or eu, not 'usa'; did you mean `us`?",
    "region: US": "`destination.region` must be us or eu, not 'US'.",
    "workspace: ''": "`destination.workspace` must not be empty.",
    "workspace: a/b": "`destination.workspace` must not hold a /, which parts it from a segment's name on the command line.",
    "workspace: 5": "`destination.workspace` must be a text; put it in quotes.",
    "workspace_id: 0": "`destination.workspace_id` must be at least 1.",
    "workspace_id: x": "`destination.workspace_id` must be a whole number.",
    "track_url: ftp://example.com": "`destination.track_url` must be an http:// or https:// URL.",
    "track_url: https://u:hidden@example.com": "`destination.track_url` must not hold a user or a password; the keys have their own places.",
    "track_url: http://example.com": "`destination.track_url` must be https://: the keys would travel in clear text (http:// is for this machine only).",
    "track_url: http://127.0.0.1.example.com": "`destination.track_url` must be https://: the keys would travel in clear text (http:// is for this machine only).",
    "app_url: https://": "`destination.app_url` names no host.",
    "app_url: https://example.com/?key=hidden": "`destination.app_url` must end with the host or a path, without ? and #.",
    "app_url: https://example.com:port": "`destination.app_url` is not a URL: its host or port is wrong.",
    "rate_limit: 0": "`destination.rate_limit` must be greater than 0.",
    "rate_limit: fast": "`destination.rate_limit` must be a number.",
    "rate_limit: true": "`destination.rate_limit` must be a number.",
    "rate_limit: 1e999": "`destination.rate_limit` must be a finite number.",
    "concurrency: 0": "`destination.concurrency` must be at least 1.",
    "concurrency: 65": "`destination.concurrency` must be at most 64.",
    "concurrency: 1.5": "`destination.concurrency` must be a whole number.",
    "timeout: 0": "`destination.timeout` must be greater than 0.",
    "timeout: 10s": "`destination.timeout` must be a number.",
    "settle: -1": "`destination.settle` must be at least 0.",
    "concurency: 4": "`destination.concurency` is not a known key; did you mean `concurrency`?",
}


@pytest.mark.parametrize("line", DESTINATIONS)
def test_a_destination_that_is_wrong(write, line):
    given = [text for text in ("site_id: s", "api_key: k") if text.split(":")[0] != line.split(":")[0]]
    text = "version: 1\nsources: {w: {url: 'sqlite:///x'}}\ndestination:\n  " + "\n  ".join([line, *given]) + "\n"

    (problem,) = problems_of(write(text + SEGMENT))

    assert problem == f"spec.yaml:4: {DESTINATIONS[line]}"
    assert "hid" not in problem


@pytest.mark.parametrize("missing", ["site_id", "api_key"])
def test_a_key_that_is_missing(write, missing):
    given = {"site_id": "s", "api_key": "k"}
    given.pop(missing)
    (key,) = given

    problems = problems_of(
        write(f"version: 1\nsources: {{w: {{url: 'sqlite:///x'}}}}\ndestination: {{{key}: x}}\n" + SEGMENT)
    )

    assert problems == [f"spec.yaml:3: `destination.{missing}` is missing."]


def test_with_several_sources_each_segment_names_one(write, head):
    text = head.replace("sources: {", "sources: {lake: {url: 'duckdb:///lake.db'}, ")

    assert problems_of(write(text + "segments:\n  a: {segment_id: 1, query: x}\n")) == [
        "spec.yaml:5: `segments.a.source` is missing; with several sources each segment names one: lake, warehouse."
    ]


class TestSeveralSpecs:
    def test_one_segment_id_in_two_specs_of_one_workspace_is_told_at_both(self, write, head):
        write(head + SEGMENT, "a.yaml")
        write(head + "segments:\n  b:\n    query: x\n    segment_id: 1\n", "b.yaml")

        with pytest.raises(SpecError) as caught:
            load(["b.yaml", "a.yaml"], {})

        assert caught.value.problems == [
            "a.yaml:4: `segments.a.segment_id` is 1, which `b` in the same workspace has too (b.yaml:7); "
            "one segment takes one query.",
            "b.yaml:7: `segments.b.segment_id` is 1, which `a` in the same workspace has too (a.yaml:4); "
            "one segment takes one query.",
        ]

    def test_another_workspace_has_segments_of_its_own(self, write, head):
        write(head + SEGMENT, "a.yaml")
        write(head.replace("site_id", "workspace: other, site_id") + SEGMENT, "b.yaml")

        assert len(load(["a.yaml", "b.yaml"], {})) == 2

    def test_one_name_may_stand_in_two_specs(self, write, head):
        write(head + SEGMENT, "a.yaml")
        write(head + SEGMENT.replace("1", "2"), "b.yaml")

        assert [spec.segments[0].name for spec in load(["a.yaml", "b.yaml"], {})] == ["a", "a"]

    def test_a_workspace_from_a_variable_counts(self, write, head):
        write(head.replace("site_id", 'workspace: "${WS}", site_id') + SEGMENT, "a.yaml")
        write(head.replace("site_id", "workspace: eu, site_id") + SEGMENT, "b.yaml")

        with pytest.raises(SpecError):
            load(["a.yaml", "b.yaml"], {"WS": "eu"})

    def test_the_problems_of_all_files_are_told_at_once_by_file_and_line(self, write, head):
        write("version: 1\nsources: 'a\n", "specs/c.yaml")
        write("", "specs/b.yml")
        write(head + "state: 5\nsegments: {a: {segment_id: 1, query: x, tag: 1}}\n", "specs/a.yaml")

        with pytest.raises(SpecError) as caught:
            load(["specs/c.yaml", "specs"], {})

        assert [problem.split(": ")[0] for problem in caught.value.problems] == [
            "specs/a.yaml:4",
            "specs/a.yaml:5",
            "specs/b.yml:1",
            "specs/c.yaml:2",
        ]

    def test_lines_are_sorted_as_numbers(self, write, head):
        lines = "".join(f"  s{n}: {{segment_id: {n}, query: x, bad: 1}}\n" for n in range(1, 9))

        problems = problems_of(write(head + "segments:\n" + lines))

        assert [int(problem.split(":")[1]) for problem in problems] == list(range(5, 13))


def test_everything_that_is_wrong_is_told_at_once(write):
    text = """\
version: 1
sources:
  warehouse: {url: "${WAREHOUSE_URL}"}
  warehouse: {url: x}
destination:
  workspace: ${WS}
  site_id: ${SITE}-${SITE2}
  api_key: ${KEY}
  rate_limit: ${RATE}
defaults: {nulls: ignore}
segments:
  a:
    segment_id: 56
    qury: ${UNSET}
    query: x
    tags: nightly
  b: {segment_id: 56, query_file: nope.sql, source: warhouse}
  c: [1]
"""

    problems = problems_of(write(text), {"KEY": "k", "RATE": "hidden"})

    assert problems == [
        "spec.yaml:3: `sources.warehouse.url` needs WAREHOUSE_URL, which is not set in the environment.",
        "spec.yaml:4: The key `warehouse` stands twice; the first is on line 3.",
        "spec.yaml:6: `destination.workspace` needs WS, which is not set in the environment.",
        "spec.yaml:7: `destination.site_id` needs SITE and SITE2, which are not set in the environment.",
        "spec.yaml:9: `destination.rate_limit` (from RATE) must be a number.",
        "spec.yaml:10: `defaults.nulls` must be error or skip, not 'ignore'.",
        "spec.yaml:14: `segments.a.qury` is not a known key; did you mean `query`?",
        "spec.yaml:14: `segments.a.qury` needs UNSET, which is not set in the environment.",
        "spec.yaml:16: `segments.a.tags` must be a list.",
        "spec.yaml:17: `segments.b.query_file` names a file that does not exist (its path is relative to the spec).",
        "spec.yaml:17: `segments.b.segment_id` is 56, which `a` in the same workspace has too (spec.yaml:13); "
        "one segment takes one query.",
        "spec.yaml:17: `segments.b.source` is `warhouse`, which names no source of this spec (warehouse); did you mean `warehouse`?",
        "spec.yaml:18: `segments.c` must be a mapping of keys to values.",
    ]


class TestReferences:
    @pytest.mark.parametrize(
        "text", ["${", "${}", "${1A}", "${A", "${A:?no}", "${A-b}", "${A:-${B}}", "x ${A b}", "${ A }"]
    )
    def test_what_is_no_reference_is_told(self, write, head, text):
        (problem,) = problems_of(
            write(head + segment("query: x", f"description: '{text}'")), {"A": "hidden", "B": "hidden"}
        )

        assert problem.startswith(
            "spec.yaml:8: `segments.a.description` has a ${ that begins no reference: write ${NAME}"
        )

    @pytest.mark.parametrize(
        ("line", "words"),
        [
            ("confirm: ${V}", "(from V) must be true or false"),
            ("id_type: ${V}", "(from V) must be id or email or cio_id."),
            ("guards: {max_removals: '${V}'}", "(from V) must be a percentage"),
            ("guards: {min_members: '${V}'}", "(from V) must be a whole number"),
            ("guards: {must_include: ['${V}']}", "(from V) is no valid id of type id: white space at an end"),
            ("source: ${V}", "(from V) must be 1 to 200 printable characters"),
            ("query_file: ${V}", "(from V) names a file that does not exist"),
            ("tags: ['a${V}']", "(from V) must be 1 to 200 printable"),
        ],
    )
    def test_the_value_of_a_variable_is_never_shown(self, write, head, line, words):
        query = [] if line.startswith("query_file") else ["query: x"]

        problems = problems_of(write(head + segment(line, *query)), {"V": "hidden "})

        assert problems[0].startswith("spec.yaml:7: ")
        assert words in problems[0]
        assert "hidden" not in "".join(problems)

    def test_a_set_and_empty_variable_is_refused_where_a_value_is_needed(self, write, head):
        text = head.replace("api_key: key", 'api_key: "${KEY}"')

        assert problems_of(write(text + SEGMENT), {"KEY": ""}) == [
            "spec.yaml:3: `destination.api_key` (from KEY) must not be empty."
        ]

    def test_a_variable_that_is_not_text_is_told_by_its_name(self, write, head):
        text = head.replace("api_key: key", 'api_key: "${KEY}"')

        assert problems_of(write(text + SEGMENT), {"KEY": "hidden\udcff"}) == [
            "spec.yaml:3: `destination.api_key` needs KEY, and its value is not UTF-8."
        ]


class TestSecretsInAFile:
    SECRET = "s3cr3tValue"

    @pytest.mark.parametrize(
        "value", ["*{}", "!{}", "&{}", "'{}", '"{}\\q"', "[{}", "{}: x", "@{}", "`{}", "%{}", "!{}!x y", "|{}", "{{{}"]
    )
    @pytest.mark.parametrize("loader", [yaml.CSafeLoader, yaml.SafeLoader])
    def test_a_key_that_yaml_misreads_is_not_repeated(self, write, head, value, loader, monkeypatch):
        monkeypatch.setattr(yaml_reader, "_LOADER", loader)
        text = head.replace("destination: {site_id: site, api_key: key}", "destination:\n  site_id: s\n  api_key: KEY")

        problems = problems_of(write(text.replace("KEY", value.format(self.SECRET)) + SEGMENT))

        assert self.SECRET not in "".join(problems)

    @pytest.mark.parametrize("value", ["[{}]", "{{{}: 1}}", "'{} '", "{}ä"])
    def test_a_key_of_a_wrong_type_is_not_repeated(self, write, head, value):
        text = head.replace("api_key: key", f"api_key: {value.format(self.SECRET)}")

        assert self.SECRET not in "".join(problems_of(write(text + SEGMENT)))

    @pytest.mark.parametrize("url", ["{}", "postgresql:/u:{}@h/d", "sqlite://{}", "'postgresql://u:{}@h/d '", "://{}"])
    def test_a_url_that_is_wrong_is_not_repeated(self, write, head, url):
        text = head.replace('"sqlite:///warehouse.db"', url.format(self.SECRET))

        assert self.SECRET not in "".join(problems_of(write(text + SEGMENT)))

    def test_no_exception_is_chained_that_holds_the_input(self, write, head):
        text = head.replace("api_key: key", f"api_key: '{self.SECRET} '")

        with pytest.raises(SpecError) as caught:
            load([write(text + SEGMENT)], {})

        assert caught.value.__cause__ is None
        assert caught.value.__context__ is None

    def test_a_spec_shows_no_secret(self, write, head):
        text = head.replace("api_key: key", f"api_key: {self.SECRET}").replace(
            "sqlite://", f"mysql://u:{self.SECRET}@h"
        )

        assert self.SECRET not in repr(load([write(text + SEGMENT)], {}))


def test_a_segment_may_be_called_like_a_key(write, head):
    problems = problems_of(write(head + "segments: {guards: {segment_id: 1, query: x, tag: 1}, confirm: {nulls: x}}\n"))

    assert problems == [
        "spec.yaml:4: `segments.confirm.nulls` must be error or skip, not 'x'.",
        "spec.yaml:4: `segments.confirm.segment_id` is missing; give the number of the segment, or its title as `segment`.",
        "spec.yaml:4: `segments.confirm` has no query; give it `query`, `query_file` or `model`.",
        "spec.yaml:4: `segments.guards.tag` is not a known key; did you mean `tags`?",
    ]
