"""All tables, in one place. A change here needs a step: make revision m="..." auto=1."""

from datetime import datetime

from sqlalchemy import DateTime, ForeignKey, func, true
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
    post_id: Mapped[int] = mapped_column(ForeignKey("posts.id", ondelete="CASCADE"), primary_key=True)
