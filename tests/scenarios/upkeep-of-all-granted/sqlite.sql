CREATE TABLE user_sessions (id INTEGER PRIMARY KEY, updated_at TEXT NOT NULL);
CREATE INDEX by_age ON user_sessions (updated_at, id);
CREATE TABLE tenant_invoices (id INTEGER PRIMARY KEY, issued_at TEXT NOT NULL);
CREATE INDEX by_issue ON tenant_invoices (issued_at);
WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1200)
INSERT INTO user_sessions SELECT i, datetime('now') FROM n;
WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100)
INSERT INTO tenant_invoices SELECT i, datetime('now') FROM n;
