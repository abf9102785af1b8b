CREATE TABLE user_sessions (id bigint PRIMARY KEY, updated_at timestamptz NOT NULL);
CREATE TABLE tenant_invoices (id bigint PRIMARY KEY, issued_at timestamptz NOT NULL);
INSERT INTO user_sessions SELECT i, now() FROM generate_series(1, 1200) i;
INSERT INTO tenant_invoices SELECT i, now() FROM generate_series(1, 100) i;
