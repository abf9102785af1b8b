-- The roles of sereno in [database.app], written by `sereno roles` from what its jobs were granted.
--
-- Read it, then run it in that database as a superuser (or as the owner of its tables who may make roles):
--     psql --set ON_ERROR_STOP=1 --file roles.sql DATABASE
-- It may be run again after a grant changed: it gives what is granted now and takes back what no longer is.
-- It sets no password. Do that by hand, or let the server know the roles otherwise (a certificate, IAM):
--     \password sereno_rows
--
-- Two walls: sereno lets a plugin do only what its job was granted, and these roles cannot do more if it ever did.

BEGIN;

-- "sereno_rows" reads and deletes rows, and nothing else: the user of `url`.

DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'sereno_rows') THEN
        CREATE ROLE "sereno_rows" LOGIN;
    END IF;
    EXECUTE pg_catalog.format('GRANT CONNECT ON DATABASE %I TO %I', pg_catalog.current_database(), 'sereno_rows');
END
$$;
-- No superuser: a trigger of somebody else's would run with all its power as soon as it deletes a row.
ALTER ROLE "sereno_rows" NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS;
-- Names are looked up in the catalogue alone: nobody's function or operator can stand in for the one that was meant.
ALTER ROLE "sereno_rows" SET search_path = pg_catalog, pg_temp;
-- A statement whose client died, or a transaction that nobody goes on with, does not hold others up.
ALTER ROLE "sereno_rows" SET idle_in_transaction_session_timeout = '60s';

REVOKE ALL ON ALL TABLES IN SCHEMA "public" FROM "sereno_rows";
REVOKE ALL ON SCHEMA "public" FROM "sereno_rows";
GRANT USAGE ON SCHEMA "public" TO "sereno_rows";

-- audit-logs, index-upkeep, table-upkeep
GRANT SELECT, DELETE ON TABLE "public"."audit_logs" TO "sereno_rows";
-- index-upkeep, sent-notifications, table-upkeep
GRANT SELECT, DELETE ON TABLE "public"."notifications" TO "sereno_rows";
-- table-upkeep
GRANT SELECT ON TABLE "public"."tenant_invoices" TO "sereno_rows";
-- table-upkeep
GRANT SELECT ON TABLE "public"."tenant_payments" TO "sereno_rows";
-- table-upkeep
GRANT SELECT ON TABLE "public"."tenant_subscriptions" TO "sereno_rows";
-- capacity-check, expired-sessions, index-upkeep, table-upkeep
GRANT SELECT, DELETE ON TABLE "public"."user_sessions" TO "sereno_rows";
-- The same on their partitions, where they have any.
DO $$
DECLARE
    part regclass;
BEGIN
    FOR part IN
        SELECT tree.relid
        FROM pg_catalog.unnest(ARRAY['"public"."audit_logs"', '"public"."notifications"', '"public"."user_sessions"']) AS wanted, pg_catalog.pg_partition_tree(wanted::regclass) AS tree
    LOOP
        EXECUTE 'GRANT SELECT, DELETE ON TABLE ' || (SELECT pg_catalog.format('%I.%I', n.nspname, c.relname)
            FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
            WHERE c.oid = part) || ' TO "sereno_rows"';
    END LOOP;
END
$$;
-- capacity-check, idle-connections, index-upkeep, table-upkeep, usage-report: who is connected and what takes long, of all users; it reads no rows
GRANT pg_read_all_stats TO "sereno_rows";

