"""A question is asked of a person, and of nobody once the end was asked for."""

import io
import sys
from threading import Event

from reconciler.cli.console import Console


def test_nothing_is_asked_once_a_signal_has_asked_for_the_end(monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdin", io.StringIO("yes\n"))
    stop = Event()
    stop.set()

    assert not Console().ask("Go on?", stop)

    assert capsys.readouterr().err == ""
