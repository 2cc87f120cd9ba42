"""Steps at fault, to stand on the steps of the library, each with what `alembic verify` says of it (test_verify.py)."""

TRIGGER = """op.execute('''
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;
CREATE TRIGGER touch BEFORE INSERT ON books FOR EACH ROW EXECUTE FUNCTION touch()
''')"""

# name -> (upgrade, downgrade, what is said)
CHAIN: dict[str, tuple[str, str, list[str]]] = {
    "forgotten drop": (
        'op.create_table("tags", sa.Column("id", sa.Integer(), primary_key=True))',
        "pass",
        [
            "after down, sequence tags_id_seq: extra (CREATE SEQUENCE public.tags_id_seq AS integer START WITH 1 "
            "INCREMENT BY 1 NO MINVALUE NO MAXVALUE CACHE 1; ALTER SEQUENCE public.tags_id_seq OWNER TO tangga_owner;)",
            "after down, table tags: extra",
            'up fails the second time: relation "tags" already exists',
        ],
    ),
    "forgotten index": (
        'op.execute("CREATE INDEX IF NOT EXISTS ix_loans_again ON loans (book_id)")',
        "pass",
        [
            "after down, index loans.ix_loans_again: extra "
            "(CREATE INDEX ix_loans_again ON public.loans USING btree (book_id);)"
        ],
    ),
    "leftover enum type": (
        'op.create_table("days", sa.Column("mood", sa.Enum("sad", "happy", name="mood")))',
        'op.drop_table("days")',
        [
            "after down, type mood: extra (CREATE TYPE public.mood AS ENUM ( 'sad', 'happy' ); "
            "ALTER TYPE public.mood OWNER TO tangga_owner;)",
            'up fails the second time: type "mood" already exists',
        ],
    ),
    "leftover function and trigger": (
        TRIGGER.replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION").replace(
            "CREATE TRIGGER", "CREATE OR REPLACE TRIGGER"
        ),
        "pass",
        [
            "after down, function touch(): extra (CREATE FUNCTION public.touch() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RETURN NEW; END $$; ALTER FUNCTION public.touch() OWNER TO tangga_owner;)",
            "after down, trigger books.touch: extra (CREATE TRIGGER touch BEFORE INSERT ON public.books FOR EACH ROW "
            "EXECUTE FUNCTION public.touch();)",
        ],
    ),
    "leftover comment": (
        "op.execute(\"COMMENT ON COLUMN books.title IS 'full name'\")",
        "pass",
        ["after down, comment on column books.title: extra (COMMENT ON COLUMN public.books.title IS 'full name';)"],
    ),
    "leftover grant": (
        'op.execute("GRANT SELECT ON books TO PUBLIC")',
        "pass",
        ["after down, grant on table books: nothing -> GRANT SELECT ON TABLE public.books TO PUBLIC;"],
    ),
    "leftover sequence": (
        'op.execute("CREATE SEQUENCE IF NOT EXISTS tickets")',
        "pass",
        [
            "after down, sequence tickets: extra (CREATE SEQUENCE public.tickets START WITH 1 INCREMENT BY 1 "
            "NO MINVALUE NO MAXVALUE CACHE 1; ALTER SEQUENCE public.tickets OWNER TO tangga_owner;)"
        ],
    ),
    "lost server default": (
        'op.alter_column("books", "lent", server_default=sa.false())',
        'op.alter_column("books", "lent", server_default=None)',
        ["after down, column books.lent: boolean DEFAULT true NOT NULL -> boolean NOT NULL"],
    ),
    "lost column data": (
        'op.drop_column("books", "note")',
        'op.add_column("books", sa.Column("note", sa.String()))',
        ["after up and down, values that were there before: books.note: 17 rows changed"],
    ),
    "lossy UPDATE": (
        'op.execute("UPDATE books SET title = lower(title)")',
        "pass",
        ["after up, values that were there before: books.title: 19 rows changed"],
    ),
    "trimmed": (
        'op.execute("UPDATE authors SET secret = trim(secret)")',
        "pass",
        ["after up, values that were there before: authors.secret: 10 rows changed"],
    ),
    "deleted rows": (
        'op.execute("DELETE FROM loans WHERE book_id % 2 = 0")',
        "pass",
        ["after up, values that were there before: loans: 10 rows gone"],
    ),
    "rows left behind": (
        "op.execute(\"INSERT INTO authors (name, secret) VALUES ('a', '!') ON CONFLICT DO NOTHING\")",
        "pass",
        ["after up and down, values that were there before: authors: 1 row more than before"],
    ),
    "narrowed type": (
        'op.alter_column("books", "added_at", type_=sa.Date(), postgresql_using="added_at::date")',
        'op.alter_column("books", "added_at", type_=sa.DateTime(timezone=True))',
        [
            "after up, values that were there before: books.added_at: 20 rows changed",
        ],
    ),
    "broken downgrade": (
        'op.execute("CREATE INDEX ix_loans_other ON loans (book_id)")',
        'op.drop_index("ix_loans_post")',
        ['down fails: index "ix_loans_post" does not exist'],
    ),
    "up that works only once": (
        'op.execute("UPDATE books SET pages = pages"); op.execute("CREATE TYPE temper AS ENUM ()")',
        "pass",
        [
            "after down, type temper: extra (CREATE TYPE public.temper AS ENUM ( ); "
            "ALTER TYPE public.temper OWNER TO tangga_owner;)",
            'up fails the second time: type "temper" already exists',
        ],
    ),
}
# Not in the chain: of steps whose printed SQL, or second way up, is not right, only the first is named; one that fails
# is the last; and one wants the rows as they were made.
OTHERS: list[dict[str, tuple[str, str, list[str]]]] = [
    {
        "filled nulls": (
            "op.execute(\"UPDATE books SET note = '' WHERE note IS NULL\")",
            "pass",
            ["after up, values that were there before: books.note: 3 rows changed"],
        ),
        "column renamed by drop and add": (
            'op.add_column("books", sa.Column("name", sa.String(), server_default=""));'
            'op.drop_column("books", "title")',
            'op.add_column("books", sa.Column("title", sa.String(), server_default="", nullable=False));'
            'op.alter_column("books", "title", server_default=None); op.drop_column("books", "name")',
            [
                "after up and down, values that were there before: books.title: 19 rows changed",
            ],
        ),
        "printed SQL that does less": (
            'op.get_context().as_sql or op.execute("CREATE INDEX ix_loans_printed ON loans (book_id)")',
            'op.execute("DROP INDEX ix_loans_printed")',
            [
                "the SQL that --sql prints does something else: index loans.ix_loans_printed: missing "
                "(CREATE INDEX ix_loans_printed ON public.loans USING btree (book_id);)"
            ],
        ),
        "second up that does less": (
            "op.execute('''DO $$ BEGIN"
            " IF (SELECT count(*) FROM tangga.migration_log WHERE revision = 'plant0000004') = 0 THEN"
            " CREATE INDEX ix_loans_again ON loans (book_id); END IF; END $$''')",
            'op.execute("DROP INDEX IF EXISTS ix_loans_again")',
            [
                "after the second up, index loans.ix_loans_again: missing "
                "(CREATE INDEX ix_loans_again ON public.loans USING btree (book_id);)"
            ],
        ),
    },
    {
        "printed SQL that fails": (
            'op.execute("SELECT nosuch" if op.get_context().as_sql else "SELECT 1")',
            "pass",
            ['the SQL that --sql prints fails: column "nosuch" does not exist'],
        ),
    },
    {
        "NOT NULL without a value for old rows": (
            'op.add_column("books", sa.Column("subtitle", sa.String(), nullable=False))',
            'op.drop_column("books", "subtitle")',
            [
                'up fails with any rows in books: column "subtitle" of relation "books" contains null values;'
                " it goes on without them"
            ],
        ),
    },
    {
        "one value for all old rows, in a unique column": (
            'op.add_column("books", sa.Column("code", sa.String()));'
            """ op.execute("UPDATE books SET code = '-' WHERE true");"""
            ' op.create_unique_constraint("books_code_key", "books", ["code"])',
            'op.drop_column("books", "code")',
            [
                'up fails with any rows in books: could not create unique index "books_code_key"'
                " DETAIL: Key (code)=(…) is duplicated.; it goes on without them"
            ],
        ),
    },
]
FAULTS = {name: fault for faults in (CHAIN, *OTHERS) for name, fault in faults.items()}
