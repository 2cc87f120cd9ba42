# make → compose → one container → one program. `make` alone prints this file's help.
SHELL := /bin/bash
.SHELLFLAGS := -Eeuo pipefail -c
.DEFAULT_GOAL := help

# Text from the command line goes to programs through the environment, unexpanded: quotes, backticks, $ and % are safe.
override m := $(value m)
override to := $(value to)
override from := $(value from)
override r := $(value r)
override s := $(value s)
override f := $(value f)
override at := $(value at)
override ref := $(value ref)
override rows := $(value rows)
override page := $(value page)
override rounds := $(value rounds)
override minutes := $(value minutes)
override html := $(value html)
override keep := $(value keep)
override tag := $(value tag)
export m to from r s f at ref rows page rounds minutes html keep tag
# New revision files belong to whoever called make.
export TANGGA_UID := $(shell id -u)
export TANGGA_GID := $(shell id -g)

migrate := docker compose run --rm migrate alembic
author := docker compose run --rm tools alembic
in_tools := docker compose run --rm --no-deps tools
on_scratch := scripts/lib/with-scratch.sh

##@ The stack

.PHONY: up
up: ## set up and start everything; the API only after the migration
	@scripts/up.sh

.PHONY: down
down: ## stop everything; the data stays
	@docker compose --profile '*' down --remove-orphans

.PHONY: restart
restart: ## restart the API (workers finish their requests first)
	@docker compose restart --no-deps api

.PHONY: ps
ps: ## what runs, and how it is
	@docker compose ps --all

.PHONY: logs
logs: ## [s=api] follow the logs of all services, or of one
	@docker compose logs --follow --tail 100 $${s:+"$$s"}

.PHONY: build
build: .ready ## build the images
	@docker compose build

.PHONY: clean
clean: ## [yes=1] delete containers, images AND DATA of this stack; asks first
	@scripts/clean.sh

.PHONY: dev
dev: .ready ## run in the foreground with this folder mounted; the API reloads on every change
	@docker compose -f compose.yaml -f compose.dev.yaml up --build

.PHONY: psql
psql: ## SQL prompt as the owner of the schema
	@scripts/psql.sh

.PHONY: shell
shell: .tools ## shell in the tools container, with this folder mounted
	@docker compose run --rm tools bash

##@ Migrations (each runs in a container)

.PHONY: plan
plan: .tools ## [to=head] [json=1] what migrate would do: statements, locks, sizes, findings
	@$(on_scratch) plan $(if $(json),--json) "$${to:-head}"

.PHONY: migrate
migrate: .image ## [to=head] go up
	@scripts/backup.sh --before-migrate
	@$(migrate) upgrade "$${to:-head}"

.PHONY: rollback
rollback: .image ## [to=-1] [yes=1] go down, by default one step; says first what would be lost, and saves it
	@scripts/rollback.sh $(if $(yes),--yes) "$${to:--1}"

.PHONY: upgrade
upgrade: .image ## to=28801a7e4404 go up to a revision
	@scripts/backup.sh --before-migrate
	@$(migrate) upgrade "$${to:?which revision? make upgrade to=...}"

.PHONY: downgrade
downgrade: .image ## to=444acb4ddc7b [yes=1] go down to a revision, as rollback does
	@scripts/rollback.sh $(if $(yes),--yes) "$${to:?which revision? make downgrade to=...}"

.PHONY: restore-data
restore-data: .image ## [f=newest] put back what a step down had saved
	@$(migrate) restore-data "$${f:-newest}"

.PHONY: revision
revision: .tools ## m="what it does" [auto=1] new step; auto=1 writes it from the models, and lints it
	@$(if $(auto),$(on_scratch) revision --autogenerate,$(author) revision) -m "$${m:?what does it do? make revision m=\"...\"}"
	@$(if $(auto),$(in_tools) alembic lint head || true)

.PHONY: reparent
reparent: .tools ## [r=head] put local, unapplied steps onto the other head
	@$(author) reparent "$${r:-head}"

