"""dbt's `dbt_project.yml` and `profiles.yml`: which target a project uses, and the values of its connection.

Of Jinja, `env_var` alone is read: whatever else stands there is refused, as its meaning is dbt's.
"""

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from reconciler.models.fields import Resolved
from reconciler.models.urls import resolve_path
from reconciler.spec.draft import suggest
from reconciler.spec.files import list_first, read_text
from reconciler.spec.yaml_reader import Document, KeyPath, Malformed, parse, show

_ENV_VAR = re.compile(
    r"\{\{\s*env_var\(\s*(?P<quote>['\"])(?P<name>\w+)(?P=quote)\s*"
    r"(?:,\s*(?:(?P<mark>['\"])(?P<text>[^'\"\\{}]*)(?P=mark)|(?P<bare>[0-9]+|[Tt]rue|[Ff]alse))\s*)?\)\s*"
    r"(?:\|\s*(?:as_text|as_number|as_bool|as_native|int|string)\s*)?\}\}"
)
"""`{{ env_var('NAME') }}`, also with a default, and with a filter that says the type, which the key says here."""

_JINJA = re.compile(r"\{\{|\{%|\{#")


class Refused(Exception):
    """What keeps a source or a model from being read. `path` None: the spec's own key is wrong, which it continues."""

    def __init__(self, message: str, path: Path | None = None, line: int = 1, variable: str | None = None) -> None:
        super().__init__(message)
        self.message, self.path, self.line = message, path, line
        self.variable = variable
        """The one that is not set."""


@dataclass(frozen=True)
class Project:
    """A dbt project: where it is, the name of its profile, and where dbt writes its manifest."""

    folder: Path
    profile: str
    manifest: Path


@dataclass
class Output:
    """One target of a profile, with its variables read. Notes which keys were asked for."""

    project: Project
    target: str
    document: Document
    where: KeyPath
    values: Mapping[str, object] = field(repr=False)
    asked: set[str] = field(default_factory=set)

    def refuse(self, key: str, message: str) -> Refused:
        """Give what is wrong with a key, or with what should be there; the message continues its name."""
        line = self.document.line((*self.where, key))
        return Refused(f"`{show(key)}` of target `{show(self.target)}` {message}", self.document.path, line)

    def value(self, *keys: str) -> object:
        """Give the value of the first of these keys that is there; None: none is, or it is empty."""
        self.asked.update(keys)
        return next((self.values[key] for key in keys if self.values.get(key) not in (None, "")), None)

    def text(self, *keys: str) -> str | None:
        """Give a value as a text. Raises Refused for one that is none."""
        value = self.value(*keys)
        if value is None or isinstance(value, str):
            return value
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
        raise self.refuse(keys[0], "must be a text")

    def need(self, *keys: str) -> str:
        """Give a text that must be there."""
        text = self.text(*keys)
        if text is None:
            raise self.refuse(keys[0], "is missing or empty")
        return text

    def number(self, key: str) -> int | None:
        """Give a whole number, also one from a variable."""
        text = self.text(key)
        if text is not None and not re.fullmatch(r"[0-9]{1,9}", text.strip()):
            raise self.refuse(key, "must be a whole number")
        return None if text is None else int(text)

    def path(self, key: str) -> str | None:
        """Give the absolute path of a file; a relative one starts at the project, where dbt is run."""
        name = self.text(key)
        if name is None:
            return None
        try:
            path = Resolved(resolve_path(name, self.project.folder))
        except ValueError as error:
            raise self.refuse(key, str(error)) from None
        return path if isinstance(name, Resolved) else str(path)  # from a variable it is hidden in messages

    def finish(self, ignored: Iterable[str]) -> None:
        """Refuse keys that nothing has asked for: what they would change of the connection is not known."""
        others = set(self.values) - self.asked - {"type", "threads", *ignored}
        given = sorted(key for key in others if self.values[key] not in (None, "", False))
        if given:
            raise self.refuse(given[0], "is not known here; leave it out, or give the source its `url` and `options`")


