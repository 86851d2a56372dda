"""Documents that configure a bucket or an object, read and written: tags, and rules for requests
across origins.

Source: Amazon S3 API Reference, PutBucketTagging, PutObjectTagging, PutBucketCors.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from common import limits
from common.format.configurations import CONFIGURATION_VERSION, OriginRule, OriginRules, Tags
from gateway_s3 import errors
from gateway_s3.errors import S3Error
from gateway_s3.xml.read import Tree, malformed, parse_children

METHODS: Final = ("GET", "PUT", "HEAD", "POST", "DELETE")
_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_ORIGIN: Final = re.compile(r"[\x21-\x7e]*")
_RULE_ELEMENTS: Final = frozenset(
    {"ID", "AllowedMethod", "AllowedOrigin", "AllowedHeader", "ExposeHeader", "MaxAgeSeconds"}
)


def parse_tagging(data: bytes) -> list[tuple[str, str]]:
    """The keys and values of a Tagging document, which are not yet checked.

    Raises:
        S3Error: MalformedXML.
    """
    sets = parse_children(data, "Tagging", 1, limits.MAX_TAG_ELEMENTS)
    if len(sets) != 1 or sets[0].name != "TagSet":
        malformed()
    if not sets[0].children and sets[0].text.strip():
        malformed()
    return [_tag(each) for each in sets[0].children]


def _tag(element: Tree) -> tuple[str, str]:
    values = {child.name: child.text for child in element.children if not child.children}
    if element.name != "Tag" or len(element.children) != 2 or values.keys() != {"Key", "Value"}:
        malformed()
    return values["Key"], values["Value"]


def tagging_tree(tags: Tags) -> Tree:
    """The Tagging document of tags."""
    rows = [Tree("Tag", "", (Tree("Key", tag.key), Tree("Value", tag.value))) for tag in tags.tags]
    return Tree("Tagging", "", (Tree("TagSet", "", tuple(rows)),))


def parse_cors(data: bytes) -> OriginRules:
    """The rules of a CORSConfiguration document.

    Raises:
        S3Error: MalformedXML; InvalidRequest: a rule that S3 refuses, too;
            MaxMessageLengthExceeded: over 64 KiB.
    """
    if len(data) > limits.MAX_CORS_BYTES:
        raise S3Error(errors.MAX_MESSAGE_LENGTH_EXCEEDED)
    most = limits.MAX_CORS_RULES
    found = parse_children(data, "CORSConfiguration", 10 * most, limits.MAX_CORS_ELEMENTS)
    if not found:
        malformed()
    if len(found) > most:
        raise _refused(f"The number of CORS rules should not exceed allowed limit of {most} rules.")
    return OriginRules(CONFIGURATION_VERSION, tuple(map(_rule, found)))


def _rule(element: Tree) -> OriginRule:
    if element.name != "CORSRule" or any(
        child.name not in _RULE_ELEMENTS or child.children for child in element.children
    ):
        malformed()
    methods, origins = _texts(element, "AllowedMethod"), _texts(element, "AllowedOrigin")
    ids, ages = _texts(element, "ID"), _texts(element, "MaxAgeSeconds")
    if not methods or not origins or len(ids) > 1 or len(ages) > 1:
        malformed()
    for method in methods:
        if method not in METHODS:
            raise _refused(
                f"Found unsupported HTTP method in CORS config. Unsupported method is {method[:64]}"
            )
    if len(methods) != len(set(methods)):
        malformed()
    if ids and len(ids[0]) > limits.MAX_CORS_ID_CHARACTERS:
        raise _refused(
            f"The ID of a CORS rule can have {limits.MAX_CORS_ID_CHARACTERS} characters at most."
        )
    headers, exposed = _texts(element, "AllowedHeader"), _texts(element, "ExposeHeader")
    _check_patterns("AllowedOrigin", origins, _ORIGIN)
    _check_patterns("AllowedHeader", headers, _TOKEN)
    for name in exposed:
        if "*" in name:
            raise _refused(
                f'ExposeHeader "{name[:64]}" contains wildcard. We currently do not support '
                "wildcard for ExposeHeader."
            )
        if _TOKEN.fullmatch(name) is None or len(name) > limits.MAX_CORS_TEXT_BYTES:
            raise _refused(f'ExposeHeader "{name[:64]}" is not the name of a header.')
    return OriginRule(
        ids[0] if ids else "", methods, origins, headers, exposed, _age(ages[0]) if ages else None
    )


def _texts(element: Tree, name: str) -> tuple[str, ...]:
    return tuple([child.text.strip() for child in element.children if child.name == name])


def _check_patterns(name: str, patterns: Sequence[str], form: re.Pattern[str]) -> None:
    for pattern in patterns:
        if pattern.count("*") > 1:
            raise _refused(f'{name} "{pattern[:64]}" can not have more than one wildcard.')
        if form.fullmatch(pattern) is None or len(pattern) > limits.MAX_CORS_TEXT_BYTES:
            raise _refused(f'{name} "{pattern[:64]}" is not valid.')


def _age(text: str) -> int:
    if not (
        text.isascii() and text.isdigit() and len(text) <= 10 and int(text) <= limits.MAX_CORS_AGE_S
    ):
        malformed()
    return int(text)


def _refused(message: str) -> S3Error:
    return S3Error(errors.INVALID_REQUEST, message)


def cors_tree(rules: OriginRules) -> Tree:
    """The CORSConfiguration document of rules."""
    return Tree("CORSConfiguration", "", tuple(map(_rule_tree, rules.rules)))


def _rule_tree(rule: OriginRule) -> Tree:
    children = [
        *([Tree("ID", rule.rule_id)] if rule.rule_id else []),
        *(Tree("AllowedMethod", each) for each in rule.methods),
        *(Tree("AllowedOrigin", each) for each in rule.origins),
        *(Tree("AllowedHeader", each) for each in rule.headers),
        *(Tree("ExposeHeader", each) for each in rule.exposed),
    ]
    if rule.max_age_s is not None:
        children.append(Tree("MaxAgeSeconds", str(rule.max_age_s)))
    return Tree("CORSRule", "", tuple(children))
