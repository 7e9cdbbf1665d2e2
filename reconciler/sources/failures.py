"""Errors of databases and drivers, classified into few kinds, each with a next step and without what must be hidden."""

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum

from reconciler.errors import SourceError
from reconciler.models.fields import Secret
from reconciler.models.sql import ONLY_PARAMS
from reconciler.models.urls import DatabaseUrl
from reconciler.sources.base import Query
from reconciler.sources.messages import DatabaseMessage, find_names, find_paths, is_path, redact


class Kind(StrEnum):
    """What went wrong; the value is the next step."""

    CONNECT = "Check the host, port and network in the source's url, and that the database runs."
    SILENT = (
        "Check the host and port in the source's url, and that the database answers there; `options.connect_timeout` "
        "(seconds) waits longer for a login."
    )
    STARTING = "The server is starting or recovering: run it again when it is up."
    SHUTDOWN = "The server was stopped, or its administrator ended this connection: run it again."
    CONNECTIONS = "End other connections of this user, or raise its limit: a source needs two connections at most."
    AUTH = "Check the user and password in the source's url; or the key, its passphrase or the token in its `options`."
    OPTIONS = "Check the source's url and its `options`, of which the names are those of the driver's own `connect`."
    CERTIFICATE = (
        "Name the authority that signed the server's certificate in the source's `options` (PostgreSQL: sslrootcert, "
        "MySQL: ssl_ca) or url, as a file in PEM; or renew the certificate."
    )
    HOSTNAME = "Write the host in the source's url as the server's certificate names it."
    NO_TLS = (
        "Turn on TLS at the server; or check the port, or ask for no TLS in the source's url (PostgreSQL: sslmode)."
    )
    NEEDS_TLS = "Ask for TLS in the source's url (PostgreSQL: sslmode=require), or have the server let this host in."
    TLS = "Check what the source's url and `options` say of TLS, and that the port is one for TLS."
    DENIED = "Grant the user of the source's url the right to read this."
    MISSING = "Check the names in the query, and the database and schema in the source's url."
    NO_FILE = "Check the path of the file: a relative path is relative to the folder that the command runs in."
    FILE_DENIED = "Give the user who runs the command the right to read this file and to enter its folders."
    NOT_THE_FORMAT = "Check that the file is whole, and of the format that the query reads it as."
    EXTENSION = (
        "Install this extension once as the user who runs the command: extensions are never fetched for a query."
    )
    SYNTAX = "Correct the query; it runs as a derived table: SELECT ... FROM (<query>) q."
    TYPES = "Make the types agree in the query, for example with CAST(... AS ...)."
    PARAMS = ONLY_PARAMS
    READ_ONLY = "Write a query that only reads: sources are opened read-only."
    FOLDER = (
        "SQLite has to write next to this database (a -shm file in WAL mode, or what a crash has left to roll back): "
        "let the user who runs the command write to the folder, or end the WAL mode (PRAGMA journal_mode = DELETE)."
    )
    UNOPENED = "Check the path in the source's url, and that the user who runs the command may open the file."
    NO_DATABASE = "Check the path in the source's url: the file is no database of this kind, or it is encrypted."
    DAMAGED = "Restore the database from a backup; its own tools (SQLite: PRAGMA integrity_check) tell what is damaged."
    BUSY = "Another program has the database locked: try again later."
    LOCKED = "Another session holds a lock on what the query reads: run it again later, or raise the lock time-out."
    CONFLICT = (
        "Run it again; on the replica, hot_standby_feedback = on or a longer max_standby_streaming_delay prevents this."
    )
    RETRY = "Other transactions were in the way: run it again."
    TIMEOUT = "Raise the database's time-out for queries (PostgreSQL: statement_timeout), or make the query faster."
    IDLE = (
        "Raise the database's time-out for transactions (PostgreSQL: idle_in_transaction_session_timeout, "
        "transaction_timeout) for the user of the source's url."
    )
    CANCELLED = "Somebody cancelled the query at the server: run it again."
    MEMORY = "The database has not enough memory for the query: let it sort and join less, or give the database more."
    DISK = "The disk of the database, or of its temporary files, is full or fails: free some space or check it."
    DATA = "A row or a param can't be converted as the query asks; values are not shown here. Run the query by hand."
    RAISED = "A function of the query raised an error: run the query by hand to see it."
    LOST = "The connection broke while the query ran: run again."
    OTHER = "Run the query by hand in the same database."


