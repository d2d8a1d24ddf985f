"""AWS on this machine, as moto speaks it, in a process of its own: python emulator.py HOST PORT LOG.

Here: the server, what it lacks for Terraform and is put in, and a line in LOG for every right that was asked for. Not
here: what must come of it (test_on_aws.py).

Put in, each because the provider asks for it: ids of databases of their own, a budget's
subscribers and tags, groups of nodes without a key, bucket policies whose conditions are not passed over.
"""

from __future__ import annotations

import html
import json
import os
import re
import sys
import threading
import uuid
from pathlib import Path
from typing import Any

os.environ["MOTO_IAM_LOAD_MANAGED_POLICIES"] = "true"  # EKS's own, which nodes have

LOCK = threading.Lock()


def ids_of_databases() -> None:
    """moto gives one id to all databases, and the provider looks each up by it."""
    from moto.rds.models import DBInstance

    before = DBInstance.__init__

    def made(self: Any, *words: Any, **named: Any) -> None:
        before(self, *words, **named)
        self.dbi_resource_id = f"db-{uuid.uuid4().hex[:26].upper()}"

    DBInstance.__init__ = made  # type: ignore[method-assign]


def subscribers_of_budgets() -> None:
    """moto keeps them and has no request for them."""
    from moto.budgets.responses import BudgetsResponse

    def told(self: Any) -> str:
        budget = self.backend.budgets[self._get_param("AccountId")][self._get_param("BudgetName")]
        asked = self._get_param("Notification")
        found = [
            item.subscribers
            for item in budget.notifications
            if item.details["NotificationType"] == asked["NotificationType"]
        ]
        return json.dumps({"Subscribers": found[0] if found else []})

    BudgetsResponse.describe_subscribers_for_notification = told  # type: ignore[attr-defined]
    BudgetsResponse.list_tags_for_resource = lambda _: json.dumps({"ResourceTags": []})  # type: ignore[attr-defined]
    BudgetsResponse.tag_resource = lambda _: json.dumps({})  # type: ignore[attr-defined]


def groups_of_nodes_without_a_key() -> None:
    """moto gives each a key to log in by, which nobody asked for."""
    from moto.eks.models import Nodegroup

    before = Nodegroup.__init__

    def made(self: Any, *words: Any, **named: Any) -> None:
        before(self, *words, **named)
        self.remote_access = None

    Nodegroup.__init__ = made  # type: ignore[method-assign]


def markers_of_what_was_deleted() -> None:
    """moto cannot empty a bucket with versions in which something was deleted: its markers have nothing to let go."""
    from moto.s3.models import FakeDeleteMarker

    FakeDeleteMarker.dispose = lambda *_: None  # type: ignore[attr-defined]


def policies_of_buckets_with_conditions() -> None:
    """moto passes over conditions: what forbids connections without TLS would forbid all of this machine's."""
    from moto.iam.access_control import PermissionResult
    from moto.s3.models import FakeBucket

    FakeBucket.get_permission = lambda *_: PermissionResult.NEUTRAL  # type: ignore[method-assign]


def rights_that_are_asked_for(log: Path) -> None:
    """A JSON line for each: who, action, resource, whether it was allowed."""
    from moto.iam.access_control import IAMRequestBase

    before = IAMRequestBase.check_action_permitted

    def checked(self: Any, resource: str) -> None:
        for one in _each(self, resource):
            line = {"who": self._access_key.arn, "action": self._action, "resource": one, "allowed": False}
            try:
                before(self, one)
                line["allowed"] = True
            finally:
                with LOCK, log.open("a") as file:
                    file.write(json.dumps(line) + "\n")

    IAMRequestBase.check_action_permitted = checked  # type: ignore[method-assign]


def _each(request: Any, resource: str) -> list[str]:
    """What AWS would ask of: objects that go at once, one by one; a batch is no right of its own."""
    if request._action.startswith("sqs:"):
        request._action = request._action.removesuffix("Batch")
    if request._action != "s3:DeleteObject" or "/" in resource:
        return [resource]
    body = request._body.decode() if isinstance(request._body, bytes) else str(request._body or "")
    return [f"{resource}/{html.unescape(key)}" for key in re.findall(r"<Key>(.*?)</Key>", body)] or [resource]


def main(host: str, port: str, log: str) -> None:
    from moto.server import ThreadedMotoServer

    ids_of_databases()
    subscribers_of_budgets()
    groups_of_nodes_without_a_key()
    markers_of_what_was_deleted()
    policies_of_buckets_with_conditions()
    rights_that_are_asked_for(Path(log))
    server = ThreadedMotoServer(ip_address=host, port=int(port), verbose=False)
    server.start()
    print(":".join(map(str, server.get_host_and_port())), flush=True)
    sys.stdin.read()  # until whoever started it goes


if __name__ == "__main__":
    main(*sys.argv[1:])
