"""Plain English and one name for each thing: no idioms of this house, and no names that were replaced."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from repository import files, name, written_by_hand

SUFFIXES = (".py", ".sql", ".lua", ".md", ".toml", ".yml", ".sh", "")
RECORDS = ("docs/decisions/", "tests/storage/releases/", "LICENSE")
"""Records keep the words of their day; the licence is not ours."""
CHANGELOG = "CHANGELOG.md"
"""It says what a former name is now."""
VENDORS = ("providers/", "simulators/", "tests/providers/")
"""Their files use the vendors' own words."""

IDIOMS = {
    r"so (?:many|few|long|often|much)": "a number: at most N, for N seconds",
    r"anew": "again",
    r"(?:is|are|was|were|be|been) told": "says, knows, is notified",
    r"tells?(?!\()": "says, reports, shows; tell apart: distinguish",
    r"of (?:its|their|his|her|our|your) own": "its own …, a separate …, or leave it out",
    r"(?<!there )(?:is|are|was|were) (?-i:none)": "there is no …, is not a …",
    r"(?:comes?|came) to (?:a|an|the|nothing|what)": "results in, ends as",
    r"takes? (?:it|them)? ?in vain": "accepts and does not deliver",
    r"(?:was|were|is|are) taken in": "was accepted",
    r"amiss": "wrong",
    r"let go of": "removed, released",
    r"by itself alone": "alone",
    r"the people on duty": "the operators",
    r"hurry": "bring forward",
    r"whoever": "anyone who, a client that",
    r"nobody can tell": "it is unknown",
}
"""What is not written, and what to write instead."""

FORMER_NAMES = {
    r"paging(?:_failed)?": "batching, batching_failed",
    r"PageWorkflow": "BatchWorkflow",
    r"PageClaim": "BatchClaim",
    r"PageQueue|page_queue": "BatchQueue, batch_queue",
    r"page_(?:size|threshold|concurrency)": "batch_size, batch_threshold, batch_concurrency",
    r"drain_page": "deliver_batch",
    r"lane_paged": "lane_batched",
    r"herald_paged_total": "herald_batch_items_total",
    r"solo": "dedicated_workflow",
    r"hold_until": "send_deadline",
    r"hold_passed": "send_deadline_passed",
    r"no_time_left": "deadline_exceeded",
    r"settling_s": "visibility_delay_s",
    r"asked_to_wait": "retry_after",
    r"took_it_in_vain": "accepted_not_delivered",
    r"wrong_state": "wrong_status",
    r"moved_meanwhile": "already_handled",
    r"pass_no|attempt_no": "pass_number, attempt_number",
    r"not_woken": "signal_failed",
    r"start_impossible": "workflow_start_rejected",
    r"reply_heard": "reply_recorded",
    r"relaying_failed": "receipts_not_applied",
    r"NotYet": "RetryLater",
    r"keep_late": "record_late_outcome",
    r"keep_house|upkeep": "maintain, maintenance",
    r"open_twins": "indistinguishable_attempts",
    r"receipt_rows": "receipt_records",
    r"decide_broadcast": "apply_broadcast_command",
    r"priority_not_allowed": "lane_not_allowed",
}
"""Names that were replaced, in code, SQL, settings and documents, and what each is now."""
VENDORS_WORDS = frozenset({"paging", "page_size"})

IDIOM = re.compile("|".join(rf"\b{idiom}\b" for idiom in IDIOMS), re.IGNORECASE)
FORMER_NAME = re.compile(rf"(?<![A-Za-z0-9_])_*({'|'.join(FORMER_NAMES)})(?![A-Za-z0-9_])")


def texts(left_out: tuple[str, ...] = ()) -> Mapping[str, str]:
    """Every file with text in it by name, except this one, which names what it looks for."""
    return {
        name(path): written_by_hand(path)
        for path in files()
        if path.suffix in SUFFIXES
        and path != Path(__file__)
        and not name(path).startswith((*RECORDS, *left_out))
    }


def found(pattern: re.Pattern[str], text: str) -> Iterable[tuple[int, str, str]]:
    """The line number, the words and the line of each match."""
    for number, line in enumerate(text.splitlines(), 1):
        yield from ((number, match[0], line.strip()) for match in pattern.finditer(line))


def test_texts_are_in_plain_english() -> None:
    assert [
        f"{file}:{number}: {words!r} in {line}"
        for file, text in texts().items()
        for number, words, line in found(IDIOM, text)
    ] == []


def test_former_names_do_not_return() -> None:
    assert [
        f"{file}:{number}: {words!r} in {line}"
        for file, text in texts((CHANGELOG,)).items()
        for number, words, line in found(FORMER_NAME, text)
        if not (words in VENDORS_WORDS and file.startswith(VENDORS))
    ] == []


def test_a_former_name_is_found_as_a_whole_name_only() -> None:
    text = "self._drain_page(hold_until, await keep_late())\nself._keep_late_outcome(paging_order)\n"
    assert [words for _, words, _ in found(FORMER_NAME, text)] == ["_drain_page", "hold_until", "keep_late"]
