"""URLs of stores, with their passwords."""

from urllib.parse import urlsplit

from pydantic import AfterValidator, SecretStr


def url(*schemes: str) -> AfterValidator:
    """Accepts a URL with one of these schemes that every parser reads alike."""

    def check(value: SecretStr) -> SecretStr:
        url = value.get_secret_value()
        scheme, separator, rest = url.partition("://")
        if scheme not in schemes or not separator or not rest:
            raise ValueError(f"expected a URL that starts with {' or '.join(f'{s}://' for s in schemes)}")
        if not _is_readable(url):
            # Without the cause, which repeats a part of the URL.
            raise ValueError("not a valid URL; write special characters of the password as %23 and so on")
        return value

    return AfterValidator(check)


def _is_readable(url: str) -> bool:
    """Whether the URL has all its parts. A `#`, `?`, `/` or `@` in a password would end it."""
    try:
        parts = urlsplit(url)
        hosts = parts.netloc.rpartition("@")[2].split(",")
        _ = [urlsplit(f"//{host}").port for host in hosts]
    except ValueError:
        return False
    # The drivers differ on which of two `@` ends the password.
    return not parts.fragment and "@" not in parts.path + parts.query and parts.netloc.count("@") < 2
