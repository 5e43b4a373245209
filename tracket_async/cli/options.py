"""Options that several commands share: dates, columns, the selection of worklogs, and the connection to a server.

An option wins over the environment, and the environment wins over the file that ``--env-file`` names. A profile stands
for the environment: it counts when an option names it, or when nothing else gives credentials. Credentials are never
mixed from two places: where a token or any part of client credentials is found, all credentials of a place that counts
less are ignored. A secret is never an argument, because other users of the machine can read arguments; it comes
from the environment, from a file, or from standard input.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import math
import os
import re
import sys
from collections.abc import Callable, Generator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import attrs
from cyclopts import Group, Parameter, Token

from tracket_async.cli import dates, output, profile
from tracket_async.cli.env_file import LARGEST_FILE, parse, read
from tracket_async.cli.output import note
from tracket_async.client import TracketClient
from tracket_async.config import check_concurrency
from tracket_async.errors import ConfigurationError, TracketError, UsageError
from tracket_async.export import text as cells
from tracket_async.importer.values import read_id
from tracket_async.models import VALUES, WorklogFilter


def convert_id(_type: Any, tokens: Sequence[Token]) -> str:
    """Return an id; one that a program has made a float of is repaired, and a note says so."""
    given = tokens[0].value
    found = read_id("the id", given)
    if found != given:
        note(f"The id {given} is read as {found}: pandas and spreadsheets write .0 behind numbers.")
    return found


def convert_ids(type_: Any, tokens: Sequence[Token]) -> list[str]:
    """Return ids, each as `convert_id`."""
    return [convert_id(type_, [token]) for token in tokens]


Id = Annotated[str, Parameter(converter=convert_id, metavar="ID")]
Json = Annotated[bool, Parameter(negative=(), show_default=False)]


Date = Annotated[dt.datetime | dt.date, Parameter(converter=dates.convert_day, metavar="DATE")]
"""A date or an aware datetime. To Python a datetime is a date, but not to pydantic, with which cyclopts checks values
where a program has imported it."""
Typed = Annotated[dates.Typed, Parameter(converter=dates.convert, metavar="DATE")]


def between(lowest: int, highest: int | None = None) -> Callable[[Any, int], None]:
    """Return a validator of numbers from ``lowest`` to ``highest`` (None: without limit)."""
    wanted = f"at least {lowest}" if highest is None else f"from {lowest} to {highest}"

    def check(_type: Any, value: int) -> None:
        if value < lowest or (highest is not None and value > highest):
            raise ValueError(f"It must be {wanted}")

    return check


def _concurrent(_type: Any, value: int) -> None:
    check_concurrency(value, "It")


def _rate(_type: Any, value: float | None) -> None:
    if value is not None and not (0 < value < math.inf):
        raise ValueError("It must be finite and above 0")


Concurrency = Annotated[
    int, Parameter(metavar="N", validator=_concurrent, help="Send at most this many requests at a time.")
]
CONCURRENCY: Final = 16


_WAIT: Final = re.compile(r"(\d{1,6})(s|m|min|h|)", re.ASCII)
_SECONDS: Final = {"": 1, "s": 1, "m": 60, "min": 60, "h": 3600}


def _seconds(_type: Any, tokens: Sequence[Token]) -> float:
    found = _WAIT.fullmatch(tokens[0].value.lower())
    if found is None:
        raise ValueError("it must be a time such as 90s, 15m or 2h")
    return float(int(found[1]) * _SECONDS[found[2]])


Wait = Annotated[
    float,
    Parameter(
        metavar="TIME",
        converter=_seconds,
        show_default=lambda seconds: f"{seconds / 60:.0f}m",
        help="In an outage, wait so long for the server, such as 90s, 15m or 2h. Not of an export to standard output.",
    ),
]
WAIT: Final = 900.0


def named_columns(text: str) -> tuple[str, ...]:
    """Return the attributes of `Worklog` that a comma-separated list names.

    Raises:
        UsageError: there is no such attribute, or one is named twice.
    """
    return cells.columns_named([name.strip() for name in text.split(",")])


@contextlib.contextmanager
def refusals() -> Generator[None]:
    """Raise ``ValueError`` and ``TypeError`` of a model as `UsageError`."""
    try:
        yield
    except TracketError:
        raise
    except (ValueError, TypeError) as error:
        raise UsageError(str(error)) from None


_Values = Annotated[list[str] | None, Parameter(metavar="ID", converter=convert_ids, negative=(), show_default=False)]


@Parameter(name="*", group=Group("Selection", sort_key=1))
@attrs.frozen(kw_only=True)
class Selection:
    """A selection of worklogs. Every bound is inclusive; a day means the whole day, in UTC.

    The dates are as they were typed: ``bounds`` says what they mean today.
    """

    since: Annotated[
        Typed | None, Parameter(help="Select from this day, period or date-time on (API 2.0: its day).")
    ] = None
    until: Annotated[
        Typed | None, Parameter(help="Select up to and including this day, period or date-time (API 2.0: its day).")
    ] = None
    month: Annotated[
        str | None,
        Parameter(metavar="MONTH", help="Select this month: 2026-10, this-month or last-month.", show_default=False),
    ] = None
    created_since: Annotated[Typed | None, Parameter(help="Select what was created from then on (API 2.0).")] = None
    created_until: Annotated[Typed | None, Parameter(help="Select what was created up to then (API 2.0).")] = None
    updated_since: Annotated[Typed | None, Parameter(help="Select what was last updated from then on (API 2.0).")] = (
        None
    )
    updated_until: Annotated[Typed | None, Parameter(help="Select what was last updated up to then (API 2.0).")] = None
    user: Annotated[_Values, Parameter(help="Select the worklogs of this monday.com user; may be repeated.")] = None
    category: Annotated[_Values, Parameter(help="Select this category; may be repeated.")] = None
    project: Annotated[_Values, Parameter(help="Select this project (API 2.0); may be repeated.")] = None
    item: Annotated[_Values, Parameter(help="Select this monday.com item; may be repeated.")] = None
    approval: Annotated[
        list[Literal["open", "submitted", "approved", "rejected"]] | None,
        Parameter(negative=(), help="Select this state of the approval; may be repeated.", show_default=False),
    ] = None
    tz: Annotated[
        str | None,
        Parameter(
            metavar="NAME",
            show_default=False,
            help="Use this time zone, such as Europe/Amsterdam: for today (default: that of this machine), and on API"
            " 1.0 for the day of each moment in files and reports (default: UTC, or that of the store).",
        ),
    ] = None

    @property
    def is_everything(self) -> bool:
        """Return whether nothing is left out."""
        return attrs.evolve(self, tz=None) == EVERYTHING

    def bounds(self) -> dict[str, dt.date | None]:
        """Return the bounds of today by the names of `WorklogFilter`, None where unbounded.

        Raises:
            UsageError: a month and a bound of its own are given; or there is no such month or time zone.
        """
        found: dict[str, dt.date | None] = {}
        with refusals():
            for name in ("since", "created_since", "updated_since"):
                found[name] = dates.lower(getattr(self, name), self.tz)
            for name in ("until", "created_until", "updated_until"):
                found[name] = dates.upper(getattr(self, name), self.tz)
        if self.month is not None:
            if self.since is not None or self.until is not None:
                raise UsageError("--month is both --since and --until. Leave it out, or them")
            month = dates.month(self.month, self.tz)
            found |= {"since": month.first, "until": month.last}
        return found

    def values(self) -> dict[str, tuple[str, ...]]:
        """Return the values that are chosen, by the attribute of `Worklog`; none is every value."""
        given: dict[str, list[str] | None] = {
            "user_id": self.user,
            "category_id": self.category,
            "project_id": self.project,
            "item_id": self.item,
            "approval_status": [*(self.approval or ())],
        }
        return {name: tuple(chosen) for name, chosen in given.items() if chosen}

    def filter(
        self,
        *,
        sort_by: Literal["date", "created_date", "updated_date"] = "date",
        descending: bool = False,
    ) -> WorklogFilter:
        """Return the filter with these bounds and values.

        Raises:
            UsageError: a lower bound is after its upper bound; or as `bounds`.
        """
        chosen, bounds = self.values(), self.bounds()
        values: dict[str, Any] = {field: chosen[name] for field, name in VALUES.items() if name in chosen}
        with refusals():
            return WorklogFilter(**bounds, **values, sort_by=sort_by, descending=descending)


EVERYTHING: Final = Selection()


CREDENTIALS: Final = frozenset(
    {"TRACKET_TOKEN", "TRACKET_CLIENT_ID", "TRACKET_CLIENT_SECRET", "TRACKET_ACCOUNT_ID"},
)
V1: Final[Mapping[str, str]] = {
    "TRACKET_V1_SCHEME": "v1_scheme",
    "TRACKET_V1_CURSOR_PARAMETER": "v1_cursor_parameter",
    "TRACKET_V1_START_DATE": "v1_start_date",
}
"""The settings of API 1.0 alone, and the attributes of `Connection` for them."""

SETTINGS: Final = CREDENTIALS | {"TRACKET_API", "TRACKET_BASE_URL", "TRACKET_CA_BUNDLE", "TRACKET_RATE"} | V1.keys()

KNOWN: Final = SETTINGS | {profile.NAME, "TRACKET_LOG"}
"""The names that a setting may have."""
OF_THIS_MACHINE: Final = ("TRACKET_CA_BUNDLE", "TRACKET_RATE")
"""The settings of the environment that count beside a profile."""
_OURS: Final = "TRACKET_"

SECRET_FLAGS: Final[Mapping[str, str]] = {
    "--token": "TRACKET_TOKEN",
    "--client-secret": "TRACKET_CLIENT_SECRET",
    "--password": "TRACKET_CLIENT_SECRET",
    "--secret": "TRACKET_CLIENT_SECRET",
}
"""Options that people try, and the setting in which the secret belongs."""

_ASSIGNMENT: Final = re.compile("(TRACKET_TOKEN|TRACKET_CLIENT_SECRET)=")


@Parameter(name="*", group=Group("Connection", sort_key=2))
@attrs.frozen(kw_only=True)
class Connection:
    """The server and the credentials. None: the environment, then the env file, then the library's default decide."""

    api: Annotated[
        Literal["1.0", "2.0"] | None, Parameter(help="Use this API version (else TRACKET_API, else 2.0).")
    ] = None
    base_url: Annotated[
        str | None,
        Parameter(metavar="URL", help="Use this server, without /api/... (else TRACKET_BASE_URL, else Tracket's own)."),
    ] = None
    env_file: Annotated[
        Path | None,
        Parameter(
            metavar="FILE",
            help="Read TRACKET_* settings from a file of KEY=value lines. The environment wins over the file.",
        ),
    ] = None
    profile: Annotated[
        str | None,
        Parameter(
            metavar="NAME",
            help="Use this profile in place of the environment (else TRACKET_PROFILE, else default).",
        ),
    ] = None
    token_file: Annotated[
        str | None,
        Parameter(
            metavar="FILE",
            allow_leading_hyphen=True,  # - is standard input
            help="Read the access token from a file (else TRACKET_TOKEN); - is standard input.",
        ),
    ] = None
    rate: Annotated[
        float | None,
        Parameter(
            metavar="N",
            validator=_rate,
            help="Send at most this many requests a second (else TRACKET_RATE, else as many as the server accepts).",
        ),
    ] = None
    v1_scheme: Annotated[
        str | None,
        Parameter(
            metavar="WORD",
            help="API 1.0: the word before the token in the Authorization header, or none (else TRACKET_V1_SCHEME, else"
            " Bearer).",
        ),
    ] = None
    v1_cursor_parameter: Annotated[
        str | None,
        Parameter(
            metavar="NAME",
            help="API 1.0: the query parameter that takes a cursor (else TRACKET_V1_CURSOR_PARAMETER, else cursor).",
        ),
    ] = None
    v1_start_date: Annotated[
        Literal["moment", "day"] | None,
        Parameter(help="API 1.0: what startDate is sent as (else TRACKET_V1_START_DATE, else moment)."),
    ] = None
    no_proxy: Annotated[
        bool,
        Parameter(
            negative=(),
            show_default=False,
            help="Connect directly, whatever HTTPS_PROXY, HTTP_PROXY and ALL_PROXY say (see NO_PROXY for some hosts).",
        ),
    ] = False
    debug: Annotated[
        bool,
        Parameter(negative=(), show_default=False, help="Show the proxy in use, and the traceback of an error."),
    ] = False

    def settings(self, environ: Mapping[str, str]) -> dict[str, str]:
        """Return the ``TRACKET_*`` settings that apply, and no other variable.

        Raises:
            ConfigurationError: a file cannot be read, or is not what it should be; or an option is for API 1.0, and
                2.0 is used.
        """
        flags: dict[str, str] = {}
        if self.api is not None:
            flags["TRACKET_API"] = self.api
        if self.base_url is not None:
            flags["TRACKET_BASE_URL"] = self.base_url
        if self.token_file is not None:
            flags["TRACKET_TOKEN"] = read_token(self.token_file)
        if self.rate is not None:
            flags["TRACKET_RATE"] = repr(self.rate)
        of_v1 = {name: given for name, attribute in V1.items() if (given := getattr(self, attribute)) is not None}
        flags |= of_v1
        from_file: dict[str, str] = {}
        if self.env_file is not None:
            if self.profile is not None:
                raise ConfigurationError("--profile and --env-file contradict each other. Give one of them")
            name = f"--env-file {self.env_file}"
            from_file = parse(read(self.env_file, name=name), name=name)
        if chosen := self._profile(flags, environ):
            # A secret of the profile must not go to a server that the environment names.
            environ = {name: environ[name] for name in OF_THIS_MACHINE if name in environ}
            from_file = chosen
        merged = merge(flags, environ, from_file)
        self._tell_mistakes(environ, from_file, merged)
        if of_v1 and merged.get("TRACKET_API") != "1.0":
            option = V1[next(iter(of_v1))].replace("_", "-")
            raise ConfigurationError(f"--{option} is a setting of API 1.0. Leave it out, or give --api 1.0")
        return merged

    def _profile(self, flags: Mapping[str, str], environ: Mapping[str, str]) -> dict[str, str]:
        """Return the settings of the profile that counts: that of the option, or the default without credentials."""
        if self.profile is not None:
            return profile.settings_of(self.profile, environ)
        if self.env_file is not None or not CREDENTIALS.isdisjoint(merge(flags, environ)):
            return {}
        return profile.default_settings(environ)

    @staticmethod
    def _tell_mistakes(environ: Mapping[str, str], from_file: Mapping[str, str], merged: Mapping[str, str]) -> None:
        """Say on standard error what is set and has no effect: misspelt names, and parts of credentials."""
        for name in sorted({*environ, *from_file}):
            if (
                name.startswith(_OURS)
                and name not in KNOWN
                and (close := get_close_matches(name, KNOWN, n=1, cutoff=0.8))
            ):
                output.note(f"tracket: {name} is no setting, and is ignored. Did you mean {close[0]}?")
        half = sorted(name for name in CREDENTIALS if merged.get(name))
        ignored = sorted(name for name in CREDENTIALS - merged.keys() if from_file.get(name))
        if ignored and 0 < len(half) < len(CREDENTIALS) - 1 and "TRACKET_TOKEN" not in half:
            output.note(
                f"tracket: credentials are taken from one place alone: {', '.join(half)} of the environment, and not"
                f" {', '.join(ignored)} of --env-file."
            )
        if 1 < len(half) < len(CREDENTIALS) and "TRACKET_TOKEN" in half:
            half.remove("TRACKET_TOKEN")
            unused = " and ".join(half)
            output.note(f"tracket: TRACKET_TOKEN is used, and {unused}, a part of client credentials, is not.")

    def client(self, **settings: Any) -> TracketClient:
        """Create a client with these settings, not yet open. With ``--debug``, tell on standard error how it connects.

        Args:
            settings: further arguments of `TracketClient`.

        Raises:
            ConfigurationError: a setting is missing or wrong.
        """
        environ = {**self.settings(os.environ), "TRACKET_LOG": os.environ.get("TRACKET_LOG", "")}
        client = TracketClient.from_env(environ, trust_env=not self.no_proxy, **settings)
        if self.debug:
            way = "without a proxy" if client.proxy is None else f"through the proxy {client.proxy}"
            output.note(f"tracket: connecting to {client.base_url} {way}")
        return client


