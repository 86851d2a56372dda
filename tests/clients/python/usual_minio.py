"""Do the usual job of a program on minio-py.

Arguments: endpoint, bucket, a large file, a name for its download, keys.
"""

import os
import sys
import urllib.request
from io import BytesIO
from urllib.parse import urlsplit

from minio import Minio
from minio.commonconfig import CopySource
from minio.deleteobjects import DeleteObject

endpoint, bucket, large, down, *keys = sys.argv[1:]
client = Minio(
    urlsplit(endpoint).netloc,
    access_key=os.environ["AWS_ACCESS_KEY_ID"],
    secret_key=os.environ["AWS_SECRET_ACCESS_KEY"],
    secure=endpoint.startswith("https:"),
)
client.make_bucket(bucket)
assert client.bucket_exists(bucket)
for key in keys:
    content = f"content of {key}".encode()
    client.put_object(bucket, key, BytesIO(content), len(content), metadata={"by": "py"})
    client.copy_object(bucket, f"copied/{key}", CopySource(bucket, key))
    answer = client.get_object(bucket, f"copied/{key}")
    assert answer.read() == content
    answer.close()
    assert client.stat_object(bucket, f"copied/{key}").metadata["x-amz-meta-by"] == "py"
    with urllib.request.urlopen(client.presigned_get_object(bucket, key)) as shown:
        assert shown.read() == content
assert len(list(client.list_objects(bucket, recursive=True))) == 2 * len(keys)
errors = client.remove_objects(bucket, [DeleteObject(key) for key in keys])
assert list(errors) == []
client.fput_object(bucket, "large", large, part_size=5 * 1024 * 1024)
client.fget_object(bucket, "large", down)
print("done")
