CREATE TABLE user_sessions (id integer PRIMARY KEY, updated_at timestamptz);
INSERT INTO user_sessions VALUES
    (1, @{1h}), (2, @{6 days}), (3, @{8 days}), (4, @{40 days});
