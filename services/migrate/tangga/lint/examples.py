"""The rules' examples as steps, in a history of nobody's product: what is said of them is tried, not claimed."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from sqlalchemy import MetaData

from tangga.lint.checks import findings
from tangga.lint.finding import Finding
from tangga.lint.rule import Example, Rule
from tangga.lint.rules import RULES
from tangga.lint.rules.files import GROUND
from tangga.project import Project

# The history's models have no table; what matters is how they name constraints.
METADATA: Final = MetaData(
    naming_convention={
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "ix": "ix_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
    }
)
_FILES: Final = {
    "alembic.ini": "[alembic]\nscript_location = %(here)s/migrations\npath_separator = os\n",
    "pyproject.toml": '[tool.tangga]\nmetadata = ["tangga.lint.examples:METADATA"]\n'
    + f"lint_also = {[name for name, rule in RULES.items() if rule.on_request]}\n",
    "migrations/env.py": """
from alembic import context
from tangga import connected, guarded

with connected() as connection, guarded(connection) as options:
    context.configure(connection=connection, **options)
    with context.begin_transaction():
        context.run_migrations()
""",
}
_GROUND: Final = '''
@lint_ignore = {
@    "prefer-bigint-over-int": "for the examples",
@    "prefer-identity": "for the examples",
@    "prefer-text-field": "for the examples",
@}
op.execute("""
CREATE TYPE mood AS ENUM ('happy', 'sad');
CREATE TABLE customers (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, email text NOT NULL UNIQUE, mood mood);
CREATE TABLE orders (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name varchar NOT NULL, quantity integer NOT NULL,
    phone varchar, customer_id bigint NOT NULL REFERENCES customers, seller_id bigint,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX ix_orders_quantity ON orders (quantity);
CREATE TABLE order_lines (order_id bigint REFERENCES orders, number bigint, PRIMARY KEY (order_id, number));
CREATE MATERIALIZED VIEW popular AS SELECT customer_id, count(*) FROM orders GROUP BY 1;
CREATE UNIQUE INDEX ON popular (customer_id);
CREATE TABLE events (id bigint NOT NULL, at timestamptz NOT NULL) PARTITION BY RANGE (at);
CREATE TABLE events_2025 PARTITION OF events FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
CREATE TABLE events_2026 (id bigint NOT NULL, at timestamptz NOT NULL);
CREATE TABLE bookings (id bigserial PRIMARY KEY, room text, during tstzrange, price numeric(8, 2), code varchar(20));
CREATE TABLE labels (id serial PRIMARY KEY, label text);
CREATE TABLE imported (id bigint NOT NULL, line text);
CREATE UNLOGGED TABLE drafts (id bigint NOT NULL);
INSERT INTO customers (email) VALUES ('ani@example.com');
INSERT INTO orders (name, quantity, phone, customer_id, seller_id) VALUES ('first', 1, '0812', 1, 1);
""")
'''
_DOWN: Final = """
op.execute("DROP TABLE customers, orders, order_lines, events, events_2026, bookings, labels, imported, drafts CASCADE")
op.execute("DROP TYPE mood")
"""
# Something that has no finding.
_NOTHING: Final = 'op.execute("SELECT 1")'


class Seen(NamedTuple):
    """An example of a rule, and what the linter says of its two forms."""

    rule: Rule
    example: Example
    unsafe: list[Finding]
    safe: list[Finding]


def start(folder: Path) -> Path:
    """Write a history with one step, on which the examples can be tried; return its alembic.ini."""
    (folder / "migrations/versions").mkdir(parents=True)
    for name, text in _FILES.items():
        (folder / name).write_text(text)
    plant(folder, GROUND, _GROUND, after=None, downgrade=_DOWN)
    return folder / "alembic.ini"


def plant(
    folder: Path,
    revision: str,
    upgrade: str,
    *,
    after: str | tuple[str, ...] | None = GROUND,
    downgrade: str = _NOTHING,
) -> Path:
    """Write a step, and return its file; lines of `upgrade` that start with @ are attributes of the revision."""
    lines = upgrade.strip("\n").splitlines()
    attributes = "".join(f"{line[1:]}\n" for line in lines if line.startswith("@"))
    up = "".join(f"    {line}\n" for line in lines if not line.startswith("@"))
    down = "".join(f"    {line}\n" for line in downgrade.strip("\n").splitlines())
    file = folder / f"migrations/versions/{revision}.py"
    file.write_text(
        f'"""{revision}"""\nimport sqlalchemy as sa\nfrom alembic import op\n'
        f"from tangga import safe\nrevision = {revision!r}\ndown_revision = {after!r}\n{attributes}"
        f"def upgrade() -> None:\n{up or '    pass'}\ndef downgrade() -> None:\n{down}"
    )
    return file


def plant_safe(folder: Path, example: Example, revision: str = "safe") -> None:
    """Write the safe form of an example, as one step or as two."""
    if example.first:
        plant(folder, f"{revision}_first", example.first)
    plant(folder, revision, example.safe, after=f"{revision}_first" if example.first else GROUND)


def every() -> list[tuple[Rule, Example]]:
    """Return all examples, in the order of the rules."""
    return [(rule, example) for rule in RULES.values() for example in rule.examples]


def see(folder: Path) -> Iterator[Seen]:
    """Write both forms of all examples into an empty folder, and lint them; raises Stop if squawk cannot be run."""
    configuration = start(folder)
    for number, (_, example) in enumerate(every()):
        plant(folder, f"unsafe{number}", example.unsafe)
        plant_safe(folder, example, f"safe{number}")
    found = findings(Project.from_file(configuration))
    for number, (rule, example) in enumerate(every()):
        unsafe = [one for one in found if one.revision == f"unsafe{number}" and one.direction != "down"]
        # Each of these steps is one of several heads here, which is said of the file as a whole.
        names = (f"safe{number}_first", f"safe{number}")
        yield Seen(rule, example, unsafe, [one for one in found if one.revision in names and one.direction == "up"])
