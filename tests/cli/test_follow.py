"""Submitting, following and listing over the real API."""

from uuid import uuid4

from cli_case import Herald, Ledgered

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

    story = await run("show", f"ntf-{id}")
    assert story.code == 0, story.err
    for told in (
        "debit_alert for ada",
        "first of sms, email",
        f"/workflows/ntf-{id}",
        "+0.000 s",
        "accepted",
    ):
        assert told in story.out
    assert "5,000.00" not in story.out


async def test_the_same_key_is_the_same_notification(run: Herald) -> None:
    first, again = await run.send("--key", "txn-1"), await run.send("--key", "txn-1")
    assert first["id"] == again["id"]


async def test_times_may_be_lengths_from_now(run: Herald) -> None:
    sent = await run.send("--send-at", "2h", "--expires-at", "3h")
    assert sent["status"] == "scheduled"
    assert sent["created_at"][:13] < sent["send_at"][:13] < sent["expires_at"][:13]


async def test_lists_can_be_narrowed(run: Herald) -> None:
    user = f"user-{uuid4()}"
    ids = [(await run.send(user=user))["id"] for _ in range(2)]
    await run.send(user="somebody else")

    shown = await run("list", "--user", user)
    assert [line.split()[0] for line in shown.out.splitlines()[1:]] == ids[::-1]
    limited = await run("list", "--user", user, "--limit", "1")
    assert ids[1] in limited.out
    assert ids[0] not in limited.out
    assert "there are more" in limited.out
    assert (await run("list", "--user", user, "--status", "delivered")).out == "none\n"
    assert (await run("list", "--user", user, "--before", "1h")).out == "none\n"


async def test_what_a_client_wrote_is_shown_as_it_is(run: Herald) -> None:
    await run.send(user="[red]ada[/red]")
    assert "[red]ada[/red]" in (await run("list", "--limit", "1")).out


async def test_the_next_pass_is_told(run: Herald, ledgered: Ledgered) -> None:
    id = (await run.send())["id"]
    await ledgered.defer(id, 600, Reason.PROVIDER_DOWN)
    assert "sms: deferred, next pass +" in (await run("show", id)).out


async def test_an_id_is_computed_without_asking(run: Herald) -> None:
    id = (await run.send("--key", "txn-2"))["id"]
    parts = ("--tenant", "bank", "--user", "ada", "--type", "price_alert", "--key", "txn-2")
    ran = await run("id", *parts, HERALD_API_URL="http://127.0.0.1:9")
    assert ran.out.strip() == id
