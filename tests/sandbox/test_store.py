"""The object store of the sandbox: presigned URLs, also in parts, and only as long as they last."""

from __future__ import annotations

import time
import urllib.error
import urllib.request

import pytest

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def store(session_sandbox):
    """A client of the object store, with a bucket."""
    s3 = session_sandbox.client("s3", signature_version="s3v4")
    s3.create_bucket(Bucket="blobs")
    return s3


def send(url, data=None, method="GET"):
    """Send a request without credentials, as a machine does; return the answer."""
    asked = urllib.request.Request(url, data=data, method=method)
    with urllib.request.urlopen(asked) as answer:
        return answer.read(), answer.headers


def presigned(store, verb, seconds=60, **params):
    """Return a URL for one call."""
    return store.generate_presigned_url(verb, {"Bucket": "blobs", **params}, ExpiresIn=seconds)


def test_put_and_get(store):
    data = bytes(range(256)) * 4096
    send(presigned(store, "put_object", Key="one"), data, "PUT")
    assert send(presigned(store, "get_object", Key="one"))[0] == data


def test_put_in_parts(store):
    upload = store.create_multipart_upload(Bucket="blobs", Key="parts")["UploadId"]
    parts = [b"a" * (5 << 20), b"b" * 1000]
    done = []
    for number, part in enumerate(parts, 1):
        url = presigned(store, "upload_part", Key="parts", UploadId=upload, PartNumber=number)
        _, headers = send(url, part, "PUT")
        done.append({"PartNumber": number, "ETag": headers["ETag"]})
    store.complete_multipart_upload(
        Bucket="blobs", Key="parts", UploadId=upload, MultipartUpload={"Parts": done}
    )
    assert send(presigned(store, "get_object", Key="parts"))[0] == b"".join(parts)


def test_a_url_ends(store):
    url = presigned(store, "get_object", Key="one", seconds=1)
    time.sleep(1.2)
    with pytest.raises(urllib.error.HTTPError) as caught:
        send(url)
    assert b"AccessDenied" in caught.value.read()
    caught.value.close()


def test_a_url_is_good_for_what_it_was_signed_for_only(session_sandbox, store):
    send(presigned(store, "put_object", Key="mine"), b"mine", "PUT")
    url = presigned(store, "get_object", Key="mine")
    for bad, method in (
        (url, "PUT"),
        (url.replace("/mine?", "/other?"), "GET"),
        (url.replace("X-Amz-Expires=60", "X-Amz-Expires=6000"), "GET"),
    ):
        with pytest.raises(urllib.error.HTTPError) as caught:
            send(bad, b"x" if method == "PUT" else None, method)
        assert b"SignatureDoesNotMatch" in caught.value.read()
        caught.value.close()
    assert send(url)[0] == b"mine"
    strange = "ü/with space+plus&more.bin"
    send(presigned(store, "put_object", Key=strange), b"strange", "PUT")
    assert send(presigned(store, "get_object", Key=strange))[0] == b"strange"
    old = session_sandbox.client("s3", signature_version="s3")
    with pytest.raises(urllib.error.HTTPError) as caught:
        send(presigned(old, "get_object", Key="mine"))
    assert b"not supported" in caught.value.read()
    caught.value.close()


def test_calls_are_named(session_sandbox, store):
    send(presigned(store, "put_object", Key="named"), b"x", "PUT")
    call = session_sandbox.calls("PutObject")[-1]
    assert (call["service"], call["presigned"]) == ("s3", True)
    assert (call["params"]["Bucket"], call["params"]["Key"]) == ("blobs", "named")
    store.list_objects_v2(Bucket="blobs")
    assert session_sandbox.calls("ListObjectsV2")
