"""S3, SQS and SNS on this machine, as moto speaks them, and the environment that leads clients to a server.

Here: starting, ending, the variables. Not here: a server that fails as told (faulty_s3.py), a real
one (../kubernetes/servers.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

REGION = "us-east-1"


@contextmanager
def serve() -> Iterator[str]:
    """The server, empty, on a free port of 127.0.0.1; gives its URL."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        yield f"http://{host}:{port}"
    finally:
        server.stop()


def environment(url: str) -> dict[str, str]:
    """What obstore, boto3 and dagster-aws read. Not AWS_ALLOW_HTTP: the store finds that out itself."""
    return {
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": "somebody",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,  # boto3 reads this one
    }
