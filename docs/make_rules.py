"""Draws docs/rules.md from the rule book itself: ``python docs/make_rules.py``; a test compares."""

from pathlib import Path

from twin.protocol.connectors import TRANSITIONS
from twin.rules import RULES, SPEAKS_FOR
from twin.rules.beyond import DEFINITIONS, NOT_OBSERVABLE
from twin.rules.examples import examples

FAMILIES = {
    "H": "connection and handshake",
    "J": "framing and correlation",
    "B": "boot and registration",
    "S": "connectors",
    "T": "authorization and transactions",
    "M": "meter values",
    "C": "configuration and certificate",
    "P": "timing",
    "R": "retries",
    "N": "outside the Core profile",
}
HEAD = """# Rules

Made by `python docs/make_rules.py` from `twin/rules`; do not edit.

Severity: **error** a MUST or SHALL is broken · **warning** a SHOULD, or a limit of the certificate ·
**drift** differs from the certificate · **note** worth knowing. "ER" is the OCPP 1.6 errata sheet v4.0,
"JE" the OCPP-J errata sheet. A rule that lacks evidence is silent: after an attachment in mid-session or a
gap everything is unknown, not default; `twin check --explain-silence` says why.
One finding is told per rule, station, connector, transaction and cause; repeats are counted.
"""


def text() -> str:
    """The whole page."""
    parts = [HEAD]
    for letter, title in FAMILIES.items():
        parts.append(f"## {letter}: {title}\n")
        for rule in RULES:
            if rule.id.startswith(letter):
                blame = rule.fault.value if rule.fault else "the sender"
                parts.append(f"### {rule.id} · {rule.severity.value} · {blame}\n")
                body = " ".join((rule.judge.__doc__ or "").split())
                parts.append(f"{body} ({rule.reference})\n")
                example = examples()[rule.id]
                lines = "\n".join((*example["frames"], f"=> {example['severity']}: {example['detail']}"))
                parts.append(f"```\n{lines}\n```\n")
    parts.append("## Definitions\n")
    parts.append("\n".join(f"- **{remark.subject}**: {remark.why}" for remark in DEFINITIONS) + "\n")
    parts.append("## Not observable\n\nDeclared on every sheet, and never passed.\n")
    parts.append("\n".join(f"- {remark.subject}: {remark.why}" for remark in NOT_OBSERVABLE) + "\n")
    parts.append("## One cause, one finding\n")
    rows = (f"| {one} | {', '.join(sorted(others))} |" for one, others in SPEAKS_FOR.items())
    parts.append(
        "\n".join(
            ("| speaks | silent for the same message, transaction or key |", "| --- | --- |", *rows, "")
        )
    )
    parts.append("## Status transitions (OCPP 1.6 §4.9)\n")
    names = list(TRANSITIONS)
    table = "| from | " + " | ".join(names) + " |\n|" + " --- |" * (len(names) + 1)
    for before in names:
        cells = ("·" if before == after else "yes" if after in TRANSITIONS[before] else "" for after in names)
        table += f"\n| {before} | " + " | ".join(cells) + " |"
    parts.append(table + "\n")
    return "\n".join(parts)


if __name__ == "__main__":
    (Path(__file__).parent / "rules.md").write_text(text(), encoding="utf-8")
