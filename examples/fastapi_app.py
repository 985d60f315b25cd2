"""Orders over HTTP with FastAPI: `python -m examples.fastapi_app`, then see http://127.0.0.1:8000/docs."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

import msgspec
import uvicorn
from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.responses import StreamingResponse

from aiostoolap import DB, CheckViolationError, UniqueViolationError
from examples.orders import Line, NewOrder, Order, open_orders, place


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Keeps the database open as long as the service runs."""
    async with open_orders() as db:
        app.state.db = db
        yield


async def database(request: Request) -> DB:
    """The service's database, as a dependency."""
    db: DB = request.app.state.db
    return db


Database = Annotated[DB, Depends(database)]

app = FastAPI(title="Orders", lifespan=lifespan)


@app.post("/orders", status_code=201)
async def place_order(new: NewOrder, db: Database) -> Order:
    """Places an order."""
    try:
        return await place(db, new)
    except UniqueViolationError:
        raise HTTPException(409, f"there is an order {new.reference} already") from None
    except CheckViolationError:
        raise HTTPException(422, "each quantity must be above 0") from None


@app.get("/customers/{customer}/orders")
async def orders_of(customer: str, db: Database) -> list[Order]:
    """All orders of a customer."""
    return await db.query("SELECT * FROM orders WHERE customer = $1 ORDER BY id", (customer,), into=Order)


@app.get("/orders/{number}")
async def get_order(number: int, db: Database) -> Order:
    """One order."""
    found = await db.query_one("SELECT * FROM orders WHERE id = $1", (number,), into=Order)
    if found is None:
        raise HTTPException(404, f"there is no order {number}")
    return found


@app.get("/orders/{number}/lines")
async def get_lines(number: int, db: Database) -> list[Line]:
    """What is in an order."""
    return await db.query("SELECT product, quantity FROM order_lines WHERE order_id = $1", (number,), into=Line)


@app.get("/export")
async def export(db: Database) -> StreamingResponse:
    """All orders as lines of JSON, read as the client takes them, so that memory holds a page at a time."""

    async def pages() -> AsyncIterator[bytes]:
        encoder = msgspec.json.Encoder()
        async with db.query("SELECT * FROM orders ORDER BY id", into=Order) as rows:
            while page := await rows.fetchmany(1000):
                yield encoder.encode_lines(page)

    return StreamingResponse(pages(), media_type="application/x-ndjson")


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(os.environ.get("PORT", "8000")))
