CREATE TABLE user_sessions (id INTEGER PRIMARY KEY, updated_at TEXT NOT NULL);
CREATE INDEX by_age ON user_sessions (updated_at, id);
-- One an hour: the last seven days are 168 of them.
WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1200)
INSERT INTO user_sessions SELECT i, datetime('now', '-' || (i * 60 - 30) || ' minutes') FROM n;
