create table user_sessions (id integer primary key, updated_at text);
create table audit_logs (id integer primary key, at text);
