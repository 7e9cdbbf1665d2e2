"""Posting to webhooks: five seconds in all, one retry, no redirects; an address is a secret and is never shown."""

import re
import ssl
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx

from reconciler import __version__
from reconciler.clock import boot_seconds
from reconciler.customerio.network import Deadline, PoolTransport, Resolver
from reconciler.customerio.outcomes import HTTPX_FAILURES, sort_failure
from reconciler.customerio.proxy import find_proxy
from reconciler.errors import ReconcileError
from reconciler.models.fields import Secret

MOST_SECONDS, FIRST_SECONDS, PAUSE_SECONDS = 5.0, 3.0, 0.5
"""For all messages; for the first attempt of one; before the second one."""

RETRIED = (408, 429)
"""Statuses after which, as after 5xx, a second attempt may succeed."""

NO_ANSWER = "there was no answer in time"
LONGEST_BODY = 64
_WORD = re.compile(rb"[a-z][a-z_]{2,40}")
"""Slack says in one word why it refuses a message: `no_service`, `channel_is_archived`."""


@dataclass(frozen=True)
class Failure:
    """Why a message may not have arrived, in words without the address."""

    why: str
    may_pass: bool = True
    """Another attempt may succeed."""


def post_all(messages: Sequence[tuple[Secret, bytes]]) -> list[str | None]:
    """Post bodies of JSON to addresses, side by side; give for each why it may not have arrived, None where it has."""
    ends_at = boot_seconds() + MOST_SECONDS
    answers: list[Future[str | None]] = []
    for url, body in messages:
        answer: Future[str | None] = Future()
        answers.append(answer)
        # A call of the system that hangs does not hold the end of the process.
        told = url.reveal(), body, ends_at, answer
        threading.Thread(target=_deliver, args=told, name="notify", daemon=True).start()
    wait(answers, ends_at - boot_seconds())
    return [answer.result() if answer.done() else NO_ANSWER for answer in answers]


def _deliver(url: str, body: bytes, ends_at: float, answer: Future[str | None]) -> None:
    try:
        failure = _attempt(url, body, FIRST_SECONDS)
        if failure is not None and failure.may_pass:
            time.sleep(PAUSE_SECONDS)
            failure = _attempt(url, body, ends_at - boot_seconds())
        answer.set_result(failure.why if failure else None)
    except Exception as error:  # its text may hold the address
        answer.set_result(f"an unexpected {type(error).__name__}")


def _attempt(url: str, body: bytes, seconds: float) -> Failure | None:
    """Post once. httpx's own client is not used: it logs the address."""
    parts, deadline = urlsplit(url), Deadline(boot_seconds)
    deadline.set(boot_seconds() + seconds)
    try:
        tls, proxy = httpx.create_ssl_context(), find_proxy(f"{parts.scheme}://{parts.netloc}")
    except (OSError, ssl.SSLError):
        return Failure("the certificates can't be read; check SSL_CERT_FILE and SSL_CERT_DIR", may_pass=False)
    except ReconcileError as error:
        return Failure(error.message, may_pass=False)
    headers = {"Content-Type": "application/json", "User-Agent": f"reconcile/{__version__}", "Connection": "close"}
    limits = dict.fromkeys(("connect", "read", "write", "pool"), seconds)
    transport = PoolTransport(tls, deadline, proxy, Resolver())
    try:
        request = httpx.Request("POST", url, headers=headers, content=body, extensions={"timeout": limits})
        response = transport.handle_request(request)
        said = b""
        for piece in response.iter_raw():
            said += piece
            if len(said) > LONGEST_BODY:
                break
        response.close()
    except HTTPX_FAILURES as error:
        found = sort_failure(error)
        return Failure(found.failure, may_pass=not found.is_untrusted)
    finally:
        transport.close()
    status, said = response.status_code, said.strip()
    if 200 <= status < 300:
        return None
    if 300 <= status < 400:
        return Failure(f"it answered {status}, a redirect, which is not followed", may_pass=False)
    word = f" ({said.decode()})" if _WORD.fullmatch(said) and said.decode() not in url else ""
    return Failure(f"it answered {status}{word}", may_pass=status in RETRIED or status >= 500)
