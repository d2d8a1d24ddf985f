"""The broker of AWS: an SQS queue of work, and one of events, each for whoever sets it up.

Here: our promises in SQS's words. Not here: the client (resources/sqs.py). The queue of work may receive a bucket's
events as well. SQS knows no ids of ours: what was sent twice comes twice, and is known by then.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from groundplan.errors import BrokerFailed, StoreFailed
from groundplan.messages.cloud_events import CloudEvent
from groundplan.messages.port import Depth, Leased
from resources.sqs import BATCH, asked, client_of

LONGEST_WAIT = 20  # seconds: SQS's own limit
LONGEST_LATER = 43_200  # seconds: SQS's own limit of a lease


class SqsBroker:
    """A broker over queues at two URLs; the second may be empty, then nobody is told by it."""

    transactional = False

    def __init__(self, queue: str, events: str = "", client: Any = None) -> None:
        self.queue, self.events = queue, events
        self.client = client or client_of(queue, read_seconds=LONGEST_WAIT + 8)

    def send(self, events: Sequence[CloudEvent]) -> None:
        self._send(self.queue, events)

    def receive(self, most: int, lease: float, wait: float = 0.0) -> list[Leased]:
        found: list[Leased] = []
        while len(found) < most:
            some = self._receive(min(BATCH, most - len(found)), lease, 0.0 if found else wait)
            found += some
            if not some:
                break
        return found

    def _receive(self, most: int, lease: float, wait: float) -> list[Leased]:
        with _told(self.queue, "read"):
            answer = self.client.receive_message(
                QueueUrl=self.queue,
                MaxNumberOfMessages=most,
                VisibilityTimeout=max(1, round(lease)),
                WaitTimeSeconds=min(LONGEST_WAIT, round(wait)),
                AttributeNames=["ApproximateReceiveCount", "SentTimestamp"],
            )
        return [_leased(item) for item in answer.get("Messages", [])]

    def keep(self, held: Sequence[Leased], lease: float) -> None:
        self._change(held, lease)

    def later(self, held: Sequence[Leased], seconds: float) -> None:
        self._change(held, seconds)

    def _change(self, held: Sequence[Leased], seconds: float) -> None:
        until = min(LONGEST_LATER, max(0, round(seconds)))
        for some, entries in _batches(held):
            timed = [{**entry, "VisibilityTimeout": until} for entry in entries]
            with _told(self.queue, f"asked to hold {len(some)} messages"):
                self.client.change_message_visibility_batch(QueueUrl=self.queue, Entries=timed)

    def done(self, held: Sequence[Leased], within: Any = None) -> None:
        for some, entries in _batches(held):
            with _told(self.queue, f"relieved of {len(some)} messages"):
                self.client.delete_message_batch(QueueUrl=self.queue, Entries=entries)

    def depth(self) -> Depth:
        """SQS does not say how old the oldest is; CloudWatch does, as ApproximateAgeOfOldestMessage."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        with _told(self.queue, "counted"):
            told = self.client.get_queue_attributes(QueueUrl=self.queue, AttributeNames=names)["Attributes"]
        waiting = sum(int(told.get(name, 0)) for name in names)
        return Depth(waiting, None if waiting else 0.0)

    def publish(self, events: Sequence[CloudEvent]) -> None:
        if self.events:
            self._send(self.events, events)

    def close(self) -> None:
        self.client.close()

    def _send(self, url: str, events: Sequence[CloudEvent]) -> None:
        for start in range(0, len(events), BATCH):
            some = events[start : start + BATCH]
            entries = [{"Id": str(at), "MessageBody": event.as_text()} for at, event in enumerate(some)]
            with _told(url, "written"):
                answer = self.client.send_message_batch(QueueUrl=url, Entries=entries)
            if failed := answer.get("Failed"):
                raise BrokerFailed(url, f"it refused a message ({str(failed[0].get('Code'))[:80]})", "Check its policy")


def _batches(held: Sequence[Leased]) -> list[tuple[Sequence[Leased], list[dict[str, Any]]]]:
    some = [held[start : start + BATCH] for start in range(0, len(held), BATCH)]
    return [(batch, [{"Id": str(at), "ReceiptHandle": one.receipt} for at, one in enumerate(batch)]) for batch in some]


def _leased(item: dict[str, Any]) -> Leased:
    told = item.get("Attributes", {})
    return Leased(
        id=item["MessageId"],
        body=item["Body"],
        tries=int(told.get("ApproximateReceiveCount", 1)),
        arrived=int(told.get("SentTimestamp", time.time() * 1000)) / 1000,
        receipt=item["ReceiptHandle"],
    )


@contextmanager
def _told(url: str, verb: str) -> Iterator[None]:
    """Raises BrokerFailed in place of the client's errors."""
    try:
        with asked(url, verb):
            yield
    except StoreFailed as failed:
        raise BrokerFailed(failed.thing, failed.reason, failed.remedy) from failed
