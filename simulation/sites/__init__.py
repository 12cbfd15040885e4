"""The sites there are, by name."""

from __future__ import annotations

from simulation.site import Site
from simulation.sites.forum import FORUM
from simulation.sites.shop import SHOP

SITES: dict[str, Site] = {site.name: site for site in (SHOP, FORUM)}
