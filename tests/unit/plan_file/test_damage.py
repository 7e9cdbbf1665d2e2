"""Whatever happens to a plan file, opening it gives the plan or a PlanFileError."""

import hashlib
import json
import os
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reconciler.errors import PlanFileError
from reconciler.models.batches import Batch, Direction
from reconciler.models.plan import Plan
from reconciler.plan_file import MAX_BATCH_BYTES, open_plan_file, seal
from tests.fakes import samples
from tests.fakes.plan_files import write

pytestmark = pytest.mark.slow

REMOVED = tuple(f"r{place}" for place in range(10))
ADDED = tuple(f"a{place}" for place in range(20))


@pytest.fixture(scope="module")
def valid(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("valid") / "x.plan"
    sealed = seal(Plan(samples.TWO_AM, (samples.make_plan(), samples.make_unchanged())), "p", "0.1.0", Path.cwd())
    batches = [Batch(Direction.REMOVE, REMOVED), Batch(Direction.ADD, ADDED)]
    write(path, sealed, lambda index: batches if index == 0 else [])
    return path.read_bytes()


def read(path: Path) -> None:
    with closing(open_plan_file(path)) as file:
        for index in range(len(file.plan.segments)):
            list(file.batches(index))


def refuse(tmp_path: Path, content: bytes) -> PlanFileError:
    path = tmp_path / "x.plan"
    path.write_bytes(content)
    with pytest.raises(PlanFileError) as caught:
        read(path)
    assert caught.value.hint
    assert "x.plan" in caught.value.message
    return caught.value


def reseal(lines: list[Any]) -> bytes:
    """Lines with a checksum that is right, as a forger would make it."""
    body = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    body = body.replace(b'{"reconcile_plan": ', b'{"reconcile_plan":')
    return body + json.dumps({"sha256": hashlib.sha256(body).hexdigest()}).encode() + b"\n"


def edit(valid: bytes, change: Callable[[list[Any]], object]) -> bytes:
    lines = [json.loads(line) for line in valid.splitlines()[:-1]]
    change(lines)
    return reseal(lines)


def test_a_resealed_copy_is_accepted(tmp_path: Path, valid: bytes) -> None:
    path = tmp_path / "x.plan"
    path.write_bytes(edit(valid, lambda lines: None))
    read(path)


def test_a_segment_that_names_no_allowed_guards_has_none(tmp_path: Path, valid: bytes) -> None:
    path = tmp_path / "x.plan"
    path.write_bytes(edit(valid, lambda lines: lines[0]["segments"][0].pop("allowed")))
    with closing(open_plan_file(path)) as file:
        assert file.plan.segments[0].allowed == frozenset()


def test_every_place_where_it_can_be_cut_is_refused(tmp_path: Path, valid: bytes) -> None:
    path = tmp_path / "x.plan"
    for length in range(len(valid)):
        path.write_bytes(valid[:length])
        with pytest.raises(PlanFileError):
            read(path)


def test_every_changed_byte_is_refused(tmp_path: Path, valid: bytes) -> None:
    path = tmp_path / "x.plan"
    for place in range(len(valid)):
        changed = bytearray(valid)
        changed[place] ^= 1
        path.write_bytes(changed)
        with pytest.raises(PlanFileError):
            read(path)


def test_something_after_the_end_is_refused(tmp_path: Path, valid: bytes) -> None:
    error = refuse(tmp_path, valid + b"\n")
    assert error.message.endswith(" is damaged or was edited: something follows its end.")


def test_what_follows_the_end_is_refused_without_reading_it_whole(tmp_path: Path, valid: bytes) -> None:
    path = tmp_path / "x.plan"
    path.write_bytes(valid)
    os.truncate(path, 1 << 40)

    with pytest.raises(PlanFileError, match="something follows its end"):
        open_plan_file(path)
    path.unlink()


def test_an_edited_id_is_refused_by_the_checksum(tmp_path: Path, valid: bytes) -> None:
    error = refuse(tmp_path, valid.replace(b'"a7"', b'"b7"'))
    assert error.message.endswith(" is damaged or was edited: its checksum does not match its content.")
    assert error.exit_code == 4


def test_a_newer_format_is_named(tmp_path: Path, valid: bytes) -> None:
    error = refuse(tmp_path, edit(valid, lambda lines: lines[0].update(reconcile_plan=3)))
    assert (
        error.message == f"The plan file {tmp_path / 'x.plan'} has format 3; this version of reconcile reads up to 2."
    )
    assert error.hint == "Apply it with the version that made it, or make a new plan file."


@pytest.mark.parametrize(
    "header",
    [{"undo_of": "run-1"}, {"reconcile_plan": 2}, {"reconcile_plan": 2, "undo_of": "run-1"}, {"reconcile_plan": 0}],
)
def test_a_plan_that_says_to_be_an_undo_only_here_or_there_is_damaged(
    tmp_path: Path, valid: bytes, header: dict[str, object]
) -> None:
    error = refuse(tmp_path, edit(valid, lambda lines: lines[0].update(header)))
    assert error.message.endswith("is damaged or was edited: its header is wrong.")


def test_a_line_that_never_ends_is_refused_without_reading_it_whole(tmp_path: Path, valid: bytes) -> None:
    header = valid.splitlines(keepends=True)[0]
    error = refuse(tmp_path, header + b"[" * (MAX_BATCH_BYTES + 10))
    assert error.message.endswith(" is damaged or was edited: a line is too long.")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"add a7", "a line is not JSON"),
        (b"[]", "a line is not what it should be"),
        (b'{"segment": 0}', "a batch is not what it should be"),
        (b'{"segment": 0, "direction": "add", "ids": []}', "a batch does not hold ids"),
        (b'{"segment": 0, "direction": "add", "ids": [""]}', "a batch does not hold ids"),
        (b'{"segment": 0, "direction": "add", "ids": ["a", 1]}', "a batch does not hold ids"),
        (b'{"segment": 0, "direction": "add", "ids": [' + b'"a",' * 1000 + b'"a"]}', "a batch does not hold ids"),
        (b'{"segment": 1, "direction": "add", "ids": ["a"]}', "its batches are not what its header says"),
        (b'{"segment": 0, "direction": "add"', "it is cut short"),
        (b'{"sha256": }', "a line is not JSON"),
    ],
)
def test_damage_is_named(tmp_path: Path, valid: bytes, line: bytes, words: str) -> None:
    header = valid.splitlines(keepends=True)[0]
    ended = header + line + (b"\n" if line.endswith((b"}", b"]", b"7")) else b"")

    assert refuse(tmp_path, ended).message == (
        f"The plan file {tmp_path / 'x.plan'} is damaged or was edited: {words}."
    )


