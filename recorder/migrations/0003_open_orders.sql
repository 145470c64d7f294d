-- What is still open is listed apart, and no index of `orders` that holds rows has the status in it: so what happens to
-- an order leaves all of them as they are (docs/decisions/0032).

create table open_orders (
    order_id bigint primary key
);
comment on table open_orders is 'the orders that are open or partially filled';

insert into open_orders select order_id from orders where status in ('open', 'partially_filled');

-- This one only says which pages may hold a status: for statuses of closed orders that hardly any has.
drop index orders_by_status;
create index orders_by_status on orders using brin (status text_bloom_ops) with (pages_per_range = 32, autosummarize = on);

alter table orders set (fillfactor = 90);
