"""docs/api.md and docs/glossary.md hold every code that the API answers with, and what it means."""

import ast
import re

from repository import ROOT, tree

from api.access import ACCESS, Whose
from domain.access import Scope
from domain.audit import Action
from domain.broadcasts import Ended
from domain.notification import Lane
from domain.outcome import Outcome
from domain.reasons import Reason
from domain.status import Status
from providers.simulated import MAGIC

API = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
GLOSSARY = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")


def meanings(module: str, enum: str) -> dict[str, str]:
    """What an enum's members mean: the docstring below each, by its value."""
    (body,) = (n.body for n in tree(ROOT / module).body if isinstance(n, ast.ClassDef) and n.name == enum)
    found: dict[str, str] = {}
    for member, text in zip(body, [*body[1:], ast.Pass()], strict=True):
        if isinstance(member, ast.Assign) and isinstance(text, ast.Expr):
            found[ast.literal_eval(member.value)] = " ".join(str(ast.literal_eval(text.value)).split())
    return found


def rows(section: str) -> dict[str, str]:
    """The table of a section of docs/api.md: codes and meanings."""
    _, _, rest = API.partition(f"\n## {section}\n")
    return dict(re.findall(r"(?m)^\| `(\w+)` \| (.+?) \|$", rest.partition("\n## ")[0]))


def test_the_table_of_routes_says_what_each_needs() -> None:
    whose = {
        Whose.TENANT: "a tenant's",
        Whose.INSTALLATION: "the installation's",
        Whose.EITHER: "either",
    }
    _, _, section = API.partition("\n## Keys\n")
    found = re.findall(r"(?m)^\| `(\w+) /v1(/\S+)` \| `(\S+)` \| (.+) \|$", section.partition("\n## ")[0])
    assert {(method, path): needs for method, path, *needs in found} == {
        route: [access.scope, whose[access.whose]] for route, access in ACCESS.items()
    }


def test_every_scope_and_every_magic_address_has_a_row() -> None:
    section = API.partition("\n## Keys\n")[2].partition("\n## ")[0]
    assert re.findall(r"(?m)^\| `([\w:]+)` \| .+\. \|$", section) == list(Scope)
    section = API.partition("\n## Test keys\n")[2].partition("\n## ")[0]
    described = meanings("providers/simulated.py", "Behaviour")
    assert re.findall(r"(?m)^\| `(\d{4})` \| `(\w+)` \| (.+) \|$", section) == [
        (digits, behaviour, described[behaviour]) for digits, behaviour in MAGIC.items()
    ]


def test_every_reason_code_has_a_meaning_and_a_row() -> None:
    described = meanings("domain/reasons.py", "Reason")
    assert described.keys() == set(Reason)
    assert rows("Reason codes") == described


def test_every_outcome_of_an_attempt_has_a_meaning_and_a_row() -> None:
    described = meanings("domain/outcome.py", "Outcome")
    assert described.keys() == set(Outcome)
    assert rows("Outcomes of attempts") == described


def test_every_audited_action_has_a_meaning_and_a_row() -> None:
    described = meanings("domain/audit.py", "Action")
    assert described.keys() == set(Action)
    page = (ROOT / "docs" / "audit.md").read_text(encoding="utf-8")
    assert dict(re.findall(r"(?m)^\| `(\w+\.\w+)` \| (.+?) \|$", page)) == described


def test_the_documented_order_of_statuses_is_the_real_one() -> None:
    _, _, section = API.partition("\n## Statuses\n")
    assert re.findall(r"`(\w+)`", section.strip().partition("\n")[0]) == list(Status)


def test_every_status_lane_and_cancel_reason_is_explained() -> None:
    words = set(re.findall(r"`(\w+)`", API + GLOSSARY))
    assert {*Status, *Lane, *Ended} - words == set()


def test_the_glossary_has_a_sentence_for_each_term_in_order() -> None:
    entries = re.findall(r"(?m)^- \*\*(.+?)\*\*: (.+)$", GLOSSARY)
    assert len(entries) == len(re.findall(r"(?m)^- ", GLOSSARY)) > 70
    terms = [term.casefold() for term, _ in entries]
    assert terms == sorted(terms)
    assert len(set(terms)) == len(terms)
    assert [term for term, meaning in entries if not meaning.endswith(".")] == []
