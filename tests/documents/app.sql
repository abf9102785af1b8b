-- The tables that the plugins' pages name, each with something old in it.
CREATE TABLE user_sessions (id INTEGER PRIMARY KEY, updated_at TEXT NOT NULL);
INSERT INTO user_sessions VALUES (1, datetime('now', '-5 minutes')), (2, datetime('now', '-9 days'));
CREATE TABLE audit_logs (id INTEGER PRIMARY KEY, created_at TEXT NOT NULL);
INSERT INTO audit_logs VALUES (1, datetime('now', '-100 days'));
CREATE TABLE notifications (id INTEGER PRIMARY KEY, created_at TEXT NOT NULL, status TEXT NOT NULL);
INSERT INTO notifications VALUES (1, datetime('now', '-90 days'), 'sent'), (2, datetime('now', '-1 day'), 'sent');
