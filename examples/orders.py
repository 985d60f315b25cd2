"""A database of orders: the tables, the types and the transaction that the web examples share."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from aiostoolap import DB, connect

SCHEMA = """
CREATE TABLE IF NOT EXISTS orders (
    id INTEGER PRIMARY KEY AUTO_INCREMENT,
    reference TEXT NOT NULL UNIQUE,
    customer TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS order_lines (
    order_id INTEGER NOT NULL REFERENCES orders (id),
    product TEXT NOT NULL,
    quantity INTEGER NOT NULL CHECK (quantity > 0)
);
CREATE INDEX IF NOT EXISTS lines_of_order ON order_lines (order_id);
"""


@dataclass(frozen=True, slots=True)
class Line:
    """How many of a product are in an order."""

    product: str
    quantity: int


@dataclass(frozen=True, slots=True)
class NewOrder:
    """An order as the customer sends it; no two have the same reference."""

    reference: str
    customer: str
    lines: list[Line]


@dataclass(frozen=True, slots=True)
class Order:
    """An order that has been placed."""

    id: int
    reference: str
    customer: str


@asynccontextmanager
async def open_orders() -> AsyncIterator[DB]:
    """The database at $ORDERS_DB, or one in memory, with its tables."""
    async with connect(os.environ.get("ORDERS_DB", "memory://")) as db:
        await db.execute_script(SCHEMA)
        yield db


async def place(db: DB, new: NewOrder) -> Order:
    """Stores an order with all its lines, or nothing of it.

    Raises:
        UniqueViolationError: there is an order with this reference.
        CheckViolationError: a quantity is not above 0.
    """
    async with db.transaction() as tx:
        number = await tx.query_value(
            "INSERT INTO orders (reference, customer) VALUES ($1, $2) RETURNING id", (new.reference, new.customer)
        )
        await tx.execute_many(
            "INSERT INTO order_lines (order_id, product, quantity) VALUES ($1, $2, $3)",
            ((number, line.product, line.quantity) for line in new.lines),
        )
    return Order(number, new.reference, new.customer)
