"""The mirror for asyncio: the same under load, and a task that is cancelled leaves nothing behind."""

import asyncio
import socket
import threading

import pytest

import kmirror
import kmirror.aio
from conftest import HANG_LIMIT, Clusters, wait_for


async def until_behind(mirror: kmirror.aio.Mirror) -> None:
    """Waits for a paused mirror to know of records that it lacks: then it cannot catch up any more."""
    while mirror.state != "paused" or not (await mirror.status()).lag.records:
        await asyncio.sleep(0.02)


def test_under_load_from_asyncio(clusters: Clusters) -> None:
    async def main() -> None:
        loop_thread = threading.current_thread()
        lags: list[kmirror.Lag] = []

        def on_lag(lag: kmirror.Lag) -> None:
            assert threading.current_thread() is loop_thread
            lags.append(lag)

        properties = clusters.of(clusters.busy_topic, lag_interval_ms=50, on_lag=on_lag)
        async with kmirror.aio.Mirror(**properties) as mirror:
            kinds: set[str] = set()
            async for event in mirror.events():
                kinds.add(event.kind)
                if len(lags) > 3 and {"state_changed", "topic_added", "lag"} <= kinds:
                    break
            await mirror.wait_until_caught_up(timeout=HANG_LIMIT)
            assert (await mirror.verify(timeout=HANG_LIMIT)).identical
            assert (await mirror.status()).replicated_records > 0
            assert (await mirror.plan()).has_run
            assert (await mirror.check()).ok
            await mirror.pause()
            await until_behind(mirror)
            with pytest.raises(kmirror.TimedOut):
                await mirror.wait_until_caught_up(timeout=0.3)
            await mirror.resume()
            await mirror.set_throttle(None)
        assert mirror.state == "stopped"
        assert repr(mirror).startswith("<kmirror.aio.Mirror")
        assert [event.state async for event in mirror.events() if event.kind == "state_changed"][-1] == "stopped"

    asyncio.run(asyncio.wait_for(main(), HANG_LIMIT))


def test_a_cancelled_task_gives_its_call_up(clusters: Clusters) -> None:
    async def main() -> None:
        async with kmirror.aio.Mirror(**clusters.of(clusters.busy_topic, lag_interval_ms=60_000)) as mirror:
            await mirror.pause()
            await until_behind(mirror)
            for call in (mirror.wait_until_caught_up(), mirror.promote(timeout=HANG_LIMIT)):
                with pytest.raises(asyncio.TimeoutError):
                    await asyncio.wait_for(call, 0.3)
            await mirror.resume()
            await mirror.wait_until_caught_up(timeout=HANG_LIMIT)
            while await mirror.poll(timeout=0.5) is not None:
                pass
            # The event that comes after a poll was given up is not lost.
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(mirror.poll(timeout=None), 0.3)
            await mirror.pause()
            event = await mirror.poll(timeout=HANG_LIMIT)
            assert event is not None and event.state == "paused"

    asyncio.run(main())
    wait_for(lambda: "kmirror-wait" not in {thread.name for thread in threading.enumerate()})


def test_a_start_that_is_cancelled_leaves_no_mirror() -> None:
    async def main() -> kmirror.aio.Mirror:
        mirror = kmirror.aio.Mirror(source=clients[0], target=clients[1])
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(mirror.start(), 0.3)
        return mirror

    with socket.create_server(("127.0.0.1", 0)) as source, socket.create_server(("127.0.0.1", 0)) as target:
        addresses = [f"127.0.0.1:{silent.getsockname()[1]}" for silent in (source, target)]
        clients = [{"bootstrap.servers": address} for address in addresses]
        mirror = asyncio.run(main())
        assert mirror.state == "not started"
    wait_for(lambda: "kmirror-wait" not in {thread.name for thread in threading.enumerate()})
