"""From a row of the warehouse to an id at Customer.io."""

import sqlite3
from collections.abc import Sequence

import pytest

from tests.support.project import Project, people, segment

NARROW_SPACE = "\u202f"
LONGEST = "é" * 75
SPACES = "\t\n\v\f\r \x85\xa0\u1680\u2000\u2003\u200a\u2028\u2029\u202f\u205f\u3000"

GOOD: list[tuple[object, str]] = [
    ("abc", "abc"), ("A b", "A b"), (7, "7"), (0, "0"), (-7, "-7"), (2**53 + 1, "9007199254740993"),
    (-(2**63), "-9223372036854775808"), (2**63 - 1, "9223372036854775807"), ("007", "007"), ("7.0", "7.0"),
    ("1e3", "1e3"), ("x" * 150, "x" * 150), (LONGEST, LONGEST), ("Zoë", "Zoë"), ("e\u0301", "e\u0301"),
    ("ID", "ID"), ("id", "id"), ("a\u200bb", "a\u200bb"), ("\u200b", "\u200b"),
    ("'; DROP TABLE vip; --", "'; DROP TABLE vip; --"),
    ('{"a":1}', '{"a":1}'), ("NULL", "NULL"), ("None", "None"), ("true", "true"), ("😀", "😀"), ("%s", "%s"),
    ("a,b", "a,b"), ("\\x41", "\\x41"), ("\ufeff", "\ufeff"), ("a\u00adb", "a\u00adb"),
]  # fmt: skip

INVALID: list[object] = [
    "", " ", "   ", "\u3000", " a", "a ", "\ta", "a\n", "a\u00a0", f"{NARROW_SPACE}a", "a\x00b", "a\x1fb", "a\x7fb",
    "a\x9fb", "a\tb", "x" * 151, LONGEST + "x", 7.5, 7.0, 1e300, b"abc", b"", *(f"a{space}" for space in SPACES),
]  # fmt: skip


def people_named(project: Project, ids: Sequence[str]) -> None:
    project.sandbox.add_people((value, None) for value in ids)


def test_good_values_arrive_exactly_as_they_should(project: Project) -> None:
    wanted = {id for _, id in GOOD}
    people_named(project, sorted(wanted))
    project.want("vip", [value for value, _ in GOOD])
    project.write({"vip": segment(56, "vip")})

    done = project.json("apply")

    assert done.code == 0, done.err + done.out
    assert project.sandbox.members(56) == wanted
    assert [done.segments["vip"][name] for name in ("desired", "invalid", "nulls", "duplicates")] == [
        len(wanted),
        0,
        0,
        0,
    ]
    shown = project.run("state", "show", "spec.yaml", "vip", "--members").out
    assert set(shown.removesuffix("\n").split("\n")) == wanted
    assert project.json("plan").segments["vip"]["status"] == "unchanged"


def test_each_invalid_value_alone_stops_its_segment_or_is_skipped(project: Project) -> None:
    for number in range(2 * len(INVALID)):
        project.sandbox.create_segment(f"s{number}", id=100 + number)
    project.want("vip", ["p0001", *INVALID])
    alone = "query: SELECT id FROM vip WHERE rowid IN (1, :row)\nparams: {{row: {}}}"
    rows = range(2, 2 + len(INVALID))
    strict = {f"strict{row}": f"segment_id: {98 + row}\n{alone.format(row)}" for row in rows}
    lenient = {
        f"lenient{row}": f"segment_id: {98 + len(INVALID) + row}\ninvalid: skip\n{alone.format(row)}" for row in rows
    }
    project.write(strict | lenient)

    planned = project.json("plan")

    assert planned.code == 1
    for value, row in zip(INVALID, rows, strict=True):
        refused, skipped = planned.segments[f"strict{row}"], planned.segments[f"lenient{row}"]
        assert refused["status"] == "failed", ascii(value)
        assert refused["error"]["hint"]
        assert (skipped["status"], skipped["invalid"], skipped["desired"]) == ("changes", 1, 1), ascii(value)


def test_what_is_skipped_is_never_sent_and_what_stops_sends_nothing(project: Project) -> None:
    project.want("vip", ["p0001", *INVALID, None, None, "p0001"])
    project.write(
        {
            "both": segment(56, "vip", "invalid: skip", "nulls: skip"),
            "nulls_stop": segment(57, "vip", "invalid: skip"),
            "invalid_stop": segment(58, "vip", "nulls: skip"),
        }
    )
    done = project.json("apply")
    assert done.code == 6
    row = done.segments["both"]
    assert [row[name] for name in ("desired", "invalid", "nulls", "duplicates", "added")] == [1, len(INVALID), 2, 1, 1]
    assert [call.ids for call in project.sandbox.writes] == [("p0001",)]
    assert {name: row["status"] for name, row in done.segments.items()} == {
        "both": "applied", "nulls_stop": "failed", "invalid_stop": "failed"
    }  # fmt: skip


