"""The command `gh` of a job in CI, which reaches outside.

Called as `python ci_commands.py FOLDER ARGUMENTS…`; the folder is the one that tests/support/github.py keeps.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

BOT = "github-actions[bot]"
OWN_COMMENT = (
    '.[] | select(.user.login == "github-actions[bot]" and (.body | startswith(env.MARKER))) | .id'  # as in the page
)
FILTERS: dict[str, Callable[[Any], list[Any]]] = {
    OWN_COMMENT: lambda comments: [
        each["id"]
        for each in comments
        if each["user"]["login"] == BOT and each["body"].startswith(os.environ["MARKER"])
    ],
    '.[0].head.sha // "none"': lambda pulls: [pulls[0]["head"]["sha"] if pulls else "none"],
    ".[0].databaseId // empty": lambda runs: [runs[0]["databaseId"]] if runs else [],
}
"""What each filter of the page gives. Where there is a jq, it must say the same."""


def main(folder: Path, words: list[str]) -> int:
    return {"api": api, "run": run}[words[0]](folder, words[1:])


def api(folder: Path, words: list[str]) -> int:
    """`gh api`: the comments of an issue, and the pull requests of a commit."""
    flags, (path,) = split(words, ("--method", "--field", "--jq"))
    file = folder / "comments.json"
    comments = json.loads(file.read_text()) if file.exists() else []
    method, kind = flags.get("--method", "GET"), path.split("/")[3]
    if kind == "commits":
        pulls = json.loads((folder / "pulls.json").read_text())
        show(flags["--jq"], pulls.get(path.split("/")[4], []))
    elif method == "GET":
        show(flags["--jq"], [each for each in comments if each["issue"] == path.split("/")[4]])
    else:
        key, _, source = flags["--field"].partition("=@")
        assert key == "body"
        body = Path(source).read_text()
        assert len(body) < 65_536, "GitHub refuses longer comments"
        if method == "POST":
            comments.append(
                {"id": len(comments) + 1, "issue": path.split("/")[4], "user": {"login": BOT}, "body": body}
            )
        else:
            assert method == "PATCH"
            (comment,) = [each for each in comments if str(each["id"]) == path.split("/")[-1]]
            comment["body"] = body
        file.write_text(json.dumps(comments))
    return 0


def run(folder: Path, words: list[str]) -> int:
    """`gh run list` and `gh run download`."""
    flags, rest = split(words, ("--workflow", "--event", "--commit", "--limit", "--json", "--jq", "--name"))
    if rest[0] == "list":
        runs = json.loads((folder / "runs.json").read_text())
        flags_of_gh = {"workflow": flags["--workflow"], "event": flags["--event"], "commit": flags["--commit"]}
        wanted = {key: value for key, value in flags_of_gh.items() if value}  # as gh: an empty one filters nothing
        found = [each for each in reversed(runs) if wanted.items() <= each.items()]
        show(flags["--jq"], found[: int(flags["--limit"])])
        return 0
    (number,) = rest[1:]
    artefact = folder / "artefacts" / number / flags["--name"]
    if not number.isdigit() or not artefact.is_dir():
        print("no valid artifacts found to download", file=sys.stderr)
        return 1
    shutil.copytree(artefact, ".", dirs_exist_ok=True)
    return 0


def split(words: list[str], with_value: tuple[str, ...]) -> tuple[dict[str, str], list[str]]:
    """Flags with their values (`--flag value` or `--flag=value`), and arguments; behind `--` are arguments only."""
    flags: dict[str, str] = {}
    rest, left = [], list(words)
    while left:
        word = left.pop(0)
        name, equals, value = word.partition("=")
        if word == "--":
            rest += left
            break
        if name in with_value:
            flags[name] = value if equals else left.pop(0)
        elif word.startswith("-"):
            flags[word] = ""
        else:
            rest.append(word)
    return flags, rest


def show(filter_: str, data: Any) -> None:
    """Print what a filter of jq gives, a line each."""
    known = re.sub(r"\s+", " ", filter_)
    lines = [str(value) for value in FILTERS[known](data)]
    if jq := shutil.which("jq"):
        done = subprocess.run([jq, "-r", filter_], input=json.dumps(data), capture_output=True, text=True, check=True)
        assert done.stdout.splitlines() == lines, (done.stdout, lines)
    print("".join(f"{line}\n" for line in lines), end="")


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
