CREATE TABLE user_sessions (token text PRIMARY KEY, updated_at timestamptz NOT NULL);
INSERT INTO user_sessions VALUES
    ('it''s', @{9 days}), ('ITS', @{1h}), ('its', @{9 days}), ('año', @{9 days}), ('ano', @{1h}), ('', @{9 days}), ('a"b', @{1h}), ('1', @{9 days}), ('01', @{1h});
