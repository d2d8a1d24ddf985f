"""Where the environment leads a store to: plain http with servers of one's own, with others if somebody says so."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from groundplan.core.endpoints import CLOUDS, endpoint_of, environment_of, is_internal, plain_http
from groundplan.core.store import open_store
from groundplan.errors import BadConfig

INSIDE = (
    "http://127.0.0.1:9000",
    "http://[::1]:9000",
    "http://localhost:9000",
    "http://10.3.2.1",
    "http://minio",
    "http://minio.store.svc:9000",
    "http://minio.store.svc.cluster.local.:9000",
    "http://nas.lan",
)
OUTSIDE = (
    "http://8.8.8.8",
    "http://store.example.org",
    "http://svc.example.org:9000",
    "http://[2001:4860:4860::8888]",
    "",
)
VARIABLES = [
    ("s3", "AWS_ENDPOINT_URL"),
    ("s3", "AWS_ENDPOINT_URL_S3"),
    ("az", "AZURE_STORAGE_ENDPOINT"),
    ("az", "AZURE_ENDPOINT"),
    ("gs", "GOOGLE_BASE_URL"),
]


@pytest.fixture(autouse=True)
def nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """No cloud's variables."""
    for name in os.environ:
        if name.startswith(tuple(CLOUDS.values())):
            monkeypatch.delenv(name)


@pytest.mark.parametrize("url", INSIDE)
def test_hosts_of_ones_own(url: str) -> None:
    assert is_internal(url)


@pytest.mark.parametrize("url", OUTSIDE)
def test_hosts_of_the_public_net(url: str) -> None:
    assert not is_internal(url)


@pytest.mark.parametrize(("scheme", "variable"), VARIABLES)
def test_plain_http_is_spoken_with_servers_of_ones_own_and_the_variable_is_named_for_others(
    scheme: str, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not plain_http(scheme), "no variable, no http"
    monkeypatch.setenv(variable, "https://store.example.org")
    assert not plain_http(scheme)
    monkeypatch.setenv(variable, "http://minio.store.svc:9000")
    assert plain_http(scheme)
    monkeypatch.setenv(variable, "http://store.example.org:9000/path")
    with pytest.raises(BadConfig, match=rf"{variable} leads to store\.example\.org over plain http.*ALLOW_HTTP=true"):
        open_store(f"{scheme}://bucket/place")
    monkeypatch.setenv(f"{CLOUDS[scheme]}ALLOW_HTTP", "true")
    assert plain_http(scheme)


def test_other_clouds_variables_say_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9000")
    assert not plain_http("az")
    assert not plain_http("gs")


def test_an_emulator_and_an_accounts_file_name_a_server_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    account = tmp_path / "account.json"
    account.write_text(json.dumps({"gcs_base_url": "http://127.0.0.1:4443"}))
    monkeypatch.setenv("GOOGLE_SERVICE_ACCOUNT", str(account))
    assert plain_http("gs")
    for broken in ("[1]", "{", "\x00"):
        account.write_text(broken)
        assert endpoint_of("gs") is None, "the client says what is wrong with it"
    monkeypatch.setenv("AZURE_STORAGE_USE_EMULATOR", "true")
    assert plain_http("az")
    monkeypatch.setenv("AZURITE_BLOB_STORAGE_URL", "http://azurite.example.org")
    with pytest.raises(BadConfig, match="AZURITE_BLOB_STORAGE_URL leads to azurite"):
        plain_http("az")


def test_an_environment_of_its_own_for_a_second_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "one")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "of the first alone")
    monkeypatch.setenv("TO_AWS_ACCESS_KEY_ID", "two")
    monkeypatch.setenv("TO_AWS_REGION", "eu-north-1")
    before = dict(os.environ)
    with environment_of("TO_"):
        assert (os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_REGION"]) == ("two", "eu-north-1")
        assert "AWS_SESSION_TOKEN" not in os.environ
    assert dict(os.environ) == before
    with environment_of(""):
        assert dict(os.environ) == before
