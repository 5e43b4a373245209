"""The coordinator owns rate, token and pauses of an export; nobody else has the credentials."""

from __future__ import annotations

import asyncio
import json
import pickle

import pytest

distributed = pytest.importorskip("distributed")

from tests.integrations.dask.clusters import start_coordinator  # noqa: E402
from tracket_async.emulator import Emulator  # noqa: E402
from tracket_async.errors import AuthenticationError, ClientStateError, ConfigurationError  # noqa: E402
from tracket_async.integrations.dask.coordinator import Sealed, asking, seal  # noqa: E402
from tracket_async.integrations.dask.worker import CoordinatedRate, connect  # noqa: E402

CANARY = "canary-7f3a"


@pytest.fixture
async def start(no_leaks):
    """``await start(settings)``: begin a job; returns the coordinator, the remote, and who asks."""
    coordinators = []

    async def begin(settings, *, job="job", owner="client-1"):
        if not coordinators:
            coordinators.append(await start_coordinator())
        coordinator, remote = coordinators[0]
        ask = asking(remote, job)
        await ask("begin", owner=owner, settings=seal(json.dumps(settings)), trust_env=False)
        return coordinator, remote, ask

    yield begin
    for coordinator, _ in coordinators:
        await coordinator.close()


TOKEN = {"TRACKET_TOKEN": CANARY, "TRACKET_BASE_URL": "http://127.0.0.1:9", "TRACKET_RATE": "50"}


def test_a_sealed_secret_goes_to_another_process_and_is_not_shown():
    sealed = pickle.loads(pickle.dumps(Sealed(CANARY)))
    assert sealed.reveal() == CANARY
    assert CANARY not in f"{sealed!r} {sealed} {seal(CANARY)!r}"


async def test_others_get_the_settings_and_never_the_credentials(start):
    credentials = {"TRACKET_CLIENT_ID": CANARY, "TRACKET_CLIENT_SECRET": CANARY, "TRACKET_ACCOUNT_ID": CANARY}
    _, remote, ask = await start(TOKEN | credentials | {"TRACKET_API": "1.0"})
    found = await ask("settings")
    assert json.loads(found["environ"].reveal()) == {"TRACKET_BASE_URL": "http://127.0.0.1:9", "TRACKET_API": "1.0"}
    assert found["trust_env"] is False
    assert CANARY not in "".join(remote.seen)


async def test_a_bearer_token_is_its_own_header_and_goes_to_all(start):
    _, remote, ask = await start(TOKEN)
    token = await ask("token", refused=None)
    assert (token["authorization"].reveal(), token["expires_in"], token["serial"]) == (f"Bearer {CANARY}", None, 0)
    assert CANARY not in "".join(remote.seen)


async def test_who_asks_for_no_export_is_told_that_it_has_ended(start):
    _, remote, ask = await start(TOKEN)
    for question in ("permit", "token", "tell", "settings", "status", "end"):
        with pytest.raises(ClientStateError, match="has ended"):
            await asking(remote, "another")(question)
    assert await ask("end")
    with pytest.raises(ClientStateError, match="has ended"):
        await ask("permit", told=[], reading=[])


async def test_settings_that_are_wrong_are_told_to_who_begins(start):
    with pytest.raises(ConfigurationError, match="Neither TRACKET_TOKEN"):
        await start({})


async def test_the_status_is_that_of_all(start):
    _, _, ask = await start(TOKEN)
    permit = await ask("permit", told=[], reading=[(3, 500)])
    told = [("success", permit, 0.0), ("refusal", permit, 0.0), ("pause", 0.0, 30.0)]
    await ask("tell", told=told, reading=[(3, 700), (4, 1)])
    await ask("tell", told=[], reading=[], waiting=("tcp://a", "no answer"))
    await ask("tell", told=[], reading=[], waiting=("tcp://b", "disk full"))
    await ask("tell", told=[], reading=[], waiting=("tcp://b", None))
    status = await ask("status")
    assert 29 < status.pop("paused_for") <= 30
    assert 0 < status.pop("rate") < 50
    assert status == {
        "permits": 1,
        "refusals": 1,
        "token_calls": 0,
        "reading": ((3, 700), (4, 1)),
        "waiting": {"tcp://a": "no answer"},
        "workers": 1,
    }


async def test_a_worker_that_has_gone_does_not_wait(start):
    coordinator, _, ask = await start(TOKEN)
    await ask("tell", told=[], reading=[], waiting=("tcp://a", "no answer"))
    coordinator.remove_worker(None, "tcp://a", stimulus_id="test")
    assert (await ask("status"))["waiting"] == {}


async def test_without_a_rate_there_is_no_limit(start):
    _, _, ask = await start({name: value for name, value in TOKEN.items() if name != "TRACKET_RATE"})
    assert (await ask("status"))["rate"] is None


async def test_who_waits_for_a_permit_is_sent_away_at_the_end(start):
    _, _, ask = await start(TOKEN)
    await ask("tell", told=[("pause", 0.0, 300.0)], reading=[])
    waiting = [asyncio.create_task(ask("permit", told=[], reading=[])) for _ in range(3)]
    await asyncio.sleep(0.01)
    await ask("end")
    for task in waiting:
        with pytest.raises(ClientStateError, match="has ended"):
            await task


async def test_a_permit_of_a_worker_that_dies_is_forgotten(start):
    coordinator, _, ask = await start(TOKEN)
    await ask("tell", told=[("pause", 0.0, 300.0)], reading=[])
    waiting = asyncio.create_task(ask("permit", told=[], reading=[]))
    await asyncio.sleep(0.01)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert await ask("end")
    assert coordinator._jobs == {}


async def test_an_export_ends_with_the_client_that_began_it(start):
    coordinator, remote, ask = await start(TOKEN)
    await start(TOKEN, job="other", owner="client-2")
    coordinator.remove_client(None, "client-1")
    await asyncio.sleep(0)
    with pytest.raises(ClientStateError, match="has ended"):
        await ask("status")
    assert (await asking(remote, "other")("status"))["permits"] == 0
    await coordinator.close()
    with pytest.raises(ClientStateError, match="has ended"):
        await asking(remote, "other")("status")


async def test_one_expiry_under_four_workers_is_one_token_call(start):
    async with Emulator(sample=10) as emulator:
        _, remote, ask = await start(emulator.env("2.0"))
        rates = [CoordinatedRate(asking(remote, "job"), f"tcp://{n}") for n in range(4)]
        workers = [await (await connect(ask, rate, concurrency=4)).open() for rate in rates]
        try:
            await asyncio.gather(*(worker.worklogs.list() for worker in workers))
            assert (await ask("status"))["token_calls"] == 1
            emulator.expire_tokens()
            await asyncio.gather(*(worker.worklogs.list() for worker in workers for _ in range(3)))
            assert (await ask("status"))["token_calls"] == 2
            refused = [entry for entry in emulator.request_log if entry.status == 401]
            assert len(refused) >= 4
        finally:
            for worker in workers:
                await worker.aclose()


async def test_credentials_that_are_refused_are_an_error_of_the_call(start):
    async with Emulator(sample=1) as emulator:
        _, _, ask = await start(emulator.env("2.0") | {"TRACKET_CLIENT_SECRET": CANARY})
        async with await connect(ask, CoordinatedRate(ask, "tcp://a"), concurrency=1) as worker:
            with pytest.raises(AuthenticationError, match="credentials are refused"):
                await worker.worklogs.list()
