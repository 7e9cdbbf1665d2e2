"""What drivers raise, as their real exceptions are made; each is read for words, kind and next step."""

import ssl
from types import SimpleNamespace

import pytest

from reconciler.models.fields import Secret
from reconciler.sources.base import Query
from reconciler.sources.failures import Kind, Scrubber, classify
from reconciler.sources.messages import DatabaseMessage, shorten

from .conftest import segment

QUERY = "SELECT nope, customer_id FROM nowhere WHERE customer_id NOT IN ('jane.roe@example.com', 'O''Brien')"


class DriverError(Exception):
    """An error with whatever attributes a driver gives its own."""

    def __init__(self, *args: object, **attributes: object) -> None:
        super().__init__(*args)
        for name, value in attributes.items():
            setattr(self, name, value)


def explain(error: BaseException, url: str = "nosuch://reader@db/app") -> tuple[Kind, str]:
    scrubber = Scrubber.of("w", Secret(url), (), ("reader", "db", "app"))
    query = Query.of(segment(QUERY), url.partition(":")[0])
    return classify(DatabaseMessage.of(error)), scrubber.explain(error, query).message.removeprefix("source w: ")


def mysql(code: int, words: str) -> DriverError:
    return DriverError(code, words, sqlstate=None)


def connect(words: str, state: str | None = None, code: str = "INTERNAL") -> DriverError:
    methods = {"getSqlState": lambda: state, "getGrpcStatusCode": lambda: SimpleNamespace(name=code)}
    trace = "JVM stacktrace:\norg.apache.spark.X\n\tat org.apache.X.y(jane.scala:1)"
    return DriverError(f"{words}\n\n{trace}", **methods)


def grpc(code: str, words: str) -> DriverError:
    call = f'<_InactiveRpcError of RPC that terminated with:\n\tstatus = StatusCode.{code}\n\tdetails = "{words}"'
    return connect(f'{call}\n\tdebug_error_string = "{code}:{words} jane"\n>', code=code)


REFUSED = "failed to connect to all addresses; last error: UNKNOWN: ipv4:127.0.0.1:1:"


def https(cause: str) -> DriverError:
    pool = "HTTPSConnectionPool(host='db', port=8443): Max retries exceeded with url: /?q=jane"
    return DriverError(f"Error {pool} (Caused by SSLError({cause}))")


UNVERIFIED = "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed"

SPARK = (
    "Error running query: org.apache.hive.service.cli.HiveSQLException: [TABLE_OR_VIEW_NOT_FOUND] The table or view "
    "`nowhere` cannot be found. Verify the spelling and correctness of the schema and catalog. SQLSTATE: 42P01; line 1 "
    "pos 14;\n'Project ['id]\n+- 'UnresolvedRelation [nowhere], ['jane']\n"
    + "\tat org.apache.spark.X.y(Password.scala:1)\n"
    * 300
)

