"""An installation on an emulated AWS: Terraform makes it, the product runs on it under its roles, and it goes again.

Tests of this file run in their order: the last one destroys what the others look at.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from botocore.exceptions import ClientError
from policies import allows
from stack import Stack, groundplan, python

from groundplan.synthetic.country import Country, draw

BUCKET = "groundplan-small-123456789012"
QUIRKS = {
    "aws_budgets_budget": {"tags", "tags_all"},  # moto keeps no tags of budgets
    "aws_db_instance": {"performance_insights_enabled", "performance_insights_kms_key_id"},  # moto forgets both
    "aws_db_parameter_group": {"parameter"},  # moto shows none
    "aws_launch_template": {"latest_version", "tag_specifications"},  # moto puts its own tags in,
    "aws_eks_node_group": {"launch_template"},  # and its version follows from it
    "aws_vpc_security_group_ingress_rule": {"description"},  # moto forgets it where the source is a group
    "aws_sqs_queue": {"redrive_policy"},  # moto writes the same JSON with other blanks,
    "aws_sqs_queue_policy": {"policy", "queue_url", "id"},  # and follows from it
}
"""What a second plan would change, by kind, and why: the emulator's doing each."""
SMALL = """
[split]
cell = 16.0
window = 128
overlap = 32
max_windows = 8
"""


@pytest.fixture(scope="module")
def outputs(stack: Stack) -> dict[str, Any]:
    return stack.outputs()


@pytest.fixture(scope="module")
def country(tmp_path_factory: pytest.TempPathFactory) -> Country:
    return draw(tmp_path_factory.mktemp("country"), size_m=90.0, years=(2024,))


