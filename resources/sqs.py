"""Queue of object events: Amazon SQS, or a server that speaks its language.

Here: receiving, deleting and setting aside messages, with bounds. Not here: what a message says
(groundplan/ingest/s3_events.py). Credentials come from the environment under AWS's own names; the region from the URL,
else from the environment. https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/Welcome.html
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from groundplan.config import ArrivalSettings
from groundplan.core.parallel import AT_ONCE, in_parallel
from groundplan.errors import StoreFailed

HIDDEN = 300  # seconds in which nobody else gets a message; it is deleted a round later, long before
BATCH = 10  # messages of one request: SQS's limit


@dataclass(frozen=True, slots=True)
class Message:
    """A message in hand. receipt: what it is deleted by."""

    id: str
    receipt: str
    body: str


@dataclass(frozen=True)
class Queue:
    """A queue and its dead-letter queue ('' for none). Methods raise StoreFailed."""

    url: str
    dead_letters: str
    client: Any

    def receive(self, most: int) -> list[Message]:
        """Up to `most` messages; none of them is lost when they are not deleted. Does not wait for any to come."""

        def some(count: int) -> list[Message]:
            with asked(self.url, "read"):
                answer = self.client.receive_message(
                    QueueUrl=self.url, MaxNumberOfMessages=count, WaitTimeSeconds=0, VisibilityTimeout=HIDDEN
                )
            messages = answer.get("Messages", [])
            return [Message(item["MessageId"], item["ReceiptHandle"], item["Body"]) for item in messages]

        found = some(min(BATCH, most))
        while found and len(found) < most:
            left = most - len(found)
            wave = in_parallel(some, [min(BATCH, left - at) for at in range(0, min(left, AT_ONCE * BATCH), BATCH)])
            if not any(wave):
                break
            found += [message for batch in wave for message in batch]
        return found

    def delete(self, receipts: Sequence[str]) -> None:
        """Done with these. One that expired is no fault: its message comes again, and says nothing new."""

        def some(batch: Sequence[str]) -> None:
            entries = [{"Id": str(index), "ReceiptHandle": receipt} for index, receipt in enumerate(batch)]
            with asked(self.url, "emptied"):
                self.client.delete_message_batch(QueueUrl=self.url, Entries=entries)

        in_parallel(some, [receipts[start : start + BATCH] for start in range(0, len(receipts), BATCH)])

    def set_aside(self, message: Message, reason: str) -> bool:
        """Put a message into the dead-letter queue with the reason. False where there is none: its policy decides."""
        if not self.dead_letters:
            return False
        with asked(self.dead_letters, "written"):
            self.client.send_message(
                QueueUrl=self.dead_letters,
                MessageBody=message.body,
                MessageAttributes={
                    "reason": {"DataType": "String", "StringValue": reason[:500]},
                    "message": {"DataType": "String", "StringValue": message.id},
                },
            )
        return True

    def depth(self) -> int:
        """Messages that wait, about."""
        with asked(self.url, "counted"):
            answer = self.client.get_queue_attributes(QueueUrl=self.url, AttributeNames=["ApproximateNumberOfMessages"])
        return int(answer["Attributes"]["ApproximateNumberOfMessages"])


def open_queue(settings: ArrivalSettings) -> Queue | None:
    """The queue of `arrivals.queue`, None where none is set. Nothing is asked of it yet."""
    if not settings.queue:
        return None
    return Queue(settings.queue, settings.dead_letter_queue, client_of(settings.queue))


def client_of(url: str, read_seconds: float = 8) -> Any:
    """A client for a queue at a URL; it asks nothing yet."""
    import boto3
    from botocore.config import Config

    parts = urlsplit(url)
    named = re.match(r"(?:.*\.)?sqs\.([a-z0-9-]+)\.|^([a-z0-9-]+)\.queue\.", parts.hostname or "")
    region = (named[1] or named[2]) if named else None
    return boto3.client(
        "sqs",
        endpoint_url=f"{parts.scheme}://{parts.netloc}",
        region_name=region or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1",
        # a round of the sensor must end: what fails now is tried in the next
        config=Config(
            connect_timeout=3, read_timeout=read_seconds, retries={"total_max_attempts": 2, "mode": "standard"}
        ),
    )


@contextmanager
def asked(url: str, verb: str) -> Iterator[None]:
    """Within, the client's errors are StoreFailed."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except (BotoCoreError, ClientError) as error:
        reason = str(error).splitlines()[0][:200]
        raise StoreFailed(url, f"it could not be {verb} ({reason})", "Check the queue and its policy") from error
