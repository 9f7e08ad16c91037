"""deploy/s3: what the access key of a bucket may do, and how the bucket is set up."""

import ast
import json
from typing import Any

import pytest
from botocore.validate import validate_parameters

from tests.deploy.conftest import DEPLOY, ROOT

# What Amazon's manual names for each operation of the client.
ACTIONS = {
    "abort_multipart_upload": "s3:AbortMultipartUpload",
    "complete_multipart_upload": "s3:PutObject",
    "create_multipart_upload": "s3:PutObject",
    "delete_object": "s3:DeleteObject",
    "get_object": "s3:GetObject",
    "head_object": "s3:GetObject",
    "list_multipart_uploads": "s3:ListBucketMultipartUploads",
    "list_objects_v2": "s3:ListBucket",
    "put_object": "s3:PutObject",
    "upload_part": "s3:PutObject",
}
# Forgetting a customer tries it, and goes on without: whoever steals the key destroys nothing.
DENIED = {"list_object_versions"}
OF_A_BUCKET = {"s3:ListBucket", "s3:ListBucketMultipartUploads"}


def read(name: str) -> Any:
    return json.loads((DEPLOY / "s3" / f"{name}.json").read_text())


def operations() -> set[str]:
    """Of the client, that our store calls by name."""
    found = set()
    for path in (ROOT / "viewer" / "storage" / "s3").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                of_client = node.func.attr in ("call", "generate_presigned_url")
                if of_client and isinstance(node.args[0], ast.Constant):
                    found.add(node.args[0].value)
    return found


def test_the_access_key_may_do_what_the_store_does_and_nothing_else():
    statements = read("policy")["Statement"]
    allowed = {action: one["Resource"] for one in statements for action in one["Action"]}

    assert operations() == set(ACTIONS) | DENIED
    assert set(allowed) == set(ACTIONS.values())
    assert {one["Effect"] for one in statements} == {"Allow"}
    for action, resource in allowed.items():
        assert resource == f"arn:aws:s3:::photos{'' if action in OF_A_BUCKET else '/viewer/*'}"


@pytest.mark.parametrize(
    ("name", "operation", "parameter"),
    [
        ("versioning", "PutBucketVersioning", "VersioningConfiguration"),
        ("lifecycle", "PutBucketLifecycleConfiguration", "LifecycleConfiguration"),
        ("public-access-block", "PutPublicAccessBlock", "PublicAccessBlockConfiguration"),
    ],
)
def test_the_files_are_what_the_command_line_takes(name, operation, parameter, object_store):
    shape = object_store.client.meta.service_model.operation_model(operation).input_shape

    validate_parameters({"Bucket": "photos", parameter: read(name)}, shape)


def test_what_is_deleted_in_a_bucket_set_up_like_that_is_there_for_a_while(object_store):
    client, bucket = object_store.client, object_store.new_bucket()
    client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration=read("versioning"))
    client.put_bucket_lifecycle_configuration(
        Bucket=bucket, LifecycleConfiguration=read("lifecycle")
    )
    client.put_object(Bucket=bucket, Key="viewer/a.jpg", Body=b"a crack")

    client.delete_object(Bucket=bucket, Key="viewer/a.jpg")

    [kept] = client.list_object_versions(Bucket=bucket)["Versions"]
    found = client.get_object(Bucket=bucket, Key="viewer/a.jpg", VersionId=kept["VersionId"])
    with found["Body"] as body:
        assert body.read() == b"a crack"
