"""Secrets and member ids appear nowhere they should not; Markdown stays small and harmless."""

import signal
from collections.abc import Callable, Iterator

import pytest

from reconciler.sandbox.faults import answers, drops, poison
from reconciler.sandbox.server import Credentials, Sandbox
from tests.support.project import Project, Result, segment

SITE, KEY, APP, PASSWORD = "siteCANARY1", "trackCANARY2", "appCANARY3", "pwCANARY4"
MEMBER = "MEMBERCANARY"


@pytest.fixture
def canaries(project: Project) -> Iterator[Project]:
    """A sandbox with keys, and a project with members, that are easy to find in any output."""
    with Sandbox(credentials=Credentials(SITE, KEY, APP)) as sandbox:
        sandbox.add_people((f"{MEMBER}{number:03}", f"{MEMBER}{number:03}@x.org") for number in range(200))
        for number in (56, 57, 58):
            sandbox.create_segment(f"S{number}", id=number)
        mine = Project(project.folder, sandbox, {"SITE": SITE, "KEY": KEY, "APP": APP, "PASSWORD": PASSWORD})
        mine.want("vip", [f"{MEMBER}{number:03}" for number in range(50)])
        write(mine, {"vip": segment(56, "vip")})
        yield mine


def write(project: Project, segments: dict[str, str], **more: str) -> None:
    project.write(segments, **more)
    text = project.spec.read_text().replace("site_id: sandbox-site", "site_id: ${SITE}")
    text = text.replace("app_api_key: sandbox-app-key", "app_api_key: ${APP}")
    project.spec.write_text(text.replace("api_key: sandbox-key", "api_key: ${KEY}"))


def clean(done: Result, *words: str) -> Result:
    said = done.out + done.err
    for canary in (SITE, KEY, APP, PASSWORD, MEMBER, MEMBER.lower(), *words):
        assert canary not in said, said
    return done


def everything(project: Project) -> None:
    """Every command in every format, as loud as can be."""
    for form in ("text", "json", "markdown"):
        for command in ("plan", "drift", "status", "history", "apply", "refresh"):
            words = ["--yes"] if command in ("apply", "refresh") else []
            clean(project.run(command, "spec.yaml", "--format", form, "--verbose", *words))
    for words in (
        ["validate", "spec.yaml", "--connect"],
        ["state", "show", "spec.yaml", "vip"],
        ["state", "upgrade", "spec.yaml"],
    ):
        clean(project.run(*words, "--verbose", "--log-format", "json"))


def test_no_command_says_a_secret_or_an_id(canaries: Project) -> None:
    everything(canaries)
    for path in (canaries.folder / ".reconcile").iterdir():
        held = path.read_bytes()
        for secret in (SITE, KEY, APP, PASSWORD):
            assert secret.encode() not in held, path.name


def echo_an_id(project: Project) -> None:
    """One member only: an API can name no id but those that it was sent."""
    project.want("vip", [f"{MEMBER}007"])
    words = f'{{"meta":{{"errors":["bad id {MEMBER}007 for {KEY}"]}}}}'
    project.sandbox.inject(answers(400, body=words, path="*add_customers", times=None))


TROUBLE: dict[str, Callable[[Project], object]] = {
    "poison": lambda p: p.sandbox.inject(poison(f"{MEMBER}003")),
    "400 that repeats an id": echo_an_id,
    "403 with a page": lambda p: p.sandbox.inject(
        answers(403, body=f"<html>{APP} {MEMBER}001 {KEY}</html>", content_type="text/html", times=None)
    ),
    "lost connections": lambda p: p.sandbox.inject(drops(path="*add_customers", times=None)),
    "revoked": lambda p: p.sandbox.configure(track_key_revoked=True, app_key_revoked=True),
    "invalid ids": lambda p: p.want("vip", [f" {MEMBER}1", f"{MEMBER}\x01"]),
    "a query that fails on a value": lambda p: write(
        p, {"vip": f"segment_id: 56\nquery: SELECT abs(id) + json(id) FROM vip WHERE id > '{MEMBER}'"}
    ),
    "a syntax error": lambda p: write(p, {"vip": "segment_id: 56\nquery: SELECT FROM WHERE"}),
    "a warehouse that is not there": lambda p: p.spec.write_text(
        p.spec.read_text().replace("sqlite:///warehouse.db", "postgresql://user:${PASSWORD}@127.0.0.1:1/none")
    ),
    "a url that is none": lambda p: p.spec.write_text(
        p.spec.read_text().replace("sqlite:///warehouse.db", "nosuch://user:${PASSWORD}@host/x")
    ),
    "a sentinel that is not there": lambda p: write(
        p, {"vip": segment(56, "vip", f"guards: {{must_include: [{MEMBER}199]}}")}
    ),
    "a wrong pin": lambda p: write(p, {"vip": segment(56, "vip")}, destination="workspace_id: 9"),
}