.PHONY: history
history: .image ## [page=1] all steps, newest first: applied or pending, when, how long, by which version
	@$(migrate) log --page "$${page:-1}"

.PHONY: current
current: .image ## where the database is
	@$(migrate) current

.PHONY: heads
heads: .image ## the newest step; more than one need `make merge`
	@$(migrate) heads

.PHONY: show
show: .image ## r=head one step
	@$(migrate) show "$${r:?which revision? make show r=...}"

.PHONY: check
check: .image .tools ## at head, models equal to schema, schema equal to the steps, files unchanged
	@$(migrate) current --check-heads && $(on_scratch) drift

.PHONY: migration-lint
migration-lint: .tools ## [json=1] find steps that would hurt; asks the database too, if it is up
	@$(in_tools) alembic lint $(if $(json),--json) $$([[ -z $$(docker compose ps --quiet --status running db) ]] || echo --database)

.PHONY: verify
verify: .tools ## [rows=100] [from=r] [to=r] every step down and up again on a scratch database, with rows
	@$(on_scratch) verify --rows "$${rows:-100}" $${from:+--from "$$from"} $${to:+--to "$$to"}

.PHONY: compat
compat: .image ## [ref=v0.1.0] the API tests of an older release (the last tag) on the schema of this one
	@scripts/compat.sh "$${ref:-}"

.PHONY: graph
graph: .tools ## [at=head] [svg=1] the steps, and the tables at a step
	@$(on_scratch) graph $(if $(svg),--svg) "$${at:-head}"

.PHONY: sql
sql: .image ## [from=base] [to=head] print the SQL of the steps, run nothing
	@$(migrate) upgrade "$${from:-base}:$${to:-head}" --sql

.PHONY: stamp
stamp: .image ## r=head note the revision without running a step
	@$(migrate) stamp "$${r:?which revision? make stamp r=...}"

.PHONY: merge
merge: .tools ## m="why" join several heads into one
	@$(author) merge heads -m "$${m:?why? make merge m=\"...\"}"

.PHONY: squash
squash: .tools ## to=b25a1c6f7e13 fold the steps up to there into one
	@$(on_scratch) squash "$${to:?up to which revision? make squash to=...}"

##@ Operate

.PHONY: deploy
deploy: .ready ## [tag=v0.2.0] [outage=1] replace the release in production; no request fails
	@scripts/deploy.sh $(if $(outage),--outage) $${tag:+"$$tag"}

.PHONY: undeploy
undeploy: .ready ## [yes=1] [schema=keep] go back to the release before, and its schema
	@scripts/undeploy.sh $(if $(yes),--yes) $(if $(filter keep,$(schema)),--keep-schema)

.PHONY: proxy-reload
proxy-reload: .ready ## the proxy reads services/proxy/haproxy.cfg anew; no request fails
	@scripts/proxy-reload.sh

.PHONY: status
status: .image ## [html=status.html] [json=1] services, schema, connections, backups, deploys, on one page
	@scripts/status.sh $(if $(html),--html "$$html") $(if $(json),--json)

.PHONY: backup
backup: .ready ## [keep=7] back the database up while it is in use; keep only the newest few
	@scripts/backup.sh

.PHONY: backups
backups: ## [json=1] the backups, newest first
	@scripts/backup.sh --list $(if $(json),--json)

.PHONY: backup-verify
backup-verify: .ready ## [f=newest] restore a backup into a throwaway database, and compare every table
	@scripts/backup.sh --verify "$${f:-newest}"

.PHONY: restore
restore: .image ## f=newest [yes=1] restore a backup beside the live database, compare, and swap the two
	@$(if $(yes),yes=1) scripts/restore.sh "$${f:?which backup? make restore f=newest, or a name of: make backups}"

.PHONY: restore-confirm
restore-confirm: .ready ## drop what was live before a restore
	@scripts/restore.sh --confirm

.PHONY: restore-undo
restore-undo: .ready ## swap back what was live before a restore
	@scripts/restore.sh --undo

