"""The client: how it is made, opened, closed and shared. What its operations do is in ``functional/``."""

from __future__ import annotations

import asyncio
import datetime as dt
import gc
import inspect
import logging
import re
import ssl
import warnings
from pathlib import Path

import pytest

from tracket_async import (
    AmbiguousWriteError,
    BearerToken,
    ClientCredentials,
    ClientStateError,
    ConfigurationError,
    ConnectError,
    Limits,
    NewWorklog,
    RetryPolicy,
    Timeouts,
    TracketClient,
    UnsupportedError,
    UsageError,
    WorklogFilter,
)
from tracket_async._http.messages import Request
from tracket_async.client import CREDENTIALS, ClientSettings, settings_of
from tracket_async.models import client_side_check, combine_filter

CANARY = "canary-3f9c"
SAMPLES = Path(__file__).parent / "samples" / "http"
NOWHERE = "http://127.0.0.1:9"
MONDAY = dt.date(2024, 5, 6)
NEW = NewWorklog(item_id="i", user_id="u", date=MONDAY, minutes=30)
ENVIRONMENT = dict(zip(CREDENTIALS, ("my-id", CANARY, "1234567"), strict=True))


def make(**settings):
    return TracketClient(**({"auth": BearerToken(CANARY), "base_url": NOWHERE} | settings))


def test_the_typed_settings_are_the_arguments_of_the_client():
    arguments = [name for name in inspect.signature(TracketClient).parameters if name != "self"]
    assert list(ClientSettings.__annotations__) == arguments


# -- made ---------------------------------------------------------------------------------------------------------


def test_the_default_is_the_live_version_at_the_vendors_address():
    client = TracketClient(auth=BearerToken(CANARY))
    assert (client.api, client.base_url) == ("2.0", "https://us.production.timesheet.avisi-apps.com")
    client = TracketClient(auth=BearerToken(CANARY), api="1.0")
    assert (client.api, client.base_url) == ("1.0", "https://tracket.dev")


def test_repr_tells_version_and_address_and_no_secret():
    client = make(base_url="https://proxy.example/tracket/")
    assert repr(client) == "<TracketClient API 2.0 at https://proxy.example/tracket>"
    assert CANARY not in repr(vars(client))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"api": "3.0"}, "1.0 or 2.0, not '3.0'"),
        ({"cursor_parameter": "page"}, "cursor_parameter can be chosen on API 1.0 only"),
        ({"start_date": "day", "cursor_parameter": "page"}, "cursor_parameter and start_date can be chosen on API 1.0"),
        ({"api": "1.0", "start_date": "week"}, "start_date must be one of"),
        ({"api": "1.0", "page_size": 50}, "page_size can be chosen on API 2.0 only"),
        ({"page_size": 0}, "between 1 and 100, not be 0"),
        ({"page_size": 101}, "between 1 and 100, not be 101"),
        ({"base_url": "http://tracket.example"}, "not https"),
        ({"base_url": f"https://me:{CANARY}@tracket.example"}, "user name or password"),
    ],
)
def test_settings_that_are_wrong_or_contradict_each_other_are_refused(settings, message):
    with pytest.raises(ConfigurationError, match=message) as caught:
        make(**settings)
    assert CANARY not in str(caught.value)


@pytest.mark.parametrize("auth", [CANARY, (CANARY, CANARY), {"token": CANARY}, BearerToken])
def test_a_bare_token_is_no_authentication_and_is_not_shown(auth):
    name = type(auth).__name__
    with pytest.raises(ConfigurationError, match=rf"auth must be BearerToken\(\.\.\.\), .*, not {name}$") as caught:
        TracketClient(auth=auth)
    assert CANARY not in str(caught.value)


@pytest.mark.parametrize("size", [1, 100])
def test_the_largest_and_the_smallest_page_size_are_accepted(size):
    make(page_size=size)


