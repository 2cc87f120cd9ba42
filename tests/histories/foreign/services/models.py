"""The owner's tables."""

import sqlalchemy as sa

metadata = sa.MetaData()

boats = sa.Table(
    "boats",
    metadata,
    sa.Column("id", sa.BigInteger, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("berth", sa.Text, index=True),
)
