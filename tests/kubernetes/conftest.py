"""Fixtures of the tests that need a cluster: the cluster, a namespace, S3 and PostgreSQL, all of them real.

Here: fixtures only. Not here: how things are started (cluster.py, servers.py).
This folder is not a package on purpose: as one it would stand before the Kubernetes client of the same name.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
import report
from build_images import build
from cluster import Cluster, default_folder, use_cluster
from processes import wait_for
from servers import S3, Postgres, serve_postgres, serve_s3


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """The cluster that KUBECONFIG names, or one made here. What cannot come up fails, it does not skip."""
    with use_cluster(default_folder()) as cluster:
        yield cluster


@pytest.fixture
def namespace(cluster: Cluster) -> Iterator[str]:
    """A namespace of the test's own; it goes, with all in it, without waiting for that."""
    name = f"test-{secrets.token_hex(4)}"
    cluster.kubectl("create", "namespace", name)
    # pods are refused until their default account is there
    wait_for("the service account", lambda: cluster.kubectl("get", "serviceaccount", "default", "--namespace", name))
    yield name
    cluster.kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    """An S3 server with an empty bucket. Tests share it: each takes a prefix of its own."""
    with serve_s3(tmp_path_factory.mktemp("s3") / "objects") as server:
        yield server


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """PostgreSQL with an empty database."""
    with serve_postgres() as server:
        yield server


@pytest.fixture(scope="session")
def bring_image(cluster: Cluster) -> Callable[..., None]:
    """`bring_image("groundplan", nodes)`: build a target of the Dockerfile and bring it to the nodes, or to all.

    What was brought stays there, also where a node loses its power: a second time there is nothing to do.
    """
    brought = set()

    def bring(target: str, nodes: Sequence[str] = ()) -> None:
        if (target, *nodes) not in brought:
            cluster.import_image(build(target).archive, nodes)
            brought.add((target, *nodes))

    return bring


def pytest_terminal_summary(terminalreporter: Any) -> None:
    for line in report.table() if report.LINES else ():
        terminalreporter.write_line(line)