TOLD = [
    (
        DriverError("m", raw_msg="002003 (42S02): Object 'NOWHERE' does not exist or not authorized."),
        "snowflake",
        Kind.MISSING,
        "Object 'NOWHERE'",
    ),
    (
        DriverError("250001 (08001): Failed to login: HTTP request failed after retries: Connection refused"),
        "snowflake",
        Kind.CONNECT,
        "Failed to login: HTTP request failed after",
    ),
    (
        DriverError(DriverError("400 POST https://bigquery.googleapis.com/v2/p/queries?a=b: Bad int64 value: jane")),
        "bigquery",
        Kind.DATA,
        "Bad int64 value: …",
    ),
    (
        DriverError("invalid_grant: Invalid JWT Signature.", {"error": "invalid_grant", "error_description": "jane"}),
        "bigquery",
        Kind.AUTH,
        "invalid_grant: Invalid",
    ),
    (DriverError(SPARK, message=SPARK), "databricks", Kind.MISSING, "The table or view `nowhere` cannot be found."),
    (
        https(f"SSLCertVerificationError(1, '{UNVERIFIED}: self-signed certificate (_ssl.c:1007)')"),
        "trino",
        Kind.CERTIFICATE,
        "certificate verify failed: self-signed certificate",
    ),
    (
        https(f"SSLCertVerificationError(1, \"{UNVERIFIED}: Hostname mismatch, not valid for 'db'. (_ssl.c:1)\")"),
        "trino",
        Kind.HOSTNAME,
        "not valid for 'db'",
    ),
    (
        https("SSLError(1, '[SSL: WRONG_VERSION_NUMBER] wrong version number (_ssl.c:1007)')"),
        "trino",
        Kind.NO_TLS,
        "wrong version number",
    ),
    (
        https("CertificateError(\"hostname 'db' doesn't match 'app'\")"),
        "trino",
        Kind.HOSTNAME,
        "hostname 'db' doesn't match 'app'",
    ),
    (
        DriverError("communication error", ConnectionRefusedError(111, "Connection refused")),
        "redshift",
        Kind.CONNECT,
        "Connection refused",
    ),
    (
        DriverError("communication error", ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong version number")),
        "redshift",
        Kind.NO_TLS,
        "wrong version",
    ),
    (
        connect(
            "[UNRESOLVED_COLUMN.WITH_SUGGESTION] A column, variable, or function parameter with name `nope` cannot be "
            "resolved. Did you mean one of the following? [`jane`].  SQLSTATE: 42703; line 1 pos 22;\n'Project [*]",
            "42703",
        ),
        "spark",
        Kind.MISSING,
        "name `nope` cannot be resolved. Did you mean one of the following? [`…`]",
    ),
    (
        connect(
            "[DATATYPE_MISMATCH.X] Cannot resolve \"(nope + 'jane')\" due to data type mismatch: the left and right "
            'operands are of incompatible types ("INT" and "ARRAY<INT>"). SQLSTATE: 42K09; line 2 pos 7;\n',
            "42K09",
        ),
        "spark",
        Kind.TYPES,
        "Cannot resolve \"(nope + '…')\"",
    ),
    (
        connect(
            "\n[PARSE_SYNTAX_ERROR] Syntax error at or near 'jane'. SQLSTATE: 42601 (line 1, pos 9)\n\n== SQL ==\nx",
            "42601",
        ),
        "spark",
        Kind.SYNTAX,
        "Syntax error at or near '…'",
    ),
    (
        connect("[AMBIGUOUS_REFERENCE] Reference `nope` is ambiguous, could be: [`nope`]. SQLSTATE: 42704", "42704"),
        "spark",
        Kind.SYNTAX,
        "Reference `nope` is ambiguous",
    ),
    (connect("[USER_RAISED_EXCEPTION] jane. SQLSTATE: P0001", "P0001"), "spark", Kind.RAISED, "may hold a row"),
    (connect("[CAST_INVALID_INPUT] The value 'jane' of the type", "22018"), "spark", Kind.DATA, "The value '…' of the"),
    (
        connect('attribute ObjectName([Identifier("nope")]) is missing from the schema: cannot resolve attribute'),
        "spark",
        Kind.MISSING,
        '"nope"',
    ),
    (
        connect("invalid argument: found jane at 9:10 expected '(' or ')'"),
        "spark",
        Kind.SYNTAX,
        "found … at … expected",
    ),
    (connect("Cannot coerce arithmetic expression Int32 + List to valid types"), "spark", Kind.TYPES, "expression"),
    (connect("Placeholder ':nope' was not provided a value for execution."), "spark", Kind.PARAMS, "':nope'"),
    (connect("Encountered non UTF-8 data: invalid utf-8 sequence of 1 bytes"), "spark", Kind.DATA, "non UTF-8 data"),
    (
        grpc("UNAVAILABLE", f"{REFUSED} Failed to connect to remote host: Connection refused"),
        "spark",
        Kind.CONNECT,
        "refused",
    ),
    (
        grpc("UNAVAILABLE", "errors resolving db:1: [field:hostname lookup error:address lookup failed for db:1: no]"),
        "spark",
        Kind.CONNECT,
        "address lookup failed for db",
    ),
    (
        grpc(
            "UNAVAILABLE",
            f"{REFUSED} Tls handshake failed (TSI_PROTOCOL_FAILURE): SSL_ERROR_SSL: error:100000f7:SSL "
            "routines:OPENSSL_internal:WRONG_VERSION_NUMBER: Invalid certificate verification context: OK",
        ),
        "spark",
        Kind.NO_TLS,
        "handshake failed",
    ),
    (grpc("UNAVAILABLE", "Socket closed"), "spark", Kind.LOST, "Socket closed"),
    (grpc("UNAUTHENTICATED", "the call was refused"), "spark", Kind.AUTH, "refused"),
    (grpc("PERMISSION_DENIED", "not for this user"), "spark", Kind.DENIED, "not for this"),
    (DriverError("Server refuses SSL"), "redshift", Kind.NO_TLS, "refuses SSL"),
    (
        mysql(3159, "Connections using insecure transport are prohibited while --require_secure_transport=ON."),
        "mysql",
        Kind.NEEDS_TLS,
        "insecure transport",
    ),
]


@pytest.mark.parametrize(("error", "dialect", "kind", "words"), TOLD)
def test_what_a_driver_raises_is_told_with_its_own_next_step_and_without_an_id(error, dialect, kind, words):
    found, message = explain(error, f"{dialect}://reader@db/app")

    assert found is kind, message
    assert words in message
    assert len(message) <= 300
    for member in ("jane", "Brien", "{'", "org.apache", "Errno", "\n"):
        assert member not in message


def test_a_trace_is_cut_to_its_first_sentence_and_only_that_is_sorted():
    trace = "java.lang.RuntimeException: Division by zero. " + "at org.apache.X.login(Password.java:1) " * 400

    assert shorten(trace) == "Division by zero."
    assert classify(DatabaseMessage.of(DriverError(trace))) is Kind.DATA


def test_the_echo_of_a_query_is_cut():
    words = "ERROR:  permission denied for table t\n\nQuery was: COPY (SELECT jane) TO STDOUT. SQLSTATE: 42501"

    assert shorten(words) == "permission denied for table t"


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ("server does not support SSL, but SSL was required", Kind.NO_TLS),
        ("SSL error: certificate verify failed", Kind.CERTIFICATE),
        ('server certificate for "a" does not match host name "b"', Kind.HOSTNAME),
        ('root certificate file "/x" does not exist', Kind.CERTIFICATE),
        ("SSL error: wrong version number", Kind.NO_TLS),
        ('no pg_hba.conf entry for host "1.2.3.4", user "u", database "d", no encryption', Kind.NEEDS_TLS),
        ('no pg_hba.conf entry for host "1.2.3.4", user "u", database "d", SSL encryption', Kind.AUTH),
        ("SSL connection has been closed unexpectedly", Kind.LOST),
        ("sorry, too many clients already", Kind.CONNECTIONS),
        ("remaining connection slots are reserved for roles with the SUPERUSER attribute", Kind.CONNECTIONS),
        ("the database system is starting up", Kind.STARTING),
        ("terminating connection due to administrator command", Kind.SHUTDOWN),
        ("terminating connection due to idle-in-transaction timeout", Kind.IDLE),
        ("terminating connection due to conflict with recovery", Kind.CONFLICT),
        ("canceling statement due to lock timeout", Kind.LOCKED),
        ("canceling statement due to user request", Kind.CANCELLED),
        ("timeout expired", Kind.CONNECT),
        ("network error", Kind.CONNECT),
        ("SSL connection error: SSL is required but the server doesn't support it", Kind.NO_TLS),
        ("TLS/SSL is required for authentication.", Kind.NEEDS_TLS),
        ("'utf-8' codec can't decode byte 0xe9 in position 3: invalid continuation byte", Kind.DATA),
        ("Python int too large to convert to SQLite INTEGER", Kind.DATA),
    ],
)
def test_words_that_come_without_a_code(words, kind):
    assert classify(DatabaseMessage.of(DriverError(words))) is kind


@pytest.mark.parametrize(
    ("state", "kind"),
    [
        ("40001", Kind.RETRY),
        ("40P01", Kind.RETRY),
        ("53300", Kind.CONNECTIONS),
        ("53200", Kind.MEMORY),
        ("53100", Kind.DISK),
        ("25P03", Kind.IDLE),
        ("25P04", Kind.IDLE),
        ("55P03", Kind.LOCKED),
        ("57014", Kind.CANCELLED),
        ("57P01", Kind.SHUTDOWN),
        ("57P03", Kind.STARTING),
        ("42803", Kind.SYNTAX),
        ("42804", Kind.TYPES),
        ("42883", Kind.MISSING),
    ],
)
def test_codes_without_words_that_are_known(state, kind):
    assert classify(DatabaseMessage("anything", state)) is kind


def test_every_kind_has_a_next_step_of_its_own():
    assert len({kind.value for kind in Kind}) == len(list(Kind))
