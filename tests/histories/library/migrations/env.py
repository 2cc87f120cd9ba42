from alembic import context

from tangga import connected, guarded

with connected() as connection, guarded(connection) as options:
    context.configure(connection=connection, **options)
    with context.begin_transaction():
        context.run_migrations()
