"""Messages: working them off, sending events, and what was set aside.

Here: the options and words of `work`, `relay` and `messages`. Not here: the work (serving/work), brokers (resources).
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from groundplan.errors import BadConfig
from orchestration.cli.terminal import Home, open_home, out, plain

Which = Annotated[list[str] | None, typer.Argument(metavar="[ID]...", help="ids, or how they begin; by default all")]
METRICS = typer.Option(
    "--metrics-port", min=1, max=65535, help="show figures to Prometheus at this port, on all addresses"
)


def work(
    home: Home = None,
    relay: Annotated[bool, typer.Option(help="send events too")] = True,
    until_empty: Annotated[
        bool, typer.Option("--until-empty", help="end when nothing is left, in inbox/ neither")
    ] = False,
    metrics_port: Annotated[int | None, METRICS] = None,
) -> None:
    """Work off images that arrived by message, upload or the folder inbox/, until Ctrl-C or SIGTERM."""
    from serving.logs import json_logs
    from serving.metrics import Meters
    from serving.work.process import run

    project = open_home(home)
    json_logs()
    meters = Meters()
    show(meters, metrics_port)
    run(project, meters, relay, until_empty)


def relay(
    home: Home = None,
    once: Annotated[bool, typer.Option("--once", help="send what waits, and end")] = False,
    metrics_port: Annotated[int | None, METRICS] = None,
) -> None:
    """Send events to the broker, webhooks and topics that are to be told. `work` does so too, unless told not to."""
    from serving.logs import json_logs
    from serving.metrics import Meters
    from serving.work.process import ended_by_signals, relay_of

    project = open_home(home)
    json_logs()
    meters = Meters()
    show(meters, metrics_port)
    sending = relay_of(project, meters)
    if once:
        out.print(f"{sending.run_once()} events sent")
        return
    with ended_by_signals(sending.stopping.set):
        sending.begin()
        sending.stopping.wait()
        sending.end()


def show(meters: object, port: int | None) -> None:
    """Figures at /metrics of a port of their own, which no ingress leads to."""
    if port is None:
        return
    from prometheus_client import start_http_server

    start_http_server(port, registry=meters.registry)  # type: ignore[attr-defined]


messages = typer.Typer(no_args_is_help=True, help="Messages that were set aside, and events that were sent.")


@messages.command("list")
def list_messages(
    most: Annotated[int, typer.Option(min=1, max=10_000, help="the newest so many")] = 50, home: Home = None
) -> None:
    """What waits, and what was set aside for a person, with the reason."""
    from rich.table import Table

    from groundplan.database.connect import open_database
    from resources.broker import open_broker
    from resources.brokers.aside import count, dead_letters
    from resources.piled import unsent

    project = open_home(home)
    engine = open_database(project)
    depth = open_broker(project, engine).depth()
    age = "" if not depth.oldest else f", the oldest for {depth.oldest:.0f} s"
    waiting, _ = unsent(engine)
    out.print(f"{depth.waiting} wait{age}; {waiting} events to be sent; {count(engine)} set aside", highlight=False)
    letters = dead_letters(engine, most)
    if not letters:
        return
    table = Table("id", "set aside", "tries", "what", "reason")
    for one in letters:
        what = str(one.body.get("subject") or one.type)
        table.add_row(one.id[:12], f"{one.aside:%Y-%m-%d %H:%M}", str(one.tries), plain(what), plain(one.reason))
    out.print(table)


@messages.command("retry")
def retry_messages(which: Which = None, home: Home = None) -> None:
    """Work on messages again that were set aside."""
    from groundplan.database.connect import open_database
    from resources.broker import open_broker
    from resources.brokers.aside import retry

    project = open_home(home)
    engine = open_database(project)
    out.print(f"{retry(engine, open_broker(project, engine), which or [])} messages wait again")


@messages.command("drop")
def drop_messages(
    which: Which = None,
    every: Annotated[bool, typer.Option("--all", help="all of them")] = False,
    home: Home = None,
) -> None:
    """Forget messages for good that were set aside. Their images stay where they are."""
    from groundplan.database.connect import open_database
    from resources.brokers.aside import drop

    if not which and not every:
        raise BadConfig("messages drop", "it says not which", "Give their ids, or --all")
    out.print(f"{drop(open_database(open_home(home)), which or [])} messages dropped")


@messages.command("republish")
def republish_messages(
    since: Annotated[datetime, typer.Option(help="events made since then, in UTC, such as 2026-11-27T10:00")],
    target: Annotated[str, typer.Option(help="to this one alone: broker, sns, or a webhook's name")] = "",
    home: Home = None,
) -> None:
    """Send events again, to a broker that lost what it had taken. Receivers know them by their ids."""
    from groundplan.database.connect import open_database
    from serving.work.relay import republish

    engine = open_database(open_home(home))
    out.print(f"{republish(engine, since.replace(tzinfo=UTC), target)} events are sent again by `groundplan work`")
