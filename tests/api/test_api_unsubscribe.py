"""The unsubscribe link in an email: no API key, no cookie, one click."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
import pytest_asyncio
from api_case import Submit, loaded
from deliveries import delivery_over

from domain.notification import Channel
from domain.unsubscribe import token_of
from storage.ledger import Ledger
from storage.postgres import Pool
from storage.records import Intent

SECRET = "tests-secret-8c1f6be2d40a97e35b12"
CLICK = {
    "content": "List-Unsubscribe=One-Click",
    "headers": {"Content-Type": "application/x-www-form-urlencoded"},
}


@pytest_asyncio.fixture
async def mailbox(url: str) -> AsyncIterator[httpx.AsyncClient]:
    """A client without an API key."""
    async with httpx.AsyncClient(base_url=f"{url}/v1/unsubscribe/", trust_env=False) as client:
        yield client


@dataclass(frozen=True)
class Mailed:
    """Submits an email; returns the accepted notification and the token of its link."""

    submit: Submit
    ledger: Ledger

    async def __call__(self, **changes: Any) -> tuple[dict[str, Any], str]:
        to = {"email": f"{uuid4().hex}@example.com"}
        shown = await self.submit(channels=["email"], to=to, **{"type": "statement", **changes})
        return shown, await self.token(shown)

    async def token(self, shown: dict[str, Any], secret: str = SECRET) -> str:
        return token_of(secret, delivery_over((await loaded(self.ledger, shown["id"])), Channel.EMAIL).id)


@pytest.fixture
def mailed(submit: Submit, ledger: Ledger) -> Mailed:
    """Submits emails: `shown, token = await mailed()`."""
    return Mailed(submit, ledger)


async def preferences(api: httpx.AsyncClient, user_id: str) -> dict[str, Any]:
    answer = await api.get(f"/users/{user_id}/preferences")
    return answer.json()["types"] if answer.status_code == 200 else {}


async def may_be_sent(ledger: Ledger, id: str) -> bool:
    """Whether a worker could send this mail now."""
    notification = await loaded(ledger, id)
    delivery = delivery_over(notification, Channel.EMAIL)
    intent = Intent(
        notification.id,
        delivery.id,
        delivery.version,
        "sendgrid",
        budget_s=1,
        visibility_delay_s=0,
        suppression_key="",
        target_masked="",
        selection={},
        required=False,
    )
    return await ledger.intend(intent) is not None


async def test_a_click_opts_the_user_out_of_the_type(
    api: httpx.AsyncClient, mailed: Mailed, ledger: Ledger, mailbox: httpx.AsyncClient
) -> None:
    shown, token = await mailed()
    answer = await mailbox.post(token, **CLICK)
    assert (answer.status_code, "set-cookie" in answer.headers) == (200, False)
    assert await preferences(api, shown["user_id"]) == {"statement": {"email": False}}
    # It applies to the accepted notification and to later ones.
    again, _ = await mailed(user_id=shown["user_id"])
    other, _ = await mailed(user_id=shown["user_id"], type="marketing")
    assert [await may_be_sent(ledger, id["id"]) for id in (shown, again, other)] == [False, False, True]
    stranger, _ = await mailed()
    assert await may_be_sent(ledger, stranger["id"])


async def test_a_click_appears_once_in_the_timeline(
    api: httpx.AsyncClient, mailed: Mailed, mailbox: httpx.AsyncClient
) -> None:
    shown, token = await mailed()
    for _ in range(3):
        assert (await mailbox.post(token, **CLICK)).status_code == 200
    timeline = (await api.get(f"/notifications/{shown['id']}/timeline")).json()["entries"]
    entries = [entry for entry in timeline if entry["kind"] == "unsubscribed"]
    assert [(entry["channel"], entry["data"]) for entry in entries] == [("email", {"by": "one_click"})]
    assert token not in str(timeline)


async def test_a_click_works_again_after_the_user_opted_in(
    api: httpx.AsyncClient, mailed: Mailed, mailbox: httpx.AsyncClient
) -> None:
    shown, token = await mailed()
    await mailbox.post(token, **CLICK)
    wanted = {"types": {"statement": {"email": True}, "*": {"push": False}}}
    assert (await api.put(f"/users/{shown['user_id']}/preferences", json=wanted)).status_code == 200
    await mailbox.post(token, **CLICK)
    assert await preferences(api, shown["user_id"]) == {"statement": {"email": False}, "*": {"push": False}}


@pytest.mark.parametrize("path", ["", "/"])
async def test_a_link_cut_before_its_token_shows_a_page(url: str, path: str) -> None:
    async with httpx.AsyncClient(base_url=f"{url}/v1/unsubscribe", trust_env=False) as client:
        for method in ("GET", "POST"):
            page = await client.request(
                method, f"{url}/v1/unsubscribe{path}", headers={"Accept": "text/html"}
            )
            assert (page.status_code, page.headers["content-type"]) == (404, "text/html; charset=utf-8")


async def test_opening_the_link_changes_nothing(
    api: httpx.AsyncClient, mailed: Mailed, mailbox: httpx.AsyncClient
) -> None:
    shown, token = await mailed()
    for method in ("GET", "HEAD", "GET"):
        page = await mailbox.request(method, token)
        assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
        assert page.headers["content-security-policy"].startswith("default-src 'none'")
        assert (page.headers["cache-control"], page.headers["referrer-policy"]) == ("no-store", "no-referrer")
    assert await preferences(api, shown["user_id"]) == {}
    assert '<form method="post">' in page.text
    # The page shows nothing private and loads nothing from other sites.
    assert not [part for part in (shown["user_id"], "@", "://", "<script", "src=") if part in page.text]
    await mailbox.post(token)
    assert "<form" not in (await mailbox.get(token)).text


@pytest.mark.parametrize("body", [b"", b"\xff\x00", b"{", b"List-Unsubscribe=Two-Clicks"])
async def test_the_headers_and_body_of_a_click_are_ignored(
    api: httpx.AsyncClient, mailed: Mailed, mailbox: httpx.AsyncClient, body: bytes
) -> None:
    shown, token = await mailed()
    headers = {
        "Content-Type": "multipart/form-data; boundary=x",
        "Authorization": "Bearer nobody",
        "Cookie": "a=b",
    }
    assert (await mailbox.post(token, content=body, headers=headers)).status_code == 200
    assert await preferences(api, shown["user_id"]) == {"statement": {"email": False}}


async def test_invalid_links_are_not_found(
    api: httpx.AsyncClient, mailed: Mailed, mailbox: httpx.AsyncClient
) -> None:
    shown, token = await mailed()
    forged = [await mailed.token(shown, "another secret"), token_of(SECRET, uuid4())]
    others = ("%00", "%FF", str(uuid4()), "a" * 65, "a" * 30_000, "<script>")
    for wrong in (*forged, token[:-1], token.swapcase(), token * 2, *others):
        for method in ("GET", "POST"):
            page = await mailbox.request(method, wrong, headers={"Accept": "text/html,*/*;q=0.8"})
            assert (page.status_code, page.headers["content-type"]) == (404, "text/html; charset=utf-8"), (
                wrong
            )
            assert page.headers["content-security-policy"].startswith("default-src 'none'")
            assert page.headers["cache-control"] == "no-store"
            assert "<h1>This link does not work</h1>" in page.text
            assert "<form" not in page.text
            problem = await mailbox.request(method, wrong, headers={"Accept": "application/json"})
            assert (problem.status_code, problem.json()["code"]) == (404, "unsubscribe_link_unknown"), wrong
            assert problem.headers["content-type"] == "application/problem+json"
    assert await preferences(api, shown["user_id"]) == {}
    assert (await mailbox.put(token)).status_code == 405


async def test_the_body_of_a_click_is_limited(
    api: httpx.AsyncClient, mailed: Mailed, mailbox: httpx.AsyncClient
) -> None:
    shown, token = await mailed()

    async def piecewise() -> AsyncIterator[bytes]:
        for _ in range(5):
            yield b"x" * 1000

    for content in (b"x" * 4001, piecewise()):
        answer = await mailbox.post(token, content=content)
        assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")
    assert await preferences(api, shown["user_id"]) == {}


async def test_a_click_works_after_the_contents_were_deleted(
    api: httpx.AsyncClient, mailed: Mailed, mailbox: httpx.AsyncClient, pool: Pool
) -> None:
    shown, token = await mailed()
    await pool.execute("DELETE FROM notification_contents WHERE notification_id = $1", UUID(shown["id"]))
    assert (await mailbox.post(token)).status_code == 200
    assert await preferences(api, shown["user_id"]) == {"statement": {"email": False}}
    await pool.execute("DELETE FROM deliveries WHERE notification_id = $1", UUID(shown["id"]))
    assert (await mailbox.post(token)).status_code == 404


async def test_a_types_name_is_escaped(mailed: Mailed, mailbox: httpx.AsyncClient, pool: Pool) -> None:
    shown, token = await mailed()
    await pool.execute(
        "UPDATE deliveries SET type = '<script>_&' WHERE notification_id = $1", UUID(shown["id"])
    )
    page = (await mailbox.get(token)).text
    assert "&lt;script&gt; &amp;" in page
    assert "<script" not in page