_FIRST_WORDS = (
    (r"conflict with recovery", Kind.CONFLICT),
    (r"^\[ambiguous_reference\]|^invalid argument: found ", Kind.SYNTAX),
    (r"^socket closed|^recvmsg:|^tsocket read", Kind.LOST),
    (r"no active warehouse|does not have a current (database|schema)|unknown function", Kind.MISSING),
    (r"resource monitor|quota exceeded", Kind.OTHER),
    (r"^operator does not exist", Kind.TYPES),
    (r"login time(d )?out|^no login within|connection timeout expired|receiving settings frame", Kind.SILENT),
    (r"^generic_user_error", Kind.RAISED),
    (r"^administratively_killed", Kind.CANCELLED),
    (r"idle-in-transaction timeout|transaction timeout", Kind.IDLE),
    (r"lock timeout|lock wait timeout|could not obtain lock|lock not available", Kind.LOCKED),
    (r"incorrect username|authentication failed|no login is given|\boauth\b|\bhttp 40[13]\b", Kind.AUTH),
    (r"private key|pass ?phrase|bad decrypt|invalid_grant|invalid access token|multi-factor", Kind.AUTH),
    (r"token (included in the request )?(is|has) (invalid|expired)|specified in the connect string", Kind.AUTH),
    (
        r"unexpected keyword argument|connection option|connect_args|configuration error|a number of seconds",
        Kind.OPTIONS,
    ),
    (r"must be a number of seconds", Kind.OPTIONS),
    (r"administrator command|terminating connection", Kind.SHUTDOWN),
    (r"timeout_exceeded|^timeout exceeded|statement timeout|maximum statement execution time", Kind.TIMEOUT),
    (r"max_statement_time exceeded|(query|statement|execution|run) ?time ?-?(out|limit)", Kind.TIMEOUT),
    (r"reached its statement|exceeded_time_limit", Kind.TIMEOUT),
    (r"call timeout", Kind.TIMEOUT),
    (r"(user.s|user) request|query execution was interrupted|(was|been) cancell?ed", Kind.CANCELLED),
    (r"too many (clients|connections|(simultaneous|concurrent|queued) queries)|connection slots", Kind.CONNECTIONS),
    (r"max_user_connections", Kind.CONNECTIONS),
    (r"connection limit exceeded", Kind.CONNECTIONS),
    (r"hostname mismatch|hostname \S+ does(n.t| not) match", Kind.HOSTNAME),
    (r"does(n't| not) match (the )?(host|target)|not valid for|ip address mismatch", Kind.HOSTNAME),
    (r"certificate|unknown ca\b|self.signed", Kind.CERTIFICATE),
    (r"(ssl|tls) is required but the server", Kind.NO_TLS),
    (r"no (ssl )?encryption|insecure transport|requires? (ssl|tls|encrypt)", Kind.NEEDS_TLS),
    (r"ssl (is )?off|(ssl|tls) is required", Kind.NEEDS_TLS),
    (r"(does not|doesn.t) support (ssl|tls|secure)|refuses ssl|wrong.version.number", Kind.NO_TLS),
    (r"unknown protocol|record layer failure|packet length too long|(ssl|tls)\b.*http.request", Kind.NO_TLS),
    (r"\b(ssl|tls)\b.*(error|fail|alert|eof|handshake|not compiled)|handshake failure", Kind.TLS),
)
"""What only the text of a message shows, or shows better than a code."""

