import glob
import os
from pathlib import Path

import pytest

from reconciler.errors import SpecError, UsageError
from reconciler.spec import load
from reconciler.spec.files import expand


@pytest.fixture
def tree(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in (
        "specs/b.yaml",
        "specs/a.yml",
        "specs/notes.txt",
        "specs/sub/c.yaml",
        "specs/sub/deeper/d.yml",
        "specs/.hidden/e.yaml",
        "specs/.hidden.yaml",
        "other.yaml",
        "spec[1].yaml",
    ):
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    Path("empty").mkdir()


def names(*given: str) -> list[str]:
    return [str(path) for path in expand(given)]


@pytest.mark.usefixtures("tree")
class TestExpanding:
    def test_a_file_is_itself_whatever_its_name(self):
        assert names("other.yaml", "specs/notes.txt") == ["other.yaml", "specs/notes.txt"]

    def test_a_folder_is_every_spec_below_that_is_not_hidden_in_order(self):
        below = ["specs/a.yml", "specs/b.yaml", "specs/sub/c.yaml", "specs/sub/deeper/d.yml"]

        assert names("specs") == names("specs/") == below

    def test_a_hidden_folder_that_is_named_is_opened(self):
        assert names("specs/.hidden") == ["specs/.hidden/e.yaml"]

    def test_a_glob_is_what_it_matches_folders_opened(self):
        assert names("specs/*.y*ml") == ["specs/a.yml", "specs/b.yaml"]
        assert names("specs/**/*.yaml") == ["specs/b.yaml", "specs/sub/c.yaml"]
        assert names("specs/s*") == ["specs/sub/c.yaml", "specs/sub/deeper/d.yml"]

    def test_a_file_with_a_bracket_in_its_name_is_no_glob(self):
        assert names("spec[1].yaml") == ["spec[1].yaml"]

    def test_a_file_that_is_named_twice_counts_once_under_its_first_name(self):
        Path("link.yaml").symlink_to("other.yaml")

        assert names("./other.yaml", "other.yaml", "link.yaml", str(Path("other.yaml").absolute())) == ["other.yaml"]

    def test_a_suffix_counts_in_any_case(self):
        Path("specs/B.YAML").write_text("")
        Path("specs/sub/C.Yml").write_text("")

        assert names("specs")[0] == "specs/B.YAML"
        assert "specs/sub/C.Yml" in names("specs")

    def test_links_to_folders_are_followed_after_what_is_there_itself(self):
        Path("elsewhere/deep").mkdir(parents=True)
        Path("elsewhere/deep/x.yaml").write_text("")
        Path("specs/a-link").symlink_to("../elsewhere")
        Path("specs/also-d").symlink_to("sub/deeper")

        below = ["specs/a.yml", "specs/b.yaml", "specs/sub/c.yaml", "specs/sub/deeper/d.yml"]
        assert names("specs") == [*below, "specs/a-link/deep/x.yaml"]
        assert "specs/a-link/deep/x.yaml" in names("specs/**/*.yaml")

    def test_links_in_a_circle_end(self):
        Path("specs/sub/up").symlink_to("..")
        Path("specs/sub/deeper/self").symlink_to(".")

        assert names("specs") == ["specs/a.yml", "specs/b.yaml", "specs/sub/c.yaml", "specs/sub/deeper/d.yml"]
        assert names("specs/**/*.yaml") == ["specs/b.yaml", "specs/sub/c.yaml"]

    @pytest.mark.parametrize("given", ["specs", "specs/**/*.yaml", "specs/*/*.yaml"])
    @pytest.mark.parametrize("target", ["../nowhere", "team"], ids=["to nowhere", "to itself"])
    def test_a_link_that_might_have_led_to_specs_is_an_error(self, given: str, target: str):
        Path("specs/team").symlink_to(target)

        with pytest.raises(UsageError, match=r"Can't be read: specs/team \(") as caught:
            names(given)

        assert "passed over" in caught.value.hint

    def test_a_hidden_link_to_nowhere_is_left_out_like_all_that_is_hidden(self):
        Path("specs/.#b.yaml").symlink_to("user@host.4711")

        assert names("specs")[1] == "specs/b.yaml"

    @pytest.mark.parametrize("pattern", ["s*/*.yaml", "./specs/*.yaml", "**/*.yaml", "specs/**", "specs/sub/../*.yaml"])
    def test_a_glob_means_the_files_that_it_means_to_python(self, pattern: str):
        expected = {os.path.realpath(path) for path in glob.glob(pattern, recursive=True)}  # noqa: PTH207

        found = {os.path.realpath(path) for path in names(pattern)}

        assert found >= {path for path in expected if Path(path).is_file()}
        assert found - expected <= {os.path.realpath(path) for path in names(".")}

    @pytest.mark.parametrize("name", ["nope.yaml", "nope/", "nope*.yaml", "empty", "", "a\0b"])
    def test_a_name_that_means_no_file_is_a_usage_error_that_repeats_it(self, name):
        with pytest.raises(UsageError) as caught:
            expand(["other.yaml", name])

        assert not isinstance(caught.value, SpecError)
        assert repr(name) in caught.value.message
        assert caught.value.hint

    def test_all_names_without_a_file_are_told(self):
        with pytest.raises(UsageError, match=r"'x\.yaml', 'y\.yaml'"):
            expand(["x.yaml", "other.yaml", "y.yaml"])

    def test_no_name_at_all_is_a_usage_error(self):
        with pytest.raises(UsageError):
            expand([])


class TestUnreadableFiles:
    def problem(self, name: str) -> str:
        with pytest.raises(SpecError) as caught:
            load([name], {})
        (problem,) = caught.value.problems
        return problem

    def test_a_file_in_another_encoding(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        Path("a.yaml").write_bytes(b"version: 1\n# \xe4\n")

        assert self.problem("a.yaml") == "a.yaml:1: The file is not UTF-8 (line 2)."

    def test_a_fifo_is_not_waited_for(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        os.mkfifo("a.yaml")

        assert self.problem("a.yaml") == "a.yaml:1: The file is a FIFO, not a plain file."

    def test_a_device(self):
        assert self.problem("/dev/null") == "/dev/null:1: The file is a device, not a plain file."

    def test_a_link_to_nowhere(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        Path("a.yaml").symlink_to("nowhere")

        assert self.problem("a.yaml") == "a.yaml:1: The file does not exist."

    def test_a_link_to_itself(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        Path("a.yaml").symlink_to("a.yaml")

        assert self.problem("a.yaml").startswith("a.yaml:1: The file can't be read (Too many levels")

    def test_a_file_that_may_not_be_read(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        Path("a.yaml").write_text("")

        def refuse(*_: object) -> int:
            raise PermissionError(13, "Permission denied", "a.yaml")

        monkeypatch.setattr(os, "open", refuse)

        assert self.problem("a.yaml") == "a.yaml:1: The file can't be read (Permission denied)."
