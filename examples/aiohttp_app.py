"""Orders over HTTP with aiohttp: `python -m examples.aiohttp_app`, then see http://127.0.0.1:8000/export."""

import os
from collections.abc import AsyncIterator
from contextlib import suppress

import msgspec
from aiohttp import web

from aiostoolap import DB, CheckViolationError, UniqueViolationError
from examples.orders import Line, NewOrder, Order, open_orders, place

DATABASE = web.AppKey("DATABASE", DB)
JSON = msgspec.json.Encoder()

routes = web.RouteTableDef()


async def database(app: web.Application) -> AsyncIterator[None]:
    """Keeps the database open as long as the service runs."""
    async with open_orders() as db:
        app[DATABASE] = db
        yield


@routes.post("/orders")
async def place_order(request: web.Request) -> web.Response:
    """Places an order."""
    try:
        new = msgspec.json.decode(await request.read(), type=NewOrder)
        placed = await place(request.app[DATABASE], new)
    except msgspec.MsgspecError as error:
        raise web.HTTPUnprocessableEntity(text=str(error)) from None
    except UniqueViolationError:
        raise web.HTTPConflict(text=f"there is an order {new.reference} already") from None
    except CheckViolationError:
        raise web.HTTPUnprocessableEntity(text="each quantity must be above 0") from None
    return as_json(placed, status=201)


@routes.get("/customers/{customer}/orders")
async def orders_of(request: web.Request) -> web.Response:
    """All orders of a customer."""
    customer, db = request.match_info["customer"], request.app[DATABASE]
    return as_json(await db.query("SELECT * FROM orders WHERE customer = $1 ORDER BY id", (customer,), into=Order))


@routes.get(r"/orders/{number:\d+}")
async def get_order(request: web.Request) -> web.Response:
    """One order."""
    number, db = int(request.match_info["number"]), request.app[DATABASE]
    found = await db.query_one("SELECT * FROM orders WHERE id = $1", (number,), into=Order)
    if found is None:
        raise web.HTTPNotFound(text=f"there is no order {number}")
    return as_json(found)


@routes.get(r"/orders/{number:\d+}/lines")
async def get_lines(request: web.Request) -> web.Response:
    """What is in an order."""
    number, db = int(request.match_info["number"]), request.app[DATABASE]
    query = db.query("SELECT product, quantity FROM order_lines WHERE order_id = $1", (number,), into=Line)
    return as_json(await query)


@routes.get("/export")
async def export(request: web.Request) -> web.StreamResponse:
    """All orders as lines of JSON, read as the client takes them, so that memory holds a page at a time."""
    response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
    await response.prepare(request)
    with suppress(ConnectionResetError):  # A client may leave before the end.
        async with request.app[DATABASE].query("SELECT * FROM orders ORDER BY id", into=Order) as rows:
            while page := await rows.fetchmany(1000):
                await response.write(JSON.encode_lines(page))
    return response


def as_json(value: object, status: int = 200) -> web.Response:
    """A response of dataclasses, which msgspec encodes."""
    return web.json_response(body=JSON.encode(value), status=status)


def make_app() -> web.Application:
    """The service, ready to run."""
    app = web.Application()
    app.cleanup_ctx.append(database)
    app.add_routes(routes)
    return app


if __name__ == "__main__":
    web.run_app(make_app(), host="127.0.0.1", port=int(os.environ.get("PORT", "8000")))
