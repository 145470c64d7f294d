-- More terms of orders, what happened to them on the way, candles, and what holds for whole accounts.
-- The tables that are made from the journal are emptied here and filled again from journal_commits
-- (recorder/rebuild.py): the new columns speak of orders of the past as well.

truncate orders, trades, instruments;
drop view orders_decimal, instruments_decimal, trades_decimal;

-- Orders

alter table orders
    add column placed_sequence       bigint not null,
    add column triggered             boolean not null default false,
    add column stop_price            bigint,
    add column display_quantity      bigint,
    add column protection_price      bigint,
    add column notional              bigint,
    add column expires_at            timestamptz,
    add column self_trade_prevention text,
    add column placed_price          bigint,
    add column placed_quantity       bigint,
    add column placed_stop_price     bigint;
comment on column orders.reason is 'why it was canceled; expired for one that has expired';
comment on column orders.placed_sequence is 'journal sequence of the commit that placed it';
comment on column orders.self_trade_prevention is 'null stands for none';
comment on column orders.placed_quantity is
    'null: price, quantity and stop_price are what it was placed with; else these are in the columns placed_...';

-- What neither an order's row (placed, and how it ended) nor its trades tell. The view order_history has all of it.
create table order_events (
    order_id       bigint not null,
    sequence       bigint not null,
    number         integer not null,
    event          text not null,
    price          bigint,
    quantity       bigint,
    stop_price     bigint,
    priority_kept  boolean,
    trade_id       bigint,
    after_trade_id bigint not null,
    time           timestamptz not null,
    primary key (order_id, sequence, number)
);
comment on column order_events.event is 'amended, reduced (by self-trade prevention) or triggered';
comment on column order_events.number is 'counts the rows of one commit';
comment on column order_events.quantity is 'new price, quantity and stop_price; all null if they have not changed';
comment on column order_events.trade_id is 'the trade that triggered it';
comment on column order_events.after_trade_id is 'the last trade of the exchange before it: its place among the fills';

-- Instruments

alter table instruments
    add column lowest_price      bigint,
    add column highest_price     bigint,
    add column band_basis_points bigint;
comment on column instruments.sequence is 'journal sequence of the commit that last changed it';

-- Candles: of a second, a minute and an hour; those of other intervals are made of them. A candle's trades are those of
-- the commits with open_time <= time < open_time + length.
create table candles (
    symbol         text collate "C" not null,
    length_seconds integer not null,
    open_time      timestamptz not null,
    open           bigint not null,
    high           bigint not null,
    low            bigint not null,
    close          bigint not null,
    volume         numeric not null,
    trades         bigint not null,
    primary key (symbol, length_seconds, open_time)
);

-- Accounts

create table positions (
    account  text collate "C" not null,
    symbol   text collate "C" not null,
    quantity numeric not null,
    primary key (account, symbol)
) with (fillfactor = 50);
comment on column positions.quantity is 'lots bought less lots sold';

create table account_limits (
    account         text collate "C" primary key,
    max_open_orders bigint,
    updated_at      timestamptz not null,
    sequence        bigint not null
);

create table symbol_limits (
    account            text collate "C" not null,
    symbol             text collate "C" not null,
    max_order_quantity bigint,
    max_order_notional bigint,
    max_position       bigint,
    primary key (account, symbol)
);

create table kill_switches (
    account    text collate "C" primary key,
    engaged    boolean not null,
    updated_at timestamptz not null,
    sequence   bigint not null
);

create table dead_mans_switches (
    account    text collate "C" primary key,
    deadline   timestamptz,
    updated_at timestamptz not null,
    sequence   bigint not null
);
comment on column dead_mans_switches.deadline is 'when all its orders are canceled; null while it is not armed';

-- Time ranges. Ids have no gaps and times never go back with them, so halving finds where a range begins: about thirty
-- look-ups by primary key instead of one more index on the largest tables.

create function first_trade_since(since timestamptz) returns bigint language sql stable as $$
    with recursive halving (low, high) as (
        select 1::bigint, coalesce(max(trade_id), 0) + 1 from trades
        union all
        select
            case when executed_at < since then middle + 1 else low end,
            case when executed_at < since then high else middle end
        from (select low, high, (low + high) / 2 as middle from halving where low < high) half
        left join trades on trade_id = middle
    )
    select low from halving where low = high
$$;

create function first_order_since(since timestamptz) returns bigint language sql stable as $$
    with recursive halving (low, high) as (
        select 1::bigint, coalesce(max(order_id), 0) + 1 from orders
        union all
        select
            case when created_at < since then middle + 1 else low end,
            case when created_at < since then high else middle end
        from (select low, high, (low + high) / 2 as middle from halving where low < high) half
        left join orders on order_id = middle
    )
    select low from halving where low = high
