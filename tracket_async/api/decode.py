"""JSON out of a body, piece by piece: what is not asked for is skipped, and never judged by what it holds."""

from __future__ import annotations

import msgspec

from tracket_async.api.body import Json
from tracket_async.api.faults import json_type, malformed, unreadable
from tracket_async.api.request import Response

FAILURES = (msgspec.DecodeError, ValueError, RecursionError)
"""What msgspec raises on a body: no JSON, or of another type; text that is not UTF-8; nested too deeply."""

_ELEMENTS = msgspec.json.Decoder(list[msgspec.Raw])


class Members:
    """Reads some members of a JSON object, each as its bytes, and skips the others."""

    def __init__(self, *names: str | None) -> None:
        self.names = tuple(name for name in names if name)
        fields = {f"f{index}": name for index, name in enumerate(self.names)}
        types = [(field, msgspec.Raw | msgspec.UnsetType, msgspec.UNSET) for field in fields]
        self._decoder = msgspec.json.Decoder(msgspec.defstruct("Members", types, rename=fields))

    def of(self, content: bytes | msgspec.Raw) -> dict[str, msgspec.Raw] | None:
        """Those that are there; None if the content is no object. The content is known to be JSON."""
        try:
            found = self._decoder.decode(content)
        except msgspec.ValidationError:
            return None
        pairs = zip(self.names, msgspec.structs.astuple(found), strict=True)
        return {name: raw for name, raw in pairs if raw is not msgspec.UNSET}


def checked(response: Response) -> bytes:
    """The body, if it is JSON from its beginning to its end.

    Raises:
        UnreadableResponseError: it is not.
    """
    try:
        msgspec.json.decode(response.body, type=msgspec.Raw)
    except FAILURES:
        pass
    else:
        return response.body
    raise unreadable(response)


def value(content: bytes | msgspec.Raw, path: str, response: Response) -> Json:
    """The value of what is known to be JSON.

    Raises:
        MalformedResponseError: a number in it is too large.
        UnreadableResponseError: text in it is not UTF-8, or it is nested too deeply.
    """
    try:
        decoded: Json = msgspec.json.decode(content)
    except msgspec.ValidationError:
        error: Exception = malformed(path, "a number that a computer can hold", "larger", status=response.status)
    except FAILURES:
        error = unreadable(response)
    else:
        return decoded
    raise error


def elements(content: bytes | msgspec.Raw, path: str, response: Response) -> list[msgspec.Raw]:
    """The elements of what is known to be JSON and should be an array, each as its bytes."""
    try:
        return _ELEMENTS.decode(content)
    except msgspec.ValidationError:
        pass
    raise malformed(path, "an array", json_type(value(content, path, response)), status=response.status)