@pytest.mark.parametrize(("extra", "words"), [(-2, "not JSON"), (-1, "not JSON"), (0, "too long"), (1, "too long")])
def test_a_batch_takes_up_to_a_mebibyte_with_its_line_end(tmp_path: Path, valid: bytes, extra: int, words: str) -> None:
    header = valid.splitlines(keepends=True)[0]
    line = b"[" * (1024 * 1024 + extra) + b"\n"

    assert words in refuse(tmp_path, header + line).message


@pytest.mark.parametrize(("extra", "words"), [(-1, "not JSON"), (0, "too long"), (1, "too long")])
def test_a_header_takes_up_to_16_mebibytes_with_its_line_end(tmp_path: Path, extra: int, words: str) -> None:
    start = b'{"reconcile_plan":'
    assert words in refuse(tmp_path, start + b"[" * (16 * 1024 * 1024 + extra - len(start)) + b"\n").message


@pytest.mark.parametrize(
    "value",
    [
        {"plan_id": 7},
        {"plan_id": None},
        {"created_at": "yesterday"},
        {"created_at": "2026-11-21T02:00:00"},
        {"created_at": 1},
        {"expires_at": "9999-12-31T23:59:59Z"},
        {"expires_at": "0001-01-01T00:00:00+14:00", "created_at": "9999-12-31T23:59:59-14:00", "plan_id": 0},
        {"segments": {}},
        {"segments": [1]},
        {"segments": None},
        {"reconcile_plan": True},
        {"reconcile_plan": 0},
        {"reconcile_plan": "1"},
        {"reconcile_plan": 1.0},
    ],
)
def test_a_forged_header_of_wrong_types_is_refused(tmp_path: Path, valid: bytes, value: dict[str, Any]) -> None:
    error = refuse(tmp_path, edit(valid, lambda lines: lines[0].update(value)))
    assert error.message.endswith(" is damaged or was edited: its header is wrong.")


