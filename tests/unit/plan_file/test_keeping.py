"""A plan file is written whole, 0600, or not at all; and what was written is what is read."""

import errno
import io
import os
import stat
import tempfile
import threading
import zlib
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from reconciler.errors import PlanFileError, ReconcileError
from reconciler.models.batches import Batch, Direction
from reconciler.models.comparison import Counts
from reconciler.models.guards import Guard
from reconciler.models.plan import Plan
from reconciler.plan_file import (
    SealedPlan,
    drafting,
    is_plan_file,
    open_plan_file,
    plan_output,
    seal,
)
from tests.fakes import samples
from tests.fakes.plan_files import write

OLDER = b'{"reconcile_plan":1,"plan_id":"older"}\n'
REMOVED = tuple(f"gone{place}" for place in range(10))
AGAIN = "Make a new plan file: reconcile plan SPEC... --out FILE"
NAME_ANOTHER = "name another file after --out"
NAME_WRITABLE = "Name a file in a writable folder after --out."
ADDED = tuple(f'nöw "{place}"\\' for place in range(1200))


def make_batches(index: int) -> list[Batch]:
    if index == 1:
        return []
    return [
        Batch(Direction.REMOVE, REMOVED),
        Batch(Direction.ADD, ADDED[:1000]),
        Batch(Direction.ADD, ADDED[1000:]),
    ]


def make_sealed() -> SealedPlan:
    counts = Counts(desired=2190, stored=1000, add=1190, resend=10, remove=10, unchanged=990, held=1000)
    allowed = {Guard.MAX_ADDITIONS, Guard.MAX_REMOVALS}
    segments = (
        samples.make_plan(counts=counts, allowed=allowed),
        samples.make_unchanged(),
        samples.make_plan("newcomers", 59, counts=counts, head=samples.Head(), workspace="staging"),
    )
    return seal(Plan(samples.TWO_AM, segments), "plan-1", "0.1.0", Path.cwd())


def tell(caught: pytest.ExceptionInfo[ReconcileError]) -> tuple[str, str]:
    """What happened, and the next step."""
    return caught.value.message, caught.value.hint


def fail_to_read(*_: object) -> bytes:
    raise OSError(errno.EIO, "Input/output error")


class FailingFile(io.BufferedReader):
    """Its first bytes can be read, and no line."""

    def readline(self, size: int | None = -1, /) -> bytes:
        return fail_to_read()


class FullFile(io.BytesIO):
    """Nothing can be written to it."""

    def write(self, _: object, /) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")


def list_files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_was_written_is_what_is_read(tmp_path: Path) -> None:
    path, sealed = tmp_path / "x.plan", make_sealed()

    write(path, sealed, make_batches)

    assert list_files(tmp_path) == ["x.plan"]
    with closing(open_plan_file(path)) as file:
        assert file.plan == sealed
        assert [list(file.batches(index)) for index in range(3)] == [make_batches(index) for index in range(3)]


def test_a_plan_says_when_it_expires_and_what_was_allowed() -> None:
    sealed = make_sealed()

    assert sealed.expires_at - sealed.created_at == timedelta(hours=24)
    assert sealed.segments[0].allowed == {Guard.MAX_ADDITIONS, Guard.MAX_REMOVALS}
    assert sealed.segments[2].lineage is None
    assert sealed.specs() == ("specs/vip.yaml",)
    assert [(each.workspace, each.name) for each in sealed.segments][::2] == [
        ("production", "vip_customers"),
        ("staging", "newcomers"),
    ]


def test_an_absolute_spec_is_named_from_the_working_folder(tmp_path: Path) -> None:
    plan = samples.make_plan(path=str(tmp_path / "specs" / "a.yaml"))

    sealed = seal(Plan(samples.TWO_AM, (plan,)), "plan-1", "0.1.0", tmp_path)

    assert sealed.segments[0].spec == "specs/a.yaml"


@pytest.mark.parametrize("make", [samples.make_blocked, samples.make_failed])
def test_a_blocked_or_failed_plan_cannot_be_sealed(make) -> None:
    with pytest.raises(ReconcileError, match=r"^A plan with a blocked or failed segment can't be sealed\.$") as caught:
        seal(Plan(samples.TWO_AM, (samples.make_plan(), make())), "plan-1", "0.1.0", Path.cwd())
    assert caught.value.hint == "Make a new plan file: reconcile plan SPEC... --out FILE"


