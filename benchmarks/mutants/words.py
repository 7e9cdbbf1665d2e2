"""Faults in text: SQL and patterns are changed word by word; of any other text it is enough that it differs."""

import re
from collections.abc import Iterator

_SQL = re.compile(r"\b(SELECT|FROM|WHERE|AND|OR|CASE|WHEN|THEN|ELSE|JOIN|COALESCE|ORDER BY|INSERT|DELETE|UPDATE)\b")
_PATTERN = re.compile(r"\\[Axz]|\[\^|\]\*|\]\+|\[!")

_SQL_WORDS: tuple[tuple[str, str], ...] = (
    (r"\bAND\b", "OR"),
    (r"\bOR\b(?! REPLACE)", "AND"),
    (r"\bIS NULL\b", "IS NOT NULL"),
    (r"\bIS NOT NULL\b", "IS NULL"),
    (r"\bIS (TRUE|FALSE)\b", r"IS NOT \1"),
    (r"\bIS NOT (TRUE|FALSE)\b", r"IS \1"),
    (r"\bNOT (EXISTS|IN|BETWEEN)\b", r"\1"),
    (r"(?<!NOT )(?<!IF )\b(EXISTS|IN|BETWEEN) (?=\(|\{| )", r"NOT \1 "),
    (r"(?<!IS )\bNOT (?!NULL|EXISTS|IN |BETWEEN)", ""),
    (r" = ", " <> "),
    (r" <> ", " = "),
    (r" < ", " <= "),
    (r" <= ", " < "),
    (r" > ", " >= "),
    (r" >= ", " > "),
    (r" \+ ", " - "),
    (r" \* (?=\d)", " + "),
    (r" % ", " / "),
    (r" \| ", " & "),
    (r" & ", " | "),
    (r"\bmax\(", "min("),
    (r"\bmin\(", "max("),
    (r"\bFULL JOIN\b", "LEFT JOIN"),
    (r"\bFULL JOIN\b", "RIGHT JOIN"),
    (r"\bSEMI JOIN\b", "ANTI JOIN"),
    (r"(?<!FULL )(?<!SEMI )(?<!LEFT )\bJOIN\b", "LEFT JOIN"),
    (r"\bDISTINCT ", ""),
    (r"\bORDER BY ([\w.]+)", r"ORDER BY \1 DESC"),
    (r"\bDO NOTHING\b", "DO UPDATE SET id = excluded.id"),
    (r"\btrue\b", "false"),
    (r"\bfalse\b", "true"),
    (r"\bbool_or\b", "bool_and"),
    (r"\blower\(", "upper("),
    (r"\bcount\((?!\*)\w+\)", "count(*)"),
    (r" FILTER \([^)]*\)", ""),
    (r"'(\w+)'", r"'XX\1XX'"),
    (r"(?<![\w.$])(\d+)(?![\w.])", "+1"),
)
_PATTERN_WORDS: tuple[tuple[str, str], ...] = (
    (r"\*", "+"),
    (r"\+", "*"),
    (r"\?$", ""),
    (r"\\A", ""),
    (r"\\z", ""),
    (r"\[\^", "["),
    (r"x1f", "x1e"),
    (r"x7f", "x80"),
    (r"x\{9f\}", "x{9e}"),
    (r"x00", "x01"),
    (r"!-", "#-"),
    (r"-~", "-}"),
    (r" -", "!-"),
    (r"-\?", "->"),
    (r"A-", "B-"),
)


def is_sql(text: str) -> bool:
    return _SQL.search(text) is not None


def misspell(text: str, whole: str) -> Iterator[str]:
    """Every fault of a text that is a part of `whole`."""
    if is_sql(whole):
        yield from _change(text, _SQL_WORDS)
    else:
        if _PATTERN.search(whole):
            yield from _change(text, _PATTERN_WORDS)
        yield f"XX{text}XX"


def _change(text: str, words: tuple[tuple[str, str], ...]) -> Iterator[str]:
    for pattern, other in words:
        for found in re.finditer(pattern, text):
            new = str(int(found[1]) + 1) if other == "+1" else found.expand(other.replace("\\A", "A"))
            yield text[: found.start()] + new + text[found.end() :]
