"""A process that is killed at any moment leaves a state from which the next run goes on."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from reconciler.models.batches import Batch, Direction
from reconciler.models.fields import Secret
from reconciler.models.spec import StateSettings
from reconciler.state import open_store
from tests.support.states import StateFixture, make_target

pytestmark = pytest.mark.slow

CHILD = """
import json, sys
from reconciler.models.batches import BatchResult, Batch, Direction, Outcome
from reconciler.models.spec import Secret, StateSettings
from reconciler.state import open_store
from tests.support.states import make_target

settings = StateSettings(url=Secret(sys.argv[1]))
say = lambda *what: print(json.dumps(what), flush=True)
with open_store(settings) as store, store.lock(make_target(settings), "run", "apply", None) as segment:
    for number in range(1000):
        ids = tuple(f"{number:04}-{part}" for part in range(100))
        (seq,) = segment.intend([Batch(Direction.ADD, ids)])
        say("intended", ids)
        segment.settle([(seq, BatchResult(Outcome.ACKNOWLEDGED, 1))])
        say("acknowledged", ids)
        if number % 7 == 6:
            segment.compact()
"""


@pytest.mark.parametrize("lines", [1, 2, 13, 14, 15, 40])
def test_no_intent_is_lost_and_no_acknowledgement(url: str, lines):
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, url], stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[3]
    )
    assert child.stdout is not None
    said = [json.loads(child.stdout.readline()) for _ in range(lines)]
    child.kill()
    said += [json.loads(line) for line in child.stdout.read().splitlines(keepends=True) if line.endswith("\n")]
    child.stdout.close()
    child.wait()

    settings = StateSettings(url=Secret(url))
    with open_store(settings) as store, store.lock(make_target(settings), "next run", "apply", None) as segment:
        census = segment.count()
        segment.intend([Batch(Direction.ADD, ("after",))])
        segment.complete()

    contents = StateFixture(url).look()
    members = set(contents.members)
    unsettled = {id for id, mark, direction in contents.marks if (mark, direction) == ("unsettled", "add")}
    for what, ids in said:
        if what == "acknowledged":
            assert members.issuperset(ids)
        else:
            assert (members | unsettled).issuperset(ids)
    assert (census.stored, census.unsettled) == (len(members), len(unsettled))
    assert len(unsettled) <= 100
    assert contents.journal == (("add", None, ("after",)),)
