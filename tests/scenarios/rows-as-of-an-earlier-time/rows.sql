CREATE TABLE user_sessions (id integer PRIMARY KEY, updated_at timestamptz);
INSERT INTO user_sessions VALUES
    (1, '2025-12-01 00:00:00'), (2, '2025-12-24 02:30:00'), (3, '2025-12-24 02:29:59'), (4, '2025-11-01 00:00:00');
