CREATE TABLE user_sessions (id integer PRIMARY KEY, updated_at timestamptz, state text, tries integer);
INSERT INTO user_sessions VALUES
    (1, @{9 days}, 'sent', 3), (2, @{9 days}, 'failed', 3), (3, @{9 days}, 'sent', 1), (4, @{9 days}, NULL, 3),
    (5, @{1h}, 'sent', 3), (6, @{9 days}, 'Sent', 3), (7, @{9 days}, 'sent', 2);