@pytest.mark.parametrize("umask", [0o000, 0o077, 0o777])
def test_the_mode_is_0600_whatever_the_umask_and_the_older_file(tmp_path: Path, umask: int) -> None:
    path = tmp_path / "x.plan"
    path.write_bytes(OLDER)
    path.chmod(0o666)
    before = os.umask(umask)
    try:
        write(path, make_sealed(), make_batches)
    finally:
        os.umask(before)

    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_draft_that_is_not_sealed_leaves_nothing_not_even_an_older_file(tmp_path: Path) -> None:
    path = tmp_path / "x.plan"
    path.write_bytes(OLDER)

    with drafting(plan_output(str(path))) as draft:
        draft.spool(0, make_batches(0))
        assert list_files(tmp_path) == []

    assert list_files(tmp_path) == []


def test_a_batch_that_fails_while_drafting_leaves_nothing(tmp_path: Path) -> None:
    def fail(index: int):
        yield from make_batches(0)
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write(tmp_path / "x.plan", make_sealed(), fail)

    assert list_files(tmp_path) == []


def test_a_file_system_that_fails_while_sealing_leaves_nothing(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "x.plan"

    def fail(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)

    with pytest.raises(ReconcileError) as caught:
        write(path, make_sealed(), make_batches)

    assert tell(caught) == (
        f"The plan file {path} can't be written: No space left on device.",
        NAME_WRITABLE,
    )
    assert list_files(tmp_path) == []


def test_a_draft_that_somebody_took_away_does_not_hide_what_failed(tmp_path: Path, monkeypatch) -> None:
    def fail(handle: int) -> None:
        [draft] = tmp_path.iterdir()
        draft.unlink()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)

    with pytest.raises(ReconcileError, match="No space left on device"):
        write(tmp_path / "x.plan", make_sealed(), make_batches)


def test_a_file_system_that_fills_up_while_drafting_is_an_error_with_a_next_step(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "x.plan"
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda dir: FullFile())

    with pytest.raises(ReconcileError) as caught:
        write(path, make_sealed(), make_batches)

    assert tell(caught) == (f"The plan file {path} can't be written: No space left on device.", NAME_WRITABLE)


