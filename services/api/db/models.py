"""All tables, in one place. A change here needs a step: make revision m="..." auto=1."""

from datetime import datetime
from typing import Any

from sqlalchemy import DateTime, ForeignKey, Index, SmallInteger, func, true
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from services.api.db.base import Base as Base


class User(Base):
    """Somebody who can log in, unless the password is "!", which no hash equals (the placeholder owner of step v4)."""

    __tablename__ = "users"

    id: Mapped[int] = mapped_column(primary_key=True)
    email: Mapped[str] = mapped_column(unique=True)
    password: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())


class Post(Base):
    """An entry with a name (nama), an age (umur), an address (alamat) and perhaps a phone number (no_hp)."""

    __tablename__ = "posts"
    # For `search`: three characters in a row, wherever they stand.
    __table_args__ = (
        Index("ix_posts_nama_trgm", "nama", postgresql_using="gin", postgresql_ops={"nama": "gin_trgm_ops"}),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    nama: Mapped[str]
    umur: Mapped[int]
    published: Mapped[bool] = mapped_column(server_default=true())
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    alamat: Mapped[str]
    owner_id: Mapped[int] = mapped_column(ForeignKey("users.id", name="post_users_fk", ondelete="CASCADE"))
    no_hp: Mapped[str | None]


class Vote(Base):
    """One user's vote for one post; the key makes a second one impossible."""

    __tablename__ = "votes"

    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), primary_key=True)
    post_id: Mapped[int] = mapped_column(ForeignKey("posts.id", ondelete="CASCADE"), primary_key=True, index=True)


class LoginAttempts(Base):
    """How often logging in has failed for a key (an account, an address, or both) in one window: auth/attempts.py.

    Registrations of an address are counted here, too.
    """

    __tablename__ = "login_attempts"

    # A keyed hash: neither e-mail nor address can be read from it.
    key: Mapped[bytes] = mapped_column(primary_key=True)
    failures: Mapped[int]
    expires_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), index=True)


class IdempotencyKey(Base):
    """The answer that a request with this `Idempotency-Key` got, for when it comes again (idempotency.py)."""

    __tablename__ = "idempotency_keys"

    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    # SHA-256 of what was asked for.
    request: Mapped[bytes]
    expires_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), index=True)
    # The answer: NULL only inside the transaction that is working on it.
    status: Mapped[int | None] = mapped_column(SmallInteger)
    headers: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    body: Mapped[str | None]