def read_project(folder: Path, environment: Mapping[str, str]) -> Project:
    """Read `dbt_project.yml`. Raises Refused."""
    path = folder / "dbt_project.yml"
    if not path.is_file():
        raise Refused(f"names a folder without a dbt_project.yml: {path.parent}")
    document = read_yaml(path)
    values = document.data if isinstance(document.data, dict) else {}
    profile = environment.get("DBT_PROFILE") or render(document, ("profile",), values.get("profile"), environment)
    if not isinstance(profile, str) or not profile:
        raise Refused("`profile` is missing", path, document.line(("profile",)))
    target_path = environment.get("DBT_TARGET_PATH") or render(
        document, ("target-path",), values.get("target-path"), environment
    )
    return Project(folder, str(profile), folder / str(target_path or "target") / "manifest.json")


def find_profiles(folder: Path, environment: Mapping[str, str]) -> Path:
    """Find `profiles.yml` where dbt looks for it: $DBT_PROFILES_DIR alone, else project, working and home folder."""
    if named := environment.get("DBT_PROFILES_DIR"):
        folders = [Path(named).expanduser()]
    else:
        folders = [folder, Path.cwd(), Path(os.path.expanduser("~/.dbt"))]  # noqa: PTH111 (never raises)
    for each in folders:
        if (each / "profiles.yml").is_file():
            return each / "profiles.yml"
    listed = ", ".join(dict.fromkeys(str(each) for each in folders))
    raise Refused(f"has no profiles.yml in {listed}; put it there, or its folder into DBT_PROFILES_DIR")


def read_output(project: Project, target: str | None, environment: Mapping[str, str]) -> Output:
    """Read one target of the project's profile: `target`, else DBT_TARGET, else that of the profile. Raises Refused."""
    path = find_profiles(project.folder, environment)
    document = read_yaml(path)
    profiles = document.data if isinstance(document.data, dict) else {}
    profile = profiles.get(project.profile)
    if not isinstance(profile, dict):
        known = [name for name in profiles if name != "config"]
        raise Refused(f"there is no profile `{show(project.profile)}`{suggest(project.profile, known)}", path)
    where: KeyPath = (project.profile,)
    named = render(document, (*where, "target"), profile.get("target"), environment) if not target else None
    chosen = str(target or environment.get("DBT_TARGET") or named or "default")
    outputs = profile.get("outputs")
    values = outputs.get(chosen) if isinstance(outputs, dict) else None
    if not isinstance(values, dict):
        known = list(outputs) if isinstance(outputs, dict) else []
        listed = list_first([show(name) for name in known])
        message = f"profile `{show(project.profile)}` has no target `{show(chosen)}`; it has: {listed or 'none'}"
        raise Refused(message, path, document.line((*where, "outputs")))
    where = (*where, "outputs", chosen)
    rendered = {key: render(document, (*where, key), value, environment) for key, value in values.items()}
    return Output(project, chosen, document, where, rendered)


def read_yaml(path: Path) -> Document:
    """Read a file of dbt's with the lines of its keys. Raises Refused, also where dbt may read it otherwise."""
    try:
        document = parse(path, read_text(path))
    except ValueError as error:
        raise Refused(f"the file {error}", path) from None
    except Malformed as error:
        message = error.message.partition(";")[0] if "spec" not in error.message else "The file is no mapping."
        raise Refused(message, path, error.line) from None
    if document.doubts:
        line, message = document.doubts[0]
        raise Refused(message.partition(";")[0], path, line)
    return document


def render(document: Document, where: KeyPath, value: object, environment: Mapping[str, str]) -> object:
    """Replace `env_var` in a value and in all below it. A text made so may hold a secret. Raises Refused."""
    if isinstance(value, dict):
        return {key: render(document, (*where, key), child, environment) for key, child in value.items()}
    if isinstance(value, list):
        return [render(document, (*where, at), child, environment) for at, child in enumerate(value)]
    if not isinstance(value, str) or not _JINJA.search(value):
        return value
    place, line = document.path, document.line(where)
    key = show(str(where[-1]))
    if _JINJA.search(_ENV_VAR.sub("", value)):
        message = "holds Jinja of which only env_var('NAME') and env_var('NAME', 'default') are read here"
        raise Refused(f"`{key}` {message}; give the source its `url` instead", place, line)

    def fill(match: re.Match[str]) -> str:
        name, default = match["name"], match["text"] if match["text"] is not None else match["bare"]
        if name not in environment and default is None:
            raise Refused(f"`{key}` needs {name}, which is not set in the environment", place, line, name)
        return environment.get(name, default or "")

    made = _ENV_VAR.sub(fill, value)
    resolved = Resolved(made)
    resolved.names = tuple(match["name"] for match in _ENV_VAR.finditer(value))
    return resolved
