"""Which numbers SMS may go to, and what they may cost."""

from typing import Final, Literal

from pydantic import BaseModel, ConfigDict

from domain.access import is_test
from domain.countries import Region, region_of
from domain.limit_policy import SpendCap
from domain.number_types import REFUSED_BY_DEFAULT, NumberType, is_of_type
from domain.reasons import Reason

ALL: Final = "all"


class SmsPolicy(BaseModel):
    """The rules for every SMS."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    countries: Literal["all"] | tuple[Region, ...] | None = None
    """The only countries that SMS may go to; None: not decided, so none. Herald does not start without a
    decision once a provider of SMS is configured (providers.registry.check_sms).
    """
    refuse_number_types: frozenset[NumberType] = REFUSED_BY_DEFAULT
    """SMS do not go to these, whatever the country."""
    spend: tuple[SpendCap, ...] = ()

    def of(self, tenant: str) -> "SmsPolicy":
        """The rules for a tenant. What test keys send reaches no number and costs nothing."""
        return UNRESTRICTED if is_test(tenant) else self

    def refusal_of(self, number: str) -> Reason | None:
        """Why no SMS may go to an E.164 number; None if one may."""
        if self.countries != ALL and region_of(number) not in (self.countries or ()):
            return Reason.COUNTRY_NOT_ALLOWED
        if self.refuse_number_types and is_of_type(number, self.refuse_number_types):
            return Reason.NUMBER_TYPE_REFUSED
        return None

    def explain(self, refusal: Reason) -> str:
        """What a refusal means, for the client."""
        if refusal is Reason.COUNTRY_NOT_ALLOWED:
            return f"SMS may only go to numbers of {', '.join(self.countries or ()) or 'no country'}"
        types = ", ".join(sorted(type.replace("_", " ") for type in self.refuse_number_types))
        return f"SMS do not go to numbers of these types: {types}"


UNRESTRICTED: Final = SmsPolicy(countries=ALL, refuse_number_types=frozenset())
EVERYWHERE: Final = SmsPolicy(countries=ALL)
"""Every country is open; numbers of refused types are not."""