_CODES = {
    "sqlite": {
        **dict.fromkeys((5, 6), Kind.BUSY),
        **dict.fromkeys((264, 520, 776, 1288, 1544), Kind.FOLDER),
        **dict.fromkeys((10, 13), Kind.DISK),
        **dict.fromkeys((3, 23), Kind.FILE_DENIED),
        7: Kind.MEMORY,
        11: Kind.DAMAGED,
        14: Kind.UNOPENED,
        26: Kind.NO_DATABASE,
    },
    "mysql": {
        **dict.fromkeys((1040, 1203, 1226), Kind.CONNECTIONS),
        **dict.fromkeys((1044, 1142, 1143, 1227, 1356, 1370), Kind.DENIED),
        **dict.fromkeys((1045, 1129, 1130, 1698, 1820, 1862), Kind.AUTH),
        **dict.fromkeys((1046, 1051, 1054, 1109, 1146, 1305, 1630), Kind.MISSING),
        **dict.fromkeys(
            (1052, 1055, 1056, 1060, 1064, 1066, 1111, 1140, 1149, 1222, 1235, 1241, 1248, 1582), Kind.SYNTAX
        ),
        **dict.fromkeys((1062, 1242, 1264, 1292, 1298, 1365, 1366, 1406, 1411, 1525, 1690, 3141, 4038), Kind.DATA),
        **dict.fromkeys((1267, 1270, 1271), Kind.TYPES),
        **dict.fromkeys((1290, 1792, 1836), Kind.READ_ONLY),
        **dict.fromkeys((1037, 1038, 1041), Kind.MEMORY),
        **dict.fromkeys((1021, 1114), Kind.DISK),
        **dict.fromkeys((1969, 3024), Kind.TIMEOUT),
        **dict.fromkeys((1049, 2002, 2003, 2005), Kind.CONNECT),
        **dict.fromkeys((2006, 2013, 2055), Kind.LOST),
        1053: Kind.SHUTDOWN,
        1205: Kind.LOCKED,
        1213: Kind.RETRY,
        **dict.fromkeys((1317, 1927), Kind.CANCELLED),
        1644: Kind.RAISED,
        2026: Kind.TLS,
        3159: Kind.NEEDS_TLS,
    },
    "mssql": {
        **dict.fromkeys((195, 207, 208, 2812, 4121), Kind.MISSING),
        **dict.fromkeys((102, 105, 156, 209, 1033, 8120, 8155), Kind.SYNTAX),
        **dict.fromkeys((206, 402, 468, 8117), Kind.TYPES),
        **dict.fromkeys((220, 232, 241, 242, 244, 245, 248, 512, 535, 537, 8114, 8115, 8134, 8152, 13609), Kind.DATA),
        **dict.fromkeys((229, 230, 262, 297, 916), Kind.DENIED),
        **dict.fromkeys((4060, 18452, 18456, 18470), Kind.AUTH),
        **dict.fromkeys((701, 802, 8645), Kind.MEMORY),
        **dict.fromkeys((1101, 1105, 9002), Kind.DISK),
        **dict.fromkeys((1205, 3960), Kind.RETRY),
        1222: Kind.LOCKED,
        3906: Kind.READ_ONLY,
        50000: Kind.RAISED,
    },
    "oracle": {
        **dict.fromkeys((904, 942, 2289, 4043), Kind.MISSING),
        **dict.fromkeys((900, 903, 905, 906, 907, 909, 911, 918, 920, 921, 923, 933, 936, 937, 979), Kind.SYNTAX),
        **dict.fromkeys((1008, 1036), Kind.PARAMS),
        **dict.fromkeys((1722, 1426, 1427, 1438, 1476, 1830, 1839, 1840, 1841, 1843, 1847), Kind.DATA),
        **dict.fromkeys((1850, 1858, 1861, 1862, 6502, 12899, 22835), Kind.DATA),
        **dict.fromkeys((1005, 1017, 28000, 28001), Kind.AUTH),
        **dict.fromkeys((1031, 1045), Kind.DENIED),
        **dict.fromkeys((18, 20, 2391, 12516, 12519, 12520), Kind.CONNECTIONS),
        **dict.fromkeys((12154, 12170, 12505, 12514, 12541, 12545), Kind.CONNECT),
        **dict.fromkeys((28, 3113, 3114, 3135), Kind.LOST),
        **dict.fromkeys((1089, 1090), Kind.SHUTDOWN),
        **dict.fromkeys((1033, 1034), Kind.STARTING),
        **dict.fromkeys((60, 1555, 8177), Kind.RETRY),
        **dict.fromkeys((4030, 4031, 4036), Kind.MEMORY),
        **dict.fromkeys((1652, 1653, 1654), Kind.DISK),
        **dict.fromkeys((54, 30006), Kind.LOCKED),
        **dict.fromkeys((1456, 16000), Kind.READ_ONLY),
        **dict.fromkeys(range(20000, 21000), Kind.RAISED),
        932: Kind.TYPES,
        1013: Kind.CANCELLED,
    },
    "clickhouse": {
        **dict.fromkeys((46, 47, 60, 81), Kind.MISSING),
        **dict.fromkeys((34, 35, 42, 62, 179, 184, 215), Kind.SYNTAX),
        **dict.fromkeys((43, 53, 386), Kind.TYPES),
        **dict.fromkeys((6, 27, 38, 41, 69, 70, 72, 117, 125, 131, 153, 321, 349, 407), Kind.DATA),
        **dict.fromkeys((192, 193, 194, 516), Kind.AUTH),
        **dict.fromkeys((291, 497), Kind.DENIED),
        **dict.fromkeys((456, 457), Kind.PARAMS),
        159: Kind.TIMEOUT,
        164: Kind.READ_ONLY,
        202: Kind.CONNECTIONS,
        241: Kind.MEMORY,
        243: Kind.DISK,
        394: Kind.CANCELLED,
        395: Kind.RAISED,
    },
}
"""By the vendor's own code. Sources: https://sqlite.org/rescode.html; the MySQL and MariaDB manuals, error messages;
SQL Server's "Database engine events and errors"; Oracle's "Error Messages"; ErrorCodes.cpp of ClickHouse."""

