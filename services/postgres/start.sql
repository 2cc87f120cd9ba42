-- What start.sh runs at every start, as the superuser, in the database `postgres`: the database, if the cluster is new, then
-- roles.sql in it, then a mark (`mark` is the file's name), without which the server is not healthy.
\getenv database POSTGRES_DB
SELECT format('CREATE DATABASE %I', :'database')
WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname NOT IN ('postgres', 'template0', 'template1'))
    AND :'database' <> 'postgres'
\gexec
\connect :"database"
\ir roles.sql
\o :mark
\qecho done