@pytest.mark.parametrize("level", ["defaults", "segment"])
def test_nulls_stop_or_are_skipped_as_the_spec_says(project: Project, level: str) -> None:
    project.want("vip", ["p0001", None])
    project.write({"vip": segment(56, "vip")})
    assert project.json("plan").code == 1
    lines, more = (("nulls: skip",), "") if level == "segment" else ((), "defaults: {nulls: skip}\n")
    project.write({"vip": segment(56, "vip", *lines)}, more=more)
    row = project.json("plan").segments["vip"]
    assert (row["status"], row["nulls"], row["desired"]) == ("changes", 1, 1)


def test_seven_and_seven_point_nought_in_one_column_are_one_id_and_one_invalid_value(project: Project) -> None:
    people_named(project, ["7"])
    for order in ((7, 7.0, "7", None), (7.0, 7, None, "7"), (None, 7.0, "7", 7), ("7", 7, 7.0, None)):
        project.want("vip", order)
        project.write({"vip": segment(56, "vip", "invalid: skip", "nulls: skip")})
        row = project.json("plan").segments["vip"]
        assert [row[name] for name in ("desired", "invalid", "nulls", "duplicates")] == [1, 1, 1, 1]


@pytest.mark.parametrize("kind", ["INTEGER", "REAL", "TEXT", "NUMERIC", "BLOB", "BOOLEAN", "DATE", "DECIMAL(10,2)"])
def test_a_declared_type_of_a_column_changes_no_stored_value(project: Project, kind: str) -> None:
    """SQLite keeps what its affinity makes of a value; what is stored counts, not the column's name."""
    with sqlite3.connect(project.folder / "warehouse.db") as connection:
        connection.execute(f"CREATE TABLE vip (id {kind})")
        connection.executemany("INSERT INTO vip VALUES (?)", [(7,), (12345678901234567,), ("x1",)])
        kinds = [row[0] for row in connection.execute("SELECT typeof(id) FROM vip")]
    connection.close()
    project.write({"vip": segment(56, "vip", "invalid: skip")})
    row = project.json("plan").segments["vip"]
    assert row["invalid"] == kinds.count("real")
    assert row["desired"] == 3 - kinds.count("real")


def test_emails_are_compared_and_sent_in_lower_case_and_checked(project: Project) -> None:
    project.sandbox.add_people([("1", "Ann@Example.com"), ("2", "ÉMILE@example.com"), ("3", "a.b+c@d")])
    project.want("vip", ["ANN@example.COM", "ann@EXAMPLE.com", "ÉMILE@Example.com", "a.b+c@d"])
    project.write({"vip": segment(56, "vip", "id_type: email")})
    done = project.json("apply")
    assert (done.code, done.segments["vip"]["desired"], done.segments["vip"]["duplicates"]) == (0, 3, 1)
    assert {member for call in project.sandbox.writes for member in call.ids or ()} == {
        "ann@example.com", "Émile@example.com", "a.b+c@d"
    }  # fmt: skip
    assert project.stored("vip") == {"ann@example.com", "Émile@example.com", "a.b+c@d"}
    project.want("vip", ["Ann@Example.COM", "ÉMILE@example.com", "A.B+C@D"])
    assert project.json("plan").segments["vip"]["status"] == "unchanged"


def test_a_value_that_is_no_email_is_invalid(project: Project) -> None:
    bad = ["plain", "@x", "x@", "a@b@c", "@", 7, "a@b ", "x" * 145 + "@ab.cd"]
    project.want("vip", [*bad, "p0001@example.com", "x@y"])
    project.write({"vip": segment(56, "vip", "id_type: email", "invalid: skip")})
    row = project.json("plan").segments["vip"]
    assert (row["invalid"], row["desired"]) == (len(bad), 2)


@pytest.mark.parametrize("id_type", ["id", "cio_id"])
def test_ids_are_compared_byte_by_byte(project: Project, id_type: str) -> None:
    project.want("vip", ["abc", "ABC", "Abc", "é", "e\u0301", "abc"])
    project.write({"vip": segment(56, "vip", f"id_type: {id_type}")})
    row = project.json("plan").segments["vip"]
    assert (row["desired"], row["duplicates"]) == (5, 1)


