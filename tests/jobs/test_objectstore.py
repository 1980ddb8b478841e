"""What a listing of the store means; the store itself is in tests/e2e."""

from datetime import UTC, datetime

import boto3
import pytest
from botocore.exceptions import ProfileNotFound
from botocore.stub import Stubber

from jobs.objectstore import S3Store, StoredObject, open_store
from jobs.settings import Settings

KEY = "dumps/retail/orders/2017-11-20/part-0000.csv.gz"
CHANGED = datetime(2017, 11, 20, tzinfo=UTC)


@pytest.fixture
def client():
    return boto3.client("s3", region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b")


def test_with_keys_of_its_own_no_profile_is_looked_for(monkeypatch, own_home):
    """`AWS_PROFILE` of another work ended the demo: "The config profile (nosuch) could not be found"."""
    monkeypatch.setenv("AWS_PROFILE", "nosuch")
    monkeypatch.setattr(S3Store, "ensure_bucket", lambda _: None)
    open_store(Settings(home=own_home, s3_access_key="key", s3_secret_key="secret"))
    with pytest.raises(ProfileNotFound):
        open_store(Settings(home=own_home))


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
