CREATE TABLE user_sessions (id bigint PRIMARY KEY, updated_at timestamptz NOT NULL);
CREATE INDEX by_age ON user_sessions (updated_at, id);
-- One an hour: the last seven days are 168 of them.
INSERT INTO user_sessions SELECT i, now() - make_interval(mins => i * 60 - 30) FROM generate_series(1, 1200) i;
