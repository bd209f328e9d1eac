-- SPDX-License-Identifier: Apache-2.0
-- Rows inserted, indexed, joined and updated, in memory.
CREATE TABLE person(id INTEGER PRIMARY KEY, name TEXT, town INTEGER, born INTEGER);
CREATE TABLE town(id INTEGER PRIMARY KEY, name TEXT);
BEGIN;
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 500)
INSERT INTO town SELECT i, 'town ' || i FROM n;
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200000)
INSERT INTO person
    SELECT i, 'person ' || (i * 7919 % 200000), i * 31 % 500 + 1, 1900 + i % 120 FROM n;
COMMIT;
CREATE INDEX person_name ON person(name);
CREATE INDEX person_town ON person(town);
UPDATE person SET born = born + 1 WHERE town % 7 = 3;
SELECT town.name, count(*), avg(born) FROM person JOIN town ON town.id = person.town
    GROUP BY town.id ORDER BY 2 DESC, 1 LIMIT 3;
SELECT count(*) FROM person a JOIN person b ON a.name = b.name WHERE a.town < b.town + 100;
SELECT name FROM person WHERE name LIKE '%999%' ORDER BY name LIMIT 2;
