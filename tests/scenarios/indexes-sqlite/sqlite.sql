CREATE TABLE owners (id integer PRIMARY KEY);
CREATE TABLE orders (id integer PRIMARY KEY, owner integer REFERENCES owners (id), at text, note text);
CREATE INDEX short ON orders (note);
CREATE INDEX long ON orders (note, id);
INSERT INTO owners VALUES (1);
INSERT INTO orders VALUES (1, 1, '2026-11-01 00:00:00', 'x');