@pytest.mark.parametrize(
    ("ssl", "message"),
    [
        (False, "ssl=False would turn verification off, and anybody on the way could read the token"),
        (True, "ssl must be an ssl.SSLContext or None, not True"),
        ("ca.pem", "ssl must be an ssl.SSLContext or None, not 'ca.pem'"),
        (Path("ca.pem"), "ssl must be an ssl.SSLContext or None, not "),
    ],
)
def test_what_is_no_tls_context_is_refused_at_construction(ssl, message):
    with pytest.raises(ConfigurationError, match=message) as caught:
        make(ssl=ssl)
    assert "TRACKET_CA_BUNDLE" in str(caught.value)
    assert "load_verify_locations" in str(caught.value)


# -- from the environment -----------------------------------------------------------------------------------------


async def test_the_environment_makes_a_client():
    client = TracketClient.from_env({"TRACKET_TOKEN": CANARY, "TRACKET_API": "1.0", "TRACKET_BASE_URL": NOWHERE})
    assert (client.api, client.base_url) == ("1.0", NOWHERE)
    assert TracketClient.from_env(ENVIRONMENT).api == "2.0"


V1 = {"TRACKET_V1_CURSOR_PARAMETER": "page", "TRACKET_V1_START_DATE": "day", "TRACKET_V1_SCHEME": "Token"}


@pytest.mark.parametrize("how", ["environment", "argument"])
def test_the_open_settings_of_1_0_come_from_the_environment(how):
    environ = {"TRACKET_TOKEN": CANARY, "TRACKET_BASE_URL": NOWHERE, **V1}
    named = {"api": "1.0"} if how == "argument" else {}
    client = TracketClient.from_env(environ if named else environ | {"TRACKET_API": "1.0"}, **named)
    request = client.api_version.list(WorklogFilter(since=MONDAY), cursor="c")
    assert request.query == (("page", "c"), ("startDate", "2024-05-06"))
    assert settings_of(environ, api="1.0")["auth"].scheme == "Token"
    assert settings_of(environ | {"TRACKET_V1_SCHEME": "none"}, api="1.0")["auth"].scheme == ""
    assert settings_of(environ | {"TRACKET_V1_SCHEME": ""}, api="1.0")["auth"].scheme == "Bearer"


def test_with_2_0_the_settings_of_1_0_mean_nothing():
    assert settings_of({"TRACKET_TOKEN": CANARY, **V1}) == {"auth": BearerToken(CANARY)}
    assert TracketClient.from_env({"TRACKET_TOKEN": CANARY, "TRACKET_API": "1.0", **V1}, api="2.0").api == "2.0"


def test_the_environment_is_that_of_the_process_by_default(monkeypatch):
    monkeypatch.setenv("TRACKET_TOKEN", CANARY)
    monkeypatch.setenv("TRACKET_BASE_URL", "https://of-the-process.example")
    assert TracketClient.from_env().base_url == "https://of-the-process.example"


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({}, "Neither TRACKET_TOKEN nor TRACKET_CLIENT_ID, TRACKET_CLIENT_SECRET and TRACKET_ACCOUNT_ID are set"),
        ({"TRACKET_TOKEN": ""}, "Neither TRACKET_TOKEN nor"),
        (
            {"TRACKET_CLIENT_SECRET": CANARY},
            "TRACKET_CLIENT_SECRET is set, but TRACKET_CLIENT_ID and TRACKET_ACCOUNT_ID are not",
        ),
        (
            ENVIRONMENT | {"TRACKET_ACCOUNT_ID": ""},
            "TRACKET_CLIENT_ID and TRACKET_CLIENT_SECRET are set, but TRACKET_ACCOUNT_ID is not",
        ),
        ({"TRACKET_TOKEN": CANARY, "TRACKET_API": "2"}, "1.0 or 2.0, not '2'"),
        ({"TRACKET_TOKEN": f"{CANARY}\n"}, "white space"),
        ({"TRACKET_TOKEN": "t", "TRACKET_API": "1.0", "TRACKET_V1_SCHEME": f"A {CANARY}"}, "must be one word"),
        ({"TRACKET_TOKEN": "t", "TRACKET_API": "1.0", "TRACKET_V1_START_DATE": "x"}, "one of moment, day, not 'x'"),
        (
            ENVIRONMENT | {"TRACKET_API": "1.0", "TRACKET_V1_SCHEME": "Token"},
            "TRACKET_V1_SCHEME goes with TRACKET_TOKEN",
        ),
    ],
)
def test_what_is_missing_or_wrong_in_the_environment_is_named_and_never_shown(environ, message):
    with pytest.raises(ConfigurationError, match=message) as caught:
        TracketClient.from_env(environ)
    assert CANARY not in str(caught.value)


