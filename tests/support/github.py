"""A repository on GitHub, and a runner for its workflows: real bash, real git, fakes for what reaches outside."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.fakes import ci_commands
from tests.support import fork_command
from tests.support.forks import find_server

ROOT = Path(__file__).parents[2]
REPOSITORY = "acme/segments"
GIT = {
    **{
        f"GIT_{who}_{what}": value
        for who in ("AUTHOR", "COMMITTER")
        for what, value in (("NAME", "t"), ("EMAIL", "t@t"))
    },
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_SYSTEM": os.devnull,
}


@dataclass
class Run:
    """One run of a workflow."""

    id: str
    codes: list[int] = field(default_factory=list)
    """The exit code of each step that has run."""
    printed: str = ""
    summary: str = ""
    outputs: dict[str, str] = field(default_factory=dict)
    """Of the action of this tree, if a step was one."""

    @property
    def ok(self) -> bool:
        return not any(self.codes)


@dataclass
class GitHub:
    """A repository with its secrets. A job that names an environment gets the secrets of that, too."""

    folder: Path
    secrets: dict[str, str] = field(default_factory=dict)
    production: dict[str, str] = field(default_factory=dict)
    variables: dict[str, str] = field(default_factory=dict)
    """Of the machine that a job runs on."""
    fork: str = REPOSITORY
    """The repository that pull requests come from."""
    runs: list[dict[str, str]] = field(default_factory=list)
    pulls: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.repository.mkdir(parents=True)
        self.git("init", "-q", "-b", "main")
        self.git("remote", "add", "origin", self.url)
        self.outside = self.folder / "outside"
        self.outside.mkdir()
        self.commands = make_commands(self.folder / "bin", self.outside)
        self._write()

    # --- the repository ---

    @property
    def repository(self) -> Path:
        return self.folder / "repository"

    @property
    def url(self) -> str:
        return f"file://{self.repository}"

    def git(self, *words: str, folder: Path | None = None) -> str:
        done = subprocess.run(
            ["git", *words],
            cwd=folder or self.repository,
            env={**os.environ, **GIT},
            check=True,
            capture_output=True,
            text=True,
        )
        return done.stdout.strip()

    def commit(self, files: Mapping[str, str], branch: str = "main") -> str:
        """Write files and commit them on a branch, which begins at main; gives the commit."""
        self.git("checkout", "-q", *([] if branch in self.git("branch") else ["-b"]), branch)
        for name, text in files.items():
            path = self.repository / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", "change")
        commit = self.git("rev-parse", "HEAD")
        self.git("checkout", "-q", "main") if branch != "main" and "main" in self.git("branch") else None
        return commit

    def merge(self, branch: str) -> None:
        """Merge a pull request."""
        self.git("merge", "-q", "--no-ff", "-m", "merge", branch)
        self.pulls[self.git("rev-parse", "HEAD")] = [{"head": {"sha": self.git("rev-parse", branch)}}]
        self._write()

    def _write(self) -> None:
        (self.outside / "pulls.json").write_text(json.dumps(self.pulls))
        (self.outside / "runs.json").write_text(json.dumps(self.runs))

    # --- what lies outside ---

    @property
    def comments(self) -> list[dict[str, Any]]:
        file = self.outside / "comments.json"
        return json.loads(file.read_text()) if file.exists() else []

    def calls(self, name: str) -> list[list[str]]:
        """The calls of a command, with their arguments."""
        file = self.outside / "calls"
        calls = [call.split("\x1f")[:-1] for call in file.read_text().split("\x1e")[:-1]] if file.exists() else []
        return [words[1:] for words in calls if words[0] == name]

    # --- the runner ---

    def run(self, workflow: str, event: str, *, branch: str = "main", inputs: Mapping[str, Any] | None = None) -> Run:
        """Run the jobs of a workflow as an event starts them; `branch` is that of a pull request or push."""
        document = yaml.safe_load((self.repository / ".github/workflows" / workflow).read_text())
        assert event in document[True], f"{workflow} does not run at {event}"  # YAML reads `on` as a boolean
        run = Run(str(1000 + len(self.runs)))
        head = self.git("rev-parse", branch)
        self.runs.append({"databaseId": run.id, "workflow": workflow, "event": event, "commit": head})
        self._write()
        ref = f"refs/heads/{branch}"
        if event == "pull_request":
            ref = "refs/pull/7/merge"
            self.git("checkout", "-q", "--detach", "main")
            self.git("merge", "-q", "--no-ff", "-m", "merge", branch)
            self.git("update-ref", ref, "HEAD")
            self.git("checkout", "-q", "main")
        github = {
            "event_name": event,
            "event": {"number": 7, "pull_request": {"head": {"repo": {"full_name": self.fork}}}},
            "repository": REPOSITORY,
            "ref": ref,
            "sha": self.git("rev-parse", ref),
            "token": "a-token",
        }
        form = document[True][event]["inputs"] if inputs else {}
        given: dict[str, Any] = {
            name: key.get("default", False if key.get("type") == "boolean" else "") for name, key in form.items()
        }
        given |= dict(inputs or {})
        assert given.keys() == form.keys()
        for name, job in document["jobs"].items():
            secrets = self.secrets | (self.production if job.get("environment") == "production" else {})
            contexts = {"github": github, "secrets": secrets, "inputs": given}
            if "if" not in job or evaluate(job["if"], contexts, [], self.folder):
                folder = self.folder / "runs" / f"{run.id}-{name}"
                folder.mkdir(parents=True)
                run.codes += self._run_job(run, document, job, contexts, folder)
        summary = self.folder / f"summary-{run.id}.md"
        run.summary = summary.read_text() if summary.exists() else ""
        return run

    def _run_job(
        self, run: Run, workflow: Mapping[str, Any], job: Mapping[str, Any], contexts: dict[str, Any], folder: Path
    ) -> list[int]:
        """Run the steps of a job; gives their exit codes."""
        codes: list[int] = []
        for step in job["steps"]:
            if not evaluate(step.get("if", "success()"), contexts, codes, folder):
                continue
            names = {**workflow.get("env", {}), **job.get("env", {}), **step.get("env", {})}
            variables = {name: fill(value, contexts) for name, value in names.items()}
            if "run" in step:
                is_bash = workflow.get("defaults", {}).get("run", {}).get("shell") == "bash"
                codes.append(self._run_script(run, step, variables, contexts, folder, is_bash=is_bash))
            elif step["uses"].startswith("actions/"):
                self._use(step, contexts["github"], run, folder)
            else:
                codes.append(self._run_action(run, step, variables, contexts, folder))
        return codes

    def _run_script(
        self,
        run: Run,
        step: Mapping[str, Any],
        variables: Mapping[str, str],
        contexts: dict[str, Any],
        folder: Path,
        *,
        is_bash: bool,
    ) -> int:
        script, outputs = self.folder / "step.sh", self.folder / "outputs"
        script.write_text(step["run"])
        outputs.write_text("")
        options = ["--noprofile", "--norc", "-eo", "pipefail"] if is_bash else ["-e"]
        own = {
            "GITHUB_ACTIONS": "true",
            "GITHUB_OUTPUT": str(outputs),
            "GITHUB_REPOSITORY": REPOSITORY,
            "GITHUB_RUN_ID": run.id,
            "GITHUB_SHA": contexts["github"]["sha"],
            "GITHUB_STEP_SUMMARY": str(self.folder / f"summary-{run.id}.md"),
        }
        done = self.bash([*options, str(script)], folder, {**self.variables, **variables, **own})
        run.printed += done.stdout
        if "id" in step:
            written = dict(line.split("=", 1) for line in outputs.read_text().splitlines())
            contexts.setdefault("steps", {})[step["id"]] = {"outputs": written}
        return done.returncode

    def _run_action(
        self, run: Run, step: Mapping[str, Any], variables: Mapping[str, str], contexts: dict[str, Any], folder: Path
    ) -> int:
        """Run the action of this tree, and give 1 if a step of it failed. Its steps have the variables of the job."""
        action, given = yaml.safe_load((ROOT / "action.yml").read_text()), step.get("with", {})
        assert given.keys() <= action["inputs"].keys()
        inputs = {
            name: fill(given.get(name, each.get("default", "")), contexts) for name, each in action["inputs"].items()
        }
        inside: dict[str, Any] = {**contexts, "inputs": inputs, "steps": {}}
        codes: list[int] = []
        for part in action["runs"]["steps"]:
            if not evaluate(part.get("if", "success()"), inside, codes, folder):
                continue
            if "uses" in part:
                self._use(part, contexts["github"], run, folder)
                continue
            own = {name: fill(value, inside) for name, value in part.get("env", {}).items()}
            own["GITHUB_ACTION_PATH"] = str(ROOT)
            codes.append(
                self._run_script(run, part, {**variables, **own}, inside, folder, is_bash=part["shell"] == "bash")
            )
        outputs = {name: fill(each["value"], inside) for name, each in action["outputs"].items()}
        run.outputs = outputs
        contexts.setdefault("steps", {})[step.get("id", "")] = {"outputs": outputs}
        return int(any(codes))

    def _use(self, step: Mapping[str, Any], github: Mapping[str, Any], run: Run, folder: Path) -> None:
        """Do what an action does."""
        action, keys = step["uses"].partition("@")[0], step.get("with", {})
        if action == "actions/checkout":
            self.git("init", "-q", folder=folder)
            self.git("remote", "add", "origin", self.url, folder=folder)
            depth, ref = str(keys.get("fetch-depth", 1)), keys.get("ref", github["ref"])
            self.git("fetch", "-q", "--depth", depth, "origin", ref, folder=folder)
            self.git("checkout", "-q", "--detach", "FETCH_HEAD", folder=folder)
        elif action == "actions/upload-artifact":
            target = self.outside / "artefacts" / run.id / keys["name"]
            target.mkdir(parents=True, exist_ok=True)
            shutil.copy(folder / keys["path"], target)
        else:
            assert action == "actions/setup-python"

    def bash(self, words: list[str], folder: Path, variables: Mapping[str, str]) -> "subprocess.CompletedProcess[str]":
        """Run bash with these variables and no others; what it prints on both streams is in `stdout`."""
        return subprocess.run(
            ["bash", *words],
            cwd=folder,
            env={"PATH": f"{self.commands}:/usr/bin:/bin", "HOME": str(self.folder), **variables},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=240,
        )


def make_commands(folder: Path, outside: Path) -> Path:
    """Make a folder for PATH: `reconcile` of this tree, `python`, and fakes for what reaches outside."""
    folder.mkdir()
    (folder / "python").symlink_to(sys.executable)
    client = [sys.executable, "-I", "-S", fork_command.__file__, find_server()]
    lines = {"reconcile": f'exec {shlex.join(client)} "$@"'}
    gh = [sys.executable, "-I", "-S", ci_commands.__file__, str(outside)]
    calls, sent = (shlex.quote(f"{outside}/{name}") for name in ("calls", "sent.json"))
    work = {"gh": f'exec {shlex.join(gh)} "$@"', "curl": f"cat > {sent}", "pip": "", "sleep": ""}
    for name, line in work.items():  # each notes its call: as words ended by 037, and 036
        lines[name] = f"printf '%s\\037' {name} \"$@\" >> {calls}; printf '\\036' >> {calls}\n{line}"
    for name, line in lines.items():
        (folder / name).write_text(f"#!/bin/sh\n{line}\n")
        (folder / name).chmod(0o755)
    return folder


def fill(value: object, contexts: Mapping[str, Any]) -> str:
    """Give the value of a variable with its expressions put in."""
    return re.sub(r"\$\{\{(.*?)\}\}", lambda found: to_text(evaluate(found[1], contexts, [], Path())), str(value))


def to_text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


_TOKEN = re.compile(r"\s*('(?:[^']|'')*'|&&|\|\||[!=]=|!|[(),]|[\w.-]+)")
_OPERATORS = {"&&": "and", "||": "or", "!": "not"}


def evaluate(expression: str, contexts: Mapping[str, Any], codes: list[int], folder: Path) -> object:
    """Give the value of an expression of a workflow; `codes` are those of the steps before."""
    functions = {
        "success": lambda: not any(codes),
        "failure": lambda: any(codes),
        "cancelled": lambda: False,
        "hashFiles": lambda name: "a hash" if (folder / name).exists() else "",
    }
    words = []
    for token in _TOKEN.findall(expression.replace("${{", "").replace("}}", "")):
        if token in _OPERATORS or not re.match(r"[\w.-]", token):
            words.append(_OPERATORS.get(token, repr(token[1:-1]) if token[0] == "'" else token))
        else:
            words.append(f"functions[{token!r}]" if token in functions else repr(look_up(token, contexts)))
    value = eval(" ".join(words), {"functions": functions})
    says_when = any(f"{name}()" in expression for name in ("success", "failure", "cancelled", "always"))
    return value if says_when or not codes else value and not any(codes)


def look_up(name: str, contexts: Mapping[str, Any]) -> Any:
    """Give a value of a context. A secret, input or output that is not there is empty, as at GitHub."""
    value: Any = contexts
    first, *rest = name.split(".")
    value = contexts[first]
    for part in rest:
        if part not in value and first in ("inputs", "secrets", "steps"):
            return ""
        value = value[part]
    return value
