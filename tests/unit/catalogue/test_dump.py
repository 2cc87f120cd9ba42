"""What pg_dump prints, as named objects; and where two schemas differ, in words."""

import pytest

from tangga.catalogue.dump import differences, entries, objects

DUMP = """
SET default_tablespace = '';

--
-- Name: posts; Type: TABLE; Schema: public; Owner: o
--

CREATE TABLE public.posts (
    id integer NOT NULL,
    kota text DEFAULT 'a, (b'::text,
    CONSTRAINT ck_posts_id CHECK (((id > 0) AND
        (id < 9)))
);


ALTER TABLE public.posts OWNER TO o;

--
-- Name: alembic_version; Type: TABLE; Schema: public; Owner: o
--

CREATE TABLE public.alembic_version (
    version_num character varying(32) NOT NULL
);

--
-- Name: posts pk_posts; Type: CONSTRAINT; Schema: public; Owner: o
--

ALTER TABLE ONLY public.posts
    ADD CONSTRAINT pk_posts PRIMARY KEY (id);


--
-- Name: ix_kota; Type: INDEX; Schema: Toko; Owner: o
--

CREATE INDEX ix_kota ON "Toko".barang USING btree (kota);


--
-- Name: TABLE posts; Type: ACL; Schema: public; Owner: o
--

GRANT SELECT ON TABLE public.posts TO b;
GRANT SELECT ON TABLE public.posts TO a;


--
-- Name: pg_catalog; Type: ACL; Schema: pg_catalog; Owner: o
--

REVOKE ALL ON TABLE pg_catalog.pg_authid FROM PUBLIC;

--
-- PostgreSQL database dump complete
--
""".splitlines()


def test_each_object_has_a_name_and_what_is_said_of_it() -> None:
    assert objects(DUMP) == {
        "table posts": "CREATE TABLE public.posts (\n);\nALTER TABLE public.posts OWNER TO o;",
        "column posts.id": "integer NOT NULL",
        "column posts.kota": "text DEFAULT 'a, (b'::text",
        "check constraint posts.ck_posts_id": "CHECK (((id > 0) AND (id < 9)))",
        "constraint posts.pk_posts": "PRIMARY KEY (id)",
        "index Toko.barang.ix_kota": 'CREATE INDEX ix_kota ON "Toko".barang USING btree (kota);',
        # In whichever order they were given.
        "grant on table posts": "GRANT SELECT ON TABLE public.posts TO a;\nGRANT SELECT ON TABLE public.posts TO b;",
    }


def test_neither_the_migrators_tables_nor_the_servers_own_are_seen() -> None:
    assert [name for _, _, name, _ in entries(DUMP)] == ["posts", "posts pk_posts", "ix_kota", "TABLE posts"]


EXPECTED = {
    "table posts": "CREATE TABLE public.posts (\n);",
    "column posts.id": "integer NOT NULL",
    "constraint posts.pk_posts": "PRIMARY KEY (id)",
    "function touch()": "CREATE FUNCTION touch\n  a;\n  b;",
}


@pytest.mark.parametrize(
    ("found", "lines"),
    [
        ({}, []),
        ({"column posts.id": "bigint NOT NULL"}, ["column posts.id: integer NOT NULL -> bigint NOT NULL"]),
        ({"function touch()": "CREATE FUNCTION touch\n  a;\n  c;"}, ["function touch(): b; -> c;"]),
        (
            {"function touch()": "CREATE FUNCTION touch\n  b;\n  a;"},
            ["function touch(): its lines are in another order"],
        ),
        ({"function touch()": "CREATE FUNCTION touch\n  a;"}, ["function touch(): b; -> nothing"]),
        ({"index posts.ix": "CREATE INDEX  ix\nON posts"}, ["index posts.ix: extra (CREATE INDEX ix ON posts)"]),
        # The parts of what is extra are not listed again.
        ({"table tags": "CREATE", "column tags.id": "integer", "grant on table tags": "GRANT"}, ["table tags: extra"]),
        ({"view v": "CREATE VIEW " + "x" * 300}, [f"view v: extra (CREATE VIEW {'x' * 187}…)"]),
    ],
)
def test_differences_in_words(found: dict[str, str], lines: list[str]) -> None:
    assert differences(EXPECTED, EXPECTED | found) == lines


def test_what_is_missing_is_said_without_its_parts() -> None:
    assert differences(EXPECTED, {"function touch()": EXPECTED["function touch()"]}) == ["table posts: missing"]
    left = {name: text for name, text in EXPECTED.items() if name != "constraint posts.pk_posts"}
    assert differences(EXPECTED, left) == ["constraint posts.pk_posts: missing (PRIMARY KEY (id))"]
