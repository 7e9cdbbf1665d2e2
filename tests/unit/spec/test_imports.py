import subprocess
import sys


def test_reading_a_spec_imports_no_database_and_no_network():
    script = (
        "import sys, reconciler.operations.load, reconciler.spec\n"
        "reconciler.spec.make_schema()\n"
        "print(sorted({'sqlalchemy', 'duckdb', 'httpx', 'alembic', 'rich', 'typer'} & set(sys.modules)))"
    )

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert done.stdout == "[]\n"