.PHONY: db-upgrade
db-upgrade: .ready ## to=17 [back=1] [confirm=1] [yes=1] move the data to another version of PostgreSQL, on a volume of its own
	@$(if $(yes),yes=1) scripts/db-upgrade.sh $(if $(back),--back,$(if $(confirm),--confirm,"$${to:?to which version? make db-upgrade to=17}"))

.PHONY: rotate-secrets
rotate-secrets: .ready ## [finish=1] [apply=1] new passwords and token key, in .env and in the database
	@scripts/rotate-secrets.sh $(if $(finish),--finish) $(if $(apply),--apply)

.PHONY: swarm-deploy
swarm-deploy: .ready ## deploy to a Docker Swarm: first the migration as a job, then a rolling update of the API
	@scripts/swarm-deploy.sh

##@ Work on the code

.PHONY: lint
lint: .tools ## every check that CI makes
	@scripts/lint.sh

.PHONY: format
format: .tools ## put Python into shape
	@$(in_tools) sh -ec 'ruff check --fix --exit-zero --quiet .; ruff format .'

.PHONY: lock
lock: .tools ## write the lock files anew from pyproject.toml
	@docker compose run --rm lock scripts/lock.sh

.PHONY: test
test: test-unit test-api test-migrations test-stack ## all four tiers

.PHONY: test-unit test-api test-migrations
test-unit: ## no database
test-api: ## HTTP on a migrated database
test-migrations: ## the staircase, up and down, with rows
test-unit test-api test-migrations: test-%:
	@scripts/test.sh $*

.PHONY: under-load
under-load: .ready ## [rows=1000000] [strict=1] migrations under live traffic, safe and naive, with a plot
	@scripts/under-load.sh "$${rows:-1000000}" $(if $(strict),--strict)

.PHONY: bench
bench: .ready ## [rounds=5] [quick=1] [strict=1] [svg=1] the API's speed beside a tutorial-style baseline's
	@scripts/bench.sh --rounds "$${rounds:-5}" $(if $(quick),--quick) $(if $(strict),--strict) $(if $(svg),--svg docs/performance.svg --markdown docs/performance.md)

.PHONY: bench-migrations
bench-migrations: .ready ## [pairs=9] [strict=1] what the protection of migrations costs beside stock Alembic
	@scripts/bench-migrations.sh --pairs "$${pairs:-9}" $(if $(strict),--strict)

.PHONY: bench-floods
bench-floods: .ready ## [rounds=3] [strict=1] what others notice of one address that floods, with the proxy and without
	@scripts/bench-floods.sh --rounds "$${rounds:-3}" $(if $(strict),--strict)

.PHONY: loadtest
loadtest: .ready ## [minutes=10] [kill=1] mixed traffic for a set time; kills the database in the middle, and counts
	@scripts/loadtest.sh --minutes "$${minutes:-10}" $(if $(filter 0,$(kill)),--no-kill)

.PHONY: test-stack
test-stack: ## the real stack, from outside
	@scripts/test.sh stack

##@

.PHONY: help
help: ## this page
	@awk 'BEGIN { FS = ":.*## " } /^##@ / { printf "\n%s\n", substr($$0, 5) } \
	  /^[a-z-]+:.*## / { arg = ""; text = $$2; while (match(text, /^\[?[a-z]+=("[^"]*"|[^ \]]*)\]? /)) { arg = arg " " substr(text, 1, RLENGTH - 1); text = substr(text, RLENGTH + 1) } \
	  printf "  %-36s %s\n", $$1 arg, text }' $(MAKEFILE_LIST)

# What targets need: an engine, .env and base images; then an image that holds what the folder holds.
.PHONY: .ready .image .tools
.ready:
	@scripts/prepare/preflight.sh && scripts/prepare/env.sh && scripts/prepare/images.sh
.image: .ready
	@. scripts/lib/common.sh; read_stack; [[ -n $$in_production ]] || STEP_QUIET=1 step 'build' build_if_changed migrate api >&2 # there, only a deploy makes images
.tools: .ready
	@. scripts/lib/common.sh; read_stack; STEP_QUIET=1 step 'build' build_if_changed tools tools >&2
