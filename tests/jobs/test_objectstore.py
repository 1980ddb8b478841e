"""What a listing of the store means; the store itself is in tests/e2e."""

from datetime import UTC, datetime

import boto3
import pytest
from botocore.stub import Stubber

from jobs.objectstore import S3Store, StoredObject

KEY = "dumps/retail/orders/2017-11-20/part-0000.csv.gz"
CHANGED = datetime(2017, 11, 20, tzinfo=UTC)


@pytest.fixture
def client():
    return boto3.client("s3", region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b")


def test_what_a_killed_store_left_is_no_object_and_a_copied_file_is_one(client):
    whole = {"Key": KEY, "Size": 3, "ETag": '"abc"', "LastModified": CHANGED}
    left = {"Key": f"{KEY}-e7c0bc00-e824-4b30-ab64-7bd8a95c6fff", "Size": 1, "LastModified": CHANGED}
    copied = {"Key": KEY.replace("0000", "0001"), "Size": 2, "LastModified": CHANGED}
    with Stubber(client) as store:
        store.add_response("list_objects_v2", {"Contents": [whole, left, copied], "IsTruncated": False})
        found = list(S3Store(client, "sluice", "http://127.0.0.1:9").list("dumps/"))
    assert found == [
        StoredObject(KEY, 3, "abc"),
        StoredObject(copied["Key"], 2, f"changed {CHANGED}"),
    ]
