"""`make plan` in a real stack: a step that is pending is tried out beside the database, which stays as it is."""

import json

from tests.migrations.staircase import HEAD
from tests.stack.conftest import Stack

# What others have made in the database, by its superuser.
OTHERS = """
CREATE ROLE grafana;
GRANT SELECT ON posts TO grafana;
CREATE TABLE theirs (id integer);
CREATE TABLE tenants (name text);
ALTER TABLE tenants OWNER TO tangga_owner;
ALTER TABLE tenants ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY own ON tenants TO grafana USING (name = current_user)
"""
COLUMN = 'op.add_column("posts", sa.Column("kota", sa.Text(), nullable=True))'
DOWN = 'op.drop_column("posts", "kota")'


def test_plan(stack: Stack) -> None:
    assert "Nothing to do: database tangga at db:5432 is at " in stack.make("plan")
    stack.sql(OTHERS, "postgres")
    before = stack.schema("postgres")
    grant = "op.execute('GRANT SELECT ON users TO grafana')"
    file = stack.plant("0000000000a1", f"{COLUMN}; {grant}", DOWN, title="a town for each post")
    try:
        output = stack.make("plan")
        assert "0000000000a1  a town for each post  (can be undone; loses nothing)" in output
        assert "made on the scratch server, without a log-in: grafana" in output
        assert "ACCESS EXCLUSIVE" in output
        assert "metadata only" in output
        assert "1 step, strongest lock ACCESS EXCLUSIVE on posts (0 rows, " in output
        document = json.loads(stack.ok("sh", "-c", "make plan json=1 2>/dev/null"))
        assert [step["revision"] for step in document["steps"]] == ["0000000000a1"]
        # The exit code of make is its own (2); the plan's is in what make says.
        stack.plant("0000000000a1", COLUMN.replace("posts", "nothing"), DOWN, title="a town for each post")
        failed = stack.run("make", "plan")
        assert failed.returncode != 0
        assert "error: on the scratch copy, step 0000000000a1 (a town for each post) failed in upgrade" in failed.stdout
        assert "Error 3" in failed.stdout
    finally:
        file.unlink()
    assert (stack.schema("postgres"), stack.revision()) == (before, HEAD)
    assert stack.compose("ps", "--all", "--quiet", "scratch").strip() == ""
    stack.sql("DROP TABLE theirs, tenants; DROP OWNED BY grafana; DROP ROLE grafana", "postgres")


def test_a_step_that_needs_an_extension_of_the_superuser_and_a_role(stack: Stack) -> None:
    """EXTENSIONS and EXTRA_ROLES: on the scratch server, on the live one, and in a restored database."""
    up = """op.execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
    op.execute("CREATE EXTENSION IF NOT EXISTS pageinspect")
    op.execute("GRANT SELECT ON posts TO reader")"""
    file = stack.plant("0000000000a2", up, 'op.execute("REVOKE SELECT ON posts FROM reader")')
    try:
        refused = stack.run("make", "plan")
        assert refused.returncode != 0
        assert 'permission denied to create extension "pg_stat_statements"' in refused.stdout
        stack.set_env_file("EXTENSIONS", "'pg_stat_statements, pageinspect'")
        stack.set_env_file("EXTRA_ROLES", "'writer, reader'")
        assert "0000000000a2" in stack.make("plan")
        stack.make("up")
        assert stack.revision() == "0000000000a2"
        assert stack.sql("SELECT rolcanlogin, rolcreaterole FROM pg_roles WHERE rolname = 'reader'") == "f|f"
        # Nobody's power grew by it.
        assert stack.sql("SELECT count(*) FROM pg_auth_members WHERE roleid::regrole IN ('reader', 'writer')") == "0"
        stack.make("check")
        assert "verified" in stack.make("verify", "from=0000000000a2")
        stack.make("backup")
        stack.make("backup-verify")
        stack.make("rollback", "yes=1")
    finally:
        file.unlink()
    assert stack.revision() == HEAD
