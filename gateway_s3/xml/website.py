"""The document that makes a bucket a website, read and written.

Source: Amazon S3 API Reference, PutBucketWebsite; User Guide, "Hosting a static website".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NoReturn

from common import limits
from common.format.configurations import (
    CONFIGURATION_VERSION,
    KEEPS_KEY,
    REPLACES_KEY,
    REPLACES_PREFIX,
    Website,
    WebsiteRedirect,
)
from gateway_s3 import errors
from gateway_s3.errors import S3Error
from gateway_s3.xml.read import Tree, malformed, members_of, parse_children

DEFAULT_STATUS: Final = 301
_PROTOCOLS: Final = frozenset({"http", "https"})


def _refused(message: str) -> NoReturn:
    raise S3Error(errors.INVALID_REQUEST, message)


def _text(members: Mapping[str, Tree], name: str) -> str:
    """The text of a child; empty without it. Raises S3Error."""
    child = members.get(name)
    if child is None:
        return ""
    if child.children:
        malformed()
    if len(child.text.encode("utf-8")) > limits.MAX_CORS_TEXT_BYTES:
        raise S3Error(errors.KEY_TOO_LONG)
    return child.text


def parse_website(data: bytes) -> Website:
    """Read a WebsiteConfiguration document.

    Raises:
        S3Error: MalformedXML, InvalidArgument, InvalidRequest: what S3 refuses, too.
    """
    whole = parse_children(data, "WebsiteConfiguration", 8, 16 * limits.MAX_WEBSITE_RULES)
    root = members_of(
        Tree("", "", tuple(whole)),
        frozenset({"IndexDocument", "ErrorDocument", "RedirectAllRequestsTo", "RoutingRules"}),
    )
    if "RedirectAllRequestsTo" in root:
        if len(root) != 1:
            _refused(
                "RedirectAllRequestsTo cannot be provided in conjunction with other Routing Rules."
            )
        target = members_of(root["RedirectAllRequestsTo"], frozenset({"HostName", "Protocol"}))
        host = _host(target)
        if not host:
            malformed()
        return Website(CONFIGURATION_VERSION, "", "", host, _protocol(target), ())
    if "IndexDocument" not in root:
        raise S3Error(
            errors.INVALID_ARGUMENT,
            "A value for IndexDocument Suffix must be provided if RedirectAllRequestsTo is empty",
            ArgumentName="IndexDocument",
            ArgumentValue="null",
        )
    index = _text(members_of(root["IndexDocument"], frozenset({"Suffix"})), "Suffix")
    if not index or "/" in index:
        raise S3Error(
            errors.INVALID_ARGUMENT,
            "The IndexDocument Suffix is not well formed",
            ArgumentName="IndexDocument",
            ArgumentValue=index[:64],
        )
    error = ""
    if "ErrorDocument" in root:
        error = _text(members_of(root["ErrorDocument"], frozenset({"Key"})), "Key")
        if not error:
            malformed()
    rules = root["RoutingRules"].children if "RoutingRules" in root else ()
    if len(rules) > limits.MAX_WEBSITE_RULES:
        _refused(
            f"{len(rules)} routing rules provided, the number of routing rules in a website "
            f"configuration is limited to {limits.MAX_WEBSITE_RULES}."
        )
    return Website(CONFIGURATION_VERSION, index, error, "", "", tuple(map(_redirect, rules)))


def _redirect(element: Tree) -> WebsiteRedirect:
    if element.name != "RoutingRule":
        malformed()
    parts = members_of(element, frozenset({"Condition", "Redirect"}))
    if "Redirect" not in parts:
        malformed()
    prefix, error = "", 0
    if "Condition" in parts:
        asked = members_of(
            parts["Condition"], frozenset({"KeyPrefixEquals", "HttpErrorCodeReturnedEquals"})
        )
        if not asked:
            _refused(
                "Condition cannot be empty. To redirect all requests without a condition, the "
                "condition element shouldn't be present."
            )
        prefix = _text(asked, "KeyPrefixEquals")
        error = _status(asked, "HttpErrorCodeReturnedEquals", "45", "error", "4XX or 5XX")
    target = members_of(
        parts["Redirect"],
        frozenset(
            {"HostName", "Protocol", "ReplaceKeyPrefixWith", "ReplaceKeyWith", "HttpRedirectCode"}
        ),
    )
    if not target:
        malformed()
    if "ReplaceKeyPrefixWith" in target and "ReplaceKeyWith" in target:
        _refused("You can only define ReplaceKeyPrefix or ReplaceKey but not both.")
    replaces, key = KEEPS_KEY, ""
    if "ReplaceKeyPrefixWith" in target:
        replaces, key = REPLACES_PREFIX, _text(target, "ReplaceKeyPrefixWith")
    elif "ReplaceKeyWith" in target:
        replaces, key = REPLACES_KEY, _text(target, "ReplaceKeyWith")
    status = _status(target, "HttpRedirectCode", "3", "redirect", "3XX except 300")
    if status == 300:
        _refused(_BAD_STATUS.format("redirect", 300, "3XX except 300"))
    return WebsiteRedirect(
        prefix, error, _protocol(target), _host(target), replaces, key, status or DEFAULT_STATUS
    )


_BAD_STATUS: Final = "The provided HTTP {} code ({}) is not valid. Valid codes are {}."


def _status(members: Mapping[str, Tree], name: str, classes: str, kind: str, valid: str) -> int:
    """An HTTP status of these classes; 0 without it. Raises S3Error InvalidRequest."""
    if name not in members:
        return 0
    text = _text(members, name).strip()
    if len(text) != 3 or not (text.isascii() and text.isdigit()) or text[0] not in classes:
        _refused(_BAD_STATUS.format(kind, text[:16], valid))
    return int(text)


def _protocol(members: Mapping[str, Tree]) -> str:
    protocol = _text(members, "Protocol").strip()
    if protocol and protocol not in _PROTOCOLS:
        _refused(
            "Invalid protocol, protocol can be http or https. If not defined the protocol "
            "will be selected automatically."
        )
    return protocol


def _host(members: Mapping[str, Tree]) -> str:
    host = _text(members, "HostName").strip()
    if not all(each.isascii() and (each.isalnum() or each in ".-_:/[]~%") for each in host):
        raise S3Error(errors.INVALID_ARGUMENT, ArgumentName="HostName", ArgumentValue=host[:64])
    return host


def website_tree(website: Website) -> Tree:
    """The WebsiteConfiguration document of a website."""
    if website.all_host:
        target = _some(("HostName", website.all_host), ("Protocol", website.all_protocol))
        children: tuple[Tree, ...] = (Tree("RedirectAllRequestsTo", "", target),)
    else:
        children = (Tree("IndexDocument", "", (Tree("Suffix", website.index),)),)
        if website.error:
            children += (Tree("ErrorDocument", "", (Tree("Key", website.error),)),)
        if website.redirects:
            rules = tuple(map(_redirect_tree, website.redirects))
            children += (Tree("RoutingRules", "", rules),)
    return Tree("WebsiteConfiguration", "", children)


def _some(*pairs: tuple[str, str]) -> tuple[Tree, ...]:
    return tuple([Tree(name, text) for name, text in pairs if text])


def _redirect_tree(rule: WebsiteRedirect) -> Tree:
    asked = _some(
        ("HttpErrorCodeReturnedEquals", str(rule.error or "")), ("KeyPrefixEquals", rule.prefix)
    )
    target = _some(("HostName", rule.host), ("Protocol", rule.protocol))
    if rule.replaces:
        name = "ReplaceKeyWith" if rule.replaces == REPLACES_KEY else "ReplaceKeyPrefixWith"
        target += (Tree(name, rule.key),)
    target += (Tree("HttpRedirectCode", str(rule.status)),)
    condition = (Tree("Condition", "", asked),) if asked else ()
    return Tree("RoutingRule", "", (*condition, Tree("Redirect", "", target)))