DEFAULT: Final = Connection()


def merge(*sources: Mapping[str, str]) -> dict[str, str]:
    """Return the settings of several sources, of which the first counts most. An empty value is no value.

    Where a source has credentials, all credentials of the sources after it are ignored.
    """
    merged: dict[str, str] = {}
    for source in sources:
        found = {name: source[name] for name in SETTINGS if source.get(name)}
        if CREDENTIALS.isdisjoint(merged):
            merged = found | merged
        else:
            merged = {name: value for name, value in found.items() if name not in CREDENTIALS} | merged
    return merged


def read_token(source: str) -> str:
    """Read the token in a file, or on standard input for ``-``: its only word.

    Raises:
        ConfigurationError: unreadable, empty, or more than one line.
    """
    # The path is not shown: a token is easily given in its place.
    name = "standard input" if source == "-" else "the --token-file"
    text = sys.stdin.read(LARGEST_FILE) if source == "-" else read(Path(source), name=name)
    lines = text.removeprefix("\ufeff").split()
    if len(lines) != 1:
        found = "nothing" if not lines else "more than one word"
        raise ConfigurationError(f"{name} holds {found}. It must hold the access token and nothing else")
    return lines[0]


def secret_flag(arguments: list[str]) -> str | None:
    """Return the setting in which a secret among the arguments belongs, None if there is no secret."""
    options = True
    for argument in arguments:
        options = options and argument != "--"
        if options and (setting := SECRET_FLAGS.get(argument.partition("=")[0])):
            return setting
        if found := _ASSIGNMENT.search(argument):
            return found[1]
    return None
