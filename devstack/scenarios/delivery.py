"""Delivery through any working provider: the happy path, and failover around a provider that fails."""

from devstack.scenarios.case import Case
from devstack.scenarios.scenario import Scenario


async def otp_delivered(case: Case) -> None:
    id = await case.accepted("otp", ["sms"], to={"sms": case.phone()})
    await case.becomes(id, "delivered")
    await case.expect_received(twilio=1)


async def sms_failover(case: Case) -> None:
    to = case.phone()
    await case.vendors.fault("twilio", "status", to, status=503)
    id = await case.accepted("debit_alert", ["sms"], to={"sms": to})
    await case.becomes(id, "delivered")
    await case.expect_received(termii=1)
    await _expect_attempts(case, id, ("twilio", "unavailable"), ("termii", "accepted"))


async def email_failover(case: Case) -> None:
    to = case.email()
    await case.vendors.fault("sendgrid", "status", to, status=429)
    id = await case.accepted("statement", ["email"], to={"email": to})
    await case.becomes(id, "delivered")
    await case.expect_received(mailgun=1)
    await _expect_attempts(case, id, ("sendgrid", "throttled"), ("mailgun", "accepted"))


async def push_failover(case: Case) -> None:
    device = {"device_id": "phone", "fcm_token": case.token(), "apns_token": case.apns_token()}
    await case.api.put(f"/users/{case.user()}/devices", {"devices": [device]})
    await case.vendors.fault("fcm", "status", case.token(), status=503)
    id = await case.accepted("statement", ["push"])
    # Push vendors report no delivery: `sent` is the last status.
    await case.becomes(id, "sent")
    await case.expect_received(apns=1)
    await _expect_attempts(case, id, ("fcm", "unavailable"), ("apns", "accepted"))


async def undelivered(case: Case) -> None:
    to = case.phone()
    # 30003: the handset is unreachable through Twilio; another provider's route may reach it.
    await case.vendors.callbacks("twilio", to, final="undelivered", code=30003)
    id = await case.accepted("debit_alert", ["sms"], to={"sms": to})
    await case.becomes(id, "delivered")
    await case.expect_received(twilio=1, termii=1)
    attempts = await case.api.attempts(id)
    receipts = [(a["provider"], a["receipt_status"]) for a in attempts]
    case.expect(receipts == [("twilio", "undelivered"), ("termii", "delivered")], f"receipts: {receipts}")


async def unregistered_token(case: Case) -> None:
    """One user has a second device. The other has no other device and is reached by SMS."""
    unregistered, registered = case.token("unregistered-"), case.token(n=1)
    devices = [
        {"device_id": "old", "fcm_token": unregistered},
        {"device_id": "new", "fcm_token": registered},
    ]
    await case.api.put(f"/users/{case.user()}/devices", {"devices": devices})
    only = {"device_id": "only", "fcm_token": case.token("unregistered-", n=2)}
    await case.api.put(f"/users/{case.user(1)}/devices", {"devices": [only]})
    by_device = await case.accepted("statement", ["push"])
    by_channel = await case.accepted(
        "statement", ["push", "sms"], user=case.user(1), strategy="first", to={"sms": case.phone()}
    )
    await case.becomes(by_device, "sent")
    await case.becomes(by_channel, "delivered")
    await case.expect_received(fcm=1, twilio=1)
    for user, name in ((case.user(), "old"), (case.user(1), "only")):
        devices = (await case.api.get(f"/users/{user}/devices"))["devices"]
        tokens = [d["fcm_token"] for d in devices if d["device_id"] == name]
        case.expect(tokens == [None], f"the refused token of {user}'s device {name!r} is still active")
    case.note("refused tokens deactivated")


async def whatsapp_failover(case: Case) -> None:
    # Meta's simulator accepts messages to numbers that end in 9826, then reports them as not on WhatsApp.
    to = {"whatsapp": case.phone(9826), "sms": case.phone()}
    content = {"body": "Your code is 483920. Do not share it."}
    id = await case.accepted("otp", ["whatsapp", "sms"], strategy="first", to=to, content=content)
    await case.becomes(id, "delivered")
    await case.expect_received(whatsapp_cloud=1, twilio=1)
    texts = [message["text"] for name, message in await case.received() if name == "whatsapp_cloud"]
    case.expect(texts == ["483920"], f"the WhatsApp template was filled with {texts}, not the code alone")
    receipts = [(a["provider"], a["receipt_code"]) for a in await case.api.attempts(id)]
    case.expect(receipts[:1] == [("whatsapp_cloud", "131026")], f"receipts: {receipts}")


async def _expect_attempts(case: Case, id: str, *wanted: tuple[str, str]) -> None:
    found = tuple((a["provider"], a["outcome"]) for a in await case.api.attempts(id))
    case.expect(found == wanted, f"attempts: {found}, expected {wanted}")


OTP = Scenario(1, "OTP by SMS", "delivered by Twilio", otp_delivered)
SMS_FAILOVER = Scenario(2, "Twilio is down", "Termii delivers", sms_failover)
EMAIL_FAILOVER = Scenario(3, "SendGrid throttles", "Mailgun delivers", email_failover)
PUSH_FAILOVER = Scenario(4, "FCM is unavailable", "APNs accepts it directly", push_failover)
UNDELIVERED = Scenario(11, "Twilio accepts, later reports undelivered", "Termii delivers", undelivered)
UNREGISTERED_TOKEN = Scenario(
    13,
    "unregistered push token",
    "token deactivated; sent to the next device or channel",
    unregistered_token,
)
WHATSAPP_FAILOVER = Scenario(
    19, "OTP by WhatsApp to a user who is not on WhatsApp", "delivered by SMS", whatsapp_failover
)
