"""What the doctor says, as a person and as a program reads it. No address in it has a password."""

import json

from tangga.doctor.model import Sign, missing
from tangga.words import aligned

_SIGNS = {"good": "✓", "note": "•", "bad": "✗"}


def page(signs: list[Sign]) -> str:
    """Return one page: a line a subject, what to do below it, and which commands work."""
    lines: list[str] = []
    for sign, line in zip(signs, aligned([(_SIGNS[s.state], s.subject, s.what) for s in signs]), strict=True):
        lines.append(line)
        if sign.remedy:
            lines.append(f"    do: {sign.remedy}")
    found = missing(signs)
    lines += ["", f"works here: {', '.join(name for name, lacks in found.items() if not lacks) or 'nothing'}"]
    lines += [f"does not: {name} ({', '.join(lacks)})" for name, lacks in found.items() if lacks]
    return "\n".join(lines) + "\n"


def document(signs: list[Sign]) -> str:
    """Return the same as a JSON object."""
    return json.dumps({"signs": [sign._asdict() for sign in signs], "missing": missing(signs)}, indent=2) + "\n"
