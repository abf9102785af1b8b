CREATE TABLE user_sessions (id integer PRIMARY KEY, updated_at timestamptz NOT NULL);
CREATE INDEX by_age ON user_sessions (updated_at, id);
CREATE INDEX by_age_alone ON user_sessions (updated_at);
INSERT INTO user_sessions VALUES (1, @{1h}), (2, @{6 days});