_SQLSTATES = (
    ("08S01", Kind.LOST),
    ("08", Kind.CONNECT),
    ("28", Kind.AUTH),
    ("3D", Kind.CONNECT),
    ("3F", Kind.MISSING),
    ("42501", Kind.DENIED),
    ("42P02", Kind.PARAMS),
    *((code, Kind.MISSING) for code in ("42P01", "42703", "42704", "42883", "42S02", "42S12", "42S22")),
    *((code, Kind.TYPES) for code in ("42804", "42846", "42P18", "42725", "42K09")),
    ("0A", Kind.SYNTAX),
    ("25006", Kind.READ_ONLY),
    ("25P03", Kind.IDLE),
    ("25P04", Kind.IDLE),
    ("21", Kind.DATA),
    ("22", Kind.DATA),
    ("23", Kind.DATA),
    ("40", Kind.RETRY),
    ("53300", Kind.CONNECTIONS),
    ("53100", Kind.DISK),
    ("53400", Kind.DISK),
    ("53", Kind.MEMORY),
    ("57014", Kind.CANCELLED),
    ("57P03", Kind.STARTING),
    ("57P", Kind.SHUTDOWN),
    ("58", Kind.DISK),
    ("45000", Kind.RAISED),
    ("54", Kind.SYNTAX),
    ("XX001", Kind.DAMAGED),
    ("P0", Kind.RAISED),
    ("55P03", Kind.LOCKED),
    ("HYT", Kind.TIMEOUT),
)
"""By SQLSTATE. 42000 means that the query is wrong or that a right is missing: the text of the message decides."""

