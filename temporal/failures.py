"""Failures as Temporal's histories show them: without the texts of exceptions."""

from temporalio.api.failure.v1 import Failure
from temporalio.converter import DefaultFailureConverter, PayloadConverter
from temporalio.exceptions import FailureError


class NamedFailures(DefaultFailureConverter):
    """Writes an exception, or the cause of a failure, as the name of its class.

    Its text may repeat a row, an address or a content, and histories are kept and shared. A failure that we
    raise for Temporal (activities/errors.py) has a text of codes, which stays. The worker's log has the other
    texts, with private values masked.
    """

    def to_failure(
        self, exception: BaseException, payload_converter: PayloadConverter, failure: Failure
    ) -> None:
        """Fill `failure` from the exception and its causes."""
        super().to_failure(exception, payload_converter, failure)
        if not isinstance(exception, FailureError):
            failure.message = type(exception).__name__
