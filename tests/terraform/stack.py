"""Terraform over a copy of terraform/: its commands, its provider, its outputs, and what runs with them.

Here: finding the provider, running terraform, credentials of a role, the product's commands with them. Not here: the
emulator (emulator.py), what must be true (test_*.py).
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "terraform"
OWN_FOLDERS = (
    "~/.terraform.d/plugins",
    "~/.local/share/terraform/plugins",
    "/usr/local/share/terraform/plugins",
    "/usr/share/terraform/plugins",
)
"""Where terraform itself looks for providers."""
REGION = "eu-west-1"
NOT_FOUND = (
    "no AWS provider for terraform: it is in no folder of TF_PLUGINS, TF_PLUGIN_CACHE_DIR, terraform's own or of "
    "optional software, and terraform could not fetch it. Set TF_PLUGINS to a mirror of providers"
)


def plugins() -> Path | None:
    """A folder with the AWS provider, as terraform lays them out; None: terraform must fetch it."""
    for folder in _places():
        if any(folder.glob("*/hashicorp/aws/*/*/terraform-provider-aws_v5*")):
            return folder
    return None


def _places() -> Iterator[Path]:
    yield from (Path(os.environ[name]) for name in ("TF_PLUGINS", "TF_PLUGIN_CACHE_DIR") if os.environ.get(name))
    yield from (Path(name).expanduser() for name in OWN_FOLDERS)
    yield from sorted(Path("/opt").glob("*"))  # where optional software is put


def environment(**more: str) -> dict[str, str]:
    """Of terraform: without a file of settings that is not there, and without credentials of this machine."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "TF_", "GROUNDPLAN_"))}
    given = os.environ.get("TF_CLI_CONFIG_FILE", "")
    if Path(given).is_file():
        kept["TF_CLI_CONFIG_FILE"] = given
    return kept | {"TF_IN_AUTOMATION": "1", "CHECKPOINT_DISABLE": "1"} | more


def terraform(folder: Path, *words: str, env: Mapping[str, str] | None = None, fails: bool = False) -> str:
    """Standard output of a command. Raises AssertionError with all that it said when it fails."""
    done = subprocess.run(
        ["terraform", *words], cwd=folder, env=dict(env or environment()), capture_output=True, text=True, check=False
    )
    if done.returncode and not fails:
        raise AssertionError(f"terraform {' '.join(words)}\n{done.stdout[-6000:]}\n{done.stderr[-6000:]}")
    return done.stdout


def copied(folder: Path) -> Path:
    """A copy of terraform/, since terraform writes beside its files."""
    shutil.copytree(SOURCE, folder, ignore=shutil.ignore_patterns(".terraform*", "*.tfstate*"))
    return folder


def init(folder: Path) -> None:
    """Raises AssertionError that says what is missing where there is no provider."""
    found = plugins()
    words = ["init", "-backend=false", "-input=false", "-no-color", *([f"-plugin-dir={found}"] if found else [])]
    try:
        terraform(folder, *words)
    except AssertionError as error:
        raise AssertionError(f"{NOT_FOUND}\n\n{error}" if found is None else str(error)) from error


@dataclass(frozen=True)
class Stack:
    """What was applied. url: of the emulator."""

    folder: Path
    url: str

    @property
    def admin(self) -> dict[str, str]:
        keys = {"AWS_ACCESS_KEY_ID": "somebody", "AWS_SECRET_ACCESS_KEY": "secret"}
        named = {"AWS_ENDPOINT_URL": self.url, "AWS_REGION": REGION, "AWS_DEFAULT_REGION": REGION}
        asked = {"TF_VAR_account": "123456789012", "TF_VAR_mail": '["somebody@example.org"]'}
        return environment(**keys, **named, **asked, AWS_EC2_METADATA_DISABLED="true")

    def terraform(self, *words: str, fails: bool = False) -> str:
        return terraform(self.folder, *words, env=self.admin, fails=fails)

    def outputs(self) -> dict[str, Any]:
        raw = json.loads(self.terraform("output", "-json"))
        return {name: item["value"] for name, item in raw.items()}

    def client(self, kind: str, env: Mapping[str, str] | None = None) -> Any:
        import boto3

        given = env or self.admin
        return boto3.client(
            kind,
            endpoint_url=self.url,
            region_name=REGION,
            aws_access_key_id=given["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=given["AWS_SECRET_ACCESS_KEY"],
            aws_session_token=given.get("AWS_SESSION_TOKEN"),
        )

    def as_account(self, name: str, outputs: Mapping[str, Any]) -> dict[str, str]:
        """The environment of a pod under an account: its role's credentials, and what the module says is needed."""
        answer = self.client("sts").assume_role_with_web_identity(
            RoleArn=outputs["identities"][name], RoleSessionName=name, WebIdentityToken="t" * 24
        )["Credentials"]
        keys = {
            "AWS_ACCESS_KEY_ID": answer["AccessKeyId"],
            "AWS_SECRET_ACCESS_KEY": answer["SecretAccessKey"],
            "AWS_SESSION_TOKEN": answer["SessionToken"],
        }
        mine = {"AWS_ENDPOINT_URL": self.url, "AWS_EC2_METADATA_DISABLED": "true", "PYTHONPATH": str(ROOT)}
        return environment(**keys, **outputs["environment"], **mine)

    def check_access(self, on: bool) -> None:
        """Whether the emulator looks at who asks."""
        import urllib.request

        count, plain = b"0" if on else b"inf", {"Content-Type": "text/plain"}
        asked = urllib.request.Request(f"{self.url}/moto-api/reset-auth", data=count, headers=plain, method="POST")
        urllib.request.urlopen(asked).close()


def groundplan(env: Mapping[str, str], *words: object) -> str:
    """Standard output of the product's command. Raises AssertionError with what it said when it fails."""
    return python(env, "-m", "orchestration.cli.main", *words)


def python(env: Mapping[str, str], *words: object) -> str:
    done = subprocess.run(
        [sys.executable, *map(str, words)], env=dict(env), cwd=ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise AssertionError(f"{' '.join(map(str, words))[:200]}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}")
    return done.stdout