@pytest.mark.parametrize("name", ["certificate.pem", "."])
def test_a_ca_bundle_is_trusted_beside_the_systems_certificates(name, monkeypatch):
    trusted = []
    monkeypatch.setattr(ssl.SSLContext, "load_default_certs", lambda *_: trusted.append("the system's"))
    loaded = ssl.SSLContext.load_verify_locations

    def load(context, cafile=None, capath=None, cadata=None):
        trusted.append(cafile or capath)
        return loaded(context, cafile, capath, cadata)

    monkeypatch.setattr(ssl.SSLContext, "load_verify_locations", load)
    bundle = str(SAMPLES / name)
    client = TracketClient.from_env({"TRACKET_TOKEN": "t", "TRACKET_CA_BUNDLE": bundle})
    assert trusted == ["the system's", bundle]
    assert client._context.session._ssl.verify_mode is ssl.CERT_REQUIRED


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("nothing.pem", "No such file or directory"),
        ("key.pem", "it holds no PEM certificate"),
    ],
)
def test_a_ca_bundle_that_cannot_be_used_is_told_at_construction(name, reason):
    bundle = str(SAMPLES / name)
    with pytest.raises(ConfigurationError, match=f"^TRACKET_CA_BUNDLE={bundle} cannot be used: {reason}"):
        TracketClient.from_env({"TRACKET_TOKEN": "t", "TRACKET_CA_BUNDLE": bundle})


def rate_of(rate, **settings):
    client = TracketClient.from_env({"TRACKET_TOKEN": "t", "TRACKET_RATE": rate}, **settings)
    return client.statistics().rate


def test_the_environment_sets_the_rate_where_no_other_is_set():
    assert rate_of("2.5") == 2.5
    assert rate_of("2.5", limits=Limits(max_concurrency=3)) == 2.5
    assert rate_of("2.5", limits=Limits(requests_per_second=7)) == 7
    assert rate_of("") is None


@pytest.mark.parametrize("rate", ["0", "-1", "nan", "inf", "ten"])
def test_a_rate_that_is_none_is_refused(rate):
    with pytest.raises(ConfigurationError, match="TRACKET_RATE"):
        rate_of(rate)


def made_auth(environ, monkeypatch, **settings):
    seen = {}
    monkeypatch.setattr(TracketClient, "__init__", lambda _self, **given: seen.update(given))
    TracketClient.from_env(environ, **settings)
    return seen


def test_a_token_wins_over_client_credentials(monkeypatch):
    assert made_auth(ENVIRONMENT | {"TRACKET_TOKEN": "t"}, monkeypatch)["auth"] == BearerToken("t")
    assert made_auth(ENVIRONMENT, monkeypatch)["auth"] == ClientCredentials("my-id", CANARY, "1234567")


def test_what_is_given_wins_over_the_environment(monkeypatch):
    seen = made_auth({"TRACKET_API": "1.0", "TRACKET_BASE_URL": "x"}, monkeypatch, api="2.0", auth=None)
    assert seen == {"api": "2.0", "base_url": "x", "auth": None}


# -- opened and closed --------------------------------------------------------------------------------------------


