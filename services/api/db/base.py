"""The declarative base and the names that constraints get."""

from sqlalchemy import MetaData
from sqlalchemy.orm import DeclarativeBase

# Names that can be foretold: autogenerate compares by them, and errors.py maps them to answers.
NAMING_CONVENTION = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}


class Base(DeclarativeBase):
    """Base of all models; `Base.metadata` is what Alembic compares the database with."""

    metadata = MetaData(naming_convention=NAMING_CONVENTION)
