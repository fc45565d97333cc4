"""Properties are drawn the same way in every run, so that what passes once passes in CI; ``explore`` draws anew.

HYPOTHESIS_PROFILE=explore pytest
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

# a slow machine is no defect, and laws of valid plans pass many invalid ones over
QUIET = (HealthCheck.too_slow, HealthCheck.filter_too_much)

settings.register_profile("steady", derandomize=True, deadline=None, suppress_health_check=QUIET)
settings.register_profile("explore", deadline=None, max_examples=500, suppress_health_check=QUIET)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "steady"))
