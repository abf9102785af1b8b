-- The roles of sereno in [database.scratch], written by `sereno roles` from what its jobs were granted.
--
-- Read it, then run it in that database as a superuser (or as the owner of its tables who may make roles):
--     psql --set ON_ERROR_STOP=1 --file roles.sql DATABASE
-- It may be run again after a grant changed: it gives what is granted now and takes back what no longer is.
-- It sets no password. Do that by hand, or let the server know the roles otherwise (a certificate, IAM):
--     \password sereno_restore
--
-- Two walls: sereno lets a plugin do only what its job was granted, and these roles cannot do more if it ever did.

BEGIN;

-- Backups are restored here. What they bring (defaults, checks, functions of indexes) runs as the role that restores, so
-- that role owns this database and has no rights in any other: take one that no other database knows.
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'sereno_restore') THEN
        CREATE ROLE "sereno_restore" LOGIN;
    END IF;
    EXECUTE pg_catalog.format('ALTER DATABASE %I OWNER TO %I', pg_catalog.current_database(), 'sereno_restore');
END
$$;
ALTER SCHEMA public OWNER TO "sereno_restore";

COMMIT;
