"""What the server says: an answer, or the refusal that becomes one; nothing here knows a socket.

A refusal is raised anywhere below the handler and turned into its JSON answer in one place
(`Refusal.answer`), so that every error of the emulator has the same shape:
``{"error": <what is wrong>, "field": <the field or parameter at fault>}`` (`field` only where there is one).
"""

from __future__ import annotations

import json
from typing import Any, Final

from attrs import frozen

JSON: Final = "application/json"


@frozen(kw_only=True)
class Answer:
    """One response, before it is put on the wire.

    Attributes:
        status: HTTP status code.
        body: The whole body, not compressed.
        content_type: Value of the Content-Type header; bodies are UTF-8.
        headers: Further headers, in order; a name may occur twice.
        committed: True when a write has taken effect in the store.
    """

    status: int = 200
    body: bytes = b""
    content_type: str = JSON
    headers: tuple[tuple[str, str], ...] = ()
    committed: bool = False


def json_answer(payload: Any, *, status: int = 200, headers: tuple[tuple[str, str], ...] = ()) -> Answer:
    """An answer whose body is `payload` as compact JSON."""
    body = json.dumps(payload, ensure_ascii=False, separators=(",", ":")).encode()
    return Answer(status=status, body=body, headers=headers)


class Refusal(Exception):  # noqa: N818 -- it is an answer to the client, not an error of this program
    """The request is refused: carries the status and the JSON that says why.

    Args:
        status: HTTP status code, 400 or above.
        error: The end of a sentence, or one, for the person who reads the client's log.
        field: The field or query parameter at fault; None when it is the request as a whole.
        headers: Further headers that the status calls for (Allow, WWW-Authenticate).
    """

    def __init__(
        self, status: int, error: str, field: str | None = None, *, headers: tuple[tuple[str, str], ...] = ()
    ) -> None:
        super().__init__(status, error, field)
        self.status = status
        self.error = error
        self.field = field
        self.headers = headers

    def __str__(self) -> str:
        return self.error if self.field is None else f"{self.field} {self.error}"

    def answer(self) -> Answer:
        """The JSON answer that tells the client."""
        payload = {"error": str(self)}
        if self.field is not None:
            payload["field"] = self.field
        return json_answer(payload, status=self.status, headers=self.headers)
