CREATE TABLE user_sessions (tenant text NOT NULL, number integer NOT NULL, updated_at timestamptz NOT NULL, PRIMARY KEY (tenant, number));
INSERT INTO user_sessions VALUES
    ('a', 1, @{9 days}), ('a', 2, @{1h}), ('b', 1, @{1h}), ('b', 2, @{9 days}), ('a:2', 1, @{9 days}), ('', 2, @{9 days}), ('c', 1, @{9 days}), ('c', 2, @{2 days});
