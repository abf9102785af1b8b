CREATE TABLE events (id integer NOT NULL, at timestamptz NOT NULL, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
DO $$
DECLARE day timestamptz := date_trunc('day', now());
BEGIN
    EXECUTE format('CREATE TABLE events_1 PARTITION OF events FOR VALUES FROM (MINVALUE) TO (%L)', day - interval '150 days');
    EXECUTE format('CREATE TABLE events_2 PARTITION OF events FOR VALUES FROM (%L) TO (%L)', day - interval '150 days', day - interval '91 days');
    EXECUTE format('CREATE TABLE events_3 PARTITION OF events FOR VALUES FROM (%L) TO (%L)', day - interval '91 days', day - interval '60 days');
    EXECUTE format('CREATE TABLE events_4 PARTITION OF events FOR VALUES FROM (%L) TO (MAXVALUE)', day - interval '60 days');
END $$;
-- 6 is older than it has to be kept, in a partition with others that are not.
INSERT INTO events VALUES (1, @{400 days}), (2, @{160 days}), (3, @{140 days}), (4, @{120 days}), (5, @{100 days}),
    (6, now() - interval '90 days 12 hours'), (7, @{70 days}), (8, @{1h});
-- Somebody else's, with a name as if it had been one of them.
CREATE TABLE events_0 (id integer NOT NULL, at timestamptz NOT NULL);
INSERT INTO events_0 VALUES (0, @{500 days});
CREATE VIEW there AS SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r';