async def test_outside_of_async_with_every_operation_says_so():
    client = make()
    operations = [
        lambda: client.worklogs.get("w"),
        lambda: client.worklogs.create(NEW),
        lambda: client.worklogs.delete("w"),
        lambda: anext(client.worklogs.export()),
        lambda: anext(aiter(client.worklogs.list())),
        client.categories.list,
    ]
    for operation in operations:
        with pytest.raises(ClientStateError, match="async with"):
            await operation()
    for many in (client.worklogs.create_many, client.worklogs.update_many, client.worklogs.delete_many):
        with pytest.raises(ClientStateError, match="async with"):
            many([])
    async with client:
        pass
    with pytest.raises(ClientStateError, match="closed"):
        await client.worklogs.get("w")
    with pytest.raises(ClientStateError, match="opened once"):
        await client.__aenter__()


async def test_left_open_it_warns():
    asyncio.get_running_loop().set_exception_handler(lambda *_: None)  # aiohttp complains there, too
    held = [await make().__aenter__()]

    def drop():
        held.clear()
        gc.collect()

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what was recorded holds the session, and aiohttp warns when that goes
        with pytest.warns(ResourceWarning, match="Unclosed <TracketSession"):
            drop()
        gc.collect()


async def test_a_notebook_opens_and_closes_a_client_without_a_block():
    client = make()
    assert await client.open() is client
    with pytest.raises(ClientStateError):
        await client.open()
    await client.aclose()


NO_ASYNCIO = "needs asyncio.* with AnyIO, choose its asyncio backend"


@pytest.mark.parametrize("open_it", [TracketClient.open, lambda client: client._context.session.__aenter__()])
def test_where_no_event_loop_of_asyncio_runs_the_client_says_so(open_it):
    with pytest.raises(ClientStateError, match=NO_ASYNCIO):
        open_it(make()).send(None)


async def test_trio_as_a_guest_of_asyncio_is_told_too():
    """Its tasks run in callbacks of the event loop, and not in a task of asyncio."""
    told = asyncio.get_running_loop().create_future()

    def step():
        opening = make().open()
        try:
            opening.send(None)
        except ClientStateError as error:
            told.set_result(str(error))
        else:
            told.set_result("it went on")
        finally:
            opening.close()

    asyncio.get_running_loop().call_soon(step)
    assert re.search(NO_ASYNCIO, await told)


def test_under_trio_the_client_says_asyncio():
    trio = pytest.importorskip("trio")
    with pytest.raises(ClientStateError, match=NO_ASYNCIO):
        trio.run(make().open)


async def test_closing_twice_does_no_harm():
    client = await make().__aenter__()
    await client.aclose()
    await client.aclose()


async def test_a_view_shares_the_session_and_neither_opens_nor_closes_it():
    client = make()
    view = client.with_options(timeout=5, attempts=2)
    with pytest.raises(ClientStateError, match="view"):
        await view.__aenter__()
    async with client:
        await view.aclose()
        assert view._context.session is client._context.session
        assert view._context.session.is_open
        assert repr(view) == repr(client)
    assert not view._context.session.is_open


def test_a_view_of_a_view_keeps_what_it_does_not_change():
    view = make().with_options(timeout=5).with_options(attempts=2)
    assert (view._context.options.timeout, view._context.options.attempts) == (5, 2)
    assert view.with_options(timeout=7)._context.options.timeout == 7


@pytest.mark.parametrize("options", [{"timeout": 0}, {"attempts": 0}, {"timeout": float("nan")}])
def test_a_view_with_a_limit_that_is_none_is_refused(options):
    with pytest.raises(ConfigurationError):
        make().with_options(**options)


async def test_a_view_has_its_own_number_of_attempts():
    policy = RetryPolicy(wait_initial=0, wait_jitter=0)
    async with make(retry=policy, timeouts=Timeouts(connect=1)) as client:
        for view, attempts in ((client, 4), (client.with_options(attempts=2), 2)):
            with pytest.raises(ConnectError) as caught:
                await view.worklogs.get("w")
            assert caught.value.attempts == attempts
        assert client.statistics().attempts == 6