@pytest.mark.parametrize("trouble", TROUBLE)
def test_no_failure_says_a_secret_or_an_id(canaries: Project, trouble: str) -> None:
    TROUBLE[trouble](canaries)
    for words in (["plan", "--format", "markdown"], ["apply", "--verbose", "--log-format", "json"]):
        said = clean(canaries.run(words[0], "spec.yaml", *words[1:]))
        assert "unexpected" not in said.err + said.out
    assert said.code in (1, 3, 6, 64)
    for run in canaries.json("history").document["runs"] if canaries.state_file.exists() else ():
        clean(canaries.run("history", "spec.yaml", run["run_id"], "--format", "json"))
        clean(canaries.run("history", "spec.yaml", run["run_id"]))


@pytest.mark.parametrize("where", ["api_key", "app_api_key", "url", "segment_id", "colour"])
def test_a_wrong_spec_does_not_repeat_a_secret(canaries: Project, where: str) -> None:
    text = canaries.spec.read_text()
    canaries.spec.write_text(
        {
            "api_key": text.replace("api_key: ${KEY}", "api_key: [${KEY}]"),
            "app_api_key": text.replace("app_api_key: ${APP}", "app_api_key: {x: ${APP}}"),
            "url": text.replace("url: sqlite:///warehouse.db", "url: ['x://u:${PASSWORD}@h']"),
            "segment_id": text.replace("segment_id: 56", "segment_id: ${KEY}"),
            "colour": text.replace("segment_id: 56", "segment_id: 56\n    colour: ${PASSWORD}"),
        }[where]
    )
    for command in ("plan", "validate"):
        assert clean(canaries.run(command, "spec.yaml", "--verbose")).code == 64


TWO_PARTS = ("headCANARY5", "tailCANARY6")
EVERY_COMMAND: tuple[tuple[str, ...], ...] = (
    ("validate", "spec.yaml"),
    *(("plan", "spec.yaml", "--format", form) for form in ("text", "json", "markdown")),
    ("apply", "spec.yaml"),
    ("drift", "spec.yaml"),
    ("status", "spec.yaml"),
    ("history", "spec.yaml"),
    ("state", "show", "spec.yaml", "vip"),
)


@pytest.mark.parametrize("sign", ["@", "/", "?", "#", ":", "%", " "])
@pytest.mark.parametrize("place", ["source", "state", "track_url", "to"])
def test_a_password_that_can_be_read_in_two_ways_is_refused_and_no_part_of_it_shown(
    canaries: Project, place: str, sign: str
) -> None:
    canaries.environment["PASSWORD"] = sign.join(TWO_PARTS)
    url = "postgresql://app:${PASSWORD}@127.0.0.1:1/x"
    commands = EVERY_COMMAND
    text = canaries.spec.read_text()
    if place == "source":
        canaries.spec.write_text(text.replace("sqlite:///warehouse.db", url))
    elif place == "state":
        canaries.spec.write_text(f"{text}state: {{url: '{url}'}}\n")
    elif place == "track_url":
        canaries.spec.write_text(
            text.replace(f"track_url: {canaries.sandbox.url}", "track_url: 'https://app:${PASSWORD}@127.0.0.1'")
        )
    else:
        commands = (("state", "copy", "spec.yaml", "--to", url.replace("${PASSWORD}", sign.join(TWO_PARTS))),)
    for words in commands:
        done = clean(canaries.run(*words, "--verbose"), *TWO_PARTS)
        assert done.code == 64, done
        assert done.out == ""
        assert ("spec.yaml:" in done.err) == (place != "to")
    assert not canaries.state_file.exists()


@pytest.mark.parametrize("sign", [",", ", ", " #", "}", "]", ": ", "\n", ",[", ",{"])
@pytest.mark.parametrize("place", ["source", "state"])
def test_a_password_that_yaml_cuts_is_refused_and_no_part_of_it_shown(canaries: Project, place: str, sign: str) -> None:
    url = f"{{url: postgresql://app:{sign.join(TWO_PARTS)}@127.0.0.1:1/x}}"
    text = canaries.spec.read_text()
    if place == "source":
        canaries.spec.write_text(text.replace("warehouse:\n    url: sqlite:///warehouse.db", f"warehouse: {url}"))
    else:
        canaries.spec.write_text(f"{text}state: {url}\n")

    for words in (("validate", "spec.yaml"), ("plan", "spec.yaml", "--verbose")):
        done = canaries.run(*words)

        assert done.code == 64
        assert "spec.yaml:" in done.err
        for part in TWO_PARTS:
            assert part not in done.out + done.err


