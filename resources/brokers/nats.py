"""The broker of one's own cluster: NATS JetStream.

Here: two streams, a pull consumer that all workers share, and a loop of its own for a client that is asynchronous. Not
here: servers. What a server has acknowledged outlives its process; whether it outlives a power cut is the server's
`sync_interval` (docs/messages.md), and `groundplan messages republish` fills a broker again that lost some.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from groundplan.errors import BrokerFailed
from groundplan.messages.cloud_events import CloudEvent
from groundplan.messages.port import Depth, Leased

if TYPE_CHECKING:
    from nats.aio.client import Client
    from nats.js import JetStreamContext

T = TypeVar("T")

WORK_STREAM, EVENTS_STREAM = "GROUNDPLAN_WORK", "GROUNDPLAN_EVENTS"
WORK_SUBJECT, ARRIVALS_SUBJECT, EVENTS_SUBJECT = "groundplan.work", "groundplan.arrivals", "groundplan.events"
"""An object store may publish its own events to `groundplan.arrivals`."""
CONSUMER = "workers"
REMEMBERED = 600.0  # seconds for which the server knows the ids that it took
KEPT = 7 * 24 * 3600.0  # seconds for which events of results can be read again
SECONDS = 10.0  # of one request
LEAST_WAIT = 0.02  # seconds: a request that does not wait at all would not be answered


class NatsBroker:
    """A broker over servers of one cluster; it connects at the first need, and again when it was cut off."""

    transactional = False

    def __init__(self, servers: Sequence[str], credentials: Path | None = None, replicas: int = 1) -> None:
        self.servers, self.credentials, self.replicas = list(servers), credentials, replicas
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="nats", daemon=True)
        self._thread.start()
        self._turn = threading.Lock()
        self._client: Client | None = None
        self._stream: JetStreamContext | None = None
        self._pull: JetStreamContext.PullSubscription | None = None

    def send(self, events: Sequence[CloudEvent]) -> None:
        async def all_of_them() -> None:
            js = self._js()
            for start in range(0, len(events), 256):
                some = events[start : start + 256]
                await asyncio.gather(*(_published(js, WORK_SUBJECT, event) for event in some))

        self._ask(all_of_them)

    def receive(self, most: int, lease: float, wait: float = 0.0) -> list[Leased]:
        async def some() -> list[Any]:
            from nats.errors import TimeoutError as Empty

            pull = await self._pulled(lease)
            try:
                return list(await pull.fetch(most, timeout=max(LEAST_WAIT, wait)))
            except (TimeoutError, Empty):
                return []

        return [_leased(message) for message in self._ask(some, wait + SECONDS)]

    def keep(self, held: Sequence[Leased], lease: float) -> None:
        """For as long as the consumer's leases are, from now."""

        async def all_of_them() -> None:
            for one in held:
                await one.receipt.in_progress()

        self._ask(all_of_them)

    def done(self, held: Sequence[Leased], within: Any = None) -> None:
        async def all_of_them() -> None:
            from nats.errors import MsgAlreadyAckdError

            for one in held:
                with suppress(MsgAlreadyAckdError):
                    await one.receipt.ack()
            await self._connected().flush()

        self._ask(all_of_them)

    def later(self, held: Sequence[Leased], seconds: float) -> None:
        async def all_of_them() -> None:
            from nats.errors import MsgAlreadyAckdError

            for one in held:
                with suppress(MsgAlreadyAckdError):
                    await one.receipt.nak(delay=max(0.001, seconds))
            await self._connected().flush()

        self._ask(all_of_them)

    def depth(self) -> Depth:
        async def counted() -> Depth:
            from nats.js.errors import NotFoundError

            state = (await self._js().stream_info(WORK_STREAM)).state
            if not state.messages:
                return Depth(0, 0.0)
            try:
                first = (await self._js().get_msg(WORK_STREAM, seq=state.first_seq)).time
            except NotFoundError:  # done with between the two questions: how old the next one is, nobody said
                first = None
            return Depth(state.messages, max(0.0, time.time() - first.timestamp()) if first else None)

        return self._ask(counted)

    def publish(self, events: Sequence[CloudEvent]) -> None:
        async def one_by_one() -> None:
            for event in events:
                await _published(self._js(), f"{EVENTS_SUBJECT}.{event.type}", event)

        self._ask(one_by_one)

    def close(self) -> None:
        if self._client is not None:
            with suppress(Exception):
                asyncio.run_coroutine_threadsafe(self._client.close(), self._loop).result(SECONDS)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(SECONDS)

    # -------------------------------------------------------------------------------------------------------------

    def _ask(self, work: Any, seconds: float = SECONDS) -> Any:
        """The answer of a coroutine function, in the client's own loop. Raises BrokerFailed."""
        try:
            with self._turn:
                if self._stream is None:
                    self._run(self._connect(), SECONDS)
            return self._run(work(), seconds)
        except BrokerFailed:
            raise
        except Exception as error:  # the client raises of many kinds, also plain ones
            reason = f"{type(error).__name__}: {str(error).splitlines()[0][:200] if str(error) else 'no answer'}"
            raise BrokerFailed("NATS", reason, "Check messages.nats_url and the servers") from error

    def _run(self, work: Coroutine[Any, Any, T], seconds: float) -> T:
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result(seconds)
        finally:
            future.cancel()

    async def _connect(self) -> None:
        import nats

        async def quiet(_error: Exception) -> None:
            """Each request says what went wrong with it."""

        client = await nats.connect(
            servers=self.servers,
            user_credentials=str(self.credentials) if self.credentials else None,
            connect_timeout=3,
            max_reconnect_attempts=-1,
            reconnect_time_wait=0.2,
            allow_reconnect=True,
            error_cb=quiet,
            name="groundplan",
        )
        stream = client.jetstream(timeout=SECONDS / 2)
        try:
            await _made(stream, self.replicas)
        except BaseException:
            await client.close()
            raise
        self._client, self._stream = client, stream

    async def _pulled(self, lease: float) -> JetStreamContext.PullSubscription:
        from nats.js.api import AckPolicy, ConsumerConfig

        if self._pull is None:
            wanted = ConsumerConfig(
                durable_name=CONSUMER, ack_policy=AckPolicy.EXPLICIT, ack_wait=lease, max_ack_pending=10_000
            )
            await self._js().add_consumer(WORK_STREAM, wanted)
            self._pull = await self._js().pull_subscribe_bind(consumer=CONSUMER, stream=WORK_STREAM)
        return self._pull

    def _js(self) -> JetStreamContext:
        assert self._stream is not None
        return self._stream

    def _connected(self) -> Client:
        assert self._client is not None
        return self._client


