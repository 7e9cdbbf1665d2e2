"""Which hosts are this machine: keys may go there in clear text, and never through a proxy."""

import ipaddress
import re

_NUMBER = re.compile(r"0x(?P<hexadecimal>[0-9a-f]+)|(?P<octal>0[0-7]*)|(?P<decimal>[1-9][0-9]*)")


def is_loopback(host: str) -> bool:
    """Tell whether a host of a URL is this machine: localhost and every name below it, 127.0.0.0/8 and ::1.

    An address may be written in any form that systems take: 2130706433, 0x7f.1, [::ffff:127.0.0.1].
    """
    host = host.lower().removeprefix("[").removesuffix("]")
    name = host.removesuffix(".")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    address = _address(host)
    return address is not None and address.is_loopback


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return _short_address(host)
    return getattr(address, "ipv4_mapped", None) or address


def _short_address(host: str) -> ipaddress.IPv4Address | None:
    """Read the forms that `inet_aton` takes: up to four numbers of any base, the last one filling up the rest."""
    *heads, last = numbers = [_number(part) for part in host.split(".")]
    if len(numbers) > 4 or any(not 0 <= head < 256 for head in heads) or not 0 <= last < 256 ** (4 - len(heads)):
        return None
    return ipaddress.IPv4Address(sum(head << (24 - 8 * place) for place, head in enumerate(heads)) + last)


def _number(text: str) -> int:
    """Read a number; -1: it is none."""
    match = _NUMBER.fullmatch(text) if len(text) < 20 else None
    if match is None:
        return -1
    if match["hexadecimal"]:
        return int(match["hexadecimal"], 16)
    return int(text, 8) if match["octal"] else int(text)
