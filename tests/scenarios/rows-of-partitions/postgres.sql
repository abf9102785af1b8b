CREATE TABLE user_sessions (id integer NOT NULL, updated_at timestamptz NOT NULL, region text NOT NULL, PRIMARY KEY (region, id)) PARTITION BY LIST (region);
CREATE TABLE sessions_eu PARTITION OF user_sessions FOR VALUES IN ('eu');
CREATE TABLE sessions_us PARTITION OF user_sessions FOR VALUES IN ('us');
-- The same place in each partition: where a row lies names it only together with the partition.
INSERT INTO user_sessions VALUES (1, @{9 days}, 'eu'), (2, @{1h}, 'eu'), (3, @{1h}, 'us'), (4, @{9 days}, 'us'), (5, @{9 days}, 'us');