async def _made(stream: JetStreamContext, replicas: int) -> None:
    """The two streams; where they are there already they stay as somebody set them."""
    from nats.js.api import RetentionPolicy, StorageType, StreamConfig
    from nats.js.errors import BadRequestError

    fixed: dict[str, Any] = {
        "storage": StorageType.FILE,
        "num_replicas": replicas,
        "duplicate_window": REMEMBERED,
    }
    work = StreamConfig(WORK_STREAM, subjects=[WORK_SUBJECT, ARRIVALS_SUBJECT], **fixed)
    work.retention = RetentionPolicy.WORK_QUEUE
    events = StreamConfig(EVENTS_STREAM, subjects=[f"{EVENTS_SUBJECT}.>"], max_age=KEPT, **fixed)
    for wanted in (work, events):
        with suppress(BadRequestError):  # it is there, and somebody set it otherwise
            await stream.add_stream(wanted)


async def _published(stream: JetStreamContext, subject: str, event: CloudEvent) -> None:
    headers = {"Nats-Msg-Id": event.id, "Content-Type": "application/cloudevents+json"}
    await stream.publish(subject, event.as_text().encode(), headers=headers)


def _leased(message: Any) -> Leased:
    told = message.metadata
    return Leased(
        id=(message.headers or {}).get("Nats-Msg-Id") or f"{told.sequence.stream}",
        body=message.data.decode("utf-8", "replace"),
        tries=told.num_delivered,
        arrived=told.timestamp.timestamp(),
        receipt=message,
    )
