CREATE TABLE orders (id bigint PRIMARY KEY, tenant text NOT NULL);
INSERT INTO orders SELECT i, 't' || i % 3 FROM generate_series(1, 500) i;
CREATE SCHEMA tenant_7;
CREATE TABLE tenant_7.notes (id bigint PRIMARY KEY);
INSERT INTO tenant_7.notes SELECT generate_series(1, 20);
