"""What is true of the modules without applying them: form, what terraform and checkov say, and that clouds agree.

The providers of Azure and Google are not asked: where they are not at hand only form, names of inputs and outputs, and
checkov's reading are checked of those two (docs/terraform.md says so).
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import pytest
from stack import SOURCE, copied, environment, init, terraform

HERE = Path(__file__).parent
CLOUDS = ("aws", "azure", "gcp")
ASKABLE = (
    "modules/groundplan-aws",
    "modules/groundplan-values",
    "examples/aws-small",
    "examples/aws-country",
    "examples/on-premise",
)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copied(tmp_path_factory.mktemp("modules") / "terraform")


def test_every_file_has_terraforms_own_form() -> None:
    assert terraform(SOURCE, "fmt", "-check", "-recursive", "-diff", fails=True) == ""


@pytest.mark.parametrize("folder", ASKABLE)
def test_terraform_finds_nothing_wrong(tree: Path, folder: str) -> None:
    init(tree / folder)
    said = json.loads(terraform(tree / folder, "validate", "-json", fails=True))
    assert said["diagnostics"] == []


def test_the_module_plans_what_it_promises(tree: Path) -> None:
    """By terraform's own tests, with a mocked provider: modules/groundplan-aws/tests."""
    init(tree / "modules/groundplan-aws")
    terraform(tree / "modules/groundplan-aws", "test", "-no-color")


def test_all_clouds_take_the_same_and_tell_the_same() -> None:
    read = {cloud: (SOURCE / "modules" / f"groundplan-{cloud}" / "variables.tf").read_bytes() for cloud in CLOUDS}
    assert len(set(read.values())) == 1, "the file of inputs is one file, three times"
    pattern = re.compile(r'^output "(\w+)" \{\n  description = "(.*)"$', re.MULTILINE)
    told = {
        cloud: pattern.findall((SOURCE / "modules" / f"groundplan-{cloud}" / "outputs.tf").read_text())
        for cloud in CLOUDS
    }
    assert told["aws"] == told["azure"] == told["gcp"]
    for cloud in CLOUDS:
        outputs = (SOURCE / "modules" / f"groundplan-{cloud}" / "outputs.tf").read_text()
        assert outputs.count("output ") == len(told[cloud])


@pytest.mark.parametrize("cloud", CLOUDS)
def test_every_input_is_used(cloud: str) -> None:
    folder = SOURCE / "modules" / f"groundplan-{cloud}"
    names = re.findall(r'^variable "(\w+)"', (folder / "variables.tf").read_text(), re.MULTILINE)
    rest = "".join(path.read_text() for path in folder.glob("*.tf") if path.name != "variables.tf")
    assert [name for name in names if not re.search(rf"\bvar\.{name}\b", rest)] == UNUSED[cloud]


UNUSED = {"aws": ["push_token"], "azure": [], "gcp": []}
"""AWS refuses push_url, so nothing asks for its token."""


def test_no_secret_and_no_registry_is_written_down() -> None:
    for path in SOURCE.rglob("*.tf"):
        text = path.read_text()
        assert not re.search(r'(password|secret_key|token)\s*=\s*"[^"$]', text), path
        assert "registry.terraform" not in text, path
        assert "registry.opentofu" not in text, path


def test_checkov_finds_nothing_but_what_is_skipped_with_a_reason(tree: Path) -> None:
    program = os.environ.get("CHECKOV", "")
    if not Path(program).is_file():
        pytest.fail("checkov is not there: run `make test-terraform`, which puts it into an environment of its own")
    lines = [line.split("#", 1) for line in (HERE / "skipped.txt").read_text().splitlines() if not line.startswith("#")]
    skipped = {check.strip(): reason.strip() for check, reason in lines}
    assert all(skipped.values())
    away = dict.fromkeys(("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"), "http://127.0.0.1:9")
    command = [program, "-d", ".", "--framework", "terraform", "--quiet", "--compact", "--skip-download", "-o", "json"]
    done = subprocess.run(command, cwd=tree, env=environment(**away), capture_output=True, text=True, check=False)
    said = json.loads(done.stdout)
    failed = {item["check_id"]: item["resource"] for item in said["results"]["failed_checks"]}
    assert said["summary"]["parsing_errors"] == 0
    assert said["summary"]["passed"] > 200, "it read the modules"
    assert {check: where for check, where in failed.items() if check not in skipped} == {}
    assert sorted(set(skipped) - set(failed)) == [], "skipped for nothing"
