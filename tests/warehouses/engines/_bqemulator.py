"""Serve bqemulator, as `.venv-bigquery` has it, on a port, for service accounts with a public key in a file."""

import re
import sys
from pathlib import Path

import bqemulator.server
import jwt
from bqemulator.api.routes import jobs
from bqemulator.cli import main
from bqemulator.domain.errors import NotFoundError
from bqemulator.jobs import executor
from bqemulator.sql import inner_query
from bqemulator.storage.engine import DuckDBEngine
from starlette.requests import Request
from starlette.responses import JSONResponse

port, public_key = sys.argv[1], Path(sys.argv[2]).read_text()
GOOGLE = "https://oauth2.googleapis.com/token"
create_app, bind = bqemulator.server.create_app, executor.bind_parameters


def create_app_with_tokens(*args):
    """Give the app an address for tokens, which the emulator does not check."""
    app = create_app(*args)

    async def give_token(request: Request) -> JSONResponse:
        form = await request.body()
        try:
            jwt.decode(form.rpartition(b"assertion=")[2].partition(b"&")[0], public_key, ["RS256"], audience=GOOGLE)
        except jwt.InvalidTokenError:
            problem = {"error": "invalid_grant", "error_description": "Invalid JWT Signature."}
            return JSONResponse(problem, status_code=400)
        return JSONResponse({"access_token": "token", "expires_in": 3600, "token_type": "Bearer"})

    app.add_route("/token", give_token, methods=["POST"])
    return app


expand = inner_query.expand_information_schema


def expand_what_is_there(sql, project, catalog):
    """Refuse the tables of a data set that is not there, as BigQuery does; the emulator finds none."""
    for name in re.findall(r"`(\w+)`\.INFORMATION_SCHEMA", sql):
        if catalog.get_dataset(project, name) is None:
            raise NotFoundError(f"Not found: Dataset {project}:{name} was not found in location US")
    return expand(sql, project, catalog)


bqemulator.server.create_app = create_app_with_tokens
inner_query.expand_information_schema = expand_what_is_there
# The driver quotes the names of params, as it may at BigQuery; the emulator binds only those without quotes.
executor.bind_parameters = lambda sql, params=None: bind(re.sub(r'\$"(reconcile_\w+)"', r"$\1", sql), params)
DuckDBEngine._load_spatial = lambda engine: None  # an extension from the network, which nothing here asks for
jobs._SQL_EXECUTION_DOMAIN_ERRORS = ()  # a query that fails is a 4xx, as at BigQuery, no answer without columns
main(["start", "--rest-port", port, "--grpc-port", "0", "--log-level", "error"])
