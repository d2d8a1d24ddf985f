"""Secrets in addresses: refused wherever an address is given, and in no message, page or traceback (S9)."""

from __future__ import annotations

import json
import signal
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import MakeProject
from laid_sheets import HERE, cataloged, ground, lay, place

from groundplan import config
from groundplan.addresses import check_public_address, redacted, secret_in
from groundplan.config import NotifySettings
from groundplan.core.manifest import need_manifest
from groundplan.core.store import open_store
from groundplan.errors import BadConfig, MissingInput
from groundplan.imagery import tiles
from groundplan.imagery.landing import landing_prefix
from groundplan.operations.notifications import Notice, NotSent
from groundplan.project import Project
from resources.notifier import Notifier

GOOD = '[grid]\ncrs = "EPSG:28992"\nresolution = 0.25\nblock_size = 1024\norigin = [0.0, 0.0]\n'
SECRET = "TOPs3cretPW"
KEYLIKE = "AKIA" + "Q" * 16
ADDRESSES = {
    "user and password": f"s3://AKIAFAKE:{SECRET}@bucket/prefix",
    "user alone": f"s3://{SECRET}@bucket/prefix",
    "a slash in the password": f"s3://AKIAFAKE:ab/{SECRET}@bucket/prefix",
    "encoded": f"s3://AKIAFAKE%3A{SECRET}%40bucket/prefix",
    "encoded twice": f"s3://AKIAFAKE%253A{SECRET}%2540bucket/prefix",
    "one slash": f"s3:/AKIAFAKE:{SECRET}@bucket/prefix",
    "no scheme": f"AKIAFAKE:{SECRET}@bucket/prefix",
    "SAS": f"az://container/path?sv=2022&sig={SECRET}",
    "signed": f"https://bucket.s3.example.org/a?X-Amz-Signature={SECRET}",
    "any query": f"gs://bucket/prefix?{SECRET}",
    "fragment": f"s3://bucket/prefix#{SECRET}",
    "semicolons": f"az://container/path;sig={SECRET}",
    "encoded query": f"s3://bucket/prefix%3Ftoken%3D{SECRET}",
    "connection string": f"DefaultEndpointsProtocol=https;AccountName=a;AccountKey={SECRET}==",
    "database": f"postgresql://groundplan:{SECRET}@db:5432/dagster",
    "of a known form": f"s3://bucket/{KEYLIKE}/{SECRET}",
    "a file's": f"file://me:{SECRET}@host/store",
}
PLAIN = [
    "",
    "s3://bucket/prefix",
    "az://container/path",
    "gs://bucket.with.dots/a/b",
    "memory://x",
    "file:///data/2024@v2/a%20b",
    "file:///var/lib/pods/3f2a9c1d-aaaa-bbbb-cccc-1234567890ab/store",
    "s3://bucket-3f2a9c1d0a0b1c2d3e4f5a6b7c8d9e0f/prefix",
    "http://127.0.0.1:3001",
    "http://[::1]:3001/maps",
    "https://sqs.eu-west-1.amazonaws.com/123456789012/stack-Imagery-1ABC2DEF3GHI4",
    "arn:aws:sns:eu-west-1:123456789012:groundplan",
    "imagenet",
    "/home/me/weights v2.safetensors",
]
KEYS = [
    'store = "{}"\n',
    '[imagery]\nreference_roots = ["file:///data", "{}"]\n',
    '[collections]\nregion = ["{}"]\n',
    '[collections]\nweights = "{}"\n',
    '[model]\nencoder_weights = "{}"\n',
    '[arrivals]\nqueue = "{}"\n',
    '[arrivals]\ndead_letter_queue = "{}"\n',
    '[serving]\nurl = "{}"\n',
    '[serving]\ndagster_url = "{}"\n',
    '[notify]\nwebhook = "{}"\n',
    '[notify]\nsmtp_host = "{}"\n',
    '[notify]\nsns_topic = "{}"\n',
]
PATHS = [  # what makes a path of the way in to a chat program
    "https://hooks.example.org/services/T024BE7LD/B0138AKJ/c3RhclBvc3RDb2RlMTIz",
    "https://chat.example.org/webhookb2/IncomingWebhook/0123456789abcdef0123456789abcdef/x",
    "https://chat.example.org/api/webhooks/1/aB3_dE5-gH7_jK9-mN1_pQ3-sT5_vW7-yZ9_bC1-eF3_hI5",
    "https://chat.example.org/hooks/eyJhbGciOiJIUzI1.eyJzdWIiOiIx",
]

