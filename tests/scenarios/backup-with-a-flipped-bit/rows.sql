CREATE TABLE invoices (id integer PRIMARY KEY, total text NOT NULL);
INSERT INTO invoices VALUES (1, '10.00'), (2, '20.50'), (3, '7.25');
CREATE TABLE audit_logs (id integer PRIMARY KEY, what text);
INSERT INTO audit_logs VALUES (1, NULL), (2, 'ñ');