def test_an_older_file_that_can_not_be_removed_is_an_error_with_a_next_step(tmp_path: Path, monkeypatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    path = tmp_path / "x.plan"
    path.write_bytes(OLDER)
    monkeypatch.setattr(Path, "unlink", fail)

    with pytest.raises(ReconcileError) as caught:
        plan_output(str(path)).discard()

    assert tell(caught) == (f"The plan file {path} can't be written: Operation not permitted.", NAME_WRITABLE)


def test_until_it_is_whole_a_hidden_file_beside_it_holds_what_is_written(tmp_path: Path, monkeypatch) -> None:
    seen = []
    monkeypatch.setattr(os, "fsync", lambda handle: seen.append((list_files(tmp_path), os.fstat(handle).st_size)))

    write(tmp_path / "x.plan", make_sealed(), make_batches)

    (during, size), (afterwards, _) = seen
    assert [name[:8] for name in during] == [".x.plan."]
    assert afterwards == ["x.plan"]
    assert size == (tmp_path / "x.plan").stat().st_size


@pytest.mark.parametrize("name", ["x" * 255, "\U0001f600" * 63], ids=["of one byte each", "of four bytes each"])
def test_a_name_may_be_as_long_as_the_file_system_takes(tmp_path: Path, name: str) -> None:
    write(tmp_path / name, make_sealed(), make_batches)

    assert list_files(tmp_path) == [name]


def test_an_older_plan_file_goes_whatever_its_name(tmp_path: Path) -> None:
    path = tmp_path / "plan.yaml"
    write(path, make_sealed(), make_batches)

    plan_output(str(path)).discard()

    assert not path.exists()


def test_discarding_what_is_not_there_is_fine(tmp_path: Path) -> None:
    plan_output(str(tmp_path / "x.plan")).discard()


def test_segments_spooled_from_several_threads_come_out_in_order(tmp_path: Path) -> None:
    path, sealed = tmp_path / "x.plan", make_sealed()
    with drafting(plan_output(str(path))) as draft:
        threads = [threading.Thread(target=draft.spool, args=(index, make_batches(index))) for index in (2, 0, 1)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        draft.seal(sealed)

    with closing(open_plan_file(path)) as file:
        assert [list(file.batches(index)) for index in range(3)] == [make_batches(index) for index in range(3)]


def test_batches_of_two_segments_can_be_read_side_by_side(tmp_path: Path) -> None:
    path = tmp_path / "x.plan"
    write(path, make_sealed(), make_batches)

    with closing(open_plan_file(path)) as file:
        pairs = list(zip(file.batches(0), file.batches(2), strict=True))

    assert pairs == [(batch, batch) for batch in make_batches(0)]


def test_a_file_cut_short_after_it_was_verified_is_refused_when_read_on(tmp_path: Path) -> None:
    path = tmp_path / "x.plan"
    write(path, make_sealed(), make_batches)

    with closing(open_plan_file(path)) as file:
        os.truncate(path, path.stat().st_size // 2)
        with pytest.raises(PlanFileError, match="damaged"):
            list(file.batches(2))


def edit_and_read_on(path: Path, old: bytes, new: bytes) -> pytest.ExceptionInfo[PlanFileError]:
    """Change a plan file in place while it is open, after it was verified, and read its batches."""
    with closing(open_plan_file(path)) as file:
        content = path.read_bytes()
        with path.open("r+b") as other:
            other.write(content.replace(old, new))
        with pytest.raises(PlanFileError) as caught:
            list(file.batches(0))
    return caught


def test_a_file_edited_in_place_after_it_was_verified_is_refused_when_read_on(tmp_path: Path) -> None:
    path = tmp_path / "x.plan"
    write(path, make_sealed(), make_batches)

    caught = edit_and_read_on(path, b"gone7", b"kept7")

    assert tell(caught) == (f"The plan file {path} is damaged or was edited: it changed after it was verified.", AGAIN)


def test_an_edit_that_a_checksum_of_32_bits_can_not_see_meets_the_rules_of_batches(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "x.plan"
    write(path, make_sealed(), make_batches)
    monkeypatch.setattr(zlib, "crc32", lambda line: 7)

    caught = edit_and_read_on(path, b'"gone7"', b"7".ljust(7))

    assert tell(caught) == (f"The plan file {path} is damaged or was edited: a batch does not hold ids.", AGAIN)


def test_a_disk_that_fails_after_it_was_verified_is_an_error_with_a_next_step(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "x.plan"
    write(path, make_sealed(), make_batches)
    with closing(open_plan_file(path)) as file:
        monkeypatch.setattr(os, "pread", fail_to_read)

        with pytest.raises(PlanFileError) as caught:
            list(file.batches(0))

    assert tell(caught) == (f"The plan file {path} can't be read: Input/output error.", AGAIN)


def test_a_disk_that_fails_while_verifying_is_an_error_with_a_next_step(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "x.plan"
    write(path, make_sealed(), make_batches)
    monkeypatch.setattr(os, "fdopen", lambda handle, mode: FailingFile(io.FileIO(handle)))

    with pytest.raises(PlanFileError) as caught:
        open_plan_file(path)

    assert tell(caught) == (f"The plan file {path} can't be read: Input/output error.", AGAIN)


def test_no_secret_is_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "x.plan"
    write(path, make_sealed(), make_batches)

    text = path.read_text()
    assert "hush" not in text
    assert "sqlite" not in text
    assert "SELECT" not in text


@pytest.mark.parametrize("content", [b"version: 1\n", b"\xff\xfe", b'{"reconcile"'])
def test_another_file_is_no_plan_file(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "other"
    path.write_bytes(content)

    assert not is_plan_file(path)
    with pytest.raises(PlanFileError) as caught:
        open_plan_file(path)
    assert tell(caught) == (f"{path} is not a plan file.", AGAIN)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("", "it is a folder, not a plain file"),
        ("pipe", "it is a FIFO, not a plain file"),
        ("missing", "No such file or directory"),
    ],
)
def test_folders_pipes_and_missing_files_are_no_plan_files(tmp_path: Path, name: str, why: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    path = tmp_path / name

    assert not is_plan_file(path)
    with pytest.raises(PlanFileError) as caught:
        open_plan_file(path)
    assert tell(caught) == (f"The plan file {path} can't be read: {why}.", AGAIN)


def test_a_plan_file_is_told_by_how_it_begins(tmp_path: Path) -> None:
    path = tmp_path / "no-extension"
    write(path, make_sealed(), make_batches)

    assert is_plan_file(path)


def test_a_plan_file_that_was_cut_off_in_its_first_bytes_is_told_from_a_spec(tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    write(whole, make_sealed(), make_batches)
    content = whole.read_bytes()

    def is_left(name: str, content: bytes) -> bool:
        (tmp_path / name).write_bytes(content)
        return is_plan_file(tmp_path / name)

    assert all(is_left("vip.plan", content[:length]) for length in (0, 1, 9))
    assert not is_left("vip.plan", b"segments:")
    assert not is_left("vip.plan", content[1:])
    assert not any(is_left(name, content[:1]) for name in ("spec.yaml", "spec.yml"))
    assert not any(map(is_plan_file, (tmp_path, tmp_path / "missing")))
    (tmp_path / "cut.plan").write_bytes(content[:9])
    with pytest.raises(PlanFileError, match="is not a plan file"):
        open_plan_file(tmp_path / "cut.plan")


def test_an_id_that_is_no_unicode_is_refused_without_being_shown(tmp_path: Path) -> None:
    with pytest.raises(ReconcileError) as caught, drafting(plan_output(str(tmp_path / "x.plan"))) as draft:
        draft.spool(0, [Batch(Direction.ADD, ("secret-member\ud800",))])

    assert tell(caught) == ("A name or an id is not valid Unicode, so no plan file can be written.", "")
    assert caught.value.__cause__ is None


# --- an undo -----------------------------------------------------------------------------------------------------


def seal_undo() -> SealedPlan:
    counts = Counts(desired=None, stored=1500, remove=10, add=1200, unchanged=1490, held=1500, sent_since=3)
    segments = (samples.make_plan(counts=counts), samples.make_plan(counts=counts, paused=True))
    undone = Plan(samples.TWO_AM, segments, undo_of="run-1")
    return seal(undone, "plan-1", "0.1.0", Path.cwd(), "wrong table")


def test_an_undo_is_read_as_it_was_sealed_without_the_segments_that_were_left_out(tmp_path: Path) -> None:
    path, sealed = tmp_path / "undo.plan", seal_undo()
    with drafting(plan_output(str(path))) as draft:
        for spooled in (3, 1):
            draft.spool(spooled, make_batches(0))
        draft.spool(2, [Batch(Direction.ADD, ("left out",))])
        draft.seal(sealed, [1, 3])

    with closing(open_plan_file(path)) as file:
        assert file.plan == sealed
        assert [list(file.batches(index)) for index in (0, 1)] == [make_batches(0)] * 2
    assert (sealed.undo_of, sealed.reason, sealed.segments[0].counts.desired) == ("run-1", "wrong table", None)


def test_an_undo_has_a_format_that_a_version_without_undo_refuses_by_name(tmp_path: Path) -> None:
    for name, sealed in (("undo.plan", seal_undo()), ("sealed.plan", make_sealed())):
        write(tmp_path / name, sealed, make_batches)
    assert (tmp_path / "undo.plan").read_bytes().startswith(b'{"reconcile_plan":2,')
    plan = (tmp_path / "sealed.plan").read_bytes()
    assert plan.startswith(b'{"reconcile_plan":1,')
    assert b"undo_of" not in plan, "an older version reads a plan as before"


def test_an_undo_is_bound_to_all_but_whether_its_segment_is_paused() -> None:
    running, paused = samples.make_target(), samples.make_target(paused=True)
    assert running.definition() != paused.definition()
    assert running.definition(is_undo=True) == paused.definition(is_undo=True)
    assert running.definition(is_undo=True) != samples.make_target(create=True).definition(is_undo=True)
