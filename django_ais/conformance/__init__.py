"""The suite that proves drivers: ``python -m django_ais.conformance queue --profile MODULE:CLASS --report FILE``.

Importing it needs neither pytest nor a driver. What an author writes is a `QueueProfile` or a `BusProfile`; what a
driver has to do is `manifest.REQUIREMENTS`; what was found is a report, computed over the manifest.
"""

from django_ais.conformance.manifest import REVISION
from django_ais.conformance.profile import BusProfile, QueueProfile

__all__ = ["REVISION", "BusProfile", "QueueProfile"]
