CREATE TABLE orders (id integer PRIMARY KEY);
INSERT INTO orders VALUES (1), (2), (3);
CREATE TABLE churn (id integer PRIMARY KEY);
INSERT INTO churn SELECT generate_series(1, 1500);
DELETE FROM churn;
