# base → deps → runtime (what ships); base → dev → tools (what authors use), test, bench; beside them: proxy, pooler
# `make up` names the base image; the default is the official one.
ARG PYTHON_IMAGE=python:3.13.9-slim-trixie

FROM ${PYTHON_IMAGE} AS base
# services/migrate: the package tangga, and Alembic's command line with its commands (bin).
ENV PATH=/app/services/migrate/bin:/opt/venv/bin:$PATH PYTHONPATH=/app/services/migrate PYTHONUNBUFFERED=1
WORKDIR /app

# Dependencies, in a layer that changes only with the lock file. A CA bundle named by the environment arrives as a
# secret, so it is in no layer. pip works from a venv of its own: the one that ships has none.
FROM base AS deps
SHELL ["/bin/bash", "-euo", "pipefail", "-c"]
RUN python3 -m venv /opt/pip && python3 -m venv --without-pip /opt/venv
COPY requirements.lock ./
RUN --mount=type=secret,id=ca --mount=type=cache,target=/root/.cache/pip \
    if [ -s /run/secrets/ca ]; then export PIP_CERT=/run/secrets/ca; fi; \
    /opt/pip/bin/pip --python /opt/venv/bin/python3 install --quiet --disable-pip-version-check --root-user-action=ignore \
      --require-hashes --no-deps --only-binary :all: --compile -r requirements.lock

# What compose.prod.yaml puts before the API: HAProxy, and certbot for its certificates. Their files are mounted.
FROM base AS proxy
# hadolint ignore=DL3008
RUN --mount=type=secret,id=ca \
    if [ -s /run/secrets/ca ]; then set -- -o Acquire::https::CAInfo=/run/secrets/ca; fi; \
    apt-get "$@" update -qq && apt-get "$@" install -y -qq --no-install-recommends certbot haproxy openssl socat && \
    rm -rf /var/lib/apt/lists/* && install -d -m 700 -o 10002 -g 10002 /certs
USER 10002:10002

FROM deps AS deps-dev
COPY requirements-dev.lock ./
RUN --mount=type=secret,id=ca --mount=type=cache,target=/root/.cache/pip \
    if [ -s /run/secrets/ca ]; then export PIP_CERT=/run/secrets/ca; fi; \
    /opt/pip/bin/pip --python /opt/venv/bin/python3 install --quiet --disable-pip-version-check --root-user-action=ignore \
      --require-hashes --no-deps --only-binary :all: -r requirements-dev.lock

FROM base AS runtime
# The official base brings pip; a service has no use for it.
RUN rm -rf /usr/local/bin/pip* /usr/local/lib/python3*/site-packages/pip* /usr/local/lib/python3*/ensurepip
COPY --from=deps /opt/venv /opt/venv
# --chmod: a clone under umask 077 has nothing that others may read, and containers run as others.
COPY --chmod=755 alembic.ini pyproject.toml ./
COPY --chmod=755 services/api services/api
COPY --chmod=755 services/migrate services/migrate
# A new volume takes over the owner of the folder that it is mounted on: /saved is the migrator's.
RUN python3 -m compileall -q services && install -d -o 10001 -g 10001 /saved
# What changes most comes last.
COPY --chmod=755 migrations migrations
RUN python3 -m compileall -q migrations
USER 10001:10001
EXPOSE 8000
CMD ["gunicorn", "--config", "services/api/gunicorn.conf.py", "services.api.main:app"]

FROM base AS pooler
# hadolint ignore=DL3008
RUN --mount=type=secret,id=ca \
    if [ -s /run/secrets/ca ]; then set -- -o Acquire::https::CAInfo=/run/secrets/ca; fi; \
    apt-get "$@" update -qq && apt-get "$@" install -y -qq --no-install-recommends pgbouncer postgresql-client && \
    rm -rf /var/lib/apt/lists/*
COPY --chmod=755 services/pooler/start.sh /usr/local/bin/
USER 10001:10001
ENTRYPOINT ["start.sh"]

# What authors, the bench and the tests have besides: what changes rarely comes first, so that a new revision does not
# install it all again.
FROM base AS dev
COPY --from=deps-dev /opt/venv /opt/venv
RUN install -d -m 755 -o 10001 -g 10001 /saved
ENV HOME=/tmp RUFF_CACHE_DIR=/tmp/ruff MYPY_CACHE_DIR=/tmp/mypy

# The folder is mounted (compose.yaml), so a change of it makes no image anew.
FROM dev AS tools
USER 10001:10001

FROM dev AS bench
# The load generator of make bench, and the apps that it compares the API with.
# hadolint ignore=DL3008
RUN --mount=type=secret,id=ca \
    if [ -s /run/secrets/ca ]; then set -- -o Acquire::https::CAInfo=/run/secrets/ca; fi; \
    apt-get "$@" update -qq && apt-get "$@" install -y -qq --no-install-recommends wrk && rm -rf /var/lib/apt/lists/*
COPY --from=runtime /app ./
COPY --chmod=755 tests/load tests/load
RUN python3 -m compileall -q tests/load
USER 10001:10001

FROM dev AS test
# kustomize: tests/unit/test_kubernetes.py builds what a cluster would be given.
# hadolint ignore=DL3008
RUN --mount=type=secret,id=ca \
    if [ -s /run/secrets/ca ]; then set -- -o Acquire::https::CAInfo=/run/secrets/ca; fi; \
    apt-get "$@" update -qq && apt-get "$@" install -y -qq --no-install-recommends kustomize && rm -rf /var/lib/apt/lists/*
COPY --from=runtime /app ./
COPY --chmod=755 . ./
USER 10001:10001
CMD ["pytest", "tests/unit", "tests/api", "tests/migrations"]