pytestmark = pytest.mark.bad_input


def said(caught: pytest.ExceptionInfo[BaseException]) -> str:
    """All that anybody could see of an error: the traceback with its causes, and its parts."""
    return "".join(traceback.format_exception(caught.value)) + repr(caught.value.args)


@pytest.mark.parametrize("line", KEYS, ids=lambda line: line.split("=")[0].strip().replace("]\n", ".").strip("["))
@pytest.mark.parametrize("kind", ADDRESSES)
def test_no_setting_takes_an_address_with_a_secret(kind: str, line: str, tmp_path: Path) -> None:
    text = line.format(ADDRESSES[kind])
    (tmp_path / config.FILE).write_text(text + GOOD if line.startswith("store") else GOOD + text)
    with pytest.raises(BadConfig) as caught:
        config.load(tmp_path, {})
    assert SECRET not in said(caught)
    key = line.split(" ")[0].replace("[", "").replace("]\n", ".")
    assert key in str(caught.value)
    assert "by environment variables" in str(caught.value)
    assert "identity" in str(caught.value)


@pytest.mark.parametrize("kind", ADDRESSES)
def test_the_environment_and_the_store_itself_refuse_them_too(kind: str, tmp_path: Path) -> None:
    (tmp_path / config.FILE).write_text(GOOD)
    with pytest.raises(BadConfig, match="GROUNDPLAN_STORE in the environment: 'store'") as caught:
        config.load(tmp_path, {"GROUNDPLAN_STORE": ADDRESSES[kind]})
    assert SECRET not in said(caught)
    with pytest.raises(BadConfig, match="its address cannot be used") as caught:
        open_store(ADDRESSES[kind], tmp_path)
    assert SECRET not in said(caught)


@pytest.mark.parametrize("address", PATHS)
@pytest.mark.parametrize("key", ["notify.webhook", "serving.url"])
def test_a_path_that_is_a_token_is_refused_where_pages_and_chats_are_reached(
    address: str, key: str, tmp_path: Path
) -> None:
    section, name = key.split(".")
    (tmp_path / config.FILE).write_text(f'{GOOD}[{section}]\n{name} = "{address}"\n')
    with pytest.raises(BadConfig, match=f"'{key}' cannot be used: a part of it looks like a key or token") as caught:
        config.load(tmp_path, {})
    assert max(address.split("/")[3:], key=len) not in said(caught)


@pytest.mark.parametrize("address", PLAIN)
def test_an_ordinary_address_is_no_secret(address: str) -> None:
    assert secret_in(address) == ""
    assert check_public_address(address) == address or "store" in address or "bucket" in address
    assert redacted(f"it lies at {address}, and it is read") == f"it lies at {address}, and it is read"


@pytest.mark.parametrize(
    "text",
    [
        f'[notify]\nwebhook = "hooks.x/{SECRET}"\n',
        f'[notify]\nwebhook = ["https://{SECRET}"]\n',
        f'[arrivals]\nqueue = "hooks.x/{SECRET}"\n',
        f'[serving]\nurl = "maps/{SECRET}"\n',
        f'[notify]\nsns_topic = "{SECRET}"\n',
        f'[notify]\nsmtp_password_env = "{SECRET}"\n',
        f'[notify]\nwebhook_env = "https://{SECRET}"\n',
        f'[notify]\nsmtp_port = "https://a/?{SECRET}"\n',
        f'[imagery]\nreference_roots = "{SECRET}"\n',
        f'notify = "https://a/{SECRET}"\n',
    ],
)
def test_what_is_wrong_with_an_address_is_said_without_it(text: str, tmp_path: Path) -> None:
    (tmp_path / config.FILE).write_text(text + GOOD if text.startswith("notify") else GOOD + text)
    with pytest.raises(BadConfig) as caught:
        config.load(tmp_path, {})
    assert SECRET not in said(caught)


def test_settings_show_no_address_where_a_traceback_prints_them(tmp_path: Path) -> None:
    (tmp_path / config.FILE).write_text('store = "s3://bucket/x"\n' + GOOD + '[notify]\nwebhook = "https://chat/x"\n')
    shown = repr(config.load(tmp_path, {}))
    assert "bucket" not in shown
    assert "chat" not in shown