$$;

-- For people

-- Half to even at eight more decimals than the tick has; zeros at the end go, except the tick's own decimals.
create function average_price(notional numeric, quantity bigint, tick_size numeric) returns numeric
language plpgsql immutable strict as $$
declare
    decimals integer := 8 + scale(tick_size);
    doubled numeric;
    rounded numeric;
begin
    if quantity = 0 then
        return null;
    end if;
    doubled := 2 * notional * tick_size * ('1e' || decimals)::numeric + quantity;
    rounded := div(doubled, 2 * quantity);
    if doubled % (2 * quantity) = 0 and rounded % 2 = 1 then
        rounded := rounded - 1;
    end if;
    return trim_scale(rounded * ('1e-' || decimals)::numeric) + (tick_size - tick_size);
end
$$;

create view instruments_decimal as
select
    symbol,
    trim_scale(tick_size::numeric) as tick_size,
    trim_scale(lot_size::numeric) as lot_size,
    min_quantity * trim_scale(lot_size::numeric) as min_quantity,
    max_quantity * trim_scale(lot_size::numeric) as max_quantity,
    status,
    lowest_price * trim_scale(tick_size::numeric) as lowest_price,
    highest_price * trim_scale(tick_size::numeric) as highest_price,
    band_basis_points,
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
    case when o.status in ('canceled', 'expired') then 0 else o.quantity - o.filled_quantity end * i.lot_size
        as remaining_quantity,
    average_price(o.filled_notional, o.filled_quantity, i.tick_size) as average_price,
    o.status,
    o.reason,
    o.created_at,
    o.updated_at,
    o.sequence,
    o.stop_price * i.tick_size as stop_price,
    o.triggered,
    o.display_quantity * i.lot_size as display_quantity,
    o.protection_price * i.tick_size as protection_price,
    o.notional * i.tick_size * i.lot_size as notional,
    o.expires_at,
    coalesce(o.self_trade_prevention, 'none') as self_trade_prevention
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

create view candles_decimal as
select
    c.symbol,
    c.length_seconds,
    c.open_time,
    c.open * i.tick_size as open,
    c.high * i.tick_size as high,
    c.low * i.tick_size as low,
    c.close * i.tick_size as close,
    c.volume * i.lot_size as volume,
    c.trades
from candles c
join instruments_decimal i using (symbol);

create view positions_decimal as
select p.account, p.symbol, p.quantity * i.lot_size as quantity
from positions p
join instruments_decimal i using (symbol);

-- Everything that ever happened to an order, in true order: ask with `where order_id = ...`. `number` counts from 1;
-- price, quantity, stop_price and filled_quantity are those after the event.
create view order_history as
select
    order_id,
    row_number() over so_far as number,
    sequence,
    time,
    event,
    -- The latest terms so far: arrays compare by their first elements, here the place of the event that brought them.
    (max(terms) over so_far)[5] as price,
    (max(terms) over so_far)[6] as quantity,
    (max(terms) over so_far)[7] as stop_price,
    sum(fill) over so_far as filled_quantity,
    priority_kept,
    reason,
    trade_id
from (
    select order_id, placed_sequence as sequence, created_at as time, 'accepted' as event,
        array[
            0, 0, 0, 0,
            case when placed_quantity is null then price else placed_price end,
            coalesce(placed_quantity, quantity),
            case when placed_quantity is null then stop_price else placed_stop_price end
        ] as terms,
        0::bigint as fill, null::boolean as priority_kept, null as reason, null::bigint as trade_id,
        0::bigint as after_trade_id, 0 as step, 0 as event_number
    from orders
    union all
    select order_id, sequence, time, event,
        case when quantity is not null then array[after_trade_id, 2, sequence, number, price, quantity, stop_price] end,
        0, priority_kept, null, trade_id, after_trade_id, 2, number
    from order_events
    union all
    select maker_order_id, journal_sequence, executed_at, 'trade', null, quantity, null, null, trade_id, trade_id, 1, 0
    from trades
    union all
    select taker_order_id, journal_sequence, executed_at, 'trade', null, quantity, null, null, trade_id, trade_id, 1, 0
    from trades
    union all
    select order_id, sequence, updated_at, status, null, 0, null, reason, null, 9223372036854775807, 3, 0
    from orders
    where status in ('canceled', 'expired')
) happened
window so_far as (partition by order_id order by after_trade_id, step, sequence, event_number);
