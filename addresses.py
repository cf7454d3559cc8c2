"""Where a request comes from: the socket's address or, behind a proxy that is trusted, the address that it names."""

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


def address_of(text: str) -> Address | None:
    """Return the address that a text is; of an IPv4 address in IPv6, the IPv4 one. None where it is none."""
    try:
        found = ip_address(text)
    except ValueError:  # a unix socket has none
        return None
    mapped = found.ipv4_mapped if isinstance(found, IPv6Address) else None
    return mapped or found


def is_among(address: Address | None, networks: Iterable[Network]) -> bool:
    """Return whether an address is in one of the networks."""
    return address is not None and any(address in network for network in networks)


def client_of(environ: dict[str, Any], proxies: tuple[Network, ...]) -> str:
    """Return the address that a request comes from.

    A proxy appends to X-Forwarded-For the address that it was asked from. So its last address is the word of whoever
    connected to us, the one before it the word of the last, and so on: each is believed from a trusted proxy only.

    Shape   as text; where the header holds something else than an address there, what REMOTE_ADDR is: the socket's
            address, empty for a unix socket
    """
    peer = str(environ.get("REMOTE_ADDR", ""))
    client = address_of(peer)
    named = str(environ.get("HTTP_X_FORWARDED_FOR", "")).split(",")
    while named and is_among(client, proxies):
        client = address_of(named.pop().strip(" \t"))
    return str(client) if client is not None else peer


def subscriber_of(text: str) -> str:
    """Return what stands for one client where clients are counted: in IPv6 the /64 that a subscriber has."""
    address = address_of(text)
    if isinstance(address, IPv6Address):
        return str(IPv6Network((int(address), 64), strict=False))
    return text if address is None else str(address)
