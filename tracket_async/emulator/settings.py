"""The settings of an emulator, each declared once: default, range, help, and the argument of the command line."""

from __future__ import annotations

import math
import secrets
from typing import Any, Final, Literal, get_args

from attrs import Attribute, field, fields, frozen

from tracket_async.emulator.v2 import ApprovalShape

V1Order = Literal["ascending", "descending", "unsorted"]
V1Fields = Literal["all", "starred"]

LARGEST_PAGE: Final = 100_000


def _in_range(low: float, high: float) -> Any:
    def check(_settings: object, attribute: Attribute[Any], value: float) -> None:
        if isinstance(value, bool) or not isinstance(value, int | float):  # pyright: ignore[reportUnnecessaryIsInstance] - of callers without a type checker
            raise TypeError(f"{attribute.name} must be a number, not of the type {type(value).__name__}")
        if not low <= value <= high:
            raise ValueError(f"{attribute.name} must lie between {low} and {high}, not be {value}")

    return check


def _one_of(_settings: object, attribute: Attribute[Any], value: object) -> None:
    choices = attribute.metadata["choices"]
    if value not in choices:
        raise ValueError(f"{attribute.name} must be one of {', '.join(choices)}")


def _printable(_settings: object, attribute: Attribute[Any], value: str) -> None:
    if not value or not value.isascii() or not value.isprintable() or set(value) & set(" \"'"):
        raise ValueError(f"{attribute.name} must be printable ASCII without spaces and quotes, and not empty")


def _milliseconds(text: str) -> float:
    return float(text) / 1000


def _credential(prefix: str, *, shown: bool = False) -> Any:
    return field(factory=lambda: f"{prefix}-{secrets.token_hex(16)}", repr=shown, validator=_printable)


@frozen(kw_only=True)
class Settings:
    """Settings of an emulator. Credentials that are not given are made up afresh.

    Attributes:
        page_size: Worklogs on a page of 1.0 (2.0 lets the client choose, 25 by default, 100 at most).
        v1_order: The order in which 1.0 lists: by ascending date, by descending date, or by none.
        v1_fields: The fields of a worklog that 1.0 shows: all, or those that the vendor's page stars alone.
        approval_shape: The approval in 2.0: ``{"status": ..., "approver": ...}`` or the bare status.
        latency: Seconds that every authorised request waits before it is carried out; others go on meanwhile.
        token_lifetime: Seconds that a token from the token call is valid.
        body_limit: Largest request body in bytes; more gets a 413.
        request_log_size: Most entries that the request log keeps; its counts stay exact beyond.
        seed_number: Seed of the generator of ids.
        token: Bearer token that both versions accept and that never expires.
        read_only_token: The same, but every write with it gets a 403.
        client_id: For the token call.
        client_secret: For the token call.
        account_id: The monday.com account, for the token call.

    Raises:
        ValueError: A setting is out of range; the message names it.
    """

    page_size: int = field(
        default=100,
        validator=_in_range(1, LARGEST_PAGE),
        metadata={"type": int, "metavar": "N", "help": "worklogs on a page of 1.0"},
    )
    v1_order: V1Order = field(
        default="ascending", validator=_one_of, metadata={"choices": get_args(V1Order), "help": "the order of 1.0"}
    )
    v1_fields: V1Fields = field(
        default="all",
        validator=_one_of,
        metadata={"choices": get_args(V1Fields), "help": "starred: 1.0 leaves out what may be missing"},
    )
    approval_shape: ApprovalShape = field(
        default="object", validator=_one_of, metadata={"choices": get_args(ApprovalShape), "help": "approvals in 2.0"}
    )
    latency: float = field(
        default=0.0,
        validator=_in_range(0, 3600),
        metadata={"type": _milliseconds, "metavar": "MS", "help": "milliseconds for each request"},
    )
    token_lifetime: float = field(
        default=3600.0,
        validator=_in_range(0, math.inf),
        metadata={"type": float, "metavar": "S", "help": "seconds"},
    )
    body_limit: int = field(
        default=1 << 20,
        validator=_in_range(1, math.inf),
        metadata={"type": int, "metavar": "BYTES", "help": "larger bodies get a 413"},
    )
    request_log_size: int = field(default=100_000, validator=_in_range(0, math.inf))
    seed_number: int = 0
    token: str = _credential("token")
    read_only_token: str = _credential("read-only")
    client_id: str = _credential("client", shown=True)
    client_secret: str = _credential("secret")
    account_id: str = field(default="1234567", validator=_printable)


def options() -> list[Attribute[Any]]:
    """Return the settings that the command line has, with the arguments for argparse as metadata."""
    return [each for each in fields(Settings) if each.metadata]