def test_several_columns_need_the_name_of_one(project: Project) -> None:
    project.want("vip", people(1, 2))
    query = "query: SELECT id AS who, 1 AS other FROM vip"
    project.write({"vip": f"segment_id: 56\n{query}"})
    refused = project.json("plan")
    assert refused.code in (1, 64)
    assert "id_column" in refused.out + refused.err
    project.write({"vip": f"segment_id: 56\n{query}\nid_column: who"})
    assert project.json("plan").segments["vip"]["desired"] == 2
    project.write({"vip": f"segment_id: 56\n{query}\nid_column: nobody"})
    assert project.json("plan").code in (1, 64)


def test_params_are_bound_and_other_colons_and_percent_signs_are_left_alone(project: Project) -> None:
    project.want("vip", people(*range(10)))
    project.write(
        {
            "vip": "\n".join(
                [
                    "segment_id: 56",
                    "query: |",
                    "  -- a comment with :low and 100%",
                    "  SELECT id FROM vip /* :low */",
                    """  WHERE id >= :low AND '{"a":1}' <> ':low' AND '12:30' LIKE '%:30' AND "id" LIKE 'p%';""",
                    "params: {low: p0004}",
                ]
            )
        }
    )
    assert project.json("plan").segments["vip"]["desired"] == 6
    assert project.run("validate", "spec.yaml", "--connect").code == 0


@pytest.mark.parametrize(
    "query",
    ["DELETE FROM vip", "SELECT id FROM vip; DELETE FROM vip", "DROP TABLE vip", "UPDATE vip SET id = 1",
     "PRAGMA user_version = 7", "SELECT id FROM vip; SELECT id FROM vip", "INSERT INTO vip VALUES (1) RETURNING id",
     "ATTACH 'other.db' AS o", "", "BEGIN"],
)  # fmt: skip
def test_anything_but_one_query_is_refused_and_the_warehouse_stays_as_it_was(project: Project, query: str) -> None:
    project.want("vip", people(1, 2))
    before = (project.folder / "warehouse.db").read_bytes()
    project.write({"vip": f"segment_id: 56\nquery: {query!r}"})
    assert project.run("apply", "spec.yaml").code in (1, 64)
    refused = project.run("validate", "spec.yaml")
    assert (refused.code, refused.out) == (64, ""), "no connection is needed to see it"
    assert "spec.yaml:" in refused.err
    assert (project.folder / "warehouse.db").read_bytes() == before
    assert not (project.folder / "other.db").exists()
    assert project.sandbox.writes == []


def test_variables_fill_every_value_but_the_query(project: Project) -> None:
    project.want("vip", people(*range(10)))
    project.environment = {"NUMBER": "56", "LIMIT": "p0003", "TAG": "x"}
    project.write(
        {
            "vip": "segment_id: ${NUMBER}\nquery: SELECT id FROM vip WHERE id <= :low AND '${NUMBER}' <> '56'\n"
            "params: {low: '${LIMIT}'}\ntags: ['${TAG}', '${NONE:-fallback}']\nguards: {min_members: '${MIN:-4}'}"
        }
    )
    row = project.json("plan").segments["vip"]
    assert (row["segment_id"], row["desired"]) == (56, 4)
    assert project.json("plan", "--select", "tag:fallback").code == 0
    project.environment["MIN"] = "5"
    assert project.json("plan").code == 3


@pytest.mark.parametrize("key", ["source", "state"])
@pytest.mark.parametrize("url", ["postgresql://db:abc/shop", "postgresql://[::1/shop", "postgresql://db:99999/shop"])
def test_a_url_that_can_not_be_one_is_refused_without_a_connection(project: Project, key: str, url: str) -> None:
    project.want("vip", people(1))
    project.write({"vip": segment(56, "vip")}, more=f"state: {{url: '{url}'}}\n" if key == "state" else "")
    if key == "source":
        project.spec.write_text(project.spec.read_text().replace("url: sqlite:///warehouse.db", f"url: '{url}'"))
    refused = project.run("validate", "spec.yaml")
    assert (refused.code, refused.out) == (64, "")
    assert "spec.yaml" in refused.err
    assert "abc" not in refused.err


def test_everything_that_can_be_seen_without_a_connection_is_told_at_once(project: Project) -> None:
    project.write({"vip": "segment_id: 56\nquery: SELECT 1; SELECT 2", "churn": "segment_id: 57\nquery: SELECT (1"})
    refused = project.run("validate", "spec.yaml")
    assert refused.code == 64
    assert "more than one statement" in refused.err
    assert "never closed" in refused.err
