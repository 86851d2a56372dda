"""Do the usual job of a program on boto3, an old one too.

Arguments: endpoint, bucket, a large file, a name for its download, keys.
"""

import sys
import urllib.request

import boto3
from boto3.s3.transfer import TransferConfig

endpoint, bucket, large, down, *keys = sys.argv[1:]
client = boto3.client("s3", endpoint_url=endpoint)
client.create_bucket(Bucket=bucket)
for key in keys:
    content = f"content of {key}".encode()
    client.put_object(Bucket=bucket, Key=key, Body=content, Metadata={"by": "old"})
    source = {"Bucket": bucket, "Key": key}
    client.copy_object(Bucket=bucket, Key=f"copied/{key}", CopySource=source)
    answer = client.get_object(Bucket=bucket, Key=f"copied/{key}")
    assert (answer["Body"].read(), answer["Metadata"]) == (content, {"by": "old"})
    with urllib.request.urlopen(client.generate_presigned_url("get_object", source)) as shown:
        assert shown.read() == content
pages = client.get_paginator("list_objects_v2").paginate(
    Bucket=bucket, PaginationConfig={"PageSize": 3}
)
assert sum(len(page["Contents"]) for page in pages) == 2 * len(keys)
listed = {"Objects": [{"Key": key} for key in keys]}
deleted = client.delete_objects(Bucket=bucket, Delete=listed)
assert len(deleted["Deleted"]) == len(keys)
parts = TransferConfig(multipart_threshold=5 << 20, multipart_chunksize=5 << 20)
client.upload_file(large, bucket, "large", Config=parts)
client.download_file(bucket, "large", down, Config=parts)
print("done")
