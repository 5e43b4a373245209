"""Events to observers, which cannot do harm: one that raises is logged once and otherwise ignored."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from tracket_async.events import Event, Observer

_log = logging.getLogger("tracket_async")


class Telling:
    """The observers of one session. ``if telling:`` asks whether there are any: no event is made for nobody."""

    def __init__(self, observers: Iterable[Observer] = ()) -> None:
        self._observers = tuple(observers)
        self._complained: set[int] = set()

    def __bool__(self) -> bool:
        return bool(self._observers)

    def tell(self, event: Event) -> None:
        """Call every observer, in order."""
        for index, observer in enumerate(self._observers):
            try:
                observer(event)
            except Exception:  # noqa: BLE001 - an observer's fault must not become the request's
                if index not in self._complained:
                    self._complained.add(index)
                    _log.exception("An observer raised on %s; that it does is not logged again", type(event).__name__)
