"""The oracle, live: fresh random configurations, built by transformers on torch's meta device, against our counts.

Runs where torch and transformers are installed (``pip install -e '.[oracle]'``; CI does): ``pytest -m oracle``.
``SIZEUP_ORACLE_SEED`` and ``SIZEUP_ORACLE_TYPES`` (comma-separated) choose other draws.
"""

from __future__ import annotations
