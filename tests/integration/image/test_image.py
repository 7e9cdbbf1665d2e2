"""What can be said of the container image without building it: its definition, and where a run writes."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.support.project import Project, people, segment

ROOT = Path(__file__).parents[3]

COMMANDS = [
    ["apply", "spec.yaml", "--yes", "--confirm"],
    ["plan", "spec.yaml", "--out", "out/night.plan"],
    ["drift", "spec.yaml"],
    ["report", "spec.yaml", "--out", "out/report.html"],
]

WATCHED = """
import json, os, sys

written = []

def watch(event, arguments):
    if event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
        written.append(os.fsdecode(arguments[0]) if not isinstance(arguments[0], int) else "")
    elif event in ("os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.truncate", "os.chmod", "sqlite3.connect"):
        written.append(os.fsdecode(arguments[0]) if not isinstance(arguments[0], int) else "")

sys.addaudithook(watch)
from reconciler.cli import run

codes = [run(words) for words in json.loads(sys.argv[1])]
print(json.dumps({"codes": codes, "written": sorted({os.path.abspath(each) for each in written if each})}))
"""


@pytest.fixture(scope="module")
def steps() -> list[tuple[str, str]]:
    """The instructions of the Dockerfile, each with its words."""
    text = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    return [(line.split()[0], " ".join(line.split()[1:])) for line in text.splitlines() if line.strip()]


def test_a_run_writes_below_its_folder_and_the_temporary_one_alone(project: Project):
    project.want("vip", people(*range(20)))
    project.write({"vip": segment(56, "vip")})
    temporary = project.folder / "tmp"
    for folder in (temporary, project.folder / "out"):
        folder.mkdir()
    environment = {"HOME": "/nonexistent", "TMPDIR": str(temporary), "PYTHONPATH": str(ROOT)}
    words = [sys.executable, "-B", "-c", WATCHED, json.dumps(COMMANDS)]

    done = subprocess.run(words, cwd=project.folder, env=environment, capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["codes"] == [0] * len(COMMANDS), done.stderr
    paths = [re.sub(r"^.*/file:|\?.*$", "", path) for path in found["written"]]
    assert str(project.state_file) in paths, "the test sees what is written"
    elsewhere = [path for path in paths if not path.startswith((f"{project.folder}/", "/dev/"))]
    assert elsewhere == []


def test_the_image_is_pinned_and_runs_as_nobody_in_particular(steps: list[tuple[str, str]]):
    images = [words.split()[0] for name, words in steps if name == "FROM"]
    assert all(re.search(r":\d+|-debian\d+:", image) for image in images), images
    users = [words for name, words in steps if name == "USER"]
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", users[-1]), "Kubernetes' runAsNonRoot reads a number alone"
    assert [name for name, _ in steps][-2:] == ["ENTRYPOINT", "CMD"]


def test_nothing_gets_into_the_image_unasked(steps: list[tuple[str, str]]):
    assert not [words for name, words in steps if name == "ADD" or "curl" in words or "wget" in words]
    assert not [words for name, words in steps if name in ("ARG", "ENV") and re.search(r"(?i)key|token|secret", words)]
    locked = next(words for name, words in steps if name == "RUN" and "requirements/" in words)
    assert "--require-hashes --requirement requirements/runtime.lock" in locked
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert next(line for line in ignored if not line.startswith("#")) == "*"


def test_what_the_wheel_is_built_from_is_copied(steps: list[tuple[str, str]]):
    copied = {each for name, words in steps if name == "COPY" and "--from" not in words for each in words.split()[:-1]}
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    document = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wheel, project = document["tool"]["hatch"]["build"]["targets"]["wheel"], document["project"]
    parts = {*wheel["packages"], *wheel["force-include"], project["readme"], *project["license-files"]}
    assert copied == allowed == parts | {"pyproject.toml", "requirements/runtime.lock"}
    assert all((ROOT / each).exists() for each in copied)
