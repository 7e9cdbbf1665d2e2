"""Serve fakesnow, as `.venv-snowflake` has it, on a port of loopback, for one password."""

import gzip
import importlib
import json
import re
import sys

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

port, password = int(sys.argv[1]), sys.argv[2]
server = importlib.import_module("fakesnow.server")  # the package has a function of this name


async def login(request: Request) -> JSONResponse:
    """Log in by the password, and answer with all that the connector asks for since its version 4."""
    body = await request.body()
    text = gzip.decompress(body) if request.headers.get("Content-Encoding") == "gzip" else body
    if json.loads(text)["data"].get("PASSWORD") != password:
        refusal = "Incorrect username or password was specified."
        return JSONResponse({"data": {}, "code": "390100", "message": refusal, "success": False})
    answer = json.loads(bytes((await server.login_request(request)).body))
    answer["data"] |= {"masterToken": answer["data"]["token"], "sessionId": 1}
    return JSONResponse(answer)


LOWER = "CAST('0x' || SUBSTR(MD5({}), {}, 8) AS BIGINT)"


def write_for_duckdb(sql: str) -> str:
    """Write what the emulator lacks by what it has."""

    def write_number(found: re.Match[str]) -> str:
        return f"({LOWER.format(found[1], 17)} * CAST(4294967296 AS NUMBER(37,0)) + {LOWER.format(found[1], 25)})"

    sql = re.sub(r"MD5_NUMBER_LOWER64\(([^()]*)\)", write_number, sql).replace("OCTET_LENGTH(", "strlen(")
    return re.sub(r"TO_VARCHAR\(TO_BINARY\((.*?), 'UTF-8'\), 'UTF-8'\)", r"\1", sql)


async def query(request: Request) -> JSONResponse:
    """Run a statement; one that names a schema which is not there is refused, as at Snowflake."""
    body = await request.body()
    is_packed = request.headers.get("Content-Encoding") == "gzip"
    asked = json.loads(gzip.decompress(body) if is_packed else body)
    asked["sqlText"] = write_for_duckdb(asked["sqlText"])
    if named := re.search(r" IN SCHEMA (\w+)$", asked["sqlText"]):
        cursor = server.to_conn(server.to_token(request)).cursor()
        schemata = f"SELECT 1 FROM information_schema.schemata WHERE schema_name = '{named[1].upper()}'"
        if not cursor.execute(schemata).fetchall():
            refusal = f"SQL compilation error:\nSchema 'SHOP.{named[1].upper()}' does not exist or not authorized."
            data = {"errorCode": "002003", "sqlState": "02000"}
            return JSONResponse({"data": data, "code": "002003", "message": refusal, "success": False})
    body = json.dumps(asked).encode()
    request._body = gzip.compress(body) if is_packed else body
    return await server.query_request(request)


routes = [
    Route("/session/v1/login-request", login, methods=["POST"]),
    Route("/queries/v1/query-request", query, methods=["POST"]),
    *server.routes,
]
uvicorn.run(Starlette(routes=routes), host="127.0.0.1", port=port, log_level="warning")