_WORDS = (
    (r"conversion error|could not convert|out of range|can.t be cast|invalid input syntax", Kind.DATA),
    (r"invalid_cast|cannot cast|conversion failed|cast_invalid|cast_over|bad \w+ value", Kind.DATA),
    (r"cannot (parse|convert|read)|is not recognized$|(truncated )?incorrect \w+ value", Kind.DATA),
    (r"(could not|unable to) (cast|convert)|failed to parse|invalid (date|time\w*|format|digit)\b", Kind.DATA),
    (r"produced more than one|multiple rows|bad_data|(bad|invalid) character|number or value", Kind.DATA),
    (r"codec can.t (de|en)code|too large to convert|can.t cast|non utf-8|out of bounds", Kind.DATA),
    (r"value_not_between|failed to decode", Kind.DATA),
    (r"^xpath|malformed json|invalid json|could not parse string|for input string|duplicate (key|entry)", Kind.DATA),
    (r"division by zero|divide.by.zero|overflow|more than one row|too long|invalid (byte|value)", Kind.DATA),
    (r"number of bindings|parameter count|values were not provided|bind variable|placeholder", Kind.PARAMS),
    (r"out of memory|could not allocate|memory limit|exceeded memory", Kind.MEMORY),
    (r"no space left|disk (is )?full|max_temp_directory_size|disk i/o error|disk quota", Kind.DISK),
    (r"resources exceeded|heap space", Kind.MEMORY),
    (r"rate limits", Kind.CONNECTIONS),
    (r"required extension|extension .*(not found|not loaded)|exists in the \S+ extension", Kind.EXTENSION),
    (r"magic bytes|not a parquet file|invalid parquet|footer length", Kind.NOT_THE_FORMAT),
    (r"not a (valid )?.*database|file is (encrypted|not)|encrypted database", Kind.NO_DATABASE),
    (r"disk image is malformed|corrupt", Kind.DAMAGED),
    (r"closed the connection|connection (already )?((was|has been) )?(closed|lost|reset)|lost connection", Kind.LOST),
    (r"gone away|broken pipe|remote end closed|connection aborted|end of file", Kind.LOST),
    (r"starting.up|in recovery mode|not yet accepting connections", Kind.STARTING),
    (r"terminating|shutting down|shutdown in progress", Kind.SHUTDOWN),
    (r"access denied for user .* to database|(command|access) denied .*(table|column|routine)", Kind.DENIED),
    (r"authenticat|password|access denied for user|login failed|pg_hba|credential|unauthorized", Kind.AUTH),
    (r"validating the login", Kind.AUTH),
    (r"role \S+ does not exist", Kind.AUTH),
    (r"connection (to server|is bad|refused)|could not (connect|translate)", Kind.CONNECT),
    (r"(can.t|cannot|failed to|errors?) (connect|resol\w+ ([\"'\w]+:|'|\"|(the )?(host|name|address)))", Kind.CONNECT),
    (r"can.t create a connection|new connection|failed to connect", Kind.CONNECT),
    (r"max retries|timed? ?out|unreachable|name or service|not known|name resolution", Kind.CONNECT),
    (r"is not registered with|tns:listener", Kind.CONNECT),
    (r"^network error|^communication error", Kind.CONNECT),
    (r"database \S+ does not exist", Kind.CONNECT),
    (r"no files found|no such file|cannot (open|stat) file|could not open file|path_not_found", Kind.NO_FILE),
    (r"permission.denied|access.?denied|denied|does not have (\S+ )?permission", Kind.DENIED),
    (r"^\S* ?not authorized|insufficient.privilege|not enough privileges", Kind.DENIED),
    (r"\buser: \S+ is not authorized", Kind.DENIED),
    (r"read.?only", Kind.READ_ONLY),
    (r"syntax.error|parser error|unrecognized token|incomplete input|error in your sql syntax", Kind.SYNTAX),
    (r"mismatched input|extraneous input|no viable alternative|parse_?(exception|syntax)", Kind.SYNTAX),
    (r"argument types|type.mismatch|datatype_mismatch|cannot (compare|coerce)|no matching signature", Kind.TYPES),
    (
        r"no such|invalid (table alias|function)|does(n.t| not) exist|not.found|unknown|unrecognized name|undefined",
        Kind.MISSING,
    ),
    (r"invalid (object|column) name|invalid identifier|(cannot be|cannot) (resolved?|found)|unresolved", Kind.MISSING),
    (r"must appear in|group by|neither grouped|ambiguous|binder error|subquery (must|uses|has)", Kind.SYNTAX),
    (r"wrong number of arguments|sub-select returns", Kind.SYNTAX),
    (r"locked|busy|conflicting lock|could not set lock|deadlock", Kind.BUSY),
    (r"unable to open|cannot open|failed to open", Kind.UNOPENED),
)

_OF_ROWS = frozenset({Kind.DATA, Kind.OTHER})
"""What is in quotes there, or stands last, may be the value of a row, even if it is a word that databases use."""

_OF_FILES = frozenset({Kind.NO_FILE, Kind.FILE_DENIED, Kind.NOT_THE_FORMAT, Kind.DATA})


