"""A schema as named objects, so that two can be compared in words: what pg_dump prints, and what it leaves out.

The migrators' own tables are left out. They are made by whichever release came first, not by a step, so no step could
mend a difference. What matters is that nobody but the owner can write them: `facts` asks for that.
"""

import re
from collections.abc import Iterable, Iterator

from sqlalchemy import Connection, text

from tangga.catalogue import ours
from tangga.catalogue.ours import OF_THE_APPLICATION, THE_MIGRATORS, UNNAMED

_HEADER = re.compile(r"-- Name: (?P<name>.*); Type: (?P<type>[A-Z ]+); Schema: (?P<schema>[^;]*); Owner:")
# Tables of the migrators, by their columns (ours.py): there is nothing else in Alembic's.
_OWN = re.compile(
    r"^CREATE TABLE [^(]*\(\n +version_num [^,\n]*\n\);|^CREATE TABLE .*\bmigration_(log|backfill) \(\n"
    r"(.*\n)*? +(image_version text|rows_changed bigint)",
    re.MULTILINE,
)
# Settings of pg_dump's own session, and its last lines.
_NOT_OF_THE_OBJECT = re.compile(r"$|--|\\|SET default_(tablespace|table_access_method) = ")
_IDENTIFIER = r'(?:"(?:[^"]|"")+"|[^\s"]+)'
_KINDS = {
    "FK CONSTRAINT": "foreign key",
    "ACL": "grant on",
    "COMMENT": "comment on",
    "DEFAULT ACL": "default privileges:",
}
_OF_A_TABLE = {"CONSTRAINT", "FK CONSTRAINT", "CHECK CONSTRAINT", "TRIGGER", "RULE", "POLICY", "DEFAULT"}
_LONG = 200

_INVALID = text(f"""
    SELECT format('index %s.%s (INVALID: its build did not finish)', indrelid::regclass, relname),
           pg_get_indexdef(indexrelid)
    FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid JOIN pg_namespace AS n ON n.oid = relnamespace
    WHERE NOT indisvalid AND relkind = 'i' AND {OF_THE_APPLICATION}
      -- One that is being built right now is invalid too, and rightly so.
      AND indexrelid NOT IN (SELECT index_relid FROM pg_stat_progress_create_index)
""")  # noqa: S608 - a condition of ours.py
_NARROW = text("""
    SELECT format('sequence %s (narrower than its column %s.%s)', objid::regclass, refobjid::regclass, attname),
           format('%s, the column is %s', seqtypid::regtype, atttypid::regtype)
    FROM pg_depend
    JOIN pg_sequence ON seqrelid = objid
    JOIN pg_attribute ON attrelid = refobjid AND attnum = refobjsubid
    WHERE deptype IN ('a', 'i') AND classid = 'pg_class'::regclass
      AND seqmax < CASE atttypid WHEN 'bigint'::regtype THEN 9223372036854775807
                                 WHEN 'integer'::regtype THEN 2147483647 ELSE 0 END
""")
_WRITERS = text(f"""
    SELECT 'grant on table ' || relname,
           string_agg(privilege_type || ' TO ' || coalesce(rolname, 'PUBLIC'), ', ' ORDER BY privilege_type, rolname)
    FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = relnamespace, aclexplode(relacl)
    LEFT JOIN pg_roles ON pg_roles.oid = grantee
    WHERE {OF_THE_APPLICATION} AND {THE_MIGRATORS}
      AND grantee <> relowner AND privilege_type <> 'SELECT'
    GROUP BY relname
""")  # noqa: S608 - a condition of ours.py


def entries(lines: Iterable[str]) -> Iterator[tuple[str, str, str, str]]:
    """Yield (type, schema, name, statements) of each object in pg_dump's output; not the migrators' or the server's."""
    header: re.Match[str] | None = None
    body: list[str] = []
    own: set[tuple[str, str]] = set()
    for line in [*lines, "-- Name: end; Type: END; Schema: -; Owner:"]:
        found = _HEADER.match(line)
        if not found:
            body.append(line)
            continue
        if header and header["type"] == "TABLE" and _OWN.search("\n".join(body)):
            own |= {(header["schema"], header["name"]), (header["schema"], f"{header['name']}_id_seq")}
        # No step has done what roles.sql takes from everybody there.
        if header and header["schema"] != "pg_catalog" and not _is_of(own, header):
            while body and _NOT_OF_THE_OBJECT.match(body[-1]):
                body.pop()
            while body and re.match(r"$|--", body[0]):
                del body[0]
            yield header["type"], header["schema"], header["name"], "\n".join(body)
        header, body = found, []


def _is_of(own: set[tuple[str, str]], header: re.Match[str]) -> bool:
    if header["schema"] == "-" and ours.schema() != UNNAMED:
        name = header["name"].removeprefix("SCHEMA ")
        return name in (ours.schema(), ours.identifier(ours.schema()))
    words = re.split(r"[ .]", header["name"])
    return any(schema == header["schema"] and name in words for schema, name in own)


