"""Values that stand for a secret that someone was to fill in: `change-me`, `YOUR_TOKEN_HERE`. Pure."""

import re
from typing import Final

from configuration.guessable import CHARACTERS_MAX, is_predictable

_SHAPE: Final = re.compile(
    r"<[\w .:-]*>|\$\{\w+(:?[-?+=].*)?\}|\$\([\w ./-]+\)|\{\{[\w .|-]*\}\}|(?P<same>.)(?P=same){2,}"
    r"|\W*p[a@4]ssw[o0]rd[\W\d]*"
    r"|\W*(my|your|the|some|an?|insert|enter)[-_ ](\w+[-_ ]){0,3}(secret|password|key|token)(?![a-z]).{0,20}",
    re.IGNORECASE | re.DOTALL,
)
_WITHIN: Final = re.compile(r"(change|replace|fill)[-_ .]?(me|this|it)(?![a-z])|placeholder|…", re.IGNORECASE)
_SIGNS_MAX: Final = 3
"""Different characters of a placeholder without letters and digits, such as `...`."""

_WHAT_TO_DO: Final = """
    change changed replace replaced insert enter put fill set use generate generated rotate define
    paste provide required todo fixme please here now later before after deploy deployment must with
    from need needs
"""
_WHAT_IT_IS: Final = """
    secret secrets password passwords passwd passphrase pass pwd key keys token tokens api auth
    authentication access account app application bearer callback client credential credentials
    private public shared sign signing user username verify verification webhook admin root server
    service value string text
"""
_WHAT_IT_SHOULD_BE: Final = """
    random long strong secure safe super very real own new old char chars character characters byte
    bytes digits hex base64 openssl rand min minimum least something some any this that these and
    not for the you your our
"""
_WHAT_IT_IS_INSTEAD: Final = """
    dummy example placeholder sample test testing tests demo default fake mock foo bar baz none null
    nil undefined unset unknown empty blank missing redacted removed masked omitted invalid
    letmein welcome
"""
_WHERE_IT_IS: Final = """
    development develop dev production prod staging stage local localhost herald twilio termii
    africastalking sendgrid mailgun resend smtp mail whatsapp facebook meta cloud temporal database
    postgres postgresql valkey redis fingerprint unsubscribe installation company
"""
WORDS: Final = frozenset(
    (_WHAT_TO_DO + _WHAT_IT_IS + _WHAT_IT_SHOULD_BE + _WHAT_IT_IS_INSTEAD + _WHERE_IT_IS).split()
)
"""The words that such values are made of. None is of hexadecimal digits only."""

_SHORT: Final = frozenset({"me", "my", "it", "is", "in", "to", "of", "or", "do", "on", "at", "by", "as"})
_ALONE: Final = frozenset({"a", "an", "be", "sg", "re", "sk", "pk", "tk", "hk", "ac", "whsec", "live"})
"""Words that count only between separators: random text has them too often."""
_JOINED: Final = WORDS | _SHORT
_PART: Final = re.compile(r"[^\W\d_]+|\d+")
_WORD_CHARACTERS_MAX: Final = max(map(len, WORDS))
_NUMBER_DIGITS_MAX: Final = 4
"""Digits of a number beside words, such as a year or a length."""


def is_placeholder(value: str) -> bool:
    """Whether the value stands for a secret: by its shape, or because it is nothing but usual words, numbers
    and runs of neighbours.
    """
    if _SHAPE.fullmatch(value) or _WITHIN.search(value):
        return True
    parts = _PART.findall(value[:CHARACTERS_MAX].lower())
    if not parts:
        return len(set(value)) <= _SIGNS_MAX
    # Short words and numbers are frequent in random text: they must not be most of it.
    telling = sum(len(part) for part in parts if _is_telling(part))
    return telling * 2 > sum(map(len, parts)) and all(map(_is_usual, parts))


def _is_telling(part: str) -> bool:
    return len(part) >= 3 and (_is_made_of_words(part) or (len(part) > 3 and is_predictable(part)))


def _is_usual(part: str) -> bool:
    is_short = len(part) <= _NUMBER_DIGITS_MAX if part.isdigit() else part in _ALONE
    return is_short or _is_made_of_words(part) or is_predictable(part)


def _is_made_of_words(part: str) -> bool:
    ends = {0}
    for end in range(2, len(part) + 1):
        starts = range(max(0, end - _WORD_CHARACTERS_MAX), end - 1)
        if any(start in ends and part[start:end] in _JOINED for start in starts):
            ends.add(end)
    return len(part) in ends