def classify(message: DatabaseMessage) -> Kind:
    """Find the kind: by the words that come first, then by the vendor's code, then by SQLSTATE, then by other words."""
    lowered = message.text.lower()
    codes, code, sqlstate = _CODES.get(message.family, {}), message.code or 0, message.sqlstate
    kind = _match(_FIRST_WORDS, lowered) or codes.get(code)
    if kind is None and message.family == "sqlite":
        kind = codes.get(code & 0xFF)  # the primary code of an extended one
    if kind is None and sqlstate:
        kind = next((each for start, each in _SQLSTATES if sqlstate.startswith(start)), None)
    kind = kind or _match(_WORDS, lowered) or (Kind.SYNTAX if (sqlstate or "").startswith("42") else Kind.OTHER)
    return Kind.FILE_DENIED if kind is Kind.NO_FILE and "permission denied" in lowered else kind


def _match(table: tuple[tuple[str, Kind], ...], words: str) -> Kind | None:
    return next((kind for pattern, kind in table if re.search(pattern, words)), None)


@dataclass(frozen=True)
class Scrubber:
    """Makes SourceErrors of one source without its secrets, the literals of the query and the values of rows."""

    source: str
    secrets: tuple[str, ...] = field(repr=False)
    dialect: str = ""
    names: frozenset[str] = frozenset()
    """What the source's url and options name, in lower case: its host, user and database."""
    place: str = ""
    """The host of the url."""

    @classmethod
    def of(cls, source: str, url: Secret, secrets: Iterable[str] = (), names: Iterable[str] = ()) -> "Scrubber":
        """`secrets`: what URL and options hold that must not be shown, in every spelling; `names`: what they name."""
        parsed = DatabaseUrl.parse(url.reveal())
        named = frozenset(name.casefold() for name in names if name)
        return cls(source, (url.reveal(), *secrets), parsed.dialect, named, parsed.host)

    @contextmanager
    def explaining(
        self, errors: type[Exception] | tuple[type[Exception], ...], query: Query | None = None
    ) -> Iterator[None]:
        """Turn these errors of a driver into SourceError, as `explain` does."""
        try:
            yield
        except errors as error:
            raise self.explain(error, query) from None

    def explain(self, error: BaseException, query: Query | None = None, *, known: Iterable[str] = ()) -> SourceError:
        """Give the SourceError for what a driver raised. Without a query none has run: the message can hold no id.

        `known`: names of tables and columns that the database has, and may propose.
        """
        message = DatabaseMessage.of(error, self.secrets)
        kind = classify(message)
        if query is None and kind is Kind.CONNECT and "timed out" in message.text.lower():
            kind = Kind.SILENT
        shown, hint = message.text, kind.value
        if query is None and kind in (Kind.OTHER, Kind.MISSING):
            hint = Kind.OPTIONS.value
        if query is None and kind is Kind.SILENT and self.place not in shown:
            shown = f"{self.place}: {shown}"
        if query is not None and kind is Kind.RAISED:
            shown = "a function of the query raised an error; its words may hold a row and are not shown"
        elif query is not None:
            paths: frozenset[str] = frozenset()
            if kind in _OF_FILES:
                paths = find_paths(query.statement)
                for name, value in query.params.items():
                    if isinstance(value, str) and is_path(value):
                        shown = shown.replace(value, f":{name}")
            names = self.names | find_names(query.statement, self.dialect) | {name.casefold() for name in known}
            shown = redact(shown, names, paths, rows=kind in _OF_ROWS)
            if not re.search(r"\w", shown):
                shown = "the query failed; the database's words may hold a row, so they are not shown"
            # A name that `params` lacks is the likeliest cause of a colon that makes no sense.
            unbound = query.statement.unbound() if kind in (Kind.SYNTAX, Kind.PARAMS) else ()
            if unbound:
                hint = f"`params` has no {', '.join(unbound)}. {Kind.PARAMS.value}"
            elif kind is Kind.PARAMS and query.params:
                given = ", ".join(f":{name}" for name in query.params)
                hint = f"The database binds no param in one of these places ({given}): write the value itself there."
        return SourceError(f"source {self.source}: {' '.join(shown.split())}", hint)
