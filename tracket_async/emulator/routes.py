"""The table of routes, and the responses and errors that its handlers return and raise; no sockets here.

An `ApiError` is raised anywhere below the handler and turned into its JSON response in one place, so that every error
of the emulator has the same shape: ``{"error": <what is wrong>, "field": <the field or parameter at fault>}`` (`field`
only where there is one).

The path is matched as it was sent, so that ``%2F`` in an id stays part of the id, and ``..`` is an id that does
not exist rather than a way up.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import unquote

from attrs import frozen

JSON: Final = "application/json"


@frozen(kw_only=True)
class ApiResponse:
    """One response, before it is framed and sent.

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


def json_response(payload: Any, *, status: int = 200, headers: tuple[tuple[str, str], ...] = ()) -> ApiResponse:
    """Return a response whose body is `payload` as compact JSON."""
    body = json.dumps(payload, ensure_ascii=False, separators=(",", ":")).encode()
    return ApiResponse(status=status, body=body, headers=headers)


class ApiError(Exception):
    """A request that is refused: the status and the JSON that says why.

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

    def response(self) -> ApiResponse:
        """Return the JSON response that tells the client."""
        payload = {"error": str(self)}
        if self.field is not None:
            payload["field"] = self.field
        return json_response(payload, status=self.status, headers=self.headers)


@frozen(kw_only=True)
class Action:
    """One method of a resource.

    Attributes:
        name: ``<version> <verb>``, the key of the handler.
        writes: Whether it changes worklogs; a read-only token may not.
        has_body: Whether it reads a JSON body.
        open: Whether it needs no token.
    """

    name: str
    writes: bool = False
    has_body: bool = False
    open: bool = False


@frozen
class Resource:
    """One path of the API.

    Attributes:
        path: Its whole path; a last segment of ``{id}`` stands for any id.
        route: Its name in the request log and in fault scripts: the path without the version.
        actions: By method.
    """

    path: str
    route: str
    actions: Mapping[str, Action]


def _collection(version: str) -> dict[str, Action]:
    return {
        "GET": Action(name=f"{version} list"),
        "POST": Action(name=f"{version} create", writes=True, has_body=True),
    }


def _member(version: str) -> dict[str, Action]:
    return {
        "GET": Action(name=f"{version} get"),
        "PUT": Action(name=f"{version} update", writes=True, has_body=True),
        "DELETE": Action(name=f"{version} delete", writes=True),
    }


RESOURCES: Final = (
    Resource("/api/1.0/worklogs", "/worklogs", _collection("1.0")),
    Resource("/api/1.0/worklogs/{id}", "/worklogs/{id}", _member("1.0")),
    Resource("/api/2.0/timeEntries", "/timeEntries", _collection("2.0")),
    Resource("/api/2.0/timeEntries/{id}", "/timeEntries/{id}", _member("2.0")),
    Resource(
        "/api/2.0/templates/timeEntry/fields/category/options",
        "/templates/timeEntry/fields/category/options",
        {"GET": Action(name="2.0 categories")},
    ),
    Resource(
        "/api/2.0/oauth2/token",
        "/oauth2/token",
        {"POST": Action(name="2.0 token", has_body=True, open=True)},
    ),
    Resource("/openapi.json", "/openapi.json", {"GET": Action(name="openapi", open=True)}),
)
ROUTES: Final = tuple(resource.route for resource in RESOURCES)

_MEMBER: Final = "/{id}"
_EXACT: Final = {each.path: each for each in RESOURCES if not each.path.endswith(_MEMBER)}
_MEMBERS: Final = {each.path.removesuffix(_MEMBER): each for each in RESOURCES if each.path.endswith(_MEMBER)}


def find_resource(raw_path: str) -> tuple[Resource | None, str]:
    """Return the resource at a percent-encoded path, or None, and the id in it (empty where it has none)."""
    resource = _EXACT.get(raw_path)
    if resource is not None:
        return resource, ""
    parent, _, last = raw_path.rpartition("/")
    return (_MEMBERS.get(parent), unquote(last)) if last else (None, "")


def find_action(resource: Resource | None, method: str) -> Action:
    """Return the action of a method on a resource.

    Raises:
        ApiError: 404 for no resource, 405 (with Allow) for a method that the resource does not have.
    """
    if resource is None:
        raise ApiError(404, "there is nothing at this path")
    action = resource.actions.get(method)
    if action is None:
        allowed = ", ".join(resource.actions)
        raise ApiError(405, f"only {allowed} can be used here", headers=(("Allow", allowed),))
    return action
