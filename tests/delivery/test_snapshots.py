"""What decisions know about a provider."""

import pytest

from delivery.snapshots import traits_of
from domain.notification_types import ProviderPolicy
from domain.snapshot import ProviderTraits


@pytest.mark.parametrize(("configured_s", "delay_s"), [(60, 60), (None, 0)])
def test_a_provider_without_an_account_keeps_its_configured_visibility_delay(
    configured_s: float | None, delay_s: float
) -> None:
    policy = ProviderPolicy(visibility_delay_s=configured_s, circuit_open_s=7)
    assert traits_of(policy, None) == ProviderTraits(
        receipts=False, visibility_delay_s=delay_s, circuit_open_s=7
    )
