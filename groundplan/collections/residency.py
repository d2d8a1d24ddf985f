"""Data residency: where images of people may be stored.

Here: asking where the store is. Not here: erasing (forget.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from urllib.parse import urlsplit

from groundplan.errors import BadConfig, StoreFailed
from groundplan.project import Project

# ---------------------------------------------------------------------------------------------------- the place


def check_residency(project: Project) -> None:
    """Check of the store's region. Raises BadConfig outside of `collections.region`, StoreFailed where it is not known.

    An entry with '://' is a prefix of the store's URL, any other is a bucket's region. With both kinds given, both must
    fit. A region can be asked of S3 only; another kind of store is allowed by its URL.
    """
    check_place(project.settings.collections.region, project.store.url)


def check_place(allowed: Sequence[str], url: str) -> None:
    """The same of any store's URL: where a copy would go, for one."""
    if not allowed:
        return
    store = url.rstrip("/") + "/"
    prefixes = [entry for entry in allowed if "://" in entry]
    regions = [entry for entry in allowed if "://" not in entry]
    what = f"collections.region allows {', '.join(allowed)}"
    if prefixes and not any(store.startswith(prefix.rstrip("/") + "/") for prefix in prefixes):
        raise BadConfig(f"store {store}", f"images may not lie there: {what}", "Move the store, or mend that list")
    if regions and urlsplit(store).scheme == "s3":
        found = bucket_region(urlsplit(store).netloc)
        if found not in regions:
            raise BadConfig(f"store {store}", f"its bucket is in {found}: {what}", "Move the store, or mend that list")
    elif regions and not prefixes:
        raise BadConfig(
            f"store {store}", f"it is in no bucket region: {what}", f'Add "{store}" to that list if it may lie there'
        )


@lru_cache(maxsize=8)  # a bucket does not move
def bucket_region(bucket: str) -> str:
    """The region that S3 says a bucket is in. Raises StoreFailed."""
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError

    quick = Config(connect_timeout=10, read_timeout=20, retries={"max_attempts": 3})
    try:
        answer = boto3.client("s3", config=quick).head_bucket(Bucket=bucket)
    except (BotoCoreError, ClientError) as error:
        reason = f"its region cannot be found out ({str(error)[:160]})"
        raise StoreFailed(f"bucket {bucket}", reason, "Check credentials, and the right s3:ListBucket") from error
    headers = answer["ResponseMetadata"]["HTTPHeaders"]
    return str(answer.get("BucketRegion") or headers.get("x-amz-bucket-region") or "no region that it tells")
