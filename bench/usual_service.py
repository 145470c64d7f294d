"""An exchange as one is usually begun: FastAPI, SQLAlchemy, a row for each order and each trade, one transaction each.

Written to be compared with, in the form in which tutorials and first versions have it, and as good as that form allows:
asynchronous sessions from a pool, a partial index on what rests, makers read a few at a time, an order of a symbol at a
time by a row lock, decimals all the way. It serves `POST /orders` with the bodies and about the answers of ours.

    python usual_service.py create        # makes the tables
    python usual_service.py serve PORT    # two processes

The variable USUAL_DATABASE is the address of the database. It is run by the Python of an environment of its own
(bench/environments.py), which has its libraries.
"""
# mypy: ignore-errors
# (its libraries are in that environment alone)

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Annotated, Literal

import uvicorn
from fastapi import Depends, FastAPI, HTTPException
from pydantic import BaseModel, Field
from sqlalchemy import BigInteger, DateTime, ForeignKey, Identity, Index, Numeric, String, func, select, text
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

PROCESSES = 2
_MAKERS_AT_A_TIME = 20
_OPEN = ("open", "partially_filled")

engine = create_async_engine(os.environ["USUAL_DATABASE"], pool_size=20, max_overflow=0)
Session = async_sessionmaker(engine, expire_on_commit=False)
app = FastAPI()


class Base(DeclarativeBase):
    pass


class Instrument(Base):
    __tablename__ = "instruments"
    symbol: Mapped[str] = mapped_column(String(24), primary_key=True)
    tick_size: Mapped[Decimal] = mapped_column(Numeric(20, 8))
    lot_size: Mapped[Decimal] = mapped_column(Numeric(20, 8))


class Order(Base):
    __tablename__ = "orders"
    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    symbol: Mapped[str] = mapped_column(ForeignKey("instruments.symbol"))
    side: Mapped[str] = mapped_column(String(4))
    price: Mapped[Decimal] = mapped_column(Numeric(20, 8))
    quantity: Mapped[Decimal] = mapped_column(Numeric(20, 8))
    filled_quantity: Mapped[Decimal] = mapped_column(Numeric(20, 8), default=Decimal(0))
    time_in_force: Mapped[str] = mapped_column(String(3))
    status: Mapped[str] = mapped_column(String(16), default="open")
    created_at: Mapped[str] = mapped_column(DateTime(timezone=True), server_default=func.now())
    __table_args__ = (
        Index(
            "resting", "symbol", "side", "price", "id", postgresql_where=text("status in ('open', 'partially_filled')")
        ),
    )


class Trade(Base):
    __tablename__ = "trades"
    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    maker_order_id: Mapped[int] = mapped_column(ForeignKey("orders.id"))
    taker_order_id: Mapped[int] = mapped_column(ForeignKey("orders.id"))
    price: Mapped[Decimal] = mapped_column(Numeric(20, 8))
    quantity: Mapped[Decimal] = mapped_column(Numeric(20, 8))
    executed_at: Mapped[str] = mapped_column(DateTime(timezone=True), server_default=func.now())


class NewOrder(BaseModel):
    symbol: str
    side: Literal["buy", "sell"]
    type: Literal["limit"] = "limit"
    price: Annotated[Decimal, Field(gt=0)]
    quantity: Annotated[Decimal, Field(gt=0)]
    time_in_force: Literal["GTC", "IOC"] = "GTC"


async def session() -> AsyncIterator[AsyncSession]:
    async with Session() as each:
        yield each


@app.post("/orders", status_code=201)
async def place(new: NewOrder, session: Annotated[AsyncSession, Depends(session)]) -> dict:
    async with session.begin():
        found = await session.execute(select(Instrument).where(Instrument.symbol == new.symbol).with_for_update())
        instrument = found.scalar_one_or_none()
        if instrument is None:
            raise HTTPException(404, "unknown symbol")
        if new.price % instrument.tick_size or new.quantity % instrument.lot_size:
            raise HTTPException(422, "off tick or lot")
        order = Order(**new.model_dump(exclude={"type"}), filled_quantity=Decimal(0), status="open")
        session.add(order)
        await session.flush()
        trades = await match(session, order)
        if order.status in _OPEN and order.time_in_force == "IOC":
            order.status = "canceled"
        session.add_all(trades)
    return answer(order, trades)


async def match(session: AsyncSession, order: Order) -> list[Trade]:
    trades = []
    while order.filled_quantity < order.quantity and (makers := await makers_of(session, order)):
        for maker in makers:
            quantity = min(order.quantity - order.filled_quantity, maker.quantity - maker.filled_quantity)
            for each in (order, maker):
                each.filled_quantity += quantity
                each.status = "filled" if each.filled_quantity == each.quantity else "partially_filled"
            trades.append(Trade(maker_order_id=maker.id, taker_order_id=order.id, price=maker.price, quantity=quantity))
            if order.status == "filled":
                break
        await session.flush()
    return trades


async def makers_of(session: AsyncSession, order: Order) -> list[Order]:
    """The best resting orders within its limit, in price-time priority."""
    buys = order.side == "buy"
    within = Order.price <= order.price if buys else Order.price >= order.price
    query = (
        select(Order)
        .where(Order.symbol == order.symbol, Order.side == ("sell" if buys else "buy"), Order.status.in_(_OPEN), within)
        .order_by(Order.price if buys else Order.price.desc(), Order.id)
        .limit(_MAKERS_AT_A_TIME)
    )
    return list((await session.execute(query)).scalars())


def answer(order: Order, trades: list[Trade]) -> dict:
    return {
        "order_id": str(order.id),
        "symbol": order.symbol,
        "side": order.side,
        "price": str(order.price),
        "quantity": str(order.quantity),
        "filled_quantity": str(order.filled_quantity),
        "time_in_force": order.time_in_force,
        "status": order.status,
        "trades": [{"price": str(each.price), "quantity": str(each.quantity)} for each in trades],
    }


async def create() -> None:
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    async with Session() as each, each.begin():
        each.add(Instrument(symbol="BTC-USD", tick_size=Decimal("0.01"), lot_size=Decimal("0.00000001")))
    await engine.dispose()


def main(what: str, *port: str) -> None:
    if what == "create":
        asyncio.run(create())
        return
    options = {"host": "127.0.0.1", "port": int(port[0]), "access_log": False, "log_level": "warning"}
    uvicorn.run("usual_service:app", workers=PROCESSES, **options)


if __name__ == "__main__":
    main(*sys.argv[1:])
