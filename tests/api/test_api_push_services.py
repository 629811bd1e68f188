"""The installation sets which push services a subscription may use."""

from pathlib import Path

import httpx
import pytest
from api_server import served, settings_for

from settings import Settings
from simulators import credentials, webpush
from storage import api_keys
from storage.postgres import Pool


def settings_with(database: str, keys: Path, hosts: str) -> Settings:
    own = {
        "key_file": credentials.write(keys).webpush_key_file,
        "subject": "mailto:ops@bank.example",
        "hosts": hosts,
    }
    return settings_for(database, providers={"webpush": own})


@pytest.mark.parametrize(
    ("hosts", "host", "taken"),
    [
        ("push.bank.example", "push.bank.example", True),
        ("*.bank.example", "push.bank.example", True),
        # Like any other host, loopback is allowed only if it is named.
        ("127.0.0.1", "127.0.0.1", True),
        ("push.bank.example", "127.0.0.1", False),
        ("push.bank.example", webpush.HOST, False),
    ],
)
async def test_only_the_named_hosts_are_push_services(
    database: str, pool: Pool, tmp_path: Path, hosts: str, host: str, taken: bool
) -> None:
    key = await api_keys.create(pool, "bank", "push services")
    device = {"device_id": "laptop", "webpush": webpush.subscription("ada", host)}
    async with (
        served(settings_with(database, tmp_path, hosts)) as url,
        httpx.AsyncClient(headers={"Authorization": f"Bearer {key}"}, trust_env=False, timeout=20) as client,
    ):
        answer = await client.put(f"{url}/v1/users/ada/devices", json={"devices": [device]})
    assert (answer.status_code == 200) == taken, answer.text
    if not taken:
        [error] = answer.json()["errors"]
        assert error["code"] == "endpoint_not_allowed"


@pytest.mark.parametrize("hosts", ["*", "*.com", "https://push.bank.example", "push.bank.example:8443"])
def test_hosts_that_are_too_broad_are_a_settings_error(database: str, tmp_path: Path, hosts: str) -> None:
    with pytest.raises(ValueError, match=r"providers\.webpush\.hosts"):
        settings_with(database, tmp_path, hosts)
