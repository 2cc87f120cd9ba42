"""The same routes as courses and tutorials write them: what `make bench` compares the API with.

A session per request from a `yield` dependency, the user read for every token, ORM entities, an owner that is loaded
when it is touched, add / commit / refresh, votes counted by join and GROUP BY. The schema is the stack's; the
bodies are those of the API.
"""

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Annotated

import jwt
from argon2 import PasswordHasher
from argon2.exceptions import VerificationError
from fastapi import Depends, FastAPI, HTTPException
from fastapi.security import OAuth2PasswordBearer, OAuth2PasswordRequestForm
from pydantic import BaseModel, ConfigDict
from sqlalchemy import URL, ForeignKey, create_engine, func
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, relationship, sessionmaker

engine = create_engine(
    URL.create(
        "postgresql+psycopg2",
        username=os.environ["DB_USERNAME"],
        password=os.environ["DB_PASS"],
        host=os.environ["DB_HOSTNAME"],
        port=int(os.environ["DB_PORT"]),
        database=os.environ["DB_NAME"],
    ),
    connect_args={"application_name": "baseline"},
)
SessionLocal = sessionmaker(autocommit=False, autoflush=False, bind=engine)


class Base(DeclarativeBase):
    pass


class User(Base):
    __tablename__ = "users"

    id: Mapped[int] = mapped_column(primary_key=True)
    email: Mapped[str]
    password: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class Post(Base):
    __tablename__ = "posts"
    __allow_unmapped__ = True

    id: Mapped[int] = mapped_column(primary_key=True)
    nama: Mapped[str]
    umur: Mapped[int]
    alamat: Mapped[str]
    published: Mapped[bool]
    no_hp: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    owner_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    owner: Mapped[User] = relationship()

    votes: int = 0


class Vote(Base):
    __tablename__ = "votes"

    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"), primary_key=True)
    post_id: Mapped[int] = mapped_column(ForeignKey("posts.id"), primary_key=True)


class UserOut(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    id: int
    email: str
    created_at: datetime


class PostIn(BaseModel):
    nama: str
    umur: int
    alamat: str
    published: bool = True
    no_hp: str | None = None


class PostOut(PostIn):
    model_config = ConfigDict(from_attributes=True)

    id: int
    created_at: datetime
    owner_id: int
    owner: UserOut
    votes: int


class Token(BaseModel):
    access_token: str
    token_type: str


def get_db() -> Iterator[Session]:
    db = SessionLocal()
    try:
        yield db
    finally:
        db.close()


def get_current_user(
    token: Annotated[str, Depends(OAuth2PasswordBearer(tokenUrl="login"))], db: Annotated[Session, Depends(get_db)]
) -> User:
    try:
        user_id = int(jwt.decode(token, os.environ["TOKEN_KEY"], algorithms=["HS256"])["user_id"])
    except jwt.InvalidTokenError:
        raise HTTPException(401, "Could not validate credentials") from None
    user = db.query(User).filter(User.id == user_id).first()
    if user is None:
        raise HTTPException(401, "Could not validate credentials")
    return user


app = FastAPI()


@app.post("/login", response_model=Token)
def login(
    form: Annotated[OAuth2PasswordRequestForm, Depends()], db: Annotated[Session, Depends(get_db)]
) -> dict[str, str]:
    user = db.query(User).filter(User.email == form.username).first()
    if user is None:
        raise HTTPException(403, "Invalid credentials")
    try:
        PasswordHasher().verify(user.password, form.password)
    except VerificationError:
        raise HTTPException(403, "Invalid credentials") from None
    claims = {"user_id": user.id, "exp": datetime.now(UTC) + timedelta(hours=2)}
    return {"access_token": jwt.encode(claims, os.environ["TOKEN_KEY"], algorithm="HS256"), "token_type": "bearer"}


def find_post(db: Session, post_id: int) -> Post:
    row = (
        db.query(Post, func.count(Vote.post_id).label("votes"))
        .join(Vote, Vote.post_id == Post.id, isouter=True)
        .group_by(Post.id)
        .filter(Post.id == post_id)
        .first()
    )
    if row is None:
        raise HTTPException(404, f"post with id: {post_id} was not found")
    post: Post = row[0]
    post.votes = row.votes
    return post


@app.get("/posts", response_model=list[PostOut])
def get_posts(
    db: Annotated[Session, Depends(get_db)],
    current_user: Annotated[User, Depends(get_current_user)],  # noqa: ARG001 - as courses write it
    limit: int = 10,
    skip: int = 0,
    search: str = "",
) -> list[Post]:
    rows = (
        db.query(Post, func.count(Vote.post_id).label("votes"))
        .join(Vote, Vote.post_id == Post.id, isouter=True)
        .group_by(Post.id)
        .filter(Post.nama.contains(search))
        .order_by(Post.id.desc())
        .limit(limit)
        .offset(skip)
        .all()
    )
    posts = []
    for post, votes in rows:
        post.votes = votes
        posts.append(post)
    return posts


@app.post("/posts", status_code=201, response_model=PostOut)
def create_post(
    post: PostIn, db: Annotated[Session, Depends(get_db)], current_user: Annotated[User, Depends(get_current_user)]
) -> Post:
    new_post = Post(owner_id=current_user.id, **post.model_dump())
    db.add(new_post)
    db.commit()
    db.refresh(new_post)
    return new_post


@app.get("/posts/{id}", response_model=PostOut)
def get_post(
    id: int,
    db: Annotated[Session, Depends(get_db)],
    current_user: Annotated[User, Depends(get_current_user)],  # noqa: ARG001 - as courses write it
) -> Post:
    return find_post(db, id)


@app.get("/public/posts/{id}", response_model=PostOut)
def get_public_post(id: int, db: Annotated[Session, Depends(get_db)]) -> Post:
    return find_post(db, id)


@app.get("/readyz")
def ready() -> dict[str, str]:
    return {}