def objects(lines: Iterable[str]) -> dict[str, str]:
    """Return what pg_dump printed as name -> definition; the columns and CHECKs of a table are objects of their own."""
    found: dict[str, str] = {}
    for kind, schema, name, body in entries(lines):
        prefix = "" if schema in (UNNAMED, "-") else f"{schema}."
        key = f"{_KINDS.get(kind, kind.lower())} {prefix}{_readable(kind, name, body, schema)}"
        if kind == "TABLE":
            found |= _table(f"{prefix}{name}", body)
        elif kind.endswith("CONSTRAINT"):
            found[key] = re.sub(rf"^ALTER TABLE .*\n +ADD CONSTRAINT {_IDENTIFIER} ", "", body).removesuffix(";")
        else:
            # The order in which privileges were given says nothing.
            found[key] = "\n".join(sorted(body.splitlines())) if kind == "ACL" else body
    return found


def facts(connection: Connection) -> dict[str, str]:
    """Return, in the same form, what pg_dump does not say of a database."""
    rows = [*connection.execute(_INVALID), *connection.execute(_NARROW)]
    rows += connection.execute(_WRITERS)
    return {str(name): str(definition) for name, definition in rows}


def differences(expected: dict[str, str], found: dict[str, str]) -> list[str]:
    """Return one line per difference, in words; the parts of what is missing or extra are not listed again."""
    names = sorted(expected.keys() | found.keys())
    one_sided = [name for name in names if name not in expected or name not in found]
    lines = []
    for name in names:
        if expected.get(name) == found.get(name) or (name in one_sided and _is_part_of(name, one_sided)):
            continue
        if name not in found:
            lines.append(f"{name}: missing{_definition(name, expected)}")
        elif name not in expected:
            lines.append(f"{name}: extra{_definition(name, found)}")
        else:
            lines.append(f"{name}: {_change(expected[name], found[name])}")
    return lines


def _is_part_of(name: str, others: Iterable[str]) -> bool:
    subject = name.rpartition(" ")[2]
    for other in others:
        kind, _, whole = other.partition(" ")
        if other != name and kind in ("table", "sequence", "view", "type", "function", "column", "index"):
            if subject.startswith(f"{whole}."):
                return True
            if subject == whole and name.partition(" ")[0] not in ("table", "view", "type", "function", kind):
                return True
            if subject == whole and name.startswith(f"{kind} "):
                return True
    return False


def _readable(kind: str, name: str, body: str, schema: str) -> str:
    if kind in _OF_A_TABLE:
        return name.replace(" ", ".", 1)
    if kind in ("ACL", "COMMENT"):
        return re.sub(r"^[A-Z ]+ ", lambda match: match[0].lower(), name)
    if kind == "INDEX" and (on := re.search(rf" ON (?:ONLY )?({_IDENTIFIER}++) USING ", body)):
        # The table is named as the headers name one: its schema stands before it, and nothing is quoted.
        table = re.sub(rf'^("?){re.escape(schema)}\1\.', "", on[1]).strip('"')
        return f"{table}.{name}"
    return name


def _table(name: str, body: str) -> dict[str, str]:
    """Split CREATE TABLE: columns and constraints in any order are the same table."""
    found, rest, part, inside = {}, [], "", False
    for line in body.splitlines():
        if not inside:
            rest.append(line)
            inside = line.startswith("CREATE ") and line.endswith("(")
        elif not part and line.startswith(")"):
            rest.append(line)
            inside = False
        else:
            part = f"{part} {line.strip()}".strip()
            if _balanced(part):
                part = part.removesuffix(",")
                kind, prefix = ("check constraint", "CONSTRAINT ") if part.startswith("CONSTRAINT ") else ("column", "")
                match = re.match(rf"{prefix}({_IDENTIFIER}) (.*)", part, re.DOTALL)
                assert match, part
                found[f"{kind} {name}.{match[1].strip(chr(34))}"] = match[2]
                part = ""
    return {f"table {name}": "\n".join(line for line in rest if line), **found}


def _balanced(part: str) -> bool:
    code = re.sub(r"'[^']*'|\"[^\"]*\"", "", part)
    return code.count("(") == code.count(")") and "'" not in code


def _definition(name: str, side: dict[str, str]) -> str:
    # A table's columns are objects of their own.
    return "" if name.startswith("table ") else f" ({_short(side[name])})"


def _change(expected: str, found: str) -> str:
    """Return the first line that is not on the other side, as it is expected and as it is found."""
    before, after = ([line for line in side.splitlines() if line] for side in (expected, found))
    lost = next((line for line in before if line not in after), None)
    new = next((line for line in after if line not in before), None)
    if lost is None and new is None:
        return "its lines are in another order"
    return f"{_short(lost or 'nothing')} -> {_short(new or 'nothing')}"


def _short(definition: str) -> str:
    line = " ".join(definition.split())
    return line if len(line) <= _LONG else f"{line[: _LONG - 1]}…"
