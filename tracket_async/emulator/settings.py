"""How an emulator behaves, as one frozen value that is checked when it is made."""

from __future__ import annotations

import math
import secrets
from typing import Final, Literal, get_args

from attrs import field, frozen

from tracket_async.emulator.v2 import ApprovalShape

V1Order = Literal["ascending", "descending", "unsorted"]

V1_ORDERS: Final = get_args(V1Order)
APPROVAL_SHAPES: Final = get_args(ApprovalShape)
LARGEST_PAGE: Final = 100_000


def _secret(prefix: str) -> str:
    return f"{prefix}-{secrets.token_hex(16)}"


@frozen(kw_only=True)
class Settings:
    """What can be chosen about an emulator. Credentials that are not given are made up afresh.

    Attributes:
        page_size: Worklogs on a page of 1.0 (2.0 lets the client choose, 25 by default, 100 at most).
        v1_order: The order in which 1.0 lists: by date, by date backwards, or by none.
        approval_shape: How 2.0 shows the approval: ``{"status": ..., "approver": ...}`` or the bare status.
        latency: Seconds that every authorised request waits before it is worked on; others go on meanwhile.
        token_lifetime: Seconds that a token from the token call is valid.
        body_limit: Largest request body in bytes; more is refused with 413.
        request_log_size: Most entries that the request log keeps; its counts stay exact beyond.
        seed_number: Seed of the generator of ids.
        token: Bearer token that both versions accept and that never expires.
        read_only_token: The same, but every write with it is refused with 403.
        client_id: For the token call.
        client_secret: For the token call.
        account_id: The monday.com account, for the token call.

    Raises:
        ValueError: A setting is out of range; the message names it.
    """

    page_size: int = 100
    v1_order: V1Order = "ascending"
    approval_shape: ApprovalShape = "object"
    latency: float = 0.0
    token_lifetime: float = 3600.0
    body_limit: int = 1 << 20
    request_log_size: int = 100_000
    seed_number: int = 0
    token: str = field(factory=lambda: _secret("token"), repr=False)
    read_only_token: str = field(factory=lambda: _secret("read-only"), repr=False)
    client_id: str = field(factory=lambda: _secret("client"))
    client_secret: str = field(factory=lambda: _secret("secret"), repr=False)
    account_id: str = "1234567"

    def __attrs_post_init__(self) -> None:
        for name, low, high in (
            ("page_size", 1, LARGEST_PAGE),
            ("latency", 0, 3600),
            ("token_lifetime", 0, math.inf),
            ("body_limit", 1, math.inf),
            ("request_log_size", 0, math.inf),
        ):
            value = getattr(self, name)
            if not low <= value <= high:
                raise ValueError(f"{name} must lie between {low} and {high}, not be {value!r}")
        for name, choices in (("v1_order", V1_ORDERS), ("approval_shape", APPROVAL_SHAPES)):
            if getattr(self, name) not in choices:
                raise ValueError(f"{name} must be one of {', '.join(choices)}")
        for name in ("token", "read_only_token", "client_id", "client_secret", "account_id"):
            value = getattr(self, name)
            if not value or not value.isascii() or not value.isprintable() or set(value) & set(" \"'"):
                raise ValueError(f"{name} must be printable ASCII without spaces and quotes, and not empty")
