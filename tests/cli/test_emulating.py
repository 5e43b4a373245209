"""The emulator of a demo ends with the demo."""

from __future__ import annotations

import os
import signal

from tracket_async.cli import emulating


def test_the_end_of_the_input_is_the_end_of_the_process(monkeypatch):
    sent = []
    monkeypatch.setattr(emulating.os, "kill", lambda *said: sent.append(said))
    theirs, ours = os.pipe()
    os.write(ours, b"anything")
    os.close(ours)
    emulating.end_with(theirs)
    os.close(theirs)
    assert sent == [(os.getpid(), signal.SIGTERM)]