async def test_a_create_that_was_provably_not_sent_is_not_ambiguous():
    async with make(retry=RetryPolicy(attempts=1)) as client:
        with pytest.raises(ConnectError):
            await client.worklogs.create(NEW)


async def test_any_request_can_be_sent():
    async with make(retry=RetryPolicy(attempts=1)) as client:
        with pytest.raises(ConnectError) as caught:
            await client.send(Request("GET", "/api/2.0/reports", "/api/2.0/reports"), lambda response: response.body)
        assert caught.value.path == "/api/2.0/reports"
        assert client.api_version.version == "2.0"


class Closing:
    """A session that is closed while a call is in progress, or waits for its turn."""

    def __init__(self, *, sent):
        self.sent = sent

    async def send(self, *_args, **_options):
        raise ClientStateError("The client was closed while this call was in progress", maybe_sent=self.sent)


async def test_a_create_that_waited_as_the_client_was_closed_was_not_sent(monkeypatch):
    async with make() as client:
        monkeypatch.setattr(client._context.session, "send", Closing(sent=False).send)
        with pytest.raises(ClientStateError):
            await client.worklogs.create(NEW)


async def test_a_create_during_which_the_client_is_closed_is_ambiguous(monkeypatch):
    async with make() as client:
        monkeypatch.setattr(client._context.session, "send", Closing(sent=True).send)
        with pytest.raises(AmbiguousWriteError, match="closed while this call") as caught:
            await client.worklogs.create(NEW)
        assert (caught.value.payload, caught.value.method) == (NEW, "POST")


# -- what is asked of the server, and what is not -----------------------------------------------------------------


@pytest.mark.parametrize("bound", ["since", "until", "created_since", "updated_until"])
@pytest.mark.parametrize("text", ["9999-12-31T23:59:00-08:00", "0001-01-01T00:00:00+13:00"])
def test_a_moment_beyond_the_calendar_is_refused_by_name(bound, text):
    with pytest.raises(ValueError, match=f"{bound} is outside of the years 1 to 9999 in UTC"):
        WorklogFilter(**{bound: dt.datetime.fromisoformat(text)})


def test_a_bound_is_given_once():
    bounded = WorklogFilter(since=MONDAY, until=MONDAY, created_since=MONDAY)
    assert combine_filter(None, MONDAY, MONDAY) == WorklogFilter(since=MONDAY, until=MONDAY)
    assert combine_filter(bounded, None, None) == bounded
    assert combine_filter(WorklogFilter(created_since=MONDAY), MONDAY, MONDAY) == bounded
    for name in ("since", "until"):
        with pytest.raises(UsageError, match=f"{name} is given twice"):
            combine_filter(bounded, **({"since": None, "until": None} | {name: MONDAY}))


@pytest.mark.parametrize(
    "bounds", [{"since": MONDAY}, {"until": MONDAY}, {"created_since": MONDAY}, {"updated_until": MONDAY}]
)
def test_the_client_checks_every_bound_itself_whatever_the_server_filters(bounds):
    wanted = WorklogFilter(**bounds)
    assert client_side_check(wanted) == wanted.matches
    assert client_side_check(WorklogFilter(sort_by="created_date")) is None


def logged(caplog, *, api, **bounds):
    """The query of a list, and what was logged."""
    caplog.clear()
    client = make(api=api)
    wanted = client.api_version.resolve(WorklogFilter(**bounds))
    client.worklogs.list(**bounds)
    client.worklogs.export(**bounds)
    return wanted, [record.getMessage() for record in caplog.records]


