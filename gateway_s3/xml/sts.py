"""Answers about temporary credentials, as XML.

Source: AWS Security Token Service API Reference, the response of each action, "Common errors".
"""

from __future__ import annotations

from dataclasses import field
from datetime import UTC, datetime
from typing import Final

from common.data_classes import dataclass
from gateway_s3.errors import S3Error
from gateway_s3.xml.read import Tree
from gateway_s3.xml.write import plain_document, readable

CONTENT_TYPE: Final = b"text/xml"
NAMESPACE: Final = "https://sts.amazonaws.com/doc/2011-06-15/"


@dataclass(frozen=True, slots=True)
class Credentials:
    """Temporary credentials. ``expires_s``: Unix seconds."""

    access_key_id: str
    secret: str = field(repr=False)
    token: str = field(repr=False)
    expires_s: int

    def tree(self) -> Tree:
        """Return the element with them."""
        end = datetime.fromtimestamp(self.expires_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return Tree(
            "Credentials",
            "",
            (
                Tree("AccessKeyId", self.access_key_id),
                Tree("SecretAccessKey", self.secret),
                Tree("SessionToken", self.token),
                Tree("Expiration", end),
            ),
        )


def answer(action: str, result: tuple[Tree, ...], request_id: str) -> bytes:
    """Return the answer to an action."""
    metadata = Tree("ResponseMetadata", "", (Tree("RequestId", request_id),))
    content = (Tree(f"{action}Result", "", result), metadata)
    return plain_document(Tree(f"{action}Response", "", content), NAMESPACE)


def error_answer(error: S3Error, request_id: str) -> bytes:
    """Return the answer that says why there is none."""
    told = (
        Tree("Type", "Receiver" if error.status >= 500 else "Sender"),
        Tree("Code", error.code.code),
        Tree("Message", readable(error.message)),
    )
    content = (Tree("Error", "", told), Tree("RequestId", request_id))
    return plain_document(Tree("ErrorResponse", "", content), NAMESPACE)
