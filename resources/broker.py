"""The broker of a project, by its settings.

Here: choosing and opening it. Not here: brokers (resources/brokers).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from groundplan.messages.port import Broker
from groundplan.project import Project

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine


def open_broker(project: Project, engine: Engine) -> Broker:
    """The broker that `messages.broker` names. engine: of the results' database, which is the table's broker too.

    Raises BrokerFailed where it does not answer.
    """
    settings = project.settings.messages
    if settings.broker == "nats":
        from resources.brokers.nats import NatsBroker

        credentials = project.home / settings.nats_credentials if settings.nats_credentials else None
        return NatsBroker(settings.nats_url.split(","), credentials, settings.nats_replicas)
    if settings.broker == "sqs":
        from resources.brokers.queue import SqsBroker

        return SqsBroker(settings.queue, settings.events_queue)
    from resources.brokers.table import TableBroker

    return TableBroker(engine)
