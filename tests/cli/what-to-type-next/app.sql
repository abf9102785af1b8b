create table user_sessions (id integer primary key, updated_at text);
insert into user_sessions (updated_at) values ('2020-01-01 00:00:00'), ('2020-01-02 00:00:00'), ('2020-01-03 00:00:00');
insert into user_sessions (updated_at) values (strftime('%Y-%m-%d %H:%M:%S', 'now', '-2 hours'));