def test_a_bound_with_a_time_of_day_means_the_day_as_written_on_2_0(caplog):
    since = dt.datetime.fromisoformat("2026-03-02T08:00-08:00")
    until = dt.datetime.fromisoformat("2026-03-02T23:59-08:00")
    wanted, notices = logged(caplog, api="2.0", since=since, until=until)
    assert wanted == WorklogFilter(since=dt.date(2026, 3, 2), until=dt.date(2026, 3, 2))
    assert {wanted.since.tzinfo, wanted.until.tzinfo} == {dt.UTC}
    assert (
        notices
        == ["API 2.0 keeps days, not times: the bounds mean the days as written, from 2026-03-02 to 2026-03-02"] * 3
    )
    wanted, notices = logged(caplog, api="1.0", since=since, until=until)
    assert (wanted.since, wanted.until) == (since, until)
    assert {wanted.since.tzinfo, wanted.until.tzinfo} == {dt.UTC}
    assert notices == []


@pytest.mark.parametrize(
    ("bounds", "says"),
    [
        ({}, ""),
        ({"since": MONDAY, "until": MONDAY}, ""),
        ({"since": dt.datetime.fromisoformat("2026-03-02T00:00-08:00")}, ""),
        ({"until": dt.datetime.fromisoformat("2026-03-02T23:59-08:00")}, ""),
        ({"since": dt.datetime.fromisoformat("2026-03-02T00:01-08:00")}, "from 2026-03-02 to the last"),
        ({"until": dt.datetime.fromisoformat("2026-03-02T23:58+08:00")}, "from the first to 2026-03-02"),
        ({"until": dt.datetime.fromisoformat("2026-03-02T00:00Z")}, "from the first to 2026-03-02"),
    ],
)
def test_a_notice_is_logged_only_where_a_time_of_day_is_dropped(caplog, bounds, says):
    _, notices = logged(caplog, api="2.0", **bounds)
    assert bool(notices) is bool(says)
    assert all(notice.endswith(says) for notice in notices)


def test_a_mistake_in_a_list_is_told_before_anything_is_sent():
    client, old = make(), make(api="1.0")
    mistakes = [
        (UsageError, lambda: client.worklogs.list(size=101)),
        (ValueError, lambda: client.worklogs.list(since=dt.datetime(2024, 5, 6))),  # noqa: DTZ001
        (ValueError, lambda: client.worklogs.list(since=MONDAY, until=dt.date(2024, 5, 5))),
        (ValueError, lambda: client.worklogs.list(read_ahead=-1)),
        (UnsupportedError, lambda: old.worklogs.list(size=10)),
        (UnsupportedError, lambda: old.worklogs.list(filter=WorklogFilter(updated_since=MONDAY))),
        (UsageError, lambda: client.worklogs.export(since=MONDAY, filter=WorklogFilter(since=MONDAY))),
        (UsageError, lambda: client.worklogs.export(filter=WorklogFilter(descending=True))),
        (UsageError, lambda: client.worklogs.export(filter=WorklogFilter(sort_by="created_date"))),
        (UsageError, lambda: client.worklogs.export(concurrency=0)),
        (UnsupportedError, lambda: old.worklogs.export(filter=WorklogFilter(created_since=MONDAY))),
    ]
    for error, mistake in mistakes:
        with pytest.raises(error):
            mistake()


async def test_categories_and_the_fields_of_the_live_version_are_not_offered_by_the_old_one():
    async with make(api="1.0") as client:
        with pytest.raises(UnsupportedError):
            await client.categories.list()
        with pytest.raises(UnsupportedError):
            await client.worklogs.create(NewWorklog(item_id="i", user_id="u", date=MONDAY, minutes=1, team_id="t"))


async def test_an_export_that_cannot_begin_leaves_no_task_behind():
    async with make(retry=RetryPolicy(attempts=1)) as client:
        with pytest.raises(ConnectError):
            await anext(client.worklogs.export())
        assert asyncio.all_tasks() == {asyncio.current_task()}


def test_the_logger_of_the_package_is_quiet_unless_somebody_listens():
    assert logging.getLogger("tracket_async").level == logging.NOTSET
