"""Where a webhook may go: never into our own network, whatever the name resolves to and whenever it changes."""

from __future__ import annotations

import ipaddress
import socket
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

from django.conf import settings

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class ForbiddenAddressError(Exception):
    """The URL leads where webhooks must not, or nowhere; the text may be shown to whoever entered it."""


@dataclass(frozen=True, slots=True)
class Target:
    """A checked URL. ``address`` is what to connect to: resolving ``host`` again could give another answer."""

    scheme: str
    host: str
    port: int
    path: str
    address: str


def resolve(url: str) -> Target:
    """The target of ``url``. Raises ``ForbiddenAddressError`` unless every address of its host is public.

    Networks in ``WEBHOOK_ALLOWED_NETWORKS`` are allowed too, and there plain HTTP as well.
    """
    parts = urlsplit(url)
    try:
        port = parts.port or {"https": 443, "http": 80}[parts.scheme]
    except (KeyError, ValueError):
        raise ForbiddenAddressError("Give an https:// address.") from None
    if not parts.hostname or parts.username is not None or parts.password is not None:
        raise ForbiddenAddressError("Give a host, and no user name or password.")
    try:
        found = socket.getaddrinfo(parts.hostname, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise ForbiddenAddressError("The host is not known.") from None
    addresses = [ipaddress.ip_address(str(entry[4][0]).partition("%")[0]) for entry in found]
    if all(_is_allowed_inside(address) for address in addresses):
        pass
    elif parts.scheme != "https":
        raise ForbiddenAddressError("Give an https:// address.")
    elif not all(_is_public(address) for address in addresses):
        raise ForbiddenAddressError("The host is not a public one.")
    # A request line is ASCII; what is encoded already stays.
    path = quote(f"{parts.path or '/'}{'?' + parts.query if parts.query else ''}", safe="/?%:@!$&'()*+,;=-._~")
    return Target(parts.scheme, parts.hostname, port, path, str(addresses[0]))


def _is_allowed_inside(address: Address) -> bool:
    networks = [ipaddress.ip_network(network) for network in settings.WEBHOOK_ALLOWED_NETWORKS]
    return any(address in network for network in networks if network.version == address.version)


def _is_public(address: Address) -> bool:
    """Whether ``address``, and an IPv4 address hidden inside it, belongs to the public internet."""
    if isinstance(address, ipaddress.IPv6Address):
        hidden = address.ipv4_mapped or address.sixtofour or (address.teredo and address.teredo[1])
        if hidden:
            return _is_public(hidden)
        if address in _NAT64:
            return _is_public(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
        if address.is_site_local or any(address in network for network in _OURS):
            return False
    return address.is_global and not address.is_multicast


_NAT64 = ipaddress.ip_network("64:ff9b::/96")
# Translated to IPv4 by whoever uses them (RFC 8215), and IPv4 addresses as they were once written (RFC 4291, 2.5.5.1).
_OURS = (ipaddress.ip_network("64:ff9b:1::/48"), ipaddress.ip_network("::/96"))
