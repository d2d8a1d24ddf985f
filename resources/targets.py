"""Those who are told of results: the broker, an SNS topic, webhooks.

Here: one try by one way, bounded in time; addresses that may be asked. Not here: order and repetition
(relay.py of the worker).

A webhook is signed as standardwebhooks.com says: HMAC-SHA256 over id, time and body. Its address comes from the
configuration alone, and is looked up before each request: one that leads into a private network, or to this machine, is
refused unless the configuration allows it, and redirects are not followed.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import ipaddress
import os
import socket
import ssl
import time
from collections.abc import Callable, Sequence
from functools import partial
from urllib.parse import urlsplit

from groundplan.config import WebhookSettings
from groundplan.config.images import BROKER, SNS
from groundplan.errors import BadConfig, BadMessage, BrokerFailed
from groundplan.messages.cloud_events import CONTENT_TYPE, CloudEvent
from groundplan.messages.port import Broker
from groundplan.project import Project

SECONDS = 10.0
PASSING = frozenset({408, 425, 429})
"""Answers of the kind 4xx that ask for another try."""


def targets_of(project: Project, broker: Broker) -> dict[str, Callable[[Sequence[CloudEvent]], None]]:
    """Every target that a result can be sent to, by name."""
    found: dict[str, Callable[[Sequence[CloudEvent]], None]] = {BROKER: broker.publish}
    if project.settings.single.sns_topic:
        found[SNS] = partial(tell_topic, project.settings.single.sns_topic)
    for webhook in project.settings.webhooks:
        found[webhook.name] = partial(tell_webhook, webhook)
    return found


def tell_topic(topic: str, events: Sequence[CloudEvent]) -> None:
    """Publish to SNS, one by one. Raises BrokerFailed."""
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError

    limits = Config(connect_timeout=SECONDS, read_timeout=SECONDS, retries={"total_max_attempts": 1})
    try:
        client = boto3.client("sns", region_name=topic.split(":")[3], config=limits)
        for event in events:
            kind = {"type": {"DataType": "String", "StringValue": event.type}}
            client.publish(TopicArn=topic, Message=event.as_text(), MessageAttributes=kind)
    except (BotoCoreError, ClientError) as error:
        reason = str(error).splitlines()[0][:200]
        raise BrokerFailed("SNS topic", reason, "Check single.sns_topic and sns:Publish") from None


def tell_webhook(webhook: WebhookSettings, events: Sequence[CloudEvent]) -> None:
    """POST events one by one. Raises BadMessage where the first is refused for good, BrokerFailed, BadConfig."""
    url, secret = webhook.url or _variable(webhook.url_env, webhook.name), _variable(webhook.secret_env, webhook.name)
    for event in events:
        body = event.as_text().encode()
        headers = {"Content-Type": CONTENT_TYPE, "User-Agent": "groundplan", **signed(secret, event.id, body)}
        status = _posted(webhook, url, body, headers)
        if not 200 <= status < 300:
            _refused(webhook.name, status)


def signed(secret: str, identity: str, body: bytes, at: int | None = None) -> dict[str, str]:
    """Headers that prove who sent a body, and when. at: seconds since 1970; None: now. Raises BadConfig."""
    moment = str(int(time.time()) if at is None else at)
    mark = hmac.new(_key(secret), b".".join([identity.encode(), moment.encode(), body]), hashlib.sha256).digest()
    signature = f"v1,{base64.b64encode(mark).decode()}"
    return {"webhook-id": identity, "webhook-timestamp": moment, "webhook-signature": signature}


def _key(secret: str) -> bytes:
    """`whsec_` and base64, as the libraries of receivers read it; any other text is the key itself."""
    if not secret.startswith("whsec_"):
        return secret.encode()
    try:
        return base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except ValueError as error:
        reason = "its secret begins with whsec_ and is no base64 behind it"
        raise BadConfig("webhook", reason, "Mend the variable that holds it") from error


def _refused(name: str, status: int) -> None:
    if 400 <= status < 500 and status not in PASSING:
        raise BadMessage(f"webhook {name}", f"it answered {status}", "Look at what it expects")
    raise BrokerFailed(f"webhook {name}", f"it answered {status}", "It is told again later")


def _posted(webhook: WebhookSettings, url: str, body: bytes, headers: dict[str, str]) -> int:
    """The answer's status. The connection goes to the address that was judged, not to what a second look-up says."""
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        address = _judged(webhook, parts.hostname or "", port)
        connection = _Pinned(parts.hostname or "", port, address, secure=parts.scheme == "https")
        try:
            path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            connection.request("POST", path, body, headers)
            return connection.getresponse().status
        finally:
            connection.close()
    except (OSError, http.client.HTTPException) as error:
        reason = f"it cannot be reached ({type(error).__name__})"
        raise BrokerFailed(f"webhook {webhook.name}", reason, "It is told again later") from None


def _judged(webhook: WebhookSettings, host: str, port: int) -> str:
    """An address of the host that may be asked. Raises BadConfig."""
    found = [str(item[4][0]) for item in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
    allowed = [address for address in found if webhook.private or ipaddress.ip_address(address).is_global]
    if not allowed:
        remedy = "Set `private = true` for this webhook, if it is meant to"
        raise BadConfig(f"webhook {webhook.name}", "it lies in a private network or on this machine", remedy)
    return allowed[0]


class _Pinned(http.client.HTTPConnection):
    """A connection to one address under the name of its host, which its certificate must have."""

    def __init__(self, host: str, port: int, address: str, *, secure: bool) -> None:
        super().__init__(host, port, timeout=SECONDS)
        self.address, self.secure = address, secure

    def connect(self) -> None:
        plain = socket.create_connection((self.address, self.port), self.timeout)
        self.sock = ssl.create_default_context().wrap_socket(plain, server_hostname=self.host) if self.secure else plain


def _variable(name: str, webhook: str) -> str:
    """Raises BadConfig where the environment does not hold it."""
    if not os.environ.get(name):
        raise BadConfig(f"webhook {webhook}", f"the variable {name} is not set", "Set it where the relay runs")
    return os.environ[name]
