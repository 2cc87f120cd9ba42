"""Constraints: proven without holding anybody up, and proven at all."""

from collections.abc import Collection, Iterator

from pglast.enums import AlterTableType, ConstrType

from tangga.lint.place import Place
from tangga.lint.rule import Example, Family, Rule, Values
from tangga.lint.schema import Schema, Table
from tangga.lint.statements import Statement
from tangga.lint.trees import only_command

FOREIGN_KEY = Rule(
    "adding-foreign-key-constraint",
    remedy="safe.add_foreign_key: NOT VALID now, VALIDATE after the commit",
    downwards=True,
    examples=(
        Example(
            "FOREIGN KEY validated at once",
            'op.create_foreign_key("fk_orders_seller_id_customers", "orders", "customers", ["seller_id"], ["id"])',
            'safe.add_foreign_key("fk_orders_seller_id_customers", "orders", "customers", ["seller_id"], ["id"])',
        ),
    ),
)
UNIQUE = Rule(
    "disallowed-unique-constraint",
    remedy="safe.add_unique builds the index CONCURRENTLY, then makes the constraint of it",
    downwards=True,
    examples=(
        Example(
            "UNIQUE",
            'op.create_unique_constraint("uq_orders_name", "orders", ["name"])',
            'safe.add_unique("uq_orders_name", "orders", ["name"])',
        ),
    ),
)
PRIMARY_KEY = Rule(
    "adding-serial-primary-key-field",
    remedy=("build a unique index CONCURRENTLY (safe.create_index), then ADD CONSTRAINT ... PRIMARY KEY USING INDEX"),
    downwards=True,
    examples=(
        Example(
            "PRIMARY KEY",
            'op.create_primary_key("pk_imported", "imported", ["id"])',
            'safe.create_index("pk_imported", "imported", ["id"], unique=True)\n'
            'op.execute("ALTER TABLE imported ADD CONSTRAINT pk_imported PRIMARY KEY USING INDEX pk_imported")',
        ),
    ),
)


def _is_named_better(statement: Statement, _: Place, others: Collection[str]) -> bool:
    """There is no NOT VALID for a unique or exclusion constraint; and a foreign key has a rule of its own."""
    command = only_command(statement.tree)[1]
    if command is None:
        return False
    named_better = any(rule.name in others for rule in (FOREIGN_KEY, UNIQUE, PRIMARY_KEY))
    return named_better or getattr(command.def_, "contype", None) == ConstrType.CONSTR_EXCLUSION


NOT_VALID_MISSING = Rule(
    "constraint-missing-not-valid",
    remedy="safe.add_check or safe.add_foreign_key: NOT VALID now, VALIDATE after the commit",
    is_false=_is_named_better,
    downwards=True,
    examples=(
        Example(
            "CHECK validated at once",
            'op.create_check_constraint(op.f("ck_orders_quantity"), "orders", "quantity > 0")',
            'safe.add_check("ck_orders_quantity", "orders", "quantity > 0")',
        ),
        Example(
            "NOT VALID and VALIDATE in one transaction",
            'op.create_check_constraint(op.f("ck_orders_quantity"), "orders", "quantity > 0", '
            "postgresql_not_valid=True)\n"
            'op.execute("ALTER TABLE orders VALIDATE CONSTRAINT ck_orders_quantity")',
            '@validate_after_commit = ("orders.ck_orders_quantity",)\n'
            'op.create_check_constraint(op.f("ck_orders_quantity"), "orders", "quantity > 0", '
            "postgresql_not_valid=True)",
        ),
    ),
)


def _is_proven(statement: Statement, place: Place, _: Collection[str]) -> bool:
    """A CHECK (x IS NOT NULL) of an earlier step has been validated."""
    table, command = only_command(statement.tree)
    checks = place.table(table).constraints.values() if command else ()
    return any(check.valid and check.proves_not_null == command.name for check in checks)


NOT_NULL = Rule(
    "adding-not-nullable-field",
    remedy="safe.set_not_null proves it by a validated CHECK, so that SET NOT NULL reads nothing",
    is_false=_is_proven,
    downwards=True,
    examples=(
        Example(
            "SET NOT NULL",
            'op.alter_column("orders", "phone", nullable=False)',
            'safe.set_not_null("orders", "phone")',
        ),
        Example(
            "NOT NULL over nulls",
            'op.execute("ALTER TABLE orders ALTER COLUMN phone SET NOT NULL")',
            'safe.backfill("orders", "phone = \'\'", where="phone IS NULL")\nsafe.set_not_null("orders", "phone")',
        ),
    ),
)


def _checked_inline(statement: Statement, place: Place) -> Iterator[Values]:
    for _, command in place.altered(statement, AlterTableType.AT_AddColumn):
        if any(constraint.contype == ConstrType.CONSTR_CHECK for constraint in command.def_.constraints or ()):
            yield {}


INLINE_CHECK = Rule(
    "inline-check",
    why="every row is checked while nobody can read the table",
    remedy="add the column without it, then safe.add_check: NOT VALID now, VALIDATE after the commit",
    of_statement=_checked_inline,
    downwards=True,
    examples=(
        Example(
            "ADD COLUMN ... CHECK",
            'op.execute("ALTER TABLE orders ADD COLUMN stars bigint CHECK (stars < 6)")',
            'safe.add_column("orders", sa.Column("stars", sa.BigInteger()))\n'
            'safe.add_check("ck_orders_stars", "orders", "stars < 6")',
        ),
    ),
)


def _exclusion(statement: Statement, place: Place) -> Iterator[Values]:
    for _, command in place.altered(statement, AlterTableType.AT_AddConstraint):
        if command.def_.contype == ConstrType.CONSTR_EXCLUSION:
            yield {}


EXCLUSION = Rule(
    "exclusion-constraint",
    why="its index is built while writers wait, and there is neither CONCURRENTLY nor NOT VALID for it",
    remedy="give the table it at birth; else make a new table with it, and move the rows in batches",
    of_statement=_exclusion,
    downwards=True,
    examples=(
        Example(
            "EXCLUDE",
            'op.create_exclude_constraint("ex_bookings", "bookings", ("during", "&&"), using="gist")',
            'op.execute("CREATE TABLE stays (during tstzrange, EXCLUDE USING gist (during WITH &&))")',
        ),
    ),
)

# Found at the end of the staircase, by lint/walk.py.
NEVER_VALIDATED = Rule(
    "never-validated",
    why="{constraint} is NOT VALID for ever: it does not hold for the old rows",
    remedy='name it in the step: validate_after_commit = ("table.constraint",)',
)


def is_not_valid(schema: Schema, table: str, name: str) -> bool:
    """Tell whether a constraint is there, and does not hold for the old rows."""
    constraint = schema.get(table, Table()).constraints.get(name)
    return constraint is not None and not constraint.valid


FAMILY = Family(
    "Constraints",
    (FOREIGN_KEY, UNIQUE, PRIMARY_KEY, NOT_VALID_MISSING, NOT_NULL, INLINE_CHECK, EXCLUSION, NEVER_VALIDATED),
)