-- Beside the rows: who may work on them now (the fence), and what was done (the effects), in the same transaction as the
-- change. Made here, so that "sereno_rows" need not be allowed to make anything.
CREATE SCHEMA IF NOT EXISTS sereno;
CREATE TABLE IF NOT EXISTS sereno.fence (scope text PRIMARY KEY, token bigint NOT NULL, at timestamptz NOT NULL);
CREATE TABLE IF NOT EXISTS sereno.effect (run text NOT NULL, attempt integer NOT NULL, batch integer NOT NULL, scope text NOT NULL, rows bigint NOT NULL, bytes bigint, cursor text, at timestamptz NOT NULL, PRIMARY KEY (run, attempt, batch));
ALTER SCHEMA sereno OWNER TO CURRENT_USER;
ALTER TABLE sereno.fence OWNER TO CURRENT_USER;
ALTER TABLE sereno.effect OWNER TO CURRENT_USER;
REVOKE ALL ON SCHEMA sereno FROM PUBLIC;
GRANT USAGE ON SCHEMA sereno TO "sereno_rows";
GRANT SELECT, INSERT, UPDATE, DELETE ON TABLE sereno.fence TO "sereno_rows";
GRANT SELECT, INSERT, DELETE ON TABLE sereno.effect TO "sereno_rows";

-- "sereno_upkeep" does upkeep and reads no rows to do it: the user of `upkeep_url`, past any pooler.

DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'sereno_upkeep') THEN
        CREATE ROLE "sereno_upkeep" LOGIN;
    END IF;
    EXECUTE pg_catalog.format('GRANT CONNECT ON DATABASE %I TO %I', pg_catalog.current_database(), 'sereno_upkeep');
END
$$;
-- No superuser: a trigger of somebody else's would run with all its power as soon as it deletes a row.
ALTER ROLE "sereno_upkeep" NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS;
-- Names are looked up in the catalogue alone: nobody's function or operator can stand in for the one that was meant.
ALTER ROLE "sereno_upkeep" SET search_path = pg_catalog, pg_temp;
-- A statement whose client died, or a transaction that nobody goes on with, does not hold others up.
ALTER ROLE "sereno_upkeep" SET idle_in_transaction_session_timeout = '60s';

REVOKE ALL ON ALL TABLES IN SCHEMA "public" FROM "sereno_upkeep";
REVOKE ALL ON SCHEMA "public" FROM "sereno_upkeep";
GRANT USAGE ON SCHEMA "public" TO "sereno_upkeep";

-- table-upkeep: "public"."audit_logs"
-- table-upkeep: "public"."notifications"
-- table-upkeep: "public"."tenant_invoices"
-- table-upkeep: "public"."tenant_payments"
-- table-upkeep: "public"."tenant_subscriptions"
-- table-upkeep: "public"."user_sessions"
DO $$
DECLARE
    one record;
BEGIN
    FOR one IN
        WITH wanted AS (SELECT wanted::regclass AS part FROM pg_catalog.unnest(ARRAY['"public"."audit_logs"', '"public"."notifications"', '"public"."tenant_invoices"', '"public"."tenant_payments"', '"public"."tenant_subscriptions"', '"public"."user_sessions"']) AS wanted)
        SELECT c.oid, n.nspname, c.relname, o.rolname AS owner, o.rolsuper
        FROM (SELECT part FROM wanted
              UNION SELECT tree.relid FROM wanted, pg_catalog.pg_partition_tree(wanted.part) AS tree) AS every
        JOIN pg_catalog.pg_class AS c ON c.oid = every.part
        JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
        JOIN pg_catalog.pg_roles AS o ON o.oid = c.relowner
    LOOP
        IF pg_catalog.current_setting('server_version_num')::int >= 170000 THEN
            EXECUTE pg_catalog.format('GRANT MAINTAIN ON TABLE %I.%I TO %I', one.nspname, one.relname, 'sereno_upkeep');
        ELSIF one.rolsuper THEN
            RAISE WARNING 'table %.% belongs to the superuser %: this work needs another owner',
                one.nspname, one.relname, one.owner;
        ELSE
            -- A member may do all that the owner may: use this role for nothing else.
            EXECUTE pg_catalog.format('GRANT %I TO %I', one.owner, 'sereno_upkeep');
        END IF;
    END LOOP;
END
$$;
-- idle-connections: ends connections of others, never a superuser's
GRANT pg_signal_backend TO "sereno_upkeep";
-- backup: a backup reads all there is; it changes nothing
GRANT pg_read_all_data TO "sereno_upkeep";

COMMIT;
