"""Which modules are mutated, and which fast unit tests are meant to see it."""

Rounds = tuple[tuple[str, ...], ...]
"""What pytest is told, round after round, the quickest first: a mutant meets a round if it survived those before."""

_DAMAGE = "tests/unit/plan_file/test_damage.py"
_LONG = tuple(
    f"{_DAMAGE}::{name}"
    for name in (
        "test_every_changed_byte_is_refused",
        "test_every_place_where_it_can_be_cut_is_refused",
        "test_random_bytes_are_refused",
        "test_random_mutations_are_refused",
        "test_a_forger_who_gets_the_checksum_right_meets_no_traceback",
    )
)
"""Each opens hundreds of plan files: ten times the time of all others together."""
_QUICK = ("tests/unit/plan_file/test_keeping.py", _DAMAGE, *(f"--deselect={test}" for test in _LONG))
PLANFILE: Rounds = ((*_QUICK, "tests/unit/plan_file/test_checks.py"), _LONG)

_SETS = (
    *(f"tests/unit/diff/test_{name}.py" for name in ("workings", "failures", "comparison", "streams")),
    "--deselect=tests/unit/diff/test_streams.py::test_the_process_ends_without_a_word_of_duckdb",
)
_DRAWN = "(test_any_ or test_of_any_ or tells_which)"
"""Whatever Hypothesis draws."""
DIFF: Rounds = tuple((*_SETS, f"-k{names} and not server_stage") for names in (f"not {_DRAWN}", _DRAWN))

FOLDING = tuple(f"tests/unit/state/test_{name}.py" for name in ("life_of_an_id", "neighbours", "adopting", "folding"))

ROOMS: dict[str, Rounds] = {
    "core/ids.py": (("tests/unit/models/test_ids.py",),),
    "core/guards.py": (("tests/unit/models/test_guards.py", "tests/unit/models/test_limits.py"),),
    "core/counts.py": (("tests/unit/models/test_plans.py", "tests/unit/models/test_guards.py"),),
    "core/batches.py": (("tests/unit/models/test_plans.py",),),
    "core/plan.py": (("tests/unit/models/test_plans.py",),),
    "planfile/sealed.py": PLANFILE,
    "planfile/checks.py": (("tests/unit/plan_file/test_checks.py",),),
    "planfile/layout.py": PLANFILE,
    "planfile/reading.py": PLANFILE,
    "planfile/writing.py": PLANFILE,
    "diff/standing.py": (
        ("tests/unit/diff/test_standing.py",),
        ("tests/unit/diff/test_comparison.py", "-knot server_stage"),
    ),
    "diff/census.py": (
        ("tests/unit/diff/test_standing.py",),
        ("tests/unit/diff/test_failures.py", "-knot server_stage"),
    ),
    "diff/rules.py": (("tests/unit/diff/test_rules.py",),),
    "diff/blocks.py": (("tests/unit/diff/test_blocks.py",),),
    "diff/sets.py": DIFF,
    "diff/embedded.py": DIFF,
    "state/snapshot.py": (
        ("tests/unit/state/test_snapshot.py", "tests/unit/state/test_failures.py", "-knot postgresql"),
    ),
    "state/heads.py": (("tests/unit/state/test_snapshot.py", "-knot postgresql"),),
    "state/columns.py": (("tests/unit/state/test_columnar.py",), ("tests/unit/state/test_snapshot.py", "-kpostgresql")),
    "state/folding.py": ((*FOLDING, "-knot postgresql"),),
}