@pytest.mark.parametrize(
    "words",
    [
        ("state", "copy", "spec.yaml", "URL"),
        ("state", "copy", "spec.yaml", "--too", "URL"),
        ("state", "copy", "spec.yaml", "--to=URL"),
        ("plan", "URL"),
        ("plan", "spec.yaml", "--select", "URL"),
        ("plan", "spec.yaml", "--format", "URL"),
        ("apply", "spec.yaml", "--parallel", "URL"),
    ],
)
@pytest.mark.parametrize("sign", ["@", "/", "'\\"])
def test_a_url_in_the_wrong_place_of_a_command_is_not_repeated(
    canaries: Project, words: tuple[str, ...], sign: str
) -> None:
    url = f"postgresql://app:{sign.join(TWO_PARTS)}@127.0.0.1:1/x"

    done = clean(canaries.run(*(word.replace("URL", url) for word in words)), *TWO_PARTS)

    assert done.code == 64 or (words[-1] == "--to=URL" and done.code == 1)


TAKES_A_FILE = (
    ("init", "URL"),
    ("-C", "URL", "plan"),
    ("status", "--directory", "URL"),
    ("validate", "URL"),
    ("validate", "--format", "json", "URL"),
    ("validate", "--format", "github", "URL"),
    ("plan", "URL"),
    ("plan", "spec.yaml", "URL"),
    ("plan", "spec.yaml", "--out", "URL"),
    ("plan", "spec.yaml", "--ids", "URL"),
    ("apply", "URL", "--yes"),
    ("drift", "URL"),
    ("refresh", "URL", "--yes"),
    ("status", "URL"),
    ("history", "URL"),
    ("trace", "URL", "somebody"),
    ("segments", "URL"),
    ("undo", "URL", "last", "--out", "undo.plan"),
    ("undo", "spec.yaml", "last", "--out", "URL"),
    ("report", "URL", "--out", "report.html"),
    ("report", "spec.yaml", "--out", "URL"),
    ("sandbox", "--people", "URL"),
    ("sandbox", "--state", "URL"),
    ("demo", "--keep", "URL"),
    ("state", "show", "URL", "vip"),
    ("state", "backup", "spec.yaml", "--to", "URL"),
    ("state", "restore", "spec.yaml", "URL", "--yes"),
    ("state", "erase", "URL", "somebody", "--yes"),
)


@pytest.mark.parametrize("words", TAKES_A_FILE, ids=" ".join)
def test_a_url_where_a_path_is_wanted_is_refused_and_not_repeated(canaries: Project, words: tuple[str, ...]) -> None:
    assert canaries.run("apply", "spec.yaml").code == 0
    before = sorted(canaries.folder.iterdir())

    for url in (f"postgresql://u:{PASSWORD}@h/db", f"postgresql://u:{PASSWORD}@h"):
        refused = clean(canaries.run(*(url if word == "URL" else word for word in words)))

        assert refused.code == 64, refused
        assert "takes the path of a" in refused.err + refused.out
        assert "not a URL" in refused.err + refused.out
        assert sorted(canaries.folder.iterdir()) == before


@pytest.mark.parametrize("name", ["RECONCILE_SPEC", "RECONCILE_DIRECTORY"])
@pytest.mark.parametrize("command", ["plan", "status", "history", "init"])
def test_a_url_in_a_variable_that_names_paths_is_refused_and_not_repeated(
    canaries: Project, name: str, command: str
) -> None:
    canaries.environment[name] = f"postgresql://u:{PASSWORD}@h/db"

    refused = clean(canaries.run(command))

    if (name, command) != ("RECONCILE_SPEC", "init"):  # which reads no spec
        assert refused.code == 64, refused
        assert f"{name} takes the path of a" in refused.err


def test_a_url_in_a_variable_of_another_flag_is_not_repeated(canaries: Project) -> None:
    canaries.environment["RECONCILE_FORMAT"] = f"postgresql://u:{PASSWORD}@h/db"

    assert clean(canaries.run("plan", "spec.yaml")).code == 64


