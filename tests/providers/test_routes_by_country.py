"""HERALD_ROUTES__SMS__NG together with HERALD_ROUTES__SMS."""

import pytest

from domain.notification import Channel
from providers import registry
from settings import Settings, SettingsError, load


def _load(monkeypatch: pytest.MonkeyPatch, **variables: str) -> Settings:
    monkeypatch.setenv("HERALD_SECRET_KEY", "tests-secret-8c1f6be2d40a97e35b12")
    for name, value in variables.items():
        monkeypatch.setenv(f"HERALD_ROUTES__SMS{name}", value)
    return load()


@pytest.mark.parametrize("turned", [False, True], ids=["general first", "general last"])
def test_both_forms_hold_at_once(monkeypatch: pytest.MonkeyPatch, turned: bool) -> None:
    given = {"": "twilio,termii", "__NG": "termii,twilio", "__234": "termii"}
    if turned:
        given = dict(reversed(given.items()))
    routes = _load(monkeypatch, **given).routes
    assert routes.of(Channel.SMS) == ("twilio", "termii")
    assert routes.sms_orders == {"NG": ("termii", "twilio"), "234": ("termii",)}
    registry.check_routes(routes)


def test_one_variable_may_hold_all_routes(monkeypatch: pytest.MonkeyPatch) -> None:
    routes = _load(monkeypatch, _BY='{"gh": "termii"}', __NG="termii").routes
    assert routes.sms_orders == {"GH": ("termii",), "NG": ("termii",)}
    assert routes.of(Channel.SMS) == ("twilio", "termii")


def test_an_unknown_country_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsError, match=r"HERALD_ROUTES__SMS__NIGERIA: .*two letters"):
        _load(monkeypatch, __NIGERIA="termii")


@pytest.mark.parametrize("name", ["termi", "mailgun"])
def test_a_provider_of_another_channel_is_named(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    with pytest.raises(registry.UnknownProvider, match=f"HERALD_ROUTES__SMS__NG: {name}"):
        registry.check_routes(_load(monkeypatch, __NG=name).routes)
