"""Alembic's environment. What protects a migration is in `guarded`, so that plain `alembic upgrade head` has it too.

[tool.tangga] in pyproject.toml says where the database and the models are.
"""

from alembic import context

from tangga import connected, guarded

with connected() as connection, guarded(connection) as options:
    context.configure(connection=connection, **options)
    with context.begin_transaction():
        context.run_migrations()
