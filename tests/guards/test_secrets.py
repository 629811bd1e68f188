"""No file holds a secret: neither one of ours, nor one that detect-secrets knows."""

import re
from importlib import import_module
from pkgutil import iter_modules

import detect_secrets.plugins
import pytest
from detect_secrets.plugins.base import RegexBasedDetector
from repository import files, name

from domain.key_format import PATTERN, is_intact, key_of

FICTIONAL = {
    "tests/configuration/test_plaintext.py": "store URLs with passwords",
    "tests/console/test_doctor.py": "a store's URL with a password",
    "tests/console/test_errors.py": "a store's URL with a password",
    "tests/telemetry/test_scrub.py": "what the log must not show",
    "tests/providers/sms/cases/twilio.json": "the account of Twilio's own examples",
    "docs/deployment.md": "where a password stands in a URL",
    "tests/configuration/settings_case.py": "store URLs with passwords",
    "tests/configuration/test_secrets_are_not_shown.py": "what no process may show",
}
"""Files in which a find is no secret, and what it is."""
_HASHES = (".lock", "package-lock.json")


def _detectors() -> dict[str, list[re.Pattern[str]]]:
    """The patterns of detect-secrets, by what they find."""
    found: dict[str, list[re.Pattern[str]]] = {}
    for module in iter_modules(detect_secrets.plugins.__path__):
        for one in vars(import_module(f"detect_secrets.plugins.{module.name}")).values():
            if isinstance(one, type) and issubclass(one, RegexBasedDetector) and hasattr(one, "denylist"):
                denylist = one.denylist
                if not isinstance(denylist, property) and one.__name__ != "IPPublicDetector":
                    found[one.secret_type] = list(denylist)
    return found


DETECTORS = _detectors()


def _finds(text: str) -> set[str]:
    found = {kind for kind, patterns in DETECTORS.items() if any(p.search(text) for p in patterns)}
    if any(is_intact(key) for key in re.findall(PATTERN, text)):
        found.add("Herald API key")
    return found


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (key_of("0a1b2c3d", "x" * 32, test=False), "Herald API key"),
        (key_of("0a1b2c3d", "y" * 32, test=True), "Herald API key"),
        ("AKIA" + "ABCDEFGHIJKLMNOP", "AWS Access Key"),
        ("-----BEGIN " + "PRIVATE KEY-----", "Private Key"),
        ("redis://user:" + "hunter2@store", "Basic Auth Credentials"),
        ("SG." + "a" * 22 + "." + "b" * 43, "SendGrid API Key"),
    ],
)
def test_a_secret_is_found(text: str, kind: str) -> None:
    assert kind in _finds(f"key = '{text}'\n")


def test_no_file_holds_a_secret() -> None:
    assert len(DETECTORS) > 15
    found: dict[str, set[str]] = {}
    for path in files():
        if path.name.endswith(_HASHES):
            continue
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        if kinds := _finds(text):
            found[name(path)] = kinds
    unknown = {file: kinds for file, kinds in found.items() if file not in FICTIONAL}
    assert unknown == {}, "remove the secret, and revoke it: it is in the history"
    assert FICTIONAL.keys() <= found.keys(), "remove what is no longer found"