@pytest.mark.parametrize(
    "words",
    [
        ("add-imagery", "{}", "--region", "a", "--year", "2024"),
        ("add-imagery", "--reference", "{}", "--region", "a", "--year", "2024"),
        ("add-register", "{}", "--year", "2024"),
        ("add-register", "a.gpkg", "--year", "2024", "--extent", "{}"),
        ("add-collection", "{}", "--name", "c"),
        ("init", "new", "--crs", "EPSG:28992", "--resolution", "1", "--store={}"),
        ("build", "--year", "{}"),
        ("fly", "{}"),
        ("export", "{}", "--region", "a", "--year", "2024"),
    ],
    ids=lambda words: " ".join(words).replace("{}", "URL"),
)
@pytest.mark.parametrize("kind", ["a slash in the password", "SAS", "one slash", "of a known form"])
def test_no_command_takes_an_address_with_a_secret(
    words: tuple[str, ...],
    kind: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    sigterm: None,
) -> None:
    from orchestration.cli.main import main

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["groundplan", *(word.format(ADDRESSES[kind]) for word in words)])
    with pytest.raises(SystemExit) as caught:
        main()
    printed = capsys.readouterr()
    assert caught.value.code == 1
    assert SECRET not in printed.out + printed.err
    assert "by environment variables" in printed.err
    assert not [*tmp_path.iterdir()]


@pytest.fixture
def sigterm() -> Iterator[None]:
    before = [(number, signal.getsignal(number)) for number in (signal.SIGTERM, signal.SIGINT)]
    yield
    for number, handler in before:
        signal.signal(number, handler)


@pytest.mark.parametrize("kind", ADDRESSES)
def test_a_reference_with_a_secret_is_set_aside_without_it(
    kind: str, tmp_path: Path, make_project: MakeProject
) -> None:
    project = make_project(tmp_path / "home", imagery={"reference_roots": ["s3://", "az://", "file:///"]})
    cataloged(project, [lay(tmp_path / "good.tif", ground(96, 96), place(0, 0))])
    project.store.put(f"{landing_prefix(HERE)}/bad.tif.ref", json.dumps({"url": ADDRESSES[kind] + "/bad.tif"}).encode())
    cataloged(project, [])
    (aside,) = tiles.catalog_of(project, HERE).quarantined
    assert "an address that cannot be used" in aside.reason
    assert SECRET not in aside.reason + aside.remedy


@pytest.mark.parametrize("kind", ADDRESSES)
def test_an_error_never_quotes_a_secret(kind: str) -> None:
    if "encoded" in kind or kind == "fragment":
        return  # of these only the first wall speaks: what is encoded may be any name
    shown = str(MissingInput(ADDRESSES[kind], f"nothing lies in '{ADDRESSES[kind]}'", "Look"))
    assert SECRET not in shown or kind == "of a known form"
    assert KEYLIKE not in shown


NOTICE = Notice(cause="c", what="w", where="x", why="y")


@pytest.mark.parametrize("given", [f"https://127.0.0.1:1/{SECRET}", f"ftp://x/{SECRET}", SECRET, f"https://[{SECRET}"])
def test_the_address_of_a_chat_may_come_from_the_environment_and_is_not_told(
    given: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = NotifySettings(webhook_env="CHAT", timeout=1)
    assert Notifier().ways(settings) == ("webhook",)
    with pytest.raises(NotSent, match="the environment variable CHAT is not set"):
        Notifier().send("webhook", NOTICE, settings)
    monkeypatch.setenv("CHAT", given)
    with pytest.raises(NotSent) as caught:
        Notifier().send("webhook", NOTICE, settings)
    assert SECRET not in said(caught)


def test_a_page_of_a_partition_says_no_folder_of_the_machine(project: Project) -> None:
    from serving.maps import pages

    shown = pages.partition(project, need_manifest(project.store, "sheets", HERE))
    assert f"sheets/{HERE.path}" in shown
    assert str(project.home) not in shown
    assert "file://" not in shown
    said_ = pages.placeless(project, f"{project.store.uri('a/b.tif')} is damaged: {project.home}/x, file:///etc/y")
    assert said_ == "a/b.tif is damaged: x, y"


@pytest.fixture
def project(tmp_path: Path, make_project: MakeProject) -> Project:
    project = make_project(tmp_path / "home")
    cataloged(project, [lay(tmp_path / "good.tif", ground(96, 96), place(0, 0))])
    return project
