"""What `herald doctor` finds in the settings and in the files that they name."""

import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

from pydantic import SecretStr

import settings
from configuration.environment import shown, values
from configuration.plaintext import is_loopback
from console.doctor_findings import Finding, error, ok, warning
from domain.notification import Channel
from providers import registry
from settings import Settings, SettingsError

OTHERS_MAY = stat.S_IROTH | stat.S_IWOTH | stat.S_IXOTH


async def examine(loaded: Settings) -> list[Finding]:
    """The findings about settings that could be read."""
    problems = list(_problems(loaded)) or [ok("settings", "complete, no weak secret, nothing in plain text")]
    found = [*problems, *_keys(loaded), *_development(loaded), *_files(), *_addresses(loaded)]
    return [*found, *await _providers(loaded)]


def _problems(loaded: Settings) -> Iterator[Finding]:
    for problem in settings.problems(loaded):
        if problem.refused:
            yield error(
                problem.variable, f"{problem.text}.", f"Or set {problem.allow}." if problem.allow else ""
            )
        else:
            yield warning(problem.variable, f"{problem.text}.", f"It is allowed by {problem.allow}.")


def _keys(loaded: Settings) -> Iterator[Finding]:
    for name, keys in (
        ("FINGERPRINT", loaded.fingerprint_keys),
        ("UNSUBSCRIBE", loaded.unsubscribe_keys),
    ):
        if not keys:
            yield warning(
                f"HERALD_{name}_KEYS",
                "not set: the secret key is used, which can never be replaced.",
                f'Set it to a key that can be: HERALD_{name}_KEYS={{"a": "…"}}.',
            )
    for name, value in values(loaded):
        if isinstance(value, SecretStr) and "simulated" in value.get_secret_value():
            yield warning(name, "is the key of a simulated vendor.", "Set the vendor's own.")


def _development(loaded: Settings) -> Iterator[Finding]:
    if loaded.development:
        text = "is set: without [sms] countries, SMS may go to every country."
        yield warning("HERALD_DEVELOPMENT", text, "Remove it, unless every vendor is simulated.")


def _files() -> Iterator[Finding]:
    for variable, path in settings.secret_files().items():
        if not (problem := _readable(path)):
            yield ok(variable, f"{path} is readable by its owner only")
        else:
            yield problem_of(variable, path, problem)


def _readable(path: Path) -> str | None:
    try:
        mode = path.stat().st_mode
    except OSError as missing:
        return f"cannot be read: {missing.strerror}"
    return "can be read by every user of this host" if mode & OTHERS_MAY else None


def problem_of(variable: str, path: Path, problem: str) -> Finding:
    """The finding about a file that is missing, or open to everyone."""
    if problem.startswith("cannot"):
        return error(variable, f"{shown(path)} {problem}.", "Create it, or correct the variable.")
    return warning(variable, f"{path} {problem}.", f"Run: chmod o= {path}")


def _addresses(loaded: Settings) -> Iterator[Finding]:
    public = urlsplit(loaded.public_url)
    if is_loopback(public.hostname):
        text = f"{loaded.public_url} is this host: vendors cannot send callbacks to it."
        yield warning("HERALD_PUBLIC_URL", text, "Set the address at which they reach the API.")
    mode = dict(parse_qsl(urlsplit(loaded.database_dsn).query))
    if (used := mode.get("sslmode")) in ("require", "verify-ca"):
        text = f"sslmode={used} does not check which server answers."
        yield warning("HERALD_DATABASE_URL", text, "Use sslmode=verify-full.")


async def _providers(loaded: Settings) -> Sequence[Finding]:
    try:
        catalog = loaded.catalog
        registry.check_sms(loaded.providers, catalog)
        registry.check_routes(loaded.routes)
        built = registry.build(loaded.providers, catalog, loaded.public_url)
    except SettingsError as unusable:
        head, *wrong = str(unusable).splitlines()
        return [error("providers", f"{head} {line}".rstrip(), "") for line in map(str.strip, wrong or [""])]
    for provider in built.values():
        await provider.aclose()
    found = [ok("providers", f"configured: {', '.join(sorted(built)) or 'none'}")]
    for channel in Channel:
        routed = loaded.routes.of(channel)
        if not built.keys() & set(routed):
            text = f"none of its providers ({', '.join(routed) or 'none'}) has settings: nothing can be sent."
            found.append(warning(f"channel {channel}", text, "docs/providers lists the settings of each."))
    return found