def test_a_url_as_what_a_spec_extends_is_refused_and_not_repeated(canaries: Project) -> None:
    canaries.environment["BASE"] = f"postgresql://u:{PASSWORD}@h/db"
    canaries.spec.write_text("extends: ${BASE}\n" + canaries.spec.read_text())

    for command in ("plan", "validate", "status"):
        refused = clean(canaries.run(command, "spec.yaml"))
        assert refused.code == 64
        assert "not a URL" in refused.err


def test_a_signal_and_a_killed_process_say_no_id(canaries: Project) -> None:
    done = canaries.hit(
        "apply", "spec.yaml", "--verbose", at=lambda call: call.direction is not None, by=signal.SIGTERM
    )
    clean(done)
    clean(canaries.run("status", "spec.yaml"))


def test_a_url_of_the_state_keeps_its_password(canaries: Project) -> None:
    write(canaries, {"vip": segment(56, "vip")}, more="state: {url: 'postgresql://u:${PASSWORD}@127.0.0.1:1/x'}\n")
    for command in ("plan", "apply", "status", "history"):
        done = clean(canaries.run(command, "spec.yaml", "--verbose"))
        assert done.code == 1
        assert "unexpected" not in done.out + done.err
    clean(canaries.run("state", "copy", "spec.yaml", "--to", f"postgresql://u:{PASSWORD}@127.0.0.1:1/x", "--verbose"))


@pytest.mark.parametrize("parameter", ["port=abc", "host=h:abc", "colour=red", "connect_timeout=abc"])
@pytest.mark.parametrize("place", ["source", "state"])
def test_a_parameter_that_no_client_takes_is_a_known_error(canaries: Project, place: str, parameter: str) -> None:
    url = f"postgresql://u:{PASSWORD}@127.0.0.1:1/x?{parameter}"
    if place == "source":
        canaries.spec.write_text(canaries.spec.read_text().replace("sqlite:///warehouse.db", url))
    else:
        write(canaries, {"vip": segment(56, "vip")}, more=f"state: {{url: '{url}'}}\n")
    for command in ("plan", "apply"):
        done = clean(canaries.run(command, "spec.yaml", "--verbose"))
        assert done.code == 1
        assert "unexpected" not in done.err
        assert "report it" not in done.err


@pytest.mark.parametrize("form", ["text", "json", "markdown"])
def test_show_ids_shows_at_most_so_many_per_change_and_only_then(canaries: Project, form: str) -> None:
    assert canaries.run("apply", "spec.yaml").code == 0
    canaries.want("vip", [f"{MEMBER}{number:03}" for number in range(10, 80)])
    for number in (0, 1, 3):
        done = canaries.run("plan", "spec.yaml", "--format", form, "--show-ids", str(number))
        assert done.code == 0
        assert done.out.count(MEMBER) == 2 * number
        assert MEMBER not in done.err
    done = canaries.run("apply", "spec.yaml", "--format", form, "--show-ids", "2")
    assert done.code == 0
    assert 0 <= done.out.count(MEMBER) <= 4
    clean(canaries.run("plan", "spec.yaml", "--format", form, "--show-ids", "5"))


HOSTILE = "a|b<img src=x>&`x`*_[l](http://x)"


def harmless(markdown: str) -> None:
    assert len(markdown.encode()) < 60_000
    for raw in ("<img", "[l](http", "a|b"):
        assert raw not in markdown


def test_markdown_of_500_segments_stays_under_60_kb(project: Project) -> None:
    project.want("vip", ["p0001"])
    long = "very_long_segment_name_" + "x" * 60
    project.write({f"{long}{number}": segment(1000 + number, "vip") for number in range(500)})
    project.spec.write_text(project.spec.read_text().replace("app_api_key: sandbox-app-key", 'app_api_key: ""'))
    for command in ("plan", "status"):
        done = project.run(command, "spec.yaml", "--format", "markdown", "--quiet")
        assert done.code == 0, done.err
        assert "500" in done.out
        harmless(done.out)


@pytest.mark.parametrize("command", ["plan", "apply", "drift", "status", "history"])
def test_markdown_is_escaped_whatever_names_there_are(project: Project, command: str) -> None:
    project.sandbox.create_segment(f"{HOSTILE}\n# title", id=77)
    project.want("vip", ["p0001"])
    project.write({"vip": segment(77, "vip", "tags: [x]"), "bad": 'segment_id: 56\nquery: SELECT "a|b<img" FROM vip x'})
    if command == "history":
        project.run("apply", "spec.yaml")
    done = project.run(command, "spec.yaml", "--format", "markdown")
    assert done.code in (0, 1, 2, 6), done.err
    assert "\n# title" not in done.out
    harmless(done.out)
