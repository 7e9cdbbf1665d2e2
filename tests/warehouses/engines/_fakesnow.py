"""Serve fakesnow, as `.venv-snowflake` has it, on a port of loopback, for one password."""

import gzip
import importlib
import json
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


routes = [Route("/session/v1/login-request", login, methods=["POST"]), *server.routes]
uvicorn.run(Starlette(routes=routes), host="127.0.0.1", port=port, log_level="warning")
