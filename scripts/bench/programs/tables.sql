-- SPDX-License-Identifier: MIT
-- Tables in memory: filled, indexed, joined, updated, thinned out.
pragma temp_store = memory;
create table item (id integer primary key, name text, price real, tag integer);
insert into item
    with recursive n(i) as (select 1 union all select i + 1 from n where i < 60000)
    select i, 'item number ' || (i * 7919 % 60007) || substr('xxxxxxxxxxxxxxxxxxxxxxxxxxxxxx', 1, i % 30), i * 1.5, i % 97 from n;
create index by_name on item (name);
create table tag as select tag, count(*) as items, group_concat(substr(name, 13, 5)) as some from item group by tag;
select count(*), sum(length(some)) from tag;
update item set name = upper(name) || ' changed' where id % 5 = 0;
delete from item where id % 3 = 0;
select count(distinct a.name) from item a join tag t on a.tag = t.tag where t.items > 10 and a.price > 500;
insert into item (name, price, tag) select name || ' again', price + 1, tag from item where id % 7 = 0;
select count(*), max(name) from (select name from item order by price * (id % 13), name);
