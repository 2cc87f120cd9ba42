"""In which order rows go back, and which of them have what they refer to."""

from tangga.undo.foreign_keys import ForeignKey, parents_first
from tangga.undo.saves import Item


def _key(source: str, target: str) -> ForeignKey:
    return ForeignKey(source, target, ["a"], ["id"])


def test_parents_come_before_their_children() -> None:
    keys = [_key("c", "b"), _key("b", "a"), _key("c", "a")]
    assert parents_first({"c", "b", "a"}, keys) == ["a", "b", "c"]
    # What is not put back does not matter.
    assert parents_first({"c", "a"}, keys) == ["a", "c"]


def test_a_circle_has_some_order_and_each_table_once() -> None:
    keys = [_key("a", "b"), _key("b", "a"), _key("a", "a")]
    assert sorted(parents_first({"a", "b"}, keys)) == ["a", "b"]


def test_a_row_has_what_it_refers_to_in_the_table_or_in_what_is_coming() -> None:
    key = ForeignKey("books", "authors", ["author", "year"], ["id", "year"])
    values = {"author": "saved.author", "year": "saved.year", "title": "saved.title"}
    same = "target.id = saved.author AND target.year = saved.year"
    null = "saved.author IS NULL OR saved.year IS NULL"
    assert key.holds(values) == f"({null} OR EXISTS (SELECT FROM authors AS target WHERE {same}))"
    assert key.holds(values, ["staged"]).endswith(f" OR EXISTS (SELECT FROM staged AS target WHERE {same}))")


def test_what_was_saved_is_named_as_a_person_knows_it() -> None:
    assert str(Item("dropped-table", "public.books", ["id", "title"], ["id"], 3)) == "books"
    assert str(Item("dropped-columns", "public.books", ["id", "note"], ["id"], 3)) == "books.note"
    assert str(Item("changed-rows", "public.books", ["id", "note", "pages"], ["id"], 3)) == "books (note, pages)"
    # Without a key the whole row is kept, so no column is named.
    assert str(Item("dropped-columns", "other.books", ["id", "note"], [], 3)) == "other.books"
