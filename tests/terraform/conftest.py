"""What the tests of Terraform share. Here: one installation on the emulator. Not here: commands (stack.py)."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from stack import Stack, copied, init

HERE = Path(__file__).parent
OVERRIDE = """
module "groundplan" {
  cluster_addons = false # moto knows no add-ons of EKS,
  package_index  = false # and no CodeArtifact
  protect        = false
  service        = true
  previews_url   = "https://maps.example.org"
  landing        = ["s3://supplier/2024"]
  accounts = { # the chart's six, and the two that share one by themselves
    run   = ["run"], dagster = ["web", "daemon"], previews = ["previews"]
    serve = ["serve"], work = ["work"], relay = ["relay"]
    web   = ["web"], daemon = ["daemon"]
  }
}
"""


@pytest.fixture(scope="session", autouse=True)
def _terraform_is_there() -> None:
    if shutil.which("terraform") is None:
        pytest.fail("terraform is not on the PATH: nothing of terraform/ can be tested. Install Terraform 1.6 or newer")


@pytest.fixture(scope="session")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """URL of AWS on this machine, empty, and the file of rights that were asked for."""
    log = tmp_path_factory.mktemp("emulator") / "rights.jsonl"
    command = [sys.executable, str(HERE / "emulator.py"), "127.0.0.9", "0", str(log)]
    quiet = log.with_name("server.log").open("w")
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=quiet, text=True) as server:
        assert server.stdout is not None
        yield f"http://{server.stdout.readline().strip()}", log
        server.kill()


@pytest.fixture(scope="session")
def stack(emulator: tuple[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Stack:
    """The example aws-small with all that can be had on the emulator, applied."""
    folder = copied(tmp_path_factory.mktemp("applied") / "terraform") / "examples" / "aws-small"
    (folder / "emulator_override.tf").write_text(OVERRIDE)
    init(folder)
    made = Stack(folder, emulator[0])
    made.terraform("apply", "-no-color", "-input=false", "-auto-approve")
    return made
