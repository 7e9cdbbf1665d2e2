"""The project and the sandbox of the end-to-end tests."""

from tests.e2e.conftest import project, sandbox

__all__ = ["project", "sandbox"]
