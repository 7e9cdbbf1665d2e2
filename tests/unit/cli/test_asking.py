"""A question is asked of a person, and of nobody once the end was asked for."""

import io
import os
import pty
import sys
from threading import Event

from reconciler.cli.console import Console


def test_nothing_is_asked_once_a_signal_has_asked_for_the_end(monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdin", io.StringIO("yes\n"))
    stop = Event()
    stop.set()

    assert not Console().ask("Go on?", stop)

    assert capsys.readouterr().err == ""


def test_a_signal_in_the_middle_of_an_answer_is_a_no_whatever_is_typed_afterwards(monkeypatch):
    keyboard, terminal = pty.openpty()
    os.write(keyboard, b"ye\x04s\n")  # Ctrl-D hands over what was typed so far

    class Late(Event):
        """Set once a part of the answer was read: at the third look."""

        looks = 0

        def is_set(self) -> bool:
            self.looks += 1
            return self.looks > 2

    with os.fdopen(terminal, encoding="utf-8") as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)

        assert not Console().ask("Go on?", Late())

    os.close(keyboard)
