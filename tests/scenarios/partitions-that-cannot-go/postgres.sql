CREATE TABLE with_default (id integer, at timestamptz) PARTITION BY RANGE (at);
CREATE TABLE default_1 PARTITION OF with_default FOR VALUES FROM ('2019-01-01') TO ('2020-01-01');
CREATE TABLE default_2 PARTITION OF with_default FOR VALUES FROM ('2020-01-01') TO ('2021-01-01');
CREATE TABLE default_rest PARTITION OF with_default DEFAULT;
INSERT INTO with_default VALUES (1, '2019-06-01'), (2, '2020-06-01'), (3, now());

CREATE TABLE referred_to (id integer, day date, PRIMARY KEY (id, day)) PARTITION BY RANGE (day);
CREATE TABLE referred_1 PARTITION OF referred_to FOR VALUES FROM ('2019-01-01') TO ('2020-01-01');
CREATE TABLE referred_2 PARTITION OF referred_to FOR VALUES FROM ('2020-01-01') TO ('2031-01-01');
INSERT INTO referred_to VALUES (1, '2019-06-01'), (2, '2020-06-01');
CREATE TABLE details (id integer, of integer, day date, FOREIGN KEY (of, day) REFERENCES referred_to);

CREATE TABLE by_list (id integer, region text) PARTITION BY LIST (region);
CREATE TABLE list_eu PARTITION OF by_list FOR VALUES IN ('eu');
INSERT INTO by_list VALUES (1, 'eu');

CREATE TABLE only_one (id integer, at timestamp) PARTITION BY RANGE (at);
CREATE TABLE only_1 PARTITION OF only_one FOR VALUES FROM ('2019-01-01') TO ('2020-01-01');
INSERT INTO only_one VALUES (1, '2019-06-01');

CREATE TABLE guarded (id integer, at timestamp) PARTITION BY RANGE (at);
CREATE TABLE guarded_1 PARTITION OF guarded FOR VALUES FROM ('2019-01-01') TO ('2020-01-01');
CREATE TABLE guarded_2 PARTITION OF guarded FOR VALUES FROM ('2020-01-01') TO ('2031-01-01');
INSERT INTO guarded VALUES (1, '2019-06-01'), (2, '2019-07-01'), (3, '2020-06-01');
