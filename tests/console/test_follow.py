"""Submitting, following and listing over the real API."""

from uuid import uuid4

from console_case import Herald, WorkerActions

from domain.reasons import Reason


async def test_a_submission_can_be_followed(run: Herald) -> None:
    ran = await run(
        *("send", "--user", "ada", "--type", "debit_alert", "-c", "sms,email", "--strategy", "first"),
        *("--to", "+2348031236789", "--to", "ada@example.com", "--body", "-", "--title", "Debit"),
        stdin="You paid 5,000.00.",
    )
    assert ran.code == 0, ran.err
    id = ran.out.split()[0]
    assert f"herald show {id}" in ran.out

    timeline = await run("show", f"ntf-{id}")
    assert timeline.code == 0, timeline.err
    for text in (
        "debit_alert for ada",
        "first of sms, email",
        f"/workflows/ntf-{id}",
        "+0.000 s",
        "accepted",
    ):
        assert text in timeline.out
    assert "5,000.00" not in timeline.out


async def test_the_same_key_is_the_same_notification(run: Herald) -> None:
    first, again = await run.send("--key", "txn-1"), await run.send("--key", "txn-1")
    assert first["id"] == again["id"]


async def test_times_may_be_durations_from_now(run: Herald) -> None:
    sent = await run.send("--send-at", "2h", "--expires-at", "3h")
    assert sent["status"] == "scheduled"
    assert sent["created_at"][:13] < sent["send_at"][:13] < sent["expires_at"][:13]


async def test_lists_can_be_filtered(run: Herald) -> None:
    user = f"user-{uuid4()}"
    ids = [(await run.send(user=user))["id"] for _ in range(2)]
    await run.send(user="another user")

    shown = await run("list", "--user", user)
    assert [line.split()[0] for line in shown.out.splitlines()[1:]] == ids[::-1]
    limited = await run("list", "--user", user, "--limit", "1")
    assert ids[1] in limited.out
    assert ids[0] not in limited.out
    assert "There are more" in limited.out
    assert (await run("list", "--user", user, "--status", "delivered")).out == "no notifications\n"
    assert (await run("list", "--user", user, "--before", "1h")).out == "no notifications\n"


async def test_client_texts_are_printed_literally(run: Herald) -> None:
    await run.send(user="[red]ada[/red]")
    assert "[red]ada[/red]" in (await run("list", "--limit", "1")).out


async def test_the_next_pass_is_shown(run: Herald, workers: WorkerActions) -> None:
    id = (await run.send())["id"]
    await workers.defer(id, 600, Reason.PROVIDER_DOWN)
    assert "sms: deferred, next pass +" in (await run("show", id)).out


async def test_an_id_is_computed_without_the_api(run: Herald) -> None:
    id = (await run.send("--key", "txn-2"))["id"]
    parts = ("--tenant", "bank", "--user", "ada", "--type", "price_alert", "--key", "txn-2")
    ran = await run("id", *parts, HERALD_API_URL="http://127.0.0.1:9")
    assert ran.out.strip() == id
