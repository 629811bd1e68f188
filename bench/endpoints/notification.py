"""The request body that both endpoints accept, and their health check."""

from fastapi import APIRouter
from pydantic import BaseModel


class Content(BaseModel):
    body: str


class To(BaseModel):
    sms: str


class Notification(BaseModel):
    user_id: str
    type: str
    channels: list[str]
    content: Content
    to: To
    idempotency_key: str


health = APIRouter()


@health.get("/healthz")
async def healthz() -> str:
    return "ok"