@pytest.mark.parametrize(
    "value",
    [
        {"serial": -1},
        {"serial": 10**30},
        {"serial": 1.5},
        {"serial": True},
        {"segment_id": "56"},
        {"id_type": "phone"},
        {"status": "great"},
        {"allowed": ["everything"]},
        {"counts": {"add": -20}},
        {"counts": None},
        {"lineage": 5},
        {"spec": None},
    ],
)
def test_a_forged_segment_of_wrong_types_is_refused(tmp_path: Path, valid: bytes, value: dict[str, Any]) -> None:
    changed = edit(valid, lambda lines: lines[0]["segments"][0].update(value))
    assert refuse(tmp_path, changed).message.endswith(" is damaged or was edited: its header is wrong.")


@pytest.mark.parametrize(
    "value",
    [
        {"segment": 7},
        {"segment": 2},
        {"segment": -1},
        {"segment": True},
        {"segment": None},
        {"direction": "sideways"},
        {"direction": ["add"]},
        {"direction": {}},
        {"ids": []},
        {"ids": [""]},
        {"ids": [1]},
        {"ids": [["a"]]},
        {"ids": "abc"},
        {"ids": ["a"] * 1001},
        {"ids": ["a"] * 11},
    ],
)
def test_a_forged_batch_is_refused(tmp_path: Path, valid: bytes, value: dict[str, Any]) -> None:
    refuse(tmp_path, edit(valid, lambda lines: lines[1].update(value)))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda lines: lines.pop(), "its batches are not what its header says"),
        (lambda lines: lines.append(lines[1]), "its batches are not what its header says"),
        (lambda lines: lines.insert(1, lines.pop()), "its batches are not what its header says"),
        (lambda lines: lines.append(7), "a line is not what it should be"),
        (lambda lines: lines.append([]), "a line is not what it should be"),
    ],
    ids=["one missing", "one twice", "additions first", "a number", "a list"],
)
def test_batches_that_are_not_what_the_header_says_are_refused(tmp_path: Path, valid: bytes, change, words) -> None:
    assert refuse(tmp_path, edit(valid, change)).message.endswith(f" is damaged or was edited: {words}.")


QUICK = settings(
    deadline=None, max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@QUICK
@given(content=st.binary(max_size=300), magic=st.booleans())
def test_random_bytes_are_refused(tmp_path: Path, content: bytes, magic: bool) -> None:
    refuse(tmp_path, (b'{"reconcile_plan":' if magic else b"") + content)


@QUICK
@given(data=st.data())
def test_random_mutations_are_refused(tmp_path: Path, valid: bytes, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(valid)))
    end = data.draw(st.integers(start, min(len(valid), start + 40)))
    changed = valid[:start] + data.draw(st.binary(max_size=40)) + valid[end:]
    if changed != valid:
        refuse(tmp_path, changed)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@QUICK
@given(data=st.data(), value=JSON)
def test_a_forger_who_gets_the_checksum_right_meets_no_traceback(
    tmp_path: Path, valid: bytes, data: st.DataObject, value: Any
) -> None:
    def change(lines: list[Any]) -> None:
        where = data.draw(st.sampled_from([*lines, lines[0]["segments"][0], lines[0]["segments"][0]["counts"]]))
        where[data.draw(st.sampled_from(sorted(where)))] = value

    path = tmp_path / "x.plan"
    try:
        content = edit(valid, change)
    except UnicodeEncodeError:
        return
    path.write_bytes(content)
    with suppress(PlanFileError):
        read(path)
