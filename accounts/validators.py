from __future__ import annotations

import ipaddress
from collections.abc import Sequence

from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _


def validate_networks(networks: Sequence[str]) -> None:
    """Each is an address or a network in CIDR notation, IPv4 or IPv6."""
    for network in networks:
        try:
            ipaddress.ip_network(network, strict=False)
        except ValueError:
            raise ValidationError(_("%(network)s is not a network."), params={"network": network}) from None
