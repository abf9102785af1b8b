CREATE TABLE user_sessions (id integer PRIMARY KEY, updated_at timestamptz NOT NULL);
CREATE TABLE pages (id integer PRIMARY KEY, session integer NOT NULL REFERENCES user_sessions ON DELETE CASCADE);
INSERT INTO user_sessions VALUES (1, @{1h}), (2, @{9 days});
INSERT INTO pages VALUES (10, 1), (20, 2), (21, 2);
