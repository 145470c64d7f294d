-- Postgres holds whole ticks and lots as the journal does (docs/decisions/0004); the views ..._decimal show decimals.
-- Times are timestamptz, which keeps microseconds. Who writes here: the recorder alone.

-- The journal once more, byte for byte, from which it can be restored. Large payloads are compressed (to about a third),
-- which is faster than writing them as they are.
create table journal_commits (
    sequence bigint primary key,
    hash     bytea not null,
    payload  bytea not null,
    time     timestamptz not null
);

-- Always exactly one row: how far the journal is recorded. Every transaction of the recorder moves it, and only from
-- where the recorder believes it to be.
create table recorder_position (
    only_row      boolean primary key default true check (only_row),
    sequence      bigint not null,
    hash          bytea not null,
    journal_epoch text
) with (fillfactor = 10);
insert into recorder_position (sequence, hash) values (0, decode(repeat('00', 32), 'hex'));

create table instruments (
    symbol       text collate "C" primary key,
    tick_size    text not null,
    lot_size     text not null,
    min_quantity bigint not null,
    max_quantity bigint not null,
    status       text collate "C" not null,
    sequence     bigint not null
);
comment on column instruments.tick_size is 'the decimal as it was given; cast it to numeric to calculate';
comment on column instruments.sequence is 'journal sequence of the commit that last defined it';

create table orders (
    order_id        bigint primary key,
    client_order_id text collate "C",
    account         text collate "C" not null,
    symbol          text collate "C" not null,
    side            text not null,
    type            text not null,
    time_in_force   text not null,
    post_only       boolean not null,
    price           bigint,
    quantity        bigint not null,
    filled_quantity bigint not null,
    filled_notional numeric not null,
    status          text collate "C" not null,
    reason          text,
    created_at      timestamptz not null,
    updated_at      timestamptz not null,
    sequence        bigint not null
);
comment on column orders.filled_notional is 'sum of price x quantity over the fills, in ticks x lots';
comment on column orders.reason is 'why it was canceled';
comment on column orders.sequence is 'journal sequence of its last change';

-- Newest first without a filter, or with one that most rows pass, is the primary key backwards. Each column below can
-- be rare, and then only its index finds the page; two of them together are filtered from the rarer one.
create index orders_by_account on orders (account, order_id);
create index orders_by_symbol on orders (symbol, order_id);
create index orders_by_status on orders (status, order_id);
-- Not unique: an account may use an id again once the engine's window has forgotten it.
create index orders_by_client_order_id on orders (account, client_order_id) where client_order_id is not null;

create table trades (
    trade_id         bigint primary key,
    symbol           text collate "C" not null,
    price            bigint not null,
    quantity         bigint not null,
    taker_side       text not null,
    maker_order_id   bigint not null,
    taker_order_id   bigint not null,
    executed_at      timestamptz not null,
    journal_sequence bigint not null
);
create index trades_by_symbol on trades (symbol, trade_id);
create index trades_by_maker on trades (maker_order_id);
create index trades_by_taker on trades (taker_order_id);

-- For people

create view instruments_decimal as
select
    symbol,
    trim_scale(tick_size::numeric) as tick_size,
    trim_scale(lot_size::numeric) as lot_size,
    min_quantity * trim_scale(lot_size::numeric) as min_quantity,
    max_quantity * trim_scale(lot_size::numeric) as max_quantity,
    status,
    sequence
from instruments;

create view orders_decimal as
select
    o.order_id,
    o.client_order_id,
    o.account,
    o.symbol,
    o.side,
    o.type,
    o.time_in_force,
    o.post_only,
    o.price * i.tick_size as price,
    o.quantity * i.lot_size as quantity,
    o.filled_quantity * i.lot_size as filled_quantity,
    case when o.status = 'canceled' then 0 else o.quantity - o.filled_quantity end * i.lot_size as remaining_quantity,
    round(o.filled_notional * i.tick_size / nullif(o.filled_quantity, 0), scale(i.tick_size) + 8) as average_price,
    o.status,
    o.reason,
    o.created_at,
    o.updated_at,
    o.sequence
from orders o
join instruments_decimal i using (symbol);

create view trades_decimal as
select
    t.trade_id,
    t.symbol,
    t.price * i.tick_size as price,
    t.quantity * i.lot_size as quantity,
    t.taker_side,
    t.maker_order_id,
    t.taker_order_id,
    t.executed_at,
    t.journal_sequence
from trades t
join instruments_decimal i using (symbol);