@pytest.fixture(scope="module")
def home(stack: Stack, outputs: dict[str, Any], country: Country, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project that `groundplan init` made out of the outputs, under the role of runs, with a delivery in it."""
    home = tmp_path_factory.mktemp("project") / "gp"
    run = stack.as_account("run", outputs)
    stack.check_access(True)
    try:
        grid = ["--crs", country.crs, "--resolution", country.resolution, "--block-size", 256]
        groundplan(run, "init", home, *grid, "--store", outputs["store"], "--regions", country.regions)
        file = home / "groundplan.toml"
        small = file.read_text().replace("[model]", "[model]\nsteps = 2\nbatch = 2\ncrop = 64")
        small = re.sub(r"^core = .*$", "core = 256\nmargin = 32", small, flags=re.M) + SMALL
        file.write_text(f"{small}\n{outputs['settings']}")
        for (region, year), sheets in country.sheets.items():
            groundplan(run, "add-imagery", *sheets, "--region", region, "--year", year, "--home", home)
    finally:
        stack.check_access(False)
    return home


def test_a_second_plan_changes_nothing_but_what_the_emulator_forgot(stack: Stack) -> None:
    stack.terraform("plan", "-no-color", "-input=false", "-out=second")
    plan = json.loads(stack.terraform("show", "-json", "second"))
    different = {}
    for item in plan["resource_changes"]:
        change = item["change"]
        if change["actions"] == ["no-op"]:
            continue
        before, after = change["before"] or {}, change["after"] or {}
        keys = {key for key in {*before, *after} if before.get(key) != after.get(key)}
        if not keys <= QUIRKS.get(item["type"], set()):
            different[item["address"]] = (change["actions"], sorted(keys))
    assert different == {}


def test_no_secret_is_in_outputs_or_state(stack: Stack, outputs: dict[str, Any]) -> None:
    state = (stack.folder / "terraform.tfstate").read_text()
    for database in (item for item in json.loads(state)["resources"] if item["type"] == "aws_db_instance"):
        for instance in database["instances"]:
            assert not instance["attributes"]["password"]
    assert "password" not in json.dumps(outputs["environment"]).lower()
    assert {"dagster", "results"} == set(outputs["databases"])


READ_QUEUE = """
import json, sys
from groundplan.ingest.s3_events import events_of
from groundplan.project import open_project
from resources.sqs import open_queue
project = open_project(sys.argv[1])
queue = open_queue(project.settings.arrivals)
depth, messages = queue.depth(), queue.receive(20)
events = [event.key for message in messages for event in events_of(message.body, project.store.url)]
queue.set_aside(messages[0], "a try")
queue.delete([message.receipt for message in messages])
print(json.dumps({"depth": depth, "keys": sorted(events), "left": queue.depth()}))
"""


def test_the_bucket_told_the_queue_of_each_sheet(
    stack: Stack, outputs: dict[str, Any], home: Path, country: Country
) -> None:
    run = stack.as_account("run", outputs)
    stack.check_access(True)
    try:
        said = json.loads(python(run, "-c", READ_QUEUE, home))
    finally:
        stack.check_access(False)
    sheets = {
        f"landing/{region}/{year}/{path.name}" for (region, year), paths in country.sheets.items() for path in paths
    }
    assert sheets <= set(said["keys"]), "every sheet was told of"
    assert all(key.startswith("landing/") for key in said["keys"]), "and nothing else was"
    assert said["depth"] >= len(sheets)
    assert said["left"] == 0


def test_the_project_is_built_to_footprints_under_the_role_of_runs(
    stack: Stack, outputs: dict[str, Any], home: Path, country: Country
) -> None:
    run = stack.as_account("run", outputs) | {"DAGSTER_HOME": str(home / "dagster")}
    (home / "dagster").mkdir()
    stack.check_access(True)
    try:
        for year, (register, extent) in country.registers.items():
            groundplan(
                run, "add-register", register, "--year", year, "--home", home, *(["--extent", extent] if extent else [])
            )
        groundplan(run, "build", "--home", home)
        status = groundplan(run, "status", "--home", home)
    finally:
        stack.check_access(False)
    found = stack.client("s3").list_objects_v2(Bucket=BUCKET, Prefix="v1/building_footprints/")["Contents"]
    assert [item for item in found if item["Key"].endswith(".parquet")], status
    everything = stack.client("s3").list_objects_v2(Bucket=BUCKET)["Contents"]
    assert all(item["Key"].startswith("v1/") for item in everything)


WORK = """
import sys
from groundplan.project import open_project
from resources.sqs import client_of
from serving.work.intake import upload
from resources.brokers.queue import SqsBroker
project = open_project(sys.argv[1])
broker = SqsBroker(project.settings.messages.queue, project.settings.messages.events_queue)
data = open(sys.argv[2], "rb").read()
upload(project, broker, data, ["footprints"])
"""


LEASE = """
import sys
from groundplan.project import open_project
from resources.brokers.queue import SqsBroker
settings = open_project(sys.argv[1]).settings.messages
broker = SqsBroker(settings.queue, settings.events_queue)
assert broker.depth().waiting
held = broker.receive(1, 30.0, 5.0)
broker.keep(held, 30.0)
broker.later(held, 0.0)
"""


RELAY = """
import sys
from groundplan.project import open_project
from serving.metrics import Meters
from serving.work.process import relay_of
assert relay_of(open_project(sys.argv[1]), Meters()).run_once(), "work left events"
"""


def test_serve_takes_an_image_work_works_it_off_and_relay_tells(
    stack: Stack, outputs: dict[str, Any], home: Path, tmp_path: Path
) -> None:
    """Each under its own role; results go into a file here, since the emulator's PostgreSQL is none."""
    from PIL import Image

    image, other = tmp_path / "a.jpg", tmp_path / "b.jpg"
    Image.new("RGB", (256, 256), (120, 130, 90)).save(image)
    Image.new("RGB", (256, 256), (90, 120, 130)).save(other)
    s3 = stack.client("s3")
    s3.put_object(
        Bucket=BUCKET, Key="v1/inbox/b.jpg", Body=other.read_bytes()
    )  # by whoever may; the bucket tells of it
    own = {"GROUNDPLAN_DATABASE__URL": "", "GROUNDPLAN_MESSAGES__LOOK_SECONDS": "0.2"}
    serve, work, relay = (stack.as_account(name, outputs) | own for name in ("serve", "work", "relay"))
    stack.check_access(True)
    try:
        python(serve, "-c", WORK, home, image)
        python(work, "-c", LEASE, home)  # what only longer work asks for: more time, how much waits
        groundplan(work, "work", "--until-empty", "--no-relay", "--home", home)
        python(relay, "-c", RELAY, home)
    finally:
        stack.check_access(False)
    made = [item["Key"] for item in s3.list_objects_v2(Bucket=BUCKET, Prefix="v1/analyses/")["Contents"]]
    assert len(made) == 2, "of the upload one, though the bucket told of it too"
    told = stack.client("sqs").receive_message(QueueUrl=outputs["queues"]["events"], MaxNumberOfMessages=10)["Messages"]
    for key in made:
        assert json.loads(s3.get_object(Bucket=BUCKET, Key=key)["Body"].read())
        assert Path(key).stem in "".join(message["Body"] for message in told)


def _denied(call: Any, **words: Any) -> bool:
    try:
        call(**words)
    except ClientError as error:
        return error.response["ResponseMetadata"]["HTTPStatusCode"] == 403
    return False


def test_what_a_role_may_not_is_denied(stack: Stack, outputs: dict[str, Any], home: Path) -> None:
    """Asked of the emulator, which looks at actions and resources."""
    sheet = next(
        item["Key"] for item in stack.client("s3").list_objects_v2(Bucket=BUCKET, Prefix="v1/landing/")["Contents"]
    )
    made = stack.client("s3").list_objects_v2(Bucket=BUCKET, Prefix="v1/building_footprints/")["Contents"][0]["Key"]
    envs = {name: stack.as_account(name, outputs) for name in outputs["identities"]}
    clients = {name: stack.client("s3", env) for name, env in envs.items()}
    stack.check_access(True)
    try:
        assert _denied(clients["run"].put_object, Bucket=BUCKET, Key="elsewhere/x", Body=b"x")
        assert _denied(clients["run"].put_object, Bucket=BUCKET, Key="v10/x", Body=b"x")
        assert _denied(clients["previews"].get_object, Bucket=BUCKET, Key=sheet)
        assert _denied(clients["previews"].put_object, Bucket=BUCKET, Key=made, Body=b"x")
        for name in ("serve", "work", "relay", "web", "daemon", "dagster", "previews"):
            assert _denied(clients[name].delete_object, Bucket=BUCKET, Key=made), name
        for name in ("web", "daemon", "dagster"):
            assert _denied(clients[name].get_object, Bucket=BUCKET, Key=made), name
        for room in ("arrivals/pushed", "doctor", "claims", "copies"):
            for name in ("serve", "work", "relay", "previews", "dagster"):
                denied = room != "doctor" or name not in ("serve", "work")  # these two try out what a store can
                put = _denied(clients[name].put_object, Bucket=BUCKET, Key=f"v1/{room}/x", Body=b"x")
                assert put is denied, (name, room)
            assert not _denied(clients["run"].put_object, Bucket=BUCKET, Key=f"v1/{room}/x", Body=b"x")
            assert not _denied(clients["run"].delete_object, Bucket=BUCKET, Key=f"v1/{room}/x")
        for name, key in (("serve", "v1/jobs/x"), ("work", "v1/analyses/x")):
            assert not _denied(clients[name].put_object, Bucket=BUCKET, Key=key, Body=b"x"), name
            assert not _denied(clients[name].get_object, Bucket=BUCKET, Key=made), name
        assert _denied(clients["serve"].put_object, Bucket=BUCKET, Key="v1/analyses/x", Body=b"x")
        assert _denied(clients["work"].put_object, Bucket=BUCKET, Key="v1/jobs/x", Body=b"x")
        assert _denied(clients["relay"].get_object, Bucket=BUCKET, Key=made)
        assert _denied(clients["relay"].list_objects_v2, Bucket=BUCKET, Prefix="v1/")
        assert _denied(clients["web"].put_object, Bucket=BUCKET, Key="v1/logs/storage/x", Body=b"x")
        assert not _denied(clients["daemon"].put_object, Bucket=BUCKET, Key="v1/logs/storage/x", Body=b"x")
        assert not _denied(clients["web"].get_object, Bucket=BUCKET, Key="v1/logs/storage/x")
        assert not _denied(clients["previews"].get_object, Bucket=BUCKET, Key=made)
        queues = {name: stack.client("sqs", env) for name, env in envs.items()}
        arrivals, work, events = (outputs["queues"][name] for name in ("arrivals", "work", "events"))
        assert _denied(queues["serve"].receive_message, QueueUrl=work)
        assert _denied(queues["work"].receive_message, QueueUrl=arrivals)
        assert _denied(queues["work"].send_message, QueueUrl=events, MessageBody="x")
        assert _denied(queues["relay"].send_message, QueueUrl=work, MessageBody="x")
        assert _denied(queues["relay"].receive_message, QueueUrl=events)
        assert _denied(queues["previews"].get_queue_attributes, QueueUrl=arrivals)
    finally:
        stack.check_access(False)
    assert stack.client("s3").head_object(Bucket=BUCKET, Key=made)


@pytest.fixture(scope="module")
def policies(stack: Stack, outputs: dict[str, Any]) -> dict[str, list[Mapping[str, Any]]]:
    iam = stack.client("iam")
    found = {}
    for name, arn in outputs["identities"].items():
        role = arn.rsplit("/", 1)[1]
        names = iam.list_role_policies(RoleName=role)["PolicyNames"]
        found[name] = [iam.get_role_policy(RoleName=role, PolicyName=one)["PolicyDocument"] for one in names]
    return found


HERE = f"arn:aws:s3:::{BUCKET}"


@pytest.mark.parametrize(
    ("who", "action", "resource", "context", "allowed"),
    [
        ("run", "s3:ListBucket", HERE, {"s3_prefix": "v1/landing/"}, True),
        ("run", "s3:ListBucket", HERE, {"s3_prefix": ""}, False),
        ("run", "s3:ListBucket", HERE, {"s3_prefix": "v10/"}, False),
        ("run", "s3:ListBucket", HERE, {}, False),
        ("run", "s3:GetObject", "arn:aws:s3:::supplier/2024/a.tif", {}, True),
        ("run", "s3:GetObject", "arn:aws:s3:::supplier/2023/a.tif", {}, False),
        ("run", "s3:PutObject", "arn:aws:s3:::supplier/2024/a.tif", {}, False),
        ("run", "s3:DeleteObjectVersion", f"{HERE}/v1/a", {}, False),
        ("run", "s3:PutBucketPolicy", HERE, {}, False),
        ("web", "s3:ListBucket", HERE, {"s3_prefix": "v1/landing/"}, False),
        ("web", "s3:ListBucket", HERE, {"s3_prefix": "v1/logs/storage/"}, True),
        ("serve", "s3:DeleteObject", f"{HERE}/v1/jobs/a.geojson", {}, True),
        ("serve", "s3:DeleteObject", f"{HERE}/v1/inbox/uploads/a", {}, False),
        ("serve", "s3:PutObject", f"{HERE}/v1/models/footprints/aliases.json", {}, True),
        ("serve", "s3:PutObject", f"{HERE}/v1/trained_model/2024/model.zip", {}, False),
        ("work", "s3:DeleteObject", f"{HERE}/v1/inbox/a.jpg", {}, True),
        ("work", "s3:DeleteObject", f"{HERE}/v1/images/a.jpg", {}, False),
        ("run", "kms:Decrypt", "KEY", {"kms_ViaService": "s3.eu-west-1.amazonaws.com"}, True),
        ("run", "kms:Decrypt", "KEY", {}, False),
        ("previews", "s3:GetObject", f"{HERE}/v1/inbox/a.jpg", {}, False),
        ("work", "s3:GetObject", f"{HERE}/v1/landing/a/2024/a.tif", {}, False),
    ],
)
def test_what_policies_say_with_their_conditions(
    policies: dict[str, list[Mapping[str, Any]]],
    who: str,
    action: str,
    resource: str,
    context: dict[str, str],
    allowed: bool,
) -> None:
    if resource == "KEY":
        [unlock] = [one for one in policies[who][0]["Statement"] if one["Sid"] == "Unlock"]
        resource = unlock["Resource"][0]
    assert allows(policies[who], action, resource, **context) is allowed


def test_each_role_is_for_its_own_account_alone(stack: Stack, outputs: dict[str, Any]) -> None:
    iam = stack.client("iam")
    for name, arn in outputs["identities"].items():
        [statement] = iam.get_role(RoleName=arn.rsplit("/", 1)[1])["Role"]["AssumeRolePolicyDocument"]["Statement"]
        told = {key.rsplit(":", 1)[1]: value for key, value in statement["Condition"]["StringEquals"].items()}
        assert told == {"sub": f"system:serviceaccount:groundplan:groundplan-{name}", "aud": "sts.amazonaws.com"}


def test_no_right_was_given_that_the_product_did_not_ask_for(
    emulator: tuple[str, Path], policies: dict[str, list[Mapping[str, Any]]]
) -> None:
    """What was asked for under the roles while the product ran: the actions that run, work and relay are given."""
    asked: dict[str, set[str]] = {}
    for line in emulator[1].read_text().splitlines():
        item = json.loads(line)
        if item["allowed"]:
            asked.setdefault(item["who"].split("/")[1].removeprefix("groundplan-small-"), set()).add(
                item["action"].lower()
            )
    unasked = {
        "kms:decrypt",
        "kms:generatedatakey",
        "s3:abortmultipartupload",
    }  # AWS asks for them, or an upload that is cut off
    asked["work"].add("s3:deleteobject")  # of originals that lie in the inbox, not of uploads through serve
    for who in ("run", "work", "relay"):
        given = {
            action.lower()
            for one in policies[who][0]["Statement"]
            if one["Effect"] == "Allow"
            for action in one["Action"]
        }
        assert given - unasked - asked[who] == set(), who


def test_nodes_carry_what_the_values_ask_for(stack: Stack, outputs: dict[str, Any]) -> None:
    eks, values = stack.client("eks"), yaml.safe_load(outputs["values"])
    for name, group in values["nodes"].items():
        made = eks.describe_nodegroup(clusterName=outputs["cluster"], nodegroupName=f"groundplan-small-{name}")[
            "nodegroup"
        ]
        labels = made["labels"] | {"eks.amazonaws.com/capacityType": made["capacityType"]}  # EKS sets the second
        assert group["selector"].items() <= labels.items()
        effect = {"NO_SCHEDULE": "NoSchedule"}
        taints = {(one["key"], one["value"], effect[one["effect"]]) for one in made.get("taints", [])}
        assert taints == {(one["key"], one["value"], one["effect"]) for one in group["tolerations"]}
    assert values["nodes"]["spot"]["selector"]["eks.amazonaws.com/capacityType"] == "SPOT"


def test_the_chart_takes_the_values(outputs: dict[str, Any], tmp_path: Path) -> None:
    import chart

    file = tmp_path / "values.yaml"
    file.write_text(outputs["values"])
    settings = chart.config_map("groundplan", file)["groundplan.toml"]
    for key in ("arrivals", "messages"):
        assert f"[{key}]" in settings
    assert outputs["queues"]["arrivals"] in settings
    accounts = {item["metadata"]["name"]: item for item in chart.rendered(file) if item["kind"] == "ServiceAccount"}
    for name in ("run", "dagster", "previews", "serve", "work", "relay"):
        assert (
            accounts[f"groundplan-{name}"]["metadata"]["annotations"]["eks.amazonaws.com/role-arn"]
            == outputs["identities"][name]
        )


def test_the_end_leaves_nothing(stack: Stack) -> None:
    """Last: what was applied goes, objects and all."""
    stack.terraform("destroy", "-no-color", "-input=false", "-auto-approve")
    assert stack.terraform("state", "list").strip() == ""
    assert stack.client("s3").list_buckets()["Buckets"] == []
    assert "QueueUrls" not in stack.client("sqs").list_queues()
    assert stack.client("rds").describe_db_instances()["DBInstances"] == []
    assert stack.client("eks").list_clusters()["clusters"] == []
    assert stack.client("iam").list_roles()["Roles"] == []
    assert stack.client("ecr").describe_repositories()["repositories"] == []
    mine = [item for item in stack.client("ec2").describe_vpcs()["Vpcs"] if not item["IsDefault"]]
    assert mine == []
