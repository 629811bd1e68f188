"""A request's body as a parameter of a route."""

from typing import Annotated, Any, TypeVar

from pydantic import ValidationError, ValidatorFunctionWrapHandler, WrapValidator

from api.problems import invalid_body

Model = TypeVar("Model")


def _validated(value: Any, validate: ValidatorFunctionWrapHandler) -> Any:
    try:
        return validate(value)
    except ValidationError as error:
        raise invalid_body(error) from None


Body = Annotated[Model, WrapValidator(_validated)]
"""`body: Body[KeyIn]`. FastAPI alone would describe each of ten thousand errors before twenty are shown."""
