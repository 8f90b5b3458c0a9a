-- SPDX-License-Identifier: MIT
-- A database in memory: filled, half of it deleted, refilled with longer rows, indexed, and read.
PRAGMA temp_store = MEMORY;
CREATE TABLE entry (id INTEGER PRIMARY KEY, name TEXT, body TEXT);
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 120000)
    INSERT INTO entry SELECT i, 'entry ' || i, substr(hex(randomblob(80)), 1, 20 + i % 120) FROM n;
CREATE INDEX entry_name ON entry (name);
DELETE FROM entry WHERE id % 2 = 0;
WITH RECURSIVE n(i) AS (SELECT 120001 UNION ALL SELECT i + 1 FROM n WHERE i < 180000)
    INSERT INTO entry SELECT i, 'entry ' || i, substr(hex(randomblob(200)), 1, 150 + i % 240) FROM n;
CREATE TABLE counted AS SELECT length(body) AS size, count(*) AS n FROM entry GROUP BY size;
SELECT count(*), sum(length(body)) FROM entry;
SELECT e.name, f.name FROM entry e JOIN entry f ON f.id = e.id + 1 ORDER BY f.body DESC LIMIT 5;
DROP TABLE counted;
SELECT count(*) FROM (SELECT DISTINCT substr(body, 1, 6) FROM entry);
