"""What an export asks for, as a value: the same request goes on where it was, another one is refused."""

from __future__ import annotations

import datetime as dt
from typing import Any, Final, Self

import attrs

from tracket_async.models import WorklogFilter

BOUNDS: Final = ("since", "until", "created_since", "created_until", "updated_since", "updated_until")


@attrs.frozen(kw_only=True)
class ExportRequest:
    """What is exported from where. How (concurrency, page size, the secret, format) is no part of it.

    Attributes:
        api: the version of the API, ``"1.0"`` or ``"2.0"``.
        origin: the base URL, without anything secret.
        filter: which worklogs; its order does not count.
        account: whose; None: not known, and taken to be any.
    """

    api: str
    origin: str
    filter: WorklogFilter = attrs.field(factory=WorklogFilter)
    account: str | None = None

    def to_json(self) -> dict[str, str | None]:
        """Every part by name; bounds as ISO 8601 text, None where unbounded."""
        return {"api": self.api, "origin": self.origin, "account": self.account} | self.bounds()

    def bounds(self) -> dict[str, str | None]:
        """The filter's bounds by name, as ISO 8601 text, None where unbounded."""
        found: dict[str, dt.datetime | None] = {name: getattr(self.filter, name) for name in BOUNDS}
        return {name: None if bound is None else bound.isoformat() for name, bound in found.items()}

    @classmethod
    def from_json(cls, parts: dict[str, Any]) -> Self:
        """The request that `to_json` wrote."""
        known = {name: parts[name] for name in BOUNDS if parts[name] is not None}
        bounds: dict[str, Any] = {name: dt.datetime.fromisoformat(bound) for name, bound in known.items()}
        return cls(api=parts["api"], origin=parts["origin"], account=parts["account"], filter=WorklogFilter(**bounds))

    def differences(self, other: ExportRequest) -> str:
        """Where the other differs, as ``since is 2024-01-01..., not None``; empty when it is the same."""
        mine, theirs = self.to_json(), other.to_json()
        if None in {self.account, other.account}:
            mine["account"] = theirs["account"]
        return ", ".join(f"{name} is {mine[name]}, not {theirs[name]}" for name in mine if mine[name] != theirs[name])
