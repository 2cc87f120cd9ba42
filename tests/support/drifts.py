"""Changes by hand in a database of the library, each with what `alembic drift` says of it (test_drift.py)."""

# What the steps do not have, so that there is something to drift from.
STEP = """
CREATE INDEX ix_books_title ON books (title);
CREATE INDEX ix_books_note ON books (note) WHERE note IS NOT NULL;
ALTER TABLE books ADD CONSTRAINT ck_books_pages CHECK (pages >= 0);
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.title := trim(NEW.title); RETURN NEW; END $$;
CREATE TRIGGER touch BEFORE INSERT ON books FOR EACH ROW EXECUTE FUNCTION touch();
CREATE VIEW adults AS SELECT id, title FROM books WHERE id > 17;
COMMENT ON COLUMN books.title IS 'full name'
"""
MODELS = """
Index("ix_books_title", books.c.title)
Index("ix_books_note", books.c.note, postgresql_where=text("note IS NOT NULL"))
books.append_constraint(CheckConstraint("pages >= 0", name="pages"))
books.c.title.comment = "full name"
"""
TOUCH = "CREATE OR REPLACE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS"
FK = "ALTER TABLE loans DROP CONSTRAINT fk_loans_book_id_books"

# name -> (what is done by hand, the lines that say so, whether stock `alembic check` sees it)
DRIFTS: dict[str, tuple[str, list[str], bool]] = {
    "column type": (
        "ALTER TABLE books ALTER pages TYPE bigint",
        ["column books.pages: integer NOT NULL -> bigint NOT NULL"],
        True,
    ),
    "nullability": (
        "ALTER TABLE authors ALTER secret DROP NOT NULL",
        ["column authors.secret: character varying NOT NULL -> character varying"],
        True,
    ),
    "default": (
        "ALTER TABLE books ALTER lent SET DEFAULT false",
        ["column books.lent: boolean DEFAULT true NOT NULL -> boolean DEFAULT false NOT NULL"],
        False,
    ),
    "extra column": (
        "ALTER TABLE authors ADD COLUMN extra integer",
        ["column authors.extra: extra (integer)"],
        True,
    ),
    "missing column": (
        "ALTER TABLE authors DROP COLUMN secret",
        ["column authors.secret: missing (character varying NOT NULL)"],
        True,
    ),
    "extra index": (
        "CREATE INDEX ix_loans_again ON loans (book_id)",
        ["index loans.ix_loans_again: extra (CREATE INDEX ix_loans_again ON public.loans USING btree (book_id);)"],
        True,
    ),
    "missing index": (
        "DROP INDEX ix_books_title",
        ["index books.ix_books_title: missing (CREATE INDEX ix_books_title ON public.books USING btree (title);)"],
        True,
    ),
    "partial-index predicate": (
        "DROP INDEX ix_books_note; CREATE INDEX ix_books_note ON books (note) WHERE note <> ''",
        [
            "index books.ix_books_note: CREATE INDEX ix_books_note ON public.books USING btree (note) "
            "WHERE (note IS NOT NULL); -> CREATE INDEX ix_books_note ON public.books USING btree (note) "
            "WHERE ((note)::text <> ''::text);"
        ],
        False,
    ),
    "dropped primary key": (
        "ALTER TABLE loans DROP CONSTRAINT pk_loans",
        ["constraint loans.pk_loans: missing (PRIMARY KEY (author_id, book_id))"],
        False,
    ),
    "foreign key dropped": (
        FK,
        [
            "foreign key loans.fk_loans_book_id_books: missing "
            "(FOREIGN KEY (book_id) REFERENCES public.books(id) ON DELETE CASCADE)"
        ],
        True,
    ),
    "foreign key's delete rule": (
        f"{FK}; ALTER TABLE loans ADD CONSTRAINT fk_loans_book_id_books FOREIGN KEY (book_id) REFERENCES books (id)",
        [
            "foreign key loans.fk_loans_book_id_books: FOREIGN KEY (book_id) REFERENCES public.books(id) "
            "ON DELETE CASCADE -> FOREIGN KEY (book_id) REFERENCES public.books(id)"
        ],
        True,
    ),
    "unique": (
        "ALTER TABLE authors DROP CONSTRAINT uq_authors_name",
        ["constraint authors.uq_authors_name: missing (UNIQUE (name))"],
        True,
    ),
    "CHECK body": (
        "ALTER TABLE books DROP CONSTRAINT ck_books_pages;"
        "ALTER TABLE books ADD CONSTRAINT ck_books_pages CHECK (pages >= -1)",
        ["check constraint books.ck_books_pages: CHECK ((pages >= 0)) -> CHECK ((pages >= '-1'::integer))"],
        False,
    ),
    "CHECK missing": (
        "ALTER TABLE books DROP CONSTRAINT ck_books_pages",
        ["check constraint books.ck_books_pages: missing (CHECK ((pages >= 0)))"],
        False,
    ),
    "NOT VALID constraint": (
        "ALTER TABLE books DROP CONSTRAINT ck_books_pages;"
        "ALTER TABLE books ADD CONSTRAINT ck_books_pages CHECK (pages >= 0) NOT VALID",
        ["check constraint books.ck_books_pages: CHECK ((pages >= 0)) -> CHECK ((pages >= 0)) NOT VALID"],
        False,
    ),
    "invalid index": (
        "INSERT INTO authors (name, secret) VALUES ('a', ''), ('b', '');"
        "CREATE UNIQUE INDEX CONCURRENTLY ix_authors_secret ON authors (secret)",
        [
            "index authors.ix_authors_secret (INVALID: its build did not finish): extra "
            "(CREATE UNIQUE INDEX ix_authors_secret ON public.authors USING btree (secret))"
        ],
        True,
    ),
    "trigger": (
        "ALTER TABLE books DISABLE TRIGGER touch",
        ["trigger books.touch: nothing -> ALTER TABLE public.books DISABLE TRIGGER touch;"],
        False,
    ),
    "function": (
        f"{TOUCH} $$ BEGIN RETURN NEW; END $$",
        [
            "function touch(): AS $$ BEGIN NEW.title := trim(NEW.title); RETURN NEW; END $$; -> "
            "AS $$ BEGIN RETURN NEW; END $$;"
        ],
        False,
    ),
    "view": (
        "CREATE OR REPLACE VIEW adults AS SELECT id, title FROM books WHERE id > 20",
        ["view adults: WHERE (id > 17); -> WHERE (id > 20);"],
        False,
    ),
    "grant": (
        "GRANT TRUNCATE ON authors TO PUBLIC",
        ["grant on table authors: nothing -> GRANT TRUNCATE ON TABLE public.authors TO PUBLIC;"],
        False,
    ),
    "sequence type": (
        "ALTER SEQUENCE books_id_seq AS smallint",
        [
            "sequence books_id_seq: AS integer -> AS smallint",
            "sequence books_id_seq (narrower than its column books.id): extra (smallint, the column is integer)",
        ],
        False,
    ),
    "comment": (
        "COMMENT ON COLUMN books.title IS 'nickname'",
        [
            "comment on column books.title: COMMENT ON COLUMN public.books.title IS 'full name'; -> "
            "COMMENT ON COLUMN public.books.title IS 'nickname';"
        ],
        True,
    ),
}


# Those that have to do with the same column or constraint are not on one database.
TOGETHER = [
    ["missing column", "foreign key's delete rule", "CHECK body"],
    ["CHECK missing"],
    ["NOT VALID constraint"],
]
TOGETHER.append([name for name in DRIFTS if not any(name in names for names in TOGETHER)])
