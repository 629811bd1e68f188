"""Tenants as settings name them."""

from typing import Annotated

from pydantic import AfterValidator

from domain.access import TEST_PREFIX, is_tenant


def _checked(text: str) -> str:
    if not is_tenant(text.removeprefix(TEST_PREFIX)):
        raise ValueError(
            f"no tenant can have the name {text!r}: it has 1 to 64 letters, digits, `.`, `_` and `-`, "
            "and begins with a letter or a digit"
        )
    return text


Tenant = Annotated[str, AfterValidator(_checked)]
"""`acme`, or `test:acme` for what its test keys do."""
